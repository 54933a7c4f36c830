//! Several things that become durable together, or not at all.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use trunkline_contract::error::Error;
use trunkline_contract::rpc::{
    HandlerError, IfLock, KvOp, KvOpKind, KvScope, TimerOp, TimerSetParams,
};

use crate::assemble::{Part, PartOut};
use crate::credential::Lease;
use crate::duration::{IntoDuration, in_ms};
use crate::event::Event;
use crate::payload::Bytes;
use crate::timer::Schedule;

/// Collects events and changes of state for one commit.
///
/// Returned from a handler it is committed together with the ack; at most 256 operations.
///
/// ```
/// use trunkline::{Batch, Event};
/// use serde_json::json;
///
/// let batch = Batch::new([Event::inbound(json!({ "text": "hi" }))]).put("last_seen", 917);
/// # let _ = batch;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) kv: Vec<Change>,
    pub(crate) timers: Vec<TimerOp>,
    pub(crate) if_lock: Option<IfLock>,
    /// Where the outside goes on from; null forgets.
    pub(crate) cursor: Option<Bytes>,
    pub(crate) again: Option<Duration>,
    /// What the outside gets once the rest is durable.
    pub(crate) ack: Option<Bytes>,
    /// How an engine settles with it, when not by an ack.
    pub(crate) end: Option<Box<Ending>>,
    pub(crate) parts: Vec<PartOut>,
    /// What is given back once it is settled.
    pub(crate) lease: Option<Arc<Lease>>,
    pub(crate) fault: Option<Box<Error>>,
}

/// How an engine settles what was handled; it says its receipts itself.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Ack,
    Nak {
        /// By the subscription's schedule where none is told.
        after_ms: Option<u64>,
        is_counted: bool,
        reason: String,
        error: Option<HandlerError>,
    },
    Reject {
        code: String,
        reason: String,
        error: Option<HandlerError>,
    },
}

/// A change of state in the scope that whoever commits has by default.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    op: KvOpKind,
    key: String,
    value: Option<Bytes>,
    if_revision: Option<u64>,
    ttl_ms: Option<u64>,
}

impl Change {
    /// Gives about how long it is on the wire.
    pub(crate) fn bytes(&self) -> usize {
        let value = self.value.as_ref();
        64 + self.key.len() + value.map_or(0, |value| value.as_str().len())
    }
}

impl Batch {
    /// Collects events.
    pub fn new(events: impl IntoIterator<Item = Event>) -> Self {
        Self {
            events: events.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Adds an event.
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Writes a key of the instance's (of a client: the client's) state.
    pub fn put(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        match Bytes::encode(&value) {
            Ok(value) => self.kv.push(Change {
                op: KvOpKind::Put,
                key: key.into(),
                value: Some(value),
                if_revision: None,
                ttl_ms: None,
            }),
            Err(error) => self.fault = Some(Box::new(error)),
        }
        self
    }

    /// Deletes a key.
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.kv.push(Change {
            op: KvOpKind::Delete,
            key: key.into(),
            value: None,
            if_revision: None,
            ttl_ms: None,
        });
        self
    }

    /// Sets a timer of the instance, in place of one of the same name.
    pub fn timer_set(self, name: impl Into<String>, schedule: Schedule) -> Self {
        self.timer(schedule.named(name))
    }

    /// Cancels a timer.
    pub fn timer_cancel(mut self, name: impl Into<String>) -> Self {
        match crate::timer::own(name.into()) {
            Ok(name) => self.timers.push(TimerOp::cancel(name)),
            Err(error) => self.fault = Some(Box::new(error)),
        }
        self
    }

    /// Sets a timer, of whatever name.
    pub(crate) fn timer(mut self, params: Result<TimerSetParams, Error>) -> Self {
        match params {
            Ok(params) => self.timers.push(TimerOp::from(params)),
            Err(error) => self.fault = Some(Box::new(error)),
        }
        self
    }

    /// Cancels a timer of a pattern.
    pub(crate) fn engine_timer_cancel(mut self, name: impl Into<String>) -> Self {
        self.timers.push(TimerOp::cancel(name));
        self
    }

    /// Lets the last change happen only if its key still has this revision; 0: if it is absent.
    pub fn if_revision(mut self, revision: u64) -> Self {
        if let Some(change) = self.kv.last_mut() {
            change.if_revision = Some(revision);
        }
        self
    }

    /// Lets the last written key expire.
    pub fn ttl(mut self, ttl: impl IntoDuration) -> Self {
        match (ttl.into_duration(), self.kv.last_mut()) {
            (Ok(ttl), Some(change)) => change.ttl_ms = Some(in_ms(ttl)),
            (Err(error), _) => self.fault = Some(Box::new(error)),
            (Ok(_), None) => {}
        }
        self
    }

    /// Commits only while a lock is held with this token.
    pub fn if_lock(mut self, name: impl Into<String>, token: u64) -> Self {
        self.if_lock = Some(IfLock {
            name: name.into(),
            token,
        });
        self
    }

    /// Adds a part for an assembler.
    pub fn part<T: Serialize>(mut self, part: Part<T>) -> Self {
        self.parts.push(PartOut::of(part));
        self
    }

    /// Says where the outside goes on from, in a poll or a connection; null forgets.
    pub fn cursor(mut self, cursor: impl Serialize) -> Self {
        match Bytes::encode(&cursor) {
            Ok(cursor) => self.cursor = Some(cursor),
            Err(error) => self.fault = Some(Box::new(error)),
        }
        self
    }

    /// Says how soon to poll or to connect next, in place of the schedule.
    pub fn again(mut self, after: impl IntoDuration) -> Self {
        match after.into_duration() {
            Ok(after) => self.again = Some(after),
            Err(error) => self.fault = Some(Box::new(error)),
        }
        self
    }

    /// Says what the outside gets once everything is durable: a webhook's answer (`status`, `headers`,
    /// `body`), or a frame of a connection.
    pub fn ack(mut self, ack: impl Serialize) -> Self {
        match Bytes::encode(&ack) {
            Ok(ack) => self.ack = Some(ack),
            Err(error) => self.fault = Some(Box::new(error)),
        }
        self
    }

    /// Adds what another batch holds; of cursor, `again` and `ack` the other's count, where it has them.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.events.extend(other.events);
        self.kv.extend(other.kv);
        self.timers.extend(other.timers);
        self.parts.extend(other.parts);
        self.if_lock = other.if_lock.or(self.if_lock);
        self.cursor = other.cursor.or(self.cursor);
        self.again = other.again.or(self.again);
        self.ack = other.ack.or(self.ack);
        self.end = other.end.or(self.end);
        self.fault = self.fault.or(other.fault);
        self
    }

    /// Names what is said that only an engine can follow.
    pub(crate) fn unheard(&self) -> Option<&'static str> {
        if self.cursor.is_some() {
            return Some("a cursor");
        }
        self.again.is_some().then_some("`again`")
    }

    pub(crate) fn kv_in(&self, scope: KvScope) -> Vec<KvOp> {
        self.kv
            .iter()
            .map(|change| KvOp {
                op: change.op,
                scope,
                session: None,
                key: change.key.clone(),
                value: change.value.as_ref().map(|value| value.raw().to_owned()),
                if_revision: change.if_revision,
                ttl_ms: change.ttl_ms,
            })
            .collect()
    }
}

impl From<Event> for Batch {
    fn from(event: Event) -> Self {
        Self::new([event])
    }
}
