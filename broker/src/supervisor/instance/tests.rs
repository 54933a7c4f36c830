use trunkline_contract::error::{Code, Error};

use super::*;

mod degraded;
mod standby;

/// One instance with a clock, for scripted lives.
struct Life {
    machine: Machine,
    now_ms: u64,
}

impl Life {
    fn new() -> Self {
        Self {
            machine: Machine::new(RestartPolicy::default(), Timeouts::default()),
            now_ms: 0,
        }
    }

    fn serving() -> Self {
        let mut life = Self::new();
        life.input(want(Wanted::Running));
        life.input(Input::Spawned);
        life.input(Input::Signal(Signal::Standby));
        life.input(status(Status::Ready));
        life
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.machine.step(self.now_ms, 0.5, input)
    }

    fn after(&mut self, ms: u64, input: Input) -> Vec<Output> {
        self.now_ms += ms;
        self.input(input)
    }
}

fn want(wanted: Wanted) -> Input {
    Input::Want {
        wanted,
        budget_ms: 10_000,
    }
}

fn status(state: Status) -> Input {
    Input::Signal(Signal::Status {
        state,
        reason: None,
        retry_after_ms: None,
    })
}

fn exit(code: i32) -> Input {
    Input::Exited(Arc::new(ExitReport::new(Some(code), None, String::new())))
}

fn deactivated(error: Option<&str>) -> Input {
    let error = error.map(str::to_owned);
    Input::Signal(Signal::Deactivated { error })
}

fn blamed(suspect: bool) -> Input {
    Input::Signal(Signal::Blamed { suspect })
}

fn reports(outputs: &[Output]) -> Vec<(State, Option<Incident>)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Report(change) => Some((change.state, change.incident)),
            _ => None,
        })
        .collect()
}

fn armed(outputs: &[Output]) -> Option<u64> {
    outputs.iter().rev().find_map(|output| match output {
        Output::Arm(ms) => Some(*ms),
        _ => None,
    })
}

#[test]
fn an_ordinary_start_goes_through_standby_to_ready() {
    let mut life = Life::new();
    let outputs = life.input(want(Wanted::Running));
    assert!(outputs.contains(&Output::Spawn));
    assert!(life.input(Input::Spawned).contains(&Output::Attach));
    let outputs = life.input(Input::Signal(Signal::Standby));
    assert!(outputs.contains(&Output::Activate));
    assert_eq!(
        reports(&outputs),
        [(State::Standby, None), (State::Starting, None)]
    );
    let outputs = life.input(status(Status::Ready));
    assert_eq!(reports(&outputs), [(State::Ready, None)]);
    assert!(outputs.contains(&Output::Disarm));
    assert_eq!(
        reports(&life.input(status(Status::Degraded))),
        [(State::Degraded, None)]
    );
    assert_eq!(
        life.input(status(Status::Degraded)),
        [],
        "nothing new is not told again"
    );
}

/// Proves L1: every crash is told with its exit, giving up is told once, a clean exit is no crash.
#[test]
fn each_crash_is_told_and_giving_up_is_told_once() {
    let mut life = Life::serving();
    let mut crashed = 0;
    let mut gave_up = 0;
    for _ in 0..8 {
        let at_exit = life.after(100, exit(3));
        let at_judgement = life.input(blamed(false));
        for (_, incident) in reports(&at_exit).into_iter().chain(reports(&at_judgement)) {
            crashed += usize::from(incident == Some(Incident::Crashed));
            gave_up += usize::from(incident == Some(Incident::GaveUp));
        }
        let wait_ms = armed(&at_judgement).expect("a wanted instance is started again");
        assert!(life.after(wait_ms, Input::Timer).contains(&Output::Spawn));
        life.input(Input::Spawned);
        life.input(Input::Signal(Signal::Standby));
        life.input(status(Status::Ready));
    }
    assert_eq!((crashed, gave_up), (8, 1));
    let outputs = life.after(60_000, exit(0));
    assert_eq!(
        reports(&outputs),
        [(State::BackingOff, Some(Incident::Exited))]
    );
}

