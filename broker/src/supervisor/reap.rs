//! Notices the end of processes without polling, and leaves nothing of them behind.
//!
//! Each process is watched through its pidfd. When it has ended, and before its number is given
//! back, the rest of its process group is killed: a grandchild can neither delay the news nor
//! outlive its parent. A grandchild that left the group becomes a child of the daemon (see
//! [`adopt_orphans`]) and is reaped when it ends, at the latest by [`end_orphans`].

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};
use tokio::io::unix::AsyncFd;

use super::guard::Guard;

/// The processes somebody waits for; every other child of the daemon is an orphan. One per
/// process like the system's table of children, of which it is a part.
static KNOWN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn known() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    KNOWN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Starts a process so that it is never taken for an orphan.
pub(super) fn register(
    start: impl FnOnce() -> io::Result<(Pid, OwnedFd)>,
) -> io::Result<(Pid, OwnedFd)> {
    let mut known = known();
    let (pid, pidfd) = start()?;
    known.insert(pid.as_raw_nonzero().get());
    Ok((pid, pidfd))
}

/// Starts a process of the supervisor's own that somebody else waits for.
pub(super) fn register_own(start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    let mut known = known();
    let child = start()?;
    known.insert(child.id() as i32);
    Ok(child)
}

/// Forgets such a process once it was waited for.
pub(super) fn forget_own(child: &Child) {
    known().remove(&(child.id() as i32));
}

/// How a process ended: exit code or signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}

/// A process that has not been reaped.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    guard: Arc<Guard>,
}

impl Process {
    /// Watches a process; needs a runtime.
    pub(super) fn new(pid: Pid, pidfd: OwnedFd, guard: Arc<Guard>) -> io::Result<Self> {
        #[expect(
            unsafe_code,
            reason = "tokio has no safe constructor for a foreign descriptor"
        )]
        // SAFETY: the `AsyncFd` owns the descriptor, and nothing here takes it out or closes it.
        let pidfd =
            unsafe { AsyncFd::register_with_interest(pidfd, tokio::io::Interest::READABLE) }?;
        Ok(Self { pid, pidfd, guard })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// Sends a signal to the process and to all of its group.
    pub(super) fn signal_group(&self, signal: Signal) {
        // Asked of the pidfd first: once the process is reaped, its number may be another's.
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) => {}
            Err(Errno::SRCH) => return,
            Err(error) => tracing::warn!(pid = self.pid(), %error, "Process takes no signal."),
        }
        kill_group(self.pid, signal);
    }

    /// Waits until the process has ended, ends the rest of its group, and reaps it.
    ///
    /// Cancel safe: a later call waits again.
    pub(super) async fn ended(&self) -> io::Result<Ended> {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            let mut ready = self.pidfd.readable().await?;
            if wait(WaitId::PidFd(self.pidfd.get_ref().as_fd()), peek)?.is_some() {
                break;
            }
            ready.clear_ready();
        }
        kill_group(self.pid, Signal::KILL);
        // Before the number is given back, so that the guard never takes another's for it.
        self.guard.closed(self.pid);
        let mut known = known();
        let reaped = wait(
            WaitId::PidFd(self.pidfd.get_ref().as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
        known.remove(&self.pid.as_raw_nonzero().get());
        let status = reaped?;
        Ok(Ended {
            code: status.as_ref().and_then(WaitIdStatus::exit_status),
            signal: status.as_ref().and_then(WaitIdStatus::terminating_signal),
        })
    }
}

fn wait(id: WaitId<'_>, options: WaitIdOptions) -> io::Result<Option<WaitIdStatus>> {
    loop {
        match rustix::process::waitid(id.clone(), options) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

fn kill_group(leader: Pid, signal: Signal) {
    match rustix::process::kill_process_group(leader, signal) {
        // No such group: the process ended before it made one, or its group is empty.
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => {
            let pid = leader.as_raw_nonzero().get();
            tracing::warn!(pid, %error, "Process group takes no signal.");
        }
    }
}

/// Makes the daemon the parent of every grandchild whose parent ends, and reaps them as they end.
///
/// Every child of this process that was not started by the supervisor counts as an orphan from
/// now on: call it in the daemon, not in a library's tests. Returns a future that never ends.
pub(super) fn adopt_orphans() -> io::Result<impl Future<Output = ()> + Send> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut child_ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())?;
    Ok(async move {
        while child_ended.recv().await.is_some() {
            reap_orphans();
        }
    })
}

/// Reaps the orphans that have ended.
fn reap_orphans() {
    let known = known();
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if !matches!(wait(WaitId::All, peek), Ok(Some(_))) {
        return;
    }
    for pid in children()
        .into_iter()
        .filter(|pid| !known.contains(&pid.as_raw_nonzero().get()))
    {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        // Someone else may have reaped it meanwhile: then there is nothing left to do.
        let _best_effort = wait(WaitId::Pid(pid), options);
    }
}

/// Kills and reaps every orphan, and the orphans they leave behind.
pub(super) fn end_orphans() {
    // Bounded: each round kills a generation; a process that forks faster than that is left to
    // the system, which kills it with the session of the daemon.
    for _ in 0..64 {
        let known = known();
        let orphans: Vec<Pid> = children()
            .into_iter()
            .filter(|pid| !known.contains(&pid.as_raw_nonzero().get()))
            .collect();
        if orphans.is_empty() {
            return;
        }
        for pid in orphans {
            let _best_effort = rustix::process::kill_process(pid, Signal::KILL);
            let _best_effort = wait(WaitId::Pid(pid), WaitIdOptions::EXITED);
        }
    }
}

/// Lists the children of this process.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| parent_of(*pid) == Some(own))
        .filter_map(Pid::from_raw)
        .collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, so fields count from its end.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}
