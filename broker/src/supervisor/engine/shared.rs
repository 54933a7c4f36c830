//! Instances that share a process: the same machines, with another way to start and to end.
//!
//! The process is an entry of its own, under a key that no instance has, and has a machine like any
//! instance: it is started, watched, ended and backed off by the same rules. An instance in it is opened
//! instead of spawned, and closed instead of killed; while there is no process it waits, without a timer.
//!
//! Invariants: an instance that is opened has a process that serves; the end of one instance touches
//! neither the process nor its neighbours; the end of the process ends them all, and is no fault of theirs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Engine, Entry};
use crate::instance::InstanceKey;
use crate::supervisor::exit::ExitReport;
use crate::supervisor::instance::{GroupSignal, Input, Wanted};
use crate::supervisor::spec::{LaunchSpec, Limits};
use crate::supervisor::state::State;

/// Descriptors that a shared process may have beyond what its manifest allows: the links of its instances.
///
/// It does not depend on how many there are now, so that one more instance restarts nobody.
const LINKS_MAX: u64 = 4_096;
/// Instances that one process starts at a time. Each has the time of a start from when it is opened: of a thousand that
/// were opened together, a slow machine would have none ready in time, and then all of them again.
const OPENING_MAX: usize = 64;

/// Where an instance is that shares a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Hosted {
    /// Nowhere; or it has a process of its own.
    #[default]
    No,
    /// It waits for the process.
    Pending,
    /// In the process.
    Open,
}

impl Engine {
    /// Does what follows a step of an instance, or of the process it shares.
    pub(super) fn settle_shared(&mut self, key: &InstanceKey) {
        if key.is_process() {
            let is_up = self.entries.get(key);
            if is_up.is_some_and(|entry| entry.machine.is_serving()) {
                self.open_pending(key);
            }
            return;
        }
        let process = InstanceKey::process_of(&key.plugin);
        if let Some(entry) = self.entries.get_mut(key) {
            if entry.hosted == Hosted::Pending && entry.machine.wanted() != Wanted::Running {
                entry.hosted = Hosted::No;
                return self.feed(key, Input::SpawnFailed("not wanted any more".to_owned()));
            }
            let is_shared = entry.spec.is_shared || entry.hosted != Hosted::No;
            if !is_shared && !self.entries.contains_key(&process) {
                return;
            }
        } else if !self.entries.contains_key(&process) {
            return;
        }
        self.sync_process(&process);
        let entry = self.entries.get(key);
        let is_pending = entry.is_some_and(|entry| entry.hosted == Hosted::Pending);
        let is_opening =
            entry.is_some_and(|entry| entry.hosted == Hosted::Open && !entry.machine.is_serving());
        let opening = self.opening.get_mut(&process);
        let has_begun = !is_opening && opening.is_some_and(|opening| opening.remove(key));
        let host = self.entries.get(&process);
        let is_up = host.is_some_and(|entry| entry.is_linked && entry.machine.is_serving());
        if is_up && (is_pending || has_begun) {
            self.open_pending(&process);
        }
    }

    /// Keeps the process of a plugin exactly while somebody needs it.
    fn sync_process(&mut self, process: &InstanceKey) {
        let needs = |entry: &Entry| {
            entry.hosted != Hosted::No
                || (entry.spec.is_shared && entry.machine.wanted() == Wanted::Running)
        };
        let is_needed = self.hosted_by(process).any(|(_, entry)| needs(entry));
        let wanted = if is_needed && !self.is_draining {
            Wanted::Running
        } else {
            Wanted::Stopped
        };
        if wanted == Wanted::Running && !self.entries.contains_key(process) {
            let Some(spec) = self.process_spec(process) else {
                return;
            };
            self.entries.insert(process.clone(), Entry::new(spec));
        }
        let Some(entry) = self.entries.get_mut(process) else {
            return;
        };
        if entry.machine.wanted() != wanted {
            let budget_ms = entry.spec.timeouts.stop_ms;
            entry.is_removed = wanted != Wanted::Running;
            self.feed(process, Input::Want { wanted, budget_ms });
        }
    }

