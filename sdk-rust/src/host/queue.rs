//! What the host language is told, and the queue in which it waits until it is taken.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use trunkline_contract::error::Error;

use crate::context::Context;
use crate::payload::Bytes;

/// Log lines that may wait; beyond, the newest are dropped and counted.
const LOGS_WAITING_MAX: usize = 1024;

/// Wakes the host's loop; called from any thread, at most once until the queue is taken.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// Is what the host language is told.
#[derive(Debug)]
pub enum HostMsg {
    /// An event is to be handled; its completion names the same ticket.
    Event(EventMsg),
    /// A hook or a function is to be called; its completion names the same ticket.
    Invoke {
        /// Names this call.
        ticket: u64,
        /// What is to be called.
        function: Invoked,
        /// Whose it is: the plugin, or the instance, as a target of calls.
        target: u64,
        /// The plugin that declared the hook; 0 for a function.
        plugin: u64,
        /// Its argument.
        arg: Bytes,
    },
    /// The handling is to end: a second later nobody waits for its result.
    Cancel {
        /// Names the handling.
        ticket: u64,
    },
    /// A call has its answer.
    Reply {
        /// The number that the host gave the call.
        op: u64,
        /// The answer, as JSON.
        result: Result<Bytes, Error>,
    },
    /// The core has something to say to the log.
    Log {
        /// `debug`, `info`, `warning` or `error`.
        level: &'static str,
        /// The part of the core that speaks.
        target: String,
        /// What it says.
        message: String,
        /// What belongs to it: a JSON object.
        fields: Bytes,
    },
    /// Nothing: the core only wants to know whether the loop turns.
    Beat,
}

impl HostMsg {
    /// About how long its JSON text is.
    fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.ctx.raw().len(),
            Self::Invoke { arg, .. } => arg.len(),
            Self::Reply {
                result: Ok(value), ..
            } => value.len(),
            _ => 0,
        }
    }
}

/// Is an event to be handled.
#[derive(Debug)]
pub struct EventMsg {
    /// Names this handling.
    pub ticket: u64,
    /// Names the handler, as the plugin's spec does.
    pub handler: u32,
    /// Names the instance or client that it came to, as a target of calls.
    pub instance: u64,
    /// What is being handled, and what can be done meanwhile.
    pub ctx: Context,
    /// It holds an integer of 16 digits or more, which a double does not hold exactly.
    pub is_wide: bool,
}

/// Names what is to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invoked {
    /// A hook of the plugin: `on_start`, `on_stop`, `on_config`, `on_pause`, `on_resume`.
    Hook(&'static str),
    /// A function that the host numbered itself, in the call that needs it.
    Function(u64),
}

/// The queue of a host's loop, and the one of its threads for handlers that block.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    blocking: Mutex<Blocking>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    messages: VecDeque<HostMsg>,
    is_woken: bool,
    /// Since when something waits that nobody took.
    waiting_since: Option<Instant>,
    logs: usize,
    logs_dropped: u64,
    is_closed: bool,
}

#[derive(Default)]
struct Blocking {
    messages: VecDeque<HostMsg>,
    is_closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that panics runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// Adds a message; says whether the host must be woken.
    pub(super) fn push(&self, message: HostMsg) -> bool {
        let mut state = lock(&self.state);
        if state.is_closed {
            return false;
        }
        if matches!(message, HostMsg::Log { .. }) {
            if state.logs >= LOGS_WAITING_MAX {
                state.logs_dropped += 1;
                return false;
            }
            state.logs += 1;
        }
        state.messages.push_back(message);
        if state.waiting_since.is_none() {
            state.waiting_since = Some(Instant::now());
        }
        !std::mem::replace(&mut state.is_woken, true)
    }

    /// Adds a message for a thread that waits in [`Queue::take_blocking`].
    pub(super) fn push_blocking(&self, message: HostMsg) {
        let mut blocking = lock(&self.blocking);
        if !blocking.is_closed {
            blocking.messages.push_back(message);
            drop(blocking);
            self.arrived.notify_one();
        }
    }

