//! From a handler's outcome to the frames that say it.
//!
//! | outcome | `on` | `outbound` |
//! |---|---|---|
//! | nothing | ack | ack, receipt `sent` |
//! | events | published with the ack | the same, receipt `sent` |
//! | reply | published with the ack | the same, receipt `sent` |
//! | receipt | a later state of the message with its provider id | the receipt and the ack |
//! | text | refused: ack with a warning | a receipt `sent` with this provider id, and the ack |
//! | retry | nak | nak, receipt `queued` |
//! | reject | dead letter | the same, receipt `failed` |
//! | failure | nak, the broker's backoff | the same |
//! | `HttpError`: told to wait | nak, uncounted | the same, receipt `queued` |
//! | `HttpError`: may go better later | nak, the broker's backoff | the same |
//! | `HttpError`: final | dead letter | the same, receipt `failed` |
//!
//! One outcome is one frame, so it becomes durable whole or not at all. An ephemeral event has no
//! delivery: there is nothing to settle, and its reply is ephemeral too.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{HandlerError, NakItem, NakParams, RejectItem, RejectParams, method};
use trunkline_patterns::retry::Class;

use crate::batch::{Batch, Ending};
use crate::context::Context;
use crate::credential::Lease;
use crate::duration::in_ms;
use crate::event::{Event, Target};
use crate::link::CommitOut;
use crate::outcome::{Failure, Outcome, Reject, Reply, Retry};
use crate::payload::{Bytes, Members};
use crate::publish::{Scope, channel, no_channel, out, prepare, prepare_batch};
use crate::receipt::{Receipt, ReceiptError, State};

/// What kind of handler the outcome comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    On,
    Outbound,
    /// A call of a tool, which [`crate::tool`] settles.
    Tool,
}

/// How the delivery ends, beside what is published with it.
enum End {
    Ack,
    Nak(NakItem),
    Reject(RejectItem),
}

/// Says to the broker what a handler's outcome means.
pub(crate) fn settle(ctx: &Context, outcome: Outcome) {
    let handling = ctx.handling();
    if !handling.claim() {
        report_unsettled(ctx, &outcome);
        return;
    }
    let mode = handling.mode;
    let outcome = match outcome {
        Outcome::Text(id) if mode == Mode::Outbound => {
            Outcome::Receipt(Receipt::sent().provider_id(id))
        }
        outcome => outcome,
    };
    match outcome {
        Outcome::Nothing if handling.is_manual => handling.unclaim(),
        Outcome::Nothing => finish(ctx, Batch::default(), sent(mode), End::Ack),
        Outcome::Batch(mut batch) => match batch.end.take() {
            Some(end) => finish(ctx, batch, None, ending(ctx, *end)),
            None => finish(ctx, heard(ctx, batch), sent(mode), End::Ack),
        },
        Outcome::Reply(reply) => match reply_to(ctx, reply) {
            Ok(event) => finish(ctx, Batch::new([event]), sent(mode), End::Ack),
            // The handler has returned: no place of its own is to blame.
            Err(error) => failed(ctx, &Failure::located(error, None)),
        },
        Outcome::Receipt(receipt) if mode == Mode::Outbound => {
            if let Some(id) = &receipt.provider_id {
                crate::outbound::remember(ctx, id, receipt.part);
            }
            finish(ctx, Batch::default(), Some(receipt), End::Ack);
        }
        Outcome::Receipt(_) | Outcome::Text(_) => {
            let error = "a receipt or a text answers an outbound event, found another topic";
            if let Some(faults) = handling.link.faults() {
                faults.complain(error);
            }
            tracing::warn!(
                code = "invalid_return",
                error,
                "The return value was ignored."
            );
            finish(ctx, Batch::default(), None, End::Ack);
        }
        Outcome::Result(_) => settle_invalid(ctx, "a tool's result"),
        Outcome::Invalid(what) => settle_invalid(ctx, &what),
        Outcome::Failed(failure) => failed(ctx, &failure),
    }
}

/// How an engine wants it to end.
fn ending(ctx: &Context, end: Ending) -> End {
    let delivery = ctx.handling().incoming.delivery();
    let delivery = delivery.map_or_else(String::new, |delivery| delivery.id.clone());
    match end {
        Ending::Ack => End::Ack,
        Ending::Nak {
            after_ms,
            is_counted,
            reason,
            error,
        } => End::Nak(NakItem {
            delivery,
            delay_ms: after_ms,
            reason: (!reason.is_empty()).then_some(reason),
            error,
            counted: is_counted,
        }),
        Ending::Reject {
            code,
            reason,
            error,
        } => End::Reject(RejectItem {
            delivery,
            code: Some(code),
            reason: Some(reason),
            error,
        }),
    }
}

