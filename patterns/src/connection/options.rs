//! What an author may say about a connection, and what holds otherwise.

use super::limit::Attempts;
use crate::backoff::Backoff;

/// Closes a connection whose session is over.
pub const CLOSE_DONE: u16 = 1000;
/// Closes a connection whose session is to go on over another one: servers that keep sessions end
/// them at 1000 and 1001.
pub const CLOSE_KEPT: u16 = 4000;

/// Says how a connection is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Waits between attempts, spread from nothing to the whole wait.
    pub backoff: Backoff,
    /// How long a connection must have lived before the waits begin at the start again, in ms.
    pub stable_ms: u64,
    /// How long a connection may give no sign of life, in ms; none: it may be silent.
    pub idle_ms: Option<u64>,
    /// Codes of the server's close, or HTTP statuses of the handshake, that no attempt will change.
    pub fatal: Vec<u16>,
    /// How long an attempt may take, in ms.
    pub open_ms: u64,
    /// How long a connection that was replaced may take to say what it still has to say, in ms.
    pub drain_ms: u64,
    /// The longest wait that a server may ask for, in ms.
    pub retry_ms_max: u64,
    /// How many connections may be made, whatever else is decided.
    pub attempts: Attempts,
    /// Waits before a frame whose handler failed is handed over again, ±20 %.
    pub retry: Backoff,
    /// Waits before a commit that found no broker is tried again, ±20 %.
    pub commit: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(1_000, 2.0, 60_000),
            stable_ms: 30_000,
            idle_ms: None,
            fatal: Vec::new(),
            open_ms: 15_000,
            drain_ms: 5_000,
            retry_ms_max: 15 * 60_000,
            attempts: Attempts::new(60, 86_400),
            retry: Backoff::new(1_000, 2.0, 60_000),
            commit: Backoff::new(100, 2.0, 5_000),
        }
    }
}
