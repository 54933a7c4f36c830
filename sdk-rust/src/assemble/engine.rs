//! What a part, or the time, does to what is kept.
//!
//! | key, under `engine/assemble/<kind>/` | value |
//! |---|---|
//! | `b/<whole>` | what is known of it: a [`Buffer`] |
//! | `p/<whole>/<place>` | one part |
//! | `d/<whole>` | it was made: what comes late is left out |
//!
//! `<whole>` is a hash of session and group. All changes of one are in the commits that settle the events
//! of its session, of which one is handled at a time.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{DeadLetterPutParams, DeadLetterPutResult, HandlerError, method};
use trunkline_patterns::assembler::{Buffer, Head, Options, Reason, Step, Whole};

use super::index::Index;
use super::part::{Assembly, Part, ordering};
use crate::batch::Batch;
use crate::context::Context;
use crate::derived::Derived;
use crate::handler::AnyHandler;
use crate::incoming::Incoming;
use crate::outcome::{Failure, Fatal, NeedsAuth, Outcome, Reject, Result, Retry, RetryLater};
use crate::payload::Bytes;
use crate::timer::{ENGINE, Schedule, TimerEvent};

/// Attempts at a whole before its parts become a dead letter.
const ATTEMPTS_MAX: u32 = 6;

pub(super) struct Assembler {
    kind: Arc<str>,
    options: Options,
    handler: AnyHandler,
    index: Index,
}

/// What a timer of an assembler brings.
#[derive(Deserialize)]
struct Due {
    whole: String,
    #[serde(default)]
    evict: bool,
}

/// Says whether an event is a part for this kind's assembler.
pub(super) fn is_part_of(incoming: &Incoming, kind: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, default)]
        kind: Option<Cow<'a, str>>,
    }
    let found = serde_json::from_str::<Kind<'_>>(incoming.payload());
    found.is_ok_and(|found| found.kind.as_deref() == Some(kind))
}

impl Assembler {
    /// At most `wholes_max` are collected at a time.
    pub(super) fn new(
        kind: Arc<str>,
        options: Options,
        wholes_max: usize,
        handler: AnyHandler,
    ) -> Self {
        Self {
            kind,
            options,
            handler,
            index: Index::new(wholes_max),
        }
    }

    /// What the names of its timers begin with.
    pub(super) fn timers(&self) -> String {
        format!("{ENGINE}assemble.{}.", self.kind)
    }

    fn key(&self, what: &str, whole: &str) -> String {
        format!("engine/assemble/{}/{what}/{whole}", self.kind)
    }

    fn place(&self, whole: &str, place: u32) -> String {
        format!("{}/{place:04}", self.key("p", whole))
    }