/// Leaves out, with a complaint, what only a poll, a connection or a webhook follows.
pub(crate) fn heard(ctx: &Context, batch: Batch) -> Batch {
    let is_hook = ctx.topic().starts_with("plugin.hook.");
    let ack = (batch.ack.is_some() && !is_hook).then_some("`ack`");
    let Some(what) = batch.unheard().or(ack) else {
        return batch;
    };
    complain(ctx, what);
    Batch {
        cursor: None,
        again: None,
        ack: batch.ack.filter(|_| is_hook),
        ..batch
    }
}

/// Acks, with a complaint about what the handler returned.
fn settle_invalid(ctx: &Context, what: &str) {
    complain(ctx, what);
    finish(ctx, Batch::default(), sent(ctx.handling().mode), End::Ack);
}

pub(crate) fn complain(ctx: &Context, what: &str) {
    let handling = ctx.handling();
    let error = format!("a handler returned {what}, which says nothing to the broker");
    if let Some(faults) = handling.link.faults() {
        faults.complain(&error);
    }
    let topic = handling.incoming.topic();
    tracing::warn!(
        code = "invalid_return",
        topic,
        error,
        "The return value was ignored."
    );
}

fn sent(mode: Mode) -> Option<Receipt> {
    (mode == Mode::Outbound).then(Receipt::sent)
}

fn report_unsettled(ctx: &Context, outcome: &Outcome) {
    if let Outcome::Failed(failure) = outcome {
        let topic = ctx.handling().incoming.topic();
        tracing::error!(
            topic,
            ?failure,
            "A handler failed after it had settled its event."
        );
    }
}

/// Drafts the answer to the event being handled.
pub(crate) fn reply_to(ctx: &Context, reply: Reply) -> Result<Event, Error> {
    let incoming = &ctx.handling().incoming;
    let payload = reply.payload.map_err(|error| *error)?;
    let topic = incoming.topic();
    if ctx.handling().mode == Mode::Tool {
        let text = "a tool answers by what it returns";
        return Err(Error::new(Code::InvalidArguments, text));
    }
    let (payload, topic) = if let Some(rest) = topic.strip_prefix("plugin.inbound.") {
        (
            addressed(&payload, incoming.payload())?,
            format!("plugin.outbound.{rest}"),
        )
    } else if let Some(rest) = topic.strip_prefix("plugin.outbound.") {
        (payload, format!("plugin.inbound.{rest}"))
    } else if topic.starts_with("plugin.tool.") && topic.rsplit('.').next() != Some("reply") {
        (payload, format!("{topic}.reply"))
    } else {
        return Err(no_channel("a reply"));
    };
    let mut event = Event::bare(topic, payload);
    event.session_id = incoming.session_id().map(str::to_owned);
    event.correlation_id = Some(incoming.id().to_owned());
    event.draft.is_ephemeral = incoming.delivery().is_none();
    Ok(event)
}

/// Reads a message; a bare text is a message with that `text`. None for what is neither.
pub(crate) fn message_of(payload: &Bytes) -> Option<Members> {
    if payload.as_str().trim_start().starts_with('"') {
        let mut message = Members::default();
        message.set("text", payload.clone());
        return Some(message);
    }
    Members::of(payload.as_str())
}

/// Makes a message of a reply: a text becomes its `text`, and the conversation and the referrer
/// are those of the message that is answered.
fn addressed(payload: &Bytes, answered: &str) -> Result<Bytes, Error> {
    let Some(mut message) = message_of(payload) else {
        return Ok(payload.clone());
    };
    let (None, Some(answered)) = (message.get("conversation"), Members::of(answered)) else {
        return Ok(payload.clone());
    };
    for key in ["conversation", "referrer"] {
        let value = answered.get(key).filter(|value| value.as_str() != "null");
        if let (Some(value), None) = (value, message.get(key)) {
            message.set(key, value.clone());
        }
    }
    Bytes::encode(&message)
}

