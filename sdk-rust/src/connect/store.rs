//! What a frame came to, made durable: one commit, or one dead letter.

use std::sync::Arc;

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{DeadLetterPutParams, HandlerError, IfLock, KvOp, TimerOp, method};
use trunkline_patterns::connection::{CommitFault, Store};

use crate::event::Event;
use crate::link::{CommitOut, Link};
use crate::payload::Bytes;
use crate::publish::out;

/// What is to be stored, and what is said after it.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) events: Vec<Event>,
    pub(super) kv: Vec<KvOp>,
    pub(super) timers: Vec<TimerOp>,
    pub(super) if_lock: Option<IfLock>,
    pub(super) ack: Option<Bytes>,
    /// Of a dead letter.
    pub(super) payload: Bytes,
    pub(super) reason: String,
    pub(super) error: Option<HandlerError>,
}

/// Stores it on the link that the connection was begun with.
pub(super) async fn store(
    link: Arc<Link>,
    kind: String,
    prepared: Arc<Prepared>,
    what: Store,
) -> Result<(), CommitFault> {
    let stored = match what {
        Store::Batch => {
            let params = CommitOut {
                events: prepared.events.iter().map(out).collect(),
                kv: &prepared.kv,
                timers: &prepared.timers,
                if_lock: prepared.if_lock.clone(),
                ..CommitOut::default()
            };
            link.call_data(method::BROKER_COMMIT, &params).await
        }
        Store::DeadLetter => {
            let payload: Box<RawValue> = prepared.payload.raw().to_owned();
            let params = DeadLetterPutParams {
                origin: format!("connect/{kind}"),
                payload,
                reason: prepared.reason.clone(),
                error: prepared.error.clone(),
            };
            link.call(method::DEAD_LETTER_PUT, &params).await
        }
    };
    stored.map(drop).map_err(|error| fault(&kind, what, &error))
}

fn fault(kind: &str, what: Store, error: &Error) -> CommitFault {
    if error.code == Code::LockLost {
        return CommitFault::LockLost;
    }
    if error.code.retryable() || matches!(error.code, Code::LinkLost | Code::NotActive) {
        tracing::warn!(kind, %error, "What a frame came to is not durable yet.");
        return CommitFault::Later;
    }
    if what == Store::DeadLetter {
        tracing::error!(kind, %error, "A dead letter was refused; the frame is gone.");
    } else {
        tracing::error!(kind, %error, "The commit of what a frame came to was refused.");
    }
    CommitFault::Refused
}
