//! One socket: a task that opens it, reads it while there is room, and writes to it.
//!
//! Reading stops while the machine has no room for another frame, so back pressure reaches the server.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use trunkline_contract::error::{Code, Error};
use trunkline_patterns::connection::{FRAMES_WAITING_MAX, Socket};

use super::declare::{Connect, Form};
use super::form::{Received, encode};
#[cfg(feature = "testing")]
use super::played;
use super::stream::{Address, Protocol};
use super::{lines, sse, websocket};
use crate::context::InstanceContext;
use crate::hub::Stop;
use crate::pace::Pace;

/// How long the other side may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Frames that wait to be written: what an author sends, acks and beats.
const SAY_MAX: usize = 256;

/// What a socket tells.
#[derive(Debug)]
pub(super) enum Heard {
    Opened,
    Frame(Received),
    Alive,
    /// The server's wait before the next attempt, in ms.
    Retry(u64),
    Closed {
        code: Option<u16>,
        reason: String,
    },
    /// Something that was counted is written.
    Sent,
}

/// What a socket is told.
#[derive(Debug)]
pub(super) enum Say {
    Frame(Vec<u8>, Option<oneshot::Sender<Result<(), Error>>>),
    Ping,
    Close(u16, &'static str),
    /// Writes what the protocol has ready.
    Flush,
}

/// Why there is no connection any more.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) code: Option<u16>,
    pub(super) reason: String,
}

impl Gone {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self {
            code: None,
            reason: reason.into(),
        }
    }
}

impl From<Error> for Gone {
    fn from(error: Error) -> Self {
        Self::because(error.message)
    }
}

/// What a protocol needs to do its work.
pub(super) struct Line {
    pub(super) socket: Socket,
    pub(super) form: Form,
    pub(super) heard: mpsc::Sender<(Socket, Heard)>,
    pub(super) say: mpsc::Receiver<Say>,
    /// For the reading half, which asks the writing half.
    pub(super) ask: mpsc::WeakSender<Say>,
    pub(super) room: Arc<Semaphore>,
}

/// The writing end of what a socket tells.
#[derive(Clone)]
pub(super) struct Teller {
    socket: Socket,
    heard: mpsc::Sender<(Socket, Heard)>,
    room: Arc<Semaphore>,
}

impl Teller {
    /// Tells something; false when nobody listens any more.
    pub(super) async fn tell(&self, heard: Heard) -> bool {
        self.heard.send((self.socket, heard)).await.is_ok()
    }

    /// Waits for room for a frame.
    pub(super) async fn room(&self) {
        if let Ok(permit) = self.room.acquire().await {
            permit.forget();
        }
    }
}

impl Line {
    pub(super) fn teller(&self) -> Teller {
        Teller {
            socket: self.socket,
            heard: self.heard.clone(),
            room: self.room.clone(),
        }
    }
}

/// A socket as its owner has it. Dropped, it is closed: what is to be written still is, for a while.
pub(super) struct Handle {
    say: mpsc::Sender<Say>,
    room: Arc<Semaphore>,
    /// Known once the address is.
    spoken: Arc<OnceLock<(Protocol, Form)>>,
    dropped: Arc<Stop>,
    task: Option<JoinHandle<()>>,
}

impl Handle {
    /// Opens a socket.
    pub(super) fn open(
        connect: Arc<Connect>,
        ctx: InstanceContext,
        socket: Socket,
        cursor: Option<String>,
        heard: mpsc::Sender<(Socket, Heard)>,
        pace: Arc<Pace>,
    ) -> Self {
        let (say, said) = mpsc::channel(SAY_MAX);
        let room = Arc::new(Semaphore::new(FRAMES_WAITING_MAX));
        let dropped = Arc::new(Stop::default());
        let line = Line {
            socket,
            form: Form::Json,
            heard,
            say: said,
            ask: say.downgrade(),
            room: room.clone(),
        };
        let stop = dropped.clone();
        let spoken = Arc::<OnceLock<(Protocol, Form)>>::default();
        let found = spoken.clone();
        let task = tokio::spawn(async move {
            let teller = line.teller();
            let live = live(&connect, &ctx, cursor, &found, line, &pace);
            tokio::pin!(live);
            let gone = tokio::select! {
                gone = &mut live => gone,
                () = stop.wait() => match tokio::time::timeout(GOODBYE, live).await {
                    Ok(gone) => gone,
                    Err(_) => Gone::because("closed here"),
                },
            };
            let (code, reason) = (gone.code, gone.reason);
            teller.tell(Heard::Closed { code, reason }).await;
        });
        Self {
            say,
            room,
            spoken,
            dropped,
            task: Some(task),
        }
    }

