//! A tick that asks a handler: it is given the cursor, and gives events and the next cursor.

use serde_json::Value;

use super::commit::{Alert, Commit, Next, Op, Operation};
use super::gather::Gather;
use super::options::Plan;
use super::run::{Tick, skip, skipped};
use super::state::{State, Stored, Wait, WaitReason};
use super::trouble::{Class, Trouble, fail, pause, succeed};

/// Longest cursor, in bytes.
const CURSOR_BYTES_MAX: usize = 64 * 1024;
/// A handler that is called again at once and has nothing to say is not called sooner than this after
/// its last call began.
const IDLE_MS_MIN: u64 = 1_000;

/// Is what the shell does next.
#[derive(Clone, Debug, PartialEq)]
pub enum CallStep<E> {
    /// Call the handler with this cursor, then call [`Call::returned`].
    Call(Option<Value>),
    /// Make this durable. If it is the last, it settles the tick; else call [`Call::committed`].
    Commit(Box<Commit<E>>),
}

/// Says what becomes of the cursor.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cursor {
    /// It stays.
    #[default]
    Keep,
    /// It is forgotten.
    Forget,
    /// It is this.
    Set(Value),
}

/// Is what a handler gave or raised.
#[derive(Clone, Debug, PartialEq)]
pub enum Returned<E> {
    /// Events and the next cursor, which become durable together.
    Batch {
        /// What it caused.
        ops: Vec<E>,
        /// What becomes of the cursor.
        cursor: Cursor,
        /// How soon to call again, if it said so.
        again_ms: Option<u64>,
    },
    /// It asks for time.
    Retry {
        /// How soon, in milliseconds; nothing: by the backoff.
        after_ms: Option<u64>,
        /// Whether this counts as a failure.
        counted: bool,
        /// Why.
        reason: String,
    },
    /// It gave up: an operator is needed.
    Rejected {
        /// Why.
        reason: String,
    },
    /// Somebody else is not there: time heals it.
    Unavailable {
        /// What happened.
        reason: String,
        /// How long whoever it is asked to be left alone.
        retry_after_ms: Option<u64>,
    },
    /// It raised something else, or took too long; the sixth in a row pauses.
    Failed {
        /// What happened.
        reason: String,
    },
}

/// Is one tick of a poller whose handler fetches itself.
#[derive(Debug)]
pub struct Call<E> {
    plan: Plan,
    state: State,
    durable: State,
    began_ms: u64,
    gather: Gather<E>,
    end: Option<(State, Next, Vec<Alert>)>,
}

impl<E: Operation> Call<E> {
    /// Begins a tick.
    pub fn start(plan: Plan, stored: Stored, tick: Tick) -> (Self, CallStep<E>) {
        let call = Self {
            plan,
            durable: stored.state.clone(),
            state: stored.state,
            began_ms: tick.now_ms,
            gather: Gather::new(),
            end: None,
        };
        let step = match skip(&call.state, &call.plan, tick) {
            Some(skip) => CallStep::Commit(Box::new(skipped(skip, &call.plan, tick.now_ms))),
            None => CallStep::Call(call.state.cursor.clone()),
        };
        (call, step)
    }

    /// Takes what the handler gave. `unit` is chance in `0.0..1.0`.
    pub fn returned(&mut self, returned: Returned<E>, now_ms: u64, unit: f64) -> CallStep<E> {
        let mut state = self.state.clone();
        let (next, alerts) = match returned {
            Returned::Batch {
                ops,
                cursor,
                again_ms,
            } => match self.batch(&mut state, ops, cursor, again_ms, now_ms) {
                Ok(end) => end,
                Err(trouble) => fail(&mut state, &self.plan, &trouble, now_ms, unit),
            },
            Returned::Retry {
                after_ms,
                counted,
                reason,
            } => {
                let class = if counted {
                    Class::Suspect
                } else {
                    Class::Asked
                };
                let trouble = Trouble::wish(class, reason, after_ms);
                fail(&mut state, &self.plan, &trouble, now_ms, unit)
            }
            Returned::Rejected { reason } => {
                let trouble = Trouble::new(Class::Permanent, reason.as_str());
                fail(&mut state, &self.plan, &trouble, now_ms, unit)
            }
            Returned::Unavailable {
                reason,
                retry_after_ms,
            } => {
                let class = match retry_after_ms {
                    Some(_) => Class::Asked,
                    None => Class::Transient,
                };
                let mut trouble = Trouble::new(class, reason);
                trouble.retry_after_ms = retry_after_ms;
                fail(&mut state, &self.plan, &trouble, now_ms, unit)
            }
            Returned::Failed { reason } => {
                let trouble = Trouble::new(Class::Suspect, reason);
                fail(&mut state, &self.plan, &trouble, now_ms, unit)
            }
        };
        self.end = Some((state, next, alerts));
        self.advance()
    }

    fn batch(
        &mut self,
        state: &mut State,
        ops: Vec<E>,
        cursor: Cursor,
        again_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(Next, Vec<Alert>), Trouble> {
        let is_idle = ops.is_empty();
        match cursor {
            Cursor::Keep => {}
            Cursor::Forget => state.cursor = None,
            Cursor::Set(cursor) => {
                let bytes = cursor.to_string().len();
                if bytes > CURSOR_BYTES_MAX {
                    let text = format!(
                        "expected a cursor of at most {CURSOR_BYTES_MAX} bytes, found {bytes}"
                    );
                    return Err(Trouble::new(Class::Suspect, text));
                }
                state.cursor = Some(cursor);
            }
        }
        let is_idle = is_idle && state.cursor == self.state.cursor;
        self.gather
            .put(ops.into_iter().map(Op::Own).collect(), None);
        let alerts = succeed(state, now_ms).into_iter().collect();
        let again_ms = again_ms.or(self.plan.is_immediate().then_some(0));
        let Some(again_ms) = again_ms else {
            return Ok((Next::Scheduled, alerts));
        };
        let floor_ms = if is_idle {
            IDLE_MS_MIN.saturating_sub(now_ms.saturating_sub(self.began_ms))
        } else {
            0
        };
        let wait_ms = again_ms.max(floor_ms);
        // A batch that says how soon means it: a schedule that ticks more often waits as well.
        state.wait = (wait_ms > 0).then(|| Wait::new(now_ms, wait_ms, WaitReason::Handler));
        Ok((Next::In(wait_ms), alerts))
    }

    /// Goes on after a commit that was not the last.
    pub fn committed(&mut self) -> CallStep<E> {
        self.advance()
    }

    fn advance(&mut self) -> CallStep<E> {
        let (_, is_full) = self.gather.settle();
        let last = if is_full { None } else { self.end.take() };
        let (state, next, alerts) = match last {
            None if is_full => (None, None, Vec::new()),
            None => {
                let mut state = self.state.clone();
                let alert = pause(
                    &mut state,
                    "expected another step, found this one",
                    self.began_ms,
                );
                (Some(state), Some(Next::Unchanged), vec![alert])
            }
            Some((state, next, alerts)) => (Some(state), Some(next), alerts),
        };
        let state = state.filter(|state| *state != self.durable);
        CallStep::Commit(Box::new(Commit {
            ops: self.gather.take(),
            state: state.map(Box::new),
            seen: None,
            alerts,
            skipped: None,
            last: next,
        }))
    }
}
