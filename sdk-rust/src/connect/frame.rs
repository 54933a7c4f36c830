//! One frame in the hands of the author's function: its context, and what its outcome comes to.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{HandlerError, IfLock};
use trunkline_patterns::connection::{Moved, Socket, Verdict};

use super::conn::FromSocket;
use super::declare::Connect;
use super::form::Received;
use super::store::Prepared;
use crate::batch::Batch;
use crate::context::{Context, Handling, InstanceContext};
use crate::duration::in_ms;
use crate::incoming::Incoming;
use crate::link::Link;
use crate::outbound::{is_echo, may_be_old_echoes, recall};
use crate::outcome::{Failure, Outcome, Reject, Retry};
use crate::panic::{Guarded, guarded};
use crate::payload::Bytes;
use crate::publish::{Scope, prepare_batch};
use crate::report::Report;
use crate::settle::{Mode, complain};

/// When a frame is looked at again that could not be compared with what was sent.
const RECALL_MS: u64 = 2_000;
/// How long a cancelled handler may still take.
const GRACE: Duration = Duration::from_secs(1);

/// A frame, and whom it is handled for.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) connect: Arc<Connect>,
    pub(super) ctx: InstanceContext,
    pub(super) link: Arc<Link>,
    pub(super) if_lock: IfLock,
    pub(super) socket: Socket,
    /// Names the frame in this life of the process.
    pub(super) name: String,
    pub(super) received: Arc<Received>,
}

/// What a frame came to.
pub(super) struct Handled {
    pub(super) verdict: Verdict,
    pub(super) prepared: Prepared,
}

impl Work {
    fn context(&self, id: &str, payload: &Bytes) -> Result<Context, Error> {
        let mut text = format!("{{\"id\":{id:?},\"payload\":");
        text.push_str(payload.as_str());
        text.push('}');
        let topic = format!(
            "plugin.connect.{}.{}",
            self.connect.kind,
            self.ctx.instance()
        );
        let mut incoming = Incoming::parse(&topic, &text, None)?;
        incoming.set_wide(crate::incoming::is_wide(payload.as_str()));
        let mut handling = Handling::new(
            self.ctx.clone(),
            self.link.clone(),
            Box::new(incoming),
            Mode::On,
            false,
            Instant::now() + self.connect.timeout,
        );
        handling.kind = Some(self.connect.kind.as_str().into());
        handling.from = Some(FromSocket::new(self.socket));
        Ok(Context::new(handling))
    }

    /// Calls the author's function.
    pub(super) async fn handle(self) -> Handled {
        let payload = match &self.received.payload {
            Ok(payload) => payload.clone(),
            Err((error, text)) => {
                let reject = Reject::new(error.message.clone()).code(error.code.as_str());
                return self.rejected(&reject, text.clone());
            }
        };
        let ctx = match self.context(&self.name, &payload) {
            Ok(ctx) => ctx,
            Err(error) => return self.rejected(&Reject::new(error.message), payload),
        };
        let mut outcome = self.call(&ctx).await;
        let from = ctx.handling().from.as_ref().expect("it was put there");
        let fault = from
            .fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(error) = fault {
            outcome = Outcome::Failed(Failure::located(error, None));
        }
        let is_gone = from.is_gone.load(Ordering::Acquire);
        let core = ctx.instance_core();
        if let Outcome::Batch(batch) = &outcome
            && may_be_old_echoes(core, &batch.events)
            && let Err(error) = recall(core).await
        {
            let failure = Failure::located(error.retry_after(RECALL_MS), None);
            return self.failed(&failure, is_gone, payload);
        }
        match outcome {
            Outcome::Nothing => self.done(&ctx, &payload, Batch::default()),
            Outcome::Batch(batch) => self.done(&ctx, &payload, batch),
            Outcome::Reply(_) => self.ignored(&ctx, &payload, "a reply"),
            Outcome::Receipt(_) | Outcome::Text(_) => {
                self.ignored(&ctx, &payload, "a receipt or a text")
            }
            Outcome::Result(_) => self.ignored(&ctx, &payload, "a tool's result"),
            Outcome::Invalid(what) => self.ignored(&ctx, &payload, &what),
            Outcome::Failed(failure) => self.failed(&failure, is_gone, payload),
        }
    }

    async fn call(&self, ctx: &Context) -> Outcome {
        let handled = match guarded(|| (self.connect.handler)(ctx.clone())) {
            Ok(Ok(handled)) => Guarded(handled),
            Ok(Err(error)) => {
                let code = error.code.as_str();
                return Outcome::Failed(Reject::new(error.message).code(code).into());
            }
            Err(failure) => return Outcome::Failed(failure),
        };
        tokio::pin!(handled);
        let late = tokio::select! {
            outcome = &mut handled => return outcome.unwrap_or_else(Outcome::Failed),
            () = tokio::time::sleep_until(ctx.deadline()) => self.connect.timeout,
        };
        ctx.handling().cancelled.set();
        match tokio::time::timeout(GRACE, handled).await {
            Ok(outcome) => outcome.unwrap_or_else(Outcome::Failed),
            Err(_) => {
                let text = format!("the handler did not end within {late:?}");
                Outcome::Failed(Failure::located(Error::new(Code::TimedOut, text), None))
            }
        }
    }

