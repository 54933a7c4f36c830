//! Packages are added, upgraded, changed behind the daemon's back and removed, by the real command on a real daemon,
//! while another plugin serves.
//!
//! The plugin is a few lines of Python on the bare wire. It may stop at one request until the test lets it go on: it
//! opens a pipe in its state directory there, which the test opens from the other side.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "it runs the operator's commands")]

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trunkline_tests::daemon::{Daemon, Setup, program};
use trunkline_tests::wire::{Incoming, Peer, Subscribe, WireError};

const PATIENCE: Duration = Duration::from_mins(1);

const PLUGIN: &str = r#"
import hashlib, json, os, socket, sys
import helper
VERSION, MODE = "@version@", "@mode@"
link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
link.set_inheritable(False)
number = 0
def send(**message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
def gate():
    with open(os.path.join(os.environ["HOME"], "gate")) as pipe:
        pipe.read()
if MODE == "crash:" + os.environ["TRUNKLINE_INSTANCE"]:
    raise NameError("name 'Rply' is not defined")
for line in link.makefile("rb"):
    message = json.loads(line)
    method, request, params = message.get("method"), message.get("id"), message.get("params")
    if str(method) in MODE.split(":"):
        gate()
    if method == "initialize":
        send(id=request, result={"manifest": {"plugin": {"id": params["plugin"], "version": VERSION}},
                                 "protocol": "trunkline/1.0", "accepts": {"events": 8, "bytes": 1 << 20}})
    elif method == "broker.event":
        event, delivery = params["event"], params["delivery"]["id"]
        number += 1
        kind, where = params["topic"].rsplit(".", 2)[1:]
        key = hashlib.sha256(event["id"].encode()).hexdigest()
        said = {"number": event["payload"]["number"], "version": VERSION}
        send(id=1000 + number, method="broker.commit", params={"ack": [delivery], "events": [
            {"topic": "plugin.inbound.%s.%s" % (kind, where), "on_conflict": "keep_first",
             "event": {"id": key, "session_id": "s", "payload": said}}]})
        if "state" in event["payload"]:
            send(method="instance.status", params=event["payload"]["state"])
        if "exit" in event["payload"]:
            sys.exit(event["payload"]["exit"])
    elif method == "ping":
        send(id=request, result={"loop_lag_ms": 0, "in_flight": 0})
    elif method is not None and request is not None:
        send(id=request, result={"ok": True})
        if method == "instance.activate":
            send(method="instance.status", params={"state": "ready"})
        if method == "shutdown":
            sys.exit(0)
"#;

fn write_plugin(dir: &Path, id: &str, version: &str, mode: &str) {
    std::fs::create_dir_all(dir).unwrap();
    let source = PLUGIN.replace("@version@", version).replace("@mode@", mode);
    std::fs::write(dir.join("main.py"), source).unwrap();
    std::fs::write(dir.join("helper.py"), "HELP = 1\n").unwrap();
    let manifest = format!(
        "[plugin]\nid = \"{id}\"\nversion = \"{version}\"\ncommand = [\"python3\", \"main.py\"]\n\
         [[channels]]\nkind = \"{id}\"\n\
         [supervisor]\nstart_timeout = \"5s\"\nstop_timeout = \"8s\"\n"
    );
    std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
}

/// What a command said, and how it ended.
struct Said {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn refused(self, code: &str, word: &str) -> Self {
        let is_it = self.status != 0 && self.stderr.contains(&format!("error: {code}: "));
        assert!(
            is_it && self.stderr.contains(word),
            "{code}, {word}: {}",
            self.stderr
        );
        self
    }
}

struct Rig {
    home: tempfile::TempDir,
    setup: Setup,
    daemon: Daemon,
    client: Peer,
    ears: Peer,
    sent: u64,
    /// The process of the plugin that is none of anybody's business.
    neighbour: Value,
}

impl Rig {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        write_plugin(
            &home.path().join("plugins/neighbour"),
            "neighbour",
            "1.0.0",
            "good",
        );
        let setup = Setup::new(home.path(), &home.path().join("data"), &config(""));
        let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let ears = listen(&setup);
        let client = setup.connect("client").unwrap();
        let mut rig = Self {
            home,
            setup,
            daemon,
            client,
            ears,
            sent: 0,
            neighbour: Value::Null,
        };
        rig.ask("neighbour", "a");
        rig.neighbour = rig.instance("neighbour", "a")["pid"].clone();
        rig
    }

    /// Ends the daemon, and starts it again.
    fn start_again(&mut self) {
        self.daemon.terminate();
        assert!(self.daemon.wait(PATIENCE).is_some(), "it does not end");
        self.daemon = self.setup.start().unwrap_or_else(|error| panic!("{error}"));
        self.client = self.setup.connect("client").unwrap();
        self.ears = listen(&self.setup);
        self.ask("neighbour", "a");
        self.neighbour = self.instance("neighbour", "a")["pid"].clone();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn source(&self, version: &str, mode: &str) -> PathBuf {
        let dir = self.path(&format!("source-{version}-{}", mode.replace(':', "-")));
        write_plugin(&dir, "guest", version, mode);
        dir
    }

    fn cli(&self, args: &[&str]) -> Said {
        cli(self.home.path(), args)
    }

    fn configure(&mut self, more: &str) {
        let file = self.path("trunkline.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let at = text.find("\n[http]").unwrap();
        std::fs::write(&file, format!("{}{}", config(more), &text[at..])).unwrap();
    }

    fn reload(&mut self) {
        let done = self
            .client
            .call("admin.config.reload", &json!({}), PATIENCE);
        done.unwrap_or_else(|error| panic!("{error}\n{}", self.daemon.stderr()));
    }

    fn tell(&mut self, kind: &str, instance: &str, more: Value) -> u64 {
        self.sent += 1;
        let mut payload = json!({ "number": self.sent });
        payload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let id = format!("order-{}", self.sent);
        let event = json!({ "id": id, "session_id": "s", "payload": payload });
        let topic = format!("plugin.outbound.{kind}.{instance}");
        let params = json!({ "topic": topic, "event": event });
        self.client
            .call("broker.publish", &params, PATIENCE)
            .unwrap();
        self.sent
    }

    /// Waits for the answer to an event; gives the version that gave it.
    fn hear(&mut self, number: u64) -> String {
        loop {
            let Some(found) = self.ears.next(PATIENCE).unwrap() else {
                panic!("{number} was not answered\n{}", self.daemon.stderr());
            };
            let Incoming::Delivery(delivery) = found else {
                continue;
            };
            let id = delivery.handing.as_ref().unwrap().id.clone();
            self.ears.ack(&id).unwrap();
            self.ears.flush().unwrap();
            let said: Value = serde_json::from_str(&delivery.payload).unwrap();
            if said["number"] == number {
                return said["version"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Publishes an event, waits for its answer and gives the version that gave it.
    fn ask(&mut self, kind: &str, instance: &str) -> String {
        let number = self.tell(kind, instance, json!({}));
        self.hear(number)
    }

    fn instance(&mut self, plugin: &str, name: &str) -> Value {
        let status = self.client.call("admin.status", &json!({}), PATIENCE);
        let status = status.unwrap();
        let all = status["instances"].as_array().unwrap().clone();
        let is_it = |one: &Value| one["plugin"] == plugin && one["instance"] == name;
        all.into_iter().find(is_it).unwrap_or(Value::Null)
    }

    /// Asks until an instance is in a state.
    fn until(&mut self, name: &str, state: &str) -> Value {
        let began = Instant::now();
        loop {
            let one = self.instance("guest", name);
            if one["state"] == state {
                return one;
            }
            let log = self.daemon.stderr();
            assert!(began.elapsed() < PATIENCE, "not {state}: {one}\n{log}");
        }
    }

    fn listed(&mut self, plugin: &str) -> Value {
        let listed = self.client.call("admin.plugins.list", &json!({}), PATIENCE);
        let listed = listed.unwrap()["plugins"].as_array().unwrap().clone();
        listed
            .into_iter()
            .find(|one| one["id"] == plugin)
            .unwrap_or(Value::Null)
    }

    fn locked(&self) -> Value {
        let text = std::fs::read_to_string(self.path("data/packages.lock")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["packages"].clone()
    }

    fn directories(&self) -> Vec<String> {
        let dir = self.path("data/packages/guest");
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Changes a byte of the installed package.
    fn change_a_byte(&mut self) {
        let listed = self.listed("guest");
        let helper = Path::new(listed["path"].as_str().unwrap()).join("helper.py");
        std::fs::set_permissions(&helper, Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&helper, "HELP = 2\n").unwrap();
        std::fs::set_permissions(&helper, Permissions::from_mode(0o444)).unwrap();
    }

    /// Changes a byte of the installed package, and ends the process.
    fn tamper(&mut self) {
        self.change_a_byte();
        let pid = self.instance("guest", "a")["pid"].as_i64().unwrap();
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    }

    /// The pipe at which an instance waits.
    fn make_gate(&self, name: &str) -> PathBuf {
        let dir = self.path(&format!("data/state/guest/{name}"));
        std::fs::create_dir_all(&dir).unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(rustix::fs::CWD, dir.join("gate"), FileType::Fifo, mode, 0).unwrap();
        dir.join("gate")
    }

    /// The other plugin has the process it had, and answers.
    fn check_neighbour(&mut self) {
        assert_eq!(self.ask("neighbour", "a"), "1.0.0");
        let one = self.instance("neighbour", "a");
        assert_eq!(one["pid"], self.neighbour, "{one}");
        assert_eq!(
            (&one["restarts"], &one["generation"]),
            (&json!(0), &json!(1)),
            "{one}"
        );
    }
}

/// Hears what plugins publish.
fn listen(setup: &Setup) -> Peer {
    let mut ears = setup.connect("ears").unwrap();
    let subscribe = Subscribe {
        name: "all".into(),
        filters: vec!["plugin.inbound.>".into()],
        group: None,
        credit: 256,
        retry: None,
    };
    ears.subscribe(&subscribe).unwrap();
    ears
}

fn config(more: &str) -> String {
    format!("plugin_dirs = [\"plugins\"]\n[[plugins.neighbour]]\ninstance = \"a\"\n{more}\n")
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).current_dir(home).stdin(Stdio::null());
    command
        .env_remove("TRUNKLINE_SOCKET")
        .env_remove("TRUNKLINE_CONFIG");
    command
}

fn cli(home: &Path, args: &[&str]) -> Said {
    let output = command(home, args).output().unwrap();
    Said {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Proves L9: a plugin is installed, configured, upgraded, sent back to its old version when the new one is no good,
/// and removed while the daemon runs, and the other plugin keeps its process and loses nothing.
///
/// Proves LN46 (layout only): the package is one packed archive, made by `plugins pack`.
#[test]
fn a_package_is_added_upgraded_and_removed_while_another_plugin_serves() {
    let mut rig = Rig::start();
    let one = rig.source("1.0.0", "good");
    std::fs::create_dir(one.join("__pycache__")).unwrap();
    std::fs::write(one.join("__pycache__/main.pyc"), "old").unwrap();
    let packed = rig.cli(&["plugins", "pack", text(&one)]).ok();
    assert_eq!(packed.stdout.trim(), "guest-1.0.0.trunkline.tgz");
    assert!(
        packed.stderr.contains("left out: __pycache__/"),
        "{}",
        packed.stderr
    );
    let added = rig
        .cli(&["plugins", "add", "guest-1.0.0.trunkline.tgz"])
        .ok();
    assert!(
        added.stdout.contains("[[plugins.guest]]"),
        "{}",
        added.stdout
    );
    assert!(added.stderr.contains("unsigned"), "{}", added.stderr);
    let again = rig.cli(&["plugins", "add", text(&one)]).ok();
    assert!(again.stderr.contains("already"), "{}", again.stderr);
    let two = rig.source("2.0.0", "good");
    rig.cli(&["plugins", "add", text(&two)])
        .refused("package_exists", "upgrade guest --from");

    let instances = "[[plugins.guest]]\ninstance = \"a\"\n[[plugins.guest]]\ninstance = \"b\"\n";
    rig.configure(instances);
    rig.reload();
    assert_eq!(
        (rig.ask("guest", "a"), rig.ask("guest", "b")),
        ("1.0.0".into(), "1.0.0".into())
    );
    rig.check_neighbour();

    // Events go on while it is replaced.
    let sent: Vec<u64> = (0..10).map(|_| rig.tell("guest", "a", json!({}))).collect();
    let done = rig
        .cli(&["plugins", "upgrade", "guest", "--from", text(&two)])
        .ok();
    assert!(
        done.stdout.contains("guest/a  1.0.0 → 2.0.0  overlap"),
        "{}",
        done.stdout
    );
    for number in sent {
        rig.hear(number);
    }
    assert_eq!(
        (rig.ask("guest", "a"), rig.ask("guest", "b")),
        ("2.0.0".into(), "2.0.0".into())
    );
    assert_eq!(rig.locked()["guest"]["version"], "2.0.0");
    assert_eq!(rig.directories().len(), 1, "{:?}", rig.directories());
    rig.check_neighbour();

    // The first instance is replaced, the second is not: both go back.
    let before = (rig.locked(), rig.directories());
    for mode in ["crash:a", "crash:b"] {
        let bad = rig.source("3.0.0", mode);
        let said = rig.cli(&["plugins", "upgrade", "guest", "--from", text(&bad)]);
        let said = said.refused("unavailable", "Rply");
        assert!(
            said.stderr.contains("guest stays at 2.0.0"),
            "{}",
            said.stderr
        );
        assert_eq!(
            (rig.ask("guest", "a"), rig.ask("guest", "b")),
            ("2.0.0".into(), "2.0.0".into())
        );
        assert_eq!((rig.locked(), rig.directories()), before, "{mode}");
        let listed = rig.listed("guest");
        assert_eq!(listed["version"], "2.0.0", "{listed}");
    }
    rig.check_neighbour();

    rig.cli(&["plugins", "remove", "guest"])
        .refused("package_in_use", "guest/a, guest/b");
    rig.configure("");
    rig.cli(&["plugins", "remove", "guest"])
        .refused("package_in_use", "config reload");
    assert_eq!(rig.ask("guest", "a"), "2.0.0");
    rig.reload();
    let gone = rig.cli(&["plugins", "remove", "guest"]).ok();
    assert!(
        gone.stderr.contains("kept: what its instances saved"),
        "{}",
        gone.stderr
    );
    assert!(rig.path("data/state/guest/a").is_dir());
    assert!(!rig.path("data/packages/guest").exists());
    assert_eq!(
        (rig.locked(), rig.listed("guest")),
        (json!({}), Value::Null)
    );
    rig.cli(&["plugins", "remove", "guest"])
        .refused("not_found", "no package of guest");
    rig.check_neighbour();

    // The config names it first: then adding it starts it.
    rig.configure(instances);
    let added = rig.cli(&["plugins", "add", text(&two)]).ok();
    assert!(added.stdout.contains("guest/a added"), "{}", added.stdout);
    assert_eq!(rig.ask("guest", "b"), "2.0.0");
    rig.check_neighbour();
}

/// Proves T3 (checked at start): a byte that changed in an installed package is found at the next start, which is
/// refused with the file's name; other plugins go on, and adding the package again puts it right.
///
/// Proves LN57: one call lists what is installed and what is not configured, with source, version, hash, what is wanted and
/// what is, and the last error; while one change runs, another is refused with `instance_busy`, which is 409.
#[test]
fn a_changed_package_is_not_started_and_one_call_tells_everything() {
    let mut rig = Rig::start();
    let source = rig.source("1.0.0", "good");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    let candidate = rig.listed("guest");
    assert_eq!(candidate["instances"], json!([]), "{candidate}");
    write_plugin(&rig.path("plugins/other"), "other", "0.1.0", "good");
    assert_eq!(rig.listed("other")["version"], "0.1.0");

    rig.configure("[[plugins.guest]]\ninstance = \"a\"\n[[plugins.guest]]\ninstance = \"off\"\nenabled = false\n");
    rig.reload();
    rig.ask("guest", "a");
    let listed = rig.listed("guest");
    let package = &listed["package"];
    assert_eq!(package["source"], text(&source), "{listed}");
    assert_eq!(package["sha256"], rig.locked()["guest"]["sha256"]);
    assert_eq!(
        (&package["state"], &package["signed"]),
        (&json!("intact"), &json!(false))
    );
    let [on, off] = &listed["instances"].as_array().unwrap()[..] else {
        panic!("{listed}");
    };
    assert_eq!(
        (&on["desired"], &on["state"]),
        (&json!("running"), &json!("ready"))
    );
    assert_eq!(
        (&off["desired"], &off["state"]),
        (&json!("disabled"), &json!("disabled"))
    );
    // Python left no byte code there, which would be a change.
    let tree = PathBuf::from(listed["path"].as_str().unwrap());
    assert!(!tree.join("__pycache__").exists());

    rig.tamper();
    let failed = rig.until("a", "failed");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.starts_with("package_changed: helper.py"), "{failed}");
    assert!(reason.contains("plugins add"), "{failed}");
    let listed = rig.listed("guest");
    assert_eq!(listed["package"]["state"], "changed", "{listed}");
    let problem = listed["package"]["problem"].as_str().unwrap();
    assert!(problem.contains("helper.py"), "{listed}");
    assert!(listed["package"]["checked_at"].is_string(), "{listed}");
    let last = listed["instances"][0]["last_error"].as_str();
    assert!(
        last.is_some_and(|text| text.contains("helper.py")),
        "{listed}"
    );
    rig.check_neighbour();

    let mended = rig.cli(&["plugins", "add", text(&source)]).ok();
    assert!(mended.stderr.contains("put right"), "{}", mended.stderr);
    rig.cli(&["plugins", "restart", "guest/a"]).ok();
    assert_eq!(rig.ask("guest", "a"), "1.0.0");

    // One change at a time.
    let gate = rig.make_gate("a");
    let slow = rig.source("2.0.0", "gate:initialize");
    let mut upgrade = command(
        rig.home.path(),
        &["plugins", "upgrade", "guest", "--from", text(&slow)],
    )
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let gate = OpenOptions::new().write(true).open(gate).unwrap();
    rig.cli(&["plugins", "remove", "guest"])
        .refused("instance_busy", "another command");
    let third = rig.source("3.0.0", "good");
    rig.cli(&["plugins", "upgrade", "guest", "--from", text(&third)])
        .refused("instance_busy", "guest");
    let which = json!({ "plugin": "neighbour" });
    let refused = rig
        .client
        .call("admin.plugins.upgrade", &which, PATIENCE)
        .unwrap_err();
    let WireError::Refused { code, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(code, "instance_busy");
    drop(gate);
    assert!(upgrade.wait().unwrap().success());
    assert_eq!(rig.ask("guest", "a"), "2.0.0");

    // Another package is the other way out.
    rig.tamper();
    rig.until("a", "failed");
    let number = rig.tell("guest", "a", json!({}));
    rig.cli(&["plugins", "upgrade", "guest", "--from", text(&third)])
        .ok();
    assert_eq!(rig.hear(number), "3.0.0", "what came meanwhile is not lost");
    assert_eq!(rig.listed("guest")["package"]["state"], "intact");
    rig.check_neighbour();
}

/// Proves T3: commands that run at once lose no entry of the lock; without a daemon, an upgrade is taken by its next
/// start.
#[test]
fn packages_that_are_added_at_once_are_all_there() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path(), &home.path().join("data"), "");
    let names: Vec<String> = (0..6).map(|number| format!("guest{number}")).collect();
    let mut adding = Vec::new();
    for name in &names {
        let dir = home.path().join(name);
        write_plugin(&dir, name, "1.0.0", "good");
        let mut command = command(home.path(), &["plugins", "add", text(&dir)]);
        adding.push(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
    }
    for one in adding {
        let output = one.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let lock = std::fs::read_to_string(home.path().join("data/packages.lock")).unwrap();
    let lock: Value = serde_json::from_str(&lock).unwrap();
    let found: Vec<&String> = lock["packages"].as_object().unwrap().keys().collect();
    assert_eq!(found, names.iter().collect::<Vec<_>>());

    let two = home.path().join("two");
    write_plugin(&two, "guest0", "2.0.0", "good");
    cli(
        home.path(),
        &["plugins", "upgrade", "guest0", "--from", text(&two)],
    )
    .ok();
    let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let mut client = setup.connect("client").unwrap();
    let listed = client
        .call("admin.plugins.list", &json!({}), PATIENCE)
        .unwrap();
    assert_eq!(listed["plugins"][0]["version"], "2.0.0", "{listed}");
    drop(daemon);
}

/// Proves LN12: installed, starting, ready, degraded, crashed (`backing_off`), draining, stopped (`disabled`) and
/// quarantined (`failed`) are shown as they are entered, each with its reason and since when; `frozen` is reserved.
#[test]
fn every_state_is_shown_with_its_reason_and_since_when() {
    let mut rig = Rig::start();
    let gate = rig.make_gate("a");
    let source = rig.source("1.0.0", "gate:initialize:shutdown");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    let installed = rig.listed("guest");
    assert_eq!(installed["instances"], json!([]), "{installed}");
    assert!(installed["package"]["added_at"].is_string(), "{installed}");
    rig.configure("[[plugins.guest]]\ninstance = \"a\"\n");
    rig.reload();

    let mut seen: Vec<(String, String, String)> = Vec::new();
    let mut note = |one: &Value| {
        let word = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        seen.push((word("state"), word("reason"), word("since")));
    };
    let at_gate = OpenOptions::new().write(true).open(&gate).unwrap();
    note(&rig.until("a", "starting"));
    drop(at_gate);
    note(&rig.until("a", "ready"));
    let slow = json!({ "state": { "state": "degraded", "reason": "the upstream is slow" } });
    rig.tell("guest", "a", slow);
    note(&rig.until("a", "degraded"));
    rig.tell("guest", "a", json!({ "state": { "state": "ready" } }));
    rig.until("a", "ready");
    rig.tell("guest", "a", json!({ "exit": 7 }));
    note(&rig.until("a", "backing_off"));
    let at_gate = OpenOptions::new().write(true).open(&gate).unwrap();
    drop(at_gate);
    rig.until("a", "ready");
    let fatal = json!({ "state": { "state": "fatal", "reason": "the token was revoked" } });
    rig.tell("guest", "a", fatal);
    let at_gate = OpenOptions::new().write(true).open(&gate).unwrap();
    note(&rig.until("a", "draining"));
    drop(at_gate);
    note(&rig.until("a", "failed"));
    let which = json!({ "plugin": "guest" });
    rig.client
        .call("admin.plugins.disable", &which, PATIENCE)
        .unwrap();
    note(&rig.until("a", "disabled"));

    let states: Vec<&str> = seen.iter().map(|one| one.0.as_str()).collect();
    let all = [
        "starting",
        "ready",
        "degraded",
        "backing_off",
        "draining",
        "failed",
        "disabled",
    ];
    assert_eq!(states, all);
    let reason = |state: &str| &seen.iter().find(|one| one.0 == state).unwrap().1;
    assert_eq!(reason("degraded"), "the upstream is slow");
    assert!(reason("backing_off").contains('7'), "{seen:?}");
    assert_eq!(reason("failed"), "the token was revoked");
    let mut since: Vec<&str> = seen.iter().map(|one| one.2.as_str()).collect();
    assert!(since.iter().all(|at| at.ends_with('Z')), "{seen:?}");
    let told = since.clone();
    since.sort_unstable();
    assert_eq!(since, told, "each later than the one before");
    let said = rig.cli(&["plugins", "list"]).ok();
    assert!(said.stdout.contains("disabled"), "{}", said.stdout);
    rig.check_neighbour();
}

/// Proves T3: the list tells what the last check found and when, and hashes nothing itself; `plugins verify` looks now,
/// with and without a daemon, and its exit status says what it found.
#[test]
fn the_list_tells_of_the_last_check_and_verify_looks_now() {
    let mut rig = Rig::start();
    let source = rig.source("1.0.0", "good");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    assert_eq!(rig.listed("guest")["package"]["state"], "unchecked");
    let said = rig.cli(&["plugins", "verify"]).ok();
    assert!(said.stdout.contains("intact"), "{}", said.stdout);
    let before = rig.listed("guest")["package"].clone();
    assert_eq!(before["state"], "intact", "{before}");
    assert!(before["checked_at"].is_string(), "{before}");

    rig.change_a_byte();
    assert_eq!(rig.listed("guest")["package"], before, "nobody looked");
    let said = rig.cli(&["plugins", "verify", "guest"]);
    assert_eq!(said.status, 1, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("helper.py"), "{}", said.stdout);
    let after = rig.listed("guest")["package"].clone();
    assert_eq!(after["state"], "changed", "{after}");
    rig.cli(&["plugins", "verify", "other"])
        .refused("not_found", "no package of other");
    rig.check_neighbour();

    let Rig { home, daemon, .. } = rig;
    drop(daemon);
    let said = cli(home.path(), &["plugins", "verify", "--json"]);
    assert_eq!(said.status, 1, "{}{}", said.stdout, said.stderr);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["plugins"][0]["package"]["state"], "changed");
    cli(home.path(), &["plugins", "add", text(&source)]).ok();
    cli(home.path(), &["plugins", "verify", "guest"]).ok();
}

/// Proves T3: a manifest that is edited or deleted in an installed package keeps neither the daemon from starting nor its
/// config from being read again: the instances of that package alone are refused, until it is added again.
#[test]
fn a_damaged_manifest_refuses_its_own_instances_alone() {
    let mut rig = Rig::start();
    let source = rig.source("1.0.0", "good");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    rig.configure("[[plugins.guest]]\ninstance = \"a\"\n");
    rig.reload();
    assert_eq!(rig.ask("guest", "a"), "1.0.0");
    let tree = PathBuf::from(rig.listed("guest")["path"].as_str().unwrap());
    let manifest = tree.join("plugin.toml");
    for edit in [Some("[plugin]\nid = \"guest\" and so on"), None] {
        std::fs::set_permissions(&tree, Permissions::from_mode(0o755)).unwrap();
        std::fs::remove_file(&manifest).unwrap();
        if let Some(text) = edit {
            std::fs::write(&manifest, text).unwrap();
        }
        // What runs goes on, and the rest of the config can be changed.
        let more = "[[plugins.guest]]\ninstance = \"a\"\n[[plugins.neighbour]]\ninstance = \"b\"\n";
        rig.configure(more);
        rig.reload();
        assert_eq!(rig.ask("neighbour", "b"), "1.0.0");
        assert_eq!(rig.ask("guest", "a"), "1.0.0");
        rig.configure("[[plugins.guest]]\ninstance = \"a\"\n");
        rig.reload();

        rig.start_again();
        assert_eq!(rig.ask("neighbour", "a"), "1.0.0");
        let failed = rig.until("a", "failed");
        let reason = failed["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("package_changed: plugin.toml"),
            "{failed}"
        );
        let number = rig.tell("guest", "a", json!({}));
        let mended = rig.cli(&["plugins", "add", text(&source)]).ok();
        assert!(mended.stderr.contains("put right"), "{}", mended.stderr);
        rig.cli(&["plugins", "restart", "guest/a"]).ok();
        assert_eq!(rig.hear(number), "1.0.0");
    }
}

/// Proves T3: an upgrade whose command is killed is finished by the daemon, and the next start of that removes the files
/// that nothing runs from any more.
#[test]
fn the_files_that_a_killed_command_leaves_go_with_the_next_start() {
    let mut rig = Rig::start();
    let source = rig.source("1.0.0", "good");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    rig.configure("[[plugins.guest]]\ninstance = \"a\"\n");
    rig.reload();
    rig.ask("guest", "a");
    let path = rig.make_gate("a");
    let slow = rig.source("2.0.0", "gate:initialize");
    let args = ["plugins", "upgrade", "guest", "--from", text(&slow)];
    let mut upgrade = command(rig.home.path(), &args);
    let mut upgrade = upgrade.stderr(Stdio::null()).spawn().unwrap();
    let gate = OpenOptions::new().write(true).open(&path).unwrap();
    upgrade.kill().unwrap();
    upgrade.wait().unwrap();
    drop(gate);
    let began = Instant::now();
    while rig.locked()["guest"]["version"] != "2.0.0" {
        assert!(began.elapsed() < PATIENCE, "{}", rig.daemon.stderr());
        rig.instance("guest", "a");
    }
    assert_eq!(rig.directories().len(), 2, "{:?}", rig.directories());

    // From now on nobody waits there.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    rig.start_again();
    let left = rig.directories();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("2.0.0-"), "{left:?}");
    assert_eq!(rig.ask("guest", "a"), "2.0.0");
}