    /// Takes at most `most` messages, oldest first, and none after the one with which they hold so
    /// many bytes; says whether the host must be woken again.
    pub(super) fn take(&self, most: usize, bytes: usize) -> (Vec<HostMsg>, bool) {
        let mut state = lock(&self.state);
        let mut held = 0;
        let within = |message: &&HostMsg| {
            let fits = held < bytes;
            held = held.saturating_add(message.bytes());
            fits
        };
        let most = state.messages.iter().take(most).take_while(within).count();
        let mut taken: Vec<_> = state.messages.drain(..most).collect();
        if state.logs > 0 {
            let logs = |message: &&HostMsg| matches!(message, HostMsg::Log { .. });
            state.logs -= taken.iter().filter(logs).count();
            let dropped = std::mem::take(&mut state.logs_dropped);
            if dropped > 0 {
                taken.push(HostMsg::Log {
                    level: "warning",
                    target: "trunkline".to_owned(),
                    message: format!("{dropped} log lines were dropped: nobody took them in time"),
                    fields: Bytes::empty_object(),
                });
            }
        }
        let is_left = !state.messages.is_empty();
        state.is_woken = is_left;
        state.waiting_since = is_left.then(Instant::now);
        (taken, is_left)
    }

    /// Waits for messages of handlers that block; none when the queue is closed.
    pub(super) fn take_blocking(&self, most: usize) -> Vec<HostMsg> {
        let mut blocking = lock(&self.blocking);
        while blocking.messages.is_empty() && !blocking.is_closed {
            blocking = self
                .arrived
                .wait(blocking)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let most = most.min(blocking.messages.len());
        blocking.messages.drain(..most).collect()
    }

    /// How long the oldest message has waited, in milliseconds.
    pub(super) fn lag_ms(&self) -> u64 {
        let since = lock(&self.state).waiting_since;
        since.map_or(0, |since| since.elapsed().as_millis() as u64)
    }

    /// Takes nothing more, and lets nobody wait any more. What waits can still be taken.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        let mut blocking = lock(&self.blocking);
        blocking.is_closed = true;
        blocking.messages.clear();
        drop(blocking);
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wake_up_is_enough_until_the_queue_is_taken() {
        let queue = Queue::default();
        assert!(queue.push(HostMsg::Beat));
        assert!(!queue.push(HostMsg::Cancel { ticket: 1 }));
        let (taken, is_left) = queue.take(1, usize::MAX);
        assert_eq!((taken.len(), is_left), (1, true));
        assert!(!queue.push(HostMsg::Beat), "it was woken again by the rest");
        assert_eq!(queue.take(8, usize::MAX).0.len(), 2);
        assert!(queue.push(HostMsg::Beat));
    }

    #[test]
    fn logs_beyond_the_bound_are_dropped_and_counted() {
        let queue = Queue::default();
        for _ in 0..LOGS_WAITING_MAX + 3 {
            queue.push(HostMsg::Log {
                level: "info",
                target: String::new(),
                message: String::new(),
                fields: Bytes::empty_object(),
            });
        }
        let (taken, _) = queue.take(usize::MAX, usize::MAX);
        assert_eq!(taken.len(), LOGS_WAITING_MAX + 1);
        let Some(HostMsg::Log { message, .. }) = taken.last() else {
            panic!("expected the count");
        };
        assert!(message.starts_with("3 log lines"), "{message}");
    }

    #[test]
    fn a_batch_ends_once_it_is_long_enough() {
        let queue = Queue::default();
        for op in 0..4 {
            let result = Bytes::from_json("\"0123456789\"");
            queue.push(HostMsg::Reply { op, result });
        }
        assert_eq!(queue.take(8, 13).0.len(), 2, "the second goes beyond");
        assert_eq!(queue.take(8, 1).0.len(), 1, "there is always progress");
        assert_eq!(queue.take(8, 99).0.len(), 1);
    }

    #[test]
    fn a_closed_queue_lets_its_threads_go() {
        let queue = std::sync::Arc::new(Queue::default());
        let waiting = std::thread::spawn({
            let queue = queue.clone();
            move || queue.take_blocking(1)
        });
        queue.close();
        assert!(waiting.join().expect("it ended").is_empty());
    }
}
