//! "No acked event is lost" with plugins on the SDKs: killed in the middle of their batches, under a daemon that
//! is killed in the middle of its own. The history checker sees every handing-over; the replies are checked too,
//! since a reply is committed with the ack of what it answers.
//!
//! The short form runs in every check, the long one by `cargo fault-long`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use trunkline_tests::daemon::Setup;
use trunkline_tests::driver::{Plan, SubscriptionPlan};
use trunkline_tests::history::Record;
use trunkline_tests::random::Random;
use trunkline_tests::scenario::{DRAIN_LIMIT, Scenario, is_long, wait_until};
use trunkline_tests::sdk::Language;
use trunkline_tests::supervised::{install, log, ready_pid, unsettled};

const SUB: &str = "instance.harness.main";
const OUTBOUND: &str = "plugin.outbound.harness.main";
const INBOUND: &str = "plugin.inbound.harness.main";

fn begin(language: Language, home: &Path, plan: Plan, seed: u64, random: &mut Random) -> Scenario {
    let subject = home.join("subject");
    std::fs::create_dir_all(&subject).unwrap();
    let keys = ["history.jsonl", "life"].map(|name| home.join(name).display().to_string());
    let [history, life] = keys;
    let command = language.subject("harness", &subject);
    let config = install(
        home,
        "harness",
        &command,
        &[("history", history), ("life", life)],
    );
    let setup = Setup::new(home, &home.join("data"), &config);
    let plan = Plan {
        topics: vec![OUTBOUND.into()],
        subscriptions: vec![SubscriptionPlan::new("watch", &["plugin.outbound.>"], 1)],
        served_elsewhere: vec![(SUB.into(), vec![OUTBOUND.into()])],
        ..plan
    };
    Scenario::begin(home, setup, &plan, seed, random)
}

fn kill_plugin(run: &Scenario) {
    let mut pid = None;
    let is_up = wait_until(&run.load, DRAIN_LIMIT, || {
        pid = ready_pid(run, "harness");
        pid.is_some()
    });
    assert!(is_up, "the plugin did not come back");
    let pid = pid.unwrap();
    run.history.record(Record::Kill { pid });
    let killed = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL);
    assert!(matches!(killed, Ok(()) | Err(Errno::SRCH)), "{killed:?}");
}

/// How many events have no reply yet.
fn backlog(events: &[Value]) -> u64 {
    let count = |topic| {
        events
            .iter()
            .filter(|event| event["topic"] == topic)
            .count() as u64
    };
    count(OUTBOUND) - count(INBOUND)
}

/// Each event has one reply, and within a session the replies come in the order of what they answer.
fn check_replies(events: &[Value]) -> usize {
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut answered: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut payloads = BTreeMap::new();
    for event in events {
        let session = text(event, "session_id");
        if event["topic"] == OUTBOUND {
            asked.entry(session).or_default().push(text(event, "id"));
            payloads.insert(text(event, "id"), &event["payload"]);
        } else if event["topic"] == INBOUND {
            let cause = text(event, "correlation_id");
            assert_eq!(
                payloads.get(&cause),
                Some(&&event["payload"]),
                "the reply to {cause}"
            );
            answered.entry(session).or_default().push(cause);
        }
    }
    for by_session in [&mut asked, &mut answered] {
        // Events without a session have no order.
        if let Some(ids) = by_session.get_mut("") {
            ids.sort();
        }
    }
    for (session, asked) in &asked {
        assert_eq!(
            Some(asked),
            answered.get(session),
            "the replies of session {session:?}"
        );
    }
    payloads.len()
}

fn finish(run: Scenario, what: &str) {
    let setup = run.setup.clone();
    let mut replies = 0;
    let report = run.finish_after(|run| {
        let mut events = Vec::new();
        // The log is asked besides: a status tells what the broker knows without reading.
        wait_until(&run.load, DRAIN_LIMIT, || {
            let is_done = unsettled(run, "harness") == Some(0);
            if is_done {
                events = log(&setup).unwrap();
            }
            is_done && backlog(&events) == 0
        });
        let left = backlog(&events) + unsettled(run, "harness").unwrap_or(u64::MAX / 2);
        if left == 0 {
            replies = check_replies(&events);
        }
        left
    });
    eprintln!("{what}: {replies} events, each with one reply, in order\n{report}");
    report.assert_clean();
}

/// Each run is drained and checked: a plugin that is killed for minutes on end would only pile up a backlog.
fn killed_again_and_again(language: Language) {
    let what = format!("kill -9 of a plugin in {}", language.name());
    for _ in 0..if is_long() { 25 } else { 1 } {
        let (seed, mut random) = Random::from_environment(&what);
        let home = tempfile::tempdir().unwrap();
        let mut run = begin(language, home.path(), Plan::default(), seed, &mut random);
        for _ in 0..4 {
            run.progress(random.between(50..400));
            kill_plugin(&run);
            if random.chance(30) {
                run.crash();
                run.restart();
            }
        }
        finish(run, &what);
    }
}

fn ten_thousand_queued(language: Language) {
    let what = format!("a backlog of a plugin in {}", language.name());
    let (seed, mut random) = Random::from_environment(&what);
    let home = tempfile::tempdir().unwrap();
    let mut run = begin(language, home.path(), Plan::default(), seed, &mut random);
    let queued = if is_long() { 10_000 } else { 600 };
    // It stands still while they are published, as a plugin in a long pause of its own.
    let mut pid = None;
    wait_until(&run.load, DRAIN_LIMIT, || {
        pid = ready_pid(&run, "harness");
        pid.is_some()
    });
    let pid = Pid::from_raw(pid.expect("it starts") as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    // A few more than are wanted: what the status says is a little ahead of what the plugin has answered.
    while unsettled(&run, "harness").unwrap_or_default() < queued + 100 {
        run.progress(200);
    }
    run.load.finish_publishing();
    let backlog = backlog(&log(&run.setup).unwrap());
    assert!(backlog >= queued, "{backlog} events are queued");
    run.note(format!("{backlog} events are queued"));
    kill_process(pid, Signal::CONT).unwrap();
    for round in 1..=4 {
        let below = backlog - backlog * round / 5;
        let is_there = wait_until(&run.load, DRAIN_LIMIT, || {
            unsettled(&run, "harness").is_some_and(|left| left <= below)
        });
        assert!(is_there, "the backlog does not shrink");
        if round % 2 == 1 {
            kill_plugin(&run);
        } else {
            run.crash();
            run.restart();
        }
    }
    finish(run, &format!("{what}, {backlog} queued"));
}

/// Proves: no acked event is lost, order kept, with a plugin on the Python SDK that is killed in its batches.
#[test]
fn a_killed_plugin_in_python_loses_nothing() {
    killed_again_and_again(Language::Python);
}

/// Proves: no acked event is lost, order kept, with a plugin on the Node SDK that is killed in its batches.
#[test]
fn a_killed_plugin_in_node_loses_nothing() {
    killed_again_and_again(Language::Node);
}

/// Proves: 10 000 queued events (600 in the short form), plugin and daemon killed mid-batch, nothing lost (Python).
#[test]
fn a_backlog_of_a_plugin_in_python_survives_every_kill() {
    ten_thousand_queued(Language::Python);
}

/// Proves: 10 000 queued events (600 in the short form), plugin and daemon killed mid-batch, nothing lost (Node).
#[test]
fn a_backlog_of_a_plugin_in_node_survives_every_kill() {
    ten_thousand_queued(Language::Node);
}
