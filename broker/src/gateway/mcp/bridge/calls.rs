//! Calls under way, and cancels that came before their call.

use std::collections::{HashMap, VecDeque};

use serde_json::value::RawValue;
use tokio::task::AbortHandle;
use trunkline_contract::limits::EARLY_CANCELS_MAX;

/// Calls under way by their id.
#[derive(Default)]
pub(super) struct Calls {
    running: HashMap<String, (AbortHandle, Box<RawValue>)>,
    early: VecDeque<String>,
}

impl Calls {
    /// Says whether a call was cancelled before it came.
    pub(super) fn was_cancelled(&mut self, call_id: &str) -> bool {
        match self.early.iter().position(|early| early == call_id) {
            Some(at) => self.early.remove(at).is_some(),
            None => false,
        }
    }

    /// Takes a call in.
    pub(super) fn begin(&mut self, call_id: String, work: AbortHandle, request: Box<RawValue>) {
        self.running.insert(call_id, (work, request));
    }

    /// Cancels a call; one that has not come yet when it comes. Gives the request that is still to be answered.
    pub(super) fn cancel(&mut self, call_id: &str) -> Option<Box<RawValue>> {
        if let Some((work, request)) = self.running.remove(call_id) {
            work.abort();
            return Some(request);
        }
        if self.early.len() == EARLY_CANCELS_MAX {
            self.early.pop_front();
        }
        self.early.push_back(call_id.to_owned());
        None
    }

    /// Takes note of an end.
    pub(super) fn end(&mut self, call_id: &str) {
        self.running.remove(call_id);
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_before_its_call_is_kept_for_it() {
        let mut calls = Calls::default();
        assert!(calls.cancel("a").is_none());
        assert!(calls.was_cancelled("a") && !calls.was_cancelled("a"));
        for number in 0..=EARLY_CANCELS_MAX {
            calls.cancel(&number.to_string());
        }
        assert!(!calls.was_cancelled("0") && calls.was_cancelled("1"));
    }
}
