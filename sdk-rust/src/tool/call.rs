//! Calling a tool: the result, and what comes before it.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::TOOL_WINDOW_BYTES;
use trunkline_contract::rpc::{
    ToolCallParamsRef, ToolCallResult, ToolCancelParams, ToolChunkParamsRef, ToolContext,
    ToolCreditParams, ToolProgressParams, method,
};

use super::serving::joined;
use crate::duration::{IntoDuration, in_ms};
use crate::hub::Hub;
use crate::link::{Answer, Link};
use crate::payload::{Bytes, Json};
use crate::publish::Scope;

/// Reports of progress that wait to be read; beyond, the oldest are dropped.
const PROGRESS_WAITING_MAX: usize = 64;

/// Is what a call tells before its result.
#[derive(Clone, Debug)]
pub enum ToolStep {
    /// How far it is.
    Progress {
        /// How much is done.
        done: Option<f64>,
        /// Of how much.
        total: Option<f64>,
        /// What happens.
        message: Option<String>,
        /// Data for a user interface.
        data: Option<Json>,
    },
    /// A part of a result that is streamed.
    Chunk(Bytes),
}

/// The calls of one instance or client that have no result yet, by their ids.
#[derive(Default)]
pub(crate) struct ToolCalls {
    last: AtomicU64,
    steps: Mutex<FxHashMap<String, Arc<Steps>>>,
}

impl ToolCalls {
    fn lock(&self) -> MutexGuard<'_, FxHashMap<String, Arc<Steps>>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `tool.chunk` and `tool.progress`; what nobody waits for is dropped.
    pub(crate) fn notified(&self, name: &str, params: &str) -> Result<(), serde_json::Error> {
        let (call_id, step) = if name == method::TOOL_CHUNK {
            let chunk: ToolChunkParamsRef<'_> = serde_json::from_str(params)?;
            let data = Bytes::copy(chunk.data);
            (chunk.call_id.into_owned(), ToolStep::Chunk(data))
        } else {
            let progress: ToolProgressParams = serde_json::from_str(params)?;
            let step = ToolStep::Progress {
                done: progress.done,
                total: progress.total,
                message: progress.message,
                data: progress.data,
            };
            (progress.call_id, step)
        };
        let steps = self.lock().get(&call_id).cloned();
        if let Some(steps) = steps {
            steps.push(step);
        }
        Ok(())
    }
}

/// What came of a call, in order.
#[derive(Default)]
struct Steps {
    state: Mutex<StepsState>,
    arrived: Notify,
}

#[derive(Default)]
struct StepsState {
    waiting: VecDeque<ToolStep>,
    progress: usize,
    answer: Option<Result<Answer, Error>>,
    /// Bytes of chunks that were taken and not given back to the window.
    taken: u64,
}

impl Steps {
    fn lock(&self) -> MutexGuard<'_, StepsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, step: ToolStep) {
        let mut state = self.lock();
        if matches!(step, ToolStep::Progress { .. }) {
            state.progress += 1;
            if state.progress > PROGRESS_WAITING_MAX {
                let is_progress = |step: &ToolStep| matches!(step, ToolStep::Progress { .. });
                if let Some(oldest) = state.waiting.iter().position(is_progress) {
                    state.waiting.remove(oldest);
                    state.progress -= 1;
                }
            }
        }
        state.waiting.push_back(step);
        drop(state);
        self.arrived.notify_waiters();
    }

    fn take(&self) -> Taken {
        let mut state = self.lock();
        let Some(step) = state.waiting.pop_front() else {
            return match state.answer {
                Some(_) => Taken::Over,
                None => Taken::Nothing,
            };
        };
        match &step {
            ToolStep::Progress { .. } => state.progress -= 1,
            ToolStep::Chunk(data) => state.taken += data.len() as u64,
        }
        let is_due = state.taken >= TOOL_WINDOW_BYTES / 2 && state.answer.is_none();
        let bytes = if is_due {
            std::mem::take(&mut state.taken)
        } else {
            0
        };
        Taken::Step(step, bytes)
    }

    fn finish(&self, answer: Result<Answer, Error>) {
        self.lock().answer.get_or_insert(answer);
        self.arrived.notify_waiters();
    }
}

/// What a look at the steps gave.
enum Taken {
    /// A step, and bytes to give back to the window.
    Step(ToolStep, u64),
    Nothing,
    Over,
}

