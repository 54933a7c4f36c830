//! The topic form: an event on a tool's topic is a call, its outcome an event on `….reply`.
//!
//! The call has the event's delivery: its outcome and the settlement are one commit. A delivery that was
//! handed over and lost is not run again, unless the tool is idempotent: `.reply` says `outcome_unknown`.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trunkline_contract::envelope::{Draft, Stamp};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::id::derived;
use trunkline_contract::limits::REFERENCE_BYTES_MAX;
use trunkline_contract::rpc::{self, ToolReply, ToolReplyError};
use trunkline_contract::tool::{parse_full_name, parse_topic, reply_topic};

use crate::instance::InstanceKey;
use crate::router::{DeliveryId, LinkId, Nak, Settle};
use crate::store::{Commit, NewEvent, OnConflict, StoredEvent};

use super::super::batch::Ticket;
use super::super::state::Core;
use super::accept::Asked;
use super::idempotent::Outcome;
use super::limits::{LEASE_MARGIN_MS, UNTOUCHED_MAX};
use super::registry::Tool;
use super::running::{Caller, Context, EventCall};

/// What a call needs of an envelope.
#[derive(Deserialize)]
struct EnvelopeIn<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow, default)]
    traceparent: Option<Cow<'a, str>>,
}

/// The draft of an answer.
#[derive(Serialize)]
struct ReplyOut<'a> {
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

