//! Tells whether a process that was replaced without a way back of its own arrived: it and what is meant of its instances
//! serve, at the first attempt.
//!
//! Such a process is one that instances share. It ends before the next one starts, so there is nothing beside it to be
//! tried; whoever replaced it waits here, and puts it back if it did not arrive.

use tokio::sync::{oneshot, watch};

use super::Engine;
use crate::instance::InstanceKey;
use crate::supervisor::handle::SupervisorError;
use crate::supervisor::instance::{Input, Wanted};
use crate::supervisor::state::State;

/// Somebody who waits.
pub(super) struct Arrival {
    /// What is to serve: instances of one plugin.
    meant: Vec<InstanceKey>,
    /// How many of them were seen to serve.
    there: watch::Sender<usize>,
    reply: oneshot::Sender<Result<(), SupervisorError>>,
}

/// How far something is.
enum Way {
    There,
    OnIt,
    /// It did not come so far: why, and the last it wrote to stderr.
    Lost(String, String),
}

impl Engine {
    /// Starts what is meant and ended before, and answers once all of it serves, or one ended or gave up.
    pub(super) fn await_arrival(
        &mut self,
        meant: Vec<InstanceKey>,
        there: watch::Sender<usize>,
        reply: oneshot::Sender<Result<(), SupervisorError>>,
    ) {
        for key in &meant {
            let seat = self.seat_of(key);
            let machine = self.entries.get(&seat).map(|entry| &entry.machine);
            let is_over = machine.is_some_and(|one| one.is_at_rest() || one.is_waiting());
            if is_over && !self.is_draining {
                self.feed(&seat, Input::Restart);
            }
        }
        self.arrivals.push(Arrival {
            meant,
            there,
            reply,
        });
        self.settle_arrivals();
    }

    /// Answers those whose wait is over.
    pub(super) fn settle_arrivals(&mut self) {
        if self.arrivals.is_empty() {
            return;
        }
        for arrival in std::mem::take(&mut self.arrivals) {
            if arrival.reply.is_closed() {
                continue;
            }
            let result = if self.is_draining {
                Err(SupervisorError::Draining)
            } else {
                match self.way_of_all(&arrival) {
                    Way::OnIt => {
                        self.arrivals.push(arrival);
                        continue;
                    }
                    Way::There => Ok(()),
                    Way::Lost(reason, tail) => Err(SupervisorError::NotReady { reason, tail }),
                }
            };
            // Whoever asked may have gone.
            let _best_effort = arrival.reply.send(result);
        }
    }

    fn way_of_all(&self, arrival: &Arrival) -> Way {
        let mut there = 0;
        for key in &arrival.meant {
            let process = InstanceKey::process_of(&key.plugin);
            let seat = self.seat_of(key);
            let is_shared = self.entries.get(&seat).is_some_and(|e| e.spec.is_shared);
            let both = is_shared.then_some(process).into_iter().chain([seat]);
            let mut is_there = true;
            for key in both {
                match self.way_of(&key) {
                    Way::There => {}
                    Way::OnIt => is_there = false,
                    lost @ Way::Lost(..) => return lost,
                }
            }
            there += usize::from(is_there);
        }
        arrival.there.send_if_modified(|most| {
            let is_more = there > *most;
            *most = there.max(*most);
            is_more
        });
        if there == arrival.meant.len() {
            Way::There
        } else {
            Way::OnIt
        }
    }

    fn way_of(&self, key: &InstanceKey) -> Way {
        let Some(entry) = self.entries.get(key).filter(|entry| !entry.is_removed) else {
            return Way::There;
        };
        let machine = &entry.machine;
        // Nobody waits for what the operator switched off meanwhile.
        if machine.wanted() != Wanted::Running {
            return Way::There;
        }
        let is_refused = machine.is_serving() && entry.report.state == State::NeedsAuth;
        if is_refused || machine.is_at_rest() || machine.is_waiting() {
            let reason = entry.report.reason.clone();
            let reason = reason.unwrap_or_else(|| "it ended".to_owned());
            let tail = machine.last_exit().map(|exit| exit.stderr_tail.clone());
            let name = if key.is_process() {
                "the process".to_owned()
            } else {
                key.of_seat().to_string()
            };
            return Way::Lost(format!("{name}: {reason}"), tail.unwrap_or_default());
        }
        if machine.is_serving() {
            Way::There
        } else {
            Way::OnIt
        }
    }
}