fn failed(ctx: &Context, failure: &Failure) {
    let handling = ctx.handling();
    let Some(delivery) = handling.incoming.delivery() else {
        let topic = handling.incoming.topic();
        tracing::error!(topic, ?failure, "The handler of an ephemeral event failed.");
        return;
    };
    let delivery = delivery.id.clone();
    let receipt = |receipt: Receipt| (handling.mode == Mode::Outbound).then_some(receipt);
    let (receipt, end) = if let Some(reject) = failure.is::<Reject>() {
        (
            receipt(refused(reject)),
            End::Reject(reject_item(delivery, reject)),
        )
    } else if let Some(retry) = failure.is::<Retry>() {
        match &retry.after {
            Ok(_) => (
                receipt(Receipt::new(State::Queued)),
                End::Nak(nak_item(delivery, retry)),
            ),
            Err(error) => (None, End::Nak(failure_item(delivery, failure, Some(error)))),
        }
    } else if let Some(class) = crate::http::class_of(failure) {
        match class {
            Class::Wait { after_ms } => {
                let retry = Retry::after(Duration::from_millis(after_ms));
                let retry = retry.because(failure.message()).uncounted();
                let queued = receipt(Receipt::new(State::Queued));
                (queued, End::Nak(nak_item(delivery, &retry)))
            }
            Class::Final => {
                let reject = Reject::new(failure.message()).code(Code::DeliveryFailed.as_str());
                let mut item = reject_item(delivery, &reject);
                item.error = Some(handler_error(failure));
                (receipt(refused(&reject)), End::Reject(item))
            }
            Class::BackOff { .. } | Class::Ambiguous => {
                let topic = handling.incoming.topic();
                tracing::warn!(topic, ?failure, "A call of a handler failed.");
                let mut item = failure_item(delivery, failure, None);
                if let Class::BackOff {
                    at_least_ms: told @ 1..,
                } = class
                {
                    item.delay_ms = Some(told);
                }
                (None, End::Nak(item))
            }
        }
    } else if let Some(report) = crate::report::Report::of(failure) {
        ctx.instance_core().report(&report);
        let item = NakItem {
            reason: Some(failure.message()),
            counted: false,
            ..failure_item(delivery, failure, None)
        };
        (None, End::Nak(item))
    } else {
        let topic = handling.incoming.topic();
        let id = handling.incoming.id();
        tracing::error!(topic, id, ?failure, "A handler failed.");
        (
            None,
            End::Nak(failure_item(delivery, failure, failure.is::<Error>())),
        )
    };
    finish(ctx, Batch::default(), receipt, end);
}

fn refused(reject: &Reject) -> Receipt {
    let code = reject.code.clone().unwrap_or_else(|| "rejected".to_owned());
    let mut receipt = Receipt::failed("");
    receipt.error = Some(ReceiptError {
        code,
        class: Some(reject.reason.clone()),
        retryable: false,
        feature: None,
    });
    receipt
}

pub(crate) fn reject_item(delivery: String, reject: &Reject) -> RejectItem {
    RejectItem {
        delivery,
        code: reject.code.clone(),
        reason: Some(reject.reason.clone()),
        error: None,
    }
}

pub(crate) fn nak_item(delivery: String, retry: &Retry) -> NakItem {
    NakItem {
        delivery,
        delay_ms: retry.after.as_ref().ok().map(|after| in_ms(*after)),
        reason: (!retry.reason.is_empty()).then(|| retry.reason.clone()),
        error: None,
        counted: retry.is_counted,
    }
}

/// A failed attempt. An error that says when to come back is not counted as one.
fn failure_item(delivery: String, failure: &Failure, error: Option<&Error>) -> NakItem {
    let retry_after_ms = error.and_then(|error| error.retry_after_ms);
    NakItem {
        delivery,
        delay_ms: retry_after_ms,
        reason: None,
        error: Some(handler_error(failure)),
        counted: retry_after_ms.is_none(),
    }
}

fn handler_error(failure: &Failure) -> HandlerError {
    HandlerError {
        kind: failure.kind(),
        message: failure.message(),
        traceback: failure.traceback().map(str::to_owned),
    }
}

