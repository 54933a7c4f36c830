//! A verified request becomes an event, and is answered once that is durable.

use serde::Serialize;
use sha2::{Digest, Sha256};
use trunkline_contract::envelope::{Draft, Stamp};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::id::is_event_id;
use trunkline_contract::limits::{EVENT_BYTES_MARGIN, SESSION_ID_BYTES_MAX};
use trunkline_contract::rpc::Respond;
use trunkline_contract::trace::Traceparent;

use crate::core::batch::{PendingEvent, Ticket, commit_error};
use crate::core::state::Core;
use crate::router::Prepared;
use crate::store::{Commit, CommitError, NewEvent, OnConflict, Receipt};

use super::endpoint::Endpoint;

/// How long a provider is asked to wait when too much is on its way to the disk.
const BUSY_RETRY_MS: u64 = 1_000;

/// A request that was verified.
#[derive(Debug, Clone, Default)]
pub struct HookRequest {
    /// The provider's own id.
    pub id: Option<String>,
    /// The method, in capitals.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, as it was sent.
    pub query: String,
    /// Headers to store: names in small letters, none of them a secret.
    pub headers: Vec<(String, String)>,
    /// The body, when it is text.
    pub body: Option<String>,
    /// The body, when it is not.
    pub body_base64: Option<String>,
    /// The conversation it belongs to.
    pub session: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum HookAnswer {
    /// Its event is durable.
    Stored {
        /// The event's id.
        id: String,
        /// It was stored already.
        is_duplicate: bool,
    },
    /// Its event is durable, and its plugin took too long to answer.
    Accepted {
        /// The event's id.
        id: String,
    },
    /// Its event is durable, and this is its plugin's own answer.
    Respond(Respond),
    /// Nothing was stored.
    Refused(Error),
}

/// Takes the answer; dropped, the broker ended before there was one.
pub struct HookReply(Box<dyn FnOnce(HookAnswer) + Send>);

impl HookReply {
    /// Wraps what is done with the answer; it must not block.
    pub fn new(take: impl FnOnce(HookAnswer) + Send + 'static) -> Self {
        Self(Box::new(take))
    }

    pub(crate) fn answer(self, answer: HookAnswer) {
        (self.0)(answer);
    }
}

impl std::fmt::Debug for HookReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookReply")
    }
}

/// What waits for a request's event to be durable.
#[derive(Debug)]
pub(crate) struct HookTicket {
    pub(super) key: crate::instance::InstanceKey,
    pub(super) id: String,
    pub(super) respond_ms: Option<u64>,
    pub(super) reply: HookReply,
}

/// The payload of a hook event.
#[derive(Serialize)]
struct Payload<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    #[serde(serialize_with = "as_map")]
    headers: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<&'a str>,
}

