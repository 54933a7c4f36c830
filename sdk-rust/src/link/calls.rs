//! Calls to the broker that have no answer yet.

use rustc_hash::FxHashMap;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use trunkline_contract::error::{Code, Error};

/// The result of a call, as its JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) Box<str>);

impl Answer {
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.0).map_err(|error| {
            Error::new(
                Code::InvalidFrame,
                format!("the broker's answer does not fit: {error}"),
            )
        })
    }
}

type Verdict = Result<Answer, Error>;

/// What must have happened before the next notification is looked at.
pub(crate) type Seen = Box<dyn FnOnce(&Answer) + Send>;

/// Who gets the answer.
pub(crate) enum Waiter {
    /// A future somewhere, which may be gone by then.
    Call {
        sender: oneshot::Sender<Verdict>,
        /// Runs before anything that came after the answer is given to the link's owner.
        seen: Option<Seen>,
        /// It waits for somebody else, as for a lock: nothing is at work meanwhile.
        #[cfg(feature = "testing")]
        is_patient: bool,
    },
    /// What goes on with it; runs after everything that arrived before the answer was given to the
    /// link's owner.
    InOrder(Box<dyn FnOnce(Verdict) + Send>),
    /// What goes on with it; runs on whoever pumps, so it must be short.
    Then {
        then: Box<dyn FnOnce(Verdict) + Send>,
        /// It took one of the link's slots.
        holds_slot: bool,
    },
}

impl Waiter {
    /// Makes one for who waits for the answer to a call of this method.
    pub(crate) fn call(sender: oneshot::Sender<Verdict>, seen: Option<Seen>, method: &str) -> Self {
        #[cfg(not(feature = "testing"))]
        let _: &str = method;
        Self::Call {
            sender,
            seen,
            #[cfg(feature = "testing")]
            is_patient: method == trunkline_contract::rpc::method::LOCK_ACQUIRE,
        }
    }

    /// Says whether the caller took one of the link's slots.
    pub(crate) fn holds_slot(&self) -> bool {
        match self {
            Self::Call { .. } | Self::InOrder(_) => true,
            Self::Then { holds_slot, .. } => *holds_slot,
        }
    }

    pub(crate) fn complete(self, verdict: Verdict) {
        match self {
            Self::Call { sender, seen, .. } => {
                if let (Ok(answer), Some(seen)) = (&verdict, seen) {
                    seen(answer);
                }
                // The future that asked may have been dropped, which is no fault.
                drop(sender.send(verdict));
            }
            Self::Then { then, .. } | Self::InOrder(then) => then(verdict),
        }
    }
}

#[derive(Default)]
pub(crate) struct Calls {
    last_id: u64,
    waiting: FxHashMap<u64, Waiter>,
}

impl Calls {
    pub(crate) fn add(&mut self, waiter: Waiter) -> u64 {
        self.last_id += 1;
        self.waiting.insert(self.last_id, waiter);
        self.last_id
    }

    /// Gives back who waits for the answer with this id, as it stands in the frame.
    pub(crate) fn take(&mut self, id: &str) -> Option<Waiter> {
        id.parse().ok().and_then(|id: u64| self.waiting.remove(&id))
    }

    pub(crate) fn take_all(&mut self) -> Vec<Waiter> {
        self.waiting.drain().map(|(_, waiter)| waiter).collect()
    }

    /// Says how many wait for nothing but the broker.
    #[cfg(feature = "testing")]
    pub(crate) fn at_work(&self) -> usize {
        let is_patient = |waiter: &&Waiter| {
            matches!(
                waiter,
                Waiter::Call {
                    is_patient: true,
                    ..
                }
            )
        };
        self.waiting.len() - self.waiting.values().filter(is_patient).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