/// Says everything in one frame, as small as it can be.
fn finish(ctx: &Context, batch: Batch, receipt: Option<Receipt>, end: End) {
    let handling = ctx.handling();
    let link = &handling.link;
    let Some(delivery) = handling.incoming.delivery() else {
        publish_now(ctx, batch);
        return;
    };
    if batch.events.is_empty()
        && batch.kv.is_empty()
        && batch.timers.is_empty()
        && batch.parts.is_empty()
        && receipt.is_none()
        && batch.fault.is_none()
        && batch.ack.is_none()
    {
        match end {
            End::Ack => link.ack(&delivery.id),
            End::Nak(item) => link.notify_data(method::BROKER_NAK, &nak_params(item)),
            End::Reject(item) => link.notify_data(method::BROKER_REJECT, &reject_params(item)),
        }
        return;
    }
    let scope = Scope::Handling(ctx.clone());
    let prepared = prepare_batch(&batch, &scope).and_then(|(mut events, kv)| {
        events.retain(|event| !crate::outbound::is_echo(ctx.instance_core(), event));
        if let Some(receipt) = receipt {
            events.push(prepare(receipt_event(ctx, &receipt), &scope)?);
        }
        Ok((events, kv))
    });
    let (events, kv) = match prepared {
        Ok(prepared) => prepared,
        // What the handler gave cannot be sent: that is a failure of the handler.
        Err(error) => {
            let failure = Failure::located(error, None);
            tracing::error!(
                topic = handling.incoming.topic(),
                ?failure,
                "A result was refused."
            );
            let item = failure_item(delivery.id.clone(), &failure, None);
            link.notify_data(method::BROKER_NAK, &nak_params(item));
            return;
        }
    };
    let mut params = CommitOut {
        events: events.iter().map(out).collect(),
        kv: &kv,
        timers: &batch.timers,
        if_lock: batch.if_lock.clone(),
        respond: batch.ack.as_ref().map(Bytes::raw),
        ..CommitOut::default()
    };
    match end {
        End::Ack => params.ack.push(Cow::Borrowed(&delivery.id)),
        End::Nak(item) => params.nak.push(item),
        End::Reject(item) => params.reject.push(item),
    }
    let unsettled = Unsettled {
        ctx: ctx.clone(),
        lease: batch.lease.clone(),
    };
    link.call_then(
        method::BROKER_COMMIT,
        &params,
        move |verdict| match verdict {
            Ok(_) => drop(unsettled.lease),
            Err(error) => unsettled.refused(error),
        },
    );
}

/// A commit whose answer is awaited.
struct Unsettled {
    ctx: Context,
    /// Held until the broker has answered.
    lease: Option<Arc<Lease>>,
}

impl Unsettled {
    fn refused(self, error: Error) {
        let handling = self.ctx.handling();
        if matches!(
            error.code,
            Code::LinkLost | Code::StaleLease | Code::StaleGeneration
        ) {
            tracing::warn!(%error, "A delivery was not settled, it will come again.");
            return;
        }
        let topic = handling.incoming.topic();
        tracing::error!(topic, %error, "The commit of a handler's result was refused.");
        let Some(delivery) = handling.incoming.delivery() else {
            return;
        };
        let mut item = failure_item(delivery.id.clone(), &Failure::from(error.clone()), None);
        item.counted = !error.code.retryable();
        item.delay_ms = error.retry_after_ms;
        handling
            .link
            .notify_data(method::BROKER_NAK, &nak_params(item));
    }
}

/// Publishes what the handling of an ephemeral event gave; nobody waits for it.
fn publish_now(ctx: &Context, batch: Batch) {
    let scope = Scope::Handling(ctx.clone());
    let link: &Arc<_> = &ctx.handling().link;
    match prepare_batch(&batch, &scope) {
        Err(error) => tracing::error!(%error, "A result was refused."),
        Ok((events, kv)) if kv.is_empty() && batch.timers.is_empty() => {
            for event in &events {
                link.notify_data(method::BROKER_PUBLISH, &out(event));
            }
        }
        Ok((events, kv)) => {
            let params = CommitOut {
                events: events.iter().map(out).collect(),
                kv: &kv,
                timers: &batch.timers,
                ..CommitOut::default()
            };
            link.notify_data(method::BROKER_COMMIT, &params);
        }
    }
}

/// Drafts the receipt of the outbound event being handled.
pub(crate) fn receipt_event(ctx: &Context, receipt: &impl Serialize) -> Event {
    let incoming = &ctx.handling().incoming;
    let mut event = Event::to(String::new(), receipt);
    event.draft.target = match channel(incoming.topic()) {
        Some((kind, _)) => Target::Delivery {
            kind: Some(kind.to_owned()),
        },
        None => Target::Delivery { kind: None },
    };
    event.session_id = incoming.session_id().map(str::to_owned);
    event.correlation_id = Some(incoming.id().to_owned());
    event
}

pub(crate) fn nak_params(item: NakItem) -> NakParams {
    NakParams {
        deliveries: vec![item.delivery],
        delay_ms: item.delay_ms,
        reason: item.reason,
        error: item.error,
        counted: item.counted,
    }
}

pub(crate) fn reject_params(item: RejectItem) -> RejectParams {
    RejectParams {
        deliveries: vec![item.delivery],
        code: item.code,
        reason: item.reason,
        error: item.error,
    }
}
