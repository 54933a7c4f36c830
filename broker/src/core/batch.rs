//! Group commit: everything staged goes to the disk together, and only then is anything answered.
//!
//! It never waits for a batch to fill: what is staged when the writer is free is the next batch, and what
//! arrives meanwhile is the one after.

use std::sync::Arc;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc;

use crate::router::{Durable, MeterId, Prepared, TopicClass};
use crate::store::{Batch, Commit, CommitError, NewEvent, Receipt, Seq, StoredEvent};

use super::blob::{BlobHash, BlobTicket};
use super::commit::Changes;
use super::dead_letters::DeadTicket;
use super::kv::KvTicket;
use super::lock::LockTicket;
use super::peer::ReplyTo;
use super::state::Core;
use super::timer::{TimerChange, TimerTicket};

/// Names the batch that is under way; given back with its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchToken(pub u64);

/// An event between staging and its number.
#[derive(Debug)]
pub(crate) struct PendingEvent {
    pub(crate) event: Arc<StoredEvent>,
    pub(crate) matched: u32,
    /// Where it is counted; none for the broker's own.
    pub(crate) meter: Option<MeterId>,
    /// What it names, so that it stays.
    pub(crate) blobs: Box<[BlobHash]>,
}

/// What a commit's result is for.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// Nobody waits.
    Nothing,
    /// `broker.publish`.
    Publish(ReplyTo),
    /// `broker.commit`.
    Commit {
        to: ReplyTo,
        kv: Vec<KvTicket>,
        timers: Vec<TimerChange>,
        if_lock: bool,
        hooks: Option<super::hook::Settled>,
    },
    /// The subscription is durable: its maker may know.
    Subscribe {
        to: ReplyTo,
        result: Box<rpc::SubscribeResult>,
    },
    /// Rows, dead letters and records of the router.
    Housekeeping,
    /// `kv.put`, `kv.delete`.
    Kv { to: ReplyTo, kv: KvTicket },
    /// `lock.*`.
    Lock(LockTicket),
    /// `blob.*`.
    Blob(BlobTicket),
    /// `admin.dlq.*`, `dead_letter.put`.
    Dead(DeadTicket),
    /// `admin.plugins.enable`, `admin.plugins.disable`.
    Switched(ReplyTo),
    /// Retention forgot some events.
    Retired,
    /// `timer.*`, and what is due.
    Timer(Box<TimerTicket>),
    /// A webhook's request.
    Hook(Box<super::hook::HookTicket>),
}

#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) commit: Commit,
    pub(crate) events: Vec<PendingEvent>,
    pub(crate) prepared: Prepared,
    pub(crate) ticket: Ticket,
}

#[derive(Debug)]
struct Waiting {
    /// Dead letters that its commit changes, by the position of the operation.
    dead: Vec<(usize, super::dead_letters::Change)>,
    events: Vec<PendingEvent>,
    prepared: Prepared,
    ticket: Ticket,
}

#[derive(Debug)]
pub(crate) struct InFlight {
    token: BatchToken,
    waiting: Vec<Waiting>,
    durable: Durable,
}

impl Core {
    /// Stages a commit without events.
    pub(crate) fn stage(&mut self, commit: Commit, ticket: Ticket) {
        self.staged_bytes += state_bytes(&commit);
        self.staged.push(Staged {
            commit,
            events: Vec::new(),
            prepared: Prepared::default(),
            ticket,
        });
    }

    /// Stages a commit with its events and settlements.
    pub(crate) fn stage_events(
        &mut self,
        commit: Commit,
        events: Vec<PendingEvent>,
        prepared: Prepared,
        ticket: Ticket,
    ) {
        self.staged_bytes += commit
            .events
            .iter()
            .map(|event| event.envelope.len())
            .sum::<usize>()
            + state_bytes(&commit);
        self.staged.push(Staged {
            commit,
            events,
            prepared,
            ticket,
        });
    }

    /// The event as it is stored, and as it will be handed out once it has its number.
    pub(crate) fn pending(&mut self, event: &NewEvent) -> PendingEvent {
        let matched = self.router.matching(&event.topic).len() as u32;
        PendingEvent {
            event: Arc::new(StoredEvent {
                seq: 0,
                stored_at_ms: self.now.wall_ms,
                topic: event.topic.clone(),
                source: event.source.clone(),
                session: event.session.clone(),
                expires_at_ms: event.expires_at_ms,
                envelope: event.envelope.clone(),
            }),
            matched,
            meter: None,
            blobs: Box::default(),
        }
    }

