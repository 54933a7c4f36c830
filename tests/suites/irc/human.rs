//! The human: `tests/irc/human.py` on the IRC library of PyPI, in an environment of its own below the target
//! directory. What it sees comes here as it happens.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Error, Result, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use serde_json::json;
use trunkline_tests::tool::target_dir;

/// The library that the human speaks with.
const LIBRARY: &str = "irc==20.5.0";
/// Facts that may wait to be read.
const FACTS_MAX: usize = 100_000;

/// Something that the human found.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub(crate) enum Fact {
    /// It is in every channel.
    Joined,
    /// Somebody said something.
    Seen {
        /// Who.
        nick: String,
        /// What.
        text: String,
    },
    /// The connection ended.
    Lost,
}

/// A person at a keyboard.
pub(crate) struct Human {
    child: Child,
    stdin: ChildStdin,
    facts: Receiver<Fact>,
}

impl Human {
    /// Starts the human; it connects by itself as soon as somebody listens.
    pub(crate) fn start(python: &Path, port: u16, channels: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("irc/human.py");
        let mut child = Command::new(python)
            .arg("-u")
            .arg(script)
            .args([&port.to_string(), "alice", &channels.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python can be started");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (send, facts) = sync_channel(FACTS_MAX);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let fact = serde_json::from_str(&line).expect("the human writes facts");
                if send.send(fact).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            stdin,
            facts,
        }
    }

    /// Lets the human say a line; without a connection nobody hears it.
    pub(crate) fn say(&mut self, target: &str, text: &str) {
        let order = json!({"say": target, "text": text});
        writeln!(self.stdin, "{order}").expect("the human listens");
    }

    /// The next fact, or `None` when there is none within `limit`.
    pub(crate) fn next(&self, limit: Duration) -> Option<Fact> {
        match self.facts.recv_timeout(limit) {
            Ok(fact) => Some(fact),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the human is gone"),
        }
    }
}

impl Drop for Human {
    fn drop(&mut self) {
        // It may be gone already; waiting tells either way.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Makes an environment with the library once; returns its python.
pub(crate) fn python() -> Result<PathBuf> {
    let tools = target_dir()?.join("tools");
    fs::create_dir_all(&tools)?;
    let lock = File::create(tools.join("irc-venv.lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let root = tools.join("irc-venv");
    let (python, complete) = (root.join("bin/python3"), root.join(LIBRARY));
    if !complete.exists() {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&root))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", LIBRARY]))?;
        File::create(complete)?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Error::other(format!("{command:?} failed: {words}")))
}
