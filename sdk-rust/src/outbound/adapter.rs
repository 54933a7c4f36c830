//! One handing-over of one message: what the engine decides is done here.
//!
//! Time that a call may take is the author's `timeout`; for waits there is [`WAIT_MAX`] beside it.
//! What does not fit into this handing-over goes on in the next one.

use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::message::{ChannelFeatures, Receipt as Said, ReceiptState};
use trunkline_contract::rpc::HandlerError;
use trunkline_patterns::outbound::{
    Answer, Attempt, Called, End, Keep, NOT_SUPPORTED, NotSupported, Record, Rules, Settle, Step,
};

use super::classify::classify;
use super::fitted::{Fitted, is_later, tells_nothing, untold};
use super::limits::Limits;
use super::sent::remember;
use crate::batch::{Batch, Ending};
use crate::context::Context;
use crate::event::Event;
use crate::faults::KillAt;
use crate::handler::{AnyHandler, Work};
use crate::instance::InstanceCore;
use crate::outcome::{Failure, Outcome, Reject, Retry};
use crate::panic::{Guarded, guarded};
use crate::payload::Bytes;
use crate::publish::{Scope, commit};
use crate::receipt::{PartOf, Receipt, State};
use crate::settle::{complain, heard, receipt_event, reply_to};

/// How long a handing-over may wait for a rate, beside the time for its call.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a cancelled call may still take.
const GRACE: Duration = Duration::from_secs(1);
/// How long a record is kept: longer than any message is tried.
const RECORD_TTL: Duration = Duration::from_hours(7 * 24);
/// The longest id that stands in a key as it is.
const NAME_BYTES_MAX: usize = 128;

/// A handler with an adapter around it: always, or only where the channel's features are declared.
pub(crate) struct Cut {
    pub(super) kind: String,
    pub(super) plain: Option<Work>,
    pub(super) around: Work,
}

impl Cut {
    /// Says whether the adapter is around it as things are now.
    pub(crate) fn is_around(&self, core: &InstanceCore) -> bool {
        self.plain.is_none() || core.features().contains_key(&self.kind)
    }

    /// How events are handled as things are now.
    pub(crate) fn now(&self, core: &InstanceCore) -> &Work {
        let plain = self.plain.as_ref().filter(|_| !self.is_around(core));
        plain.unwrap_or(&self.around)
    }
}

/// What goes around an outbound handler.
pub(super) struct Adapter {
    pub(super) kind: String,
    pub(super) handler: AnyHandler,
    pub(super) reconcile: Option<AnyHandler>,
    pub(super) rules: Rules,
    pub(super) timeout: Duration,
    pub(super) is_guarded: bool,
    pub(super) limits: Limits,
}

/// What a message is, as far as the adapter looks at it.
#[derive(Deserialize, Default)]
struct Addressed {
    #[serde(default)]
    conversation: Option<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    id: String,
}

/// One handing-over at work.
struct Sending<'a> {
    adapter: &'a Adapter,
    ctx: &'a Context,
    key: String,
    target: String,
    /// What goes out instead of the message as it came.
    pieces: Vec<Option<Bytes>>,
    /// What the handler said, to become durable with the next commit.
    said: Batch,
    failure: Option<HandlerError>,
    /// A place within the rates was taken for the next call.
    has_place: bool,
    is_first: bool,
}

/// Makes a name that fits a key of an id of any length.
pub(super) fn name(id: &str) -> String {
    if id.len() <= NAME_BYTES_MAX {
        return id.to_owned();
    }
    let digest = Sha256::digest(id.as_bytes());
    let hex = digest.iter().map(|byte| format!("{byte:02x}"));
    hex.collect()
}

impl Adapter {
    /// Handles an outbound event.
    pub(super) async fn handle(&self, ctx: Context) -> Outcome {
        if ctx.delivery().is_none() {
            return self.handle_ephemeral(&ctx).await;
        }
        match self.send(&ctx).await {
            Ok(batch) => Outcome::Batch(batch),
            // Nothing was called since the last word of the broker: it is not the message's fault.
            Err(error) => {
                let retry = Retry::after("5s").because(error.to_string());
                Outcome::Failed(retry.uncounted().into())
            }
        }
    }

