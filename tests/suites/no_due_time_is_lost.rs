//! Contract 13.5: "Event and state of the timer become durable together, so that each due time gives one event
//! with one id, whenever the broker dies; the event is delivered at least once."

#![expect(clippy::disallowed_methods, reason = "the daemon's own clock is real")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_tests::daemon::Setup;
use trunkline_tests::random::Random;
use trunkline_tests::wire::{Incoming, Peer, WireError};

const PATIENCE: Duration = Duration::from_secs(20);
const MANIFEST: &str = "[plugin]\nid = \"clock\"\nversion = \"0.1.0\"\ncommand = [\"true\"]\n\
    [[channels]]\nkind = \"clock\"\n";
/// How often the daemon is killed.
const KILLS: usize = 12;

/// Dials in as the plugin, started by hand, and goes through the handshake up to ready.
fn attach(setup: &Setup) -> Result<Peer, WireError> {
    let mut peer = Peer::open(&setup.socket())?;
    let hello = json!({
        "role": "plugin", "token": setup.token(), "name": "clock", "instance": "main",
        "protocol": { "name": "trunkline", "min": "1.0", "max": "1.0" },
    });
    peer.call("connect", &hello, PATIENCE)?;
    let initialized = json!({
        "manifest": { "plugin": { "id": "clock", "version": "0.1.0" } }, "protocol": "trunkline/1.0",
    });
    for (wanted, answer) in [
        ("initialize", initialized),
        ("instance.activate", json!({})),
    ] {
        loop {
            match peer.next(PATIENCE)? {
                Some(Incoming::Other {
                    id: Some(id),
                    method,
                    ..
                }) if method == wanted => {
                    peer.respond(id, &answer)?;
                    break;
                }
                Some(_) => {}
                None => return Err(WireError::TimedOut),
            }
        }
    }
    peer.call("instance.status", &json!({ "state": "ready" }), PATIENCE)?;
    Ok(peer)
}

/// Takes what comes for a while, acks it, and notes the id of each due time.
fn take(
    peer: &mut Peer,
    seen: &mut BTreeMap<String, String>,
    during: Duration,
) -> Result<(), WireError> {
    let until = Instant::now() + during;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let Some(Incoming::Delivery(delivery)) = peer.next(left)? else {
            continue;
        };
        let payload: Value = serde_json::from_str(&delivery.payload).expect("a payload is JSON");
        assert_eq!(payload["missed"], 0, "{payload}");
        let due_at = payload["due_at"].as_str().expect("a due time").to_owned();
        let id = seen
            .entry(due_at.clone())
            .or_insert_with(|| delivery.event_id.clone());
        assert_eq!(*id, delivery.event_id, "two events of {due_at}");
        peer.ack(&delivery.handing.expect("it is durable").id)?;
    }
}

/// Proves LN27, P4a: with the daemon killed again and again, each due time of a timer comes, under one id.
#[test]
fn a_daemon_that_is_killed_loses_no_due_time() {
    let (_, mut random) = Random::from_environment("no_due_time_is_lost");
    let home = tempfile::tempdir().expect("a directory");
    let plugin = home.path().join("plugins/clock");
    std::fs::create_dir_all(&plugin).expect("a directory");
    std::fs::write(plugin.join("plugin.toml"), MANIFEST).expect("a file");
    let config =
        "plugin_dirs = [\"plugins\"]\n[[plugins.clock]]\ninstance = \"main\"\nenabled = false\n";
    let setup = Setup::new(home.path(), &home.path().join("data"), config);
    let mut seen = BTreeMap::new();
    let mut daemon = setup.start().expect("it starts");
    let mut peer = attach(&setup).expect("let in");
    let timer = json!({ "name": "beat", "every_ms": 1000, "misfire": "all" });
    peer.call("timer.set", &timer, PATIENCE).expect("set");
    let began = Instant::now();
    for _ in 0..KILLS {
        let during = Duration::from_millis(random.between(200..1_800));
        take(&mut peer, &mut seen, during).expect("the link is there");
        daemon.kill();
        daemon = setup.start().expect("it starts again");
        peer = attach(&setup).expect("let in again");
    }
    take(&mut peer, &mut seen, Duration::from_secs(3)).expect("the link is there");
    let passed = began.elapsed().as_secs() as usize;
    let list = peer
        .call("timer.list", &json!({}), PATIENCE)
        .expect("listed");
    assert_eq!(list["timers"][0]["set"], timer);
    let due: Vec<i64> = seen
        .keys()
        .map(|text| trunkline_contract::envelope::parse_rfc3339(text).expect("an instant"))
        .collect();
    eprintln!("{} due times over {KILLS} kills", due.len());
    // The last one may be on its way.
    assert!(due.len() + 1 >= passed, "{passed} s: {due:?}");
    for pair in due.windows(2) {
        assert_eq!(
            pair[1] - pair[0],
            1000,
            "a due time is missing after {}",
            pair[0]
        );
    }
}