    fn ignored(&self, ctx: &Context, payload: &Bytes, what: &str) -> Handled {
        complain(ctx, what);
        self.done(ctx, payload, Batch::default())
    }

    fn done(&self, ctx: &Context, payload: &Bytes, mut batch: Batch) -> Handled {
        let null = |cursor: &Bytes| cursor.as_str() == "null";
        let cursor = match (batch.cursor.take(), &self.received.id) {
            (Some(cursor), _) if null(&cursor) => Moved::Forgotten,
            (Some(cursor), _) => Moved::To(cursor.as_str().to_owned()),
            (None, Some(id)) if id.is_empty() => Moved::Forgotten,
            (None, Some(id)) => {
                Moved::To(Bytes::encode(id).unwrap_or_default().as_str().to_owned())
            }
            (None, None) => Moved::Stays,
        };
        if batch.if_lock.is_some() {
            complain(ctx, "`if_lock`, whose place the connection's own lock has");
        }
        let (ack, again_ms) = (batch.ack.take(), batch.again.map(in_ms));
        let changes = !batch.kv.is_empty() || !batch.timers.is_empty();
        let key = cursor_key(&self.connect.kind);
        batch = match &cursor {
            Moved::Stays => batch,
            Moved::Forgotten => batch.delete(key),
            Moved::To(cursor) => {
                batch.put(key, Bytes::from_json(cursor.as_str()).unwrap_or_default())
            }
        };
        match self.prepare(&cursor, payload, ctx, &batch) {
            Ok((events, kv)) => Handled {
                verdict: Verdict::Done {
                    writes: changes || !events.is_empty(),
                    cursor,
                    ack: ack.is_some(),
                    again_ms,
                },
                prepared: Prepared {
                    events,
                    kv,
                    timers: batch.timers,
                    if_lock: Some(self.if_lock.clone()),
                    ack,
                    ..Prepared::default()
                },
            },
            Err(error) => self.failed(&Failure::located(error, None), false, payload.clone()),
        }
    }

    /// Completes the drafts. A frame with a cursor has an id of its own, so that the same frame said
    /// again, to whichever life of the process, makes the same events.
    fn prepare(
        &self,
        cursor: &Moved,
        payload: &Bytes,
        ctx: &Context,
        batch: &Batch,
    ) -> Result<(Vec<crate::event::Event>, Vec<trunkline_contract::rpc::KvOp>), Error> {
        let named = match cursor {
            Moved::To(cursor) => {
                let mut hash = Sha256::new();
                for part in [self.connect.kind.as_str(), cursor, payload.as_str()] {
                    hash.update((part.len() as u64).to_le_bytes());
                    hash.update(part);
                }
                self.context(&hex(&hash.finalize()[..16]), payload)?
            }
            _ => ctx.clone(),
        };
        let (mut events, kv) = prepare_batch(batch, &Scope::Handling(named))?;
        for (event, draft) in events.iter_mut().zip(&batch.events) {
            // A frame is no event, so it is no cause that could be looked up.
            event.causation_id.clone_from(&draft.causation_id);
        }
        events.retain(|event| !is_echo(ctx.instance_core(), event));
        Ok((events, kv))
    }

    fn failed(&self, failure: &Failure, is_gone: bool, payload: Bytes) -> Handled {
        if let Some(reject) = failure.is::<Reject>() {
            return self.rejected(reject, payload);
        }
        let kind = &self.connect.kind;
        let verdict = if let Some(retry) = failure.is::<Retry>() {
            match &retry.after {
                Ok(after) => Verdict::Reconnect {
                    after_ms: in_ms(*after),
                    reason: retry.reason.clone(),
                },
                Err(error) => {
                    tracing::error!(kind, %error, "A frame's handler asked for no duration.");
                    again(None, false)
                }
            }
        } else if let Some(report) = Report::of(failure) {
            self.ctx.instance_core().report(&report);
            Verdict::Over
        } else {
            if !is_gone {
                tracing::error!(kind, ?failure, "A frame's handler failed.");
            }
            let after_ms = super::driver::retry_after(failure);
            again(after_ms, is_gone)
        };
        let error = HandlerError {
            kind: failure.kind(),
            message: failure.message(),
            traceback: failure.traceback().map(str::to_owned),
        };
        Handled {
            verdict,
            prepared: Prepared {
                payload,
                reason: format!("the handler failed: {}", failure.message()),
                error: Some(error),
                ..Prepared::default()
            },
        }
    }

    fn rejected(&self, reject: &Reject, payload: Bytes) -> Handled {
        tracing::warn!(
            kind = self.connect.kind,
            reason = reject.reason,
            "A frame was refused."
        );
        Handled {
            verdict: Verdict::Reject,
            prepared: Prepared {
                payload,
                reason: match &reject.code {
                    Some(code) => format!("{code}: {}", reject.reason),
                    None => reject.reason.clone(),
                },
                ..Prepared::default()
            },
        }
    }
}

fn again(after_ms: Option<u64>, is_gone: bool) -> Verdict {
    Verdict::Failed {
        after_ms,
        is_counted: after_ms.is_none(),
        is_gone,
    }
}

/// Where the cursor of a connection is kept.
pub(super) fn cursor_key(kind: &str) -> String {
    format!("engine/connect/{kind}/cursor")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string succeeds");
        text
    })
}
