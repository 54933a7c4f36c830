//! The end: everything is stopped at the same time, and whoever asked is told what is left.

use tokio::sync::oneshot;

use super::Engine;
use crate::instance::InstanceKey;
use crate::supervisor::instance::{Input, Wanted};
use crate::supervisor::reap;

/// A drain that somebody waits for.
pub(super) struct Drain {
    pub(super) deadline_ms: u64,
    reply: oneshot::Sender<Vec<InstanceKey>>,
}

impl Engine {
    pub(super) fn start_drain(
        &mut self,
        timeout_ms: u64,
        reply: oneshot::Sender<Vec<InstanceKey>>,
    ) {
        self.is_draining = true;
        self.end_switches();
        self.settle_arrivals();
        let deadline_ms = self.clock.now().mono_ms.saturating_add(timeout_ms);
        let keys: Vec<InstanceKey> = self.entries.keys().cloned().collect();
        for key in keys {
            let stop = Input::Want {
                wanted: Wanted::Stopped,
                budget_ms: timeout_ms,
            };
            self.feed(&key, stop);
        }
        if let Some(earlier) = self.drain.replace(Drain { deadline_ms, reply }) {
            // The later drain has the say; the earlier caller learns what is left by now.
            let _best_effort = earlier.reply.send(self.survivors());
        }
    }

    fn survivors(&self) -> Vec<InstanceKey> {
        let mut left: Vec<InstanceKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.machine.has_process())
            .map(|(key, _)| key.of_seat())
            .collect();
        left.sort();
        left
    }

    pub(super) fn finish_drain(&mut self) {
        let Some(drain) = &self.drain else { return };
        let left = self.survivors();
        if !left.is_empty() && self.clock.now().mono_ms < drain.deadline_ms {
            return;
        }
        if self.adopts_orphans {
            reap::end_orphans();
        }
        if let Some(drain) = self.drain.take() {
            let _best_effort = drain.reply.send(left);
        }
    }
}
