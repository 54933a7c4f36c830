//! `trunkline dev` in a plugin's directory, driven through its stdin and stdout as a person or a script does it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "it runs the operator's commands")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trunkline_tests::daemon::{Setup, built, program};
use trunkline_tests::mcp::wait_ready;
use trunkline_tests::supervised::install;
use trunkline_tests::wire::Peer;

const PATIENCE: Duration = Duration::from_secs(30);

const PLUGIN: &str = r#"
import hashlib, json, os, socket, sys
WORD = "@word@"
link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
link.set_inheritable(False)
def send(**message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
number = 0
for line in link.makefile("rb"):
    message = json.loads(line)
    method, request, params = message.get("method"), message.get("id"), message.get("params")
    if method == "initialize":
        send(id=request, result={"manifest": {"plugin": {"id": "hello", "version": "1.0.0"}},
                                 "protocol": "trunkline/1.0", "accepts": {"events": 8, "bytes": 1 << 20}})
    elif method == "broker.event":
        event, delivery = params["event"], params["delivery"]["id"]
        number += 1
        key = hashlib.sha256(event["id"].encode()).hexdigest()
        text = WORD + " " + event["payload"]["text"]
        send(id=1000 + number, method="broker.commit", params={"ack": [delivery], "events": [
            {"topic": "plugin.inbound.hello.default", "on_conflict": "keep_first",
             "event": {"id": key, "session_id": "s", "correlation_id": event["id"], "payload": {"text": text}}}]})
    elif method == "instance.deactivate":
        print("stopping " + WORD, file=sys.stderr, flush=True)
        send(id=request, result={})
    elif method is not None and request is not None:
        send(id=request, result={"ok": True})
        if method == "instance.activate":
            send(method="instance.status", params={"state": "ready"})
        if method == "shutdown":
            break
"#;

const MANIFEST: &str = "[plugin]\nid = \"hello\"\nversion = \"1.0.0\"\ncommand = [\"python3\", \"hello.py\"]\n\
                        [[channels]]\nkind = \"hello\"\n";

fn write(dir: &Path, word: &str) {
    std::fs::write(dir.join("hello.py"), PLUGIN.replace("@word@", word)).unwrap();
}

/// A running `trunkline dev`.
struct Dev {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Dev {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.arg("dev").args(args).current_dir(dir);
        command.env_remove("TRUNKLINE_CONFIG");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (say, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take().unwrap();
        Self {
            child,
            stdin,
            lines,
            said: Vec::new(),
        }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Waits for a line with all of these.
    fn until(&mut self, words: &[&str]) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no line with {words:?} came: {:#?}", self.said);
            };
            self.said.push(line.clone());
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }

    fn quit(mut self) {
        self.type_line("/quit");
        self.until(&["draining"]);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Proves LN51: code, the manifest and new files are seen; the stop hook runs, the process is replaced when the new one
/// is ready; one that fails is told by its line, and the old one stays.
/// Proves X3: the plugin is started anew when its files change, without a config or another command.
#[test]
fn a_change_replaces_the_process_and_a_bad_one_leaves_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    write(dir, "one");
    std::fs::write(dir.join("plugin.toml"), MANIFEST).unwrap();
    let mut dev = Dev::start(dir, &["--record", "traffic.jsonl"]);
    dev.until(&["broker", "ready", ".trunkline"]);
    dev.until(&["hello/default", "ready", "pid"]);
    dev.type_line("hi there");
    dev.until(&[
        "plugin.outbound.hello.default",
        "client:dev → hello/default",
    ]);
    dev.until(&["plugin.inbound.hello.default", "hello/default", "ms"]);
    dev.until(&["< one hi there"]);

    // Words with a slash: those there are, and no other.
    dev.type_line("/to helo.default");
    dev.until(&["expected kind.instance", "helo.default"]);
    dev.until(&["hint: did you mean hello.default?"]);
    dev.type_line("/help");
    dev.until(&["/in text", "what somebody outside says"]);
    dev.type_line("/start");
    dev.until(&["usage", "found /start"]);
    dev.until(&["hint: to send it as a text: //start"]);
    dev.type_line("/to hello");
    dev.until(&["lines are for hello.default"]);
    // What somebody outside says is published there; nobody here takes it.
    dev.type_line("/in who is there?");
    dev.until(&["plugin.inbound.hello.default", "client:dev"]);
    dev.type_line("//start");
    dev.until(&["< one /start"]);

    write(dir, "two");
    dev.until(&["changed", "hello.py"]);
    dev.until(&["stopping one"]);
    dev.until(&["replaced", "ms"]);
    dev.type_line("hi again");
    dev.until(&["< two hi again"]);

    std::fs::write(dir.join("hello.py"), "import os\n\nRply(1)\n").unwrap();
    dev.until(&[
        "failed",
        "hello.py:3: NameError: name 'Rply' is not defined",
        "stays",
    ]);
    dev.type_line("still there?");
    dev.until(&["< two still there?"]);

    write(dir, "three");
    dev.until(&["replaced"]);
    std::fs::write(dir.join("plugin.toml"), "[plugin]\nid = \n").unwrap();
    dev.until(&["hello", "failed"]);
    dev.until(&["plugin.toml:2"]);
    dev.type_line("and now?");
    dev.until(&["< three and now?"]);
    std::fs::write(dir.join("plugin.toml"), MANIFEST).unwrap();
    dev.until(&["replaced"]);
    std::fs::write(dir.join("new.py"), "x = 1\n").unwrap();
    dev.until(&["changed", "new.py"]);
    dev.until(&["replaced"]);

    // What does not even compile: the new process says where, and ends.
    let bad = PLUGIN.replace("for line in link", "for line on link");
    let at = 1 + bad
        .lines()
        .position(|line| line.contains("for line on"))
        .unwrap();
    std::fs::write(dir.join("hello.py"), bad).unwrap();
    dev.until(&["failed", &format!("hello.py:{at}: SyntaxError: "), "stays"]);
    dev.type_line("once more");
    dev.until(&["< three once more"]);
    write(dir, "three");
    dev.until(&["replaced"]);

    // From outside, by another command in the same directory.
    std::fs::write(dir.join("said.json"), r#"{"text": "from outside"}"#).unwrap();
    for named in [&[][..], &["--instance", "default"]] {
        let done = Command::new(program())
            .args(["trigger", "inbound", "hello", "said.json"])
            .args(named)
            .env_remove("TRUNKLINE_CONFIG")
            .current_dir(dir)
            .status();
        assert!(done.unwrap().success());
        dev.until(&["plugin.inbound.hello.default", "client:cli"]);
        dev.until(&["< from outside"]);
    }
    dev.quit();

    // What was typed is in the recording, and can be played again.
    let mut again = Dev::start(dir, &["--replay", "traffic.jsonl"]);
    for line in [
        "hi there",
        "hi again",
        "still there?",
        "and now?",
        "once more",
    ] {
        again.until(&[&format!("< three {line}")]);
    }
    again.quit();
}

/// Proves LN51: a manifest that is saved is in force once its process is: `plugins list` shows its version and `tools list` its
/// tools, and until then what was in force before.
#[test]
fn a_manifest_that_is_saved_is_what_lists_show() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    write(dir, "one");
    std::fs::write(dir.join("plugin.toml"), MANIFEST).unwrap();
    let mut dev = Dev::start(dir, &[]);
    dev.until(&["hello/default", "ready", "pid"]);
    let listed = |words: &[&str]| -> Value {
        let mut command = Command::new(program());
        command.args(words).arg("--json").current_dir(dir);
        let ran = command.env_remove("TRUNKLINE_CONFIG").output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        serde_json::from_slice(&ran.stdout).unwrap()
    };
    let shown = || {
        let version = listed(&["plugins", "list"])["plugins"][0]["version"].clone();
        (version, listed(&["tools", "list"])["tools"].clone())
    };
    let (version, tools) = shown();
    assert_eq!((&version, &tools), (&json!("1.0.0"), &json!([])));

    let manifest = MANIFEST.replace("1.0.0", "1.1.0");
    let tool = "[[tools]]\nname = \"greet\"\ndescription = \"Greets.\"\n";
    std::fs::write(
        dir.join("plugin.toml"),
        format!("{manifest}{tool}timeout = \"soon\"\n"),
    )
    .unwrap();
    dev.until(&["hello", "failed"]);
    assert_eq!(
        shown(),
        (version, tools),
        "one that is no good changes nothing"
    );

    std::fs::write(dir.join("plugin.toml"), format!("{manifest}{tool}")).unwrap();
    dev.until(&["replaced"]);
    let (version, tools) = shown();
    assert_eq!(version, "1.1.0");
    assert_eq!(tools.as_array().unwrap().len(), 1, "{tools}");
    assert_eq!(tools[0]["name"], "hello.greet", "{tools}");
    dev.quit();
}

/// Proves LN51: a change of the config touches the instances that it changes, and an editor that empties the file before
/// it writes it stops nothing.
#[test]
fn a_change_of_the_config_touches_only_what_it_changes() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let configure = |names: &[&str]| {
        let mut text = String::from("[http]\nlisten = \"off\"\n");
        for name in names {
            text.push_str(&format!(
                "[[plugins.hello]]\ninstance = {name:?}\npath = \".\"\n"
            ));
        }
        std::fs::write(dir.join("trunkline.toml"), text).unwrap();
    };
    write(dir, "one");
    std::fs::write(dir.join("plugin.toml"), MANIFEST).unwrap();
    configure(&["one", "two"]);
    let mut dev = Dev::start(dir, &[]);
    for _ in 0..2 {
        dev.until(&["plugin   hello/", "ready", "pid"]);
    }
    configure(&["one", "two", "three"]);
    dev.until(&["hello/three", "ready", "pid"]);
    std::fs::write(dir.join("trunkline.toml"), "").unwrap();
    dev.until(&["config", "is empty"]);
    configure(&["one", "two"]);
    dev.until(&["hello/three", "stopped"]);
    // What comes after it in the order of things: a change of the code is a replacement of those two, and of no other.
    write(dir, "two");
    dev.until(&["hello", "replaced"]);
    let said = |words: [&str; 2]| {
        let has = |line: &&String| words.iter().all(|word| line.contains(word));
        dev.said.iter().filter(has).count()
    };
    assert_eq!(said(["hello", "replaced"]), 1, "{:#?}", dev.said);
    assert_eq!(said(["changed", "trunkline.toml"]), 0, "{:#?}", dev.said);
    assert_eq!(said(["hello/one", "stopped"]), 0, "{:#?}", dev.said);
    dev.quit();
}

/// Proves LN51: what is saved while the first build runs has changed, and what that build makes has not.
#[test]
fn what_is_saved_during_the_first_build_is_a_change() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    write(dir, "one");
    std::fs::write(dir.join("plugin.toml"), MANIFEST).unwrap();
    let build = "test -e made.txt || sed -i 's/= \"one\"/= \"other\"/' hello.py; echo x > made.txt";
    std::fs::write(dir.join("build.sh"), build).unwrap();
    let mut dev = Dev::start(dir, &["--build", "sh build.sh"]);
    dev.until(&["plugin", "building"]);
    let line = dev.until(&["plugin", "changed"]);
    assert!(line.contains("hello.py"), "{line}");
    dev.until(&["replaced"]);
    dev.quit();
}

/// Proves LN51: a plugin that a change of the config adds is watched like the others, and one that is gone is not.
#[test]
fn a_plugin_that_a_reload_adds_is_watched() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let configure = |ids: &[&str]| {
        let mut text = String::from("[http]\nlisten = \"off\"\n");
        for id in ids {
            text.push_str(&format!("[[plugins.{id}]]\npath = {id:?}\n"));
        }
        std::fs::write(dir.join("trunkline.toml"), text).unwrap();
    };
    for id in ["hello", "later"] {
        std::fs::create_dir(dir.join(id)).unwrap();
        let code = PLUGIN.replace("\"id\": \"hello\"", &format!("\"id\": \"{id}\""));
        std::fs::write(dir.join(id).join("hello.py"), code).unwrap();
        let manifest = MANIFEST.replace("\"hello\"", &format!("\"{id}\""));
        std::fs::write(dir.join(id).join("plugin.toml"), manifest).unwrap();
    }
    configure(&["hello"]);
    let mut dev = Dev::start(dir, &[]);
    dev.until(&["hello/default", "ready", "pid"]);
    configure(&["hello", "later"]);
    dev.until(&["later/default", "ready", "pid"]);
    std::fs::write(dir.join("later/more.py"), "x = 1\n").unwrap();
    dev.until(&["later", "changed", "more.py"]);
    dev.until(&["later", "replaced"]);
    // What is no good says which process of those that are there stays.
    configure(&["later"]);
    dev.until(&["hello/default", "stopped"]);
    std::fs::write(dir.join("hello/more.py"), "x = 1\n").unwrap();
    std::fs::write(dir.join("later/hello.py"), "import os\n\nRply(1)\n").unwrap();
    dev.until(&["later", "failed", "NameError", "stays"]);
    let is_of_hello = |line: &&String| line.contains("hello   changed");
    assert_eq!(
        dev.said.iter().filter(is_of_hello).count(),
        0,
        "{:#?}",
        dev.said
    );
    dev.quit();
}

