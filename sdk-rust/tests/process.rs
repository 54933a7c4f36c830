//! Plugins as processes: which link they take, what their prints do, how they end.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

fn example(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().expect("a path");
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    #[expect(clippy::disallowed_methods, reason = "a test of processes starts one")]
    let mut command = Command::new(&path);
    command
        .env_remove("TRUNKLINE_LINK_FD")
        .stderr(Stdio::piped());
    command
}

/// Leads a plugin through one event, over any pair of streams; gives the reply's payload.
fn lead(mut to: impl Write, from: &mut impl BufRead, text: &str) -> Value {
    let mut send = |frame: Value| {
        to.write_all(format!("{frame}\n").as_bytes())
            .expect("it reads");
    };
    let mut recv = || {
        let mut line = String::new();
        from.read_line(&mut line).expect("a frame");
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    };
    send(
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocol": { "name": "trunkline", "min": "1.0", "max": "1.0" },
        "host": { "name": "trunkline", "version": "0.1.0" },
        "plugin": "echo", "instance": "default",
        "limits": { "frame_bytes_max": 1_048_576 } } }),
    );
    assert_eq!(recv()["result"]["manifest"]["plugin"]["id"], "echo");
    send(
        json!({ "jsonrpc": "2.0", "id": 2, "method": "instance.activate",
        "params": { "generation": 1 } }),
    );
    assert_eq!(recv()["result"], json!({}));
    assert_eq!(recv()["params"]["state"], "ready");
    send(
        json!({ "jsonrpc": "2.0", "method": "broker.event", "params": {
        "topic": "plugin.outbound.echo.default",
        "event": { "id": "e1", "source": "client:test", "payload": { "text": text } },
        "delivery": { "id": "d1", "attempt": 1, "lease_ms": 30_000,
                      "subscription": "instance.echo.default" } } }),
    );
    let commit = recv();
    send(json!({ "jsonrpc": "2.0", "id": commit["id"], "result": { "events": [] } }));
    commit["params"]["events"][0]["event"]["payload"].clone()
}

fn stderr_of(child: &mut Child) -> String {
    let mut text = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut text)
        .expect("UTF-8");
    text
}

/// Proves W8 and LN7, Rust part: prints never corrupt or swallow a frame, on stdio neither.
#[test]
fn prints_of_a_plugin_on_stdio_are_its_log_and_never_touch_the_link() {
    let mut child = example("prints")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example; `cargo build -p trunkline --examples` builds it");
    let (to, from) = (
        child.stdin.take().expect("piped"),
        child.stdout.take().expect("piped"),
    );
    let mut errors = child.stderr.take().expect("piped");
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).expect("UTF-8");
        text
    });
    let mut from = BufReader::new(from);
    let mut first = String::new();
    // Printed before the link was taken: the one line that cannot be helped.
    from.read_line(&mut first).expect("a line");
    assert_eq!(first, "before the handshake\n");
    assert_eq!(lead(&to, &mut from, "hi"), json!({ "text": "hi" }));
    drop(to);
    assert!(
        child.wait().expect("it ends").success(),
        "the end of the link is an orderly end"
    );
    assert!(log.join().expect("read").contains("\"id\":1xxx"));
}

/// Proves L8, Rust part: a plugin on an inherited socket ends in order on SIGTERM.
#[test]
fn a_plugin_takes_the_inherited_link_and_ends_in_order_on_sigterm() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_read_timeout(Some(PATIENCE)).expect("a socket");
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).expect("a descriptor");
    let mut child = example("echo")
        .env("TRUNKLINE_LINK_FD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the example; `cargo build -p trunkline --examples` builds it");
    drop(theirs);
    let mut from = BufReader::new(ours.try_clone().expect("a descriptor"));
    assert_eq!(lead(&ours, &mut from, "hi"), json!({ "text": "hi" }));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let mut rest = String::new();
    from.read_to_string(&mut rest).expect("the end");
    assert_eq!(
        child.wait().expect("it ends").code(),
        Some(0),
        "{}",
        stderr_of(&mut child)
    );
}

#[test]
fn a_plugin_that_nobody_started_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = example("echo")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the example; `cargo build -p trunkline --examples` builds it");
    let text = stderr_of(&mut child);
    assert_ne!(child.wait().expect("it ends").code(), Some(0));
    assert!(
        text.starts_with("error: unavailable: expected a daemon at"),
        "{text}"
    );
    assert!(text.contains("trunkline up"), "{text}");
}