    /// Typing and the like: said once, or not at all.
    async fn handle_ephemeral(&self, ctx: &Context) -> Outcome {
        let fitted = self
            .features(ctx)
            .map(|features| Fitted::new(ctx, &features));
        if let Some(lacking) = fitted.as_ref().and_then(|fitted| fitted.lacking) {
            return Outcome::Batch(Batch::new([self.refusal(ctx, lacking)]));
        }
        let target = target_of(ctx);
        let Ok(None) = self.limits.take(ctx, &target, Instant::now()).await else {
            return Outcome::Nothing;
        };
        let instead = fitted.filter(|fitted| !fitted.left_out.is_empty());
        let Some(message) = instead.and_then(|fitted| fitted.message) else {
            return self.called(ctx, ctx, &self.handler).await.0;
        };
        let piece = Bytes::encode(&message).and_then(|payload| {
            let deadline = (Instant::now() + self.timeout).min(ctx.deadline());
            ctx.piece(PartOf { n: 1, of: 1 }, Some(&payload), deadline)
        });
        match piece {
            Ok(piece) => self.called(ctx, &piece, &self.handler).await.0,
            Err(error) => Outcome::Failed(Failure::located(error, None)),
        }
    }

    /// Says that nothing was tried; as ephemeral as what it answers.
    fn refusal(&self, ctx: &Context, lacking: NotSupported) -> Event {
        let mut receipt = Receipt::failed(Code::NotImplemented.as_str());
        if let Some(error) = &mut receipt.error {
            error.class = Some(NOT_SUPPORTED.to_owned());
            error.feature = Some(lacking.feature.to_owned());
        }
        tracing::debug!("{}", self.lack(lacking));
        receipt_event(ctx, &receipt).ephemeral()
    }

    fn lack(&self, lacking: NotSupported) -> String {
        format!(
            "the channel {:?} declares no {}",
            self.kind, lacking.feature
        )
    }

    fn features(&self, ctx: &Context) -> Option<ChannelFeatures> {
        ctx.instance_core().features().get(&self.kind).cloned()
    }

    async fn send(&self, ctx: &Context) -> Result<Batch, Error> {
        let key = format!("engine/outbound/{}/{}", self.kind, name(ctx.event_id()));
        let is_replay = is_replay(ctx);
        let is_known = is_replay || ctx.delivery().is_some_and(|delivery| delivery.redelivered);
        let stored: Option<Record> = if is_known {
            ctx.kv().get(&key).await?
        } else {
            None
        };
        let features = self.features(ctx);
        // Of what a part was sent, the rest is the same message, whatever the channel declares now.
        let mut begun = stored.iter().filter(|record| record.has_begun());
        let was_whole = begun.any(|record| record.degraded.is_empty());
        let fitted = match &features {
            None => Fitted::default(),
            Some(_) if was_whole => Fitted::whole(ctx),
            Some(features) => Fitted::new(ctx, features),
        };
        let chars_max = match &stored {
            Some(record) => record.chars_max,
            None => features
                .as_ref()
                .and_then(|features| features.text_chars_max),
        };
        let pieces = fitted.pieces(chars_max)?;
        let of = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        let cut = (chars_max.filter(|_| of > 1), of);
        let is_last = ctx.delivery().is_some_and(|delivery| delivery.is_last);
        let mut attempt = Attempt::new(self.rules, stored, cut, is_last, is_replay);
        attempt.degraded(fitted.left_out.iter().copied());
        let mut sending = Sending {
            adapter: self,
            ctx,
            key,
            target: target_of(ctx),
            pieces,
            said: Batch::default(),
            failure: None,
            has_place: false,
            is_first: true,
        };
        let end = match fitted.lacking {
            Some(lacking) => attempt.not_supported(lacking, &self.lack(lacking)),
            None => sending.run(&mut attempt).await?,
        };
        Ok(sending.over(end))
    }

    /// Takes back, with a complaint, what a channel without receipts cannot know.
    fn told(&self, ctx: &Context, mut receipt: Receipt) -> Said {
        let features = ctx.instance_core().features();
        if is_later(receipt.state) && tells_nothing(features.get(&self.kind)) {
            complain(ctx, &untold(receipt.state, &self.kind));
            receipt.state = State::Sent;
        }
        said_of(receipt)
    }

