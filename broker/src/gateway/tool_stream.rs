//! What a tool says while it runs, and its result at the end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::value::RawValue;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{self, method};

use super::limits::TOOL_CHUNKS_WAITING_MAX;
use super::line::lost;
use super::port::Port;

/// What a tool says.
#[derive(Debug)]
pub enum ToolEvent {
    /// How far it is; an older one that was not read is replaced.
    Progress(rpc::ToolProgressParams),
    /// A part of its result.
    Chunk {
        /// Counts them from 0.
        seq: u64,
        /// The part.
        data: Box<RawValue>,
    },
    /// Its end; nothing follows.
    Done(Result<rpc::ToolCallResult, Error>),
}

/// What was said and not read yet.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    more: Notify,
    window_bytes: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    progress: Option<rpc::ToolProgressParams>,
    chunks: VecDeque<rpc::ToolChunkParams>,
    bytes: u64,
    is_over: bool,
}

impl Inbox {
    pub(super) fn new(window_bytes: u64) -> Self {
        Self {
            waiting: Mutex::default(),
            more: Notify::new(),
            window_bytes,
        }
    }

    pub(super) fn progress(&self, progress: rpc::ToolProgressParams) {
        self.lock().progress = Some(progress);
        self.more.notify_one();
    }

    pub(super) fn chunk(&self, chunk: rpc::ToolChunkParams) {
        let mut waiting = self.lock();
        let is_full =
            waiting.bytes > self.window_bytes || waiting.chunks.len() >= TOOL_CHUNKS_WAITING_MAX;
        if is_full {
            waiting.is_over = true;
        } else {
            waiting.bytes += chunk.data.get().len() as u64;
            waiting.chunks.push_back(chunk);
        }
        drop(waiting);
        self.more.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no panic while held")
    }
}

/// A running call. Dropped before its end, it is cancelled.
#[derive(Debug)]
pub struct ToolStream {
    port: Port,
    call_id: String,
    id: u64,
    inbox: Arc<Inbox>,
    answer: oneshot::Receiver<Result<Box<RawValue>, Error>>,
    /// The answer, once it came: chunks that came before it are read first.
    result: Option<Result<rpc::ToolCallResult, Error>>,
    is_over: bool,
    _permit: OwnedSemaphorePermit,
}

impl ToolStream {
    pub(super) fn new(
        port: Port,
        call_id: String,
        id: u64,
        inbox: Arc<Inbox>,
        answer: oneshot::Receiver<Result<Box<RawValue>, Error>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            port,
            call_id,
            id,
            inbox,
            answer,
            result: None,
            is_over: false,
            _permit: permit,
        }
    }

    /// Gives what comes next; none after the end.
    ///
    /// # Cancel safety
    /// May be cancelled and called again: nothing is lost.
    pub async fn next(&mut self) -> Option<ToolEvent> {
        if self.is_over {
            return None;
        }
        loop {
            if let Some(event) = self.said() {
                if let ToolEvent::Chunk { data, .. } = &event {
                    let params = rpc::ToolCreditParams {
                        call_id: self.call_id.clone(),
                        bytes: data.get().len() as u64,
                    };
                    // Never waited for: an event that was taken must not be lost with this future.
                    let port = self.port.clone();
                    tokio::spawn(async move { port.tell(method::TOOL_CREDIT, &params).await });
                }
                return Some(event);
            }
            if self.inbox.lock().is_over {
                self.is_over = true;
                self.port.end_tool(&self.call_id, self.id, false);
                let error = Error::new(
                    Code::ToolFailed,
                    "the tool sent more than its window allows, the call was cancelled",
                );
                return Some(ToolEvent::Done(Err(error)));
            }
            if let Some(result) = self.result.take() {
                self.is_over = true;
                self.port.end_tool(&self.call_id, self.id, true);
                return Some(ToolEvent::Done(result));
            }
            tokio::select! {
                () = self.inbox.more.notified() => {}
                answer = &mut self.answer => self.result = Some(read(answer)),
            }
        }
    }

    /// Waits for the end; chunks are left out.
    ///
    /// # Errors
    /// What the tool or the core answered instead.
    pub async fn result(mut self) -> Result<rpc::ToolCallResult, Error> {
        while let Some(event) = self.next().await {
            if let ToolEvent::Done(result) = event {
                return result;
            }
        }
        Err(lost())
    }

    fn said(&self) -> Option<ToolEvent> {
        let mut waiting = self.inbox.lock();
        if let Some(progress) = waiting.progress.take() {
            return Some(ToolEvent::Progress(progress));
        }
        let chunk = waiting.chunks.pop_front()?;
        waiting.bytes -= chunk.data.get().len() as u64;
        Some(ToolEvent::Chunk {
            seq: chunk.seq,
            data: chunk.data,
        })
    }
}

fn read(
    answer: Result<Result<Box<RawValue>, Error>, oneshot::error::RecvError>,
) -> Result<rpc::ToolCallResult, Error> {
    let answer = answer.map_err(|_| lost())??;
    serde_json::from_str(answer.get())
        .map_err(|error| Error::new(Code::Internal, format!("the core's answer: {error}")))
}

impl Drop for ToolStream {
    fn drop(&mut self) {
        if !self.is_over {
            self.port.end_tool(&self.call_id, self.id, false);
        }
    }
}