    /// Makes every changed position due now (before a stop, or when somebody waits for quiet).
    pub fn flush_positions(&mut self) {
        self.router.flush_now(self.now);
    }

    /// Says whether nothing is on its way to the disk and nothing waits for it.
    pub fn is_quiet(&self) -> bool {
        self.in_flight.is_none() && self.staged.is_empty() && self.router.next_flush().is_none()
    }

    /// The next batch for the store, when the last one is done and there is something to write. Its result
    /// goes to [`Core::batch_done`].
    pub fn take_batch(&mut self) -> Option<(BatchToken, Batch)> {
        if self.in_flight.is_some() {
            return None;
        }
        if self.staged.is_empty() && !self.router.wants_flush(self.now) {
            return None;
        }
        let staged = std::mem::take(&mut self.staged);
        self.staged_bytes = 0;
        let writes: usize = staged
            .iter()
            .map(|s| s.commit.events.len() + s.commit.state.len())
            .sum();
        let head_estimate = self.last_seq + writes as Seq + 1;
        let mut last: Option<&Arc<str>> = None;
        for event in staged.iter().flat_map(|s| &s.commit.events) {
            if last.is_none_or(|topic| !Arc::ptr_eq(topic, &event.topic)) {
                self.router.reserve_for(&event.topic, head_estimate);
                last = Some(&event.topic);
            }
        }
        let prepared: Vec<(usize, &Prepared)> = staged
            .iter()
            .enumerate()
            .filter(|(_, s)| !s.prepared.is_empty())
            .map(|(index, s)| (index, &s.prepared))
            .collect();
        let mut durable = self.router.durable(head_estimate, &prepared, staged.len());
        drop(prepared);
        let mut commits = Vec::with_capacity(staged.len() + 1);
        let mut waiting = Vec::with_capacity(staged.len() + 1);
        for Staged {
            commit,
            events,
            prepared,
            ticket,
        } in staged
        {
            let dead = dead_changes(&commit);
            commits.push(commit);
            waiting.push(Waiting {
                dead,
                events,
                prepared,
                ticket,
            });
        }
        if !durable.ops.is_empty() {
            let commit = Commit {
                state: durable.ops.clone(),
                ..Commit::default()
            };
            let dead = dead_changes(&commit);
            commits.push(commit);
            waiting.push(Waiting {
                dead,
                events: Vec::new(),
                prepared: Prepared::default(),
                ticket: Ticket::Housekeeping,
            });
        }
        let trailer = std::mem::take(&mut durable.trailer);
        let trailer: Option<Box<dyn crate::store::Trailer>> = if trailer.is_empty() {
            None
        } else {
            Some(Box::new(trailer))
        };
        let token = BatchToken(self.last_seq);
        self.in_flight = Some(InFlight {
            token,
            waiting,
            durable,
        });
        self.counters.add("batches", 1);
        self.meter.batch_commits.record(commits.len() as u64);
        Some((
            token,
            Batch {
                commits,
                trailer,
                now_ms: self.now.wall_ms,
            },
        ))
    }

    /// The store took so long for the batch that is done now.
    pub fn synced(&mut self, took_us: u64) {
        self.meter.sync_us.record(took_us);
    }

    /// A batch is durable. From here on its events may be delivered and its publishers told.
    pub fn batch_done(&mut self, token: BatchToken, results: Vec<Result<Receipt, CommitError>>) {
        let Some(InFlight {
            token: expected,
            waiting,
            durable,
        }) = self.in_flight.take()
        else {
            return;
        };
        assert_eq!(
            token, expected,
            "batches come back in the order they were given out"
        );
        assert_eq!(waiting.len(), results.len(), "every commit has a result");
        let mut housekept = true;
        for (waiting, result) in waiting.into_iter().zip(results) {
            if let Ok(receipt) = &result {
                let events = receipt.events.iter().map(|event| event.seq);
                let seqs = events.chain(receipt.revisions.iter().copied());
                self.last_seq = self.last_seq.max(seqs.max().unwrap_or(0));
            } else if matches!(waiting.ticket, Ticket::Housekeeping) {
                housekept = false;
            }
            self.commit_done(waiting, result);
        }
        // The positions of the trailer took numbers as well.
        self.last_seq += durable.reserved.len() as Seq;
        self.router.durable_done(durable, housekept, self.now);
        self.timers_go_on();
    }