/// Proves X3: a plugin that was started by hand attaches to the running daemon, with the same handshake; a second one of
/// the same instance is refused, and so is one whose instance has a process.
#[test]
fn a_plugin_that_was_started_by_hand_attaches_once() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    write(dir, "one");
    std::fs::write(dir.join("plugin.toml"), MANIFEST).unwrap();
    let mut dev = Dev::start(dir, &[]);
    dev.until(&["hello/default", "ready", "pid"]);
    let data = dir.join(".trunkline");
    let token = std::fs::read_to_string(data.join("token")).unwrap();
    let socket = data.join("trunkline.sock");
    let attach = || {
        let mut peer = Peer::open(&socket).unwrap();
        let params = json!({
            "role": "plugin", "token": token.trim(), "instance": "default",
            "manifest": { "plugin": { "id": "hello", "version": "1.0.0" } },
            "protocol": { "name": "trunkline", "min": "1.0", "max": "1.0" },
        });
        let answer = peer.call("connect", &params, PATIENCE);
        (peer, answer.map_err(|error| format!("{error:?}")))
    };
    let (_served, busy) = attach();
    assert!(busy.unwrap_err().contains("instance_busy"));
    let mut operator = Peer::connect(&socket, token.trim(), "operator").unwrap();
    let which = json!({ "plugin": "hello", "instance": "default" });
    operator
        .call("admin.plugins.disable", &which, PATIENCE)
        .unwrap();
    dev.until(&["hello/default", "disabled"]);
    let (_by_hand, first) = attach();
    assert_eq!(first.unwrap()["source"], "hello/default");
    let (_second, refused) = attach();
    assert!(refused.unwrap_err().contains("instance_busy"));
    dev.quit();
}