/// A call that was sent; dropped, it is cancelled if it has no result.
struct Sent {
    hub: Arc<Hub>,
    link: Arc<Link>,
    call_id: String,
    steps: Arc<Steps>,
    is_cancelled: AtomicBool,
}

impl Sent {
    fn cancel(&self, reason: Option<String>) {
        let has_answer = self.steps.lock().answer.is_some();
        if !has_answer && !self.is_cancelled.swap(true, Ordering::AcqRel) {
            let params = ToolCancelParams {
                call_id: self.call_id.clone(),
                reason,
            };
            self.link.notify(method::TOOL_CANCEL, &params);
        }
    }

    /// The next step, or none when the result is there.
    async fn next(&self) -> Option<ToolStep> {
        loop {
            let arrived = self.steps.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            match self.steps.take() {
                Taken::Step(step, bytes) => {
                    if bytes > 0 {
                        let params = ToolCreditParams {
                            call_id: self.call_id.clone(),
                            bytes,
                        };
                        self.link.notify(method::TOOL_CREDIT, &params);
                    }
                    return Some(step);
                }
                Taken::Over => return None,
                Taken::Nothing => arrived.await,
            }
        }
    }

    /// The result; of a stream that nobody read, all of it.
    async fn result(&self, was_read: bool) -> Result<Bytes, Error> {
        let mut chunks = Vec::new();
        while let Some(step) = self.next().await {
            if let ToolStep::Chunk(data) = step
                && !was_read
            {
                chunks.push(data);
            }
        }
        let answer = self.steps.lock().answer.clone();
        let result: ToolCallResult = answer.expect("it ended")?.parse()?;
        match result.output {
            Some(output) => Ok(Bytes::copy(&output)),
            None if was_read || result.chunks.is_none() => Ok(Bytes::default()),
            None => joined(&chunks),
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.cancel(None);
        self.hub.tool_calls.lock().remove(&self.call_id);
    }
}

/// A call without its type: what [`ToolCall`] and other languages are made of.
pub(crate) struct Calling {
    scope: Scope,
    tool: String,
    arguments: Result<Bytes, Error>,
    timeout: Result<Option<Duration>, Error>,
    pub(crate) instance: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    sent: Option<Sent>,
    failed: Option<Error>,
    was_read: bool,
}

impl Calling {
    pub(crate) fn new(scope: Scope, tool: String, arguments: Result<Bytes, Error>) -> Self {
        Self {
            scope,
            tool,
            arguments,
            timeout: Ok(None),
            instance: None,
            idempotency_key: None,
            sent: None,
            failed: None,
            was_read: false,
        }
    }

    pub(crate) fn timeout(&mut self, timeout: impl IntoDuration) {
        self.timeout = timeout.into_duration().map(Some);
    }

    /// For whom: the conversation and the time of what is being handled.
    fn context(&self) -> Result<ToolContext, Error> {
        let mut timeout = self.timeout.clone()?;
        let mut context = ToolContext {
            idempotency_key: self.idempotency_key.clone(),
            ..ToolContext::default()
        };
        if let Scope::Handling(ctx) = &self.scope {
            let left = ctx.remaining();
            timeout = Some(timeout.map_or(left, |timeout| timeout.min(left)));
            let incoming = &ctx.handling().incoming;
            context.session_id = incoming.session_id().map(str::to_owned);
            context.traceparent = incoming.traceparent().map(str::to_owned);
        }
        context.timeout_ms = timeout.map(in_ms);
        Ok(context)
    }