    fn commit_done(&mut self, waiting: Waiting, result: Result<Receipt, CommitError>) {
        let Waiting {
            dead,
            mut events,
            prepared,
            ticket,
        } = waiting;
        if let Ok(receipt) = &result {
            for (index, change) in dead {
                self.dead.note(change, receipt.revisions[index]);
            }
            for (pending, receipt) in events.iter_mut().zip(&receipt.events) {
                if receipt.duplicate {
                    self.counters.add("duplicates", 1);
                    if let Some(meter) = pending.meter {
                        self.router.meters_mut().get(meter).duplicates += 1;
                    }
                    continue;
                }
                Arc::get_mut(&mut pending.event)
                    .expect("shared only from here on")
                    .seq = receipt.seq;
                self.counters.add("events_stored", 1);
                let class = TopicClass::of(&pending.event.topic);
                self.meter.stored[class.index()] += 1;
                if class == TopicClass::DELIVERY {
                    self.receipt_stored(&pending.event);
                }
                if let Some(meter) = pending.meter {
                    let meter = self.router.meters_mut().get(meter);
                    meter.stored(class, pending.matched, self.now.wall_ms);
                }
                if pending.matched == 0 {
                    self.counters.add("events_unmatched", 1);
                    self.meter.unmatched[class.index()] += 1;
                    self.notes.unmatched(&pending.event);
                }
                self.span_stored(pending);
                self.ring.push(pending.event.clone());
                self.retirement.stored(pending.event.envelope.len());
                self.router.committed(&pending.event);
            }
        }
        self.blobs_named(&events, &result);
        if result.is_err() {
            for pending in &events {
                let event = pending.event.clone();
                self.forget_route(&event.topic, event.session.as_deref());
            }
        }
        if !prepared.is_empty() {
            if result.is_ok() {
                self.spans_settled(&prepared);
            }
            self.router.finish(prepared, result.is_ok(), self.now);
        }
        match ticket {
            Ticket::Nothing | Ticket::Housekeeping => {}
            Ticket::Publish(to) => self.published(&to, &events, result),
            Ticket::Commit {
                to,
                kv,
                timers,
                if_lock,
                hooks,
            } => {
                let hooks = hooks.filter(|_| result.is_ok());
                let responded = hooks.and_then(|hooks| self.answer_hooks(to.link, hooks));
                let state = Changes {
                    kv,
                    timers,
                    if_lock,
                };
                self.committed(&to, &events, state, responded, result);
            }
            Ticket::Subscribe { to, result: answer } => match result {
                Ok(_) => self.answer(&to, &*answer),
                Err(error) => self.refuse(&to, &commit_error(&error)),
            },
            Ticket::Kv { to, kv } => self.kv_done(&to, kv, result),
            Ticket::Lock(ticket) => self.lock_done(ticket, result),
            Ticket::Blob(ticket) => self.blob_committed(ticket, result.map(|_| ())),
            Ticket::Dead(ticket) => self.dead_done(ticket, result),
            Ticket::Switched(to) => self.switched(&to, result),
            Ticket::Timer(ticket) => self.timer_done(*ticket, result),
            Ticket::Hook(ticket) => self.hooked(*ticket, &events, result),
            Ticket::Retired => self.retired(result.is_ok()),
        }
        self.resume_tails();
    }
}

fn state_bytes(commit: &Commit) -> usize {
    let values = commit.state.iter().filter_map(|op| op.value.as_ref());
    values.map(Vec::len).sum()
}

fn dead_changes(commit: &Commit) -> Vec<(usize, super::dead_letters::Change)> {
    let ops = commit.state.iter().enumerate();
    ops.filter_map(|(index, op)| Some((index, super::dead_letters::Change::of(op)?)))
        .collect()
}

/// What the wire says of a refused commit.
pub(crate) fn commit_error(error: &CommitError) -> Error {
    match error {
        CommitError::IdConflict { index, seq } => Error::new(
            Code::IdConflict,
            format!(
                "expected a new id or the same body, found another body under this id at seq {seq}"
            ),
        )
        .at(*index),
        CommitError::RevisionConflict { index, found } => Error::new(
            Code::RevisionConflict,
            match found {
                Some(found) => format!("expected another revision, found {found}"),
                None => "expected a revision, found no such key".to_owned(),
            },
        )
        .at(*index)
        .detail(serde_json::json!({ "found": found })),
        CommitError::ConditionFailed { index } => Error::new(
            Code::LockLost,
            "expected the lock to be held with this token, found it gone or taken",
        )
        .at(*index),
        CommitError::StorageFull => Error::new(
            Code::StorageFull,
            "the store is full; settlements still work. Free disk space or lower retention",
        )
        .retry_after(5_000),
    }
}
