//! An item to the author's function, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use trunkline_contract::error::Code;
use trunkline_patterns::poller::{Handled, NewItem, Park};
use trunkline_patterns::retry::Class;

use super::declare::Declared;
use super::store::{Piece, Waiting, pieces};
use crate::batch::Batch;
use crate::context::Context;
use crate::derived::Derived;
use crate::duration::in_ms;
use crate::handler::Work;
use crate::outcome::{Failure, Outcome, Reject, Retry};
use crate::payload::Bytes;
use crate::report::Report;
use crate::settle::complain;
use crate::timer::TimerEvent;

/// How soon a tick goes on that ended because the instance stops, or asked for help.
const STOPPED_AGAIN_MS: u64 = 10_000;

/// Calls the author's function with a new item.
pub(super) async fn hand(
    ctx: &Context,
    poll: &Declared,
    item: &NewItem,
    left: Duration,
) -> Handled<Piece> {
    let payload = match Bytes::encode(&item.item.payload()) {
        Ok(payload) => payload,
        Err(error) => return reject(&error.into()),
    };
    let outcome = call(ctx, poll, &item.event_id, &payload, left).await;
    match outcome {
        Outcome::Failed(failure) => failed(ctx, &failure),
        other => Handled::Done(pieces(said(ctx, other))),
    }
}

/// Calls the author's function with a part of a tick; its events are complete then.
pub(super) async fn call(
    ctx: &Context,
    poll: &Declared,
    id: &str,
    payload: &Bytes,
    left: Duration,
) -> Outcome {
    let part = Derived {
        kind: &poll.plan.kind,
        id,
        session: None,
        payload,
        metadata: serde_json::json!({}),
    };
    let derived = match ctx.derived(&part) {
        Ok(derived) => derived,
        Err(error) => return Outcome::Failed(error.into()),
    };
    let called = tokio::time::timeout(left, derived.call(&poll.handler)).await;
    match called {
        Err(_) => {
            let text = format!("expected an answer within {left:?}, found none");
            Outcome::Failed(trunkline_contract::error::Error::new(Code::TimedOut, text).into())
        }
        Ok(Outcome::Batch(batch)) => match derived.completed(ctx, batch) {
            Ok(batch) => Outcome::Batch(batch),
            Err(error) => Outcome::Failed(error.into()),
        },
        Ok(other) => other,
    }
}

/// Gives the batch that was returned for an item, without what means nothing there.
fn said(ctx: &Context, outcome: Outcome) -> Batch {
    let batch = match outcome {
        Outcome::Batch(batch) => batch,
        Outcome::Nothing | Outcome::Failed(_) => return Batch::default(),
        Outcome::Reply(_) => return refused(ctx, "a reply"),
        Outcome::Receipt(_) | Outcome::Text(_) => return refused(ctx, "a receipt or a text"),
        Outcome::Result(_) => return refused(ctx, "a tool's result"),
        Outcome::Invalid(what) => return refused(ctx, &what),
    };
    if let Some(what) = batch.unheard().or(batch.ack.is_some().then_some("`ack`")) {
        complain(ctx, what);
    }
    batch
}

pub(super) fn refused(ctx: &Context, what: &str) -> Batch {
    complain(ctx, what);
    Batch::default()
}

fn reject(failure: &Failure) -> Handled<Piece> {
    Handled::Parked(Park::Reject {
        reason: failure.message(),
        code: failure.code().map(|code| code.as_str().to_owned()),
    })
}

/// What the failure of an item means: it waits by itself, and holds up no other.
fn failed(ctx: &Context, failure: &Failure) -> Handled<Piece> {
    if let Some(report) = Report::of(failure) {
        ctx.instance_core().report(&report);
        return stopped(failure.message());
    }
    if ctx.is_cancelled() {
        return stopped("the tick is to end".to_owned());
    }
    if let Some(given_up) = failure.is::<Reject>() {
        return Handled::Parked(Park::Reject {
            reason: given_up.reason.clone(),
            code: given_up.code.clone(),
        });
    }
    let retry = |after_ms, counted| {
        Handled::Parked(Park::Retry {
            after_ms,
            counted,
            reason: failure.message(),
        })
    };
    if let Some(later) = failure.is::<Retry>() {
        return retry(
            later.after.as_ref().ok().map(|after| in_ms(*after)),
            later.is_counted,
        );
    }
    match crate::http::class_of(failure) {
        Some(Class::Wait { after_ms }) => retry(Some(after_ms), false),
        Some(Class::Final) => reject(failure),
        Some(Class::BackOff { at_least_ms }) => retry(Some(at_least_ms), true),
        Some(Class::Ambiguous) | None if failure.code() == Some(Code::InvalidPayload) => {
            reject(failure)
        }
        Some(Class::Ambiguous) | None => retry(None, true),
    }
}

fn stopped(reason: String) -> Handled<Piece> {
    Handled::Stopped {
        after_ms: STOPPED_AGAIN_MS,
        reason,
    }
}

/// The handler of items that wait by themselves: their failures are those of any event.
pub(super) fn work(poll: Arc<Declared>) -> Work {
    Work::Call(Arc::new(move |ctx: Context| {
        let poll = poll.clone();
        Ok(Box::pin(async move {
            match waited(&ctx, &poll).await {
                Ok(outcome) => outcome,
                Err(failure) => Outcome::Failed(failure),
            }
        }))
    }))
}

async fn waited(ctx: &Context, poll: &Declared) -> Result<Outcome, Failure> {
    let fired: TimerEvent = ctx.handling().incoming.payload_as()?;
    let waiting: Waiting = fired.data()?;
    if let Park::Reject { reason, code } = waiting.how {
        let given_up = Reject::new(reason);
        let given_up = match code {
            Some(code) => given_up.code(code),
            None => given_up,
        };
        return Err(given_up.into());
    }
    let key = poll.key(&format!("item/{}", waiting.id.replace(':', "-")));
    let payload = match &waiting.item {
        Some(item) => Bytes::encode(item)?,
        None => match ctx.kv().entry(&key).await? {
            Some(entry) => entry.value,
            None => return Err(Reject::new("expected the item under its key, found none").into()),
        },
    };
    let left = Duration::from_millis(poll.plan.timeout_ms);
    let outcome = match call(ctx, poll, &waiting.id, &payload, left).await {
        Outcome::Failed(failure) => return Err(failure),
        other => said(ctx, other),
    };
    let batch = Batch {
        cursor: None,
        again: None,
        ack: None,
        ..outcome
    };
    Ok(Outcome::Batch(match waiting.item {
        Some(_) => batch,
        None => batch.delete(key),
    }))
}
