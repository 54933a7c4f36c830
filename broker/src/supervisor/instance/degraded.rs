//! How long an instance may stay degraded: as long as it likes, unless the operator set a limit.
//!
//! The time counts from the first report of it, whatever reasons follow, and anew after each recovery
//! or pause. At its end the process is stopped as on a restart: asked first, then by signals. That
//! counts as an exit by its own fault.

use super::{Output, Phase, Sequel, State, Step};

impl Step<'_> {
    /// Arms the limit, or takes it back; call it after each change while serving.
    pub(super) fn watch_degraded(&mut self) {
        let is_degraded = self.machine.serving_as.0 == State::Degraded && !self.machine.is_paused;
        let before = self.machine.degraded_since_ms;
        let since = is_degraded.then(|| before.unwrap_or(self.now_ms));
        self.machine.degraded_since_ms = since;
        let Some(limit_ms) = self.machine.restarts.degraded_ms() else {
            return;
        };
        match since {
            Some(since) => {
                let passed_ms = self.now_ms.saturating_sub(since);
                self.out
                    .push(Output::Arm(limit_ms.saturating_sub(passed_ms)));
            }
            None if before.is_some() => self.out.push(Output::Disarm),
            None => {}
        }
    }

    /// The limit may be another one, or be gone.
    pub(super) fn configured(&mut self) {
        if self.machine.phase == Phase::Serving && self.machine.degraded_since_ms.is_some() {
            self.out.push(Output::Disarm);
            self.watch_degraded();
        }
    }

    /// The armed time is over while serving.
    pub(super) fn degraded_too_long(&mut self) {
        let limit_ms = self.machine.restarts.degraded_ms();
        let (Some(since), Some(limit_ms)) = (self.machine.degraded_since_ms, limit_ms) else {
            return;
        };
        if self.now_ms.saturating_sub(since) < limit_ms {
            return self.watch_degraded();
        }
        let mut fault = format!("degraded for {limit_ms} ms");
        if let Some(reason) = &self.machine.serving_as.1 {
            fault = format!("{fault}: {reason}");
        }
        let stop_ms = self.machine.timeouts.stop_ms;
        self.end(stop_ms, Sequel::Fault(fault.clone()), &fault);
    }
}
