//! "A plugin with a blocked loop is marked degraded": a handler that keeps the event loop of its language, under a
//! real daemon. The core beside the loop goes on: it answers pings, takes events, and says what is wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "this measures")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_tests::daemon::Setup;
use trunkline_tests::driver::CLIENT;
use trunkline_tests::sdk::Language;
use trunkline_tests::supervised::install;
use trunkline_tests::wire::{Delivery, Incoming, Peer, Subscribe};

const PATIENCE: Duration = Duration::from_secs(30);
/// Within this time the daemon knows of a loop that has been blocked, with the limit of a second.
const SEEN_WITHIN: Duration = Duration::from_millis(2500);
const OUTBOUND: &str = "plugin.outbound.blocked.main";
/// How long the loop is blocked: longer than several pings and their deadline.
const BLOCK_MS: u64 = 6000;
/// Events that come meanwhile.
const MEANWHILE: usize = 50;

fn subscribe(peer: &mut Peer, name: &str, filter: &str) {
    let subscribe = Subscribe {
        name: name.into(),
        filters: vec![filter.into()],
        group: None,
        credit: 256,
        retry: None,
    };
    peer.subscribe(&subscribe).unwrap();
}

/// The next delivery; it is acked.
fn next(peer: &mut Peer) -> Delivery {
    loop {
        match peer.next(PATIENCE).unwrap() {
            Some(Incoming::Delivery(delivery)) => {
                let id = delivery.handing.as_ref().map(|handing| handing.id.clone());
                peer.ack(&id.unwrap()).unwrap();
                peer.flush().unwrap();
                return delivery;
            }
            Some(_) => {}
            None => panic!("no delivery came"),
        }
    }
}

/// Waits for this state of the instance; gives the reason and the pid.
fn wait_for(lifecycle: &mut Peer, state: &str) -> Value {
    loop {
        let payload: Value = serde_json::from_str(&next(lifecycle).payload).unwrap();
        let found = payload["state"].as_str().unwrap();
        assert!(
            !["failed", "backing_off", "stopped"].contains(&found),
            "{payload}"
        );
        if found == state {
            return payload;
        }
    }
}

fn instance(ops: &mut Peer) -> Value {
    let status = ops.call("admin.status", &json!({}), PATIENCE).unwrap();
    status["instances"][0].clone()
}

fn a_blocked_loop(language: Language) {
    let home = tempfile::tempdir().unwrap();
    let subject = home.path().join("subject");
    std::fs::create_dir_all(&subject).unwrap();
    let command = language.subject("blocked", &subject);
    let config = install(home.path(), "blocked", &command, &[]);
    // Several pings fall into the time in which the loop is blocked.
    let manifest = home.path().join("plugins/blocked/plugin.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text + "\n[supervisor]\nping_interval = \"1s\"\n").unwrap();
    let setup = Setup::new(home.path(), &home.path().join("data"), &config);
    let _daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));

    let mut ops = setup.connect(CLIENT).unwrap();
    let mut lifecycle = setup.connect("lifecycle").unwrap();
    let mut replies = setup.connect("replies").unwrap();
    subscribe(&mut lifecycle, "states", "plugin.lifecycle.blocked.main");
    subscribe(&mut replies, "replies", "plugin.inbound.blocked.main");
    wait_for(&mut lifecycle, "ready");
    let pid = instance(&mut ops)["pid"].clone();

    let began = Instant::now();
    let block = format!("{{\"block_ms\":{BLOCK_MS}}}");
    ops.publish(OUTBOUND, "block", Some("s"), &block).unwrap();
    for number in 0..MEANWHILE {
        let id = format!("e{number}");
        ops.publish(
            OUTBOUND,
            &id,
            Some(&format!("s{}", number % 5)),
            "{\"block_ms\":0}",
        )
        .unwrap();
    }
    ops.flush().unwrap();
    let degraded = wait_for(&mut lifecycle, "degraded");
    let seen = began.elapsed();
    eprintln!(
        "{}: degraded after {seen:?}: {}",
        language.name(),
        degraded["reason"]
    );
    assert!(
        seen <= SEEN_WITHIN,
        "expected it within {SEEN_WITHIN:?}, found {seen:?}"
    );
    assert!(
        degraded["reason"].as_str().unwrap().contains("blocked"),
        "{degraded}"
    );

    wait_for(&mut lifecycle, "ready");
    let again = began.elapsed();
    assert!(
        again >= Duration::from_millis(BLOCK_MS),
        "ready after {again:?}"
    );
    let mut missing: BTreeSet<String> = (0..MEANWHILE).map(|number| format!("e{number}")).collect();
    missing.insert("block".to_owned());
    while !missing.is_empty() {
        let reply = next(&mut replies);
        let payload: Value = serde_json::from_str(&reply.payload).unwrap();
        let is_blocker = payload["block_ms"] == BLOCK_MS;
        let first = if is_blocker {
            Some("block".to_owned())
        } else {
            missing.iter().find(|id| *id != "block").cloned()
        };
        assert!(
            first.is_some_and(|id| missing.remove(&id)),
            "a reply too many: {payload}"
        );
    }
    // The pings were answered: the process is the same, and nobody has lost patience with it.
    let after = instance(&mut ops);
    assert_eq!(after["pid"], pid, "{after}");
    assert_eq!(after["state"], "ready", "{after}");
}

/// Proves LN16 (Python): a plugin with a blocked loop is marked degraded within 2.5 s at a limit of 1 s, its pings
/// are answered, events flow afterwards, nothing is lost.
#[test]
fn a_blocked_loop_in_python_is_seen_and_loses_nothing() {
    a_blocked_loop(Language::Python);
}

/// Proves LN16 (Node): a plugin with a blocked loop is marked degraded within 2.5 s at a limit of 1 s, its pings
/// are answered, events flow afterwards, nothing is lost.
#[test]
fn a_blocked_loop_in_node_is_seen_and_loses_nothing() {
    a_blocked_loop(Language::Node);
}
