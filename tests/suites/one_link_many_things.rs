//! SPEC: "Neither side may block the other", "one structured error everywhere", "a second attach of an instance
//! is refused". A real daemon, raw peers.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_contract::error::Code;
use trunkline_tests::daemon::Setup;

/// How long an answer may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// A frame of this size is on its way while the ping is.
const LARGE_BYTES: usize = 8 << 20;

/// One echo instance that nobody starts: it is attached by hand.
const ATTACHED: &str = r#"
plugin_dirs = ["plugins"]
[[plugins.echo]]
instance = "default"
enabled = false
[[plugins.echo]]
instance = "second"
enabled = false
"#;

const MANIFEST: &str = r#"
[plugin]
id = "echo"
version = "0.1.0"
command = ["./echo"]
[[channels]]
kind = "echo"
"#;

fn setup(config: &str) -> (tempfile::TempDir, Setup) {
    let home = tempfile::tempdir().expect("a directory");
    let plugin = home.path().join("plugins/echo");
    std::fs::create_dir_all(&plugin).expect("a directory");
    std::fs::write(plugin.join("plugin.toml"), MANIFEST).expect("a file");
    let setup = Setup::new(home.path(), &home.path().join("data"), config);
    (home, setup)
}

/// A link that shows every frame as it is.
struct Raw {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    waiting: VecDeque<Value>,
    last_id: u64,
}

impl Raw {
    fn open(setup: &Setup) -> Self {
        let stream = UnixStream::connect(setup.socket()).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let lines = BufReader::new(stream.try_clone().expect("a socket"));
        Self {
            stream,
            lines,
            waiting: VecDeque::new(),
            last_id: 0,
        }
    }

    fn client(setup: &Setup, name: &str) -> Self {
        let mut raw = Self::open(setup);
        let hello = json!({ "role": "client", "token": setup.token(), "name": name, "protocol": protocol() });
        raw.call("connect", &hello).expect("let in");
        raw
    }

    fn send(&mut self, frame: &Value) {
        self.stream
            .write_all(format!("{frame}\n").as_bytes())
            .expect("the link is open");
    }

