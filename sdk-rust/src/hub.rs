//! Where everything that belongs to one plugin instance or client meets: the link it has now, and
//! who listens to what the broker says besides events.
//!
//! A hub outlives its links. It knows nothing about handlers.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{KvChange, KvScope, SubscribeParams, method};

use crate::http::{Network, Outside};
use crate::incoming::Incoming;
use crate::link::{Answer, Lease, Link, Seen};
use crate::tool::ToolCalls;

/// How long an event may wait to be read, before its lease is no longer extended.
const WAITING: Duration = Duration::from_hours(1);

/// What a plugin and a client do differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Plugin,
    Client,
}

pub(crate) struct Hub {
    pub(crate) role: Role,
    state: Mutex<State>,
    changed: Notify,
    /// How many subscriptions are read by hand; saves the lock where there are none.
    pulls: AtomicUsize,
    /// The part of subscription names that is this instance's or client's own, with its dot.
    prefix: OnceLock<String>,
    pub(crate) tool_calls: ToolCalls,
    pub(crate) stop: Stop,
    /// What HTTP calls go to, made when the first one is; a test broker sets its own before.
    outside: OnceLock<Arc<dyn Outside>>,
    /// The outside of a test, which connections go to as well.
    #[cfg(feature = "testing")]
    fake: OnceLock<Arc<crate::testing::outside::Fake>>,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    /// Set for good once there will be no link any more.
    over: Option<Error>,
    watches: FxHashMap<u64, mpsc::Sender<KvChange>>,
    locks: FxHashMap<String, Arc<Stop>>,
    pulls: Vec<Pull>,
}

/// A subscription that is read by hand.
pub(crate) struct Pull {
    pub(crate) params: SubscribeParams,
    pub(crate) sender: mpsc::Sender<Pulled>,
    /// Counts the moves of its cursor.
    pub(crate) moves: Arc<AtomicU64>,
}

/// An event for such a subscription.
pub(crate) struct Pulled {
    pub(crate) link: Arc<Link>,
    pub(crate) incoming: Box<Incoming>,
    pub(crate) lease: Option<Lease>,
    /// How often the cursor had been moved when it came.
    pub(crate) moves: u64,
}

/// A connection that asks for its address.
pub(crate) struct Asking(Option<Arc<dyn Outside>>);

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(outside) = &self.0 {
            outside.asks_for_address(false);
        }
    }
}

impl Hub {
    pub(crate) fn new(role: Role) -> Arc<Self> {
        Arc::new(Self {
            role,
            state: Mutex::default(),
            changed: Notify::new(),
            pulls: AtomicUsize::new(0),
            prefix: OnceLock::new(),
            tool_calls: ToolCalls::default(),
            stop: Stop::default(),
            outside: OnceLock::new(),
            #[cfg(feature = "testing")]
            fake: OnceLock::new(),
        })
    }

    /// Gives what HTTP calls go to.
    pub(crate) fn outside(&self) -> Result<Arc<dyn Outside>, Error> {
        if let Some(outside) = self.outside.get() {
            return Ok(outside.clone());
        }
        let network = Arc::new(Network::new()?);
        Ok(self.outside.get_or_init(|| network).clone())
    }

    /// Tells what HTTP calls go to that the start is over; a test broker cares.
    pub(crate) fn started(&self) {
        if let Some(outside) = self.outside.get() {
            outside.started();
        }
    }

    /// Tells it that a connection asks for its address, until what is given here is dropped.
    pub(crate) fn asks_for_address(&self) -> Asking {
        let outside = self.outside.get().cloned();
        if let Some(outside) = &outside {
            outside.asks_for_address(true);
        }
        Asking(outside)
    }

