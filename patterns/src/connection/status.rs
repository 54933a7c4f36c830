//! What a connection says about itself.

/// How it stands now; said at each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// An attempt is under way; the first is number 1.
    Connecting {
        /// How many attempts in a row this makes.
        attempt: u32,
    },
    /// It is there.
    Connected,
    /// It is not there, and will be tried again.
    Disconnected {
        /// Why.
        reason: String,
        /// How many attempts in a row failed.
        attempt: u32,
        /// When the next one is made, in ms of the machine's clock.
        next_try_ms: u64,
    },
    /// The server said what no other attempt will change.
    Fatal {
        /// Its code.
        code: u16,
        /// Its words.
        reason: String,
    },
}

/// Why there is nothing more to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to stop.
    Stopped,
    /// The server's code is one of those that are final.
    Fatal,
    /// The right to the connection is somebody else's.
    LockLost,
}