    /// Handles a part.
    pub(super) async fn part(&self, ctx: Context) -> Outcome {
        match self.taken(&ctx).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(error.into()),
        }
    }

    async fn taken(&self, ctx: &Context) -> Result<Outcome, Error> {
        let payload = ctx.handling().incoming.payload_bytes()?;
        let part: Part<serde::de::IgnoredAny> = ctx.handling().incoming.payload_as()?;
        let now_ms = ctx.handling().incoming.timestamp_ms()?;
        let whole = name_of(&part);
        self.know(ctx).await?;
        if ctx.kv().entry(&self.key("d", &whole)).await?.is_some() {
            tracing::debug!(
                kind = &*self.kind,
                whole,
                "A part came after its whole was made."
            );
            return Ok(Outcome::Nothing);
        }
        let kept: Option<Buffer> = ctx.kv().get(&self.key("b", &whole)).await?;
        let mut buffer =
            kept.unwrap_or_else(|| Buffer::new(part.session.clone(), part.group.clone(), now_ms));
        let head = Head {
            seq: part.seq,
            total: part.total,
            is_final: part.is_final,
            bytes: payload.as_str().len() as u64,
        };
        match buffer.add(&head, &self.options, now_ms) {
            Step::Repeat => Ok(Outcome::Nothing),
            Step::Wait { place, due_ms } => {
                let mut batch = Batch::default()
                    .put(self.key("b", &whole), &buffer)
                    .put(self.place(&whole, place), &payload);
                batch = self.timed(batch, &whole, &ordering(&part), due_ms);
                if let Some(oldest) = self.index.note(&whole, buffer.last_ms()) {
                    batch = self.evicted(ctx, batch, &oldest).await?;
                }
                Ok(Outcome::Batch(batch))
            }
            Step::Whole(made) => self.made(ctx, &whole, &buffer, made, Some(payload)).await,
        }
    }

    /// Handles a timer.
    pub(super) async fn due(&self, ctx: Context) -> Outcome {
        match self.timed_out(&ctx).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(error.into()),
        }
    }

    async fn timed_out(&self, ctx: &Context) -> Result<Outcome, Error> {
        let event: TimerEvent = ctx.handling().incoming.payload_as()?;
        let due: Due = event.data()?;
        let Some(buffer) = ctx.kv().get::<Buffer>(&self.key("b", &due.whole)).await? else {
            return Ok(Outcome::Nothing);
        };
        let at: Timestamp = event
            .due_at
            .parse()
            .map_err(|error| Error::new(Code::InvalidPayload, format!("due_at: {error}")))?;
        let now_ms = at.as_millisecond().max(0) as u64;
        let made = if due.evict {
            Some(buffer.evicted())
        } else {
            buffer.at(&self.options, now_ms)
        };
        match made {
            Some(made) => self.made(ctx, &due.whole, &buffer, made, None).await,
            // A part came between, or the options are others now.
            None => {
                let session = ctx.session().id().unwrap_or_default().to_owned();
                let due_ms = buffer.due_ms(&self.options);
                Ok(Outcome::Batch(self.timed(
                    Batch::default(),
                    &due.whole,
                    &session,
                    due_ms,
                )))
            }
        }
    }

    fn timed(&self, batch: Batch, whole: &str, session: &str, due_ms: u64) -> Batch {
        let at = Timestamp::from_millisecond(i64::try_from(due_ms).unwrap_or(i64::MAX))
            .unwrap_or(Timestamp::MAX);
        let schedule = Schedule::at(at.to_string())
            .session(session)
            .data(json!({ "whole": whole }));
        batch.timer(schedule.named_by_engine(format!("{}{whole}", self.timers())))
    }

    /// Calls the author's function with a whole, and settles what it says with the end of the buffer.
    async fn made(
        &self,
        ctx: &Context,
        whole: &str,
        buffer: &Buffer,
        made: Whole,
        last: Option<Bytes>,
    ) -> Result<Outcome, Error> {
        let parts = self.parts(ctx, whole, buffer, last).await?;
        let started_ms = i64::try_from(made.started_ms).unwrap_or_default();
        let started_at = Timestamp::from_millisecond(started_ms).unwrap_or_default();
        let assembly = Assembly {
            reason: word(made.reason).to_owned(),
            missing: made.missing,
            started_at: started_at.to_string(),
        };
        let part = ctx.derived(&Derived {
            kind: &self.kind,
            id: &format!("whole:{whole}:{}", made.started_ms),
            session: Some(&buffer.session),
            payload: &Bytes::encode(&parts)?,
            metadata: json!({ "assembly": assembly }),
        })?;
        let outcome = part.call(&self.handler).await;
        let is_last = ctx
            .delivery()
            .is_some_and(|delivery| delivery.attempt >= ATTEMPTS_MAX);
        let batch = match outcome {
            Outcome::Nothing => Batch::default(),
            Outcome::Batch(batch) => part.completed(ctx, batch)?,
            Outcome::Failed(failure) if !ends(&failure, is_last) => {
                return Ok(Outcome::Failed(failure));
            }
            Outcome::Failed(failure) => {
                self.file(ctx, whole, &parts, &failure).await?;
                Batch::default()
            }
            _ => {
                crate::settle::complain(ctx, "an answer to a message");
                Batch::default()
            }
        };
        self.index.forget(whole);
        Ok(Outcome::Batch(self.ended(batch, whole, buffer)))
    }

    /// Adds the end of a buffer to a batch.
    fn ended(&self, batch: Batch, whole: &str, buffer: &Buffer) -> Batch {
        let mut batch = batch
            .delete(self.key("b", whole))
            .engine_timer_cancel(format!("{}{whole}", self.timers()));
        for place in 0..buffer.parts() {
            batch = batch.delete(self.place(whole, place));
        }
        // Without a group the next part of the session begins the next whole.
        if buffer.group.is_some() {
            let mark = std::time::Duration::from_millis(self.options.max_age_ms);
            batch = batch.put(self.key("d", whole), true).ttl(mark);
        }
        batch
    }

    /// Gives the parts in order; the last one is not kept yet.
    async fn parts(
        &self,
        ctx: &Context,
        whole: &str,
        buffer: &Buffer,
        last: Option<Bytes>,
    ) -> Result<Vec<Bytes>, Error> {
        let prefix = format!("{}/", self.key("p", whole));
        let mut kept: Vec<Option<Bytes>> = vec![None; buffer.parts() as usize];
        for entry in ctx.kv().list(&prefix).await? {
            let place = entry
                .key
                .strip_prefix(&prefix)
                .and_then(|place| place.parse().ok());
            if let Some(slot) = place.and_then(|place: usize| kept.get_mut(place)) {
                *slot = Some(entry.value);
            }
        }
        if let (Some(last), Some(slot)) = (last, kept.last_mut()) {
            *slot = Some(last);
        }
        let order = buffer.order().into_iter();
        let parts: Vec<Bytes> = order
            .filter_map(|place| kept[place as usize].take())
            .collect();
        if parts.len() == kept.len() {
            return Ok(parts);
        }
        let text = format!(
            "expected {} parts of {whole}, found {}",
            kept.len(),
            parts.len()
        );
        Err(Error::new(Code::Internal, text))
    }

    /// Files all parts as one dead letter: nobody else has them.
    async fn file(
        &self,
        ctx: &Context,
        whole: &str,
        parts: &[Bytes],
        failure: &Failure,
    ) -> Result<(), Error> {
        let reject = failure.is::<Reject>();
        let params = DeadLetterPutParams {
            origin: format!("assembler {}/{whole}", self.kind),
            payload: Bytes::encode(&parts)?.raw().to_owned(),
            reason: reject.map_or_else(|| failure.message(), |reject| reject.reason.clone()),
            error: Some(HandlerError {
                kind: failure.kind(),
                message: failure.message(),
                traceback: failure.traceback().map(str::to_owned),
            }),
        };
        let _filed: DeadLetterPutResult = ctx.request(method::DEAD_LETTER_PUT, &params).await?;
        Ok(())
    }

    /// Learns what earlier lives collected.
    async fn know(&self, ctx: &Context) -> Result<(), Error> {
        if self.index.is_known() {
            return Ok(());
        }
        let prefix = self.key("b", "");
        let entries = ctx.kv().list(&prefix).await?;
        let open = entries.into_iter().filter_map(|entry| {
            let buffer: Buffer = entry.value.json().ok()?;
            Some((
                entry.key.strip_prefix(&prefix)?.to_owned(),
                buffer.last_ms(),
            ))
        });
        self.index.fill(open);
        Ok(())
    }

    /// Lets one whole that waits give way: it is made at once, as it is.
    async fn evicted(&self, ctx: &Context, batch: Batch, oldest: &str) -> Result<Batch, Error> {
        let Some(buffer) = ctx.kv().get::<Buffer>(&self.key("b", oldest)).await? else {
            return Ok(batch);
        };
        let mut part = Part::new(buffer.session, ());
        part.kind = Some(self.kind.to_string());
        part.group = buffer.group;
        let schedule = Schedule::after("0s")
            .session(ordering(&part))
            .data(json!({ "whole": oldest, "evict": true }));
        Ok(batch.timer(schedule.named_by_engine(format!("{}{oldest}", self.timers()))))
    }
}

