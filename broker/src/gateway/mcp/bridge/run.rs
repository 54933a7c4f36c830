//! The plugin's side of the link: handshake, life, calls.

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Notify, mpsc};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{
    self, Empty, InitializeParams, InitializeResult, Message, PingResult, PluginIdentity,
    PluginSection, ReportedState, ShutdownResult, StatusParams, ToolCallParams, ToolCallResult,
    ToolCancelParams, ToolProgressParams, ToolRegisterParams, ToolUnregisterParams, method,
};

use super::calls::Calls;
use super::known::KnownTools;
use super::remote::{self, Connected, Remote};
use super::settings::ServerSettings;
use crate::gateway::FrameReader;

/// Frames waiting to be written; beyond, whoever has one waits.
const FRAMES_MAX: usize = 256;
/// Events of the MCP server waiting to be looked at.
const EVENTS_MAX: usize = 256;
/// Reports of progress of one call that wait; beyond, newer ones are dropped.
const REPORTS_MAX: usize = 16;
/// Variable that names the link.
const LINK_VARIABLE: &str = "TRUNKLINE_LINK_FD";

/// Serves the link that the launcher gave this process, until it ends.
///
/// # Errors
/// When there is no such link.
pub(crate) async fn bridge() -> Result<(), Error> {
    run(take_link()?).await;
    Ok(())
}

/// Takes over the descriptor that the launcher names.
#[expect(
    unsafe_code,
    reason = "an inherited descriptor is only known by its number"
)]
fn take_link() -> Result<UnixStream, Error> {
    let text = std::env::var(LINK_VARIABLE).unwrap_or_default();
    let refused = || {
        let message = format!("expected {LINK_VARIABLE} to name a socket, found {text:?}");
        Error::new(Code::LinkLost, message)
    };
    let number: i32 = text.parse().map_err(|_| refused())?;
    if number <= 2 || !std::path::Path::new(&format!("/proc/self/fd/{number}")).exists() {
        return Err(refused());
    }
    // SAFETY: the descriptor is open, and the launcher made it for the link alone: nothing else in this process owns
    // it, and the link is taken once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(|_| refused())?;
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true).map_err(|_| refused())?;
    UnixStream::from_std(stream).map_err(|_| refused())
}

/// What happens beside the link.
enum Event {
    /// The MCP server was reached, or not; with what it offers.
    Reached(Box<Result<(Connected, KnownTools), Error>>),
    /// What the MCP server offers has changed.
    Changed(Result<KnownTools, Error>),
    /// The connection ended.
    Gone(String),
    /// A call ended.
    Answered(String),
}

/// Serves a link until it ends.
pub(super) async fn run(stream: UnixStream) {
    let (read, write) = stream.into_split();
    let (frames, outbox) = mpsc::channel(FRAMES_MAX);
    let writer = tokio::spawn(write_all(write, outbox));
    let (events, mut heard) = mpsc::channel(EVENTS_MAX);
    let mut reader = FrameReader::new(read);
    let mut bridge = Bridge {
        wire: Wire { frames },
        events,
        settings: ServerSettings::default(),
        token: None,
        state_dir: None,
        known: Arc::default(),
        remote: None,
        stop: Arc::default(),
        calls: Calls::default(),
        next_id: 1,
    };
    loop {
        tokio::select! {
            frame = reader.next() => match frame {
                Some(frame) if bridge.frame(&frame).await => {}
                _ => break,
            },
            Some(event) = heard.recv() => bridge.event(event).await,
        }
    }
    bridge.stop.notify_waiters();
    drop(bridge);
    if writer.await.is_err() {
        tracing::error!("The writer panicked.");
    }
}