    /// Sets what HTTP calls go to; the first one stays.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn set_outside(&self, outside: Arc<dyn Outside>) {
        self.outside.get_or_init(|| outside);
    }

    /// Makes a test's outside the one of HTTP calls and of connections; its clock is that of locks.
    #[cfg(feature = "testing")]
    pub(crate) fn set_fake(&self, fake: &Arc<crate::testing::outside::Fake>) {
        self.set_outside(crate::testing::outside::Reach::new(fake));
        self.fake.get_or_init(|| fake.clone());
    }

    /// Gives the outside of a test.
    #[cfg(feature = "testing")]
    pub(crate) fn fake(&self) -> Option<&Arc<crate::testing::outside::Fake>> {
        self.fake.get()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whose subscriptions these are: `instance.<plugin>.<instance>` or `client.<client>`.
    pub(crate) fn set_owner(&self, owner: &str) {
        self.prefix.get_or_init(|| format!("{owner}."));
    }

    /// Gives whose it is; empty before it is known.
    pub(crate) fn owner(&self) -> &str {
        let prefix = self.prefix.get().map_or("", String::as_str);
        prefix.trim_end_matches('.')
    }

    /// Gives a subscription's own name: what follows the owner, empty for an instance's main one.
    pub(crate) fn own_name<'a>(&self, full: &'a str) -> Option<&'a str> {
        let prefix = self.prefix.get()?;
        full.strip_prefix(prefix.as_str())
            .or_else(|| (prefix.strip_suffix('.') == Some(full)).then_some(""))
    }

    /// Sets the link that is used from now on. Watches and locks of the last one are over.
    pub(crate) fn connect(&self, link: Arc<Link>) {
        let mut state = self.lock();
        state.link = Some(link);
        state.watches.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Forgets the link; whoever needs one waits for the next.
    pub(crate) fn disconnect(&self) {
        let mut state = self.lock();
        state.link = None;
        state.watches.clear();
        for lock in std::mem::take(&mut state.locks).into_values() {
            lock.set();
        }
    }

    /// Says that there will be no link any more.
    pub(crate) fn end(&self, error: Error) {
        self.disconnect();
        self.lock().over.get_or_insert(error);
        self.changed.notify_waiters();
        self.stop.set();
    }

    pub(crate) fn ended(&self) -> Option<Error> {
        self.lock().over.clone()
    }

    /// Gives the link there is now.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.lock().link.clone()
    }

    /// Gives the link, waiting for the first one, or for the next one after a loss.
    pub(crate) async fn linked(&self) -> Result<Arc<Link>, Error> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.lock();
                if let Some(error) = &state.over {
                    return Err(error.clone());
                }
                if let Some(link) = &state.link {
                    return Ok(link.clone());
                }
            }
            changed.await;
        }
    }

    /// Asks the broker for a service.
    pub(crate) async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, Error> {
        self.linked().await?.call(method, params).await?.parse()
    }

    /// The same for what is safe to ask again: a lost link only means to wait for the next one.
    pub(crate) async fn call_again<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, Error> {
        loop {
            let link = self.linked().await?;
            match link.call(method, params).await {
                Err(error) if error.code == Code::LinkLost => {
                    if let Some(error) = self.ended() {
                        return Err(error);
                    }
                    self.forget(&link);
                }
                verdict => return verdict?.parse(),
            }
        }
    }

    /// The same; `seen` runs with the answer before any later notification is handled.
    pub(crate) async fn call_seen<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
        seen: Seen,
    ) -> Result<R, Error> {
        self.linked()
            .await?
            .call_seen(method, params, Some(seen))
            .await?
            .parse()
    }

    /// Publishes or commits on the data lane. With ids given this is safe to do again, so a lost
    /// link only means to wait for the next one.
    pub(crate) async fn call_data(
        &self,
        method: &str,
        params: &impl Serialize,
        is_repeatable: bool,
    ) -> Result<Answer, Error> {
        loop {
            let link = self.linked().await?;
            match link.call_data(method, params).await {
                Err(error) if error.code == Code::LinkLost && is_repeatable => {
                    if let Some(error) = self.ended() {
                        return Err(error);
                    }
                    self.forget(&link);
                }
                verdict => return verdict,
            }
        }
    }

    /// Makes sure that nobody is given a link that is known to be lost.
    fn forget(&self, lost: &Arc<Link>) {
        let mut state = self.lock();
        if state
            .link
            .as_ref()
            .is_some_and(|link| Arc::ptr_eq(link, lost))
        {
            state.link = None;
        }
    }

    /// The scope of state that is meant where none is named.
    pub(crate) fn own_scope(&self) -> KvScope {
        match self.role {
            Role::Plugin => KvScope::Instance,
            Role::Client => KvScope::Client,
        }
    }

    pub(crate) fn watch(&self, watch: u64, changes: mpsc::Sender<KvChange>) {
        self.lock().watches.insert(watch, changes);
    }

    pub(crate) fn unwatch(&self, watch: u64) {
        self.lock().watches.remove(&watch);
    }

    pub(crate) fn hold(&self, lock: &str, lost: Arc<Stop>) {
        self.lock().locks.insert(lock.to_owned(), lost);
    }

    pub(crate) fn unhold(&self, lock: &str) {
        self.lock().locks.remove(lock);
    }

    /// Adds a subscription that is read by hand.
    pub(crate) fn pull(&self, pull: Pull) -> Result<(), Error> {
        let mut state = self.lock();
        if state
            .pulls
            .iter()
            .any(|other| other.params.name == pull.params.name)
        {
            let text = format!("the subscription {:?} is read already", pull.params.name);
            return Err(Error::new(Code::InvalidArguments, text));
        }
        state.pulls.push(pull);
        self.pulls.store(state.pulls.len(), Ordering::Release);
        Ok(())
    }

    pub(crate) fn unpull(&self, name: &str) {
        let mut state = self.lock();
        state.pulls.retain(|pull| pull.params.name != name);
        self.pulls.store(state.pulls.len(), Ordering::Release);
    }

    /// What to subscribe to again on a new link.
    pub(crate) fn pulled(&self) -> Vec<SubscribeParams> {
        self.lock()
            .pulls
            .iter()
            .map(|pull| pull.params.clone())
            .collect()
    }

    /// Gives an event to the subscription that is read by hand, or back if there is none for it.
    pub(crate) fn offer(&self, link: &Arc<Link>, incoming: Box<Incoming>) -> Option<Box<Incoming>> {
        if self.pulls.load(Ordering::Acquire) == 0 {
            return Some(incoming);
        }
        let state = self.lock();
        let Some(pull) = state.pulls.iter().find(|pull| pull.is_for(self, &incoming)) else {
            return Some(incoming);
        };
        let (sender, moves) = (pull.sender.clone(), pull.moves.load(Ordering::Acquire));
        drop(state);
        match sender.try_reserve() {
            Ok(slot) => {
                let lease = link.begin(incoming.delivery(), Instant::now() + WAITING);
                slot.send(Pulled {
                    link: link.clone(),
                    incoming,
                    lease,
                    moves,
                });
            }
            Err(_) if incoming.delivery().is_none() => {
                tracing::debug!(
                    topic = incoming.topic(),
                    "An ephemeral event found no room."
                );
            }
            Err(_) => crate::dispatch::give_back(link, &incoming),
        }
        None
    }

    /// Says whether locks run out unseen, as a test has it.
    pub(crate) fn is_asleep(&self) -> bool {
        let link = self.link();
        link.is_some_and(|link| link.faults().is_some_and(crate::faults::Faults::is_asleep))
    }

    /// Takes a notification of the broker that is not about events.
    pub(crate) fn notified(&self, method: &str, params: &str) {
        match method {
            method::KV_CHANGE => match serde_json::from_str::<KvChange>(params) {
                Ok(change) => {
                    let mut state = self.lock();
                    let watch = change.watch;
                    // A watcher that does not read is cut off: its stream ends, and it can resume.
                    if state
                        .watches
                        .get(&watch)
                        .is_some_and(|to| to.try_send(change).is_err())
                    {
                        state.watches.remove(&watch);
                    }
                }
                Err(error) => tracing::warn!(%error, "A change of state could not be read."),
            },
            method::LOCK_LOST if self.is_asleep() => {}
            method::LOCK_LOST => {
                let lost =
                    serde_json::from_str::<trunkline_contract::rpc::LockReleaseParams>(params);
                if let Ok(lost) = lost
                    && let Some(stop) = self.lock().locks.remove(&lost.name)
                {
                    stop.set();
                }
            }
            method::TOOL_CHUNK | method::TOOL_PROGRESS => {
                if let Err(error) = self.tool_calls.notified(method, params) {
                    tracing::warn!(%error, method, "A step of a call could not be read.");
                }
            }
            other => tracing::debug!(method = other, "A notification was not understood."),
        }
    }
}

impl Pull {
    fn is_for(&self, hub: &Hub, incoming: &Incoming) -> bool {
        match incoming.delivery() {
            Some(delivery) => {
                hub.own_name(&delivery.subscription) == Some(self.params.name.as_str())
            }
            None => self
                .params
                .filters
                .iter()
                .any(|filter| filter.matches(incoming.topic())),
        }
    }
}

/// A flag that is set once, and can be waited for.
#[derive(Default, Debug)]
pub(crate) struct Stop {
    is_set: AtomicBool,
    notify: Notify,
}

impl Stop {
    pub(crate) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub(crate) fn clear(&self) {
        self.is_set.store(false, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    pub(crate) async fn wait(&self) {
        let notified = self.notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }
}