#[test]
fn the_restart_policy_says_after_which_ends_it_is_started_again() {
    use trunkline_contract::manifest::RestartPolicy as After;
    for (after, code, expected) in [
        (After::Always, 0, State::BackingOff),
        (After::Always, 1, State::BackingOff),
        (After::OnFailure, 0, State::Stopped),
        (After::OnFailure, 1, State::BackingOff),
        (After::Never, 0, State::Stopped),
        (After::Never, 1, State::Failed),
    ] {
        let mut life = Life::serving();
        let policy = RestartPolicy {
            after,
            ..RestartPolicy::default()
        };
        life.machine.restarts.set_policy(policy);
        life.after(100, exit(code));
        let outputs = life.input(blamed(false));
        assert_eq!(reports(&outputs), [(expected, None)], "{after:?} {code}");
        let is_armed = armed(&outputs).is_some();
        assert_eq!(is_armed, expected == State::BackingOff, "{after:?} {code}");
        let outputs = life.input(Input::Restart);
        assert!(outputs.contains(&Output::Spawn), "the operator still can");
    }
}

#[test]
fn exits_blamed_on_a_suspect_never_lead_to_giving_up() {
    let mut life = Life::serving();
    for _ in 0..50 {
        life.after(10, exit(1));
        let outputs = life.input(blamed(true));
        assert_eq!(reports(&outputs), [(State::BackingOff, None)]);
        life.after(armed(&outputs).unwrap(), Input::Timer);
        life.input(Input::Spawned);
        life.input(Input::Signal(Signal::Standby));
        life.input(status(Status::Ready));
    }
}

#[test]
fn a_progress_begins_the_time_to_start_anew() {
    let mut life = Life::new();
    life.input(want(Wanted::Running));
    life.input(Input::Spawned);
    life.input(Input::Signal(Signal::Standby));
    assert_eq!(
        life.after(9_000, Input::Signal(Signal::Progress)),
        [Output::Arm(10_000)]
    );
    let outputs = life.after(10_000, Input::Timer);
    assert!(outputs.contains(&Output::Kill(GroupSignal::Term)));
    let outputs = life.after(5_000, Input::Timer);
    assert!(outputs.contains(&Output::Kill(GroupSignal::Kill)));
    let outputs = life.input(exit(143));
    assert_eq!(
        reports(&outputs),
        [(State::BackingOff, Some(Incident::Crashed))]
    );
}

/// Proves L5 (the supervisor's part): a lost ping aborts, then kills, then starts again.
#[test]
fn a_hanging_process_is_aborted_then_killed_then_replaced() {
    let mut life = Life::serving();
    let outputs = life.input(Input::Signal(Signal::PingLost));
    assert!(outputs.contains(&Output::Kill(GroupSignal::Abort)));
    assert_eq!(armed(&outputs), Some(5_000));
    assert!(
        life.after(5_000, Input::Timer)
            .contains(&Output::Kill(GroupSignal::Kill))
    );
    let outputs = life.input(Input::Exited(Arc::new(ExitReport::new(
        None,
        Some(9),
        String::new(),
    ))));
    assert_eq!(
        reports(&outputs),
        [(State::BackingOff, Some(Incident::Crashed))]
    );
    let wait_ms = armed(&life.input(blamed(false))).unwrap();
    assert!(life.after(wait_ms, Input::Timer).contains(&Output::Spawn));
}

#[test]
fn a_stop_asks_first_and_kills_within_its_budget() {
    let mut life = Life::serving();
    let outputs = life.input(want(Wanted::Stopped));
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Shutdown { .. }))
    );
    let start_ms = life.now_ms;
    let mut wait_ms = armed(&outputs).unwrap();
    let killed_ms = loop {
        let outputs = life.after(wait_ms, Input::Timer);
        if outputs.contains(&Output::Kill(GroupSignal::Kill)) {
            break life.now_ms - start_ms;
        }
        wait_ms = armed(&outputs).unwrap();
    };
    assert!(
        (5_000..=9_500).contains(&killed_ms),
        "killed after {killed_ms} ms"
    );
    assert_eq!(reports(&life.input(exit(137))), [(State::Stopped, None)]);
    life.input(blamed(false));
    assert!(life.machine.is_at_rest());
}

