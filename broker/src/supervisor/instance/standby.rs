//! Standby that lasts: a process that is kept ready to take over, or to take back.
//!
//! One that is held comes to standby and no further; one that serves goes back there: it finishes or gives
//! back what it has and closes everything outside. One that does not come back in time is ended, and started
//! again, up to standby.
//!
//! One on trial is another thing: it has one attempt to serve, and a time for it that no progress makes longer. Whatever
//! ends it before is final. Where it is held in standby, it has that time to come there and again from its release on: what
//! lies between is the time of the one that it replaces.

use trunkline_contract::limits;

use super::{GroupSignal, Machine, Output, Phase, Sequel, State, Step};

/// How much longer than its own time an instance has to be back in standby.
const SLACK_MS: u64 = 1_000;

/// How long a process that is to replace another may take to standby where the other one serves meanwhile, and from
/// there, or at once, until it serves, whatever progress it tells of; or as long as a start of it may take without any, if
/// that is longer: 10 min. Reloads and upgrades of all plugins wait for it.
pub const TRIAL_MS_MAX: u64 = limits::TRIAL_MS;

impl Machine {
    /// Makes this the machine of a successor of another: what the operator wanted of that one holds.
    pub fn on_trial_after(mut self, other: &Self, is_held: bool) -> Self {
        self.is_on_trial = true;
        self.is_held = is_held;
        self.is_paused = other.is_paused;
        self.exits = other.exits;
        self
    }

    /// Returns true while the process waits in standby.
    pub fn is_in_standby(&self) -> bool {
        self.phase == Phase::Held
    }

    /// Returns true while it cannot serve, and will not by itself: in standby, or without a process.
    pub fn is_quiet(&self) -> bool {
        self.is_in_standby() || !self.has_process()
    }
}

impl Step<'_> {
    pub(super) fn hold(&mut self) {
        if std::mem::replace(&mut self.machine.is_held, true) {
            return;
        }
        if matches!(self.machine.phase, Phase::Activating | Phase::Serving) {
            let timeout_ms = self.machine.timeouts.stop_ms * 6 / 10;
            self.machine.serving_since_ms = None;
            self.out.push(Output::Deactivate { timeout_ms });
            self.go(Phase::Deactivating, Some(timeout_ms + SLACK_MS));
        }
    }

    pub(super) fn release(&mut self) {
        self.machine.is_held = false;
        if self.machine.phase == Phase::Held {
            self.begin_trial();
            self.leave_standby();
        }
    }

    /// Goes to work from standby, or stays there.
    pub(super) fn leave_standby(&mut self) {
        if self.machine.is_held {
            return self.go(Phase::Held, None);
        }
        // Said before the instance can say anything of its start.
        self.report(State::Starting, None);
        self.out.push(Output::Activate);
        self.go(Phase::Activating, Some(self.start_left_ms()));
    }

    pub(super) fn deactivated(&mut self, error: Option<String>) {
        if let Some(error) = error {
            let fault = format!("did not go back to standby: {error}");
            return self.fail(fault, GroupSignal::Term);
        }
        self.report(State::Standby, None);
        self.leave_standby();
    }

    pub(super) fn not_deactivated(&mut self) {
        let limit_ms = self.machine.timeouts.stop_ms * 6 / 10;
        let fault = format!("not back in standby after {limit_ms} ms");
        self.fail(fault, GroupSignal::Term);
    }

    /// The time for its one attempt begins.
    pub(super) fn begin_trial(&mut self) {
        if self.machine.is_on_trial {
            let limit_ms = TRIAL_MS_MAX.max(self.machine.timeouts.start_ms);
            self.machine.trial_by_ms = Some(self.now_ms.saturating_add(limit_ms));
        }
    }

    /// It serves: from here on it is as any other.
    pub(super) fn trust(&mut self) {
        self.machine.is_on_trial = false;
        self.machine.trial_by_ms = None;
    }

    /// How long it may take from here until it serves, or tells of its progress.
    pub(super) fn start_left_ms(&self) -> u64 {
        let by_ms = self.machine.trial_by_ms.unwrap_or(u64::MAX);
        let start_ms = self.machine.timeouts.start_ms;
        start_ms.min(by_ms.saturating_sub(self.now_ms))
    }

    pub(super) fn why_too_late(&self) -> String {
        let start_ms = self.machine.timeouts.start_ms;
        match self.machine.trial_by_ms {
            Some(by_ms) if by_ms <= self.now_ms => {
                let limit_ms = TRIAL_MS_MAX.max(start_ms);
                format!("not ready {limit_ms} ms after it began to replace another process")
            }
            _ => format!("not ready {start_ms} ms after its start or its last progress"),
        }
    }

    /// It ended before it was trusted, and has no second attempt.
    pub(super) fn fail_trial(&mut self) {
        let reason = match &self.machine.sequel {
            Sequel::Fatal(reason) => reason.clone().or(Some("fatal".to_owned())),
            Sequel::RetryLater { reason, .. } => reason.clone().or(Some("retry_later".to_owned())),
            _ => self.reason_of_end(),
        };
        self.go(Phase::Off, None);
        self.report(State::Failed, reason);
    }
}
