//! What a connection's machine is told, and what it wants done.

use serde_json::Value;

use super::live::Heartbeat;
use super::status::{End, Status};
use super::work::{CommitFault, Store, Verdict};

/// Names a socket; every attempt has a new one.
pub type Socket = u64;

/// Is what came in one piece from the server.
pub trait Frame {
    /// Gives it as a value, to be compared with what answers a heartbeat; none if it is no data.
    fn value(&self) -> Option<Value>;
}

impl<T: Frame> Frame for std::sync::Arc<T> {
    fn value(&self) -> Option<Value> {
        (**self).value()
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<F> {
    /// The right to connect is there; the cursor is what was committed last.
    Start {
        /// Where to go on from, as JSON.
        cursor: Option<String>,
    },
    /// A socket is open.
    Opened(Socket),
    /// A frame came.
    Frame(Socket, F),
    /// A sign of life came that is no frame.
    Alive(Socket),
    /// The server said how long to wait before the next attempt, in ms.
    Retry(Socket, u64),
    /// A socket is gone, or could not be opened.
    Closed {
        /// Which.
        socket: Socket,
        /// The server's code, where it gave one: of a close, or the handshake's HTTP status.
        code: Option<u16>,
        /// Why.
        reason: String,
    },
    /// The handler decided.
    Handled(Verdict),
    /// The store has it, or not.
    Stored(Result<(), CommitFault>),
    /// Somebody wants to send: on this socket, else on the one there is.
    Send {
        /// Names the frame.
        id: u64,
        /// Which socket it is for.
        socket: Option<Socket>,
    },
    /// A frame was written, or never will be.
    Sent(Socket),
    /// Beats are wanted on this socket.
    Beat(Socket, Heartbeat),
    /// Time passed.
    Tick,
    /// The right to connect is lost.
    LockLost,
    /// It is to end in order.
    Stop,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output<F> {
    /// Open a socket.
    Open(Socket),
    /// Say goodbye; what still comes is taken, until it is dropped.
    Close {
        /// Which.
        socket: Socket,
        /// With which code.
        code: u16,
        /// Why.
        reason: &'static str,
    },
    /// Forget a socket that was said goodbye to.
    Drop(Socket),
    /// Ask the other side for a sign of life, below the frames.
    Probe(Socket),
    /// There is room for one more frame of this socket.
    Room(Socket),
    /// Write what somebody wants to send.
    Send(Socket, u64),
    /// Tell who wants to send that it cannot be done, and when to come again, in ms.
    Refuse(u64, u64),
    /// Write a heartbeat.
    Beat(Socket, Value),
    /// Hand a frame to the author's function.
    Hand {
        /// Where it came from.
        socket: Socket,
        /// Its number; the same at every attempt.
        number: u64,
        /// Which attempt, from 1.
        attempt: u32,
        /// The frame.
        frame: F,
    },
    /// Make it durable.
    Store(u64, Store),
    /// Write the ack of a frame.
    Ack(Socket, u64),
    /// Tell how it stands.
    Status(Status),
    /// There is nothing more to do.
    Ended(End),
}