/// Says whether a failure is the end of a whole.
fn ends(failure: &Failure, is_last: bool) -> bool {
    if failure.is::<Reject>().is_some() {
        return true;
    }
    let is_not_now = failure.is::<Retry>().is_some_and(|retry| !retry.is_counted)
        || failure.is::<RetryLater>().is_some()
        || failure.is::<NeedsAuth>().is_some()
        || failure.is::<Fatal>().is_some();
    is_last && !is_not_now
}

fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Complete => "complete",
        Reason::Final => "final",
        Reason::Silence => "silence",
        Reason::MaxAge => "max_age",
        Reason::MaxParts => "max_parts",
        Reason::MaxBytes => "max_bytes",
        Reason::Evicted => "evicted",
    }
}

/// Names a whole, whatever its session and group are.
fn name_of<T>(part: &Part<T>) -> String {
    let digest = Sha256::digest(ordering(part).as_bytes());
    digest[..16]
        .iter()
        .fold(String::with_capacity(32), |mut name, byte| {
            write!(name, "{byte:02x}").expect("writing to a string does not fail");
            name
        })
}

impl Context {
    /// Says why an assembler's function is called now, and what is missing; none anywhere else.
    pub fn assembly(&self) -> Option<Assembly> {
        self.handling().incoming.metadata_member("assembly")
    }
}