#[test]
fn a_second_stop_with_less_time_shortens_the_first() {
    let mut life = Life::serving();
    let outputs = life.input(Input::Want {
        wanted: Wanted::Stopped,
        budget_ms: 100_000,
    });
    assert_eq!(armed(&outputs), Some(67_500));
    let outputs = life.after(
        10,
        Input::Want {
            wanted: Wanted::Stopped,
            budget_ms: 1_000,
        },
    );
    assert!(outputs.iter().any(|output| matches!(
        output,
        Output::Shutdown {
            timeout_ms: 600,
            ..
        }
    )));
    let mut wait_ms = armed(&outputs).unwrap();
    while !life
        .after(wait_ms, Input::Timer)
        .contains(&Output::Kill(GroupSignal::Kill))
    {
        wait_ms = life.machine.kill_by_ms - life.now_ms;
    }
    assert_eq!(life.now_ms, 910);
}

#[test]
fn a_drained_process_that_leaves_by_itself_gets_no_signal() {
    let mut life = Life::serving();
    let mut all = life.input(want(Wanted::Stopped));
    all.extend(life.input(Input::Signal(Signal::Drained)));
    all.extend(life.input(exit(0)));
    all.extend(life.input(blamed(false)));
    assert!(!all.iter().any(|output| matches!(output, Output::Kill(_))));
    assert_eq!(life.machine.exits(), 0, "a wanted end is no exit");
}

#[test]
fn retry_later_waits_as_long_as_the_plugin_asked() {
    let mut life = Life::serving();
    let outputs = life.input(Input::Signal(Signal::Status {
        state: Status::RetryLater,
        reason: Some("rate limited".to_owned()),
        retry_after_ms: Some(42_000),
    }));
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Shutdown { .. }))
    );
    life.input(exit(0));
    let outputs = life.input(blamed(false));
    assert_eq!(armed(&outputs), Some(42_000));
    assert_eq!(reports(&outputs), [(State::BackingOff, None)]);
    assert!(life.after(42_000, Input::Timer).contains(&Output::Spawn));
}

#[test]
fn a_fatal_status_is_not_tried_again_until_the_operator_says_so() {
    let mut life = Life::serving();
    life.input(status(Status::Fatal));
    life.input(exit(0));
    let outputs = life.input(blamed(false));
    assert_eq!(reports(&outputs), [(State::Failed, None)]);
    assert_eq!(armed(&outputs), None);
    assert!(life.input(Input::Restart).contains(&Output::Spawn));
}

#[test]
fn a_program_that_cannot_run_is_told_as_not_started_and_tried_again() {
    let mut life = Life::new();
    life.input(want(Wanted::Running));
    let outputs = life.input(Input::SpawnFailed("no such file".to_owned()));
    assert_eq!(
        reports(&outputs),
        [
            (State::BackingOff, Some(Incident::NotStarted)),
            (State::BackingOff, None)
        ]
    );
    assert_eq!(armed(&outputs), Some(500));
}

#[test]
fn a_program_that_may_not_run_is_given_up_until_the_operator_restarts_it() {
    let mut life = Life::new();
    life.input(want(Wanted::Running));
    let outputs = life.input(Input::SpawnRefused("package_changed: a.py".to_owned()));
    let failed = (State::Failed, Some(Incident::NotStarted));
    assert_eq!(reports(&outputs), [failed]);
    assert_eq!(armed(&outputs), None);
    assert!(life.input(Input::Restart).contains(&Output::Spawn));
}

#[test]
fn a_pause_survives_a_restart() {
    let mut life = Life::serving();
    assert!(life.input(Input::Pause).contains(&Output::Pause));
    life.input(exit(1));
    life.input(blamed(false));
    life.input(Input::Timer);
    life.input(Input::Spawned);
    life.input(Input::Signal(Signal::Standby));
    let outputs = life.input(status(Status::Ready));
    assert!(outputs.contains(&Output::Pause));
    assert_eq!(reports(&outputs), [(State::Paused, None)]);
    assert_eq!(reports(&life.input(Input::Resume)), [(State::Ready, None)]);
}

