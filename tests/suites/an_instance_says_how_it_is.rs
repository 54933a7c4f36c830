//! "Every state is shown with reason and since-when": one instance of a real daemon goes through the states, and the
//! command, HTTP, metrics and the lifecycle topic say the same of each.
//!
//! The plugin is a few lines of Python on the bare wire that says what the test writes into a pipe.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the command is run as an operator runs it"
)]

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FileType, Mode, mknodat};
use serde_json::{Value, json};
use trunkline_contract::envelope::parse_rfc3339;
use trunkline_tests::daemon::{Daemon, Setup, program};
use trunkline_tests::http;
use trunkline_tests::wire::{Incoming, Peer, Subscribe};

const PATIENCE: Duration = Duration::from_secs(30);
/// Every state that a daemon brings an instance into; no command of it pauses one.
const REACHED: [&str; 10] = [
    "starting",
    "standby",
    "ready",
    "degraded",
    "needs_auth",
    "draining",
    "backing_off",
    "stopped",
    "failed",
    "disabled",
];

const PLUGIN: &str = r#"
import json, os, socket, sys, threading
link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
link.set_inheritable(False)
def send(**message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
def obey():
    while True:
        with open("say") as pipe:
            for line in pipe:
                order = json.loads(line)
                if "exit" in order:
                    os._exit(order["exit"])
                send(**order)
for line in link.makefile("rb"):
    message = json.loads(line)
    method, request = message.get("method"), message.get("id")
    if method == "initialize":
        send(id=request, result={"manifest": {"plugin": {"id": "moody", "version": "0.1.0"}}, "protocol": "trunkline/1.0"})
    elif method == "ping":
        send(id=request, result={"loop_lag_ms": 0, "in_flight": 0})
    elif method != "shutdown" and request is not None:
        send(id=request, result={})
        if method == "instance.activate":
            threading.Thread(target=obey, daemon=True).start()
"#;

struct Rig {
    home: tempfile::TempDir,
    setup: Setup,
    _daemon: Daemon,
    address: String,
    pipe: PathBuf,
    lifecycle: Peer,
    /// States that the lifecycle topic told.
    told: Vec<String>,
}

impl Rig {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("plugins/moody");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("plugin.py"), PLUGIN).unwrap();
        std::fs::write(
            dir.join("plugin.toml"),
            "[plugin]\nid = \"moody\"\nversion = \"0.1.0\"\ncommand = [\"python3\", \"plugin.py\"]\n\
             [[channels]]\nkind = \"moody\"\n\
             [supervisor]\nrestart = \"on_failure\"\nstart_timeout = \"60s\"\nstop_timeout = \"60s\"\n",
        )
        .unwrap();
        let pipe = dir.join("say");
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
        let config = "plugin_dirs = [\"plugins\"]\n[[plugins.moody]]\n";
        let setup = Setup::new(home.path(), &home.path().join("data"), config);
        let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let mut lifecycle = setup.connect("lifecycle").unwrap();
        let subscribe = Subscribe {
            name: "states".into(),
            filters: vec!["plugin.lifecycle.moody.>".into()],
            group: None,
            credit: 256,
            retry: None,
        };
        lifecycle.subscribe(&subscribe).unwrap();
        Self {
            home,
            address: http::address(&setup.data).unwrap(),
            setup,
            _daemon: daemon,
            pipe,
            lifecycle,
            told: Vec::new(),
        }
    }

    /// Has the plugin do this; waits until it is activated.
    fn say(&self, order: &Value) {
        let mut pipe = std::fs::OpenOptions::new()
            .write(true)
            .open(&self.pipe)
            .unwrap();
        pipe.write_all(format!("{order}\n").as_bytes()).unwrap();
    }

    fn status(&self, params: &Value) {
        self.say(&json!({ "method": "instance.status", "params": params }));
    }

    fn operate(&self, method: &str) {
        let which = json!({ "plugin": "moody", "instance": "default" });
        let mut peer = self.setup.connect("operator").unwrap();
        peer.call(method, &which, PATIENCE).unwrap();
    }

    /// Waits for a word on the lifecycle topic that fits.
    fn heard(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let found = self.lifecycle.next(PATIENCE).unwrap();
            let Some(found) = found else {
                panic!("expected {what} after {:?}", self.told);
            };
            let Incoming::Delivery(delivery) = found else {
                continue;
            };
            // What is told of a start is not stored, and asks for no ack.
            if let Some(handing) = &delivery.handing {
                self.lifecycle.ack(&handing.id).unwrap();
                self.lifecycle.flush().unwrap();
            }
            let payload: Value = serde_json::from_str(&delivery.payload).unwrap();
            self.told
                .push(payload["state"].as_str().unwrap().to_owned());
            if fits(&payload) {
                return payload;
            }
        }
    }

    /// Waits for this state with this reason, and looks at it everywhere; gives what HTTP shows.
    fn is(&mut self, state: &str, reason: &str) -> Value {
        let event = self.heard(&format!("{state} {reason}"), |said| {
            said["state"] == state && said["reason"].as_str().unwrap().contains(reason)
        });
        let token = self.setup.token();
        let path = "/v1/instances/moody/default";
        let answer = http::get(&self.address, path, Some(&token)).unwrap();
        let shown: Value = serde_json::from_str(&answer.body).unwrap();
        for part in ["state", "reason", "since"] {
            assert_eq!(shown[part], event[part], "{part}: {shown} {event}");
        }

        let all: Value = serde_json::from_str(&self.command(&["status", "--json"])).unwrap();
        for part in ["state", "reason", "since"] {
            assert_eq!(all["instances"][0][part], event[part], "{part}: {all}");
        }
        let text = self.command(&["status"]);
        let line = text.lines().find(|line| line.starts_with("moody/default"));
        let line = line.unwrap_or_else(|| panic!("expected a line of it in {text}"));
        assert!(line.contains(state) && line.contains(reason), "{text}");

        let metrics = http::get(&self.address, "/metrics", Some(&token)).unwrap();
        let metrics = metrics.body;
        let of = "instance=\"default\",plugin=\"moody\"";
        let is = format!("trunkline_instance_state{{{of},state=\"{state}\"}} 1");
        assert!(metrics.contains(&is), "expected {is} in {metrics}");
        let since = format!("trunkline_instance_state_timestamp_seconds{{{of}}} ");
        let since = metrics.lines().find_map(|line| line.strip_prefix(&since));
        let since_ms = since.unwrap().parse::<f64>().unwrap() * 1000.0;
        let expected = parse_rfc3339(event["since"].as_str().unwrap());
        assert_eq!(since_ms.round() as i64, expected.unwrap());
        shown
    }

    fn command(&self, args: &[&str]) -> String {
        let output = Command::new(program())
            .args(args)
            .current_dir(self.home.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Proves LN12: each state that an instance can be in is shown with its reason and since when, and the same by the
/// command, by HTTP, by the metrics and on the lifecycle topic.
/// Proves LN15: a start that waits for a person takes as long as it takes, and shows what the person has to do.
#[test]
fn each_state_is_said_in_four_places() {
    let mut rig = Rig::start();
    let scan =
        json!({ "done": 1.0, "total": 2.0, "message": "scan the code", "data": { "qr": "2@abc" } });
    rig.say(&json!({ "method": "instance.progress", "params": scan }));
    let shown = rig.is("starting", "scan the code");
    assert_eq!(shown["progress"], scan);
    let text = rig.command(&["status"]);
    assert!(
        text.contains("moody/default: scan the code (1 of 2)\n  2@abc"),
        "{text}"
    );
    rig.status(&json!({ "state": "ready", "reason": "logged in" }));
    let shown = rig.is("ready", "logged in");
    assert_eq!(shown["progress"], Value::Null);
    rig.status(&json!({ "state": "degraded", "reason": "the network is slow" }));
    rig.is("degraded", "the network is slow");
    rig.status(&json!({ "state": "needs_auth", "reason": "the token was refused" }));
    rig.is("needs_auth", "the token was refused");

    // It is asked to end, and takes its time.
    rig.status(&json!({ "state": "retry_later", "reason": "not now", "retry_after_ms": 600_000 }));
    rig.is("draining", "retry_later");
    rig.say(&json!({ "exit": 0 }));
    let shown = rig.is("backing_off", "not now");
    let time = |name: &str| parse_rfc3339(shown[name].as_str().unwrap()).unwrap();
    let wait_ms = time("next_try") - time("since");
    assert!((wait_ms - 600_000).abs() < 5_000, "{shown}");

    rig.operate("admin.plugins.restart");
    rig.status(&json!({ "state": "ready" }));
    rig.is("ready", "");
    rig.status(&json!({ "state": "fatal", "reason": "no such account" }));
    rig.is("draining", "fatal");
    rig.say(&json!({ "exit": 0 }));
    rig.is("failed", "no such account");

    rig.operate("admin.plugins.restart");
    rig.status(&json!({ "state": "ready" }));
    rig.is("ready", "");
    rig.say(&json!({ "exit": 0 }));
    rig.is("stopped", "exited with code 0");
    rig.operate("admin.plugins.disable");
    rig.is("disabled", "by operator");

    for state in REACHED {
        assert!(rig.told.iter().any(|told| told == state), "{state}");
    }
}
