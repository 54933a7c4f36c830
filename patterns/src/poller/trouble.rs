//! What a failure means: later, seldom, or never without an operator.

use trunkline_contract::limits::FAILURES_MAX;

use super::answer::{Answer, NetworkError};
use super::commit::{Alert, AlertKind, Next};
use super::options::Plan;
use super::state::{Breaker, LastError, Paused, State, Wait, WaitReason, bounded};

/// After this many failures in a row it is tried seldom.
const BREAKER_AFTER: u32 = 5;
/// No failure is tried again sooner.
const WAIT_MS_MIN: u64 = 1_000;

/// Is a failure of a whole tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) class: Class,
    pub(super) text: String,
    pub(super) retry_after_ms: Option<u64>,
    /// Whether it is the handler that says so, of its own accord.
    pub(super) is_wish: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Time heals it.
    Transient,
    /// The server, or the handler, only asks for time.
    Asked,
    /// Time hardly heals it; the sixth in a row pauses.
    Suspect,
    /// Nothing heals it but an operator.
    Permanent,
}

impl Trouble {
    pub(super) fn new(class: Class, text: impl Into<String>) -> Self {
        Self {
            class,
            text: bounded(text),
            retry_after_ms: None,
            is_wish: false,
        }
    }

    /// Is what a handler says that only wants time.
    pub(super) fn wish(class: Class, text: impl Into<String>, after_ms: Option<u64>) -> Self {
        Self {
            retry_after_ms: after_ms,
            is_wish: true,
            ..Self::new(class, text)
        }
    }

    pub(super) fn network(error: &NetworkError) -> Self {
        let class = if error.is_final {
            Class::Suspect
        } else {
            Class::Transient
        };
        Self::new(class, error.text.as_str())
    }

    /// Says what a status means that brings no items.
    pub(super) fn status(answer: &Answer, now_ms: u64) -> Self {
        let retry_after_ms = answer.retry_after_ms(now_ms);
        let class = match (answer.status, retry_after_ms) {
            (403 | 429 | 503, Some(_)) => Class::Asked,
            (408 | 425 | 429 | 500..=599, _) => Class::Transient,
            (401 | 403 | 410, _) => Class::Permanent,
            _ => Class::Suspect,
        };
        let text = format!("expected an answer of 200 or 304, found {}", answer.status);
        Self {
            retry_after_ms,
            ..Self::new(class, text)
        }
    }
}

/// Writes a failure into the state, and says when to try again and what to tell.
pub(super) fn fail(
    state: &mut State,
    plan: &Plan,
    trouble: &Trouble,
    now_ms: u64,
    unit: f64,
) -> (Next, Vec<Alert>) {
    state.last_run_ms = Some(now_ms);
    state.last_error = Some(LastError {
        at_ms: now_ms,
        text: trouble.text.clone(),
    });
    let mut alerts = Vec::new();
    let backoff = plan.backoff();
    let wait_ms = match trouble.class {
        Class::Asked if trouble.is_wish => 0,
        Class::Asked | Class::Transient => {
            state.failures = state.failures.saturating_add(1);
            let is_many = state.failures >= BREAKER_AFTER;
            if is_many && state.breaker == Breaker::Closed {
                state.breaker = Breaker::Open;
                alerts.push(Alert {
                    kind: AlertKind::BreakerOpen,
                    text: format!("{} failures in a row: {}", state.failures, trouble.text),
                });
            }
            match (trouble.class, is_many) {
                (Class::Asked, _) => 0,
                (_, true) => backoff.jittered_ms(u32::MAX, 0.2, unit),
                (_, false) => backoff.full_jitter_ms(state.failures, unit),
            }
        }
        Class::Suspect | Class::Permanent => {
            state.strikes = state.strikes.saturating_add(1);
            let is_final = trouble.class == Class::Permanent || state.strikes >= FAILURES_MAX;
            // Before a moved poller gives up, the address that the operator wrote has its say.
            if is_final && state.moved.take().is_some() {
                state.strikes = 0;
                state.validators = None;
                state.pending = None;
            } else if is_final {
                alerts.push(pause(state, &trouble.text, now_ms));
                return (Next::Unchanged, alerts);
            }
            backoff.full_jitter_ms(state.strikes, unit)
        }
    };
    let asked_ms = trouble.retry_after_ms.unwrap_or(0);
    let reason = if trouble.is_wish {
        WaitReason::Handler
    } else if asked_ms >= wait_ms && asked_ms > 0 {
        WaitReason::Asked
    } else {
        WaitReason::Backoff
    };
    let wait_ms = wait_ms.max(asked_ms).max(WAIT_MS_MIN);
    state.wait = Some(Wait::new(now_ms, wait_ms, reason));
    (Next::In(wait_ms), alerts)
}

/// Pauses until an operator resumes.
pub(super) fn pause(state: &mut State, reason: &str, now_ms: u64) -> Alert {
    state.paused = Some(Paused {
        reason: bounded(reason),
        at_ms: now_ms,
        by_engine: true,
    });
    state.wait = None;
    Alert {
        kind: AlertKind::Paused,
        text: format!("paused: {}", bounded(reason)),
    }
}

/// Writes a success into the state, and says what to tell.
pub(super) fn succeed(state: &mut State, now_ms: u64) -> Option<Alert> {
    let recovered = (state.breaker == Breaker::Open).then(|| Alert {
        kind: AlertKind::Recovered,
        text: format!("succeeded after {} failures", state.failures),
    });
    state.failures = 0;
    state.strikes = 0;
    state.breaker = Breaker::Closed;
    state.wait = None;
    state.last_run_ms = Some(now_ms);
    state.last_success_ms = Some(now_ms);
    state.last_error = None;
    recovered
}
