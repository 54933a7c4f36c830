//! What becomes durable together.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::state::State;

/// Most operations of handlers in one commit: what the engine adds fits beside them.
pub const OPERATIONS_MAX: usize = 200;
/// Most bytes of operations in one commit: with the engine's own keys they fit one frame.
pub const OPERATION_BYTES_MAX: usize = 512 * 1024;

/// Is implemented by what handlers cause: an event, a change of state.
pub trait Operation {
    /// Gives about how long it is when it is written, in bytes.
    fn bytes(&self) -> usize;

    /// Gives how many operations of a commit it takes.
    fn count(&self) -> usize {
        1
    }
}

/// Is one thing that a commit does.
#[derive(Clone, Debug, PartialEq)]
pub enum Op<E> {
    /// What a handler caused.
    Own(E),
    /// An item that waits by itself, as an event of its own: it is delivered to the handler again, and
    /// becomes a dead letter in the end.
    Park(Parked),
}

impl<E: Operation> Operation for Op<E> {
    fn bytes(&self) -> usize {
        match self {
            Self::Own(own) => own.bytes(),
            Self::Park(parked) => parked.bytes,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Own(own) => own.count(),
            // Its timer, and where it is long a key.
            Self::Park(_) => 2,
        }
    }
}

/// Is an item that waits by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Parked {
    /// The item's id.
    pub id: String,
    /// The id of its event.
    pub event_id: String,
    /// What is handed to the handler; of an item that cannot be read, how it begins.
    pub payload: Value,
    /// What becomes of it.
    pub how: Park,
    pub(super) bytes: usize,
}

/// Says what becomes of an item that waits by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Park {
    /// It is delivered again.
    Retry {
        /// How soon, in milliseconds; nothing: by the ordinary backoff.
        after_ms: Option<u64>,
        /// Whether this counts as a failure.
        counted: bool,
        /// Why.
        reason: String,
    },
    /// It is a dead letter.
    Reject {
        /// Why.
        reason: String,
        /// The handler's code, if it gave one.
        code: Option<String>,
    },
}

/// Is what becomes durable together: all of it or nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit<E> {
    /// What handlers caused.
    pub ops: Vec<Op<E>>,
    /// The new value of `engine/poll/<kind>/state`, if it changed.
    pub state: Option<Box<State>>,
    /// The new value of `engine/poll/<kind>/seen` (a JSON text), if it changed.
    pub seen: Option<String>,
    /// What people are told; most often nothing.
    pub alerts: Vec<Alert>,
    /// Why nothing was done, if so.
    pub skipped: Option<Skip>,
    /// Nothing: more is to come. Else this settles the tick, and says when the next one is due.
    pub last: Option<Next>,
}

/// Says when the next tick is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When the schedule says; a tick that was armed beside it is no longer needed.
    Scheduled,
    /// After this many milliseconds, beside the schedule.
    In(u64),
    /// As it is: nothing is armed and nothing cancelled.
    Unchanged,
}

/// Says why a tick did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The poller is paused.
    Paused(String),
    /// There is nothing to be done before this time, in milliseconds since the epoch.
    TooEarly(u64),
    /// An operator's tick is refused, with what was expected and found.
    Refused(String),
}

/// Is told to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// What happened.
    pub text: String,
}

/// Says what an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// The poller paused itself and needs an operator.
    Paused,
    /// It failed many times and is tried seldom.
    BreakerOpen,
    /// It succeeded again after many failures.
    Recovered,
    /// Its address moved for good.
    Moved,
    /// Items could not be read; they are dead letters.
    Unreadable,
    /// There are more items than are read.
    LeftOut,
    /// What was kept could not be read.
    StateLost,
}

impl AlertKind {
    /// Says whether it is a change that whoever the poller names is sent a message about.
    pub fn is_sent(self) -> bool {
        matches!(self, Self::Paused | Self::BreakerOpen | Self::Recovered)
    }

    /// Says whether an operator has to do something.
    pub fn is_urgent(self) -> bool {
        matches!(self, Self::Paused | Self::StateLost)
    }
}