fn as_map<S: serde::Serializer>(
    headers: &&[(String, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.iter().map(|(name, value)| (name, value)))
}

impl Core {
    /// Stores a verified request and answers once that is durable; later, when its plugin is to answer.
    /// A request whose id is known is a duplicate: nothing is stored again.
    pub fn hook(&mut self, endpoint: &Endpoint, request: &HookRequest, reply: HookReply) {
        match self.hook_event(endpoint, request) {
            Ok(event) => {
                let ticket = HookTicket {
                    key: endpoint.key.clone(),
                    id: event.id.to_string(),
                    respond_ms: endpoint.webhook.respond.map(|wait| wait.as_millis() as u64),
                    reply,
                };
                let pending = self.pending(&event);
                let commit = Commit {
                    events: vec![event],
                    ..Commit::default()
                };
                let ticket = Ticket::Hook(Box::new(ticket));
                self.stage_events(commit, vec![pending], Prepared::default(), ticket);
            }
            Err(error) => {
                self.counters.add("hooks_refused", 1);
                reply.answer(HookAnswer::Refused(error));
            }
        }
    }

    /// Counts a request that the gateway refused.
    pub fn hook_refused(&mut self) {
        self.counters.add("hooks_refused", 1);
    }

    fn hook_event(
        &mut self,
        endpoint: &Endpoint,
        request: &HookRequest,
    ) -> Result<NewEvent, Error> {
        if self.draining {
            let error = Error::new(Code::Draining, "the broker is shutting down");
            return Err(error.retry_after(5_000));
        }
        self.check_room()?;
        if self.is_full() {
            let error = Error::new(Code::Unavailable, "too much is on its way to the disk");
            return Err(error.retry_after(BUSY_RETRY_MS));
        }
        self.check_source_rate(&endpoint.source)?;
        let id = match &request.id {
            Some(id) => event_id(endpoint.webhook.name.as_deref(), id),
            None => self.new_id(),
        };
        let payload = Payload {
            id: request.id.as_deref().unwrap_or(&id),
            name: endpoint.webhook.name.as_deref(),
            method: &request.method,
            path: &request.path,
            query: &request.query,
            headers: &request.headers,
            body: request.body.as_deref(),
            body_base64: request.body_base64.as_deref(),
        };
        let payload = serde_json::to_string(&payload).expect("texts have a JSON form");
        let limit = self.options.frame_bytes_max - EVENT_BYTES_MARGIN;
        if payload.len() > limit {
            let bytes = payload.len();
            let text = format!("expected an event of at most {limit} bytes, found {bytes}");
            return Err(Error::new(Code::FrameTooLarge, text));
        }
        let trace = self.hook_trace(request.traceparent.as_deref()).to_string();
        let draft = Draft {
            session_id: request.session.as_deref().map(session).map(Into::into),
            traceparent: Some(trace.as_str().into()),
            payload: &payload,
            ..Draft::default()
        };
        let timestamp = self.timestamp().to_owned();
        let stamp = Stamp {
            id: &id,
            timestamp: &timestamp,
            topic: &endpoint.topic,
            source: &endpoint.source,
            metadata: &[],
        };
        let body = draft.body(&endpoint.topic);
        Ok(NewEvent {
            topic: self.topic(&endpoint.topic),
            source: endpoint.source.clone(),
            body: body[..16].try_into().expect("a hash has 32 bytes"),
            session: draft.session_id.as_deref().map(Into::into),
            expires_at_ms: None,
            // A provider that tries again may change a header; the first one counts.
            on_conflict: OnConflict::KeepFirst,
            envelope: draft.envelope(&stamp).into(),
            id: id.into(),
        })
    }

    /// The trace that a request belongs to, or that begins with it: few providers send one.
    fn hook_trace(&mut self, given: Option<&str>) -> Traceparent {
        let parsed = given.map(Traceparent::parse);
        if parsed == Some(None) {
            self.counters.add("traceparents_dropped", 1);
        }
        parsed.flatten().unwrap_or_else(|| {
            let mut random = [0; 24];
            for piece in random.chunks_exact_mut(8) {
                piece.copy_from_slice(&self.random.bits().to_le_bytes());
            }
            Traceparent::begin(random, false)
        })
    }

    /// The event is durable, or is not.
    pub(crate) fn hooked(
        &mut self,
        ticket: HookTicket,
        events: &[PendingEvent],
        result: Result<Receipt, CommitError>,
    ) {
        let receipt = match result {
            Ok(receipt) => receipt.events[0],
            Err(error) => {
                self.counters.add("hooks_refused", 1);
                let mut error = commit_error(&error);
                error.index = None;
                return ticket.reply.answer(HookAnswer::Refused(error));
            }
        };
        debug_assert_eq!(events.len(), 1);
        if receipt.duplicate {
            self.counters.add("hooks_duplicate", 1);
        } else {
            self.counters.add("hooks_stored", 1);
            if ticket.respond_ms.is_some() {
                return self.wait_for_respond(receipt.seq, ticket);
            }
        }
        ticket.reply.answer(HookAnswer::Stored {
            id: ticket.id,
            is_duplicate: receipt.duplicate,
        });
    }
}

/// The event's id of a provider's id: webhooks of one kind share a source, and their names keep them apart.
fn event_id(name: Option<&str>, id: &str) -> String {
    let whole = match name {
        Some(name) => format!("{name}:{id}"),
        None => id.to_owned(),
    };
    if is_event_id(&whole) {
        whole
    } else {
        format!("sha256:{}", hash(&whole))
    }
}

fn session(text: &str) -> String {
    if text.len() <= SESSION_ID_BYTES_MAX {
        text.to_owned()
    } else {
        format!("sha256:{}", hash(text))
    }
}

fn hash(text: &str) -> String {
    use std::fmt::Write;
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        })
}
