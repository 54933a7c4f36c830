//! The one task that owns all instances: it feeds their machines and does what they say.
//!
//! It never waits for a process, a plugin or the disk; whatever takes time is a task of its own
//! that sends news. So one instance cannot delay another.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::exit::ExitReport;
use super::handle::{Applied, Listed, SupervisorError};
use super::instance::{GroupSignal, Input, Machine, Output, Wanted};
use super::links::{Connection, Links, Signal};
use super::logs::Logs;
use super::own_server::OwnServers;
use super::process::News;
use super::reap::Process;
use super::spawn::Spawner;
use super::spec::LaunchSpec;
use super::state::{Incident, State, StateReport};
use crate::clock::{Clock, Random};
use crate::install::Checker;
use crate::instance::InstanceKey;

mod arrival;
mod check;
mod drain;
mod seats;
mod shared;
mod switch;
use arrival::Arrival;
use drain::Drain;
use shared::Hosted;
use switch::Switch;

/// How long the last frames of an ended process may take to be read from its link.
const LAST_FRAMES: Duration = Duration::from_millis(100);

/// What the handle asks for.
pub(super) enum Command {
    Apply {
        specs: Vec<LaunchSpec>,
        reply: oneshot::Sender<Result<Applied, SupervisorError>>,
    },
    Act {
        key: InstanceKey,
        act: Act,
        reply: oneshot::Sender<Result<(), SupervisorError>>,
    },
    Switch {
        spec: Box<LaunchSpec>,
        reply: oneshot::Sender<Result<(), SupervisorError>>,
    },
    Arrive {
        meant: Vec<InstanceKey>,
        there: watch::Sender<usize>,
        reply: oneshot::Sender<Result<(), SupervisorError>>,
    },
    List {
        reply: oneshot::Sender<Vec<Listed>>,
    },
    Drain {
        timeout_ms: u64,
        reply: oneshot::Sender<Vec<InstanceKey>>,
    },
}

/// What an operator does to one instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Restart,
    Enable,
    Disable,
    Pause,
    Resume,
}

/// One configured instance, or one that is still ending.
struct Entry {
    spec: Arc<LaunchSpec>,
    machine: Machine,
    due_ms: Option<u64>,
    /// The check that its start waits for.
    check: Option<u64>,
    process: Option<Arc<Process>>,
    /// A signal for a process that has not started yet.
    early_signal: Option<GroupSignal>,
    connection: Option<Connection>,
    /// True from the attach until the links say that the link is closed.
    is_linked: bool,
    /// The end of a process whose last frames may still be unread.
    last_words: Option<ExitReport>,
    report: StateReport,
    is_removed: bool,
    /// Where it is, if it shares a process.
    hosted: Hosted,
    /// The process was asked to end it.
    is_closing: bool,
    /// It did not end when it was asked itself.
    is_killed: bool,
    /// It ended because its process did.
    ended_with_host: bool,
}

/// All instances and everything they need.
pub(super) struct Engine {
    pub(super) links: Arc<dyn Links>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Box<dyn Random>,
    pub(super) logs: Logs,
    pub(super) spawner: Spawner,
    pub(super) checker: Checker,
    pub(super) news: mpsc::Sender<(InstanceKey, News)>,
    pub(super) servers: Arc<OwnServers>,
    pub(super) adopts_orphans: bool,
    entries: HashMap<InstanceKey, Entry>,
    due: BTreeSet<(u64, InstanceKey)>,
    /// Instances whose second seat is the one that counts.
    second: BTreeSet<InstanceKey>,
    /// Checks of packages that were asked for.
    checks: u64,
    switches: HashMap<InstanceKey, Switch>,
    /// By shared process: the instances in it that are starting.
    opening: HashMap<InstanceKey, BTreeSet<InstanceKey>>,
    /// Those who wait until what was replaced serves.
    arrivals: Vec<Arrival>,
    drain: Option<Drain>,
    is_draining: bool,
}

