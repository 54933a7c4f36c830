//! What operators learn of attempts that failed, while the events wait for another or are dead.

use std::sync::Arc;

use crate::store::{Seq, StoredEvent};

use super::entry::Failure;
use super::subscription::{Owner, SubId};
use super::table::{Command, Router};

/// One failed attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// Of which subscription.
    pub sub: SubId,
    /// Whose that is.
    pub owner: Owner,
    /// Number of the event.
    pub seq: Seq,
    /// The event, unless memory was short.
    pub event: Option<Arc<StoredEvent>>,
    /// Which failure this is, 1 for the first.
    pub attempt: u32,
    /// How many there may be.
    pub attempts_max: u32,
    /// Why it is a dead letter now, if it is.
    pub end: Option<&'static str>,
    /// What the consumer said.
    pub failure: Option<Failure>,
}

impl Router {
    /// Tells of a failed attempt; call it before the event ends. Without `failure` it is the last one that
    /// is known of the event.
    pub(crate) fn tell_failed(
        &mut self,
        id: SubId,
        seq: Seq,
        failure: Option<Failure>,
        end: Option<&'static str>,
    ) {
        let Some(sub) = self.subs.get(&id) else {
            return;
        };
        let Some(entry) = sub.entries.get(&seq) else {
            return;
        };
        let is_rejected = end == Some("rejected");
        let known = || is_rejected.then(|| entry.last_error.as_deref().cloned());
        let failed = Failed {
            sub: id,
            owner: sub.owner.clone(),
            seq,
            event: entry.body.clone(),
            attempt: entry.failures + u32::from(is_rejected),
            attempts_max: sub.policy.failures_max,
            end,
            failure: failure.map(Failure::bounded).or_else(|| known().flatten()),
        };
        self.commands.push(Command::Failed(Box::new(failed)));
    }

    /// How many events of a subscription failed and are still to be tried again, as far as they are known
    /// without reading, and what the newest of them failed with.
    pub fn in_retry(&self, id: SubId) -> (usize, Option<&Failure>) {
        let Some(sub) = self.subs.get(&id) else {
            return (0, None);
        };
        let loaded = sub.entries.values();
        let loaded = loaded.map(|entry| (entry.failures, &entry.last_error));
        let rows = sub.rows_ahead.values();
        let rows = rows.map(|row| (row.failures, &row.last_error));
        let failed = loaded.chain(rows).filter(|(failures, _)| *failures > 0);
        failed.fold((0, None), |(count, last), (_, error)| {
            (count + 1, error.as_deref().or(last))
        })
    }
}
