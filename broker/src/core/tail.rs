//! `admin.tail`: looking at events as they pass, without a subscription.

use crate::router::LinkId;
use crate::store::{EventPage, Seq};

use super::state::Core;

/// A piece of the log for a tail.
#[derive(Debug)]
pub struct TailRead {}

/// Tails that are open.
#[derive(Debug, Default)]
pub(crate) struct Tails {}

impl Tails {
    pub(crate) fn drop_link(&mut self, _link: LinkId) {}
    pub(crate) fn note(&mut self, _seq: Seq) {}
}

impl Core {
    pub(crate) fn tail_read(&mut self, _page: EventPage, _read: TailRead) {}
    pub(crate) fn resume_tails(&mut self) {}
}
