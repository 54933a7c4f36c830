//! Promise: what a provider says over a long-running connection, and can say again from the cursor, becomes events,
//! each once and in order, although the provider drops, stalls and refreshes, and the plugin and the daemon are
//! killed. The provider gets its ack after the events are durable.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trunkline_broker::clock::{Clock, SystemClock};
use trunkline_contract::envelope::rfc3339;
use trunkline_tests::daemon::{Daemon, Setup, built};
use trunkline_tests::http;
use trunkline_tests::outside::{hear, say as tell};
use trunkline_tests::random::Random;
use trunkline_tests::scenario::is_long;
use trunkline_tests::supervised::{install, log};
use trunkline_tests::wire::{Incoming, Peer, Subscribe};

const PATIENCE: Duration = Duration::from_secs(90);
/// How often the supervisor is looked at while nothing comes.
const LOOK: Duration = Duration::from_secs(3);
/// Requests for the event stream that nobody looked at yet.
const ASKED_MAX: usize = 1_000;
const ANSWER: Duration = Duration::from_secs(10);

/// What the provider remembers.
#[derive(Default)]
struct Known {
    acked: BTreeSet<u64>,
    logins: usize,
}

/// A provider that numbers its messages, and says them again from where it is asked to.
struct Gateway {
    messages: u64,
    known: Mutex<Known>,
    /// An ack came.
    heard: Condvar,
}

impl Gateway {
    fn start(messages: u64, seed: u64) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let gateway = Arc::new(Self {
            messages,
            known: Mutex::default(),
            heard: Condvar::new(),
        });
        let serving = gateway.clone();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (gateway, stream) = (serving.clone(), stream.unwrap());
                let random = Random::new(seed.wrapping_add(number as u64));
                thread::spawn(move || gateway.serve(&stream, random));
            }
        });
        (gateway, url)
    }

    fn serve(&self, stream: &TcpStream, mut random: Random) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        tell(stream, &json!({ "op": "hello" }))?;
        let login = loop {
            let frame = hear(&mut reader)?;
            if frame["op"] == "login" {
                break frame;
            }
        };
        let from = {
            let mut known = self.known.lock().unwrap();
            known.logins += 1;
            let acked = known.acked.last().copied().unwrap_or(0);
            let from = login["resume"].as_u64().unwrap_or(acked);
            // What it goes on from it has, although the ack was lost with its connection.
            known.acked.insert(from);
            self.heard.notify_all();
            from + 1
        };
        let until = from + 5 + random.below(60);
        self.talk(stream, &mut reader, from, until, random.below(3))
    }

    /// Says messages and hears acks; after `until` it drops, stalls, or asks for another connection.
    fn talk(
        &self,
        stream: &TcpStream,
        reader: &mut BufReader<TcpStream>,
        from: u64,
        until: u64,
        end: u64,
    ) -> Option<()> {
        let mut next = from;
        let mut asked = false;
        loop {
            // A few are always on the way, so that a kill finds some.
            let heard = self
                .known
                .lock()
                .unwrap()
                .acked
                .last()
                .copied()
                .unwrap_or(0);
            while next <= self.messages.min(until) && next < heard.max(from) + 8 {
                let text = format!("m{next}");
                tell(
                    stream,
                    &json!({ "op": "message", "seq": next, "text": text }),
                )?;
                next += 1;
            }
            if next > until && !asked {
                asked = true;
                match end {
                    0 => return None,
                    1 => {
                        // It says nothing more, and hears nothing, until the other side gives up.
                        let mut rest = Vec::new();
                        reader.read_to_end(&mut rest).ok()?;
                        return None;
                    }
                    _ => tell(stream, &json!({ "op": "reconnect" }))?,
                }
            }
            let frame = hear(reader)?;
            match frame["op"].as_str()? {
                "ack" => {
                    let seq = frame["seq"].as_u64()?;
                    self.known.lock().unwrap().acked.insert(seq);
                    self.heard.notify_all();
                }
                "beat" => tell(stream, &json!({ "op": "beaten" }))?,
                _ => {}
            }
        }
    }

    /// Waits for so many acks; a supervisor that has had enough of kills is told to go on.
    fn wait_for(&self, acked: u64, setup: &Setup) {
        let mut known = self.known.lock().unwrap();
        for _ in 0..PATIENCE.as_secs() / LOOK.as_secs() {
            let waits = |known: &mut Known| known.acked.last() < Some(&acked);
            let (after, waited) = self.heard.wait_timeout_while(known, LOOK, waits).unwrap();
            if !waited.timed_out() {
                return;
            }
            drop(after);
            revive(setup);
            known = self.known.lock().unwrap();
        }
        let found = known.acked.last().copied();
        panic!(
            "expected an ack of {acked}, found {found:?}: {:?}",
            instance(setup)
        );
    }
}

