//! The demo, run as a user runs it without a terminal. What it says is compared with what the store holds.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests start the demo as a user does"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use trunkline_broker::store::sqlite::{SqliteOptions, SqliteStore};
use trunkline_broker::store::{ReadLimit, Store};
use trunkline_contract::topic::Filter;

const KINDS: [&str; 3] = ["rust", "python", "node"];

/// Where `tests/sdk/prepare` has put the Python and the Node package.
fn packages() -> PathBuf {
    let profile = Path::new(env!("CARGO_BIN_EXE_trunkline-demo")).parent();
    let dir = profile
        .and_then(Path::parent)
        .expect("it is deep inside")
        .join("sdk");
    assert!(
        dir.exists(),
        "expected {}, found none; run `tests/sdk/prepare`",
        dir.display()
    );
    dir
}

fn demo(arguments: &[&str], path: Option<OsString>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline-demo"));
    command.args(arguments).env("TRUNKLINE_SDK", packages());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.output().expect("the demo can be started")
}

/// Puts a program of this name before all others.
fn with_program(dir: &Path, name: &str, script: &str) -> OsString {
    let program = dir.join(name);
    fs::write(&program, script).expect("the program can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can be made one");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(dir.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(dirs).expect("no separator in the names")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads every event of a store by source and id: number, topic, envelope.
fn stored(data: &Path) -> BTreeMap<(String, String), (u64, String, Value)> {
    let store =
        SqliteStore::open_dir(data, SqliteOptions::default()).expect("the daemon has left it");
    let mut reader = store.reader().expect("it can be read");
    let everything = [Filter::parse(">").expect("a filter")];
    let (mut events, mut after) = (BTreeMap::new(), 0);
    loop {
        let page = reader
            .events(after, &everything, ReadLimit::default())
            .expect("a page");
        for event in page.events {
            let envelope: Value = serde_json::from_slice(&event.envelope).expect("an envelope");
            let id = envelope["id"].as_str().expect("an id").to_owned();
            let row = (event.seq, event.topic.to_string(), envelope);
            events.insert((event.source.to_string(), id), row);
        }
        if page.next >= page.head {
            return events;
        }
        after = page.next;
    }
}

/// Proves the main job: a line goes from a client through a plugin in each language, an agent and back, and
/// every event that the demo names is in the store, under its number, caused by the one before.
#[test]
fn every_line_comes_back_through_every_language_and_the_store_has_it() {
    let dir = TempDir::new().expect("a directory");
    let home = dir.path().join("demo");
    let output = demo(&["--json", "--dir", &home.display().to_string()], None);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows: Vec<Value> = String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object"))
        .collect();
    let (sum, trips) = rows.split_last().expect("the demo said something");
    assert_eq!(sum["trips"], trips.len());
    assert_eq!(trips.len() % KINDS.len(), 0);
    assert!(trips.len() >= 3 * KINDS.len());

    let events = stored(&home.join("data"));
    for (number, trip) in trips.iter().enumerate() {
        let kind = KINDS[number % KINDS.len()];
        assert_eq!(trip["kind"], kind);
        let line = trip["line"].as_str().expect("a line");
        assert_eq!(trip["back"], format!("you said: {line}"));
        let hops = trip["hops"].as_array().expect("hops");
        let event = |stage: &str| {
            let hop = hops.iter().find(|hop| hop["stage"] == stage);
            let hop = hop.unwrap_or_else(|| panic!("no stage {stage} in {trip}"));
            let name = |key: &str| hop[key].as_str().expect("a text").to_owned();
            let key = (name("source"), name("id"));
            let (seq, topic, envelope) = events
                .get(&key)
                .unwrap_or_else(|| panic!("{key:?} is not in the store"));
            assert_eq!(*topic, name("topic"));
            if let Some(told) = hop.get("seq") {
                assert_eq!(told, seq);
            }
            (key.1, *seq, envelope)
        };
        let (line_id, line_seq, said) = event("stored");
        let (echo_id, echo_seq, echo) = event("echoed");
        let (answer_id, answer_seq, answer) = event("answer");
        let (_, back_seq, back) = event("back");
        assert!(line_seq < echo_seq && echo_seq < answer_seq && answer_seq < back_seq);
        assert_eq!(said["payload"]["text"], line);
        assert_eq!(echo["correlation_id"], line_id.as_str());
        assert_eq!(answer["correlation_id"], echo_id.as_str());
        assert_eq!(back["correlation_id"], answer_id.as_str());
        assert_eq!(back["payload"]["text"], trip["back"]);
        assert_eq!(event("receipt").2["payload"]["state"], "sent");
        assert_eq!(event("answer_receipt").2["payload"]["state"], "sent");
    }
}

#[test]
fn a_language_that_is_not_installed_is_named_before_anything_starts() {
    let dir = TempDir::new().expect("a directory");
    with_program(dir.path(), "python3", "#!/bin/sh\n");
    let output = demo(&["--script"], Some(dir.path().into()));
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("node was not found in PATH"), "{text}");
    assert!(text.contains("hint: install node"), "{text}");
}

#[test]
fn a_plugin_that_dies_in_its_handshake_fails_the_demo_with_its_last_words() {
    let dir = TempDir::new().expect("a directory");
    let path = with_program(
        dir.path(),
        "node",
        "#!/bin/sh\necho 'no such language' >&2\nexit 3\n",
    );
    let output = demo(&["--script"], Some(path));
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("the plugin echo-node is"), "{text}");
    assert!(text.contains("no such language"), "{text}");
}

#[test]
fn packages_that_are_not_there_are_named_with_what_to_do() {
    let dir = TempDir::new().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_trunkline-demo"))
        .arg("--script")
        .env("TRUNKLINE_SDK", dir.path())
        .output()
        .expect("the demo can be started");
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("the packages of Python and Node could not be prepared: expected"),
        "{text}"
    );
    assert!(text.contains("hint: run `tests/sdk/prepare`"), "{text}");
}

#[test]
fn a_line_that_does_not_come_back_fails_the_demo_and_names_what_is_missing() {
    const MUTE: &str = r#"
import json, os, socket
link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
def send(**message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
for line in link.makefile("rb"):
    message = json.loads(line)
    if message.get("method") == "initialize":
        send(id=message["id"], result={"manifest": {"plugin": {"id": "echo-node"}}, "protocol": "trunkline/1.0"})
    elif "id" in message:
        send(id=message["id"], result={"ok": True})
        if message["method"] == "instance.activate":
            send(method="instance.status", params={"state": "ready"})
        if message["method"] == "shutdown":
            break
"#;
    let dir = TempDir::new().expect("a directory");
    let mute = dir.path().join("mute.py");
    fs::write(&mute, MUTE).expect("the plugin can be written");
    let script = format!("#!/bin/sh\nexec python3 '{}'\n", mute.display());
    let path = with_program(dir.path(), "node", &script);
    let output = demo(&["--script", "--limit-ms", "5000"], Some(path));
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    let expected = "error: node: expected the plugin to echo the line within 5000 ms";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_directory_that_is_in_use_is_left_alone() {
    let dir = TempDir::new().expect("a directory");
    fs::write(dir.path().join("mine"), "mine").expect("a file");
    let output = demo(&["--dir", &dir.path().display().to_string()], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("expected an empty directory"));
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
}
