//! A run: a daemon, a load, faults between them, and at the end a drain and a verdict.
//!
//! A fault comes after a random number of acks and settlements, not after a time: the load decides when, and
//! the same seed gives the same choices on a fast and on a slow machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::checker::{Options, Report, check_file};
use crate::daemon::{Daemon, Setup};
use crate::driver::{CLIENT, Load, Plan};
use crate::history::{History, Record};
use crate::random::Random;
use crate::wire::{Incoming, Peer, WireError};

/// How long a drain may take.
pub const DRAIN_LIMIT: Duration = Duration::from_mins(1);
/// How long the load may stand still before a run is given up.
const STALL_LIMIT: Duration = Duration::from_mins(1);
/// How long the broker may take for an answer at the end.
const ANSWER: Duration = Duration::from_secs(30);

/// Says whether the long form of the fault suites was asked for.
pub fn is_long() -> bool {
    let profile = std::env::var("NEXTEST_PROFILE").unwrap_or_default();
    std::env::var("TRUNKLINE_LONG").is_ok_and(|value| value == "1") || profile == "fault-long"
}

/// A run under way.
#[derive(Debug)]
pub struct Scenario {
    /// How the daemon is started.
    pub setup: Setup,
    /// What was seen.
    pub history: Arc<History>,
    /// The load.
    pub load: Load,
    /// How long the drain at the end is waited for.
    pub drain_limit: Duration,
    daemon: Option<Daemon>,
    life: u64,
    life_file: PathBuf,
}

impl Scenario {
    /// Starts the daemon once so that its token is there, then the load.
    ///
    /// `home` holds the history, so it must outlive the run and lie on a disk that keeps its power.
    ///
    /// # Panics
    /// When the daemon does not start.
    pub fn begin(home: &Path, setup: Setup, plan: &Plan, seed: u64, random: &mut Random) -> Self {
        let history = History::open(&home.join("history.jsonl")).expect("the history can be made");
        history.record(Record::Note {
            text: format!("seed {seed}"),
        });
        let life_file = home.join("life");
        std::fs::write(&life_file, "1").expect("the home can be written");
        let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let history = Arc::new(history);
        let (socket, token) = (setup.socket(), setup.token());
        let load = Load::start(plan, random, &socket, &token, Arc::clone(&history));
        history.record(Record::Restart { life: 1 });
        load.gate().open(1);
        Self {
            setup,
            history,
            load,
            drain_limit: DRAIN_LIMIT,
            daemon: Some(daemon),
            life: 1,
            life_file,
        }
    }

