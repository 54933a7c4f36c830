//! Locks: named, fenced rights across processes.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc;

use crate::router::LinkId;
use crate::store::{CommitError, Condition, Receipt, StateEntry};

use super::peer::ReplyTo;
use super::state::Core;

/// Locks that are held.
#[derive(Debug, Default)]
pub(crate) struct Locks {}

/// A lock that is being read.
#[derive(Debug)]
pub struct LockRead {}

/// A lock that is being written.
#[derive(Debug)]
pub struct LockTicket {}

impl Locks {
    pub(crate) fn restore(_entries: &[StateEntry]) -> Self {
        Self::default()
    }
}

impl Core {
    pub(crate) fn lock(&mut self, to: &ReplyTo, name: &str, _params: Option<&RawValue>) {
        self.refuse(to, &Error::new(Code::NotImplemented, name));
    }
    pub(crate) fn lock_condition(
        &mut self,
        _link: LinkId,
        _lock: &rpc::IfLock,
    ) -> Result<Condition, Error> {
        Err(Error::new(Code::NotImplemented, "if_lock"))
    }
    pub(crate) fn lock_found(&mut self, _entry: Option<StateEntry>, _read: LockRead) {}
    pub(crate) fn lock_done(&mut self, _ticket: LockTicket, _result: Result<Receipt, CommitError>) {
    }
    pub(crate) fn expire_locks(&mut self) {}
    pub(crate) fn drop_lock_waits(&mut self, _link: LinkId) {}
}
