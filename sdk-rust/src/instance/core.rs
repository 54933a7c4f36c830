//! What contexts know about their instance; it outlives the links.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use serde_json::json;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::message::ChannelFeatures;
use trunkline_contract::rpc::method;
use trunkline_contract::webhook::WebhookSource;
use trunkline_patterns::outbound::Memory;

use crate::connect::{Connection, Connections};
use crate::dispatch::{Dispatcher, Route};
use crate::hub::{Hub, Stop};
use crate::payload::Json;
use crate::report::Report;
use crate::settle::Mode;

/// What contexts know about their instance.
pub(crate) struct InstanceCore {
    hub: Arc<Hub>,
    instance: OnceLock<String>,
    kinds: OnceLock<Vec<String>>,
    /// Keys of the config of which no two instances have the same value.
    unique: OnceLock<Vec<String>>,
    /// Where the instance's webhooks are reached, without kind and name.
    hooks_url: RwLock<Option<String>>,
    /// The webhooks of its manifest that need no handler.
    sources: RwLock<Arc<[WebhookSource]>>,
    /// Whether something other than what is to be sent has a handler.
    is_listening: AtomicBool,
    /// Whether what is to be sent has one.
    is_sending: AtomicBool,
    /// It is known what earlier lives sent.
    is_recalled: AtomicBool,
    /// What its channels can do, where that is declared.
    features: RwLock<Arc<BTreeMap<String, ChannelFeatures>>>,
    /// What the host language calls it.
    #[cfg(feature = "host")]
    number: OnceLock<u64>,
    dispatcher: OnceLock<Weak<Dispatcher>>,
    /// Set while it drains: what only waits for something to come need not wait any longer.
    leaving: Stop,
    connections: OnceLock<Vec<(String, Arc<Connection>)>>,
    /// What was sent lately.
    memory: Mutex<Memory>,
    config: RwLock<Arc<Json>>,
    state: RwLock<Arc<Json>>,
}

impl InstanceCore {
    pub(crate) fn new(hub: Arc<Hub>) -> Arc<Self> {
        Arc::new(Self {
            hub,
            instance: OnceLock::new(),
            kinds: OnceLock::new(),
            unique: OnceLock::new(),
            hooks_url: RwLock::default(),
            sources: RwLock::new(Arc::new([])),
            is_listening: AtomicBool::default(),
            is_sending: AtomicBool::default(),
            is_recalled: AtomicBool::default(),
            features: RwLock::default(),
            #[cfg(feature = "host")]
            number: OnceLock::new(),
            dispatcher: OnceLock::new(),
            leaving: Stop::default(),
            connections: OnceLock::new(),
            memory: Mutex::default(),
            config: RwLock::new(Arc::new(json!({}))),
            state: RwLock::new(Arc::new(Json::Null)),
        })
    }

    /// Is set while it drains.
    pub(crate) fn leaving(&self) -> &Stop {
        &self.leaving
    }

    /// Sets the name; the first one stays.
    pub(crate) fn name(&self, instance: &str) {
        self.instance.get_or_init(|| instance.to_owned());
    }

    /// Sets the kinds of its channels; the first ones stay.
    pub(crate) fn serve_kinds(&self, kinds: Vec<String>) {
        self.kinds.get_or_init(|| kinds);
    }

    /// Sets the keys of the config that name an account; the first ones stay.
    pub(crate) fn name_accounts_by(&self, keys: Vec<String>) {
        self.unique.get_or_init(|| keys);
    }

    /// Gives the keys of the config that name an account.
    pub(crate) fn unique(&self) -> &[String] {
        self.unique.get().map_or(&[][..], Vec::as_slice)
    }

    /// Sets what it keeps open; the first ones stay.
    pub(super) fn keep(&self, connections: &Connections) {
        self.connections.get_or_init(|| connections.by_kind());
    }

