//! A real `trunkline up`: started on a directory, watched, killed, stopped, started again.
//!
//! Readiness is the line `ready` on its stdout, an end is seen by pidfd: nothing is polled and nothing sleeps.
//! Every daemon is ended by its own process id when it goes out of scope.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::strace::{self, Injection};
use crate::tool::profile_dir;
use crate::wire::{Peer, WireError};

/// How the daemon is built.
pub const BUILD: &str = "cargo daemon";
/// How long a start may take on a loaded machine.
pub const START_LIMIT: Duration = Duration::from_secs(30);
/// How much of its stderr is kept.
const STDERR_BYTES: usize = 1 << 20;
/// Crates whose sources the daemon is made of.
const SOURCES: [&str; 3] = ["broker/src", "contract/src", "patterns/src"];

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where its configuration is.
    pub home: PathBuf,
    /// Where its data is.
    pub data: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// Syscalls that fail.
    pub injections: Vec<Injection>,
    /// Further variables of its environment.
    pub variables: Vec<(String, String)>,
}

impl Setup {
    /// Writes a configuration into `home`: `data` is its data directory, `more` is further TOML.
    ///
    /// # Panics
    /// When the files cannot be written or the daemon is not built.
    pub fn new(home: &Path, data: &Path, more: &str) -> Self {
        fs::create_dir_all(home).expect("the home can be made");
        fs::create_dir_all(data).expect("the data directory can be made");
        let http = if more.contains("[http]") {
            ""
        } else {
            "[http]\nlisten = \"127.0.0.1:0\"\n"
        };
        let text = format!(
            "{more}\n{http}[broker]\ndata_dir = {:?}\n",
            data.display().to_string()
        );
        fs::write(home.join("trunkline.toml"), text).expect("the configuration can be written");
        Self {
            home: home.to_owned(),
            data: data.to_owned(),
            program: program(),
            injections: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.data.join("trunkline.sock")
    }

    /// The operator's token.
    ///
    /// # Panics
    /// Before the first start, when there is none.
    pub fn token(&self) -> String {
        let path = self.data.join("token");
        fs::read_to_string(&path)
            .expect("the daemon wrote its token")
            .trim()
            .to_owned()
    }

    /// Connects a raw peer with the operator's token.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(&self, name: &str) -> Result<Peer, WireError> {
        Peer::connect(&self.socket(), &self.token(), name)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It ended, or is not ready in time; it is not left running.
    pub fn start(&self) -> Result<Daemon, StartError> {
        self.start_within(START_LIMIT)
    }

    /// Starts it and waits up to `limit` until it is ready.
    ///
    /// # Errors
    /// It ended, or is not ready in time; it is not left running.
    pub fn start_within(&self, limit: Duration) -> Result<Daemon, StartError> {
        let mut daemon = self.spawn();
        let stdout = daemon.child.stdout.take().expect("stdout is piped");
        let ready = watch_for_ready(stdout);
        match ready.recv_timeout(limit) {
            Ok(()) => Ok(daemon),
            Err(RecvTimeoutError::Timeout) => Err(StartError {
                status: None,
                stderr: daemon.stderr(),
            }),
            Err(RecvTimeoutError::Disconnected) => {
                let status = daemon.wait(limit);
                Err(StartError {
                    status,
                    stderr: daemon.stderr(),
                })
            }
        }
    }

    fn spawn(&self) -> Daemon {
        let mut command = if self.injections.is_empty() {
            Command::new(&self.program)
        } else {
            let program = self.program.to_string_lossy();
            strace::command(&program, &self.injections).expect("strace is here or can be fetched")
        };
        command
            .args(["up", "--config"])
            .arg(self.home.join("trunkline.toml"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.home).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the daemon can be started");
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let pipe = child.stderr.take().expect("stderr is piped");
        let kept = Arc::clone(&stderr);
        thread::spawn(move || keep_tail(pipe, &kept));
        Daemon {
            child,
            stderr,
            status: None,
        }
    }
}

/// Why a daemon did not become ready.
#[derive(Debug)]
pub struct StartError {
    /// How it ended; `None` when it ran on without becoming ready.
    pub status: Option<ExitStatus>,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(out, "the daemon ended before it was ready ({status})")?,
            None => write!(out, "the daemon is not ready in time")?,
        }
        write!(out, "\n{}", self.stderr)
    }
}

