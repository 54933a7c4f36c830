//! One unsettled event of one subscription.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::StoredEvent;

use super::limits::ERROR_BYTES_MAX;
use super::membership::LinkId;

/// What a handler said when it failed, as it is kept for the dead letter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Exception class or error type, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// What happened.
    pub message: String,
    /// Where, if the language says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
}

impl Failure {
    /// A failure with a message alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
        .bounded()
    }

    /// Cuts every text to 4 KiB together, so that a dead letter stays small.
    pub fn bounded(mut self) -> Self {
        cut(&mut self.message, ERROR_BYTES_MAX / 2);
        if let Some(text) = &mut self.r#type {
            cut(text, 256);
        }
        if let Some(text) = &mut self.traceback {
            cut(text, ERROR_BYTES_MAX / 2);
        }
        self
    }
}

/// Cuts at a character boundary.
pub(crate) fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let mut end = bytes_max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

/// The right to one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) epoch: u64,
    pub(crate) link: LinkId,
    pub(crate) deadline_ms: u64,
    /// When it was handed over, monotonic ms.
    pub(crate) leased_at_ms: u64,
    /// A commit that settles it is on its way to the disk: it cannot expire meanwhile.
    pub(crate) settling: bool,
}

/// Where an unsettled event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Behind the head of its session.
    Parked,
    /// May be leased.
    Ready,
    /// In flight.
    Leased(Lease),
    /// Not before this monotonic time.
    Waiting(u64),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) state: State,
    pub(crate) session: Option<Arc<str>>,
    /// Dropped while it waits or is parked and memory is short; read again before the next lease.
    pub(crate) body: Option<Arc<StoredEvent>>,
    pub(crate) bytes: usize,
    pub(crate) attempt: u32,
    pub(crate) failures: u32,
    pub(crate) crashes: u32,
    pub(crate) redelivered: bool,
    pub(crate) suspect: bool,
    /// It has a row of its own in the store and is not in the position's list.
    pub(crate) has_row: bool,
    /// Its envelope lives in the row (a replay), because the log may have forgotten it.
    pub(crate) inline: bool,
    pub(crate) first_leased_at_ms: Option<i64>,
    pub(crate) first_error: Option<Box<Failure>>,
    pub(crate) last_error: Option<Box<Failure>>,
}

impl Entry {
    pub(crate) fn new(event: Arc<StoredEvent>, session: Option<Arc<str>>) -> Self {
        Self {
            state: State::Parked,
            session,
            bytes: event.envelope.len(),
            body: Some(event),
            attempt: 0,
            failures: 0,
            crashes: 0,
            redelivered: false,
            suspect: false,
            has_row: false,
            inline: false,
            first_leased_at_ms: None,
            first_error: None,
            last_error: None,
        }
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Leased(lease) => Some(lease),
            _ => None,
        }
    }

    pub(crate) fn failed(&mut self, failure: Option<Failure>) {
        let Some(failure) = failure else { return };
        let failure = Box::new(failure.bounded());
        self.first_error.get_or_insert_with(|| failure.clone());
        self.last_error = Some(failure);
    }
}

/// The durable form of an entry that failed, waits, is suspect or was replayed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    #[serde(default)]
    pub(crate) attempt: u32,
    #[serde(default)]
    pub(crate) failures: u32,
    #[serde(default)]
    pub(crate) crashes: u32,
    #[serde(default)]
    pub(crate) suspect: bool,
    /// Wall-clock ms, because it must mean something after a restart.
    #[serde(default)]
    pub(crate) not_before_ms: i64,
    #[serde(default)]
    pub(crate) first_leased_at_ms: Option<i64>,
    #[serde(default)]
    pub(crate) first_error: Option<Box<Failure>>,
    #[serde(default)]
    pub(crate) last_error: Option<Box<Failure>>,
    #[serde(default)]
    pub(crate) session: Option<String>,
    /// Topic and envelope of a replayed event.
    #[serde(default)]
    pub(crate) inline: Option<(String, String)>,
    /// It says only that its event is not settled: nobody has read that since the broker started, so its session is
    /// not known either, and nothing else may be leased before it is read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unread: bool,
}
