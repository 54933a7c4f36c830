//! The seam to whoever owns the links.
//!
//! The supervisor starts and ends processes; it never reads a frame. It hands each new process's
//! byte stream over through [`Links`] and hears back what matters to a supervisor as [`Signal`]s.
//! Calls return at once and are made by one task, in order; signals of one instance arrive in the
//! order they were sent. A signal may speak of a process that has ended meanwhile: the supervisor
//! ignores what does not fit.
//!
//! Keys name seats: [`InstanceKey::other_seat`] says what that is. Only [`Links::state`] is of an instance.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};
use trunkline_contract::error::Error;

use super::exit::ExitReport;
use super::state::StateReport;
use crate::instance::InstanceKey;
use crate::line;

/// Most characters that are taken of what a plugin says about itself.
const WORDS_CHARS_MAX: usize = 2_000;

/// How a spawned process reaches its link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// An inherited socket, named by `TRUNKLINE_LINK_FD`; stdout and stderr are logs.
    #[default]
    Fd,
    /// Standard input and output are the link; stderr is the log.
    Stdio,
}

/// The broker's ends of a new process's link, non-blocking.
#[derive(Debug)]
pub enum Connection {
    /// One end of a socket pair.
    Socket(UnixStream),
    /// The pipes at the process's standard input and output.
    Stdio {
        /// Written by the broker.
        stdin: OwnedFd,
        /// Read by the broker.
        stdout: OwnedFd,
    },
}

/// What the supervisor asks of the owner of the links; every call returns at once.
pub trait Links: Send + Sync + 'static {
    /// Takes over the link of a new process and begins the handshake; where the key names a process
    /// that instances share, it is a process link.
    ///
    /// Answered by [`Signal::Standby`] or [`Signal::Refused`].
    fn attach(&self, key: &InstanceKey, connection: Connection);

    /// Opens an instance in the process that it shares; its link comes by itself.
    ///
    /// Answered as an attach is; [`Signal::Refused`] also when the process does not take it.
    fn open(&self, key: &InstanceKey);

    /// Makes sure that an instance is gone from the process that it shares, within `timeout_ms` if the
    /// process keeps its word; answered by [`Signal::Closed`].
    fn close(&self, key: &InstanceKey, timeout_ms: u64, reason: &str);

    /// Lets the instance connect to the outside; answered by [`Signal::Status`].
    fn activate(&self, key: &InstanceKey);

    /// Puts the instance back into standby without ending its process; answered by
    /// [`Signal::Deactivated`].
    fn deactivate(&self, key: &InstanceKey, timeout_ms: u64, reason: &str);

    /// Stops new deliveries and calls; connections to the outside stay.
    fn pause(&self, key: &InstanceKey);

    /// Undoes [`Links::pause`].
    fn resume(&self, key: &InstanceKey);

    /// Stops leasing, waits for what is in flight, asks the plugin to end, then answers
    /// [`Signal::Drained`]. A second call shortens the time of the first.
    fn shutdown(&self, key: &InstanceKey, timeout_ms: u64, reason: &str);

    /// Tells that the process has been reaped; answered by [`Signal::Blamed`], after which no
    /// signal of that process may follow.
    ///
    /// It comes after [`Signal::LinkClosed`], so that every frame the process wrote is read; only
    /// a link that somebody else holds open is told of after 100 ms.
    fn exited(&self, key: &InstanceKey, exit: &ExitReport);

    /// Tells every change of state, for status, metrics and the lifecycle topic.
    fn state(&self, key: &InstanceKey, report: &StateReport);
}

/// What an instance says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Serving.
    Ready,
    /// Serving with a known fault.
    Degraded,
    /// Cannot serve now, asks to be started again later.
    RetryLater,
    /// Waits for a person to log in.
    NeedsAuth,
    /// Cannot serve until its configuration changes.
    Fatal,
}

impl Signal {
    /// Makes one line that gives no hint of the words of the plugin in it.
    #[must_use]
    pub fn in_lines(mut self) -> Self {
        let words = match &mut self {
            Self::Status { reason, .. } => reason.as_mut(),
            Self::Deactivated { error } | Self::Closed { error } => error.as_mut(),
            Self::Refused(error) => Some(&mut error.message),
            _ => None,
        };
        if let Some(words) = words {
            *words = line::said(words, WORDS_CHARS_MAX);
        }
        self
    }

    /// Says that an instance serves.
    pub fn ready() -> Self {
        Self::Status {
            state: Status::Ready,
            reason: None,
            retry_after_ms: None,
        }
    }
}

/// What the supervisor hears about one instance; sent as `(InstanceKey, Signal)`.
#[derive(Clone, PartialEq, Debug)]
pub enum Signal {
    /// The handshake succeeded.
    Standby,
    /// The instance reported its status.
    Status {
        /// What it says it is.
        state: Status,
        /// Why, for people.
        reason: Option<String>,
        /// For [`Status::RetryLater`]: how long it wants to wait.
        retry_after_ms: Option<u64>,
    },
    /// The instance is still getting ready: its time to start begins anew.
    Progress,
    /// The handshake failed.
    Refused(Error),
    /// The link ended while the process may still live.
    LinkClosed,
    /// Pings went unanswered for too long: the process hangs.
    PingLost,
    /// What was in flight is done and the plugin was asked to end.
    Drained,
    /// The answer to a deactivation: it is in standby.
    Deactivated {
        /// What it failed with, if it did: then it may have something open outside still.
        error: Option<String>,
    },
    /// The instance is gone from the process that it shared.
    Closed {
        /// What it failed with, if it did.
        error: Option<String>,
    },
    /// Whether the last exit is blamed on a suspect event.
    Blamed {
        /// Such an exit does not count towards a crash loop.
        suspect: bool,
    },
}