#[test]
fn an_operators_restart_ends_a_crash_loop_at_once() {
    let mut life = Life::new();
    life.input(want(Wanted::Running));
    for _ in 0..5 {
        let outputs = life.input(Input::SpawnFailed("no".to_owned()));
        if armed(&outputs) == Some(300_000) {
            break;
        }
        life.input(Input::Timer);
    }
    assert!(life.input(Input::Restart).contains(&Output::Spawn));
    assert_eq!(
        armed(&life.input(Input::SpawnFailed("no".to_owned()))),
        Some(500)
    );
}

/// A small generator, so that a failing seed can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Process {
    None,
    Spawning,
    Alive,
    Dying,
}

/// The world around a machine: one process, one timer, a clock.
struct World {
    machine: Machine,
    random: Random,
    now_ms: u64,
    process: Process,
    is_attached: bool,
    timer_ms: Option<u64>,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            machine: Machine::new(RestartPolicy::default(), Timeouts::default()),
            random: Random(seed),
            now_ms: 0,
            process: Process::None,
            is_attached: false,
            timer_ms: None,
            trace: Vec::new(),
        }
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        let unit = self.random.unit();
        let text = format!("{} {input:?}", self.now_ms);
        let outputs = self.machine.step(self.now_ms, unit, input);
        self.trace
            .push(format!("{text} -> {outputs:?} {:?}", self.machine.phase));
        for output in &outputs {
            match output {
                Output::Spawn => {
                    assert_eq!(
                        self.process,
                        Process::None,
                        "two processes: {:#?}",
                        self.trace
                    );
                    self.process = Process::Spawning;
                    self.is_attached = false;
                }
                Output::Attach => {
                    assert_eq!(self.process, Process::Alive, "{:#?}", self.trace);
                    assert!(!self.is_attached, "attached twice: {:#?}", self.trace);
                    self.is_attached = true;
                }
                Output::Activate => {
                    assert!(self.is_attached, "no link: {:#?}", self.trace);
                    assert!(!self.machine.is_held, "it is held: {:#?}", self.trace);
                }
                Output::Deactivate { .. } | Output::Shutdown { .. } => {
                    assert!(self.is_attached, "no link: {:#?}", self.trace);
                }
                Output::Kill(GroupSignal::Kill) if self.process == Process::Alive => {
                    self.process = Process::Dying;
                }
                Output::Arm(ms) => self.timer_ms = Some(self.now_ms + ms),
                Output::Disarm => self.timer_ms = None,
                _ => {}
            }
        }
        let is_limited = self.machine.restarts.degraded_ms().is_some();
        let rests = match self.machine.phase {
            Phase::Serving => !is_limited || self.machine.degraded_since_ms.is_none(),
            phase => matches!(phase, Phase::Off | Phase::Held),
        };
        assert_eq!(
            self.timer_ms.is_none(),
            rests,
            "timer leak: {:#?}",
            self.trace
        );
        assert_eq!(
            self.machine.has_process(),
            self.process != Process::None,
            "lost a process: {:#?}",
            self.trace
        );
        outputs
    }

    fn fire(&mut self) {
        if let Some(at) = self.timer_ms {
            self.now_ms = self.now_ms.max(at);
            self.timer_ms = None;
            self.feed(Input::Timer);
        }
    }

    fn exit(&mut self) {
        let code = self.random.below(3) as i32;
        self.process = Process::None;
        self.feed(exit(code));
    }

    fn anything(&mut self) {
        self.now_ms += self.random.below(2_000);
        if self.timer_ms.is_some_and(|at| at <= self.now_ms) {
            return self.fire();
        }
        let error = Error::new(Code::ProtocolMismatch, "no common version");
        match self.random.below(31) {
            0 => drop(self.feed(want(Wanted::Running))),
            1 => drop(self.feed(want(Wanted::Stopped))),
            2 => drop(self.feed(want(Wanted::Disabled))),
            3 => drop(self.feed(Input::Restart)),
            4 => drop(self.feed(Input::Pause)),
            5 => drop(self.feed(Input::Resume)),
            6..=8 if self.process == Process::Spawning => {
                self.process = Process::Alive;
                self.feed(Input::Spawned);
            }
            9 if self.process == Process::Spawning => {
                self.process = Process::None;
                self.feed(Input::SpawnFailed("no".to_owned()));
            }
            6..=9 if matches!(self.process, Process::Alive | Process::Dying) => self.exit(),
            10..=11 => drop(self.feed(Input::Signal(Signal::Standby))),
            12..=14 => drop(self.feed(status(Status::Ready))),
            15 => drop(self.feed(status(Status::RetryLater))),
            16 => drop(self.feed(status(Status::NeedsAuth))),
            17 => drop(self.feed(Input::Signal(Signal::LinkClosed))),
            18 => drop(self.feed(Input::Signal(Signal::PingLost))),
            19 => drop(self.feed(Input::Signal(Signal::Drained))),
            20 => drop(self.feed(blamed(true))),
            21 => drop(self.feed(Input::Signal(Signal::Refused(error)))),
            22 => drop(self.feed(Input::Signal(Signal::Progress))),
            23..=24 => drop(self.feed(status(Status::Degraded))),
            26 => drop(self.feed(Input::Hold)),
            27 => drop(self.feed(Input::Release)),
            28 => drop(self.feed(deactivated(None))),
            29 => drop(self.feed(deactivated(Some("on_stop failed")))),
            25 => {
                let limit_ms = [None, Some(3_000), Some(60_000)][self.random.below(3) as usize];
                let policy = RestartPolicy {
                    degraded_ms: limit_ms,
                    ..RestartPolicy::default()
                };
                self.machine.configure(policy, Timeouts::default());
                self.feed(Input::Configured);
            }
            _ => self.fire(),
        }
    }

    /// A world in which everything works from now on.
    fn settle(&mut self) {
        for _ in 0..200 {
            match (self.process, self.machine.phase) {
                (Process::Spawning, _) => {
                    self.process = Process::Alive;
                    self.feed(Input::Spawned);
                }
                (Process::Dying, _) => self.exit(),
                (_, Phase::Starting) => drop(self.feed(Input::Signal(Signal::Standby))),
                (_, Phase::Activating) => drop(self.feed(status(Status::Ready))),
                (_, Phase::Judging) => drop(self.feed(blamed(false))),
                (_, Phase::Deactivating) => drop(self.feed(deactivated(None))),
                (_, Phase::Off | Phase::Serving | Phase::Held) => return,
                _ => self.fire(),
            }
        }
        panic!("does not come to rest: {:#?}", self.trace);
    }
}

