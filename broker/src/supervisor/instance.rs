//! The life of one instance as a pure state machine.
//!
//! It takes inputs with the time and one random number each, and emits what is to be done. It
//! spawns nothing, waits for nothing and reads no clock, so that whole lives are simulated in the
//! tests. Invariants: never two processes; exactly one timer, replaced by each [`Output::Arm`] and
//! gone where nothing is waited for; a wanted instance is always served, about to be started, or
//! failed.
//!
//! ```text
//! off ─► spawning ─► starting ─► activating ─► serving          (start limit on the first three)
//!  ▲                     └───────────┴──────────┴─► draining ─► leaving ─► terminating ─► killing
//!  │                                            └─► closing ─────────────────┘     (link closed)
//!  └── waiting ◄── judging ◄── exited, from anywhere
//! ```
//!
//! Serving waits for nothing, unless it is degraded and the policy limits that: see `degraded`. One that
//! is held stays in standby, or goes back there: see `standby`.

use std::sync::Arc;

use super::exit::ExitReport;
use super::links::{Signal, Status};
use super::restart::{Next, RestartPolicy, Restarts};
use super::spec::Timeouts;
use super::state::{Incident, State};

mod action;
mod degraded;
mod host;
mod standby;

pub use action::{Change, GroupSignal, Input, Output, Wanted};
pub use standby::TRIAL_MS_MAX;

/// Where the process is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Off,
    Spawning,
    Starting,
    Activating,
    Serving,
    Deactivating,
    Held,
    Draining,
    Leaving,
    Closing,
    Terminating,
    Killing,
    Judging,
    Waiting,
}

impl Phase {
    /// A process that has a link and was not asked to end.
    fn is_alive(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Activating | Self::Serving | Self::Deactivating | Self::Held
        )
    }
}

/// What follows the end of the process, while it is wanted.
#[derive(Clone, PartialEq, Debug)]
enum Sequel {
    /// It ended by itself.
    Own,
    /// The supervisor ended it for this reason.
    Fault(String),
    /// A new one is wanted at once.
    Restart,
    /// It asked to be started again later.
    RetryLater {
        reason: Option<String>,
        after_ms: Option<u64>,
    },
    /// It cannot serve as it is configured.
    Fatal(Option<String>),
}

/// How long the links may take to say whether an exit is blamed on an event.
const JUDGE_MS: u64 = 2_000;
/// How long a process may live on after its link closed, or after it was asked to end.
const LEAVE_MS: u64 = 1_000;
/// How often an unkillable process is killed again.
const KILL_AGAIN_MS: u64 = 1_000;

/// The state machine of one instance.
#[derive(Clone, PartialEq, Debug)]
pub struct Machine {
    wanted: Wanted,
    is_paused: bool,
    /// It may not leave standby.
    is_held: bool,
    /// It must become ready at the first attempt.
    is_on_trial: bool,
    /// One on trial must serve by then, whatever it tells of its progress; none before it starts.
    trial_by_ms: Option<u64>,
    phase: Phase,
    sequel: Sequel,
    restarts: Restarts,
    timeouts: Timeouts,
    /// What the instance last said of itself while serving.
    serving_as: (State, Option<String>),
    serving_since_ms: Option<u64>,
    degraded_since_ms: Option<u64>,
    served_ms: u64,
    drain_by_ms: u64,
    kill_by_ms: u64,
    exits: u64,
    last_exit: Option<Arc<ExitReport>>,
    reported: Option<(State, Option<String>)>,
}

impl Machine {
    /// Creates an instance that is not wanted yet.
    pub fn new(policy: RestartPolicy, timeouts: Timeouts) -> Self {
        Self {
            wanted: Wanted::Stopped,
            is_paused: false,
            is_held: false,
            is_on_trial: false,
            trial_by_ms: None,
            phase: Phase::Off,
            sequel: Sequel::Own,
            restarts: Restarts::new(policy),
            timeouts,
            serving_as: (State::Ready, None),
            serving_since_ms: None,
            degraded_since_ms: None,
            served_ms: 0,
            drain_by_ms: 0,
            kill_by_ms: 0,
            exits: 0,
            last_exit: None,
            reported: None,
        }
    }

    /// Replaces what may change without a new process; [`Input::Configured`] follows.
    pub fn configure(&mut self, policy: RestartPolicy, timeouts: Timeouts) {
        self.restarts.set_policy(policy);
        self.timeouts = timeouts;
    }

