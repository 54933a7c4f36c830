//! What is told about an instance: its state, and what just happened to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::exit::ExitReport;

/// The state of an instance, as people and the lifecycle topic see it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A process is being started, or shakes hands, or is getting ready.
    Starting,
    /// Its configuration is accepted; nothing is opened outside.
    Standby,
    /// Serving.
    Ready,
    /// Serving with a known fault.
    Degraded,
    /// Waits for a person to log in.
    NeedsAuth,
    /// Told by the operator to take nothing new.
    Paused,
    /// Finishing its work before it ends.
    Draining,
    /// Ended against the operator's wish; waits for the next start.
    BackingOff,
    /// Not wanted at present.
    Stopped,
    /// Given up: a crash loop (tried again now and then) or a fatal status.
    Failed,
    /// Switched off by the operator.
    Disabled,
}

impl State {
    /// Returns the name used in the command line, topics and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::NeedsAuth => "needs_auth",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::BackingOff => "backing_off",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
        }
    }
}

/// What happened, where a change of state alone does not say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incident {
    /// The process ended by a signal or with a code other than 0 while it was wanted.
    Crashed,
    /// The process ended with code 0 while it was wanted.
    Exited,
    /// No process could be started.
    NotStarted,
    /// Too many exits in a short time: said once per crash loop.
    GaveUp,
}

/// One change of an instance's state.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StateReport {
    /// The state from now on.
    pub state: State,
    /// Why, for people.
    pub reason: Option<String>,
    /// Since when, in milliseconds of the wall clock.
    pub since_ms: i64,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// Exits nobody asked for, since the instance was first applied.
    pub exits: u64,
    /// What just happened.
    pub incident: Option<Incident>,
    /// How the last process ended.
    pub exit: Option<Arc<ExitReport>>,
    /// For `backing_off` and `failed`: how long until the next start.
    pub retry_in_ms: Option<u64>,
}
