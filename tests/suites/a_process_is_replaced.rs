//! A running plugin is replaced with another version of itself, by a real daemon: the new one takes over once it is
//! ready, or the old one stays; whoever is killed at whatever step, nothing is lost.
//!
//! The plugin is a few lines of Python on the bare wire. It may stop at one request until the test lets it go on: it
//! opens a pipe there, which the test opens from the other side, so that both know where they are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trunkline_tests::daemon::{Daemon, Setup};
use trunkline_tests::wire::{Incoming, Peer, Subscribe};

const PATIENCE: Duration = Duration::from_mins(1);

const PLUGIN: &str = r#"
import hashlib, json, os, socket, sys
VERSION, MODE = "@version@", "@mode@"
HOME = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HOME, "pid." + VERSION), "w") as file:
    file.write(str(os.getpid()))
link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
link.set_inheritable(False)
number = 0
COUNT, READ = {"scope": "instance", "key": "count"}, 7
def kept(line=None):
    with open(os.path.join(state, "kept"), "a+") as file:
        if line is not None:
            file.write(line + "\n")
        file.seek(0)
        return len(set(file.read().split()))
def send(**message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
def gate():
    with open(os.path.join(HOME, "gate")) as pipe:
        pipe.read()
if MODE == "crash":
    raise NameError("name 'Rply' is not defined")
for line in link.makefile("rb"):
    message = json.loads(line)
    method, request, params = message.get("method"), message.get("id"), message.get("params")
    if MODE == "gate:" + str(method):
        gate()
    if method == "initialize":
        if MODE == "refuse":
            send(id=request, error={"code": -32602, "message": "expected a token, found none"})
            continue
        state = params["state_dir"]
        send(id=request, result={"manifest": {"plugin": {"id": params["plugin"], "version": VERSION}},
                                 "protocol": "trunkline/1.0", "accepts": {"events": 8, "bytes": 1 << 20}})
    elif method == "broker.event":
        event, delivery = params["event"], params["delivery"]["id"]
        number += 1
        where = params["topic"].rsplit(".", 1)[1]
        key = hashlib.sha256(event["id"].encode()).hexdigest()
        count += 1
        said = {"number": event["payload"]["number"], "version": VERSION, "pid": os.getpid(),
                "count": count, "kept": kept(event["id"])}
        send(id=1000 + number, method="broker.commit", params={"ack": [delivery], "kv": [
            {"op": "put", **COUNT, "value": count}], "events": [
            {"topic": "plugin.inbound.guest." + where, "on_conflict": "keep_first",
             "event": {"id": key, "session_id": "s", "payload": said}}]})
    elif method == "ping":
        send(id=request, result={"loop_lag_ms": 0, "in_flight": 0})
    elif method is not None and request is not None:
        send(id=request, result={"ok": True})
        if method == "instance.activate" and MODE == "mute":
            continue
        if method == "instance.activate":
            send(id=READ, method="kv.get", params=COUNT)
        if method == "shutdown":
            sys.exit(0)
    elif request == READ:
        count = message.get("result", {}).get("value", 0)
        send(method="instance.status", params={"state": "needs_auth" if MODE == "needs_auth" else "ready"})
"#;

struct Rig {
    _home: tempfile::TempDir,
    setup: Setup,
    daemon: Daemon,
    dir: PathBuf,
    client: Peer,
    ears: Peer,
    sent: u64,
    /// The number, version and process of each reply, in the order they were stored.
    replies: Vec<(u64, String, u64)>,
    /// What each reply said of the instance's state: the counter in its kv, and the orders in the file of its directory.
    states: Vec<[Value; 2]>,
}

fn install(dir: &Path, version: &str, mode: &str, more: &str) {
    install_to_start_within(dir, version, mode, more, "60s");
}

fn install_to_start_within(dir: &Path, version: &str, mode: &str, more: &str, start: &str) {
    let source = PLUGIN.replace("@version@", version).replace("@mode@", mode);
    let file = format!("guest-{version}.py");
    std::fs::write(dir.join(&file), source).unwrap();
    let manifest = format!(
        "[plugin]\nid = \"guest\"\nversion = \"{version}\"\ncommand = [\"python3\", \"{file}\"]\n{more}\n\
         [[channels]]\nkind = \"guest\"\n\
         [supervisor]\nstart_timeout = \"{start}\"\nstop_timeout = \"8s\"\n"
    );
    std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
}

impl Rig {
    fn start(mode: &str, more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("plugins/guest");
        std::fs::create_dir_all(&dir).unwrap();
        mknodat(
            rustix::fs::CWD,
            dir.join("gate"),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        install(&dir, "1.0.0", mode, more);
        let config = "plugin_dirs = [\"plugins\"]\n[[plugins.guest]]\ninstance = \"a\"\n\
                      [[plugins.guest]]\ninstance = \"b\"\n";
        let setup = Setup::new(home.path(), &home.path().join("data"), config);
        let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let mut ears = setup.connect("ears").unwrap();
        let subscribe = Subscribe {
            name: "all".into(),
            filters: vec!["plugin.inbound.guest.a".into()],
            group: None,
            credit: 256,
            retry: None,
        };
        ears.subscribe(&subscribe).unwrap();
        let client = setup.connect("client").unwrap();
        let mut rig = Self {
            _home: home,
            setup,
            daemon,
            dir,
            client,
            ears,
            sent: 0,
            replies: Vec::new(),
            states: Vec::new(),
        };
        rig.publish(1);
        rig.hear_all();
        rig
    }

    fn publish(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            let id = format!("order-{}", self.sent);
            let event = json!({ "id": id, "session_id": "s", "payload": { "number": self.sent } });
            let params = json!({ "topic": "plugin.outbound.guest.a", "event": event });
            self.client
                .call("broker.publish", &params, PATIENCE)
                .unwrap();
        }
    }

    /// Hears replies until there is one for each number.
    fn hear_all(&mut self) {
        while (self.replies.len() as u64) < self.sent {
            let Some(found) = self.ears.next(PATIENCE).unwrap() else {
                let (sent, log) = (self.sent, self.daemon.stderr());
                panic!("{} of {sent} replies came\n{log}", self.replies.len());
            };
            let Incoming::Delivery(delivery) = found else {
                continue;
            };
            let id = delivery.handing.as_ref().unwrap().id.clone();
            self.ears.ack(&id).unwrap();
            self.ears.flush().unwrap();
            let said: Value = serde_json::from_str(&delivery.payload).unwrap();
            self.states
                .push([said["count"].clone(), said["kept"].clone()]);
            self.replies.push((
                said["number"].as_u64().unwrap(),
                said["version"].as_str().unwrap().to_owned(),
                said["pid"].as_u64().unwrap(),
            ));
        }
    }

    fn instance(&mut self, name: &str) -> Value {
        let status = self.client.call("admin.status", &json!({}), PATIENCE);
        let status = status.unwrap();
        let mut all = status["instances"].as_array().unwrap().iter();
        all.find(|one| one["instance"] == name).unwrap().clone()
    }

    fn pid(&self, version: &str) -> u64 {
        let text = std::fs::read_to_string(self.dir.join(format!("pid.{version}"))).unwrap();
        text.parse().unwrap()
    }

    fn kill(&self, version: &str) {
        let pid = Pid::from_raw(self.pid(version) as i32).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }

    /// Asks for the upgrade of one instance, and goes on.
    fn upgrade(&self) -> JoinHandle<Result<Value, String>> {
        let mut peer = self.setup.connect("operator").unwrap();
        std::thread::spawn(move || {
            let which = json!({ "plugin": "guest", "instance": "a" });
            let answer = peer.call("admin.plugins.upgrade", &which, PATIENCE);
            answer.map_err(|error| format!("{error:?}"))
        })
    }

    /// Waits until a process is at its gate; dropped, it goes on.
    fn at_gate(&self) -> std::fs::File {
        let gate = self.dir.join("gate");
        OpenOptions::new().write(true).open(gate).unwrap()
    }

    /// The counter and the file went on with each order, whichever process handled it. The file may be ahead of an order: one
    /// that was handled again had been written down before.
    fn state_went_on(&self, story: &str) {
        for (n, [count, kept]) in (1..=self.sent).zip(&self.states) {
            let is_kept = kept.as_u64().is_some_and(|kept| kept >= n);
            assert!(*count == n && is_kept, "{story}: {:?}", self.states);
        }
    }

    /// Everything came once and in order, the state went on, and each process that is no longer needed is gone.
    fn check(&mut self, serving: &str) {
        self.publish(3);
        self.hear_all();
        let numbers: Vec<u64> = self.replies.iter().map(|reply| reply.0).collect();
        let all: Vec<u64> = (1..=self.sent).collect();
        assert_eq!(numbers, all, "{:?}", self.replies);
        self.state_went_on(serving);
        let (_, version, pid) = self.replies.last().unwrap().clone();
        assert_eq!(version, serving);
        let one = self.instance("a");
        assert_eq!(
            (&one["state"], &one["pid"]),
            (&json!("ready"), &json!(pid)),
            "{one}"
        );
        let mut versions: Vec<&str> = self.replies.iter().map(|r| r.1.as_str()).collect();
        versions.dedup();
        let changes = usize::from(serving == "2.0.0") + 1;
        assert_eq!(
            versions.len(),
            changes,
            "one version after the other: {versions:?}"
        );
    }
}

/// Proves L10: the new version has shaken hands before the old one stops, nothing is lost or out of order, and
/// afterwards one version runs; the plugin's other instance is not touched.
/// Proves LN19: the new version goes on with the kv and the state directory of the old one.
#[test]
fn a_new_version_takes_over_without_losing_an_event() {
    let mut rig = Rig::start("good", "");
    let neighbour = loop {
        let one = rig.instance("b");
        if one["state"] == "ready" {
            break one;
        }
    };
    install(&rig.dir, "2.0.0", "gate:initialize", "");
    let upgrade = rig.upgrade();
    let gate = rig.at_gate();
    rig.publish(20);
    rig.hear_all();
    assert!(
        rig.replies.iter().all(|reply| reply.1 == "1.0.0"),
        "the old one serves on"
    );
    drop(gate);
    rig.publish(20);
    let answer = upgrade.join().unwrap().unwrap();
    let one = &answer["instances"][0];
    assert_eq!(
        (&one["from"], &one["to"]),
        (&json!("1.0.0"), &json!("2.0.0"))
    );
    assert_eq!(one["how"], "overlap");
    let old = Pid::from_raw(rig.pid("1.0.0") as i32).unwrap();
    rig.check("2.0.0");
    // The neighbour's process wrote the same file, later or earlier than the old one's: only one of them is left.
    let after = rig.instance("b");
    assert_eq!(
        after["pid"], neighbour["pid"],
        "the other instance is not touched"
    );
    assert_eq!(after["generation"], neighbour["generation"]);
    let left = rustix::process::test_kill_process(old).is_ok();
    assert_eq!(left, neighbour["pid"] == json!(old.as_raw_nonzero().get()));
    // And back again: seats are taken in turn.
    install(&rig.dir, "3.0.0", "good", "");
    rig.upgrade().join().unwrap().unwrap();
    rig.publish(1);
    rig.hear_all();
    assert_eq!(rig.replies.last().unwrap().1, "3.0.0");
}

/// Proves LN19: a new version that ends, refuses, hangs in its handshake, never becomes ready or wants a person is ended,
/// and the old process stays, with its manifest and its state, in kv and on disk; the reason says where the error is.
#[test]
fn a_new_version_that_is_no_good_leaves_the_old_one() {
    let mut rig = Rig::start("good", "");
    let before = rig.instance("a");
    let cases = [
        ("crash", "guest-2.0.0.py:"),
        ("refuse", "expected a token"),
        ("gate:initialize", "not ready 3000 ms"),
        ("mute", "not ready 3000 ms"),
        ("needs_auth", "needs_auth"),
    ];
    for (mode, word) in cases {
        // Short for those that end with it, and only for them.
        let start = if word.starts_with("not ready") {
            "3s"
        } else {
            "60s"
        };
        install_to_start_within(&rig.dir, "2.0.0", mode, "", start);
        let upgrade = rig.upgrade();
        rig.publish(5);
        let error = upgrade.join().unwrap().unwrap_err();
        assert!(error.contains(word), "{mode}: {error}");
        rig.hear_all();
        rig.state_went_on(mode);
        let after = rig.instance("a");
        assert_eq!(after["pid"], before["pid"], "{mode}");
        let listed = rig.client.call("admin.plugins.list", &json!({}), PATIENCE);
        assert_eq!(listed.unwrap()["plugins"][0]["version"], "1.0.0", "{mode}");
    }
    std::fs::write(rig.dir.join("plugin.toml"), "[plugin]\nid = 7\n").unwrap();
    let error = rig.upgrade().join().unwrap().unwrap_err();
    assert!(error.contains("plugin.toml"), "{error}");
    rig.check("1.0.0");
}

/// Proves L10: whichever of the two is killed with SIGKILL while the new one shakes hands, while the old one goes back to
/// standby, or while the new one goes to work, every event is answered once and in order.
#[test]
fn whoever_is_killed_at_whatever_step_nothing_is_lost() {
    let cases = [
        ("good", "gate:initialize", "2.0.0", "1.0.0"),
        ("good", "gate:instance.activate", "2.0.0", "1.0.0"),
        ("gate:instance.deactivate", "good", "2.0.0", "1.0.0"),
        ("gate:instance.deactivate", "good", "1.0.0", "2.0.0"),
        ("good", "gate:instance.activate", "1.0.0", "2.0.0"),
    ];
    for (old, new, killed, serving) in cases {
        let mut rig = Rig::start(old, "");
        let before = rig.instance("a")["pid"].as_u64().unwrap();
        // Which of the two instances' processes wrote last is not known.
        std::fs::write(rig.dir.join("pid.1.0.0"), before.to_string()).unwrap();
        install(&rig.dir, "2.0.0", new, "");
        let upgrade = rig.upgrade();
        let gate = rig.at_gate();
        rig.publish(10);
        rig.kill(killed);
        drop(gate);
        rig.publish(10);
        let answer = upgrade.join().unwrap();
        assert_eq!(
            answer.is_ok(),
            serving == "2.0.0",
            "{old} {new} {killed}: {answer:?}"
        );
        rig.hear_all();
        let mut versions: BTreeMap<String, u64> = BTreeMap::new();
        for (_, version, _) in &rig.replies {
            *versions.entry(version.clone()).or_default() += 1;
        }
        let story = format!("{old} {new} {killed}: {versions:?}");
        assert!(versions.contains_key(serving), "{story}");
        rig.check(serving);
    }
}

/// Proves LN57: while an instance is being replaced, another upgrade of it is refused as busy; a restart that is asked for then
/// loses nothing, and one version serves afterwards.
#[test]
fn what_is_asked_during_an_upgrade_is_refused_or_done_without_loss() {
    let mut rig = Rig::start("good", "");
    install(&rig.dir, "2.0.0", "gate:initialize", "");
    let upgrade = rig.upgrade();
    let gate = rig.at_gate();
    rig.publish(5);
    let second = rig.upgrade().join().unwrap().unwrap_err();
    assert!(second.contains("instance_busy"), "{second}");
    let which = json!({ "plugin": "guest", "instance": "a" });
    let restart = rig.client.call("admin.plugins.restart", &which, PATIENCE);
    restart.unwrap();
    rig.publish(5);
    drop(gate);
    let answer = upgrade.join().unwrap();
    rig.publish(5);
    rig.hear_all();
    let serving = if answer.is_ok() { "2.0.0" } else { "1.0.0" };
    while rig.instance("a")["state"] != "ready" {}
    rig.check(serving);
}

/// Proves L10: instances that share a process are replaced together; one alone is refused.
#[test]
fn a_shared_process_is_replaced_with_all_its_instances_or_not_at_all() {
    let mut rig = Rig::start("good", "isolation = \"process\"");
    install(&rig.dir, "2.0.0", "good", "isolation = \"shared\"");
    let error = rig.upgrade().join().unwrap().unwrap_err();
    assert!(error.contains("shares a process"), "{error}");
    rig.check("1.0.0");
}
