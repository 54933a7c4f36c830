//! What the host can name by a number: handlings, plugins, clients, and what calls gave it.
//!
//! Tickets and handles come from one counter, so no number ever means two things.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use trunkline_contract::error::{Code, Error};

use super::outcome::Decision;
use super::tools::ToolCallHandle;
use crate::client::Client;
use crate::context::{Context, InstanceContext};
use crate::dispatch::Asked;
use crate::hub::Stop;
use crate::kv::Watch;
use crate::lock::Lock;
use crate::plugin::Plugin;
use crate::sending::Sending;
use crate::subscription::{Delivery, Subscription};

/// What a number stands for.
#[derive(Clone)]
pub(super) enum Handle {
    Plugin(Arc<PluginHandle>),
    Client(Arc<ClientHandle>),
    Instance(InstanceContext),
    Handling(Context),
    Delivery(Arc<Mutex<Option<Delivery>>>),
    Subscription(Arc<Subscription>),
    Sending(Arc<Sending>),
    Watch(Arc<AsyncMutex<Watch>>),
    Lock(Arc<LockHandle>),
    ToolCall(Arc<ToolCallHandle>),
    #[cfg(feature = "testing")]
    Broker(Arc<crate::testing::TestBroker>),
}

pub(super) struct PluginHandle {
    pub(super) ctx: InstanceContext,
    /// Taken by whoever serves it.
    pub(super) plugin: Mutex<Option<Plugin>>,
    pub(super) stop: Stop,
}

pub(super) struct ClientHandle {
    pub(super) ctx: InstanceContext,
    /// Replaced by the connected one.
    pub(super) client: Mutex<Client>,
}

pub(super) struct LockHandle {
    pub(super) lock: Mutex<Option<Lock>>,
    pub(super) lost: Arc<Stop>,
}

/// One ticket that is not completed.
enum Waiting {
    /// An event, settled by its completion.
    Event(Asked),
    /// A handler that settles by hand, a hook or a function: something waits.
    Future {
        ctx: Option<Context>,
        sender: oneshot::Sender<Decision>,
    },
}

impl Waiting {
    fn ctx(&self) -> Option<&Context> {
        match self {
            Self::Event(asked) => Some(asked.ctx()),
            Self::Future { ctx, .. } => ctx.as_ref(),
        }
    }
}

#[derive(Default)]
pub(super) struct Handles {
    last: AtomicU64,
    waiting: Mutex<FxHashMap<u64, Waiting>>,
    others: Mutex<FxHashMap<u64, Handle>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handles {
    fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Opens a ticket; gives what its completion will arrive on.
    pub(super) fn begin(&self, ctx: Option<Context>) -> (u64, oneshot::Receiver<Decision>) {
        let (sender, decided) = oneshot::channel();
        let ticket = self.next();
        let waiting = Waiting::Future { ctx, sender };
        lock(&self.waiting).insert(ticket, waiting);
        (ticket, decided)
    }

    /// Opens a ticket for an event that its completion settles.
    pub(super) fn begin_asked(&self, asked: Asked) -> u64 {
        let ticket = self.next();
        lock(&self.waiting).insert(ticket, Waiting::Event(asked));
        ticket
    }

    /// Closes a ticket: its completion, if one still comes, is ignored.
    pub(super) fn end(&self, ticket: u64) {
        let closed = lock(&self.waiting).remove(&ticket);
        drop(closed);
    }

    /// Gives a decision to who waits for it.
    pub(super) fn decide(&self, ticket: u64, decision: Decision) {
        let waiting = lock(&self.waiting).remove(&ticket);
        match waiting {
            Some(Waiting::Event(asked)) => asked.settle(decision.outcome()),
            // The handling may have been given up at this very moment.
            Some(Waiting::Future { sender, .. }) => drop(sender.send(decision.read())),
            None => {}
        }
    }

    /// How many tickets are open.
    pub(super) fn open(&self) -> usize {
        lock(&self.waiting).len()
    }

    pub(super) fn add(&self, handle: Handle) -> u64 {
        let number = self.next();
        self.put(number, handle);
        number
    }

    /// Gives a number that nothing has yet.
    pub(super) fn reserve(&self) -> u64 {
        self.next()
    }

    pub(super) fn put(&self, number: u64, handle: Handle) {
        lock(&self.others).insert(number, handle);
    }

    /// Gives the number of the instance or client that a context belongs to.
    pub(super) fn instance(&self, ctx: &InstanceContext) -> u64 {
        ctx.instance_core()
            .number(|| self.add(Handle::Instance(ctx.clone())))
    }

    pub(super) fn remove(&self, number: u64) -> Option<Handle> {
        lock(&self.others).remove(&number)
    }

    pub(super) fn get(&self, number: u64) -> Result<Handle, Error> {
        let ctx = lock(&self.waiting)
            .get(&number)
            .and_then(|waiting| waiting.ctx().cloned());
        if let Some(ctx) = ctx {
            return Ok(Handle::Handling(ctx));
        }
        if let Some(handle) = lock(&self.others).get(&number) {
            return Ok(handle.clone());
        }
        let text = "the handler has ended, and its context with it; \
                    hint: keep the context that `on_start` gives for work that goes on";
        Err(Error::new(Code::StaleLease, text))
    }

    /// Lets go of everything.
    pub(super) fn clear(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        let others = std::mem::take(&mut *lock(&self.others));
        drop((waiting, others));
    }

    /// Stops everything that is served.
    pub(super) fn stop(&self) {
        let handles: Vec<_> = lock(&self.others).values().cloned().collect();
        for handle in handles {
            match handle {
                Handle::Plugin(plugin) => plugin.stop.set(),
                Handle::Client(client) => {
                    let client = lock(&client.client).clone();
                    tokio::spawn(async move { client.close().await });
                }
                _ => {}
            }
        }
    }

    /// Gives the contexts of all instances.
    pub(super) fn instances(&self) -> Vec<InstanceContext> {
        let others = lock(&self.others);
        let instances = others.values().filter_map(|handle| match handle {
            Handle::Plugin(plugin) => Some(plugin.ctx.clone()),
            Handle::Instance(ctx) => Some(ctx.clone()),
            _ => None,
        });
        instances.collect()
    }
}
