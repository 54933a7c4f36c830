//! A client of the core inside the daemon: JSON-RPC over a socket pair, with the caller's own token.
//!
//! Scopes, limits, errors and revocation are the core's; a port only matches answers to questions and routes
//! what a tool says while it runs. Clones share one link, which ends with the last of them.
//!
//! Not here: which token may do what. Invariants: questions under way are bounded by the contract's limit
//! for a link; what a tool sends ahead of its reader is bounded by the window that was given to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Semaphore, mpsc, oneshot};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::grant::Scopes;
use trunkline_contract::limits::PENDING_CALLS_MAX;
use trunkline_contract::rpc::{self, Message, method};

use super::auth::Token;
use super::line::{FrameReader, Line, lost};
use super::tool_stream::{Inbox, ToolStream};
use crate::runtime::Broker;

/// Frames waiting to be written to the core; beyond, whoever asks waits.
const FRAMES_MAX: usize = 64;

type Answer = Result<Box<RawValue>, Error>;

/// A client of the core. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Port {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    frames: mpsc::Sender<Vec<u8>>,
    waiting: Mutex<Waiting>,
    next_id: AtomicU64,
    permits: Arc<Semaphore>,
    connected: rpc::ConnectResult,
    scopes: Scopes,
}

/// Who waits for what.
#[derive(Debug, Default)]
struct Waiting {
    answers: FxHashMap<u64, oneshot::Sender<Answer>>,
    tools: FxHashMap<String, Arc<Inbox>>,
    is_over: bool,
}

impl Port {
    /// Opens a link as the client that a token names.
    ///
    /// # Errors
    /// `unauthorized` when the core does not know the token, `unavailable` when it has ended.
    pub async fn open(broker: &Broker, token: &Token) -> Result<Self, Error> {
        Self::over(Line::connect(broker, token).await?)
    }

