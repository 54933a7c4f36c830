//! Promise: when a publish is answered, the event survives a crash of the plugin, the broker or the machine;
//! each subscription gets it at least once, within one session in order, and a repeat says that it is one.
//!
//! The short form runs in every check; `TRUNKLINE_LONG=1` or `cargo fault-long` runs the long one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use trunkline_tests::daemon::Setup;
use trunkline_tests::driver::{CLIENT, Plan, SubscriptionPlan};
use trunkline_tests::full_disk::{FULL_DISK_BYTES, FullDisk};
use trunkline_tests::history::Record;
use trunkline_tests::random::Random;
use trunkline_tests::scenario::{DRAIN_LIMIT, Scenario, is_long, wait_until};
use trunkline_tests::skip::has_root;
use trunkline_tests::strace::Injection;

/// Exit status of a daemon whose store stopped.
const EXIT_STORE_STOPPED: i32 = 70;
/// How long a daemon whose sync failed may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);

fn rounds(short: u64, long: u64) -> u64 {
    if is_long() { long } else { short }
}

fn setup(home: &Path) -> Setup {
    Setup::new(home, &home.join("data"), "")
}

/// Proves: no acked event is lost, however often the daemon is killed at a random point.
#[test]
fn a_daemon_that_is_killed_loses_nothing_that_it_acked() {
    let (seed, mut random) = Random::from_environment("kill -9 of the daemon");
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path());
    let mut run = Scenario::begin(home.path(), setup, &Plan::default(), seed, &mut random);
    for _ in 0..rounds(12, 200) {
        run.progress(random.between(1..600));
        run.crash();
        run.restart();
    }
    run.progress(500);
    let report = run.finish();
    eprintln!("{report}");
    report.assert_clean();
    assert!(report.faults as u64 >= rounds(12, 200));
}

/// Proves: a daemon that stands still for a while loses nothing and repeats nothing unmarked.
#[test]
fn a_daemon_that_is_frozen_for_a_while_goes_on_where_it_was() {
    let (seed, mut random) = Random::from_environment("SIGSTOP of the daemon");
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path());
    let mut run = Scenario::begin(home.path(), setup, &Plan::default(), seed, &mut random);
    for _ in 0..rounds(5, 50) {
        run.progress(random.between(1..600));
        run.stop();
        let frozen = Duration::from_millis(random.between(50..600));
        // What was written before the stop may still arrive; then it is silent for the rest of the time.
        run.load.ledger().wait_ticks(u64::MAX / 2, frozen);
        run.resume();
        if random.chance(30) {
            run.stop();
            run.crash();
            run.restart();
        }
    }
    let report = run.finish();
    eprintln!("{report}");
    report.assert_clean();
}

/// Proves: with a full disk publishes are refused, acks and deliveries go on, nothing acked is lost, and with
/// room again publishes are taken without a restart.
#[test]
fn a_full_disk_refuses_publishes_and_loses_nothing() {
    if !has_root("full_disk") {
        return;
    }
    let (seed, mut random) = Random::from_environment("full disk");
    let home = tempfile::tempdir().unwrap();
    let disk = FullDisk::create(FULL_DISK_BYTES).unwrap();
    let setup = Setup::new(home.path(), &disk.path().join("data"), "");
    let mut run = Scenario::begin(home.path(), setup, &Plan::default(), seed, &mut random);
    run.progress(random.between(100..400));
    run.note("the disk is filled".into());
    disk.fill().unwrap();
    let ledger = run.load.ledger();
    assert!(
        ledger.wait_refused("storage_full", DRAIN_LIMIT),
        "nothing was refused"
    );
    // Everything acked so far can still be delivered and settled.
    let unsettled = ledger.wait_settled(DRAIN_LIMIT);
    assert_eq!(unsettled, 0, "acks must work on a full disk");
    if random.chance(50) {
        run.crash();
        run.restart();
    }
    disk.free().unwrap();
    run.progress(300);
    let report = run.finish();
    eprintln!("{report}");
    report.assert_clean();
}

/// Proves: after a failed sync nothing is acked, the daemon exits 70, and recovers at the next start.
#[test]
fn a_failed_sync_stops_the_daemon_and_loses_nothing() {
    let (seed, mut random) = Random::from_environment("EIO on sync");
    let home = tempfile::tempdir().unwrap();
    let setup = setup(home.path());
    let mut run = Scenario::begin(home.path(), setup, &Plan::default(), seed, &mut random);
    for round in 0..rounds(3, 40) {
        run.progress(random.between(50..300));
        run.crash();
        // The first syncs are the start's own; these are left alone, so that it does start.
        let nth = 20 + random.below(80) as u32;
        run.setup.injections = vec![
            Injection::eio("fsync", nth),
            Injection::eio("fdatasync", nth),
        ];
        run.note(format!("round {round}: sync {nth} fails"));
        run.restart();
        let (code, stderr) = run.ended(END_LIMIT);
        assert_eq!(code, Some(EXIT_STORE_STOPPED), "{stderr}");
        run.setup.injections.clear();
        run.restart();
    }
    let report = run.finish();
    eprintln!("{report}");
    report.assert_clean();
}

