//! The handler of ticks: what was decided is done, step by step, and the last step settles the tick.

use std::sync::Arc;
use std::time::Duration;

use trunkline_contract::error::{Code, Error};
use trunkline_patterns::poller::{
    Alert, AlertTo as PollAlert, Answer, Call, CallStep, Cause, Commit, Control, Controlled,
    Cursor, Fetch, Handled, NetworkError, Next, Plan, Returned, Run, Source, Step, Stored, Tick,
    control, event_id,
};
use trunkline_patterns::retry::Class;

use super::declare::Declared;
use super::item::{call, hand, refused};
use super::oauth::Asked;
use super::order::{Order, Told};
use super::store::{Piece, arm, batch, load, pieces};
use crate::batch::Batch;
use crate::clock::unit;
use crate::context::Context;
use crate::credential::{Lease, credential_of, filled, lock_name};
use crate::duration::in_ms;
use crate::handler::Work;
use crate::http::{Secrets, Written, answer_of, fill, http_error_of};
use crate::outcome::{Failure, Outcome, Reject, Retry};
use crate::payload::Bytes;
use crate::publish::{Scope, commit};
use crate::report::Report;
use crate::timer::TimerEvent;

/// How soon a tick comes again that gave way to another instance.
const ELSEWHERE_AGAIN: Duration = Duration::from_secs(1);
/// How long an instance is left alone that said it cannot work.
const REPORTED_MS: u64 = 60_000;

/// Is a tick being handled.
struct Ticking<'a> {
    ctx: &'a Context,
    poll: &'a Declared,
    plan: Plan,
    secrets: Secrets,
    began: tokio::time::Instant,
    told: Told,
    /// The right to ask with the credential, where there is one.
    lease: Option<Arc<Lease>>,
}

pub(super) fn work(poll: Arc<Declared>) -> Work {
    Work::Call(Arc::new(move |ctx: Context| {
        let poll = poll.clone();
        Ok(Box::pin(async move {
            match tick(&ctx, &poll).await {
                Ok(batch) => Outcome::Batch(batch),
                Err(failure) => Outcome::Failed(failure),
            }
        }))
    }))
}

async fn tick(ctx: &Context, poll: &Declared) -> Result<Batch, Failure> {
    let fired: TimerEvent = ctx.handling().incoming.payload_as()?;
    let order: Option<Order> = fired.data()?;
    let mut ticking = Ticking {
        ctx,
        poll,
        plan: poll.plan.clone(),
        secrets: Secrets::default(),
        began: tokio::time::Instant::now(),
        told: Told::default(),
        lease: None,
    };
    let stored = load(ctx, poll).await?;
    let mut cause = Cause::Timer;
    match &order {
        None => {}
        Some(order) if matches!(order.control.as_str(), "run" | "dry_run") => {
            cause = Cause::Operator;
        }
        Some(order) => return ticking.obey(stored, order),
    }
    // Who is paused keeps nobody from asking.
    let credential = match stored.state.paused {
        Some(_) => None,
        None => credential_of(ctx, poll.credential.as_deref())?,
    };
    let Some(credential) = credential else {
        return ticking.work(stored, cause, order.as_ref()).await;
    };
    let taken = tokio::select! {
        () = ctx.cancelled() => return Err(later("the instance stops")),
        taken = Lease::take(ctx, lock_name("poll", &poll.plan.kind, &credential)) => taken?,
    };
    let Some(lease) = taken else {
        return Ok(ticking.elsewhere(order.as_ref()));
    };
    ticking.lease = Some(lease.clone());
    ticking.began = tokio::time::Instant::now();
    let batch = tokio::select! {
        biased;
        () = lease.lost() => return Err(later("another instance has the credential by now")),
        batch = ticking.work(stored, cause, order.as_ref()) => batch?,
    };
    Ok(Batch {
        if_lock: Some(lease.if_lock.clone()),
        lease: Some(lease),
        ..batch
    })
}

/// A tick that comes again soon; nobody is to blame.
fn later(reason: &str) -> Failure {
    let later = Retry::after(ELSEWHERE_AGAIN).because(reason).uncounted();
    later.into()
}

