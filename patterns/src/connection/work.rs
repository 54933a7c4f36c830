//! One frame at work: handed over, committed, acked; again after a failure.

use super::io::Socket;

/// How often a frame's handler may fail before the frame becomes a dead letter.
pub const FAILURES_MAX: u32 = 6;

/// What becomes of the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Moved {
    /// It stays.
    #[default]
    Stays,
    /// There is none any more.
    Forgotten,
    /// It is this now, as JSON.
    To(String),
}

impl Moved {
    /// Gives what the cursor is after it.
    pub(super) fn from(self, cursor: Option<String>) -> Option<String> {
        match self {
            Self::Stays => cursor,
            Self::Forgotten => None,
            Self::To(cursor) => Some(cursor),
        }
    }
}

/// What the author's function decided about a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is handled.
    Done {
        /// There are events or changes of state to be committed.
        writes: bool,
        /// Where to go on from.
        cursor: Moved,
        /// The server is to be told, once everything is durable.
        ack: bool,
        /// Close, and connect again after so long.
        again_ms: Option<u64>,
    },
    /// The server wants another connection: at once beside this one, or in its place after a time.
    Reconnect {
        /// How long to wait; 0 is a refresh.
        after_ms: u64,
        /// Why.
        reason: String,
    },
    /// It can never be handled.
    Reject,
    /// It was not handled.
    Failed {
        /// When to try again, if somebody knows.
        after_ms: Option<u64>,
        /// It counts as a failure.
        is_counted: bool,
        /// It failed because the frame's connection is gone, and with it whom it was said to.
        is_gone: bool,
    },
    /// The whole instance cannot work.
    Over,
}

/// What is to be made durable.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// What the handler returned, with the cursor.
    Batch,
    /// The frame itself, as a dead letter.
    DeadLetter,
}

/// Why a commit did not happen.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// Somebody else has the right to the connection.
    LockLost,
    /// It may happen later: the broker was not reached, or has no room.
    Later,
    /// What is in it was refused.
    Refused,
}

/// What follows once the store has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct After {
    pub(super) cursor: Moved,
    pub(super) ack: bool,
    pub(super) again_ms: Option<u64>,
}

/// Something to be stored.
#[derive(Clone, Debug)]
pub(super) struct Storing {
    pub(super) what: Store,
    pub(super) after: After,
    /// How often the store was not reached.
    pub(super) tries: u32,
}

/// Where the work is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    Handing,
    Storing(Storing),
    /// The handler is asked again.
    Resting {
        until_ms: u64,
    },
    /// The store is asked again.
    Waiting {
        until_ms: u64,
        storing: Storing,
    },
}

/// The frame at work.
#[derive(Clone, Debug)]
pub(super) struct Work<F> {
    pub(super) socket: Socket,
    pub(super) number: u64,
    pub(super) frame: F,
    pub(super) failures: u32,
    pub(super) stage: Stage,
}

impl<F> Work<F> {
    /// When something is to be done about it.
    pub(super) fn due_ms(&self) -> Option<u64> {
        match &self.stage {
            Stage::Handing | Stage::Storing(_) => None,
            Stage::Resting { until_ms } | Stage::Waiting { until_ms, .. } => Some(*until_ms),
        }
    }
}