const MANIFEST: &str = r#"
[plugin]
id = "harness"
version = "0.1.0"
command = ["@program@"]

[[channels]]
kind = "harness"

[config.history]
type = "string"
required = true

[config.life]
type = "string"
required = true
"#;

/// Writes the plugin's manifest; returns the configuration that runs it.
fn install_plugin(home: &Path) -> String {
    let dir = home.join("plugins/harness");
    fs::create_dir_all(&dir).unwrap();
    let program = env!("CARGO_BIN_EXE_harness_plugin");
    fs::write(
        dir.join("plugin.toml"),
        MANIFEST.replace("@program@", program),
    )
    .unwrap();
    format!(
        "plugin_dirs = [\"plugins\"]\n[[plugins.harness]]\ninstance = \"main\"\nhistory = {:?}\nlife = {:?}\n",
        home.join("history.jsonl").display().to_string(),
        home.join("life").display().to_string(),
    )
}

const PLUGIN_SUB: &str = "instance.harness.main";
const PLUGIN_TOPIC: &str = "plugin.outbound.harness.main";

/// The process of the plugin, if it is ready. If the supervisor has had enough of its ends, the operator steps in:
/// the test is about events, not about backoff.
fn plugin_pid(run: &Scenario) -> Option<u32> {
    let limit = Duration::from_secs(10);
    let mut peer = run.setup.connect(CLIENT).ok()?;
    let status = peer.call("admin.status", &json!({}), limit).ok()?;
    let instances = status["instances"].as_array()?;
    let instance = instances
        .iter()
        .find(|instance| instance["plugin"] == "harness")?;
    match instance["state"].as_str()? {
        "ready" => instance["pid"].as_u64().map(|pid| pid as u32),
        "failed" | "backing_off" => {
            let which = json!({"plugin": "harness", "instance": "main"});
            peer.call("admin.plugins.restart", &which, limit)
                .expect("an operator may restart");
            None
        }
        _ => None,
    }
}

/// How many events the plugin's subscription still has to settle.
fn plugin_unsettled(run: &Scenario) -> Option<u64> {
    let mut peer = run.setup.connect(CLIENT).ok()?;
    let status = peer
        .call("admin.status", &json!({}), Duration::from_secs(10))
        .ok()?;
    let subs = status["subscriptions"].as_array()?;
    let sub = subs.iter().find(|sub| sub["name"] == PLUGIN_SUB)?;
    let count = |name: &str| sub[name].as_u64();
    Some(count("pending")? + count("in_flight")? + count("parked")?)
}

/// Proves: a plugin that is killed at a random point gets its events again, marked, and none is lost.
#[test]
fn a_plugin_that_is_killed_gets_its_events_again() {
    let (seed, mut random) = Random::from_environment("kill -9 of a plugin");
    let home = tempfile::tempdir().unwrap();
    let config = install_plugin(home.path());
    let setup = Setup::new(home.path(), &home.path().join("data"), &config);
    let plan = Plan {
        topics: vec![PLUGIN_TOPIC.into()],
        subscriptions: vec![SubscriptionPlan::new("watch", &["plugin.outbound.>"], 1)],
        served_elsewhere: vec![(PLUGIN_SUB.into(), vec![PLUGIN_TOPIC.into()])],
        ..Plan::default()
    };
    let mut run = Scenario::begin(home.path(), setup, &plan, seed, &mut random);
    for _ in 0..rounds(4, 200) {
        run.progress(random.between(50..400));
        let mut pid = None;
        let is_up = wait_until(&run.load, DRAIN_LIMIT, || {
            pid = plugin_pid(&run);
            pid.is_some()
        });
        assert!(is_up, "the plugin did not come back");
        let pid = pid.expect("it was just seen");
        run.history.record(Record::Kill { pid });
        // It may have been ended by the operator's restart a moment ago.
        let killed = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL);
        assert!(matches!(killed, Ok(()) | Err(Errno::SRCH)), "{killed:?}");
        if random.chance(20) {
            run.crash();
            run.restart();
        }
    }
    let report = run.finish_after(|run| {
        wait_until(&run.load, DRAIN_LIMIT, || plugin_unsettled(run) == Some(0));
        plugin_unsettled(run).unwrap_or(u64::MAX)
    });
    eprintln!("{report}");
    report.assert_clean();
}
