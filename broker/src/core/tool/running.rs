//! The calls that are on their way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::value::RawValue;

use crate::instance::InstanceKey;
use crate::router::{DeliveryId, LinkId};
use crate::store::{Seq, StoredEvent};

use super::super::peer::ReplyTo;
use super::idempotent::{Fingerprint, Key, Results};
use super::registry::{Registry, Tool};
use super::stats::AllStats;
use super::stream::Stream;

/// Number of a call inside this broker.
pub(crate) type CallNumber = u64;

/// Tools and calls of this broker.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    pub(crate) registry: Registry,
    pub(super) next: CallNumber,
    pub(super) calls: FxHashMap<CallNumber, Running>,
    pub(super) callers: FxHashMap<LinkId, LinkCalls>,
    /// By instance and the tool's full name.
    pub(super) lanes: FxHashMap<InstanceKey, BTreeMap<Arc<str>, Lane>>,
    /// Calls with something to write to a link that had no room.
    pub(super) blocked: FxHashMap<LinkId, BTreeSet<CallNumber>>,
    /// Lanes in which places became free.
    pub(super) released: Vec<(InstanceKey, Arc<str>)>,
    pub(super) waiting_bytes: usize,
    pub(super) collected_bytes: usize,
    /// Calls under a key that run, and results of those that ran.
    pub(super) keyed: FxHashMap<Key, CallNumber>,
    pub(super) results: Results,
    /// Deliveries that were leased and never handed to a plugin.
    pub(super) untouched: FxHashSet<(Box<str>, Seq)>,
    pub(super) stats: AllStats,
}

/// What one link asked for.
#[derive(Debug, Default)]
pub(super) struct LinkCalls {
    /// By the caller's id.
    pub(super) running: FxHashMap<Box<str>, CallNumber>,
    /// Cancels of calls that have not come.
    pub(super) early: VecDeque<Box<str>>,
}

/// The calls of one tool of one instance.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Handed over and neither answered nor given up.
    pub(super) running: u32,
    pub(super) queue: VecDeque<CallNumber>,
}

/// Who gets the answer.
#[derive(Debug)]
pub(super) enum Caller {
    /// A peer that said `tool.call`.
    Link { to: ReplyTo, call_id: Box<str> },
    /// An event on the tool's topic.
    Event(Box<EventCall>),
}

/// A call that an event asks for.
#[derive(Debug, Clone)]
pub(super) struct EventCall {
    pub(super) link: LinkId,
    pub(super) delivery: DeliveryId,
    pub(super) subscription: Box<str>,
    pub(super) event: Arc<StoredEvent>,
    pub(super) id: Box<str>,
    pub(super) traceparent: Option<Box<str>>,
    pub(super) key: InstanceKey,
}

/// How far a call is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Not handed over yet.
    Waiting { arguments: Box<RawValue> },
    /// The plugin has it, under this request id.
    HandedOver { link: LinkId, request: u64 },
    /// The plugin answered; chunks are still on their way to the caller.
    Draining { result: Box<RawValue> },
    /// Answered to the caller; the plugin was told to stop and has not answered.
    GivenUp { link: LinkId, request: u64 },
}

/// One call.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) tool: Arc<Tool>,
    pub(super) key: InstanceKey,
    pub(super) stage: Stage,
    /// Whoever waits; more than one under one idempotency key.
    pub(super) callers: Vec<Caller>,
    /// Said to the plugin.
    pub(super) context: Context,
    pub(super) idempotency: Option<(Key, Fingerprint)>,
    pub(super) started_ms: u64,
    pub(super) deadline_ms: u64,
    /// When its timer rings: at the deadline, or at the end of the grace.
    pub(super) armed_ms: u64,
    pub(super) stream: Option<Stream>,
    /// The newest progress that was not written yet.
    pub(super) progress: Option<Box<RawValue>>,
}

/// What a call says about itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    pub(super) caller: Arc<str>,
    pub(super) session_id: Option<Box<str>>,
    pub(super) traceparent: Option<Box<str>>,
    pub(super) idempotency_key: Option<Box<str>>,
}

impl Running {
    /// The link whose plugin works on it.
    pub(super) fn worker(&self) -> Option<LinkId> {
        match self.stage {
            Stage::HandedOver { link, .. } | Stage::GivenUp { link, .. } => Some(link),
            Stage::Waiting { .. } | Stage::Draining { .. } => None,
        }
    }

    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.stage, Stage::GivenUp { .. })
    }
}

impl Tools {
    pub(super) fn number(&mut self) -> CallNumber {
        self.next += 1;
        self.next
    }

    pub(super) fn lane(&mut self, key: &InstanceKey, name: &Arc<str>) -> &mut Lane {
        self.lanes
            .entry(key.clone())
            .or_default()
            .entry(name.clone())
            .or_default()
    }

    /// Forgets a lane that holds nothing.
    pub(super) fn tidy_lane(&mut self, key: &InstanceKey, name: &Arc<str>) {
        if let Some(lanes) = self.lanes.get_mut(key) {
            if lanes
                .get(name)
                .is_some_and(|lane| lane.running == 0 && lane.queue.is_empty())
            {
                lanes.remove(name);
            }
            if lanes.is_empty() {
                self.lanes.remove(key);
            }
        }
    }

    /// The call that this link named so.
    pub(super) fn of_caller(&self, link: LinkId, call_id: &str) -> Option<CallNumber> {
        self.callers.get(&link)?.running.get(call_id).copied()
    }

    /// Forgets that a link waits for a call.
    pub(super) fn forget_caller(&mut self, link: LinkId, call_id: &str) {
        if let Some(calls) = self.callers.get_mut(&link) {
            calls.running.remove(call_id);
            if calls.running.is_empty() && calls.early.is_empty() {
                self.callers.remove(&link);
            }
        }
    }

    /// How many calls a plugin's link works on.
    pub(crate) fn worked_on_by(&self, link: LinkId) -> usize {
        let calls = self.calls.values();
        calls
            .filter(|call| matches!(call.stage, Stage::HandedOver { link: at, .. } if at == link))
            .count()
    }
}
