//! What an engine hands to the author's function: a part of the event that is being handled.
//!
//! An engine is a handler around a handler. It takes an event (a timer that is due, a request, a part),
//! and calls the author's function with what it made of it: an item, a cursor, all parts of a whole. The
//! function gets a [`Context`] of the same delivery, with the same deadline and the same cancellation;
//! what it returns goes to the engine, which settles once for everything.

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;
use trunkline_contract::error::Error;

use crate::batch::Batch;
use crate::context::{Context, Handling};
use crate::event::Draft;
use crate::handler::AnyHandler;
use crate::incoming::Incoming;
use crate::outcome::Outcome;
use crate::panic::Guarded;
use crate::payload::{Bytes, Json};
use crate::publish::{Scope, prepare_batch};
use crate::receipt::PartOf;
use crate::settle::Mode;

/// What is handed over in place of the event.
pub(crate) struct Derived<'a> {
    /// The channel's kind: where `Event::inbound` goes.
    pub(crate) kind: &'a str,
    /// Names it for good: ids of what is made of it derive from this one.
    pub(crate) id: &'a str,
    /// The conversation, if it has one.
    pub(crate) session: Option<&'a str>,
    /// The function's first argument.
    pub(crate) payload: &'a Bytes,
    /// What the engine says beside it, in the envelope's metadata.
    pub(crate) metadata: Json,
}

impl Context {
    /// Makes the context of a part of this event.
    pub(crate) fn derived(&self, part: &Derived<'_>) -> Result<Self, Error> {
        let whole = self.handling();
        let envelope = json!({
            "id": part.id,
            "source": whole.incoming.source(),
            "session_id": part.session,
            "traceparent": whole.incoming.traceparent(),
            "metadata": part.metadata,
        });
        let mut text = envelope.to_string();
        text.truncate(text.len() - 1);
        text.push_str(",\"payload\":");
        text.push_str(part.payload.as_str());
        text.push('}');
        let delivery = whole.incoming.delivery().cloned();
        let mut incoming = Incoming::parse(whole.incoming.topic(), &text, delivery)?;
        incoming.set_wide(crate::incoming::is_wide(part.payload.as_str()));
        let mut handling = Handling::new(
            whole.instance.clone(),
            whole.link.clone(),
            Box::new(incoming),
            Mode::On,
            false,
            whole.deadline,
        );
        handling.cancelled = Arc::clone(&whole.cancelled);
        handling.kind = Some(part.kind.into());
        Ok(Self::new(handling))
    }

    /// Makes the context of what goes out for this message: the event's own payload, or another one.
    pub(crate) fn piece(
        &self,
        part: PartOf,
        payload: Option<&Bytes>,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let whole = self.handling();
        let incoming = match payload {
            Some(payload) => whole.incoming.with_payload(payload)?,
            None => whole.incoming.same(),
        };
        let mut handling = Handling::new(
            whole.instance.clone(),
            whole.link.clone(),
            Box::new(incoming),
            Mode::Outbound,
            false,
            deadline,
        );
        handling.split = (part.of > 1).then_some(part);
        Ok(Self::new(handling))
    }

    /// Calls the author's function with a part; a panic is a failure.
    pub(crate) async fn call(&self, handler: &AnyHandler) -> Outcome {
        match handler(self.clone()) {
            Ok(handled) => Guarded(handled).await.unwrap_or_else(Outcome::Failed),
            Err(error) => Outcome::Failed(error.into()),
        }
    }

    /// Completes what the function returned, so that the engine may settle it with its own.
    ///
    /// The cause is the event itself: a part has no event of its own.
    pub(crate) fn completed(&self, whole: &Self, batch: Batch) -> Result<Batch, Error> {
        let (mut events, _) = prepare_batch(&batch, &Scope::Handling(self.clone()))?;
        let incoming = &whole.handling().incoming;
        let cause = format!("{}|{}", incoming.source(), incoming.id());
        for event in &mut events {
            event.causation_id = Some(cause.clone());
            event.draft = Draft {
                is_ephemeral: event.draft.is_ephemeral,
                ..Draft::default()
            };
        }
        Ok(Batch {
            events,
            parts: Vec::new(),
            ..batch
        })
    }
}