    /// Takes over what changed in the specs of processes.
    pub(super) fn apply_processes(&mut self) {
        let all: Vec<InstanceKey> = self.entries.keys().cloned().collect();
        for process in all.into_iter().filter(InstanceKey::is_process) {
            let Some(spec) = self.process_spec(&process) else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(&process) else {
                continue;
            };
            if *entry.spec == spec {
                continue;
            }
            let needs_new_process = spec.needs_new_process(&entry.spec);
            entry.machine.configure(spec.restart.clone(), spec.timeouts);
            entry.spec = Arc::new(spec);
            self.feed(&process, Input::Configured);
            if needs_new_process {
                self.feed(&process, Input::Restart);
            }
        }
    }

    /// What the process of a plugin is started from: what its instances have in common, and the widest
    /// of their limits.
    fn process_spec(&self, process: &InstanceKey) -> Option<LaunchSpec> {
        let mut specs: Vec<&Arc<LaunchSpec>> = self
            .hosted_by(process)
            .filter(|(_, entry)| entry.spec.is_shared && !entry.is_removed)
            .map(|(_, entry)| &entry.spec)
            .collect();
        specs.sort_by(|a, b| a.key.cmp(&b.key));
        let first = *specs.first()?;
        let mut limits = specs.iter().map(|spec| spec.limits).reduce(widest)?;
        limits.open_files += LINKS_MAX;
        let state_dir = first.state_dir.parent().unwrap_or(&first.state_dir);
        Some(LaunchSpec {
            key: process.clone(),
            state_dir: state_dir.to_owned(),
            limits,
            own_server: None,
            is_enabled: true,
            is_shared: false,
            revision: first.version.clone(),
            ..(**first).clone()
        })
    }

    fn hosted_by(&self, process: &InstanceKey) -> impl Iterator<Item = (&InstanceKey, &Entry)> {
        let plugin = process.plugin.clone();
        self.entries
            .iter()
            .filter(move |(key, _)| key.plugin == plugin && !key.is_process())
    }

    fn hosted_keys(&self, process: &InstanceKey, hosted: Hosted) -> Vec<InstanceKey> {
        let all = self.hosted_by(process);
        let mut keys: Vec<InstanceKey> = all
            .filter(|(_, entry)| entry.hosted == hosted)
            .map(|(key, _)| key.clone())
            .collect();
        keys.sort();
        keys
    }