    /// The running daemon.
    ///
    /// # Panics
    /// Between a crash and the restart.
    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the daemon runs")
    }

    /// Lets the load go on for `ticks` acks and settlements.
    ///
    /// # Panics
    /// When it stands still.
    pub fn progress(&mut self, ticks: u64) {
        if !self.load.ledger().wait_ticks(ticks, STALL_LIMIT) {
            let stderr = self.daemon.as_ref().map(Daemon::stderr).unwrap_or_default();
            panic!(
                "the load stands still; {}\n{stderr}",
                self.history.path().display()
            );
        }
    }

    /// Kills the daemon at once.
    pub fn crash(&mut self) {
        self.history.record(Record::Crash { life: self.life });
        self.load.gate().close();
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// Ends the life of the daemon with `fault`, which happens under it.
    ///
    /// The daemon is stopped first, in the middle of whatever it does: with a real power cut it could not answer
    /// any more, while here a sync that the cut interrupts may look like a success.
    pub fn cut(&mut self, fault: impl FnOnce()) {
        self.history.record(Record::Cut { life: self.life });
        self.daemon().stop();
        fault();
        self.load.gate().close();
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// Stops the daemon where it is.
    pub fn stop(&mut self) {
        self.history.record(Record::Stop);
        self.daemon().stop();
    }

    /// Lets the daemon go on after a stop.
    pub fn resume(&mut self) {
        self.daemon().resume();
        self.history.record(Record::Cont);
    }

    /// Notes that the daemon ended by itself; returns its exit code and its words.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    pub fn ended(&mut self, limit: Duration) -> (Option<i32>, String) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        let status = daemon.wait(limit);
        self.history.record(Record::Crash { life: self.life });
        self.load.gate().close();
        let stderr = daemon.stderr();
        let status = status.unwrap_or_else(|| panic!("the daemon did not end\n{stderr}"));
        (status.code(), stderr)
    }

    /// Starts the daemon again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.life += 1;
        std::fs::write(&self.life_file, self.life.to_string()).expect("the home can be written");
        let daemon = self.setup.start().unwrap_or_else(|error| {
            panic!(
                "life {}: {error}\n{}",
                self.life,
                self.history.path().display()
            )
        });
        self.daemon = Some(daemon);
        self.history.record(Record::Restart { life: self.life });
        self.load.gate().open(self.life);
    }

    /// Notes what happens next.
    pub fn note(&self, text: String) {
        self.history.record(Record::Note { text });
    }

    /// Ends the load, waits for the drain, reads log and dead letters, and checks the history.
    pub fn finish(self) -> Report {
        self.finish_after(|_| 0)
    }

    /// Like [`Scenario::finish`]; `elsewhere` tells how much is unsettled in other processes, at last.
    ///
    /// # Panics
    /// When the broker's log, its dead letters or the history cannot be read.
    pub fn finish_after(mut self, elsewhere: impl FnOnce(&mut Self) -> u64) -> Report {
        self.history.record(Record::FaultEnd);
        self.load.finish_publishing();
        let unsettled = self.load.drain(self.drain_limit) + elsewhere(&mut self);
        self.history.record(Record::DrainEnd { unsettled });
        if let Err(error) = self.collect() {
            panic!(
                "log and dead letters cannot be read: {error}\n{}",
                self.daemon().stderr()
            );
        }
        let stderr = self.daemon().stderr();
        let Self {
            load,
            daemon,
            history,
            drain_limit,
            ..
        } = self;
        let drain_ms = drain_limit.as_millis() as u64;
        load.end();
        drop(daemon);
        let report = check_file(
            history.path(),
            Options {
                drain_ms,
                ..Options::default()
            },
        )
        .expect("the history is there");
        if !report.is_clean() {
            eprintln!("the broker said:\n{stderr}");
            keep(history.path());
        }
        report
    }

    /// Records what the broker's log and its dead letters hold.
    fn collect(&self) -> Result<(), WireError> {
        let mut peer = self.setup.connect(CLIENT)?;
        let mut after = Value::Null;
        loop {
            let params = json!({"after": after, "limit": 256});
            let page = peer.call("admin.dlq.list", &params, ANSWER)?;
            for letter in page["letters"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                self.history.record(Record::Dead {
                    sub: text(&letter["subscription"]),
                    id: text(&letter["event"]["id"]),
                    reason: text(&letter["reason"]),
                });
            }
            after = page["next"].clone();
            if after.is_null() {
                break;
            }
        }
        self.collect_log(&mut peer)
    }

    fn collect_log(&self, peer: &mut Peer) -> Result<(), WireError> {
        let status = peer.call("admin.status", &json!({}), ANSWER)?;
        let head = status["store"]["head"].as_u64().unwrap_or_default();
        peer.call(
            "admin.tail",
            &json!({"filters": [">"], "start": "earliest"}),
            ANSWER,
        )?;
        let mut seen = 0;
        while seen < head {
            match peer.next(ANSWER)? {
                Some(Incoming::Other { method, params, .. }) if method == "admin.event" => {
                    seen = params["seq"].as_u64().unwrap_or_default();
                    let id = params["event"]["id"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned();
                    self.history.record(Record::Log { seq: seen, id });
                }
                Some(_) => {}
                None => return Err(WireError::TimedOut),
            }
        }
        self.history.record(Record::LogEnd);
        Ok(())
    }
}

/// Copies a history that broke a promise to where it survives the test, and says where.
fn keep(path: &Path) {
    let Ok(target) = crate::tool::target_dir() else {
        return;
    };
    let kept = target.join(format!("broken-history-{}.jsonl", std::process::id()));
    match std::fs::copy(path, &kept) {
        Ok(_) => eprintln!("the history is kept in {}", kept.display()),
        Err(error) => eprintln!("the history could not be kept: {error}"),
    }
}

/// Looks again and again, at every change of the gate and every 50 ms, until `look` is content.
///
/// Returns false when it is not within `limit`. For what no event announces, such as another process's file.
pub fn wait_until(load: &Load, limit: Duration, mut look: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if look() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        load.gate().wait_change(Duration::from_millis(50));
    }
}
