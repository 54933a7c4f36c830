//! Replaces the process of an instance with another one, and takes that back if the new one is no good.
//!
//! ```text
//!                  new one in standby          old one in standby           new one serves
//! trying ─────────────────────────► quieting ──────────────────► proving ─────────────────► retiring
//!    │ ▲ old one ended                  │                            │            old one ends │
//!    │ stopping (without overlap)       │                            │                         ▼
//!    └──────────► rollback ◄────────────┴────────────────────────────┘ new one ended          done
//! ```
//!
//! Both are machines of their own, so that each may be killed at any time: what follows is decided by where
//! the two are, and not by what came when. An instance that speaks a foreign contract knows no standby, and
//! one with an own HTTP server has one socket: there the old one ends first, and comes back after a failure.
//!
//! Invariants: the new one is activated only while the old one is in standby or has no process, and the
//! other way round; the old one ends only once the new one serves.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Engine, Entry};
use crate::instance::InstanceKey;
use crate::supervisor::handle::SupervisorError;
use crate::supervisor::instance::{Input, Machine, Wanted};
use crate::supervisor::spec::LaunchSpec;
use crate::supervisor::state::Incident;

/// One replacement on its way.
pub(super) struct Switch {
    step: Step,
    old: InstanceKey,
    new: InstanceKey,
    spec: LaunchSpec,
    /// What the operator wants of the instance.
    wanted: Wanted,
    /// The old one is ended, and not only put into standby.
    stops_first: bool,
    reply: Option<oneshot::Sender<Result<(), SupervisorError>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The old one ends, so that the new one can start.
    Stopping,
    /// The new one comes to standby.
    Trying,
    /// The old one goes back to standby.
    Quieting,
    /// The new one goes to work.
    Proving,
    /// The operator wants something else: the new one ends.
    GivingUp,
    /// The new one serves, the old one ends.
    Retiring,
}

impl Engine {
    pub(super) fn start_switch(
        &mut self,
        spec: LaunchSpec,
        reply: oneshot::Sender<Result<(), SupervisorError>>,
    ) {
        let name = spec.key.clone();
        if let Err(error) = self.can_switch(&spec) {
            let _best_effort = reply.send(Err(error));
            return;
        }
        let old = self.seat_of(&name);
        let before = self.entries.get(&old).map(|entry| &entry.spec);
        let stops_first = !spec.has_overlap() || before.is_some_and(|spec| !spec.has_overlap());
        let switch = Switch {
            step: if stops_first {
                Step::Stopping
            } else {
                Step::Trying
            },
            new: old.other_seat(),
            old: old.clone(),
            spec,
            wanted: Wanted::Running,
            stops_first,
            reply: Some(reply),
        };
        self.switches.insert(name.clone(), switch);
        if stops_first {
            self.want(&old, Wanted::Stopped);
        } else {
            self.start_new(&name, true);
        }
        self.settle_switch(&name);
    }

    fn can_switch(&self, spec: &LaunchSpec) -> Result<(), SupervisorError> {
        let name = &spec.key;
        if self.is_draining {
            return Err(SupervisorError::Draining);
        }
        let old = self.seat_of(name);
        let entry = self.entries.get(&old).filter(|entry| !entry.is_removed);
        let entry = entry.ok_or_else(|| SupervisorError::Unknown(name.clone()))?;
        if spec.is_shared || entry.spec.is_shared {
            return Err(SupervisorError::Shared(name.clone()));
        }
        if entry.machine.wanted() != Wanted::Running {
            return Err(SupervisorError::Disabled(name.clone()));
        }
        let is_taken = self.entries.contains_key(&old.other_seat());
        if is_taken || self.switches.contains_key(name) {
            return Err(SupervisorError::Switching(name.clone()));
        }
        Ok(())
    }

    fn start_new(&mut self, name: &InstanceKey, is_held: bool) {
        let Some(switch) = self.switches.get(name) else {
            return;
        };
        let (new, spec) = (switch.new.clone(), switch.spec.clone());
        let Some(old) = self.entries.get(&switch.old) else {
            return;
        };
        let machine = Machine::new(spec.restart.clone(), spec.timeouts);
        let mut entry = Entry::new(spec);
        entry.machine = machine.on_trial_after(&old.machine, is_held);
        self.entries.insert(new.clone(), entry);
        self.want(&new, Wanted::Running);
    }

    fn want(&mut self, seat: &InstanceKey, wanted: Wanted) {
        let budget_ms = self.entries.get(seat).map(|e| e.spec.timeouts.stop_ms);
        let budget_ms = budget_ms.unwrap_or_default();
        self.feed(seat, Input::Want { wanted, budget_ms });
    }

    /// Goes on with a replacement as far as its two machines are.
    pub(super) fn settle_switch(&mut self, name: &InstanceKey) {
        let Some(switch) = self.switches.get(name) else {
            return;
        };
        let (old, new, step) = (switch.old.clone(), switch.new.clone(), switch.step);
        let of = |seat: &InstanceKey| self.entries.get(seat).map(|entry| &entry.machine);
        let is_over = of(&new).is_some_and(Machine::is_at_rest);
        match step {
            Step::Stopping if of(&old).is_none_or(Machine::is_at_rest) => {
                self.go(name, Step::Proving);
                self.make_count_of(name, &new);
            }
            Step::Trying | Step::Quieting | Step::Proving | Step::GivingUp if is_over => {
                self.take_back(name);
            }
            Step::Trying if of(&new).is_some_and(Machine::is_in_standby) => {
                self.go(name, Step::Quieting);
                self.feed(&old, Input::Hold);
            }
            Step::Quieting if of(&old).is_none_or(Machine::is_quiet) => {
                self.go(name, Step::Proving);
                self.make_count(&new);
                self.feed(&new, Input::Release);
            }
            Step::Proving if of(&new).is_some_and(Machine::is_serving) => {
                self.go(name, Step::Retiring);
                self.feed(&new, Input::Trust);
                if let Some(entry) = self.entries.get_mut(&old) {
                    entry.is_removed = true;
                }
                self.want(&old, Wanted::Stopped);
                self.settle_switch(name);
            }
            Step::Retiring if of(&old).is_none() => {
                self.answer(name, Ok(()));
            }
            _ => {}
        }
    }

