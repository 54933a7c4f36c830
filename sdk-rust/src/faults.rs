//! Faults that a test broker plants in a link, and the deaths it plants in a plugin.
//!
//! In production no link has any: every look at them is one empty cell.

#![cfg_attr(
    not(feature = "testing"),
    expect(unreachable_pub, reason = "public with the test broker")
)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use trunkline_contract::error::{Code, Error};

/// Says when a planted death comes, as seen from the next event that is handled.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillAt {
    /// While the handler runs.
    InHandler,
    /// After the handler, before anything it returned is sent.
    BeforeCommit,
    /// After all it returned is durable.
    AfterCommit,
}

/// Names a fault of the link between plugin and broker.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An ack is lost on its way: the lease runs out, and the event comes again.
    DropAck,
    /// An event is handed over twice.
    Duplicate,
    /// The link breaks while an event is on it.
    LinkLost,
    /// A publish or commit is refused because the store is full.
    StorageFull,
}

#[derive(Default, Debug)]
pub(crate) struct Faults {
    drop_ack: AtomicU32,
    duplicate: AtomicU32,
    link_lost: AtomicU32,
    storage_full: AtomicU32,
    kill: Mutex<Option<KillAt>>,
    /// Nobody renews a lock or hears of its loss, as in a process that the system has stopped.
    is_asleep: AtomicBool,
    /// What a plugin did that no plugin should: a test that saw it fails.
    complaints: Mutex<Vec<String>>,
}

impl Faults {
    fn counter(&self, fault: Fault) -> &AtomicU32 {
        match fault {
            Fault::DropAck => &self.drop_ack,
            Fault::Duplicate => &self.duplicate,
            Fault::LinkLost => &self.link_lost,
            Fault::StorageFull => &self.storage_full,
        }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn plant(&self, fault: Fault, times: u32) {
        self.counter(fault).fetch_add(times, Ordering::SeqCst);
    }

    #[cfg(feature = "testing")]
    pub(crate) fn plant_death(&self, at: KillAt) {
        *self.kill.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    #[cfg(feature = "testing")]
    pub(crate) fn sleep(&self, is_asleep: bool) {
        self.is_asleep.store(is_asleep, Ordering::SeqCst);
    }

    /// Says whether locks run out unseen.
    pub(crate) fn is_asleep(&self) -> bool {
        self.is_asleep.load(Ordering::SeqCst)
    }

    pub(crate) fn complain(&self, what: &str) {
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        complaints.push(what.to_owned());
    }

    #[cfg(feature = "testing")]
    pub(crate) fn complaint(&self) -> Option<String> {
        let complaints = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        complaints.first().cloned()
    }

    /// Says whether this fault happens now; if so, it is used up.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let left = |left: u32| left.checked_sub(1);
        self.counter(fault)
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
            .is_ok()
    }

    /// Says whether the process dies here.
    pub(crate) fn dies(&self, at: KillAt) -> bool {
        let mut kill = self.kill.lock().unwrap_or_else(PoisonError::into_inner);
        let dies = *kill == Some(at);
        if dies {
            *kill = None;
        }
        dies
    }
}

/// What a planted refusal says.
pub(crate) fn storage_full() -> Error {
    Error::new(Code::StorageFull, "the store is full, as the test wants it").retry_after(1000)
}
