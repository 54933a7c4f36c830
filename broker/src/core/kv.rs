//! Keyed state for plugins and clients.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc;

use crate::clock::Now;
use crate::router::LinkId;
use crate::store::{CommitError, Failed, Reader, Receipt, Seq, StateEntry, StateOp};

use super::peer::ReplyTo;
use super::state::Core;

/// A watch of one link.
#[derive(Debug)]
pub(crate) struct Watch {}

/// What one owner keeps.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {}

/// A kv read under way.
#[derive(Debug)]
pub struct KvRead {}

/// A kv write under way.
#[derive(Debug)]
pub struct KvTicket {
    index: usize,
}

impl KvTicket {
    /// Position among the state operations of its commit.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Other state operations come first in the commit.
    pub(crate) fn shift(&mut self, by: usize) {
        self.index += by;
    }

    pub(crate) fn revision(&self, receipt: &Receipt) -> Seq {
        receipt.revisions[self.index]
    }
}

pub(crate) fn restore_usage(
    _reader: &mut dyn Reader,
    _now: Now,
) -> Result<rustc_hash::FxHashMap<Box<str>, Usage>, Failed> {
    Ok(rustc_hash::FxHashMap::default())
}

impl Core {
    pub(crate) fn kv(&mut self, to: &ReplyTo, name: &str, _params: Option<&RawValue>) {
        self.refuse(to, &Error::new(Code::NotImplemented, name));
    }
    pub(crate) fn kv_op(
        &mut self,
        _link: LinkId,
        _op: &rpc::KvOp,
    ) -> Result<(StateOp, KvTicket), Error> {
        Err(Error::new(Code::NotImplemented, "kv"))
    }
    pub(crate) fn kv_got(&mut self, _entry: Option<StateEntry>, _read: KvRead) {}
    pub(crate) fn kv_scanned(&mut self, _entries: Vec<StateEntry>, _read: KvRead) {}
    pub(crate) fn kv_done(
        &mut self,
        _to: &ReplyTo,
        _kv: KvTicket,
        _result: Result<Receipt, CommitError>,
    ) {
    }
    pub(crate) fn kv_changed(&mut self, _kv: KvTicket, _revision: Seq) {}
}