impl Ticking<'_> {
    /// Asks, and gives what settles the tick.
    async fn work(
        &mut self,
        stored: Stored,
        cause: Cause,
        order: Option<&Order>,
    ) -> Result<Batch, Failure> {
        let tick = Tick {
            cause,
            now_ms: self.now_ms()?,
        };
        let is_dry = order.is_some_and(|order| order.control == "dry_run");
        let batch = if self.plan.source == Source::Handler {
            if is_dry {
                let text = "expected a poller of a feed or a list, found one that asks by itself";
                return Ok(self.refused(order, text));
            }
            self.ask_handler(stored, tick).await?
        } else {
            self.fill()?;
            if is_dry {
                self.look(stored, tick).await?
            } else {
                self.fetch_items(stored, tick).await?
            }
        };
        Ok(match order {
            Some(order) => self
                .told
                .answer(self.poll, order, batch, is_dry, &self.secrets),
            None => batch,
        })
    }

    /// Gives way to another instance that asks with the same credential; an order is refused.
    fn elsewhere(&self, order: Option<&Order>) -> Batch {
        let text = "another instance asks with the same credential";
        match order {
            Some(_) => self.refused(order, text),
            None => {
                self.log().info(text);
                let after_ms = in_ms(ELSEWHERE_AGAIN);
                arm(self.poll, Batch::default(), Next::In(after_ms))
            }
        }
    }

    /// Tells whom the author named; who cannot be told keeps nothing back.
    async fn tell(&self, alert: &Alert, text: &str) {
        let Some(whom) = self.poll.alert.as_ref().filter(|_| alert.kind.is_sent()) else {
            return;
        };
        if let Err(error) = self.send(whom, alert, text).await
            // It was told before, by a process that died then.
            && error.code != Code::IdConflict
        {
            self.log().error(format!("an alert was not sent: {error}"));
        }
    }

    async fn send(&self, whom: &PollAlert, alert: &Alert, text: &str) -> Result<(), Error> {
        let (ctx, kind) = (self.ctx, &self.plan.kind);
        let owner = ctx.hub().owner();
        let owner = owner.strip_prefix("instance.").unwrap_or(owner);
        let text = format!("{} {kind}: {text}", owner.replacen('.', "/", 1));
        let id = format!("{} {:?}", ctx.event_id(), alert.kind);
        let mut message = ctx
            .send(whom.kind.as_str(), serde_json::json!({ "text": text }))
            .to(filled(&whom.to, ctx)?)
            .id(event_id(&format!("alert {kind}"), 0, &id, 0));
        if let Some(instance) = &whom.instance {
            message = message.instance(filled(instance, ctx)?);
        }
        message.await.map(drop)
    }

    /// The time of day, by the clock that the outside has.
    fn now_ms(&self) -> Result<u64, Error> {
        Ok(self.ctx.hub().outside()?.wall_ms())
    }

    fn left(&self) -> Duration {
        Duration::from_millis(self.plan.timeout_ms).saturating_sub(self.began.elapsed())
    }

    /// Puts the config into the address.
    fn fill(&mut self) -> Result<(), Error> {
        let config = self.ctx.instance_core().config();
        let url = match &mut self.plan.source {
            Source::Feed(url) => url,
            Source::Json(options) => &mut options.url,
            Source::Handler => return Ok(()),
        };
        *url = fill(url, &config, Written::Url, &mut self.secrets)?;
        Ok(())
    }

    /// Does what an operator wants.
    fn obey(&self, stored: Stored, order: &Order) -> Result<Batch, Failure> {
        let wanted = match order.control.as_str() {
            "pause" => Control::Pause {
                reason: order.reason.clone(),
            },
            "resume" => Control::Resume,
            "reset" => Control::Reset,
            other => {
                let text = format!("expected run, pause, resume or reset, found {other:?}");
                return Err(Reject::new(text).into());
            }
        };
        match control(stored, &wanted, self.now_ms()?) {
            Controlled::Changed { stored, next } => {
                let batch = Batch::default()
                    .put(self.poll.key("state"), &stored.state)
                    .put(self.poll.key("seen"), stored.seen.encode());
                let batch = arm(self.poll, batch, next);
                let text = match wanted {
                    Control::Pause { .. } => "paused",
                    Control::Resume => "resumed, and asks at once",
                    Control::Reset => "reset: all that is listed is handed over anew",
                };
                Ok(order.answered(self.poll, batch, true, text, &[]))
            }
            Controlled::Refused(text) => Ok(self.refused(Some(order), &text)),
        }
    }

    /// Says that an order means nothing now.
    fn refused(&self, order: Option<&Order>, text: &str) -> Batch {
        self.log().warning(text);
        match order {
            Some(order) => order.answered(self.poll, Batch::default(), false, text, &[]),
            None => Batch::default(),
        }
    }

    /// Fetches and says what is new; nothing of it is kept.
    async fn look(&mut self, stored: Stored, tick: Tick) -> Result<Batch, Failure> {
        let (mut run, mut step) = Run::<Piece>::start(self.plan.clone(), stored, tick);
        loop {
            step = match step {
                Step::Fetch(fetch) => {
                    let answer = self.fetch(&fetch).await;
                    let now_ms = self.now_ms()?;
                    match answer {
                        Ok(answer) => run.answered(&answer, now_ms, unit()),
                        Err(error) => run.unanswered(&error, now_ms, unit()),
                    }
                }
                Step::Item(item) => {
                    self.told.item(&item);
                    run.handled(Handled::Done(Vec::new()), self.now_ms()?)
                }
                Step::Commit(decided) => {
                    self.told.commit(&decided);
                    if decided.last.is_some() {
                        return Ok(Batch::default());
                    }
                    run.committed(self.now_ms()?)
                }
            };
        }
    }

    fn log(&self) -> crate::log::Log {
        self.ctx.log().field("poll", self.plan.kind.as_str())
    }

    async fn fetch_items(&mut self, stored: Stored, tick: Tick) -> Result<Batch, Failure> {
        let (mut run, mut step) = Run::start(self.plan.clone(), stored, tick);
        loop {
            step = match step {
                Step::Fetch(fetch) => {
                    let answer = self.fetch(&fetch).await;
                    let now_ms = self.now_ms()?;
                    match answer {
                        Ok(answer) => run.answered(&answer, now_ms, unit()),
                        Err(error) => run.unanswered(&error, now_ms, unit()),
                    }
                }
                Step::Item(_) if self.left().is_zero() => run.timed_out(self.now_ms()?, unit()),
                Step::Item(item) => {
                    self.told.item(&item);
                    let handled = hand(self.ctx, self.poll, &item, self.left()).await;
                    run.handled(handled, self.now_ms()?)
                }
                Step::Commit(decided) => match self.commit(*decided).await? {
                    Some(last) => return Ok(last),
                    None => run.committed(self.now_ms()?),
                },
            };
        }
    }

    async fn ask_handler(&mut self, stored: Stored, tick: Tick) -> Result<Batch, Failure> {
        let (mut asked, mut step) = Call::start(self.plan.clone(), stored, tick);
        loop {
            step = match step {
                CallStep::Call(cursor) => {
                    let cursor = Bytes::encode(&cursor)?;
                    let id = self.ctx.handling().incoming.id().to_owned();
                    let core = self.ctx.instance_core();
                    // A long poll ends with its instance: what it did not give, it gives again.
                    let outcome = tokio::select! {
                        biased;
                        outcome = call(self.ctx, self.poll, &id, &cursor, self.left()) => outcome,
                        () = core.leaving().wait(), if self.plan.is_immediate() => {
                            let again = Retry::after("0s").because("the instance stops");
                            return Err(again.uncounted().into());
                        }
                    };
                    asked.returned(self.returned(outcome)?, self.now_ms()?, unit())
                }
                CallStep::Commit(decided) => match self.commit(*decided).await? {
                    Some(last) => return Ok(last),
                    None => asked.committed(),
                },
            };
        }
    }

    /// Makes a commit durable; gives it back where it is the last, which settles the tick.
    async fn commit(&mut self, decided: Commit<Piece>) -> Result<Option<Batch>, Failure> {
        for alert in &decided.alerts {
            let text = self.secrets.hide(&alert.text);
            if alert.kind.is_urgent() {
                self.log().error(&text);
            } else {
                self.log().warning(&text);
            }
            self.tell(alert, &text).await;
        }
        if let Some(skipped) = &decided.skipped {
            self.log().debug(format!("nothing was done: {skipped:?}"));
        }
        self.told.commit(&decided);
        let is_last = decided.last.is_some();
        let batch = batch(self.poll, decided, &self.secrets);
        if is_last {
            return Ok(Some(batch));
        }
        let if_lock = self.lease.as_ref().map(|lease| lease.if_lock.clone());
        let batch = Batch { if_lock, ..batch };
        match commit(&Scope::Handling(self.ctx.clone()), batch).await {
            Ok(_) => Ok(None),
            Err(error) if error.code == Code::LockLost => Err(later(&error.message)),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes one request, and takes any answer as one.
    async fn fetch(&self, fetch: &Fetch) -> Result<Answer, NetworkError> {
        let auth = &self.poll.auth;
        let Some(oauth) = auth.oauth.as_ref().filter(|_| fetch.credentials) else {
            return self.fetch_as(fetch, None).await;
        };
        let tokens = &self.poll.tokens;
        let mut is_new = false;
        loop {
            let asked = tokens.get(self.ctx, oauth, auth.is_guarded, self.left());
            let token = match asked.await {
                Asked::Token(token) => token,
                Asked::Refused(answer) => return Ok(answer),
                Asked::Unanswered(error) => return Err(error),
            };
            let answer = self.fetch_as(fetch, Some(token)).await?;
            // It may have ended before its time.
            if answer.status != 401 || is_new {
                return Ok(answer);
            }
            is_new = true;
            tokens.forget(self.ctx).await;
        }
    }

    async fn fetch_as(&self, fetch: &Fetch, token: Option<String>) -> Result<Answer, NetworkError> {
        let mut at = self.ctx.http().anywhere();
        if fetch.credentials {
            let auth = self.poll.auth.clone();
            if let Some(token) = token.or(auth.bearer) {
                at = at.bearer(token);
            }
            if let Some((user, password)) = auth.basic {
                at = at.basic(user, password);
            }
            for (name, value) in auth.headers {
                at = at.header(name, value);
            }
        }
        // Where a server leads to, nobody declared.
        if !fetch.credentials || self.poll.auth.is_guarded {
            at = at.guard();
        }
        let mut request = at.get(fetch.url.as_str()).timeout(self.left());
        for (name, value) in &fetch.headers {
            request = request.header(*name, value.as_str());
        }
        match answer_of(request).await {
            Ok(answer) => Ok(answer_from(&answer, answer.status)),
            Err((text, is_final)) => Err(NetworkError { text, is_final }),
        }
    }

    /// Reads what the function gave or raised.
    fn returned(&self, outcome: Outcome) -> Result<Returned<Piece>, Failure> {
        let mut batch = match outcome {
            Outcome::Batch(batch) => batch,
            Outcome::Nothing => Batch::default(),
            Outcome::Failed(failure) => return Ok(self.failed(&failure)),
            Outcome::Reply(_) => refused(self.ctx, "a reply"),
            Outcome::Receipt(_) | Outcome::Text(_) => refused(self.ctx, "a receipt or a text"),
            Outcome::Result(_) => refused(self.ctx, "a tool's result"),
            Outcome::Invalid(what) => refused(self.ctx, &what),
        };
        let cursor = match batch.cursor.take() {
            None => Cursor::Keep,
            Some(cursor) => match cursor.json()? {
                serde_json::Value::Null => Cursor::Forget,
                cursor => Cursor::Set(cursor),
            },
        };
        Ok(Returned::Batch {
            cursor,
            again_ms: batch.again.take().map(in_ms),
            ops: pieces(batch),
        })
    }

    fn failed(&self, failure: &Failure) -> Returned<Piece> {
        let reason = failure.message();
        if let Some(report) = Report::of(failure) {
            self.ctx.instance_core().report(&report);
            return Returned::Retry {
                after_ms: Some(REPORTED_MS),
                counted: false,
                reason,
            };
        }
        if failure.is::<Reject>().is_some() {
            return Returned::Rejected { reason };
        }
        if let Some(later) = failure.is::<Retry>() {
            return Returned::Retry {
                after_ms: later.after.as_ref().ok().map(|after| in_ms(*after)),
                counted: later.is_counted,
                reason,
            };
        }
        let retry_after_ms = match crate::http::class_of(failure) {
            Some(Class::Wait { after_ms }) => Some(after_ms),
            Some(Class::BackOff { at_least_ms }) => Some(at_least_ms).filter(|ms| *ms > 0),
            Some(Class::Ambiguous) => None,
            Some(Class::Final) => {
                let status = http_error_of(failure).and_then(|error| error.status());
                return match status {
                    Some(401 | 403 | 410) => Returned::Rejected { reason },
                    _ => Returned::Failed { reason },
                };
            }
            // A function that is too slow is a failure of its own, not of somebody else.
            None if failure.code() == Some(Code::TimedOut) => return Returned::Failed { reason },
            None if failure.code().is_some_and(Code::retryable) => None,
            None => return Returned::Failed { reason },
        };
        Returned::Unavailable {
            reason,
            retry_after_ms,
        }
    }
}

/// Gives an answer in the engine's form.
pub(super) fn answer_from(answer: &crate::http::Answer, status: u16) -> Answer {
    let headers = answer.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    Answer {
        status,
        headers: headers.collect(),
        body: answer.body.to_vec(),
    }
}