    fn request(&mut self, method: &str, params: &Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    fn respond(&mut self, id: &Value, result: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a frame in time");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("expected a frame, found {line:?}"))
    }

    /// The next frame, also one that came while an answer was waited for.
    fn next(&mut self) -> Value {
        self.waiting.pop_front().unwrap_or_else(|| self.read())
    }

    /// The next frame that has this method.
    fn next_of(&mut self, method: &str) -> Value {
        loop {
            let frame = self.next();
            if frame["method"] == method {
                return frame;
            }
        }
    }

    fn call(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        let id = self.request(method, params);
        loop {
            let mut frame = self.read();
            if frame["id"] != id || frame.get("method").is_some() {
                self.waiting.push_back(frame);
            } else if frame.get("error").is_some() {
                return Err(frame["error"].take());
            } else {
                return Ok(frame["result"].take());
            }
        }
    }

    fn subscribe(&mut self, filter: &str) {
        let params = json!({ "name": "main", "filters": [filter] });
        self.call("broker.subscribe", &params).expect("subscribed");
    }
}

fn protocol() -> Value {
    json!({ "name": "trunkline", "min": "1.0", "max": "1.0" })
}

/// Dials in as a plugin that was started by hand and goes through the handshake up to ready.
fn attach(setup: &Setup, instance: &str) -> Result<Raw, Value> {
    let mut raw = Raw::open(setup);
    let hello = json!({
        "role": "plugin", "token": setup.token(), "name": "echo", "instance": instance,
        "protocol": protocol(),
    });
    raw.call("connect", &hello)?;
    let asked = raw.next_of("initialize");
    let reply = json!({
        "manifest": { "plugin": { "id": "echo", "version": "0.1.0" } },
        "protocol": "trunkline/1.0", "accepts": { "events": 4, "bytes": 65536 },
    });
    raw.respond(&asked["id"], &reply);
    let asked = raw.next_of("instance.activate");
    raw.respond(&asked["id"], &json!({}));
    raw.call("instance.status", &json!({ "state": "ready" }))?;
    Ok(raw)
}

/// Proves LN4 (frames up to 16 MiB): a ping is answered while 8 MiB events move on the same link.
#[test]
#[expect(clippy::disallowed_methods, reason = "this measures")]
fn a_ping_overtakes_a_large_event_on_the_same_link() {
    let (_home, setup) = setup("[limits]\nframe_bytes_max = 16777216\n");
    let _daemon = setup.start().expect("starts");
    let mut reader = Raw::client(&setup, "reader");
    let mut writer = Raw::client(&setup, "writer");
    let event = json!({ "topic": "agent.large", "event": { "payload": "x".repeat(LARGE_BYTES) } });
    for _ in 0..3 {
        writer.call("broker.publish", &event).expect("durable");
    }
    // From here on all three are on their way at once, and the pings go between them.
    let params = json!({
        "name": "main", "filters": ["agent.large"], "start": "earliest",
        "credit": { "events": 3, "bytes": 4 * LARGE_BYTES },
    });
    reader
        .call("broker.subscribe", &params)
        .expect("subscribed");
    let (mut pongs, mut events, mut slowest) = (0, 0, Duration::ZERO);
    let mut asked = (reader.request("ping", &json!({})), Instant::now());
    while events < 3 || pongs < 1 {
        let frame = reader.next();
        if frame["method"] == "broker.event" {
            events += 1;
        } else if frame["id"] == asked.0 {
            slowest = slowest.max(asked.1.elapsed());
            pongs += 1;
            asked = (reader.request("ping", &json!({})), Instant::now());
        }
    }
    // This reader parses 8 MiB between two looks at the clock, which a debug build does slowly.
    let bound = if cfg!(debug_assertions) {
        Duration::from_secs(2)
    } else {
        Duration::from_millis(50)
    };
    eprintln!("{pongs} pings answered between large events, the slowest after {slowest:?}");
    assert!(
        slowest <= bound,
        "expected an answer within {bound:?}, found {slowest:?}"
    );
}

/// Proves LN6: a frame over the limit is answered with its size and the limit, and the link goes on; LN3 (Rust):
/// the error has code, message, retryable and detail, and never nested text.
#[test]
fn an_oversize_frame_is_a_coded_error_and_the_link_goes_on() {
    let (_home, setup) = setup("");
    let _daemon = setup.start().expect("starts");
    let mut raw = Raw::client(&setup, "large");
    let large = json!({ "topic": "agent.a", "event": { "payload": "x".repeat(2 << 20) } });
    raw.send(&json!({ "jsonrpc": "2.0", "method": "broker.publish", "params": large }));
    let frame = raw.next();
    assert_eq!(frame["id"], Value::Null);
    let data = &frame["error"]["data"];
    assert_eq!(data["code"], "frame_too_large");
    assert_eq!(data["retryable"], false);
    assert_eq!(data["detail"]["limit"], 1 << 20);
    assert!(data["detail"]["bytes"].as_u64().expect("a size") > 2 << 20);
    assert!(frame["error"]["message"].is_string());
    let small = json!({ "topic": "agent.a", "event": { "payload": 1 } });
    let answer = raw
        .call("broker.publish", &small)
        .expect("the link goes on");
    assert!(answer["seq"].is_u64());
}

/// Proves LN2: every stored event has id, topic, source and time, and the correlation and trace it came with;
/// unknown members survive.
#[test]
fn an_event_arrives_with_everything_it_was_published_with() {
    let (_home, setup) = setup("");
    let _daemon = setup.start().expect("starts");
    let mut raw = Raw::client(&setup, "both");
    raw.subscribe("agent.>");
    let event = json!({
        "id": "e-1", "session_id": "s", "payload": { "n": 9_007_199_254_740_993_u64 },
        "correlation_id": "c-1", "causation_id": "x|y",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "metadata": { "own": [1, null] }, "from_the_future": { "kept": true },
    });
    raw.request(
        "broker.publish",
        &json!({ "topic": "agent.a", "event": event }),
    );
    let found = raw.next_of("broker.event")["params"]["event"].take();
    for (name, value) in event.as_object().expect("an object") {
        assert_eq!(&found[name], value, "{name}");
    }
    assert_eq!(found["topic"], "agent.a");
    assert_eq!(found["source"], "client:both");
    assert!(found["timestamp"].is_string());
}

/// Proves LN21: a second attach of an instance is refused, another instance is not, and nothing is handled twice.
#[test]
fn a_second_attach_of_an_instance_is_refused() {
    let (_home, setup) = setup(ATTACHED);
    let _daemon = setup.start().expect("starts");
    let mut first = attach(&setup, "default").expect("the first is let in");
    let error = attach(&setup, "default")
        .err()
        .expect("the second is refused");
    assert_eq!(error["data"]["code"], Code::InstanceBusy.as_str());
    let _second = attach(&setup, "second").expect("another instance is let in");
    let mut client = Raw::client(&setup, "ops");
    let event = json!({ "topic": "plugin.outbound.echo.default", "event": { "payload": {} } });
    client.call("broker.publish", &event).expect("durable");
    let delivery = first.next_of("broker.event")["params"]["delivery"].take();
    assert_eq!(
        (&delivery["attempt"], &delivery["redelivered"]),
        (&json!(1), &json!(false))
    );
}

/// Proves W15 and LN9 (handlers and host calls): a deadline travels with each delivery, what comes after it is
/// stale and counted, and an answer nobody waits for is ignored and counted.
#[test]
fn a_late_settlement_and_a_late_answer_are_counted_and_change_nothing() {
    let (_home, setup) = setup("");
    let _daemon = setup.start().expect("starts");
    let mut raw = Raw::client(&setup, "late");
    let subscribe = json!({
        "name": "main", "filters": ["agent.>"],
        "retry": { "lease_ms": 200, "backoff_ms": [1], "failures_max": 50 },
    });
    raw.call("broker.subscribe", &subscribe)
        .expect("subscribed");
    raw.request(
        "broker.publish",
        &json!({ "topic": "agent.a", "event": { "payload": 1 } }),
    );
    let first = raw.next_of("broker.event")["params"]["delivery"].take();
    let second = raw.next_of("broker.event")["params"]["delivery"].take();
    assert_eq!(first["lease_ms"], 200);
    assert_eq!(
        second["redelivered"], true,
        "the second is a repeat and says so"
    );
    let late = json!({ "deliveries": [first["id"]] });
    let answer = raw.call("broker.ack", &late).expect("answered");
    assert_eq!(answer["stale"], json!([first["id"]]));
    raw.respond(&json!(4711), &json!({}));
    let status = raw.call("admin.status", &json!({})).expect("answered");
    assert_eq!(status["counters"]["late_responses"], 1);
    assert!(
        status["counters"]["settled_stale"]
            .as_u64()
            .expect("a count")
            >= 1
    );
}

/// Proves W16 (Rust): the same fault has the same code and the same words on every kind of link.
#[test]
fn the_same_fault_has_the_same_words_on_every_link() {
    let (_home, setup) = setup(ATTACHED);
    let _daemon = setup.start().expect("starts");
    let mut client = Raw::client(&setup, "ops");
    let mut plugin = attach(&setup, "default").expect("attached");
    let faults = [
        (
            "broker.publish",
            json!({ "topic": "plugin.outbound.nobody", "event": { "payload": 1 } }),
        ),
        ("broker.publish", json!({ "topic": 5 })),
        ("broker.commit", json!({ "ack": ["1-1-1"] })),
        ("tool.call", json!({})),
        ("broker.fly", json!({})),
    ];
    for (method, params) in faults {
        let one = client.call(method, &params).expect_err("refused");
        let other = plugin.call(method, &params).expect_err("refused");
        assert_eq!(one, other, "{method} {params}");
    }
}
