//! One frame after the other: to the handler, to the store, and back to the server.

use super::super::io::{Frame, Output};
use super::super::work::{After, CommitFault, FAILURES_MAX, Stage, Store, Storing, Verdict, Work};
use super::{EndKind, FRAMES_WAITING_MAX, Machine, Phase, SPREAD, Step};

impl<F: Frame + Clone> Machine<F> {
    /// Goes on with the frame at work, or begins with the next one.
    pub(super) fn work(&mut self, step: &mut Step<'_, F>) {
        let is_ending = matches!(self.phase, Phase::Ending(_));
        if let Some(work) = &mut self.work {
            // Who leaves waits for nothing: what is not done will come again, or was never acked.
            if is_ending && work.due_ms().is_some() {
                self.work = None;
                self.queue.clear();
                return;
            }
            if work.due_ms().is_none_or(|due| due > step.now_ms) {
                return;
            }
            match std::mem::replace(&mut work.stage, Stage::Handing) {
                Stage::Waiting { storing, .. } => {
                    step.put(Output::Store(work.number, storing.what));
                    work.stage = Stage::Storing(storing);
                }
                _ => step.put(Output::Hand {
                    socket: work.socket,
                    number: work.number,
                    attempt: work.failures + 1,
                    frame: work.frame.clone(),
                }),
            }
            return;
        }
        let Some((socket, frame)) = self.queue.pop_front() else {
            return;
        };
        let now_ms = step.now_ms;
        if let Some(live) = self.live(socket) {
            // Nothing was read while it was full, so nothing was heard.
            if live.waiting >= FRAMES_WAITING_MAX {
                live.heard(now_ms);
            }
            live.waiting -= 1;
        }
        self.last_number += 1;
        let number = self.last_number;
        if self.is_open(socket) {
            step.put(Output::Room(socket));
        }
        step.put(Output::Hand {
            socket,
            number,
            attempt: 1,
            frame: frame.clone(),
        });
        self.work = Some(Work {
            socket,
            number,
            frame,
            failures: 0,
            stage: Stage::Handing,
        });
    }

    pub(super) fn handled(&mut self, verdict: Verdict, step: &mut Step<'_, F>) {
        let Some(work) = &mut self.work else { return };
        if !matches!(work.stage, Stage::Handing) {
            return;
        }
        let socket = work.socket;
        match verdict {
            Verdict::Done {
                writes,
                cursor,
                ack,
                again_ms,
            } => {
                let moves = cursor.clone().from(self.cursor.clone()) != self.cursor;
                let after = After {
                    cursor,
                    ack,
                    again_ms,
                };
                if writes || moves {
                    self.store(Store::Batch, after, step);
                } else {
                    self.done(after, step);
                }
            }
            Verdict::Reconnect { after_ms, reason } => {
                self.work = None;
                if self.live(socket).is_some() && !matches!(self.phase, Phase::Ending(_)) {
                    self.reconnect(after_ms, reason, step);
                }
            }
            Verdict::Reject => self.store(Store::DeadLetter, After::default(), step),
            Verdict::Failed { is_gone: true, .. } => self.work = None,
            Verdict::Failed {
                after_ms,
                is_counted,
                ..
            } => self.failed(after_ms, is_counted, step),
            Verdict::Over => {
                self.work = None;
                self.queue.clear();
                if !matches!(self.phase, Phase::Ending(_)) {
                    self.phase = Phase::Ending(EndKind::Fatal);
                }
            }
        }
    }

    fn store(&mut self, what: Store, after: After, step: &mut Step<'_, F>) {
        let Some(work) = &mut self.work else { return };
        step.put(Output::Store(work.number, what));
        work.stage = Stage::Storing(Storing {
            what,
            after,
            tries: 0,
        });
    }

    fn failed(&mut self, after_ms: Option<u64>, is_counted: bool, step: &mut Step<'_, F>) {
        let Some(work) = &mut self.work else { return };
        if is_counted {
            work.failures += 1;
            if work.failures >= FAILURES_MAX {
                self.store(Store::DeadLetter, After::default(), step);
                return;
            }
        }
        let retry = &self.options.retry;
        let wait_ms = after_ms
            .unwrap_or_else(|| retry.jittered_ms(work.failures, SPREAD, (step.unit)()))
            .max(1);
        work.stage = Stage::Resting {
            until_ms: step.now_ms + wait_ms,
        };
    }

    pub(super) fn stored(&mut self, result: Result<(), CommitFault>, step: &mut Step<'_, F>) {
        let Some(work) = &mut self.work else { return };
        let Stage::Storing(storing) = &work.stage else {
            return;
        };
        let mut storing = storing.clone();
        match result {
            Ok(()) => self.done(storing.after, step),
            Err(CommitFault::LockLost) => self.lock_lost(step),
            Err(CommitFault::Later) => {
                storing.tries += 1;
                let unit = (step.unit)();
                let wait_ms = self.options.commit.jittered_ms(storing.tries, SPREAD, unit);
                work.stage = Stage::Waiting {
                    until_ms: step.now_ms + wait_ms.max(1),
                    storing,
                };
            }
            // A dead letter that is refused will not be taken later either.
            Err(CommitFault::Refused) if storing.what == Store::DeadLetter => self.work = None,
            Err(CommitFault::Refused) => self.failed(None, true, step),
        }
    }

    /// The frame is handled, and what it came to is durable.
    fn done(&mut self, after: After, step: &mut Step<'_, F>) {
        let Some(work) = self.work.take() else { return };
        self.cursor = after.cursor.from(self.cursor.take());
        if after.ack && self.is_writable(work.socket) {
            step.put(Output::Ack(work.socket, work.number));
        }
        let Some(again_ms) = after.again_ms else {
            return;
        };
        if self.live(work.socket).is_some() && !matches!(self.phase, Phase::Ending(_)) {
            let reason = "the handler asked for a new connection".to_owned();
            self.replace(again_ms, reason, step);
        }
    }
}