impl std::error::Error for StartError {}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    stderr: Arc<Mutex<Vec<u8>>>,
    status: Option<ExitStatus>,
}

impl Daemon {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once and waits for its end.
    pub fn kill(mut self) {
        self.end();
    }

    /// Stops it where it is, without its knowing; returns when no thread of it comes back from the kernel.
    ///
    /// A thread that waits for a sync is left waiting: from the first stopped thread on, the others stop
    /// before they run any further code of their own.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        while !self.has_stopped_thread() {
            thread::yield_now();
        }
    }

    fn has_stopped_thread(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the daemon runs");
        tasks.flatten().any(|task| {
            // The state follows the name, which is in brackets.
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with(['T', 't', 'Z', 'X']))
        })
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to drain and end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits up to `limit` for its end; `None` when it runs on.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        // Under strace the tracer hears of the end first; waiting then takes a moment, and no longer.
        if self.status.is_none() && has_ended(self.raw_pid(), limit) {
            let status = self.child.wait();
            self.status = Some(status.expect("our own child can be waited for"));
        }
        self.status
    }

    /// What it wrote to stderr so far, at most the last 1 MiB.
    pub fn stderr(&self) -> String {
        let bytes = self.stderr.lock().expect("no thread panics with it");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the daemon runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kilobytes.expect("the kernel tells the resident size") * 1_024
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            kill_process(self.raw_pid(), signal).expect("our own child can be signalled");
        }
    }

    fn end(&mut self) {
        if self.status.is_some() {
            return;
        }
        // It may have ended by itself a moment ago; waiting tells either way.
        self.child.kill().ok();
        self.status = self.child.wait().ok();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits up to `limit` until the process has ended; false when it runs on.
fn has_ended(pid: Pid, limit: Duration) -> bool {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("our own child is not yet waited for");
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    poll(&mut fds, Some(&limit)).is_ok_and(|count| count > 0)
}

/// Reads stdout to its end; says when the line `ready` came, or hangs up when it never did.
fn watch_for_ready(stdout: ChildStdout) -> std::sync::mpsc::Receiver<()> {
    let (say, ready) = sync_channel(1);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            match line {
                Ok(line) if line == "ready" => {
                    // Only the first counts; nobody listens for another.
                    say.try_send(()).ok();
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    });
    ready
}

fn keep_tail(mut pipe: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut piece) {
        let mut kept = kept.lock().expect("no thread panics with it");
        kept.extend_from_slice(&piece[..count]);
        let surplus = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..surplus);
    }
}

/// The daemon's program: `TRUNKLINE_BIN`, or `trunkline` beside the running test.
///
/// # Panics
/// When it is not built, or older than its sources: a test of yesterday's daemon proves nothing.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("TRUNKLINE_BIN") {
        return PathBuf::from(path);
    }
    built("trunkline", BUILD)
}

/// The program `name` of the present profile, built by `command`.
///
/// # Panics
/// When it is not built, or older than its sources.
pub fn built(name: &str, command: &str) -> PathBuf {
    built_from(name, command, &SOURCES)
}

/// The program `name` of the present profile, built by `command` from the folders `sources`.
///
/// # Panics
/// When it is not built, or older than its sources.
pub fn built_from(name: &str, command: &str, sources: &[&str]) -> PathBuf {
    let program = profile_dir()
        .expect("the test runs from a target directory")
        .join(name);
    let built = fs::metadata(&program).and_then(|facts| facts.modified());
    let Ok(built) = built else {
        panic!(
            "{} is not there; build it first: {command}",
            program.display()
        );
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests is in the workspace");
    let newest = sources
        .iter()
        .filter_map(|dir| newest(&root.join(dir)))
        .max();
    if let Some((changed, source)) = newest.filter(|(changed, _)| *changed > built) {
        let age = changed.duration_since(built).unwrap_or_default();
        panic!(
            "{name} is {age:?} older than {}; build it first: {command}",
            source.display()
        );
    }
    program
}

fn newest(dir: &Path) -> Option<(SystemTime, PathBuf)> {
    fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                newest(&path)
            } else {
                Some((entry.metadata().ok()?.modified().ok()?, path))
            }
        })
        .max()
}
