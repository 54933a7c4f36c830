//! What an author reaches of a connection: sending, heartbeats, the cursor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use trunkline_contract::error::{Code, Error};
use trunkline_patterns::connection::{Heartbeat, Socket};

use crate::duration::{IntoDuration, in_ms};
use crate::payload::Bytes;

/// Frames and heartbeats that may wait for the connection's task.
pub(super) const COMMANDS_MAX: usize = 64;

/// What is asked of a connection's task.
#[derive(Debug)]
pub(super) enum Command {
    Send {
        socket: Option<Socket>,
        frame: Bytes,
        done: oneshot::Sender<Result<(), Error>>,
    },
    Beat {
        socket: Option<Socket>,
        heartbeat: Heartbeat,
    },
}

/// One connection of an instance, over all its sockets.
#[derive(Debug, Default)]
pub(crate) struct Connection(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    commands: Option<mpsc::Sender<Command>>,
    cursor: Option<Bytes>,
}

impl Connection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, commands: mpsc::Sender<Command>) {
        self.state().commands = Some(commands);
    }

    pub(super) fn end(&self) {
        self.state().commands = None;
    }

    pub(super) fn set_cursor(&self, cursor: Option<&str>) {
        let cursor = cursor.and_then(|text| Bytes::from_json(text).ok());
        self.state().cursor = cursor;
    }
}

/// Which socket the frame at work came from.
#[derive(Debug)]
pub(crate) struct FromSocket {
    pub(super) socket: Socket,
    /// Something could not be said, because that socket is gone.
    pub(super) is_gone: AtomicBool,
    pub(super) fault: Mutex<Option<Error>>,
}

impl FromSocket {
    pub(super) fn new(socket: Socket) -> Arc<Self> {
        Arc::new(Self {
            socket,
            is_gone: AtomicBool::new(false),
            fault: Mutex::default(),
        })
    }
}

/// Reaches the connection of a kind: in its own handler the socket that the frame came from, elsewhere
/// the one there is.
#[derive(Clone, Debug)]
pub struct Conn {
    connection: Result<Arc<Connection>, Error>,
    from: Option<Arc<FromSocket>>,
}

impl Conn {
    pub(crate) fn new(
        connection: Result<Arc<Connection>, Error>,
        from: Option<Arc<FromSocket>>,
    ) -> Self {
        Self { connection, from }
    }

    fn commands(&self) -> Result<mpsc::Sender<Command>, Error> {
        let connection = self.connection.as_ref().map_err(Clone::clone)?;
        connection.state().commands.clone().ok_or_else(|| {
            let mut error = Error::new(Code::Unavailable, "the connection is not kept now");
            error.retry_after_ms = Some(1_000);
            error
        })
    }

    /// Sends a frame. When it returns, the frame is handed to the system.
    ///
    /// # Errors
    /// `unavailable` while there is no connection, or too much waits to be written; it says when to come
    /// again, so that an outbound event that fails with it waits without counting as failed.
    ///
    /// Cancel safety: dropped while it waits, the frame may or may not be sent.
    pub async fn send(&self, frame: impl Serialize) -> Result<(), Error> {
        self.send_bytes(Bytes::encode(&frame)?).await
    }

    pub(crate) async fn send_bytes(&self, frame: Bytes) -> Result<(), Error> {
        let (done, sent) = oneshot::channel();
        let command = Command::Send {
            socket: self.from.as_ref().map(|from| from.socket),
            frame,
            done,
        };
        let gone = || {
            let mut error = Error::new(Code::Unavailable, "the connection ended");
            error.retry_after_ms = Some(1_000);
            error
        };
        let result = match self.commands()?.send(command).await {
            Ok(()) => sent.await.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(gone()),
        };
        if let (Err(error), Some(from)) = (&result, &self.from)
            && error.code == Code::Unavailable
        {
            from.is_gone.store(true, Ordering::Release);
        }
        result
    }

    /// Sends a frame again and again from now on, as long as this socket lives; see
    /// [`Connect::heartbeat`](crate::Connect::heartbeat). What cannot be done fails the frame at work.
    pub fn heartbeat(
        &self,
        every: impl IntoDuration,
        frame: impl Serialize,
        expect: impl Serialize,
    ) {
        let made = every.into_duration().and_then(|every| {
            let expect: serde_json::Value = Bytes::encode(&expect)?.json()?;
            Ok(Heartbeat {
                every_ms: in_ms(every),
                frame: Bytes::encode(&frame)?.json()?,
                expect: Some(expect).filter(|expect| !expect.is_null()),
            })
        });
        let beaten = made.and_then(|heartbeat| self.beat(heartbeat));
        if let Err(error) = beaten {
            tracing::error!(%error, "A heartbeat was not begun.");
            if let Some(from) = &self.from {
                let mut fault = from.fault.lock().unwrap_or_else(PoisonError::into_inner);
                fault.get_or_insert(error);
            }
        }
    }

    pub(crate) fn beat(&self, heartbeat: Heartbeat) -> Result<(), Error> {
        let socket = self.from.as_ref().map(|from| from.socket);
        let command = Command::Beat { socket, heartbeat };
        self.commands()?.try_send(command).map_err(|_| {
            Error::new(
                Code::Unavailable,
                "too much waits for the connection's task",
            )
        })
    }

    /// Gives where to go on from: what was committed last. None where nothing was, or it is no `T`.
    pub fn cursor<T: DeserializeOwned>(&self) -> Option<T> {
        self.cursor_bytes()?.json().ok()
    }

    pub(crate) fn cursor_bytes(&self) -> Option<Bytes> {
        self.connection.as_ref().ok()?.state().cursor.clone()
    }
}