/// Proves L1 and L12 (the policy): whatever happens, there is one process at most and no timer
/// without a wait; a wanted instance comes back and an unwanted one ends.
#[test]
fn any_life_has_one_process_and_comes_to_what_is_wanted() {
    for seed in 0..4_000 {
        let mut world = World::new(seed);
        world.feed(want(Wanted::Running));
        for _ in 0..120 {
            world.anything();
        }
        world.feed(want(Wanted::Running));
        if world.machine.is_held {
            world.settle();
            assert_eq!(world.machine.phase, Phase::Held, "{:#?}", world.trace);
            world.feed(Input::Release);
        }
        world.settle();
        assert_eq!(
            world.machine.phase,
            Phase::Serving,
            "seed {seed}: {:#?}",
            world.trace
        );
        world.feed(want(Wanted::Stopped));
        world.settle();
        assert_eq!(
            world.machine.phase,
            Phase::Off,
            "seed {seed}: {:#?}",
            world.trace
        );
        assert_eq!(world.process, Process::None);
    }
}

/// Proves L12 (the policy): a plugin that always dies is started rarely, however it dies.
#[test]
fn a_plugin_that_always_dies_is_started_rarely() {
    for seed in 0..500 {
        let mut world = World::new(seed);
        world.feed(want(Wanted::Running));
        let mut starts = 0;
        while world.now_ms < 3_600_000 {
            match (world.process, world.machine.phase) {
                (Process::Spawning, _) => {
                    starts += 1;
                    world.process = Process::Alive;
                    world.feed(Input::Spawned);
                }
                (Process::Alive | Process::Dying, _) => world.exit(),
                (_, Phase::Judging) => drop(world.feed(blamed(false))),
                _ => world.fire(),
            }
        }
        assert!(
            (10..=20).contains(&starts),
            "seed {seed}: {starts} starts in an hour"
        );
    }
}