    /// Calls a function of the author's; says whether it was cancelled before it answered.
    async fn called(
        &self,
        whole: &Context,
        ctx: &Context,
        handler: &AnyHandler,
    ) -> (Outcome, bool) {
        // A message that does not fit the handler's type never reached it.
        let mut work = match guarded(|| handler(ctx.clone())) {
            Ok(Ok(handled)) => Guarded(handled),
            Ok(Err(error)) => {
                let code = error.code.as_str();
                let reject = Reject::new(error.message).code(code);
                return (Outcome::Failed(reject.into()), false);
            }
            Err(failure) => return (Outcome::Failed(failure), false),
        };
        if whole.handling().link.dies(KillAt::InHandler) {
            std::future::pending::<()>().await;
        }
        let ended = |handled: Result<Outcome, Failure>| handled.unwrap_or_else(Outcome::Failed);
        let handling = ctx.handling();
        tokio::select! {
            handled = &mut work => return (ended(handled), false),
            () = whole.cancelled() => {}
            () = tokio::time::sleep_until(handling.deadline) => {}
        }
        handling.cancelled.set();
        let timeout = self.timeout;
        let late = || {
            let text = format!("the handler did not end within {timeout:?}");
            Outcome::Failed(Failure::located(Error::new(Code::TimedOut, text), None))
        };
        let handled = tokio::time::timeout(GRACE, work).await;
        (handled.map_or_else(|_| late(), ended), true)
    }
}

