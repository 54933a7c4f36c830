//! The bare-wire plugins, spoken to by hand over a socket pair: what SPEC.md asks of a plugin.
#![expect(
    clippy::disallowed_methods,
    reason = "the test is the broker, and starts the plugins itself"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};

const PLUGINS: [(&str, &str, &str); 2] = [
    ("python", "python3", "echo.py"),
    ("node", "node", "echo.mjs"),
];
const LIMIT: Duration = Duration::from_secs(30);

/// A plugin's process and the broker's end of its link.
struct Plugin {
    child: Child,
    link: BufReader<UnixStream>,
}

impl Plugin {
    fn start(folder: &str, program: &str, file: &str) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        fcntl_setfd(&theirs, FdFlags::empty()).expect("the child may inherit it");
        let dir = format!("{}/../wire/{folder}", env!("CARGO_MANIFEST_DIR"));
        let child = Command::new(program)
            .arg(file)
            .current_dir(dir)
            .env("TRUNKLINE_LINK_FD", theirs.as_raw_fd().to_string())
            .spawn()
            .expect("the plugin can be started");
        ours.set_read_timeout(Some(LIMIT)).expect("a limit");
        let mut plugin = Self {
            child,
            link: BufReader::new(ours),
        };
        let answer = plugin.ask(
            "initialize",
            json!({ "plugin": format!("echo-{folder}"), "instance": "default" }),
        );
        assert_eq!(answer["manifest"]["plugin"]["id"], format!("echo-{folder}"));
        assert_eq!(answer["protocol"], "trunkline/1.0");
        plugin.ask("instance.activate", json!({ "generation": 1 }));
        let status = plugin.read();
        assert_eq!(status["method"], "instance.status");
        assert_eq!(status["params"]["state"], "ready");
        plugin
    }

    fn write(&mut self, bytes: &[u8]) {
        self.link.get_mut().write_all(bytes).expect("it reads");
    }

    fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.link.read_line(&mut line).expect("a frame in time");
        serde_json::from_str(&line).expect("a frame of JSON")
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(&json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params }));
        let answer = self.read();
        assert_eq!(answer["id"], method, "{answer}");
        answer["result"].clone()
    }

    fn event(&mut self, delivery: &str, payload: Value) -> Value {
        let topic = "plugin.outbound.echo.default";
        let event = json!({
            "id": "e1", "source": "client:a", "topic": topic, "session_id": "s",
            "timestamp": "2026-01-01T00:00:00Z", "payload": payload,
        });
        let delivery = json!({ "id": delivery, "attempt": 1, "redelivered": false });
        let params = json!({ "topic": topic, "event": event, "delivery": delivery });
        self.send(&json!({ "jsonrpc": "2.0", "method": "broker.event", "params": params }));
        self.read()
    }

    fn ends_well(mut self) {
        let Self { child, link } = &mut self;
        let mut rest = String::new();
        link.read_line(&mut rest).expect("the link ends");
        assert_eq!(rest, "", "nothing is said after the end");
        assert!(child.wait().expect("it ends").success());
    }
}

fn each(test: impl Fn(Plugin)) {
    for (folder, program, file) in PLUGINS {
        test(Plugin::start(folder, program, file));
    }
}

#[test]
fn the_examples_pass_the_check_that_users_run() {
    for (folder, _, _) in PLUGINS {
        let dir = format!("{}/../wire/{folder}", env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(env!("CARGO_BIN_EXE_trunkline-demo"))
            .args(["check", &dir])
            .output()
            .expect("the check can be started");
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{report}");
        assert!(report.contains(" 0 failed"), "{report}");
    }
}

#[test]
fn an_event_becomes_one_commit_of_answer_receipt_and_ack_with_ids_that_repeat() {
    each(|mut plugin| {
        // A line separator inside a text is no end of a frame.
        let payload = json!({ "text": "a\u{2028}b", "unknown": [1, {}] });
        let first = plugin.event("d1", payload.clone());
        assert_eq!(first["method"], "broker.commit");
        assert_eq!(first["params"]["ack"], json!(["d1"]));
        let events = first["params"]["events"].as_array().expect("events");
        assert_eq!(events[0]["topic"], "plugin.inbound.echo.default");
        assert_eq!(events[0]["event"]["payload"]["text"], "a\u{2028}b");
        assert_eq!(events[0]["event"]["payload"]["unknown"], json!([1, {}]));
        assert_eq!(events[0]["event"]["session_id"], "s");
        assert_eq!(events[0]["event"]["correlation_id"], "e1");
        assert_eq!(events[0]["event"]["causation_id"], "client:a|e1");
        assert_eq!(events[1]["topic"], "plugin.delivery.echo.default");
        assert_eq!(events[1]["event"]["payload"], json!({ "state": "sent" }));
        let again = plugin.event("d2", payload);
        for at in [0, 1] {
            let id = |commit: &Value| commit["params"]["events"][at]["event"]["id"].clone();
            assert_eq!(id(&first), id(&again));
        }
        assert_eq!(plugin.ask("ping", json!({}))["in_flight"], 2);
        plugin.send(&json!({ "jsonrpc": "2.0", "id": first["id"], "result": { "events": [] } }));
        assert_eq!(plugin.ask("ping", json!({}))["in_flight"], 1);
        assert_eq!(plugin.ask("shutdown", json!({}))["ok"], true);
        plugin.ends_well();
    });
}

#[test]
fn what_fails_is_given_back_with_its_error() {
    each(|mut plugin| {
        let nak = plugin.event("d1", Value::Null);
        // Spreading nothing is an error in Python and an empty object in JavaScript.
        if nak["method"] == "broker.nak" {
            assert_eq!(nak["params"]["deliveries"], json!(["d1"]));
            assert!(nak["params"]["error"]["message"].is_string());
        }
        let commit = plugin.event("d2", json!({ "text": "hi" }));
        let error = json!({ "code": -32009, "message": "the store has no room" });
        plugin.send(&json!({ "jsonrpc": "2.0", "id": commit["id"], "error": error }));
        let nak = plugin.read();
        assert_eq!(nak["method"], "broker.nak");
        assert_eq!(nak["params"]["deliveries"], json!(["d2"]));
        assert_eq!(nak["params"]["error"]["message"], "the store has no room");
        plugin.ask("shutdown", json!({}));
        plugin.ends_well();
    });
}

#[test]
fn bad_frames_and_unknown_methods_end_nothing() {
    each(|mut plugin| {
        plugin.write(b"\n\r\n{not json\n");
        let refused = plugin.read();
        assert_eq!(refused["error"]["code"], -32700);
        assert_eq!(refused["id"], Value::Null);
        plugin.send(&json!({ "jsonrpc": "2.0", "method": "nobody.knows.this" }));
        plugin.send(&json!({ "jsonrpc": "2.0", "id": 9, "method": "tool.call", "params": {} }));
        let refused = plugin.read();
        assert_eq!(refused["id"], 9);
        assert_eq!(refused["error"]["data"]["code"], "not_implemented");
        let gap = json!({ "subscription": "x", "from": 1, "to": 2, "count": 1, "delivery": { "id": "g" } });
        plugin.send(&json!({ "jsonrpc": "2.0", "method": "broker.gap", "params": gap }));
        assert_eq!(plugin.read()["params"]["deliveries"], json!(["g"]));
        plugin.write(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{}}\r\n");
        assert_eq!(plugin.read()["id"], 1);
        // The end of the link is the end of the plugin.
        plugin
            .link
            .get_ref()
            .shutdown(std::net::Shutdown::Write)
            .expect("our end closes");
        plugin.ends_well();
    });
}
