//! What an author says about a connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::HANDLER_TIMEOUT_MS;
use trunkline_patterns::backoff::Backoff;
use trunkline_patterns::connection::{Heartbeat, Options, fill};

use super::stream::{Address, Protocol};
use crate::context::InstanceContext;
use crate::credential::{credential_of, filled};
use crate::duration::{IntoDuration, in_ms};
use crate::engine::{Engine, Registered};
use crate::handler::{AnyHandler, Handler, forget};
use crate::outcome::{Failure, Result};
use crate::payload::Bytes;

/// HTTP statuses of the handshake that no other attempt will change, beside what the author names:
/// the credential is refused; an event stream is over for good.
const FATAL_STATUSES: [u16; 2] = [401, 204];

/// How long a WebSocket may give no sign of life unless its author says so.
const WEBSOCKET_IDLE_MS: u64 = 60_000;
/// Frames that are said first on a connection.
const GREETINGS_MAX: usize = 8;

type UrlFuture = Pin<Box<dyn Future<Output = Result<String>> + Send>>;

#[derive(Clone)]
enum Url {
    Text(String),
    Function(Arc<dyn Fn(InstanceContext) -> UrlFuture + Send + Sync>),
}

/// Says how the bytes of a frame become a payload.
#[derive(Copy, Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A frame is JSON.
    Json,
    /// A frame is text: its payload is a string.
    Text,
    /// A frame is bytes: its payload is a string of base64.
    Binary,
}

/// Keeps a connection, and handles what comes on it: `ws:` and `wss:` messages, the events of an
/// `http:` or `https:` event stream, the lines of `tcp:` or `tls:`.
///
/// Frames are handled in order, one at a time. What the handler returns is committed together with
/// its cursor; then the batch's `ack` is sent. [`Retry`](crate::Retry) after no time asks for another
/// connection beside this one, after a time for one in its place.
///
/// ```
/// use serde_json::json;
/// use trunkline::{Batch, Connect, Context, Event, Json, Plugin, Result, Retry};
///
/// async fn frame(f: Json, ctx: Context) -> Result<Option<Batch>> {
///     Ok(match f["op"].as_str().unwrap_or_default() {
///         "message" => Some(
///             Batch::new([Event::inbound(json!({ "text": f["text"] }))])
///                 .cursor(&f["seq"])
///                 .ack(json!({ "op": "ack", "seq": f["seq"] })),
///         ),
///         "reconnect" => return Err(Retry::after("0s").because("the server asked").into()),
///         "hello" => {
///             let login = json!({ "op": "login", "resume": ctx.conn().cursor::<u64>() });
///             ctx.conn().send(login).await?;
///             None
///         }
///         _ => None,
///     })
/// }
///
/// let connect = Connect::new("chat", "wss://gateway.example.com/v1", frame).idle("60s").fatal(&[4004]);
/// let plugin = Plugin::new("chat").connect(connect);
/// # drop(plugin);
/// ```
#[derive(Clone)]
pub struct Connect {
    pub(super) kind: String,
    url: Url,
    pub(super) handler: AnyHandler,
    pub(super) timeout: Duration,
    pub(super) options: Options,
    pub(super) heartbeat: Option<Heartbeat>,
    greeting: Vec<Value>,
    form: Option<Form>,
    subprotocols: Vec<String>,
    headers: Vec<(String, String)>,
    credential: Option<String>,
    fault: Option<Error>,
}