/// What the engine is made of.
pub(super) struct Parts {
    pub(super) links: Arc<dyn Links>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Box<dyn Random>,
    pub(super) logs: Logs,
    pub(super) spawner: Spawner,
    pub(super) checker: Checker,
    pub(super) news: mpsc::Sender<(InstanceKey, News)>,
    pub(super) servers: Arc<OwnServers>,
    pub(super) adopts_orphans: bool,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            links,
            clock,
            random,
            logs,
            spawner,
            checker,
            news,
            servers,
            adopts_orphans,
        } = parts;
        Self {
            links,
            clock,
            random,
            logs,
            spawner,
            checker,
            news,
            servers,
            adopts_orphans,
            entries: HashMap::new(),
            due: BTreeSet::new(),
            second: BTreeSet::new(),
            checks: 0,
            switches: HashMap::new(),
            opening: HashMap::new(),
            arrivals: Vec::new(),
            drain: None,
            is_draining: false,
        }
    }

    /// Runs until every handle is gone; then the processes end with the spawning thread.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut signals: mpsc::Receiver<(InstanceKey, Signal)>,
        mut news: mpsc::Receiver<(InstanceKey, News)>,
    ) {
        loop {
            let wait = self.next_due();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some((key, signal)) = signals.recv() => self.signalled(&key, signal),
                Some((key, news)) = news.recv() => self.hear(&key, news),
                () = sleep(wait) => self.tick(),
            }
            self.finish_drain();
        }
    }

    // Time.

    fn next_due(&self) -> Option<Duration> {
        let drain_ms = self.drain.as_ref().map(|drain| drain.deadline_ms);
        let first_ms = self.due.first().map(|(at, _)| *at);
        let at_ms = drain_ms.into_iter().chain(first_ms).min()?;
        Some(Duration::from_millis(
            at_ms.saturating_sub(self.clock.now().mono_ms),
        ))
    }

    fn tick(&mut self) {
        let now_ms = self.clock.now().mono_ms;
        while let Some((at_ms, _)) = self.due.first()
            && *at_ms <= now_ms
            && let Some((_, key)) = self.due.pop_first()
        {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.due_ms = None;
            }
            self.feed(&key, Input::Timer);
        }
    }

    fn arm(&mut self, key: &InstanceKey, after_ms: Option<u64>) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if let Some(at_ms) = entry.due_ms.take() {
            self.due.remove(&(at_ms, key.clone()));
        }
        if let Some(after_ms) = after_ms {
            let at_ms = self.clock.now().mono_ms.saturating_add(after_ms);
            entry.due_ms = Some(at_ms);
            self.due.insert((at_ms, key.clone()));
        }
    }

    // What is asked.

    fn command(&mut self, command: Command) {
        // Whoever asked may have gone; what was asked is done anyway.
        match command {
            Command::Apply { specs, reply } => {
                let _best_effort = reply.send(self.apply(specs));
            }
            Command::Act { key, act, reply } => {
                let _best_effort = reply.send(self.act(&key, act));
            }
            Command::Switch { spec, reply } => self.start_switch(*spec, reply),
            Command::Arrive {
                meant,
                there,
                reply,
            } => self.await_arrival(meant, there, reply),
            Command::List { reply } => {
                let instances = self.entries.iter().filter(|(key, _)| self.counts(key));
                let mut listed: Vec<Listed> = instances
                    .map(|(key, entry)| entry.listed(self.pid_of(key)))
                    .collect();
                listed.sort_by(|a, b| a.key.cmp(&b.key));
                let _best_effort = reply.send(listed);
            }
            Command::Drain { timeout_ms, reply } => self.start_drain(timeout_ms, reply),
        }
    }

    fn apply(&mut self, specs: Vec<LaunchSpec>) -> Result<Applied, SupervisorError> {
        if self.is_draining {
            return Err(SupervisorError::Draining);
        }
        let mut wanted = BTreeSet::new();
        if let Some(twice) = specs.iter().find(|spec| !wanted.insert(spec.key.clone())) {
            return Err(SupervisorError::Twice(twice.key.clone()));
        }
        let mut applied = Applied::default();
        let gone: Vec<InstanceKey> = self
            .entries
            .iter()
            .filter(|(key, entry)| !wanted.contains(&key.of_seat()) && !entry.is_removed)
            .filter(|(key, _)| !key.is_process())
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.remove(&key);
            applied.stopped.push(key.of_seat());
        }
        for spec in specs {
            self.apply_one(spec, &mut applied);
        }
        self.apply_processes();
        Ok(applied)
    }

    fn apply_one(&mut self, spec: LaunchSpec, applied: &mut Applied) {
        let name = spec.key.clone();
        let key = self.seat_of(&name);
        let wanted = if spec.is_enabled {
            Wanted::Running
        } else {
            Wanted::Disabled
        };
        let budget_ms = spec.timeouts.stop_ms;
        let want = Input::Want { wanted, budget_ms };
        let Some(entry) = self.entries.get_mut(&key) else {
            self.entries.insert(key.clone(), Entry::new(spec));
            self.feed(&key, want);
            applied.started.push(name);
            return;
        };
        let was_removed = std::mem::take(&mut entry.is_removed);
        if *entry.spec == spec && !was_removed {
            applied.untouched.push(name);
            return;
        }
        entry.machine.configure(spec.restart.clone(), spec.timeouts);
        let needs_new_process = spec.needs_new_process(&entry.spec);
        let is_switched = spec.is_enabled != entry.spec.is_enabled;
        entry.spec = Arc::new(spec);
        self.feed(&key, Input::Configured);
        if was_removed || is_switched {
            self.feed(&key, want);
        }
        if needs_new_process {
            self.feed(&key, Input::Restart);
        }
        applied.changed.push(name);
    }

    fn remove(&mut self, key: &InstanceKey) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.is_removed = true;
        let budget_ms = entry.spec.timeouts.stop_ms;
        self.feed(
            key,
            Input::Want {
                wanted: Wanted::Stopped,
                budget_ms,
            },
        );
    }

    fn act(&mut self, key: &InstanceKey, act: Act) -> Result<(), SupervisorError> {
        if self.is_draining {
            return Err(SupervisorError::Draining);
        }
        let name = key;
        let key = &self.seat_to_act_on(name);
        let entry = self.entries.get(key);
        let is_named = !key.is_process() || act == Act::Restart;
        let entry = entry.filter(|entry| !entry.is_removed && is_named);
        let entry = entry.ok_or_else(|| SupervisorError::Unknown(name.clone()))?;
        let budget_ms = entry.spec.timeouts.stop_ms;
        if self.waits_to_come_back(name) {
            match act {
                // It starts anew in any case.
                Act::Restart | Act::Enable | Act::Resume => {
                    self.note_wanted(name, Wanted::Running);
                }
                Act::Disable => self.note_wanted(name, Wanted::Disabled),
                Act::Pause => return Err(SupervisorError::Switching(name.clone())),
            }
            return Ok(());
        }
        let is_running = entry.machine.wanted() == Wanted::Running;
        if !is_running && matches!(act, Act::Restart | Act::Pause | Act::Resume) {
            return Err(SupervisorError::Disabled(name.clone()));
        }
        let input = match act {
            Act::Restart => Input::Restart,
            Act::Enable => Input::Want {
                wanted: Wanted::Running,
                budget_ms,
            },
            Act::Disable => Input::Want {
                wanted: Wanted::Disabled,
                budget_ms,
            },
            Act::Pause => Input::Pause,
            Act::Resume => Input::Resume,
        };
        if let Input::Want { wanted, .. } = input {
            self.note_wanted(name, wanted);
        }
        if act == Act::Restart && self.restart_missing(key) {
            return Ok(());
        }
        self.feed(key, input);
        Ok(())
    }

    // What happens.

    fn hear(&mut self, key: &InstanceKey, news: News) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let input = match news {
            News::Checked(number, failure) => return self.checked(key, number, failure),
            News::Started(process) => {
                if let Some(signal) = entry.early_signal.take() {
                    send(&process, signal);
                }
                entry.process = Some(process);
                return;
            }
            News::Spawned(connection) => {
                entry.connection = Some(connection);
                Input::Spawned
            }
            News::NotSpawned(failure) => {
                entry.process = None;
                entry.early_signal = None;
                let reason = failure.to_string();
                if failure.is_final {
                    Input::SpawnRefused(reason)
                } else {
                    Input::SpawnFailed(reason)
                }
            }
            News::Exited(exit) => {
                entry.process = None;
                entry.connection = None;
                return self.last_words(key, exit);
            }
            News::LinkIsLate => return self.conclude(key),
        };
        self.feed(key, input);
    }

    fn last_words(&mut self, key: &InstanceKey, exit: ExitReport) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.last_words = Some(exit);
        if !entry.is_linked {
            return self.conclude(key);
        }
        // An ack that was written before the end counts: told only once the link is read
        // to its end, so that nothing settled is blamed or delivered again.
        let (news, key) = (self.news.clone(), key.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LAST_FRAMES).await;
            // Without an engine there is nobody to tell.
            let _best_effort = news.send((key, News::LinkIsLate)).await;
        });
    }

    fn signalled(&mut self, key: &InstanceKey, signal: Signal) {
        let signal = signal.in_lines();
        if let Signal::Closed { error } = signal {
            return self.hosted_closed(key, error);
        }
        let is_closed = signal == Signal::LinkClosed;
        let is_up = signal == Signal::Standby;
        if let Some(entry) = self.entries.get_mut(key) {
            // It came by itself, where the instance shares a process.
            entry.is_linked |= is_up && entry.hosted == Hosted::Open;
        }
        self.feed(key, Input::Signal(signal));
        if is_up && key.is_process() {
            self.feed(key, Input::Signal(Signal::ready()));
        }
        if is_closed && let Some(entry) = self.entries.get_mut(key) {
            entry.is_linked = false;
            if entry.hosted == Hosted::Open {
                self.close_hosted(key);
            }
            self.conclude(key);
        }
    }

    /// Tells the end of a process, if it is not told yet.
    fn conclude(&mut self, key: &InstanceKey) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let Some(exit) = entry.last_words.take() else {
            return;
        };
        entry.early_signal = None;
        entry.is_linked = false;
        let with_host = std::mem::take(&mut entry.ended_with_host);
        if key.is_process() {
            self.host_ended(key, &exit);
            self.feed(key, Input::Exited(Arc::new(exit)));
            // What its instances held is blamed on them, one by one.
            let blamed = Signal::Blamed { suspect: false };
            return self.feed(key, Input::Signal(blamed));
        }
        self.links.exited(key, &exit);
        let exit = Arc::new(exit);
        self.feed(
            key,
            if with_host {
                Input::HostEnded(exit)
            } else {
                Input::Exited(exit)
            },
        );
    }

    fn feed(&mut self, key: &InstanceKey, input: Input) {
        let now_ms = self.clock.now().mono_ms;
        let unit = self.random.unit();
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        for output in entry.machine.step(now_ms, unit, input) {
            self.do_one(key, output);
        }
        let is_over = self
            .entries
            .get(key)
            .is_some_and(|e| e.is_removed && e.machine.is_at_rest());
        if is_over {
            self.entries.remove(key);
            self.forget(key);
        }
        self.settle_check(key);
        self.settle_shared(key);
        self.settle_switch(&key.of_seat());
        self.settle_arrivals();
    }

    fn do_one(&mut self, key: &InstanceKey, output: Output) {
        let pid = self.pid_of(key);
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        match output {
            Output::Spawn if entry.spec.is_shared => {
                entry.hosted = Hosted::Pending;
                self.tell_one_pending(&InstanceKey::process_of(&key.plugin), key);
            }
            Output::Spawn => self.start_process(key),
            Output::Attach => {
                if let Some(connection) = entry.connection.take() {
                    entry.is_linked = true;
                    self.links.attach(key, connection);
                }
            }
            // A process link has nothing to activate.
            Output::Activate if key.is_process() => {}
            Output::Activate => self.links.activate(key),
            Output::Deactivate { timeout_ms } => {
                self.links
                    .deactivate(key, timeout_ms, "replaced by another process");
            }
            Output::Pause => self.links.pause(key),
            Output::Resume => self.links.resume(key),
            Output::Shutdown { timeout_ms, reason } => {
                self.links.shutdown(key, timeout_ms, &reason);
            }
            Output::Kill(signal) if entry.hosted == Hosted::Open => self.kill_hosted(key, signal),
            Output::Kill(signal) => match &entry.process {
                Some(process) => send(process, signal),
                None => entry.early_signal = Some(signal),
            },
            // As long as there is nothing to start, the time to start does not run.
            Output::Arm(_) if entry.hosted == Hosted::Pending || entry.check.is_some() => {
                self.arm(key, None);
            }
            Output::Arm(after_ms) => self.arm(key, Some(after_ms)),
            Output::Disarm => self.arm(key, None),
            Output::Report(change) => {
                let now_ms = self.clock.now().wall_ms;
                let is_same = entry.report.state == change.state;
                let has_exit = change.incident != Some(Incident::NotStarted);
                entry.report = StateReport {
                    state: change.state,
                    reason: change.reason,
                    since_ms: if is_same {
                        entry.report.since_ms
                    } else {
                        now_ms
                    },
                    pid,
                    exits: entry.machine.exits(),
                    incident: change.incident,
                    exit: entry.machine.last_exit().filter(|_| has_exit).cloned(),
                    retry_in_ms: change.retry_in_ms,
                };
                if key.is_process() {
                    return self.tell_pending(key);
                }
                if self.counts(key) {
                    self.tell_state(key);
                }
            }
        }
    }
}