    /// Has something written; false when that cannot be.
    pub(super) fn say(&self, say: Say) -> bool {
        match self.say.try_send(say) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(say) | mpsc::error::TrySendError::Closed(say)) => {
                if let Say::Frame(_, Some(done)) = say {
                    let error = Error::new(Code::Unavailable, "the connection takes no more");
                    // Who waited may be gone.
                    drop(done.send(Err(error)));
                }
                false
            }
        }
    }

    /// Says how what is sent is written.
    pub(super) fn form(&self) -> Form {
        self.spoken.get().map_or(Form::Json, |(_, form)| *form)
    }

    /// Says what is spoken, once it is open.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.spoken.get().map(|(protocol, _)| *protocol)
    }

    /// Lets it read one more frame.
    pub(super) fn room(&self) {
        self.room.add_permits(1);
    }

    /// Closes it; the task ends soon.
    pub(super) fn close(mut self) -> Option<JoinHandle<()>> {
        self.task.take()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.dropped.set();
    }
}

/// Opens the socket and carries frames until it ends.
async fn live(
    connect: &Connect,
    ctx: &InstanceContext,
    cursor: Option<String>,
    spoken: &OnceLock<(Protocol, Form)>,
    mut line: Line,
    pace: &Pace,
) -> Gone {
    let teller = line.teller();
    let url = match connect.url(ctx).await {
        Ok(url) => url,
        Err(failure) => {
            if let Some(report) = crate::report::Report::of(&failure) {
                ctx.instance_core().report(&report);
            }
            if let Some(after) = crate::connect::driver::retry_after(&failure) {
                teller.tell(Heard::Retry(after)).await;
            }
            return Gone::because(format!("no address: {failure}"));
        }
    };
    let address = match Address::parse(&url) {
        Ok(address) => address,
        Err(error) => return error.into(),
    };
    let headers = match connect.headers(ctx) {
        Ok(headers) => headers,
        Err(error) => return error.into(),
    };
    let protocol = address.protocol;
    (_, line.form) = *spoken.get_or_init(|| (protocol, connect.form(protocol)));
    if let Err(error) = greet(connect, ctx, cursor.as_deref(), &line) {
        return error.into();
    }
    #[cfg(feature = "testing")]
    if let (Some(fake), Some(played)) = (ctx.hub().fake(), pace.played()) {
        let call = played::call(connect, &address, &headers, cursor.as_deref());
        played.set_real(false);
        match played::live(fake, call, protocol, line).await {
            Ok(gone) => return gone,
            Err(given_back) => line = given_back,
        }
        played.set_real(true);
    }
    #[cfg(not(feature = "testing"))]
    let _: &Pace = pace;
    let lived = match address.protocol {
        Protocol::WebSocket => websocket::live(&address, &headers, connect, line).await,
        Protocol::EventStream => sse::live(&address, &headers, cursor, line).await,
        Protocol::Lines => lines::live(&address, line).await,
    };
    match lived {
        Ok(gone) | Err(gone) => gone,
    }
}

/// Lines up what is said before all else.
fn greet(
    connect: &Connect,
    ctx: &InstanceContext,
    cursor: Option<&str>,
    line: &Line,
) -> Result<(), Error> {
    for frame in connect.greetings(ctx, cursor)? {
        let bytes = encode(line.form, &frame)?;
        let say = line.ask.upgrade();
        // Without its owner the socket is closed anyway.
        if say.is_some_and(|say| say.try_send(Say::Frame(bytes, None)).is_err()) {
            let text = "expected room for a greeting, found none";
            return Err(Error::new(Code::Unavailable, text));
        }
    }
    Ok(())
}
