//! The client of agents, apps and scripts: it publishes, subscribes, handles, and reads state.
//!
//! A connected client keeps its link: it reconnects with backoff and subscribes again. What was
//! published and not answered is published again with the same id.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{
    ConnectParams, ConnectResult, ProtocolRange, Role as WireRole, SubscribeParams,
    SubscribeResult, method,
};
use trunkline_patterns::backoff::Backoff;

use crate::attach::Address;
use crate::batch::Batch;
use crate::context::InstanceContext;
use crate::dispatch::{Dispatcher, Route};
use crate::hub::{Hub, Role};
use crate::instance::{DRAIN, InstanceCore, notified};
use crate::kv::Kv;
use crate::link::{Inbound, Link, drive};
use crate::lock::Acquire;
use crate::plugin::On;
use crate::publish::{Committed, Publish, Scope, commit};
use crate::sending::SendMessage;
use crate::subscription::Subscribe;
use crate::tool::ToolCall;

/// Waits between two attempts to reconnect.
const RECONNECT: Backoff = Backoff::new(100, 2.0, 10_000);
const SPREAD: f64 = 0.2;

/// Is a client of the broker.
///
/// Built with its handlers it is given to [`run`](crate::run); connected it is called. A clone is
/// the same client.
///
/// ```no_run
/// # async fn example() -> trunkline::Result<()> {
/// use trunkline::Client;
/// use serde_json::json;
///
/// let client = Client::new("ops").connect().await?;
/// let published = client.publish("agent.started", json!({ "pid": 7 })).session("ops").await?;
/// println!("durable as number {:?}", published.seq);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    name: String,
    address: Address,
    on: Vec<On>,
    core: Arc<InstanceCore>,
    live: Option<Arc<Live>>,
}

/// What a connected client keeps going; the last handle that goes closes it.
struct Live {
    hub: Arc<Hub>,
    dispatcher: Arc<Dispatcher>,
    keeper: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(link) = self.hub.link() {
            link.close(closed());
        }
        self.hub.end(closed());
    }
}

fn closed() -> Error {
    Error::new(Code::LinkLost, "the client was closed")
}