impl Entry {
    fn new(spec: LaunchSpec) -> Self {
        Self {
            machine: Machine::new(spec.restart.clone(), spec.timeouts),
            spec: Arc::new(spec),
            due_ms: None,
            check: None,
            process: None,
            early_signal: None,
            connection: None,
            is_linked: false,
            last_words: None,
            report: StateReport {
                state: State::Stopped,
                reason: None,
                since_ms: 0,
                pid: None,
                exits: 0,
                incident: None,
                exit: None,
                retry_in_ms: None,
            },
            is_removed: false,
            hosted: Hosted::No,
            is_closing: false,
            is_killed: false,
            ended_with_host: false,
        }
    }

    fn listed(&self, pid: Option<u32>) -> Listed {
        let mut report = self.report.clone();
        report.pid = pid;
        Listed {
            key: self.spec.key.clone(),
            report,
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

fn send(process: &Process, signal: GroupSignal) {
    use rustix::process::Signal as Number;
    let number = match signal {
        GroupSignal::Term => Number::TERM,
        GroupSignal::Abort => Number::ABORT,
        GroupSignal::Kill => Number::KILL,
    };
    process.signal_group(number);
    if signal != GroupSignal::Kill {
        // A stopped process would not notice before it is killed.
        process.signal_group(Number::CONT);
    }
}