    /// Opens what waits for the process, as many as may start at a time.
    fn open_pending(&mut self, process: &InstanceKey) {
        let opening = self.opening.get(process).map_or(0, BTreeSet::len);
        let room = OPENING_MAX.saturating_sub(opening);
        if room == 0 {
            return;
        }
        let mut keys = self.hosted_keys(process, Hosted::Pending);
        keys.truncate(room);
        // All of them before the first is fed: each is opened once, and none from within another one's step.
        for key in &keys {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.hosted = Hosted::Open;
                (entry.is_closing, entry.is_killed) = (false, false);
            }
        }
        let opening = self.opening.entry(process.clone()).or_default();
        opening.extend(keys.iter().cloned());
        for key in keys {
            self.links.open(&key);
            self.feed(&key, Input::Spawned);
        }
    }

    /// Tells the state of a process that cannot be had to those who wait for it, and that it is tried again.
    pub(super) fn tell_pending(&mut self, process: &InstanceKey) {
        let is_missing = self.is_missing(process);
        for key in self.hosted_keys(process, Hosted::Pending) {
            if is_missing {
                self.tell_one_pending(process, &key);
            } else {
                self.tell_one_starting(process, &key);
            }
        }
    }

    /// Tells one that was told that its process does not run that it starts again.
    fn tell_one_starting(&mut self, process: &InstanceKey, key: &InstanceKey) {
        let since_ms = self.entries.get(process).map(|entry| entry.report.since_ms);
        let Some((entry, since_ms)) = self.entries.get_mut(key).zip(since_ms) else {
            return;
        };
        if matches!(entry.report.state, State::BackingOff | State::Failed) {
            let report = &mut entry.report;
            (report.state, report.since_ms) = (State::Starting, since_ms);
            (report.reason, report.retry_in_ms) = (None, None);
            self.links.state(key, &entry.report);
        }
    }

    /// Tells one that waits from now on the state of a process that cannot be had.
    pub(super) fn tell_one_pending(&mut self, process: &InstanceKey, key: &InstanceKey) {
        if !self.is_missing(process) {
            return;
        }
        let Some(report) = self.entries.get(process).map(|entry| entry.report.clone()) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let why = report.reason.as_deref().unwrap_or("unknown");
        entry.report.state = report.state;
        // The time of the next start counts from there.
        entry.report.since_ms = report.since_ms;
        entry.report.reason = Some(format!("its process does not run: {why}"));
        entry.report.retry_in_ms = report.retry_in_ms;
        entry.report.incident = None;
        self.links.state(key, &entry.report);
    }

    /// Says whether a process waits for its next start, or is given up.
    fn is_missing(&self, process: &InstanceKey) -> bool {
        let report = self.entries.get(process).map(|entry| &entry.report);
        report.is_some_and(|report| matches!(report.state, State::BackingOff | State::Failed))
    }

    /// Starts the process that an instance waits for, which was given up or is to be tried later. True if it did.
    pub(super) fn restart_missing(&mut self, key: &InstanceKey) -> bool {
        let entry = self.entries.get(key);
        let process = InstanceKey::process_of(&key.plugin);
        let waits = entry.is_some_and(|entry| entry.hosted == Hosted::Pending);
        if !waits || !self.is_missing(&process) {
            return false;
        }
        self.feed(&process, Input::Restart);
        true
    }

    /// The process id behind an instance.
    pub(super) fn pid_of(&self, key: &InstanceKey) -> Option<u32> {
        let entry = self.entries.get(key)?;
        let process = match entry.hosted {
            Hosted::Open => {
                let process = InstanceKey::process_of(&key.plugin);
                &self.entries.get(&process)?.process
            }
            _ => &entry.process,
        };
        process.as_ref().map(|process| process.pid())
    }

    /// Asks the process to end an instance; what does not end is cut off.
    pub(super) fn kill_hosted(&mut self, key: &InstanceKey, signal: GroupSignal) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.is_killed = true;
        }
        if !self.process_is_linked(key) {
            // Its end is near, and ends this instance too.
            return;
        }
        self.close_hosted(key);
        if signal == GroupSignal::Kill {
            let words = "it did not end and was cut off".to_owned();
            self.hosted_ended(key, ExitReport::new(None, None, words), false);
        }
    }

    /// Makes sure that nothing of an instance is left in the process.
    pub(super) fn close_hosted(&mut self, key: &InstanceKey) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut entry.is_closing, true) {
            let timeout_ms = entry.spec.timeouts.kill_grace_ms;
            self.links.close(key, timeout_ms, "closed");
        }
    }

    /// The process says that nothing of an instance is left.
    pub(super) fn hosted_closed(&mut self, key: &InstanceKey, error: Option<String>) {
        if !self.process_is_linked(key) {
            return;
        }
        let process = InstanceKey::process_of(&key.plugin);
        let host = self.entries.get(&process);
        let is_host_ending = host.is_none_or(|entry| !entry.machine.is_serving());
        let entry = self.entries.get(key);
        let Some(entry) = entry.filter(|entry| entry.is_closing && entry.hosted == Hosted::Open)
        else {
            // Of one that was cut off before.
            return;
        };
        let is_orderly = error.is_none() && !entry.is_killed && entry.machine.is_leaving();
        let code = (is_orderly || is_host_ending).then_some(0);
        let exit = ExitReport::new(code, None, error.unwrap_or_default());
        self.hosted_ended(key, exit, is_host_ending);
    }

    /// The process has ended, and everything in it.
    pub(super) fn host_ended(&mut self, process: &InstanceKey, exit: &ExitReport) {
        for key in self.hosted_keys(process, Hosted::Open) {
            self.hosted_ended(&key, exit.clone(), true);
        }
    }

    fn hosted_ended(&mut self, key: &InstanceKey, exit: ExitReport, with_host: bool) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.hosted = Hosted::No;
        entry.ended_with_host = with_host;
        self.last_words(key, exit);
    }

    fn process_is_linked(&self, key: &InstanceKey) -> bool {
        let process = InstanceKey::process_of(&key.plugin);
        let entry = self.entries.get(&process);
        entry.is_some_and(|entry| entry.is_linked)
    }
}

fn widest(one: Limits, other: Limits) -> Limits {
    Limits {
        memory_bytes: one
            .memory_bytes
            .zip(other.memory_bytes)
            .map(|(one, other)| one.max(other)),
        open_files: one.open_files.max(other.open_files),
        file_bytes: one.file_bytes.max(other.file_bytes),
    }
}
