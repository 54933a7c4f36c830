//! What an operator does to a poller: pause, resume, reset.

use super::commit::Next;
use super::seen::Seen;
use super::state::{Breaker, Paused, State, Stored, bounded};

/// Is what an operator wants. Running now is a tick with [`Cause::Operator`](super::Cause).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// No tick does anything until it is resumed.
    Pause {
        /// Why, for whoever looks.
        reason: String,
    },
    /// It goes on, at once; what failed before is forgiven.
    Resume,
    /// Cursor, validators and the items seen are forgotten: all that is listed is handed over anew.
    Reset,
}

/// Is what comes of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Controlled {
    /// Make this durable; the next tick is due then.
    Changed {
        /// Both keys.
        stored: Box<Stored>,
        /// When.
        next: Next,
    },
    /// It is so already.
    Refused(String),
}

/// Does to a poller what an operator wants.
pub fn control(stored: Stored, control: &Control, now_ms: u64) -> Controlled {
    let Stored { mut state, seen } = stored;
    match control {
        Control::Pause { reason } => {
            if let Some(paused) = state.paused.as_ref().filter(|paused| !paused.by_engine) {
                return Controlled::Refused(format!(
                    "expected a poller that runs, found it paused: {}",
                    paused.reason
                ));
            }
            state.paused = Some(Paused {
                reason: bounded(reason.as_str()),
                at_ms: now_ms,
                by_engine: false,
            });
            changed(state, seen, Next::Unchanged)
        }
        Control::Resume => {
            if state.paused.take().is_none() {
                return Controlled::Refused(
                    "expected a paused poller, found one that runs".to_owned(),
                );
            }
            state.failures = 0;
            state.strikes = 0;
            state.breaker = Breaker::Closed;
            state.wait = None;
            changed(state, seen, Next::In(0))
        }
        Control::Reset => {
            let next = if state.paused.is_some() {
                Next::Unchanged
            } else {
                Next::In(0)
            };
            let state = State {
                paused: state.paused,
                resets: state.resets.wrapping_add(1),
                last_run_ms: state.last_run_ms,
                last_success_ms: state.last_success_ms,
                ..State::default()
            };
            changed(state, Seen::default(), next)
        }
    }
}

fn changed(state: State, seen: Seen, next: Next) -> Controlled {
    Controlled::Changed {
        stored: Box::new(Stored { state, seen }),
        next,
    }
}
