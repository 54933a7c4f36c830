//! Keeps the processes of plugins running.
//!
//! It starts, watches, restarts and ends one process per instance, and keeps what they print. It
//! knows no topics and reads no frames: whoever owns the links implements [`Links`].
//!
//! | module | what it is |
//! |---|---|
//! | [`instance`], [`restart`] | the policy, pure: a state machine and the waits between starts |
//! | `engine`, [`handle`] | the one task that feeds the machines, and how it is used |
//! | `spawn`, [`launcher`] | the thread that starts processes, and what becomes a plugin |
//! | `process`, `reap`, [`exit`] | one process from its launch to its last words |
//! | [`own_server`] | the sockets of the plugins' own HTTP servers |
//! | `guard` | ends what a killed daemon leaves behind |
//! | [`cause`] | what went wrong, in what a process wrote last |
//! | [`logs`] | what the processes say, bounded everywhere |
//!
//! Invariants: never two processes of one instance that serve, and never two but while one replaces another; one instance's faults delay no other; every
//! queue is bounded; no process outlives the daemon.

pub mod cause;
mod engine;
pub mod exit;
mod guard;
pub mod handle;
pub mod instance;
pub mod launcher;
pub mod links;
pub mod logs;
pub mod own_server;
mod process;
mod reap;
pub mod restart;
mod spawn;
pub mod spec;
pub mod state;

pub use exit::{ExitReport, Limit};
pub use handle::{Applied, Listed, Setup, Supervisor, SupervisorError};
pub use instance::TRIAL_MS_MAX;
pub use launcher::hidden_command;
pub use links::{Connection, Links, Signal, Status, Transport};
pub use logs::{Followed, Follower, LogLimits, LogLine, Logs, Redactor};
pub use own_server::{KnownServer, OwnServers, ServerAddress};
pub use restart::RestartPolicy;
pub use spawn::Environment;
pub use spec::{LaunchSpec, Limits, Timeouts};
pub use state::{Incident, State, StateReport};