    /// Returns what the operator wants.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Returns how often the process ended unasked.
    pub fn exits(&self) -> u64 {
        self.exits
    }

    /// Returns how the last process ended.
    pub fn last_exit(&self) -> Option<&Arc<ExitReport>> {
        self.last_exit.as_ref()
    }

    /// Returns true while there is a process, or one is being started.
    pub fn has_process(&self) -> bool {
        !matches!(self.phase, Phase::Off | Phase::Judging | Phase::Waiting)
    }

    /// Returns true while a process is to be made and nothing else is wanted instead.
    pub fn wants_start(&self) -> bool {
        let is_asked = self.phase == Phase::Spawning && self.wanted == Wanted::Running;
        is_asked && self.sequel == Sequel::Own
    }

    /// Returns true while it waits for the time of its next start.
    pub fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    /// Returns true when nothing is going on and nothing is waited for.
    pub fn is_at_rest(&self) -> bool {
        self.phase == Phase::Off
    }

    /// Takes one input at `now_ms`; `unit` in `0.0..1.0` spreads a wait that begins now.
    pub fn step(&mut self, now_ms: u64, unit: f64, input: Input) -> Vec<Output> {
        let mut step = Step {
            machine: self,
            now_ms,
            unit,
            out: Vec::new(),
        };
        step.take(input);
        step.out
    }
}

/// One step: the machine with what came in and what goes out.
struct Step<'a> {
    machine: &'a mut Machine,
    now_ms: u64,
    unit: f64,
    out: Vec<Output>,
}