/// Proves X3 (Rust): a plugin on the SDK that was started by hand runs its own start and stop hook once each, is handed
/// events, and is the only one of its instance.
#[test]
fn a_plugin_by_hand_runs_its_own_hooks() {
    let home = tempfile::tempdir().unwrap();
    let plugin = built("lives_plugin", "cargo build -p trunkline-tests --bins");
    let command = [plugin.display().to_string()];
    let config = install(home.path(), "lives", &command, &[]).replace("\"main\"", "\"default\"");
    let setup = Setup::new(home.path(), &home.path().join("data"), &config);
    let _daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    wait_ready(&setup, &["lives"]);
    let mut operator = setup.connect("operator").unwrap();
    let which = json!({ "plugin": "lives", "instance": "default" });
    operator
        .call("admin.plugins.disable", &which, PATIENCE)
        .unwrap();
    // Until its process is gone.
    loop {
        let status: Value = operator.call("admin.status", &json!({}), PATIENCE).unwrap();
        if status["instances"][0]["state"] == "disabled" {
            break;
        }
        std::thread::yield_now();
    }

    let by_hand = || {
        let mut plugin = Command::new(&plugin);
        plugin.env("TRUNKLINE_SOCKET", setup.socket());
        plugin.env("TRUNKLINE_TOKEN_FILE", setup.data.join("token"));
        plugin.stdout(Stdio::piped()).stderr(Stdio::piped());
        plugin.spawn().unwrap()
    };
    let first = by_hand();
    wait_ready(&setup, &["lives"]);
    let second = by_hand().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        !second.status.success() && said.contains("instance_busy"),
        "{second:?}"
    );

    let cli = |arguments: &[&str]| {
        let mut trunkline = Command::new(&setup.program);
        let trunkline = trunkline.args(arguments).current_dir(home.path());
        let done = trunkline.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    cli(&["publish", "plugin.outbound.lives", r#"{"text": "by hand"}"#]);
    let back = cli(&[
        "tail",
        "plugin.inbound.lives.default",
        "--start",
        "earliest",
        "-n",
        "1",
    ]);
    assert!(back.contains("by hand"), "{back}");
    let pid = Pid::from_raw(first.id().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = first.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "start\nstop\n");
}
