//! Dead letters: what could not be delivered, with the reason, in one step with the end of its delivery.

use serde_json::value::RawValue;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::error::Code;
use trunkline_contract::rpc;

use crate::clock::Now;
use crate::store::{Seq, StateOp, StoredEvent};

use super::entry::{Entry, Failure};
use super::subscription::{SubId, Subscription};
use super::table::{Command, Router, put, remove};

/// Why a delivery was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadReason {
    /// The handler said never.
    Rejected {
        /// The handler's own code, if any.
        code: Option<String>,
        /// The handler's words.
        reason: Option<String>,
    },
    /// Too many counted failures.
    DeliveryLimit,
    /// Too long since the first lease.
    TooOld,
    /// The process died with this event alone in flight, too often.
    Crashed(Origin),
    /// It expired before it could be leased.
    Expired,
    /// Its subscription was removed with its owner.
    Removed,
    /// Its subscription selects it no longer.
    Withdrawn,
}

/// What is known about the process that died of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Exit status, signal or limit.
    pub exit: Option<rpc::Exit>,
    /// Last words of the process, redacted, at most 4 KiB.
    pub stderr_tail: Option<String>,
    /// Version of the plugin.
    pub plugin_version: Option<String>,
}

impl DeadReason {
    /// The word for it, as it stands in the record.
    pub fn as_str(&self) -> &'static str {
        self.wire().as_str()
    }

    fn wire(&self) -> rpc::DeadReason {
        match self {
            Self::Rejected { .. } => rpc::DeadReason::Rejected,
            Self::DeliveryLimit => rpc::DeadReason::DeliveryLimit,
            Self::TooOld => rpc::DeadReason::TooOld,
            Self::Crashed(_) => rpc::DeadReason::Crashed,
            Self::Expired => rpc::DeadReason::Expired,
            Self::Removed | Self::Withdrawn => rpc::DeadReason::Removed,
        }
    }
}

fn handler_error(failure: &Failure) -> rpc::HandlerError {
    rpc::HandlerError {
        kind: failure.r#type.clone().unwrap_or_default(),
        message: failure.message.clone(),
        traceback: failure.traceback.clone(),
    }
}

/// Key of a dead letter in the store.
pub(crate) fn dead_key(id: SubId, seq: Seq) -> Vec<u8> {
    format!("d/{:08x}/{seq:016x}", id.0).into_bytes()
}

impl Subscription {
    /// The record of one dead event.
    pub(crate) fn dead_op(
        &self,
        seq: Seq,
        entry: &Entry,
        event: Option<&StoredEvent>,
        reason: &DeadReason,
        now: Now,
    ) -> StateOp {
        let none = Origin::default();
        let (code, origin) = match reason {
            DeadReason::Rejected { code, .. } => (code.clone(), &none),
            DeadReason::Crashed(origin) => (None, origin),
            DeadReason::Withdrawn => (Some(Code::TopicNotGranted.as_str().to_owned()), &none),
            _ => (None, &none),
        };
        // Without its body (memory was short) the record still says what ended, with `null` for the event.
        let event = event.map_or(&b"null"[..], |event| &event.envelope);
        let event = String::from_utf8(event.to_vec())
            .ok()
            .and_then(|text| RawValue::from_string(text).ok())
            .expect("a stored envelope is one JSON object");
        let record = rpc::DeadLetter {
            id: format!("{:x}-{seq:x}", self.id.0),
            subscription: self.name.to_string(),
            seq,
            reason: reason.wire(),
            code,
            attempts: entry.attempt,
            first_error: entry.first_error.as_deref().map(handler_error),
            last_error: entry.last_error.as_deref().map(handler_error),
            exit: origin.exit.clone(),
            stderr_tail: origin.stderr_tail.clone(),
            plugin_version: origin.plugin_version.clone(),
            dead_at: rfc3339(now.wall_ms),
            event,
            origin: None,
        };
        put(dead_key(self.id, seq), &record)
    }
}

impl Router {
    /// Ends a delivery with a dead letter; both become durable together.
    pub(crate) fn bury(
        &mut self,
        id: SubId,
        seq: Seq,
        reason: &DeadReason,
        failure: Option<Failure>,
        now: Now,
    ) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let Some(entry) = sub.entries.get_mut(&seq) else {
            return;
        };
        entry.failed(failure);
        let entry = &sub.entries[&seq];
        let op = sub.dead_op(seq, entry, entry.body.as_deref(), reason, now);
        let is_unsaid = matches!(
            reason,
            DeadReason::Crashed(_) | DeadReason::TooOld | DeadReason::Expired
        );
        if let (true, super::subscription::Owner::Instance(_), Some(event)) =
            (is_unsaid, &sub.owner, &entry.body)
            && event.topic.starts_with("plugin.outbound.")
        {
            let (event, reason) = (event.clone(), reason.as_str());
            self.commands.push(Command::Undelivered { event, reason });
        }
        self.housekeeping.push(op);
        self.died(id, seq, reason, now);
    }

    /// The dead letter of `seq` is written (or about to be): the entry ends.
    pub(crate) fn died(&mut self, id: SubId, seq: Seq, reason: &DeadReason, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        sub.counters.dead += 1;
        self.meters.get(sub.meter).died(reason.wire());
        self.commands.push(Command::Died {
            subscription: sub.name.clone(),
            id: format!("{:x}-{seq:x}", id.0),
            reason: reason.as_str(),
        });
        self.finish_entry(id, seq, now);
    }

    /// An event is done with, whatever became of it: credit returns, its session goes on.
    pub(crate) fn finish_entry(&mut self, id: SubId, seq: Seq, now: Now) {
        self.release(id, seq);
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        let Some(entry) = sub.take(seq) else { return };
        if !self.watched.is_empty() && self.watched.contains(&seq) {
            self.commands.push(Command::Ended { seq });
        }
        sub.counters.backlog_bytes = sub
            .counters
            .backlog_bytes
            .saturating_sub(entry.bytes as u64);
        if entry.has_row {
            let op = remove(sub.row_key(seq));
            self.housekeeping.push(op);
        }
        self.mark_dirty(id, now);
        self.touch(id);
    }
}