fn setup(home: &std::path::Path, url: &str) -> Setup {
    let plugin = built("connect_plugin", "cargo build -p trunkline-tests --bins");
    let command = [plugin.display().to_string()];
    let config = install(home, "chat", &command, &[("url", url.to_owned())]);
    Setup::new(home, &home.join("data"), &config)
}

/// What the metrics tell of a sample.
fn scraped(setup: &Setup, sample: &str) -> Option<f64> {
    let address = http::address(&setup.data).unwrap();
    let answer = http::get(&address, "/metrics", Some(&setup.token())).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut lines = answer.body.lines();
    let line = lines.find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

fn instance(setup: &Setup) -> Option<Value> {
    let mut peer = setup.connect("operator").ok()?;
    let status = peer.call("admin.status", &json!({}), ANSWER).ok()?;
    status["instances"].as_array()?.first().cloned()
}

/// Kills the plugin's process, if there is one.
fn kill_plugin(setup: &Setup) {
    let found = instance(setup);
    let pid = found.and_then(|found| Pid::from_raw(found["pid"].as_u64()? as i32));
    if let Some(pid) = pid {
        kill_process(pid, Signal::KILL).unwrap();
    }
}

/// Starts the plugin at once, where its supervisor waits or has given up.
fn revive(setup: &Setup) {
    let Some(found) = instance(setup) else { return };
    if matches!(found["state"].as_str(), Some("failed" | "backing_off")) {
        let which = json!({ "plugin": "chat", "instance": "main" });
        let mut peer = setup.connect("operator").unwrap();
        peer.call("admin.plugins.restart", &which, ANSWER).unwrap();
    }
}

fn texts(setup: &Setup) -> Vec<String> {
    let events = log(setup).unwrap();
    let inbound = events
        .iter()
        .filter(|event| event["topic"] == "plugin.inbound.chat.main");
    inbound
        .map(|event| event["payload"]["text"].as_str().unwrap().to_owned())
        .collect()
}

/// Proves P5b: with `kill -9` of plugin and daemon, and a provider that drops, stalls and refreshes, every message is
/// an event, once and in order.
#[test]
fn every_message_is_one_event_whoever_is_killed() {
    let (seed, mut random) =
        Random::from_environment("kill -9 of a plugin that keeps a connection");
    let messages = if is_long() { 5_000 } else { 300 };
    let home = tempfile::tempdir().unwrap();
    let (gateway, url) = Gateway::start(messages, seed);
    let setup = setup(home.path(), &url);
    let mut daemon: Daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let rounds = if is_long() { 40 } else { 6 };
    for round in 1..=rounds {
        gateway.wait_for(messages * round / (rounds + 1), &setup);
        if random.below(2) == 0 {
            kill_plugin(&setup);
        } else {
            daemon.kill();
            daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        }
    }
    gateway.wait_for(messages, &setup);
    let expected: Vec<String> = (1..=messages).map(|seq| format!("m{seq}")).collect();
    assert_eq!(texts(&setup), expected);
    let known = gateway.known.lock().unwrap();
    assert!(known.logins > 3, "{} logins", known.logins);
    drop(daemon);
}

/// Answers requests for the event stream: some events after the last that was seen, then the end of it; after
/// `most` events the credential is refused.
fn stream_events(listener: &TcpListener, most: u64, asked: &SyncSender<u64>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut last) = (String::new(), 0u64);
        while reader.read_line(&mut line).unwrap_or(0) > 2 {
            let lower = line.to_ascii_lowercase();
            if let Some(id) = lower.strip_prefix("last-event-id:") {
                last = id.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut answer =
            String::from("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 5\n\n");
        if last >= most {
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".clone_into(&mut answer);
        } else {
            for id in last + 1..=most.min(last + 3) {
                answer.push_str(&format!("id: {id}\ndata: {{\"text\": \"e{id}\"}}\n\n"));
            }
        }
        // Who was killed does not read it; at the end nobody listens to what was asked.
        stream.write_all(answer.as_bytes()).ok();
        asked.send(last).ok();
    }
}

/// Hears what the broker says of the instance.
fn lifecycle(setup: &Setup) -> Peer {
    let mut peer = setup.connect("lifecycle").unwrap();
    let subscribe = Subscribe {
        name: "states".into(),
        filters: vec!["plugin.lifecycle.chat.main".into()],
        group: None,
        credit: 256,
        retry: None,
    };
    peer.subscribe(&subscribe).unwrap();
    peer
}

fn next_state(lifecycle: &mut Peer) -> Value {
    loop {
        let came = lifecycle.next(PATIENCE).unwrap();
        let Some(came) = came else {
            panic!("expected another state, nothing came");
        };
        let Incoming::Delivery(delivery) = came else {
            continue;
        };
        let id = delivery.handing.as_ref().map(|handing| handing.id.clone());
        lifecycle.ack(&id.unwrap()).unwrap();
        lifecycle.flush().unwrap();
        return serde_json::from_str(&delivery.payload).unwrap();
    }
}

/// Proves P5d: the status of a connection that is away has its reason, the attempt and the time of the next one as
/// fields of the lifecycle event and of the instance's status, and none of them once it is back.
/// Proves O1: the metrics count how often it was away.
#[test]
fn a_connection_that_is_away_says_why_and_when_it_comes_again() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let setup = setup(home.path(), &format!("tcp://{address}"));
    let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let mut lifecycle = lifecycle(&setup);
    let began = rfc3339(SystemClock::new().now().wall_ms);
    let connected = listener.accept().unwrap();
    let sample = "trunkline_instance_degraded_total{instance=\"main\",plugin=\"chat\"}";
    let before = scraped(&setup, sample).unwrap_or(0.0);
    drop(connected);
    drop(listener);
    let (mut failed, mut tried) = (0, 0);
    while failed < 3 || tried < 2 {
        let said = next_state(&mut lifecycle);
        if said["state"] != "degraded" {
            continue;
        }
        let (reason, attempt) = (said["reason"].as_str().unwrap(), &said["attempt"]);
        assert!(
            attempt.as_u64().is_some_and(|attempt| attempt > 0),
            "{said}"
        );
        if reason.starts_with("chat: disconnected: ") {
            failed += 1;
            let next = said["next_try"].as_str().expect("when it is tried again");
            // Said before the daemon heard of it, and with jitter the wait may be none at all.
            assert!(next >= began.as_str(), "{began}: {said}");
            assert!(!reason.contains("attempt"), "{said}");
        } else {
            tried += 1;
            assert_eq!(reason, format!("chat: connecting, attempt {attempt}"));
            assert!(said.get("next_try").is_none(), "{said}");
        }
    }
    let status = instance(&setup).unwrap();
    assert!(status["attempt"].as_u64() > Some(1), "{status}");
    let _listener = TcpListener::bind(address).unwrap();
    let said = loop {
        let said = next_state(&mut lifecycle);
        if said["state"] == "ready" {
            break said;
        }
    };
    assert!(
        said.get("attempt").is_none() && said.get("next_try").is_none(),
        "{said}"
    );
    let status = instance(&setup).unwrap();
    assert!(status.get("attempt").is_none(), "{status}");
    let after = scraped(&setup, sample).expect("it was degraded");
    assert!(after > before, "{before}, {after}");
    drop(daemon);
}

