//! The end of a process that an instance shared with others.

use std::sync::Arc;

use super::{Incident, Machine, Phase, Sequel, State, Step, Wanted};
use crate::supervisor::exit::ExitReport;

impl Machine {
    /// Returns true while the process serves.
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// Returns true while the process ends because it was asked to.
    pub fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Draining | Phase::Leaving)
    }
}

impl Step<'_> {
    /// Its process ended: it comes back with the next one, without a wait of its own.
    pub(super) fn host_ended(&mut self, exit: Arc<ExitReport>) {
        if !self.machine.has_process() {
            return;
        }
        if self.machine.wanted == Wanted::Running && self.machine.sequel == Sequel::Own {
            let reason = format!("its process {exit}");
            let incident = if exit.is_clean() {
                Incident::Exited
            } else {
                Incident::Crashed
            };
            self.machine.exits += 1;
            self.machine.last_exit = Some(exit.clone());
            self.tell(State::BackingOff, Some(reason), Some(incident), None);
            self.machine.sequel = Sequel::Restart;
        }
        self.exited(exit);
    }
}