impl Sending<'_> {
    async fn run(&mut self, attempt: &mut Attempt) -> Result<End, Error> {
        loop {
            let end = match attempt.step() {
                Step::End(end) => Some(end),
                Step::Note { .. } | Step::Call { .. } if !self.has_place => {
                    let wait_ms = self.place().await?;
                    wait_ms.map(|wait_ms| attempt.pause(wait_ms, "it waits for its turn"))
                }
                Step::Note { receipts, record } => {
                    self.note(receipts, &record).await?;
                    attempt.noted();
                    None
                }
                Step::Call { n } => {
                    self.has_place = false;
                    self.is_first = false;
                    let called = self.call(n).await;
                    attempt.called(called)
                }
                Step::Ask { n } => {
                    let answer = self.ask(n).await;
                    attempt.asked(answer)
                }
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// Takes a place within the rates; gives how long to wait elsewhere if there is none in time.
    async fn place(&mut self) -> Result<Option<u64>, Error> {
        let timeout = self.adapter.timeout;
        // The first call has its time; another one goes on later if it would not have it.
        let needed = match (self.is_first, self.adapter.is_guarded) {
            (_, true) => timeout + GRACE,
            (true, false) => Duration::ZERO,
            (false, false) => timeout / 2,
        };
        let patience = self.ctx.deadline().checked_sub(needed);
        let patience = patience.unwrap_or_else(Instant::now);
        if !self.is_first && Instant::now() > patience {
            return Ok(Some(0));
        }
        let limits = &self.adapter.limits;
        let wait_ms = limits.take(self.ctx, &self.target, patience).await?;
        self.has_place = wait_ms.is_none();
        Ok(wait_ms)
    }

    /// Makes durable that a call begins, and what is known of those before.
    async fn note(&mut self, receipts: Vec<Said>, record: &Record) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.said)
            .and(self.receipts(receipts))
            .put(self.key.as_str(), record)
            .ttl(RECORD_TTL);
        commit(&Scope::Handling(self.ctx.clone()), batch).await?;
        Ok(())
    }

    fn part(&self, n: u32) -> Result<Context, Error> {
        let of = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
        let deadline = (Instant::now() + self.adapter.timeout).min(self.ctx.deadline());
        let piece = &self.pieces[n as usize - 1];
        self.ctx.piece(PartOf { n, of }, piece.as_ref(), deadline)
    }

    async fn call(&mut self, n: u32) -> Called {
        let ctx = match self.part(n) {
            Ok(ctx) => ctx,
            Err(error) => return self.failed(&Failure::located(error, None), false),
        };
        let (outcome, is_cancelled) = self
            .adapter
            .called(self.ctx, &ctx, &self.adapter.handler)
            .await;
        let batch = match outcome {
            Outcome::Nothing => Ok(Batch::default()),
            Outcome::Receipt(receipt) => return Called::Said(self.adapter.told(&ctx, receipt)),
            Outcome::Text(id) => return Called::Said(said_of(Receipt::sent().provider_id(id))),
            Outcome::Batch(batch) => Ok(heard(&ctx, batch)),
            Outcome::Reply(reply) => reply_to(&ctx, reply).map(|event| Batch::new([event])),
            Outcome::Result(_) => Ok(complained(&ctx, "a tool's result")),
            Outcome::Invalid(what) => Ok(complained(&ctx, &what)),
            Outcome::Failed(failure) => return self.failed(&failure, is_cancelled),
        };
        // It was sent: what cannot be published beside is lost rather than sent again.
        match batch.and_then(|batch| ctx.completed(self.ctx, batch)) {
            Ok(batch) => self.said = std::mem::take(&mut self.said).and(batch),
            Err(error) => complain(&ctx, &format!("what cannot be published: {error}")),
        }
        Called::Said(said_of(Receipt::sent()))
    }

    fn failed(&mut self, failure: &Failure, is_cancelled: bool) -> Called {
        let topic = self.ctx.topic();
        let failed = if is_cancelled && self.ctx.is_cancelled() {
            trunkline_patterns::outbound::Failure::Stopped
        } else {
            classify(self.ctx, failure, is_cancelled)
        };
        tracing::warn!(topic, ?failure, "A message was not sent.");
        self.failure = Some(HandlerError {
            kind: failure.kind(),
            message: failure.message(),
            traceback: failure.traceback().map(str::to_owned),
        });
        Called::Failed(failed)
    }

    async fn ask(&mut self, n: u32) -> Answer {
        let ask = self.adapter.reconcile.as_ref();
        let ask = ask.expect("only who can be asked is asked");
        let outcome = match self.part(n) {
            Ok(ctx) => self.adapter.called(self.ctx, &ctx, ask).await.0,
            Err(error) => Outcome::Failed(Failure::located(error, None)),
        };
        match outcome {
            Outcome::Nothing => Answer::NotSent,
            Outcome::Text(id) => Answer::Said(Box::new(said_of(Receipt::sent().provider_id(id)))),
            Outcome::Receipt(receipt) => match self.adapter.told(self.ctx, receipt) {
                said if said.state == ReceiptState::Unknown => Answer::Unknown,
                said => Answer::Said(Box::new(said)),
            },
            Outcome::Failed(failure) => {
                // The failure says when to ask again; that the question failed, no more.
                drop(self.failed(&failure, false));
                let retry = failure.is::<Retry>();
                let after = retry.and_then(|retry| retry.after.as_ref().ok());
                Answer::Failed {
                    after_ms: after.map(|after| crate::duration::in_ms(*after)),
                    reason: failure.message(),
                }
            }
            _ => {
                complain(self.ctx, "an answer to `reconcile` that is no receipt");
                Answer::Unknown
            }
        }
    }

    /// Drafts receipts, and remembers what they say was sent.
    fn receipts(&self, receipts: Vec<Said>) -> Batch {
        let mut batch = Batch::default();
        for receipt in receipts {
            if let Some(id) = &receipt.provider_id {
                let part = receipt.part.as_ref();
                remember(
                    self.ctx,
                    id,
                    part.map(|part| PartOf {
                        n: part.n,
                        of: part.of,
                    }),
                );
            }
            batch = batch.event(receipt_event(self.ctx, &receipt));
        }
        batch
    }

    /// Says in one commit how it ends.
    fn over(mut self, end: End) -> Batch {
        let said = std::mem::take(&mut self.said);
        let mut batch = said.and(self.receipts(end.receipts));
        batch = match end.keep {
            Keep::AsIs => batch,
            Keep::Put(record) => batch.put(self.key.as_str(), record).ttl(RECORD_TTL),
            Keep::Drop => batch.delete(self.key.as_str()),
        };
        batch.end = Some(Box::new(match end.settle {
            Settle::Ack => Ending::Ack,
            Settle::Nak {
                after_ms,
                is_counted,
                reason,
            } => Ending::Nak {
                after_ms,
                is_counted,
                reason,
                error: self.failure,
            },
            Settle::Reject { code, reason } => Ending::Reject {
                code,
                reason,
                error: self.failure,
            },
        }));
        batch
    }
}

fn complained(ctx: &Context, what: &str) -> Batch {
    complain(ctx, &format!("{what}, which says nothing to the broker"));
    Batch::default()
}

/// A receipt as the contract has it.
fn said_of(receipt: Receipt) -> Said {
    let said = serde_json::to_value(&receipt).and_then(serde_json::from_value);
    said.expect("both are the same on the wire")
}

/// Whom the message is for: rates are per conversation, and per session where none is named.
fn target_of(ctx: &Context) -> String {
    let addressed: Addressed = serde_json::from_str(ctx.payload_text()).unwrap_or_default();
    match addressed.conversation {
        Some(conversation) => conversation.id,
        None => ctx.session().id().unwrap_or_default().to_owned(),
    }
}

/// An operator put the event back.
fn is_replay(ctx: &Context) -> bool {
    ctx.raw().contains("\"replay_of\"")
        && ctx
            .event()
            .is_ok_and(|event| event.metadata.contains_key("replay_of"))
}