/// Proves P5c: an event stream goes on after its `Last-Event-ID`, also after `kill -9`.
/// Proves P5a: an answer that is final stops the instance with a typed status.
#[test]
fn an_event_stream_goes_on_until_it_is_refused_for_good() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let most = 60;
    let (asked, hear) = sync_channel(ASKED_MAX);
    thread::spawn(move || stream_events(&listener, most, &asked));
    let setup = setup(home.path(), &url);
    let _daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let mut lifecycle = lifecycle(&setup);
    let mut last = 0;
    while last <= most / 2 {
        last = hear.recv_timeout(PATIENCE).unwrap();
    }
    kill_plugin(&setup);
    while last < most {
        last = hear.recv_timeout(PATIENCE).unwrap();
    }
    let said = loop {
        let said = next_state(&mut lifecycle);
        if said["state"] == "failed" {
            break said;
        }
    };
    assert!(said.to_string().contains("401"), "{said}");
    let expected: Vec<String> = (1..=most).map(|id| format!("e{id}")).collect();
    assert_eq!(texts(&setup), expected);
}

/// The states of both instances with their reasons, by name, once they are these.
fn both(setup: &Setup, is_so: impl Fn(&Value, &Value) -> bool) -> (Value, Value) {
    let mut peer = setup.connect("operator").unwrap();
    let clock = SystemClock::new();
    let until_ms = clock.now().mono_ms + PATIENCE.as_millis() as u64;
    loop {
        let status = peer.call("admin.status", &json!({}), ANSWER).unwrap();
        let all = status["instances"].as_array().unwrap();
        let of = |name: &str| {
            let mut all = all.iter();
            all.find(|one| one["instance"] == name).unwrap().clone()
        };
        let (main, other) = (of("main"), of("other"));
        if is_so(&main, &other) {
            return (main, other);
        }
        assert!(clock.now().mono_ms < until_ms, "{status}");
    }
}

