//! The process that outlives the daemon by a moment: `trunkline __guard`.
//!
//! When the daemon is killed, the system kills the plugins' processes with it, but not the
//! processes they started. So the daemon starts one small process of its own program that holds
//! the end of a pipe, and does nothing until the pipe ends: then it kills what is left. It is told
//! of each session that the supervisor opens and closes, and knows the rest by
//! `TRUNKLINE_RUN`, a value of this daemon's life that every process of a plugin inherits, whatever
//! group, session or parent it has. Only a process that leaves its session *and* clears its
//! environment escapes.
//!
//! The pipe carries lines: `+<session>` opened, `-<session>` closed.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::reap;

/// The hidden command of the guard; its argument is the value of [`RUN_VARIABLE`].
pub(super) const GUARD_COMMAND: &str = "__guard";
/// Names the life of a daemon in the environment of its plugins.
pub(super) const RUN_VARIABLE: &str = "TRUNKLINE_RUN";

/// How often the guard looks again whether what it killed is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often it looks at most: what lives longer cannot be killed.
const LOOKS_MAX: u32 = 1_000;

/// The daemon's side of the guard; dropped, it lets the guard do its work.
#[derive(Debug)]
pub(super) struct Guard {
    run: String,
    process: Mutex<Option<(Child, ChildStdin)>>,
}

impl Guard {
    /// Starts the guard; without one, only what the system does by itself is done.
    pub(super) fn start(launcher: &Path) -> Self {
        let run = match getrandom::u64() {
            Ok(random) => format!("{}-{random:016x}", std::process::id()),
            Err(_) => format!("{}", std::process::id()),
        };
        let process = Self::spawn(launcher, &run).inspect_err(|error| {
            tracing::warn!(%error, "No guard: grandchildren may survive a kill of the daemon.");
        });
        Self {
            run,
            process: Mutex::new(process.ok()),
        }
    }

    fn spawn(launcher: &Path, run: &str) -> io::Result<(Child, ChildStdin)> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a process of the supervisor itself"
        )]
        let mut command = Command::new(launcher);
        command
            .args([GUARD_COMMAND, run])
            .env_clear()
            .current_dir("/");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = reap::register_own(|| command.spawn())?;
        let pipe = child
            .stdin
            .take()
            .ok_or_else(|| io::Error::other("the guard has no pipe"))?;
        super::spawn::set_nonblocking(&pipe)?;
        Ok((child, pipe))
    }

    /// Returns what names this daemon's life in the environment of its plugins.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Tells that a process leads a session.
    pub(super) fn opened(&self, pid: Pid) {
        self.tell('+', pid);
    }

    /// Tells that the process is reaped: from now on its number may be another's.
    pub(super) fn closed(&self, pid: Pid) {
        self.tell('-', pid);
    }

    fn tell(&self, sign: char, pid: Pid) {
        let mut process = self
            .process
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, pipe)) = process.as_mut() {
            // A dead guard guards nothing, and a stopped one must not stop the daemon: its own
            // means remain.
            let _best_effort =
                pipe.write_all(format!("{sign}{}\n", pid.as_raw_nonzero()).as_bytes());
        }
    }
}

impl Drop for Guard {
    /// Waits for the guard, which ends at once when nothing is left.
    fn drop(&mut self) {
        let process = self
            .process
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((mut child, pipe)) = process.take() {
            drop(pipe);
            let _best_effort = child.wait();
            reap::forget_own(&child);
        }
    }
}

/// Waits for the daemon's end, then ends what it left behind.
pub(super) fn guard() -> ExitCode {
    let Some(run) = std::env::args().nth(2).filter(|run| !run.is_empty()) else {
        return ExitCode::FAILURE;
    };
    // What ends the daemon's terminal or its group must not end the guard first.
    if rustix::process::setsid().is_err() {
        return ExitCode::FAILURE;
    }
    let mut sessions = BTreeSet::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line
            .split_at_checked(1)
            .map(|(sign, pid)| (sign, pid.parse::<i32>()))
        {
            Some(("+", Ok(pid))) => {
                sessions.insert(pid);
            }
            Some(("-", Ok(pid))) => {
                sessions.remove(&pid);
            }
            _ => {}
        }
    }
    let mark = format!("{RUN_VARIABLE}={run}");
    for _ in 0..LOOKS_MAX {
        if kill_left(&sessions, mark.as_bytes()) == 0 {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    ExitCode::FAILURE
}

/// Kills every process of the sessions or with the mark; returns how many there were.
fn kill_left(sessions: &BTreeSet<i32>, mark: &[u8]) -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let own = std::process::id() as i32;
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own && is_left(*pid, sessions, mark))
        .filter_map(Pid::from_raw)
        // Gone already, or of another user: nothing to be done either way.
        .filter(|pid| rustix::process::kill_process(*pid, Signal::KILL).is_ok())
        .count()
}

fn is_left(pid: i32, sessions: &BTreeSet<i32>, mark: &[u8]) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name in parentheses may contain anything, so fields count from its end.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = fields.split_whitespace();
    if fields.next() == Some("Z") {
        return false;
    }
    let session = fields
        .nth(2)
        .and_then(|session| session.parse::<i32>().ok());
    session.is_some_and(|session| sessions.contains(&session))
        || std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|name| name == mark))
}