    /// Sends the call, once; gives it, or what keeps it from being made.
    async fn sent(&mut self) -> Result<&Sent, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.sent.is_none() {
            match self.send().await {
                Ok(sent) => self.sent = Some(sent),
                Err(error) => {
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
        Ok(self.sent.as_ref().expect("just sent"))
    }

    async fn send(&self) -> Result<Sent, Error> {
        let arguments = self.arguments.clone()?;
        let context = self.context()?;
        let hub = self.scope.instance().hub().clone();
        let link = hub.linked().await?;
        let number = hub.tool_calls.last.fetch_add(1, Ordering::Relaxed) + 1;
        let call_id = format!("c{number}");
        let raw: &RawValue = arguments.raw();
        let params = ToolCallParamsRef {
            call_id: call_id.as_str().into(),
            tool: self.tool.as_str().into(),
            instance: self.instance.as_deref().map(Into::into),
            arguments: Some(raw),
            context,
            window_bytes: TOOL_WINDOW_BYTES,
        };
        let steps = Arc::new(Steps::default());
        let answered = steps.clone();
        let then = move |answer| answered.finish(answer);
        link.call_in_order(method::TOOL_CALL, &params, || {
            // Known before the first word of it can arrive.
            hub.tool_calls.lock().insert(call_id.clone(), steps.clone());
            Box::new(then)
        })
        .await?;
        Ok(Sent {
            hub: hub.clone(),
            link,
            call_id,
            steps,
            is_cancelled: AtomicBool::new(false),
        })
    }

    /// Sends it, if it was not sent.
    #[cfg(feature = "host")]
    pub(crate) async fn begin(&mut self) {
        // Who asks for the result is told what kept it from being made.
        drop(self.sent().await);
    }

    /// Waits for what the call tells next; none when it has its result, or failed.
    pub(crate) async fn next(&mut self) -> Option<ToolStep> {
        self.was_read = true;
        let scope = self.scope.clone();
        let sent = self.sent().await.ok()?;
        until_cancelled(&scope, sent, sent.next()).await
    }

    /// Waits for the result.
    pub(crate) async fn result(&mut self) -> Result<Bytes, Error> {
        let was_read = self.was_read;
        let scope = self.scope.clone();
        let sent = self.sent().await?;
        until_cancelled(&scope, sent, sent.result(was_read)).await
    }

    /// Gives it up: its handler is told.
    pub(crate) fn cancel(&mut self, reason: Option<String>) {
        match &self.sent {
            Some(sent) => sent.cancel(reason),
            None => {
                let text = "the call was cancelled before it was made";
                self.failed = Some(Error::new(Code::Cancelled, text));
            }
        }
    }
}

/// Waits for something of a call; it is cancelled with the handling that it was made for.
async fn until_cancelled<T>(scope: &Scope, sent: &Sent, what: impl Future<Output = T>) -> T {
    let Scope::Handling(ctx) = scope else {
        return what.await;
    };
    tokio::pin!(what);
    tokio::select! {
        biased;
        done = &mut what => return done,
        () = ctx.cancelled() => sent.cancel(Some("the caller was cancelled".to_owned())),
    }
    what.await
}

/// Is a call of a tool: set options, read its steps with [`ToolCall::next`], await it for the result.
///
/// Nothing is sent before the first of these. Cancel safety: a call that is dropped is cancelled,
/// and its handler is told.
///
/// ```no_run
/// # async fn example(client: trunkline::Client) -> trunkline::Result<()> {
/// use serde_json::json;
///
/// let mut call = client.call_tool::<String>("stripe.create_invoice", json!({ "customer": "cus_9" }));
/// while let Some(step) = call.next().await {
///     println!("{step:?}");
/// }
/// let id = call.await?;
/// # let _ = id;
/// # Ok(()) }
/// ```
#[must_use = "nothing is called until it is awaited"]
pub struct ToolCall<T = Json> {
    calling: Calling,
    output: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> ToolCall<T> {
    pub(crate) fn new(scope: Scope, tool: String, arguments: impl Serialize) -> Self {
        let arguments = Bytes::encode(&arguments);
        Self {
            calling: Calling::new(scope, tool, arguments),
            output: PhantomData,
        }
    }

    /// Says how long it may take; while an event is handled, what is left for it at most.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.calling.timeout(timeout);
        self
    }

    /// Says which instance of the plugin is to run it, where there are several.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.calling.instance = Some(instance.into());
        self
    }

    /// Names what is done: a repeat under the same key is answered as the first was.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.calling.idempotency_key = Some(key.into());
        self
    }

    /// Waits for progress or the next chunk; none when the result is there, or the error.
    ///
    /// Cancel safety: a step that is not returned is given next time.
    pub async fn next(&mut self) -> Option<ToolStep> {
        self.calling.next().await
    }

    /// Gives it up, and tells its handler why; awaited then, it fails with what the handler or the
    /// broker says.
    pub fn cancel(&mut self, reason: impl Into<String>) {
        self.calling.cancel(Some(reason.into()));
    }
}

impl<T: DeserializeOwned> IntoFuture for ToolCall<T> {
    type Output = Result<T, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Gives the result. Of a streaming tool whose chunks were not read it is all of them: texts as
    /// one text, anything else as an array.
    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move { self.calling.result().await?.json() })
    }
}

impl<T> fmt::Debug for ToolCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall")
            .field("tool", &self.calling.tool)
            .finish_non_exhaustive()
    }
}