/// Proves P5c: of two processes with one credential one is connected; the other one is degraded and says why, and is ready
/// once it has taken over.
#[test]
fn who_waits_for_a_connection_of_another_process_says_so() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let plugin = built("connect_plugin", "cargo build -p trunkline-tests --bins");
    let command = [plugin.display().to_string(), "--one-account".to_owned()];
    let config = install(home.path(), "chat", &command, &[("url", url.clone())]);
    let config = format!("{config}[[plugins.chat]]\ninstance = \"other\"\nurl = {url:?}\n");
    let setup = Setup::new(home.path(), &home.path().join("data"), &config);
    let _daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let _connected = listener.accept().unwrap();
    let is_waiting = |one: &Value| {
        one["state"] == "degraded" && one["reason"] == "chat: another process has this connection"
    };
    let one_of_each = |main: &Value, other: &Value| {
        (main["state"] == "ready" && is_waiting(other))
            || (other["state"] == "ready" && is_waiting(main))
    };
    let (main, _) = both(&setup, one_of_each);
    let (holder, waits) = if main["state"] == "ready" {
        ("main", "other")
    } else {
        ("other", "main")
    };
    let which = json!({ "plugin": "chat", "instance": holder });
    let mut peer = setup.connect("disabler").unwrap();
    peer.call("admin.plugins.disable", &which, ANSWER).unwrap();
    let _next = listener.accept().unwrap();
    both(&setup, |main, other| {
        let taken = if waits == "main" { main } else { other };
        taken["state"] == "ready"
    });
}