async fn write_all(mut stream: OwnedWriteHalf, mut outbox: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = outbox.recv().await {
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// Writes frames.
#[derive(Clone)]
struct Wire {
    frames: mpsc::Sender<Vec<u8>>,
}

impl Wire {
    async fn send(&self, frame: Vec<u8>) {
        if self.frames.send(frame).await.is_err() {
            tracing::trace!("The link has ended.");
        }
    }

    async fn tell<P: Serialize>(&self, method: &str, params: &P) {
        let mut frame = Vec::new();
        rpc::write_notification(&mut frame, method, params);
        self.send(frame).await;
    }

    async fn answer<R: Serialize>(&self, id: &RawValue, result: Result<R, Error>) {
        let mut frame = Vec::new();
        match result {
            Ok(result) => rpc::write_result(&mut frame, id, &result),
            Err(error) => rpc::write_error(&mut frame, Some(id), &error),
        }
        self.send(frame).await;
    }
}

struct Bridge {
    wire: Wire,
    events: mpsc::Sender<Event>,
    settings: ServerSettings,
    token: Option<String>,
    state_dir: Option<PathBuf>,
    known: Arc<KnownTools>,
    remote: Option<Remote>,
    /// Ends the connection.
    stop: Arc<Notify>,
    calls: Calls,
    next_id: u64,
}

impl Bridge {
    /// Takes a frame; false: the last one.
    async fn frame(&mut self, frame: &[u8]) -> bool {
        match rpc::parse(frame) {
            Ok(Message::Request { id, method, params }) => {
                return self.request(id, &method, params).await;
            }
            Ok(Message::Notification { method, params }) => {
                if method == method::TOOL_CANCEL
                    && let Ok(cancel) = rpc::params::<ToolCancelParams>(params)
                    && let Some(id) = self.calls.cancel(&cancel.call_id)
                {
                    // Until it is answered the call keeps its place in the broker.
                    let error = Error::new(Code::Cancelled, "the caller cancelled it");
                    self.wire.answer::<Empty>(&id, Err(error)).await;
                }
            }
            Ok(Message::Response { result, .. }) => {
                if let Err(error) = result {
                    tracing::error!(message = error.message, "Tools were not taken.");
                }
            }
            Err(fault) => tracing::warn!(error = %fault.error, "A frame cannot be read."),
        }
        true
    }

    async fn request(&mut self, id: &RawValue, method: &str, params: Option<&RawValue>) -> bool {
        match method {
            method::INITIALIZE => {
                let result = self.initialize(params);
                self.wire.answer(id, result).await;
            }
            method::TOOL_CALL => self.call(id.to_owned(), params).await,
            method::PING => {
                let result = PingResult {
                    in_flight: self.calls.len() as u64,
                    ..PingResult::default()
                };
                self.wire.answer(id, Ok(result)).await;
            }
            method::INSTANCE_ACTIVATE => {
                self.wire.answer(id, Ok(Empty {})).await;
                self.connect();
            }
            method::INSTANCE_DEACTIVATE => {
                self.stop.notify_waiters();
                self.remote = None;
                self.wire.answer(id, Ok(Empty {})).await;
            }
            method::INSTANCE_PAUSE | method::INSTANCE_RESUME => {
                self.wire.answer(id, Ok(Empty {})).await;
            }
            method::SHUTDOWN => {
                self.wire.answer(id, Ok(ShutdownResult { ok: true })).await;
                return false;
            }
            _ => {
                let error = Error::new(Code::NotImplemented, format!("not built here: {method}"));
                self.wire.answer::<Empty>(id, Err(error)).await;
            }
        }
        true
    }

    fn initialize(&mut self, params: Option<&RawValue>) -> Result<InitializeResult, Error> {
        let params: InitializeParams = rpc::params(params)?;
        (self.settings, self.token) = ServerSettings::read(&params)?;
        self.state_dir = params.state_dir.map(PathBuf::from);
        if let Some(dir) = &self.state_dir {
            self.known = Arc::new(KnownTools::load(dir));
        }
        Ok(InitializeResult {
            manifest: PluginIdentity {
                plugin: PluginSection {
                    id: params.plugin,
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                },
            },
            server_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            protocol: Some("trunkline/1.0".to_owned()),
            accepts: None,
            declares: Some(json!({ "tools": self.known.declarations() })),
            subscriptions: Vec::new(),
        })
    }

    /// Reaches the MCP server, beside everything else.
    fn connect(&mut self) {
        let (settings, token) = (self.settings.clone(), self.token.clone());
        let (events, stop) = (self.events.clone(), self.stop.clone());
        tokio::spawn(async move {
            let work = async {
                let connected = remote::connect(&settings, token).await?;
                let listed = connected.remote.list().await?;
                Ok((connected, KnownTools::of(&listed, &settings)))
            };
            let reached = tokio::select! {
                reached = work => reached,
                () = stop.notified() => return,
            };
            tell(&events, Event::Reached(Box::new(reached))).await;
        });
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Reached(reached) => match *reached {
                Ok((connected, tools)) => {
                    self.remote = Some(connected.remote.clone());
                    self.watch(connected);
                    self.declare(tools).await;
                    if let Some(dir) = &self.state_dir {
                        KnownTools::reached(dir);
                    }
                    self.report(ReportedState::Ready, None).await;
                }
                Err(error) => {
                    self.report(ReportedState::RetryLater, Some(error.message))
                        .await;
                }
            },
            Event::Changed(Ok(tools)) => self.declare(tools).await,
            Event::Changed(Err(error)) => {
                tracing::warn!(%error, "The MCP server's tools cannot be listed.");
            }
            Event::Gone(reason) => {
                self.remote = None;
                self.report(ReportedState::RetryLater, Some(reason)).await;
            }
            Event::Answered(call_id) => self.calls.end(&call_id),
        }
    }

    /// Watches the connection: lists again when told to, and tells its end.
    fn watch(&self, connected: Connected) {
        let (events, stop) = (self.events.clone(), self.stop.clone());
        let settings = self.settings.clone();
        tokio::spawn(async move {
            let Connected {
                remote,
                changed,
                service,
            } = connected;
            let ended = service.cancellation_token();
            let mut waiting = std::pin::pin!(service.waiting());
            loop {
                tokio::select! {
                    quit = &mut waiting => {
                        let reason = match quit {
                            Ok(quit) => format!("the connection to the MCP server ended: {quit:?}"),
                            Err(error) => format!("the connection to the MCP server ended: {error}"),
                        };
                        return tell(&events, Event::Gone(reason)).await;
                    }
                    () = changed.notified() => {
                        let listed = remote.list().await;
                        let tools = listed.map(|listed| KnownTools::of(&listed, &settings));
                        tell(&events, Event::Changed(tools)).await;
                    }
                    () = stop.notified() => {
                        ended.cancel();
                        if waiting.await.is_err() {
                            tracing::debug!("The connection ended by itself.");
                        }
                        return;
                    }
                }
            }
        });
    }

    /// Declares what is new, takes back what is gone, keeps it all for the next start.
    async fn declare(&mut self, tools: KnownTools) {
        if *self.known == tools {
            return;
        }
        let names = self
            .known
            .0
            .keys()
            .filter(|name| !tools.0.contains_key(*name));
        let gone = ToolUnregisterParams {
            names: names.cloned().collect(),
        };
        if !gone.names.is_empty() {
            self.ask(method::TOOL_UNREGISTER, &gone).await;
        }
        // One by one: what the broker cannot take of one tool is no harm to the others.
        for (name, tool) in &tools.0 {
            if self.known.0.get(name) != Some(tool) {
                let new = ToolRegisterParams {
                    tools: vec![tool.declaration.clone()],
                };
                self.ask(method::TOOL_REGISTER, &new).await;
            }
        }
        if let Some(dir) = &self.state_dir
            && let Err(error) = tools.store(dir)
        {
            tracing::warn!(%error, "What is known of the MCP server cannot be kept.");
        }
        self.known = Arc::new(tools);
    }

    async fn ask<P: Serialize>(&mut self, method: &str, params: &P) {
        let mut frame = Vec::new();
        rpc::write_request(&mut frame, self.next_id, method, params);
        self.next_id += 1;
        self.wire.send(frame).await;
    }

    async fn report(&self, state: ReportedState, reason: Option<String>) {
        let is_away = state == ReportedState::RetryLater;
        let dir = self.state_dir.as_ref().filter(|_| is_away);
        let status = StatusParams {
            state,
            reason,
            retry_after_ms: dir.map(|dir| KnownTools::wait_ms(dir)),
            attempt: None,
            url: None,
        };
        self.wire.tell(method::INSTANCE_STATUS, &status).await;
    }

    async fn call(&mut self, id: Box<RawValue>, params: Option<&RawValue>) {
        let params: ToolCallParams = match rpc::params(params) {
            Ok(params) => params,
            Err(error) => return self.wire.answer::<Empty>(&id, Err(error)).await,
        };
        if self.calls.was_cancelled(&params.call_id) {
            let error = Error::new(Code::Cancelled, "cancelled before it began");
            return self.wire.answer::<Empty>(&id, Err(error)).await;
        }
        let Some(remote) = self.remote.clone() else {
            let error = Error::new(Code::Unavailable, "the MCP server is not connected");
            return self.wire.answer::<Empty>(&id, Err(error)).await;
        };
        let (wire, known, events) = (self.wire.clone(), self.known.clone(), self.events.clone());
        let (call_id, request) = (params.call_id.clone(), id.clone());
        let work = tokio::spawn(async move {
            let call_id = params.call_id.clone();
            let result = pass_on(&remote, &known, &wire, params).await;
            wire.answer(&id, result).await;
            tell(&events, Event::Answered(call_id)).await;
        });
        self.calls.begin(call_id, work.abort_handle(), request);
    }
}

/// Calls the server's tool; what it reports is passed on meanwhile.
async fn pass_on(
    remote: &Remote,
    known: &KnownTools,
    wire: &Wire,
    params: ToolCallParams,
) -> Result<ToolCallResult, Error> {
    let name = params.tool.split_once('.').map_or("", |(_, name)| name);
    let Some(tool) = known.0.get(name) else {
        let message = format!("the MCP server has no tool {name:?} any more");
        return Err(Error::new(Code::ToolNotFound, message));
    };
    let arguments: Map<String, Value> = serde_json::from_str(params.arguments.get())
        .map_err(|error| Error::new(Code::InvalidArguments, format!("the arguments: {error}")))?;
    let (reports, mut told) = mpsc::channel::<ToolProgressParams>(REPORTS_MAX);
    let traceparent = params.context.traceparent.as_deref();
    let work = remote.call(tool.original.clone(), arguments, traceparent, reports);
    let tell = async {
        while let Some(mut report) = told.recv().await {
            report.call_id.clone_from(&params.call_id);
            wire.tell(method::TOOL_PROGRESS, &report).await;
        }
    };
    tokio::join!(work, tell).0
}

async fn tell(events: &mpsc::Sender<Event>, event: Event) {
    if events.send(event).await.is_err() {
        tracing::trace!("The link has ended.");
    }
}