    /// Sets who serves its tools; the first one stays.
    pub(super) fn serve_tools(&self, dispatcher: &Arc<Dispatcher>) {
        self.dispatcher.get_or_init(|| Arc::downgrade(dispatcher));
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Gives the host language's number for it, made the first time.
    #[cfg(feature = "host")]
    pub(crate) fn number(&self, make: impl FnOnce() -> u64) -> u64 {
        *self.number.get_or_init(make)
    }

    /// Gives who serves its tools.
    pub(crate) fn dispatcher(&self) -> Result<Arc<Dispatcher>, Error> {
        self.dispatcher
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(|| Error::new(Code::NotActive, "the plugin is not served"))
    }

    /// Gives the connection of a kind, else the only one.
    pub(crate) fn connection(&self, kind: Option<&str>) -> Result<Arc<Connection>, Error> {
        let all = self.connections.get().map_or(&[][..], Vec::as_slice);
        let named = kind.and_then(|kind| all.iter().find(|(other, _)| other == kind));
        match (named, all) {
            (Some((_, connection)), _) | (None, [(_, connection)]) => Ok(connection.clone()),
            _ => Err(Error::new(
                Code::InvalidArguments,
                "expected a connection: this plugin keeps none of this kind",
            )),
        }
    }

    /// Says whether something other than what is to be sent is handled here.
    pub(crate) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed) || !self.sources().is_empty()
    }

    /// Sets what it has handlers for.
    pub(super) fn serve_routes(&self, routes: &[Route]) {
        let is_sent = |route: &Route| route.mode == Mode::Outbound;
        self.is_sending
            .store(routes.iter().any(is_sent), Ordering::Relaxed);
        let is_listening = routes.iter().any(|route| !is_sent(route));
        self.is_listening.store(is_listening, Ordering::Relaxed);
    }

    /// Says whether the store is to be asked what earlier lives sent.
    pub(crate) fn is_recall_due(&self) -> bool {
        !self.is_recalled.load(Ordering::Acquire)
            && self.is_sending.load(Ordering::Relaxed)
            && self.is_listening()
    }

    /// Takes what the store knows of earlier lives: ids, and when each runs out.
    pub(crate) fn recalled(&self, kept: Vec<(String, u64)>) {
        self.memory().restore(kept);
        self.is_recalled.store(true, Ordering::Release);
    }

    /// Lets the store be asked again: another process may have served the instance since.
    pub(super) fn forget_recall(&self) {
        self.is_recalled.store(false, Ordering::Release);
    }

    /// Gives the webhooks of its manifest that need no handler.
    pub(crate) fn sources(&self) -> Arc<[WebhookSource]> {
        let slot = self.sources.read();
        slot.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_sources(&self, sources: Vec<WebhookSource>) {
        let mut slot = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        *slot = sources.into();
    }

    /// Gives what is known of messages that were sent.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn instance(&self) -> &str {
        self.instance.get().map_or("", String::as_str)
    }

    pub(crate) fn config(&self) -> Arc<Json> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn state(&self) -> Arc<Json> {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gives the public address of a webhook; none without HTTP, or where the kind is not clear.
    pub(crate) fn hook_url(&self, kind: Option<&str>, name: &str) -> Option<String> {
        let base = self.hooks_url.read();
        let base = base.unwrap_or_else(PoisonError::into_inner).clone()?;
        let (kind, name) = match name.split_once('/') {
            Some((kind, name)) => (kind, name),
            None => (kind.or_else(|| self.only_kind().ok())?, name),
        };
        let mut url = format!("{}/{kind}/{}", base.trim_end_matches('/'), self.instance());
        if !name.is_empty() {
            url.push('/');
            url.push_str(name);
        }
        Some(url)
    }

    pub(super) fn set_hooks_url(&self, url: Option<String>) {
        *self
            .hooks_url
            .write()
            .unwrap_or_else(PoisonError::into_inner) = url;
    }

    pub(super) fn set_features(&self, features: BTreeMap<String, ChannelFeatures>) {
        let mut slot = self
            .features
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::new(features);
    }

    /// Gives what its channels can do, by kind; a kind of which nothing is declared is absent.
    pub(crate) fn features(&self) -> Arc<BTreeMap<String, ChannelFeatures>> {
        let slot = self.features.read();
        slot.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_config(&self, config: Json) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    pub(super) fn set_state(&self, state: Json) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }

    /// Gives the kinds of its channels.
    pub(crate) fn kinds(&self) -> &[String] {
        self.kinds.get().map_or(&[][..], Vec::as_slice)
    }

    pub(crate) fn only_kind(&self) -> Result<&str, Error> {
        match self.kinds() {
            [kind] => Ok(kind),
            [] => Err(Error::new(
                Code::InvalidArguments,
                "expected a kind: this plugin has no outbound handler that names one",
            )),
            several => Err(Error::new(
                Code::InvalidArguments,
                format!("expected a kind, one of {}", several.join(", ")),
            )),
        }
    }

    /// Tells the broker that the instance cannot work.
    pub(crate) fn report(&self, report: &Report) {
        if let Some(link) = self.hub.link() {
            link.notify(method::INSTANCE_STATUS, &report.0);
        }
    }
}