    /// Without overlap: the new one counts from its first moment on.
    fn make_count_of(&mut self, name: &InstanceKey, new: &InstanceKey) {
        self.start_new(name, false);
        self.make_count(new);
    }

    fn go(&mut self, name: &InstanceKey, step: Step) {
        if let Some(switch) = self.switches.get_mut(name) {
            tracing::debug!(instance = %name, ?step, "Replacing a process.");
            switch.step = step;
        }
    }

    fn answer(&mut self, name: &InstanceKey, result: Result<(), SupervisorError>) {
        if let Some(reply) = self.switches.remove(name).and_then(|s| s.reply) {
            // Whoever asked may have gone.
            let _best_effort = reply.send(result);
        }
    }

    /// The new one has ended before it served: the old one goes on.
    fn take_back(&mut self, name: &InstanceKey) {
        let Some(switch) = self.switches.get(name) else {
            return;
        };
        let (old, new) = (switch.old.clone(), switch.new.clone());
        let (wanted, stops_first) = (switch.wanted, switch.stops_first);
        let is_given_up = switch.step == Step::GivingUp;
        self.arm(&new, None);
        let failed = self.entries.remove(&new);
        let exit = failed.as_ref().and_then(|entry| entry.machine.last_exit());
        let tail = exit
            .map(|exit| exit.stderr_tail.clone())
            .unwrap_or_default();
        let reason = failed
            .as_ref()
            .and_then(|entry| entry.report.reason.clone());
        let reason = reason.unwrap_or_else(|| "it ended".to_owned());
        let (why, error) = if is_given_up {
            let error = SupervisorError::GivenUp(name.clone());
            (error.to_string(), error)
        } else {
            let why = crate::supervisor::cause::of_new_process(&reason);
            (why, SupervisorError::NotReady { reason, tail })
        };
        self.make_count(&old);
        if let (Some(entry), Some(failed)) = (self.entries.get(&old), failed) {
            let mut report = entry.report.clone();
            report.pid = self.pid_of(&old);
            let old = match report.pid {
                // What becomes of it is told as that happens.
                _ if is_given_up => String::new(),
                Some(pid) => format!("; the old one stays (pid {pid})"),
                None => "; the old one is started again".to_owned(),
            };
            report.reason = Some(format!("{why}{old}"));
            // What was given up ended as it was told to.
            report.incident = exit_incident(&failed).filter(|_| !is_given_up);
            if !is_given_up {
                report.exit = failed.machine.last_exit().cloned();
            }
            self.links.state(name, &report);
        }
        let (level, goes_on) = if is_given_up {
            ("warn", "")
        } else {
            ("error", "; the old one goes on")
        };
        self.logs.line(
            name,
            crate::supervisor::logs::Stream::Supervisor,
            level,
            &format!("{why}{goes_on}"),
        );
        self.answer(name, Err(error));
        if stops_first {
            self.want(&old, wanted);
        } else {
            self.feed(&old, Input::Release);
        }
    }

    /// Says whether a replacement without overlap is being given up: the old one waits for the end of the new one, and is
    /// then what the operator wants.
    pub(super) fn waits_to_come_back(&self, name: &InstanceKey) -> bool {
        let switch = self.switches.get(name);
        switch.is_some_and(|switch| switch.stops_first && switch.step == Step::GivingUp)
    }

    /// The seat that the operator's word is about. A replacement that is not through yet is given up.
    pub(super) fn seat_to_act_on(&mut self, name: &InstanceKey) -> InstanceKey {
        let Some(switch) = self.switches.get(name) else {
            return self.seat_of(name);
        };
        let (old, new, step) = (switch.old.clone(), switch.new.clone(), switch.step);
        if step == Step::Retiring {
            return new;
        }
        if step == Step::Stopping {
            // Nothing of the new one is there yet.
            self.switches.get_mut(name).expect("looked up above").step = Step::GivingUp;
            self.take_back(name);
        } else if step != Step::GivingUp {
            self.go(name, Step::GivingUp);
            self.want(&new, Wanted::Stopped);
        }
        old
    }

    /// Remembers what the operator wants, for when the old one goes on.
    pub(super) fn note_wanted(&mut self, name: &InstanceKey, wanted: Wanted) {
        if let Some(switch) = self.switches.get_mut(name) {
            switch.wanted = wanted;
        }
    }

    /// The daemon ends: nothing is replaced any more.
    pub(super) fn end_switches(&mut self) {
        let names: Vec<InstanceKey> = self.switches.keys().cloned().collect();
        for name in names {
            self.answer(&name, Err(SupervisorError::Draining));
        }
    }
}

fn exit_incident(failed: &Entry) -> Option<Incident> {
    let exit: Option<&Arc<_>> = failed.machine.last_exit();
    exit.map(|_| Incident::Crashed)
}
