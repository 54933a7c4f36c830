//! What operators ask: `admin.*` and `system.info`.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};

use crate::store::StoreFacts;

use super::peer::ReplyTo;
use super::state::Core;

/// An admin request that waits for sizes.
#[derive(Debug)]
pub struct AdminRead {}

impl Core {
    pub(crate) fn admin(&mut self, to: &ReplyTo, name: &str, _params: Option<&RawValue>) {
        self.refuse(to, &Error::new(Code::NotImplemented, name));
    }
    pub(crate) fn admin_facts(&mut self, _facts: StoreFacts, _read: AdminRead) {}
    pub(crate) fn system_info(&mut self, to: &ReplyTo) {
        self.refuse(to, &Error::new(Code::NotImplemented, "system.info"));
    }
}
