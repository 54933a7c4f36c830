//! Calls under way, and cancels that came before their call.

use std::collections::{HashMap, VecDeque};

use tokio::task::AbortHandle;
use trunkline_contract::limits::EARLY_CANCELS_MAX;

/// Calls under way by their id.
#[derive(Debug, Default)]
pub(super) struct Calls {
    running: HashMap<String, AbortHandle>,
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
    pub(super) fn begin(&mut self, call_id: String, work: AbortHandle) {
        self.running.insert(call_id, work);
    }

    /// Cancels a call; one that has not come yet when it comes. Returns whether it was under way.
    pub(super) fn cancel(&mut self, call_id: &str) -> bool {
        if let Some(work) = self.running.remove(call_id) {
            work.abort();
            return true;
        }
        if self.early.len() == EARLY_CANCELS_MAX {
            self.early.pop_front();
        }
        self.early.push_back(call_id.to_owned());
        false
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
        assert!(!calls.cancel("a"));
        assert!(calls.was_cancelled("a") && !calls.was_cancelled("a"));
        for number in 0..=EARLY_CANCELS_MAX {
            calls.cancel(&number.to_string());
        }
        assert!(!calls.was_cancelled("0") && calls.was_cancelled("1"));
    }
}