impl Connect {
    /// Connects to `url`, which may hold `{config.key}`, and handles what comes.
    pub fn new<Args: 'static>(
        kind: impl Into<String>,
        url: impl Into<String>,
        handler: impl Handler<Args>,
    ) -> Self {
        Self {
            kind: kind.into(),
            url: Url::Text(url.into()),
            handler: forget(handler),
            timeout: Duration::from_millis(HANDLER_TIMEOUT_MS),
            options: Options::default(),
            heartbeat: None,
            greeting: Vec::new(),
            form: None,
            subprotocols: Vec::new(),
            headers: Vec::new(),
            credential: None,
            fault: None,
        }
    }

    /// Connects to where a function says, which is asked before each attempt.
    pub fn at<Args: 'static, F, R>(
        kind: impl Into<String>,
        url: F,
        handler: impl Handler<Args>,
    ) -> Self
    where
        F: Fn(InstanceContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String>> + Send + 'static,
    {
        let url = move |ctx| -> UrlFuture { Box::pin(url(ctx)) };
        Self {
            url: Url::Function(Arc::new(url)),
            ..Self::new(kind, "", handler)
        }
    }

    fn set(mut self, ms: impl IntoDuration, set: impl FnOnce(&mut Self, u64)) -> Self {
        match ms.into_duration() {
            Ok(duration) => set(&mut self, in_ms(duration)),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// Says how long the connection may give no sign of life. It is asked for one at half of that
    /// time, where the protocol can. WebSockets have 60 s, others may be silent.
    pub fn idle(self, idle: impl IntoDuration) -> Self {
        self.set(idle, |connect, ms| connect.options.idle_ms = Some(ms))
    }

    /// Says which codes of the server's close, or HTTP statuses of its handshake, no other attempt
    /// will change: the instance stops as `fatal`.
    pub fn fatal(mut self, codes: &[u16]) -> Self {
        self.options.fatal.extend_from_slice(codes);
        self
    }

    /// Says how long to wait between attempts: anything from nothing to a wait that doubles from
    /// `initial` to `cap`.
    pub fn backoff(self, initial: impl IntoDuration, cap: impl IntoDuration) -> Self {
        self.set(initial, |connect, ms| {
            connect.options.backoff.initial_ms = ms;
        })
        .set(cap, |connect, ms| connect.options.backoff.cap_ms = ms)
    }

    /// Says how long a connection must have lived before the waits begin at the start again.
    pub fn stable(self, stable: impl IntoDuration) -> Self {
        self.set(stable, |connect, ms| connect.options.stable_ms = ms)
    }

    /// Sends a frame again and again, with `{cursor}` and `{cursor.key}` filled in each time, on every
    /// connection. Where an answer is expected, which has at least the members of `expect`, a missing
    /// one is the connection's end; the answers are not handed to the handler. `expect` may be null.
    pub fn heartbeat(
        self,
        every: impl IntoDuration,
        frame: impl Serialize,
        expect: impl Serialize,
    ) -> Self {
        let read = |value: &dyn erased::Encode| value.encode();
        let (frame, expect) = (read(&frame), read(&expect));
        self.set(every, |connect, every_ms| match (frame, expect) {
            (Ok(frame), Ok(expect)) => {
                connect.heartbeat = Some(Heartbeat {
                    every_ms,
                    frame,
                    expect: Some(expect).filter(|expect| !expect.is_null()),
                });
            }
            (Err(error), _) | (_, Err(error)) => connect.fault = Some(error),
        })
    }

    /// Adds a frame that is sent first on every connection, with `{cursor}` and `{config.key}` filled in:
    /// for servers that wait for their client to speak. At most 8.
    pub fn greeting(mut self, frame: impl Serialize) -> Self {
        match Bytes::encode(&frame).and_then(|frame| frame.json()) {
            Ok(_) if self.greeting.len() == GREETINGS_MAX => {
                let text = format!("expected at most {GREETINGS_MAX} greetings, found more");
                self.fault = Some(Error::new(Code::InvalidArguments, text));
            }
            Ok(frame) => self.greeting.push(frame),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// Says how frames become payloads: JSON, unless said otherwise; lines are text.
    pub fn frames(mut self, form: Form) -> Self {
        self.form = Some(form);
        self
    }

    /// Offers a protocol above WebSocket.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// Adds a header to the request; its value may hold `{config.key}`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Says what there may be one connection for, a text with `{config.key}`: whoever has the same
    /// waits until this connection is given up. Without it, that is the manifest's `unique` keys,
    /// else the instance.
    pub fn credential(mut self, credential: impl Into<String>) -> Self {
        self.credential = Some(credential.into());
        self
    }

    /// Says how long handling one frame may take.
    pub fn timeout(self, timeout: impl IntoDuration) -> Self {
        self.set(timeout, |connect, ms| {
            connect.timeout = Duration::from_millis(ms);
        })
    }

    pub(super) async fn url(&self, ctx: &InstanceContext) -> Result<String, Failure> {
        match &self.url {
            Url::Text(text) => Ok(filled(text, ctx)?),
            Url::Function(function) => {
                let _asking = ctx.instance_core().hub().asks_for_address();
                function(ctx.clone()).await
            }
        }
    }

    pub(super) fn headers(&self, ctx: &InstanceContext) -> Result<Vec<(String, String)>, Error> {
        let headers = self.headers.iter();
        headers
            .map(|(name, value)| Ok((name.clone(), filled(value, ctx)?)))
            .collect()
    }

    /// How long a connection may give no sign of life, in ms.
    pub(super) fn idle_ms(&self, protocol: Protocol) -> Option<u64> {
        let by_default = (protocol == Protocol::WebSocket).then_some(WEBSOCKET_IDLE_MS);
        self.options.idle_ms.or(by_default)
    }

    /// What is said first on a connection that goes on from a cursor.
    pub(super) fn greetings(
        &self,
        ctx: &InstanceContext,
        cursor: Option<&str>,
    ) -> Result<Vec<Bytes>, Error> {
        let config = ctx.instance_core().config();
        let cursor = cursor.and_then(|text| serde_json::from_str(text).ok());
        let cursor = cursor.unwrap_or(Value::Null);
        let roots = [("config", &*config), ("cursor", &cursor)];
        let greetings = self.greeting.iter();
        greetings
            .map(|frame| {
                let filled = fill(frame, &roots);
                let filled =
                    filled.map_err(|error| Error::new(Code::ConfigInvalid, error.to_string()))?;
                Bytes::encode(&filled)
            })
            .collect()
    }

    pub(super) fn subprotocols(&self) -> Option<String> {
        (!self.subprotocols.is_empty()).then(|| self.subprotocols.join(", "))
    }

    pub(super) fn form(&self, protocol: Protocol) -> Form {
        self.form.unwrap_or(match protocol {
            Protocol::Lines => Form::Text,
            _ => Form::Json,
        })
    }

    /// What there may be one connection for.
    pub(super) fn credential_of(&self, ctx: &InstanceContext) -> Result<String, Error> {
        let named = credential_of(ctx, self.credential.as_deref())?;
        Ok(named.unwrap_or_else(|| format!("instance {}", ctx.instance())))
    }

    pub(crate) fn registered(mut self) -> Registered {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !trunkline_contract::id::is_instance_name(&self.kind) {
            let text = format!("expected a kind like `chat`, found {:?}", self.kind);
            return Err(Error::new(Code::InvalidArguments, text));
        }
        if let Url::Text(url) = &self.url {
            // What is a setting altogether is read when it is known.
            if !url.starts_with('{') {
                Address::parse(&without_settings(url))?;
            }
        }
        let Backoff {
            initial_ms, cap_ms, ..
        } = self.options.backoff;
        if initial_ms == 0 || cap_ms < initial_ms {
            let text = format!(
                "expected a backoff that grows from more than 0 s, found {initial_ms} ms to {cap_ms} ms"
            );
            return Err(Error::new(Code::InvalidArguments, text));
        }
        self.options.fatal.extend(FATAL_STATUSES);
        Ok(Engine {
            name: format!("connect {}", self.kind),
            kind: self.kind.clone(),
            routes: Vec::new(),
            webhook: None,
            timers: Vec::new(),
            connect: Some(Arc::new(self)),
        })
    }
}

/// Makes a URL of one that holds `{config.key}`, to see whether the rest can be one. A setting among host and
/// port may be both of them.
fn without_settings(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest))
            if rest
                .split('/')
                .next()
                .is_some_and(|host| host.contains('{')) =>
        {
            format!("{scheme}://host:1")
        }
        _ => url.replace(['{', '}'], "0"),
    }
}

/// Values whose types differ, encoded by one closure.
mod erased {
    use super::{Bytes, Error, Serialize, Value};

    pub(super) trait Encode {
        fn encode(&self) -> Result<Value, Error>;
    }

    impl<T: Serialize> Encode for T {
        fn encode(&self) -> Result<Value, Error> {
            Bytes::encode(self)?.json()
        }
    }
}
