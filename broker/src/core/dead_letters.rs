//! Dead letters for operators: list, show, replay, discard; and what never was an event.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};

use crate::store::{CommitError, Receipt, StateEntry};

use super::peer::ReplyTo;
use super::state::Core;

/// A dead letter that is being read.
#[derive(Debug)]
pub struct DeadRead {}

/// A dead letter that is being written.
#[derive(Debug)]
pub struct DeadTicket {}

impl Core {
    pub(crate) fn put_dead_letter(&mut self, to: &ReplyTo, _params: Option<&RawValue>) {
        self.refuse(to, &Error::new(Code::NotImplemented, "dead_letter.put"));
    }
    pub(crate) fn dead_found(&mut self, _entry: Option<StateEntry>, _read: DeadRead) {}
    pub(crate) fn dead_scanned(&mut self, _entries: Vec<StateEntry>, _read: DeadRead) {}
    pub(crate) fn dead_done(&mut self, _ticket: DeadTicket, _result: Result<Receipt, CommitError>) {
    }
}