impl Client {
    /// Begins a client; its name is part of its subscriptions' names.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let core = InstanceCore::new(Hub::new(Role::Client));
        core.name(&name);
        Self {
            name,
            address: Address::default(),
            on: Vec::new(),
            core,
            live: None,
        }
    }

    /// Says where the daemon listens; else `TRUNKLINE_SOCKET`, else `.trunkline/trunkline.sock`.
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.address.socket = Some(path.into());
        self
    }

    /// Says where the daemon listens for links over WebSocket, such as
    /// `ws://127.0.0.1:7711/v1/link`; else `TRUNKLINE_URL`, else its socket.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.address.url = Some(url.into());
        self
    }

    /// Gives the token itself; else `TRUNKLINE_TOKEN`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.address.token = Some(token.into());
        self
    }

    /// Says where the token is; else `TRUNKLINE_TOKEN_FILE`, else `token` beside the socket.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.address.token_file = Some(path.into());
        self
    }

    #[cfg(feature = "testing")]
    pub(crate) fn dialer(mut self, dialer: crate::attach::Dialer) -> Self {
        self.address.dialer = Some(dialer);
        self
    }

    /// Adds a handler; it serves from [`Client::connect`] on.
    pub fn on(mut self, on: On) -> Self {
        self.on.push(on);
        self
    }

    /// Connects, and stays connected until the last clone is dropped or [`Client::close`].
    ///
    /// # Errors
    /// [`Code::Unavailable`] when no daemon listens, [`Code::Unauthorized`] when it refuses the
    /// token; what is wrong with a handler's options. Later losses of the link are no errors.
    pub async fn connect(mut self) -> Result<Self, Error> {
        if !trunkline_contract::id::is_client_name(&self.name) {
            let text = format!(
                "expected a client name like `support`, found {:?}",
                self.name
            );
            return Err(Error::new(Code::InvalidArguments, text));
        }
        self.address.check()?;
        crate::panic::install();
        let hub = self.core.hub().clone();
        let on = std::mem::take(&mut self.on);
        let subscriptions = on
            .iter()
            .map(On::subscribe_params)
            .collect::<Result<Vec<_>, Error>>()?;
        let routes = on
            .into_iter()
            .map(On::into_route)
            .collect::<Result<Vec<Route>, Error>>()?;
        let dispatcher = Dispatcher::new(InstanceContext::new(self.core.clone()), routes);
        let keeper = Keeper {
            address: self.address.clone(),
            name: self.name.clone(),
            subscriptions,
            hub: hub.clone(),
            dispatcher: dispatcher.clone(),
        };
        let (sender, connected) = oneshot::channel();
        let task = tokio::spawn(keeper.keep(sender));
        // Made before the wait, so that a dropped `connect` ends the task too.
        let live = Live {
            hub,
            dispatcher,
            keeper: Mutex::new(Some(task)),
        };
        connected.await.unwrap_or_else(|_| Err(closed()))?;
        self.live = Some(Arc::new(live));
        Ok(self)
    }

    fn scope(&self) -> Scope {
        Scope::Instance(InstanceContext::new(self.core.clone()))
    }

    /// Publishes an event: set options on what this gives, then await it.
    pub fn publish(&self, topic: impl Into<String>, payload: impl Serialize) -> Publish {
        Publish::new(self.scope(), topic, payload)
    }

    /// Commits events and changes of state, all or none.
    pub async fn commit(&self, batch: impl Into<Batch>) -> Result<Committed, Error> {
        commit(&self.scope(), batch.into()).await
    }

    /// Subscribes to what matches these filters, to be read by hand.
    ///
    /// ```no_run
    /// # async fn example(client: trunkline::Client) -> trunkline::Result<()> {
    /// let mut orders = client.subscribe(["agent.orders.>"]).name("orders").credit(16).await?;
    /// while let Some(delivery) = orders.next().await {
    ///     println!("{}", delivery.raw());
    ///     delivery.ack();
    /// }
    /// # Ok(()) }
    /// ```
    pub fn subscribe<F: Into<String>>(&self, filters: impl IntoIterator<Item = F>) -> Subscribe {
        let filters = filters.into_iter().map(Into::into).collect();
        Subscribe::new(self.core.hub().clone(), filters)
    }

    /// Sends a message outside, through a channel of this kind.
    pub fn send(&self, kind: impl Into<String>, message: impl Serialize) -> SendMessage {
        SendMessage::new(self.scope(), kind.into(), message)
    }

    /// Calls a tool: set options on what this gives, then await it for the result.
    pub fn call_tool<T: DeserializeOwned>(
        &self,
        name: impl Into<String>,
        arguments: impl Serialize,
    ) -> ToolCall<T> {
        ToolCall::new(self.scope(), name.into(), arguments)
    }

    /// Gives this client's state; see [`Kv::workspace`] for the shared one.
    pub fn kv(&self) -> Kv {
        let hub = self.core.hub().clone();
        let scope = hub.own_scope();
        Kv::new(hub, scope, None)
    }

    /// Gives the broker's blobs: large content by reference.
    pub fn blob(&self) -> crate::blob::Blobs {
        crate::blob::Blobs::new(self.core.hub().clone())
    }

    /// Takes a lock: a named right across processes and hosts.
    pub fn lock(&self, name: impl Into<String>) -> Acquire {
        Acquire::new(self.core.hub().clone(), name.into())
    }

    /// Speaks any method of the contract, such as `admin.status`.
    pub async fn request<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, Error> {
        self.core.hub().call(method, params).await
    }

    /// Gives the client's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets running handlers finish, then closes the link. All clones are closed with it.
    pub async fn close(&self) {
        let Some(live) = &self.live else { return };
        live.dispatcher.drain(DRAIN).await;
        if let Some(link) = live.hub.link() {
            link.quiesce(Duration::from_secs(1)).await;
            link.close(closed());
        }
        live.hub.end(closed());
        let keeper = live
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(keeper) = keeper
            && keeper.await.is_err()
        {
            tracing::error!("The task of the client panicked.");
        }
    }

    #[cfg(any(feature = "host", feature = "testing"))]
    pub(crate) fn core(&self) -> &Arc<InstanceCore> {
        &self.core
    }

    #[cfg(feature = "host")]
    pub(crate) fn is_connected(&self) -> bool {
        self.live.is_some() && self.core.hub().ended().is_none()
    }

    /// Says whether it ended because it was closed here.
    #[cfg(feature = "host")]
    pub(crate) fn was_closed(&self) -> bool {
        self.core.hub().ended() == Some(closed())
    }

    /// Waits until there will be no link any more; gives the reason.
    pub(crate) async fn ended(&self) -> Error {
        let hub = self.core.hub();
        hub.stop.wait().await;
        hub.ended().unwrap_or_else(closed)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Keeps a client connected.
struct Keeper {
    address: Address,
    name: String,
    subscriptions: Vec<SubscribeParams>,
    hub: Arc<Hub>,
    dispatcher: Arc<Dispatcher>,
}

impl Keeper {
    async fn keep(self, connected: oneshot::Sender<Result<(), Error>>) {
        let mut connected = Some(connected);
        let mut failures = 0;
        while self.hub.ended().is_none() {
            let error = match self.attempt().await {
                Ok(driver) => {
                    failures = 0;
                    if let Some(connected) = connected.take()
                        && connected.send(Ok(())).is_err()
                    {
                        return;
                    }
                    match driver.await {
                        Ok(error) => error,
                        Err(_) => Error::new(Code::Internal, "the task of the link panicked"),
                    }
                }
                Err(error) => error,
            };
            self.hub.disconnect();
            if let Some(connected) = connected.take() {
                // Nobody listens any more when `connect` was dropped, which ends the client too.
                drop(connected.send(Err(error)));
                return;
            }
            if self.hub.ended().is_some() {
                return;
            }
            if matches!(error.code, Code::Unauthorized | Code::ProtocolMismatch) {
                tracing::error!(%error, "The broker does not take this client any more.");
                self.hub.end(error);
                return;
            }
            failures += 1;
            let wait_ms = RECONNECT.jittered_ms(failures, SPREAD, crate::clock::unit());
            tracing::warn!(%error, wait_ms, "The link to the broker was lost.");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                () = self.hub.stop.wait() => return,
            }
        }
    }

    /// Connects once and subscribes; gives the task of the link.
    async fn attempt(&self) -> Result<tokio::task::JoinHandle<Error>, Error> {
        let token = self.address.token()?;
        let link = self.address.open().await?;
        let driver = tokio::spawn({
            let (link, hub) = (link.clone(), self.hub.clone());
            let dispatcher = self.dispatcher.clone();
            async move { drive(&link, |inbound| take(&link, &hub, &dispatcher, inbound)).await }
        });
        match self.greet(&link, token).await {
            Ok(()) => {
                self.hub.connect(link);
                Ok(driver)
            }
            Err(error) => {
                link.close(error.clone());
                Err(error)
            }
        }
    }

    async fn greet(&self, link: &Link, token: Option<String>) -> Result<(), Error> {
        let params = ConnectParams {
            role: WireRole::Client,
            token,
            name: Some(self.name.clone()),
            manifest: None,
            instance: None,
            protocol: ProtocolRange::ours(),
        };
        let answer: ConnectResult = link.call(method::CONNECT, &params).await?.parse()?;
        let name = answer.source.strip_prefix("client:").unwrap_or(&self.name);
        self.hub.set_owner(&format!("client.{name}"));
        link.set_frame_bytes_max(answer.limits.frame_bytes_max as usize);
        for params in self.subscriptions.iter().chain(&self.hub.pulled()) {
            let made = link.call(method::BROKER_SUBSCRIBE, params).await?;
            made.parse::<SubscribeResult>()?;
        }
        Ok(())
    }
}

fn take(link: &Arc<Link>, hub: &Hub, dispatcher: &Arc<Dispatcher>, inbound: Inbound) {
    match inbound {
        Inbound::Event(incoming) => {
            if let Some(incoming) = hub.offer(link, incoming) {
                dispatcher.dispatch(link, incoming);
            }
        }
        Inbound::Request(request) => {
            let text = format!("a client does not know the method {:?}", request.method);
            let error = Error::new(Code::NotImplemented, text);
            link.answer(&request, Err::<&(), _>(&error));
        }
        Inbound::Notification { method, params } => notified(link, hub, &method, &params),
        Inbound::Answer(_) => unreachable!("answers are given to who waits for them"),
    }
}
