//! The boundary to other languages: what arrives is pulled in batches, what was decided is pushed
//! back in batches.
//!
//! No handler, hook or callback of the host language is ever called from here, and no object of it
//! is held: the core queues [`HostMsg`]s and sends one wake-up, the host takes a bounded batch on
//! its own loop, and gives back [`Completion`]s. The frames are the same as those of Rust handlers,
//! because the outcome of a completion is settled by the same code.
//!
//! Invariants: at most one wake-up is under way; every event that was taken is completed once, or
//! given back when its link goes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use trunkline_contract::error::Error;

use crate::context::Context;
use crate::handler::{Handled, Handler};
use crate::outcome::{Failure, Outcome};

/// Is what the host language is told.
#[derive(Debug)]
pub enum HostMsg {
    /// An event is to be handled; its [`Completion`] names the same ticket.
    Event {
        /// Names this handling.
        ticket: u64,
        /// Names the handler, as it was given to [`Host::handler`].
        handler: u32,
        /// What is being handled, and what can be done meanwhile.
        ctx: Context,
    },
    /// The handling is to end: nobody waits for its result for longer than a second.
    Cancel {
        /// Names the handling.
        ticket: u64,
    },
}

/// Is what the host language decided about one event.
#[derive(Debug)]
pub struct Completion {
    /// Names the handling.
    pub ticket: u64,
    /// What its handler said.
    pub outcome: Outcome,
}

/// Queues what arrives until the host language takes it.
///
/// ```
/// use trunkline::host::Host;
///
/// let host = Host::new(Box::new(|| { /* write to an eventfd, call a threadsafe function */ }));
/// assert!(host.take(64).is_empty());
/// ```
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

/// Wakes the host's loop; called from any thread, at most once until the queue is taken.
pub type Wake = Box<dyn Fn() + Send + Sync>;

struct Inner {
    wake: Wake,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<HostMsg>,
    waiting: FxHashMap<u64, oneshot::Sender<Outcome>>,
    last: u64,
    is_woken: bool,
}

impl Host {
    /// Makes an empty queue.
    pub fn new(wake: Wake) -> Self {
        Self {
            inner: Arc::new(Inner {
                wake,
                state: Mutex::default(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: HostMsg) {
        let mut state = self.lock();
        state.queue.push_back(message);
        let must_wake = !std::mem::replace(&mut state.is_woken, true);
        drop(state);
        if must_wake {
            (self.inner.wake)();
        }
    }

    /// Gives what waits, oldest first, at most `most`. When more is left, the host is woken again.
    pub fn take(&self, most: usize) -> Vec<HostMsg> {
        let mut state = self.lock();
        let most = most.min(state.queue.len());
        let taken = state.queue.drain(..most).collect();
        let is_left = !state.queue.is_empty();
        state.is_woken = is_left;
        drop(state);
        if is_left {
            (self.inner.wake)();
        }
        taken
    }

    /// Takes what was decided. A ticket that is not known any more is ignored: it was cancelled.
    pub fn complete(&self, completions: impl IntoIterator<Item = Completion>) {
        let mut state = self.lock();
        for Completion { ticket, outcome } in completions {
            if let Some(waiting) = state.waiting.remove(&ticket) {
                // The handling may have been given up at this very moment.
                drop(waiting.send(outcome));
            }
        }
    }

    /// Makes a handler that asks the host; the number is the host's name for it.
    pub fn handler(&self, handler: u32) -> HostHandler {
        HostHandler {
            host: self.clone(),
            handler,
        }
    }

    fn begin(&self, handler: u32, ctx: Context) -> Handled {
        let (sender, decided) = oneshot::channel();
        let ticket = {
            let mut state = self.lock();
            state.last += 1;
            let ticket = state.last;
            state.waiting.insert(ticket, sender);
            ticket
        };
        self.push(HostMsg::Event {
            ticket,
            handler,
            ctx: ctx.clone(),
        });
        let asked = Asked {
            host: self.clone(),
            ticket,
        };
        Box::pin(async move {
            tokio::pin!(decided);
            let outcome = tokio::select! {
                biased;
                outcome = &mut decided => outcome,
                () = ctx.cancelled() => {
                    asked.host.push(HostMsg::Cancel { ticket: asked.ticket });
                    decided.await
                }
            };
            outcome.unwrap_or_else(|_| Outcome::Failed(Failure::new("the host language is gone")))
        })
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("waiting", &self.lock().waiting.len())
            .finish_non_exhaustive()
    }
}

/// One handling that the host was asked for; forgotten when nobody waits for it any more.
struct Asked {
    host: Host,
    ticket: u64,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.host.lock().waiting.remove(&self.ticket);
    }
}

/// Is a handler in the host language; [`On`](crate::On) and [`Outbound`](crate::Outbound) take it.
#[derive(Clone, Debug)]
pub struct HostHandler {
    host: Host,
    handler: u32,
}

/// Tells host handlers from functions.
#[derive(Debug)]
pub struct ByHost;

impl Handler<ByHost> for HostHandler {
    fn handle(&self, ctx: Context) -> Result<Handled, Error> {
        Ok(self.host.begin(self.handler, ctx))
    }
}