impl Step<'_> {
    fn take(&mut self, input: Input) {
        match input {
            Input::Want { wanted, budget_ms } => self.want(wanted, budget_ms),
            Input::Restart => self.restart(),
            Input::Configured => self.configured(),
            Input::Hold => self.hold(),
            Input::Release => self.release(),
            Input::Trust => self.trust(),
            Input::Pause => self.pause(true),
            Input::Resume => self.pause(false),
            Input::Checked => self.checked(),
            Input::Spawned => self.spawned(),
            Input::SpawnFailed(reason) => self.spawn_failed(reason),
            Input::SpawnRefused(reason) => self.spawn_refused(reason),
            Input::Signal(signal) => self.signal(signal),
            Input::Exited(exit) => self.exited(exit),
            Input::HostEnded(exit) => self.host_ended(exit),
            Input::Timer => self.timer(),
        }
    }

    // What the operator asks for.

    fn want(&mut self, wanted: Wanted, budget_ms: u64) {
        let before = std::mem::replace(&mut self.machine.wanted, wanted);
        if wanted == Wanted::Running {
            if before != Wanted::Running {
                self.machine.restarts.reset();
                match self.machine.phase {
                    Phase::Off => self.spawn(),
                    phase if phase.is_alive() => {}
                    _ => self.machine.sequel = Sequel::Restart,
                }
            }
            return;
        }
        let (state, reason) = match wanted {
            Wanted::Disabled => (State::Disabled, "disabled"),
            _ => (State::Stopped, "stopped"),
        };
        match self.machine.phase {
            Phase::Off | Phase::Judging => self.report(state, None),
            Phase::Waiting => {
                self.go(Phase::Off, None);
                self.report(state, None);
            }
            // Nothing to talk to yet: ended as soon as it runs.
            Phase::Spawning => self.machine.sequel = Sequel::Restart,
            _ => self.end(budget_ms, Sequel::Restart, reason),
        }
    }

    fn restart(&mut self) {
        if self.machine.wanted != Wanted::Running {
            return;
        }
        self.machine.restarts.reset();
        match self.machine.phase {
            Phase::Off | Phase::Waiting => self.spawn(),
            phase if phase.is_alive() || phase == Phase::Closing => {
                self.end(self.machine.timeouts.stop_ms, Sequel::Restart, "restart");
            }
            _ => self.machine.sequel = Sequel::Restart,
        }
    }

    fn pause(&mut self, is_paused: bool) {
        if self.machine.is_paused == is_paused {
            return;
        }
        self.machine.is_paused = is_paused;
        if self.machine.phase == Phase::Serving {
            self.out.push(if is_paused {
                Output::Pause
            } else {
                Output::Resume
            });
            self.report_serving();
            self.watch_degraded();
        }
    }

    // What the process does.

    fn spawn(&mut self) {
        self.machine.sequel = Sequel::Own;
        self.machine.serving_since_ms = None;
        self.begin_trial();
        self.report(State::Starting, None);
        self.out.push(Output::Spawn);
        self.go(Phase::Spawning, Some(self.start_left_ms()));
    }

    /// The time to start runs from here.
    fn checked(&mut self) {
        if self.machine.phase == Phase::Spawning {
            self.out.push(Output::Arm(self.start_left_ms()));
        }
    }

    fn spawned(&mut self) {
        if self.machine.phase != Phase::Spawning {
            return;
        }
        if self.machine.wanted == Wanted::Running && self.machine.sequel == Sequel::Own {
            self.out.push(Output::Attach);
            self.go(Phase::Starting, Some(self.start_left_ms()));
        } else {
            self.report(State::Draining, None);
            self.terminate(GroupSignal::Term);
        }
    }

    fn spawn_failed(&mut self, reason: String) {
        if !self.machine.has_process() {
            return;
        }
        self.machine.served_ms = 0;
        if matches!(self.machine.sequel, Sequel::Own | Sequel::Fault(_))
            && self.machine.wanted == Wanted::Running
        {
            self.machine.exits += 1;
            self.machine.sequel = Sequel::Fault(reason.clone());
            self.tell(
                State::BackingOff,
                Some(reason),
                Some(Incident::NotStarted),
                None,
            );
        }
        self.decide(false);
    }

    fn spawn_refused(&mut self, reason: String) {
        if !self.machine.has_process() {
            return;
        }
        self.machine.served_ms = 0;
        if self.machine.sequel == Sequel::Own && self.machine.wanted == Wanted::Running {
            let told = Some(reason.clone());
            self.tell(State::Failed, told, Some(Incident::NotStarted), None);
            self.machine.sequel = Sequel::Fatal(Some(reason));
        }
        self.decide(false);
    }

    fn exited(&mut self, exit: Arc<ExitReport>) {
        if !self.machine.has_process() {
            return;
        }
        let since = self.machine.serving_since_ms.take();
        self.machine.served_ms = since.map_or(0, |since| self.now_ms.saturating_sub(since));
        self.machine.last_exit = Some(exit.clone());
        self.go(Phase::Judging, Some(JUDGE_MS));
        if self.machine.wanted != Wanted::Running {
            return self.report_unwanted();
        }
        let reason = match &self.machine.sequel {
            Sequel::Own => exit.to_string(),
            Sequel::Fault(fault) => format!("{fault}; {exit}"),
            Sequel::Restart | Sequel::RetryLater { .. } | Sequel::Fatal(_) => return,
        };
        self.machine.exits += 1;
        let incident = if exit.is_clean() {
            Incident::Exited
        } else {
            Incident::Crashed
        };
        self.tell(State::BackingOff, Some(reason), Some(incident), None);
    }

    /// Decides what follows an end, once it is known whose fault it was.
    fn decide(&mut self, is_suspect: bool) {
        if self.machine.wanted != Wanted::Running {
            self.go(Phase::Off, None);
            return self.report_unwanted();
        }
        if self.machine.is_on_trial {
            return self.fail_trial();
        }
        match self.machine.sequel.clone() {
            Sequel::Restart => self.spawn(),
            Sequel::Fatal(reason) => {
                self.go(Phase::Off, None);
                self.report(State::Failed, reason);
            }
            Sequel::RetryLater { reason, after_ms } => {
                let own_ms = || match self.machine.restarts.after_suspect(self.unit) {
                    Next::After(ms) | Next::GiveUp { trial_ms: ms, .. } => ms,
                };
                let wait_ms = after_ms.unwrap_or_else(own_ms);
                self.go(Phase::Waiting, Some(wait_ms));
                self.tell(State::BackingOff, reason, None, Some(wait_ms));
            }
            Sequel::Own | Sequel::Fault(_) => self.back_off(is_suspect),
        }
    }

    fn back_off(&mut self, is_suspect: bool) {
        let is_fault = matches!(self.machine.sequel, Sequel::Fault(_));
        let last_exit = self.machine.last_exit.as_ref();
        let is_failure = is_fault || last_exit.is_none_or(|exit| !exit.is_clean());
        if !self.machine.restarts.starts_again(is_failure) {
            self.go(Phase::Off, None);
            let state = if is_failure {
                State::Failed
            } else {
                State::Stopped
            };
            let reason = self.reason_of_end();
            return self.report(state, reason);
        }
        let next = if is_suspect {
            self.machine.restarts.after_suspect(self.unit)
        } else {
            let served_ms = self.machine.served_ms;
            self.machine
                .restarts
                .after_exit(self.now_ms, served_ms, self.unit)
        };
        let reason = self.reason_of_end();
        match next {
            Next::After(wait_ms) => {
                self.go(Phase::Waiting, Some(wait_ms));
                self.tell(State::BackingOff, reason, None, Some(wait_ms));
            }
            Next::GiveUp { trial_ms, is_new } => {
                self.go(Phase::Waiting, Some(trial_ms));
                let incident = is_new.then_some(Incident::GaveUp);
                self.tell(State::Failed, reason, incident, Some(trial_ms));
            }
        }
    }

    fn reason_of_end(&self) -> Option<String> {
        match (&self.machine.sequel, &self.machine.last_exit) {
            (Sequel::Fault(fault), _) => Some(fault.clone()),
            (_, Some(exit)) => Some(exit.to_string()),
            _ => None,
        }
    }

    // What the links say.

    fn signal(&mut self, signal: Signal) {
        let phase = self.machine.phase;
        let is_starting = matches!(phase, Phase::Starting | Phase::Activating);
        let is_live = phase.is_alive();
        match signal {
            Signal::Standby if phase == Phase::Starting => {
                self.report(State::Standby, None);
                self.leave_standby();
            }
            Signal::Deactivated { error } if phase == Phase::Deactivating => {
                self.deactivated(error);
            }
            Signal::Status {
                state,
                reason,
                retry_after_ms,
            } if (is_starting || phase == Phase::Serving) && !self.machine.is_held => {
                self.status(state, reason, retry_after_ms);
            }
            Signal::Progress if is_starting => {
                self.out.push(Output::Arm(self.start_left_ms()));
            }
            Signal::Refused(error) if is_live => {
                self.fail(format!("handshake failed: {error}"), GroupSignal::Term);
            }
            Signal::LinkClosed if is_live => self.go(Phase::Closing, Some(LEAVE_MS)),
            Signal::PingLost if is_live => {
                self.fail(
                    "hangs: pings stay unanswered".to_owned(),
                    GroupSignal::Abort,
                );
            }
            Signal::Drained | Signal::LinkClosed if phase == Phase::Draining => {
                let left_ms = self.machine.kill_by_ms.saturating_sub(self.now_ms) / 2;
                self.go(Phase::Leaving, Some(left_ms.min(LEAVE_MS)));
            }
            Signal::Blamed { suspect } if phase == Phase::Judging => self.decide(suspect),
            // Of a process that has ended meanwhile, or of no importance where it is now.
            _ => {}
        }
    }

    fn status(&mut self, status: Status, reason: Option<String>, retry_after_ms: Option<u64>) {
        let state = match status {
            Status::Ready => State::Ready,
            Status::Degraded => State::Degraded,
            Status::NeedsAuth if self.machine.is_on_trial => {
                let sequel = Sequel::Fatal(Some(reason.unwrap_or("needs_auth".to_owned())));
                return self.end(self.machine.timeouts.stop_ms, sequel, "needs_auth");
            }
            Status::NeedsAuth => State::NeedsAuth,
            Status::RetryLater => {
                let sequel = Sequel::RetryLater {
                    reason,
                    after_ms: retry_after_ms,
                };
                return self.end(self.machine.timeouts.stop_ms, sequel, "retry_later");
            }
            Status::Fatal => {
                let sequel = Sequel::Fatal(reason);
                return self.end(self.machine.timeouts.stop_ms, sequel, "fatal");
            }
        };
        self.machine.serving_as = (state, reason);
        if self.machine.phase != Phase::Serving {
            self.machine.serving_since_ms = Some(self.now_ms);
            self.machine.degraded_since_ms = None;
            self.go(Phase::Serving, None);
            if self.machine.is_paused {
                self.out.push(Output::Pause);
            }
        }
        self.report_serving();
        self.watch_degraded();
    }

    // Ways to end.

    fn end(&mut self, budget_ms: u64, sequel: Sequel, reason: &str) {
        let phase = self.machine.phase;
        let is_ending = matches!(
            phase,
            Phase::Draining | Phase::Leaving | Phase::Terminating | Phase::Killing
        );
        let drain_by_ms = self.now_ms + budget_ms * 6 / 10;
        let kill_by_ms = self.now_ms + budget_ms * 9 / 10;
        self.machine.sequel = sequel;
        if is_ending {
            self.machine.drain_by_ms = self.machine.drain_by_ms.min(drain_by_ms);
            self.machine.kill_by_ms = self.machine.kill_by_ms.min(kill_by_ms);
        } else {
            self.machine.drain_by_ms = drain_by_ms;
            self.machine.kill_by_ms = kill_by_ms;
        }
        self.report(State::Draining, Some(reason.to_owned()));
        let left_ms = self.machine.kill_by_ms.saturating_sub(self.now_ms);
        match phase {
            phase if phase.is_alive() || phase == Phase::Draining => {
                let timeout_ms = self.machine.drain_by_ms.saturating_sub(self.now_ms);
                self.out.push(Output::Shutdown {
                    timeout_ms,
                    reason: reason.to_owned(),
                });
                self.go(
                    Phase::Draining,
                    Some(timeout_ms + left_ms.saturating_sub(timeout_ms) / 4),
                );
            }
            Phase::Leaving => self.go(phase, Some(LEAVE_MS.min(left_ms / 2))),
            Phase::Terminating => self.go(phase, Some(self.grace_ms())),
            Phase::Closing => self.terminate(GroupSignal::Term),
            _ => {}
        }
    }

    /// Ends a process that broke its promises.
    fn fail(&mut self, fault: String, signal: GroupSignal) {
        self.machine.kill_by_ms = u64::MAX;
        self.report(State::Draining, Some(fault.clone()));
        self.machine.sequel = Sequel::Fault(fault);
        self.terminate(signal);
    }

    fn terminate(&mut self, signal: GroupSignal) {
        self.out.push(Output::Kill(signal));
        self.go(Phase::Terminating, Some(self.grace_ms()));
    }

    fn grace_ms(&self) -> u64 {
        let left_ms = self.machine.kill_by_ms.saturating_sub(self.now_ms);
        self.machine.timeouts.kill_grace_ms.min(left_ms)
    }

    fn timer(&mut self) {
        match self.machine.phase {
            Phase::Spawning => {
                self.start_timed_out();
                self.kill();
            }
            Phase::Starting | Phase::Activating => {
                self.start_timed_out();
                self.terminate(GroupSignal::Term);
            }
            Phase::Closing => {
                self.fail("closed its link but lives".to_owned(), GroupSignal::Term);
            }
            Phase::Draining | Phase::Leaving => self.terminate(GroupSignal::Term),
            Phase::Terminating | Phase::Killing => self.kill(),
            Phase::Judging => self.decide(false),
            Phase::Waiting => self.spawn(),
            Phase::Serving => self.degraded_too_long(),
            Phase::Deactivating => self.not_deactivated(),
            Phase::Off | Phase::Held => {}
        }
    }

    fn start_timed_out(&mut self) {
        self.machine.kill_by_ms = u64::MAX;
        if self.machine.sequel == Sequel::Own {
            let fault = self.why_too_late();
            self.report(State::Draining, Some(fault.clone()));
            self.machine.sequel = Sequel::Fault(fault);
        }
    }

    fn kill(&mut self) {
        self.out.push(Output::Kill(GroupSignal::Kill));
        self.go(Phase::Killing, Some(KILL_AGAIN_MS));
    }

    // Words.

    fn go(&mut self, phase: Phase, timer_ms: Option<u64>) {
        self.machine.phase = phase;
        self.out.push(timer_ms.map_or(Output::Disarm, Output::Arm));
    }

    fn report_unwanted(&mut self) {
        let state = match self.machine.wanted {
            Wanted::Disabled => State::Disabled,
            _ => State::Stopped,
        };
        self.report(state, None);
    }

    fn report_serving(&mut self) {
        let (state, reason) = self.machine.serving_as.clone();
        let state = if self.machine.is_paused {
            State::Paused
        } else {
            state
        };
        self.report(state, reason);
    }

    /// Tells a state unless it was the last thing told.
    fn report(&mut self, state: State, reason: Option<String>) {
        if self.machine.reported.as_ref() != Some(&(state, reason.clone())) {
            self.tell(state, reason, None, None);
        }
    }

    fn tell(
        &mut self,
        state: State,
        reason: Option<String>,
        incident: Option<Incident>,
        retry_in_ms: Option<u64>,
    ) {
        self.machine.reported = Some((state, reason.clone()));
        self.out.push(Output::Report(Change {
            state,
            reason,
            incident,
            retry_in_ms,
        }));
    }
}

#[cfg(test)]
mod tests;