impl Core {
    /// Makes a delivery a call if its topic is that of a tool which this instance declared, and the
    /// subscription is the instance's main one. False: it is delivered as an event.
    pub(crate) fn deliver_as_call(
        &mut self,
        link: LinkId,
        event: &Arc<StoredEvent>,
        delivery: DeliveryId,
        redelivered: bool,
        subscription: &str,
    ) -> bool {
        let Some((key, tool)) = self.called_by(link, &event.topic, subscription) else {
            return false;
        };
        let Ok(envelope) = serde_json::from_slice::<EnvelopeIn<'_>>(&event.envelope) else {
            // The broker wrote it, so that it is read; if not, the plugin may know better.
            return false;
        };
        let call = EventCall {
            link,
            delivery,
            subscription: subscription.into(),
            event: event.clone(),
            id: envelope.id.as_ref().into(),
            traceparent: envelope.traceparent.as_deref().map(Into::into),
            key: key.clone(),
        };
        let was_untouched = self
            .tools
            .untouched
            .remove(&(call.subscription.clone(), delivery.seq));
        if redelivered && !was_untouched && !tool.declaration.idempotent {
            let error = Error::new(
                Code::OutcomeUnknown,
                format!(
                    "{} was handed over before and its outcome was lost; it is not idempotent and \
                     is not run again",
                    tool.name
                ),
            );
            self.reply_to_event(&tool.name, call, &Err(error));
            return true;
        }
        let arguments = match self.check_arguments(&tool, Some(envelope.payload)) {
            Ok(arguments) => arguments,
            Err(error) => {
                self.reply_to_event(&tool.name, call, &Err(error));
                return true;
            }
        };
        let timeout_ms = tool.declaration.timeout_ms();
        let lease_ms = timeout_ms + LEASE_MARGIN_MS;
        self.router
            .settle(link, delivery, Settle::Extend { lease_ms }, self.now);
        let name = tool.name.clone();
        let asked = Asked {
            tool,
            key,
            arguments,
            context: Context {
                caller: event.source.clone(),
                session_id: event.session.as_deref().map(Into::into),
                traceparent: call.traceparent.clone(),
                idempotency_key: None,
            },
            timeout_ms,
            window_bytes: 0,
        };
        let caller = Caller::Event(Box::new(call.clone()));
        if let Err(error) = self.admit(asked, caller) {
            if matches!(error.code, Code::RateLimited | Code::Unavailable) {
                self.put_back(&call, error.retry_after_ms.unwrap_or(0));
            } else {
                self.reply_to_event(&name, call, &Err(error));
            }
        }
        true
    }

    /// Refuses an event that would be a call of several instances at once.
    pub(crate) fn check_tool_topic(&self, topic: &str) -> Result<(), Error> {
        match parse_topic(topic) {
            Some((plugin, tool)) => {
                let name = trunkline_contract::tool::full_name(plugin, tool);
                match self.tools.registry.find(&name) {
                    Some(holders) if holders.len() > 1 => self.resolve(&name, None).map(|_| ()),
                    _ => Ok(()),
                }
            }
            None => Ok(()),
        }
    }

    fn called_by(
        &self,
        link: LinkId,
        topic: &str,
        subscription: &str,
    ) -> Option<(InstanceKey, Arc<Tool>)> {
        let (plugin, tool) = parse_topic(topic)?;
        let key = self.peers.get(&link)?.instance()?;
        if *key.plugin != *plugin || subscription != key.main_subscription() {
            return None;
        }
        let name = trunkline_contract::tool::full_name(plugin, tool);
        let tool = self.tools.registry.of_instance(&name, &key.instance)?;
        Some((key.clone(), tool.clone()))
    }

    /// Leaves an event that was never handed over for later.
    pub(super) fn put_back(&mut self, call: &EventCall, delay_ms: u64) {
        if self.tools.untouched.len() < UNTOUCHED_MAX {
            let of = (call.subscription.clone(), call.delivery.seq);
            self.tools.untouched.insert(of);
        }
        let nak = Nak {
            delay_ms: Some(delay_ms),
            failure: None,
            counted: false,
        };
        self.router
            .settle(call.link, call.delivery, Settle::Nak(nak), self.now);
    }

    /// Publishes the outcome and settles the delivery, in one commit.
    pub(super) fn reply_to_event(&mut self, tool: &str, call: EventCall, outcome: &Outcome) {
        let refused = |error: &Error| {
            let reply = ToolReply {
                error: Some(ToolReplyError::from(error)),
                ..ToolReply::default()
            };
            rpc::raw(&reply).expect("plain data has a JSON form")
        };
        let payload = match outcome {
            Ok(result) => RawValue::to_owned(result),
            Err(error) => refused(error),
        };
        let event = match self.reply_event(tool, &call, &payload) {
            Ok(event) => event,
            Err(error) => match self.reply_event(tool, &call, &refused(&error)) {
                Ok(event) => event,
                Err(_) => {
                    self.counters.add("tool_replies_lost", 1);
                    return;
                }
            },
        };
        let pending = self.pending(&event);
        // A lease that is gone means that the event comes again; the same id then says the same again.
        let prepared = self
            .router
            .prepare(
                call.link,
                &[call.delivery],
                Vec::new(),
                Vec::new(),
                self.now,
            )
            .unwrap_or_default();
        let commit = Commit {
            events: vec![event],
            state: prepared.ops.clone(),
            ..Commit::default()
        };
        self.stage_events(commit, vec![pending], prepared, Ticket::Nothing);
    }

    fn reply_event(
        &mut self,
        tool: &str,
        call: &EventCall,
        payload: &RawValue,
    ) -> Result<NewEvent, Error> {
        let (plugin, name) = parse_full_name(tool)
            .ok_or_else(|| Error::new(Code::Internal, format!("{tool} is no tool")))?;
        let topic = self.topic(&reply_topic(plugin, name));
        let cause = format!("{}|{}", call.event.source, call.id);
        let draft = ReplyOut {
            payload,
            session_id: call.event.session.as_deref(),
            correlation_id: &call.id,
            causation_id: (cause.len() <= REFERENCE_BYTES_MAX).then_some(&*cause),
            traceparent: call.traceparent.as_deref(),
        };
        let text = rpc::raw(&draft)?;
        self.check_size("a reply", text.get().len())?;
        let draft = Draft::parse(text.get())?;
        let id = derived(&call.id, format!("{cause}|{topic}").as_bytes(), 0);
        let source: Arc<str> = call.key.to_string().into();
        let timestamp = self.timestamp().to_owned();
        let stamp = Stamp {
            id: &id,
            timestamp: &timestamp,
            topic: &topic,
            source: &source,
            metadata: &[],
        };
        let body = draft.body(&topic);
        Ok(NewEvent {
            envelope: draft.envelope(&stamp).into(),
            body: body[..16].try_into().expect("a hash has 32 bytes"),
            id: id.into(),
            session: call.event.session.as_deref().map(Into::into),
            expires_at_ms: None,
            on_conflict: OnConflict::KeepFirst,
            topic,
            source,
        })
    }
}