    /// Takes a link over.
    ///
    /// # Errors
    /// `internal` when the core names scopes that are none.
    pub fn over(line: Line) -> Result<Self, Error> {
        let Line {
            reader,
            writer,
            connected,
        } = line;
        let (frames, outbox) = mpsc::channel(FRAMES_MAX);
        let scopes = Scopes::parse(&connected.scopes)?;
        let shared = Arc::new(Shared {
            frames,
            waiting: Mutex::default(),
            next_id: AtomicU64::new(1),
            permits: Arc::new(Semaphore::new(PENDING_CALLS_MAX)),
            connected,
            scopes,
        });
        tokio::spawn(write(writer, outbox));
        tokio::spawn(read(reader, Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// Gives the client's name, as in `client:<name>`.
    pub fn source(&self) -> &str {
        &self.shared.connected.source
    }

    /// Gives what the caller may do.
    pub fn scopes(&self) -> &Scopes {
        &self.shared.scopes
    }

    /// Says whether its link has ended: the token was revoked, or the daemon stops.
    pub fn is_over(&self) -> bool {
        self.shared.lock().is_over
    }

    /// Says whether somebody else holds it.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// What the core refuses it with; `link_lost` when the link ends meanwhile; `frame_too_large` before
    /// anything is sent.
    ///
    /// # Cancel safety
    /// Cancelled, the answer is dropped; what was asked may still be done.
    pub async fn call<P: Serialize + ?Sized>(&self, method: &str, params: &P) -> Answer {
        let permit = self.shared.permits.clone().acquire_owned().await;
        let _permit = permit.expect("nobody closes it");
        let (id, frame) = self.frame(method, params)?;
        let (told, answer) = oneshot::channel();
        {
            let mut waiting = self.shared.lock();
            if waiting.is_over {
                return Err(ended());
            }
            waiting.answers.insert(id, told);
        }
        let _forget = Forget {
            shared: &self.shared,
            id,
        };
        self.shared.frames.send(frame).await.map_err(|_| ended())?;
        answer.await.map_err(|_| lost())?
    }

    /// Asks and reads the answer.
    ///
    /// # Errors
    /// As [`Port::call`]; `internal` when the core answers something else.
    pub async fn ask<P: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<R, Error> {
        let answer = self.call(method, params).await?;
        serde_json::from_str(answer.get())
            .map_err(|error| Error::new(Code::Internal, format!("the core's answer: {error}")))
    }

    /// Calls a tool. `params.call_id` is replaced by one of the port's own.
    ///
    /// Dropping the stream before its result cancels the call.
    ///
    /// # Errors
    /// `link_lost` when the link has ended, `frame_too_large` before anything is sent. What the tool answers
    /// comes out of the stream.
    pub async fn call_tool(&self, mut params: rpc::ToolCallParams) -> Result<ToolStream, Error> {
        let permit = self.shared.permits.clone().acquire_owned().await;
        let permit = permit.expect("nobody closes it");
        let call_id = format!("c{}", self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        params.call_id.clone_from(&call_id);
        let (id, frame) = self.frame(method::TOOL_CALL, &params)?;
        let (told, answer) = oneshot::channel();
        let inbox = Arc::new(Inbox::new(params.window_bytes));
        {
            let mut waiting = self.shared.lock();
            if waiting.is_over {
                return Err(ended());
            }
            waiting.answers.insert(id, told);
            waiting.tools.insert(call_id.clone(), inbox.clone());
        }
        // From here on a drop cleans up and cancels.
        let stream = ToolStream::new(self.clone(), call_id, id, inbox, answer, permit);
        self.shared.frames.send(frame).await.map_err(|_| ended())?;
        Ok(stream)
    }

    /// Says something that is not answered.
    pub(super) async fn tell<P: Serialize + ?Sized>(&self, method: &str, params: &P) {
        let mut frame = Vec::new();
        rpc::write_notification(&mut frame, method, params);
        if self.shared.frames.send(frame).await.is_err() {
            tracing::trace!(method, "The link has ended.");
        }
    }

    /// Forgets a tool's call; the core is told unless it was over.
    pub(super) fn end_tool(&self, call_id: &str, id: u64, is_over: bool) {
        {
            let mut waiting = self.shared.lock();
            waiting.tools.remove(call_id);
            waiting.answers.remove(&id);
            if waiting.is_over {
                return;
            }
        }
        if is_over {
            return;
        }
        let port = self.clone();
        let params = rpc::ToolCancelParams {
            call_id: call_id.to_owned(),
            reason: Some("the caller went away".to_owned()),
        };
        // A runtime that ends cancels everything by itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { port.tell(method::TOOL_CANCEL, &params).await });
        }
    }

    fn frame<P: Serialize + ?Sized>(
        &self,
        method: &str,
        params: &P,
    ) -> Result<(u64, Vec<u8>), Error> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let mut frame = Vec::new();
        rpc::write_request(&mut frame, id, method, params);
        let (bytes, limit) = (
            frame.len() as u64 - 1,
            self.shared.connected.limits.frame_bytes_max,
        );
        if bytes > limit {
            let message =
                format!("expected a request that makes at most {limit} bytes, found {bytes}");
            return Err(Error::new(Code::FrameTooLarge, message));
        }
        Ok((id, frame))
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no panic while held")
    }

    fn take_in(&self, frame: &[u8]) {
        match rpc::parse(frame) {
            Ok(Message::Response { id, result }) => {
                let answer = result
                    .map(ToOwned::to_owned)
                    .map_err(|error| Error::from_rpc(&error));
                if id.get() == "null" {
                    return self.ends(answer);
                }
                let Some(told) = id.get().parse().ok().and_then(|id: u64| {
                    let mut waiting = self.lock();
                    waiting.answers.remove(&id)
                }) else {
                    return tracing::trace!("An answer that nobody waits for any more.");
                };
                if told.send(answer).is_err() {
                    tracing::trace!("An answer that nobody waits for any more.");
                }
            }
            Ok(Message::Notification { method, params }) => {
                self.heard(&method, params.unwrap_or(RawValue::NULL));
            }
            Ok(Message::Request { .. }) | Err(_) => {
                tracing::error!("The core wrote something that no client understands.");
            }
        }
    }

    /// Takes what the core says of the link itself: whoever waits is told it, since no answer comes any more.
    fn ends(&self, said: Answer) {
        let Err(error) = said else { return };
        tracing::debug!(%error, "The core ends a link.");
        if error.code != Code::Unauthorized {
            return;
        }
        let answers: Vec<_> = {
            let mut waiting = self.lock();
            waiting.is_over = true;
            waiting.answers.drain().collect()
        };
        for (_, told) in answers {
            if told.send(Err(error.clone())).is_err() {
                tracing::trace!("An answer that nobody waits for any more.");
            }
        }
    }

    fn heard(&self, name: &str, params: &RawValue) {
        let inbox = |call_id: &str| self.lock().tools.get(call_id).cloned();
        match name {
            method::TOOL_CHUNK => {
                if let Ok(chunk) = serde_json::from_str::<rpc::ToolChunkParams>(params.get())
                    && let Some(inbox) = inbox(&chunk.call_id)
                {
                    inbox.chunk(chunk);
                }
            }
            method::TOOL_PROGRESS => {
                if let Ok(progress) = serde_json::from_str::<rpc::ToolProgressParams>(params.get())
                    && let Some(inbox) = inbox(&progress.call_id)
                {
                    inbox.progress(progress);
                }
            }
            _ => {}
        }
    }
}

/// Forgets a question whose asker is gone.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.lock().answers.remove(&self.id);
    }
}

async fn write(mut writer: OwnedWriteHalf, mut outbox: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = outbox.recv().await {
        if writer.write_all(&frame).await.is_err() {
            return;
        }
    }
    if writer.shutdown().await.is_err() {
        tracing::trace!("The link has ended.");
    }
}

async fn read(mut reader: FrameReader, shared: Weak<Shared>) {
    while let Some(frame) = reader.next().await {
        match shared.upgrade() {
            Some(shared) => shared.take_in(&frame),
            None => return,
        }
    }
    if let Some(shared) = shared.upgrade() {
        let mut waiting = shared.lock();
        waiting.is_over = true;
        // Whoever waits sees that nobody is left to answer.
        waiting.answers.clear();
        waiting.tools.clear();
    }
}

/// The link had ended before anything was sent: the same may be asked on another.
fn ended() -> Error {
    Error::new(Code::LinkLost, "the link to the core has ended")
}
