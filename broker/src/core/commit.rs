//! `broker.commit`: events, keyed state and settlements, all or nothing.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::COMMIT_OPS_MAX;
use trunkline_contract::rpc::{self, CommitParamsRef, CommitResult, KvRevision};

use crate::router::{DeliveryId, Failure, Nak, Prepared, Reject};
use crate::store::{Commit, CommitError, Receipt, StateOp};

use super::batch::{PendingEvent, Ticket, commit_error};
use super::kv::KvTicket;
use super::peer::ReplyTo;
use super::publish::{Accepted, NotYet, publish_result};
use super::state::Core;
use super::timer::TimerChange;

/// What a commit changes beside events.
pub(crate) struct Changes {
    pub(crate) kv: Vec<KvTicket>,
    pub(crate) timers: Vec<TimerChange>,
    pub(crate) if_lock: bool,
}

impl Core {
    pub(crate) fn commit(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let mut commit = Commit::default();
        let result = self.try_commit(to, params, &mut commit);
        if result.is_err() {
            for event in &commit.events {
                self.forget_route(&event.topic, event.session.as_deref());
            }
        }
        match result {
            Ok(()) | Err(NotYet::Parked) => {}
            Err(NotYet::Refused(error)) => self.publish_refused(to, "", &error),
        }
    }

    fn try_commit(
        &mut self,
        to: &ReplyTo,
        params: Option<&RawValue>,
        commit: &mut Commit,
    ) -> Result<(), NotYet> {
        let params = rpc::params::<CommitParamsRef<'_>>(params)?;
        if params.operations() > COMMIT_OPS_MAX {
            return Err(Error::new(
                Code::InvalidArguments,
                format!(
                    "expected at most {COMMIT_OPS_MAX} operations, found {}",
                    params.operations()
                ),
            )
            .into());
        }
        let hooks = self.settled_hooks(&params)?;
        let mut events = Vec::with_capacity(params.events.len());
        for (index, publish) in params.events.iter().enumerate() {
            if publish.ephemeral {
                return Err(Error::new(
                    Code::InvalidArguments,
                    "an ephemeral event cannot be part of a commit",
                )
                .at(index)
                .into());
            }
            match self.accept(to.link, publish) {
                Ok(Accepted {
                    event,
                    route,
                    blobs,
                }) => {
                    let mut pending = self.pending(&event);
                    pending.blobs = blobs;
                    pending.meter = self.meter_of(to.link);
                    events.push(pending);
                    commit.events.push(event);
                    commit.state.extend(route);
                }
                Err(NotYet::Refused(error)) => return Err(error.at(index).into()),
                Err(NotYet::Parked) => return Err(NotYet::Parked),
            }
        }
        let mut kv = Vec::with_capacity(params.kv.len());
        for (index, op) in params.kv.iter().enumerate() {
            let ticket = self
                .kv_op(to.link, op, &mut commit.state)
                .map_err(|error| error.at(index))?;
            kv.push(ticket);
        }
        if let Some(lock) = &params.if_lock {
            commit.conditions.push(self.lock_condition(to.link, lock)?);
        }
        let timers = self.timer_ops(to, &params, &mut commit.state)?;
        let prepared = self.prepare(to, &params).inspect_err(|_| {
            for change in &timers {
                self.timer_refused(change);
            }
        });
        let prepared = prepared?;
        commit.state.extend(prepared.ops.iter().cloned());
        for ticket in &kv {
            self.kv_staged(ticket);
        }
        self.name_blobs(&events, &mut commit.state);
        let ticket = Ticket::Commit {
            to: to.clone(),
            kv,
            timers,
            if_lock: params.if_lock.is_some(),
            hooks,
        };
        self.stage_events(std::mem::take(commit), events, prepared, ticket);
        Ok(())
    }

    fn timer_ops(
        &mut self,
        to: &ReplyTo,
        params: &CommitParamsRef<'_>,
        state: &mut Vec<StateOp>,
    ) -> Result<Vec<TimerChange>, Error> {
        let mut timers = Vec::with_capacity(params.timers.len());
        for (index, op) in params.timers.iter().enumerate() {
            match self.timer_op(to.link, op, state) {
                Ok(change) => timers.push(change),
                Err(error) => {
                    for change in &timers {
                        self.timer_refused(change);
                    }
                    return Err(error.at(index));
                }
            }
        }
        Ok(timers)
    }

    fn prepare(&mut self, to: &ReplyTo, params: &CommitParamsRef<'_>) -> Result<Prepared, Error> {
        let parse = |index: usize, text: &str| DeliveryId::parse(text).ok_or_else(|| stale(index));
        let mut index = 0;
        let mut next = || {
            index += 1;
            index - 1
        };
        let acks = params
            .ack
            .iter()
            .map(|text| parse(next(), text))
            .collect::<Result<Vec<_>, _>>()?;
        let naks = params
            .nak
            .iter()
            .map(|item| {
                let nak = Nak {
                    delay_ms: item.delay_ms,
                    failure: failure(item.error.as_ref(), item.reason.as_deref()),
                    counted: item.counted,
                };
                Ok((parse(next(), &item.delivery)?, nak))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let rejects = params
            .reject
            .iter()
            .map(|item| {
                let reject = Reject {
                    code: item.code.clone(),
                    reason: item.reason.clone(),
                    failure: failure(item.error.as_ref(), item.reason.as_deref()),
                };
                Ok((parse(next(), &item.delivery)?, reject))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        if acks.is_empty() && naks.is_empty() && rejects.is_empty() {
            return Ok(Prepared::default());
        }
        self.router
            .prepare(to.link, &acks, naks, rejects, self.now)
            .map_err(stale)
    }

    pub(crate) fn committed(
        &mut self,
        to: &ReplyTo,
        events: &[PendingEvent],
        changes: Changes,
        responded: Option<bool>,
        result: Result<Receipt, CommitError>,
    ) {
        let Changes {
            kv,
            timers,
            if_lock,
        } = changes;
        match result {
            Ok(receipt) => {
                let answer = CommitResult {
                    events: (0..events.len())
                        .map(|index| publish_result(&receipt, events, index))
                        .collect(),
                    kv: kv
                        .iter()
                        .map(|ticket| KvRevision {
                            revision: ticket.revision(&receipt),
                        })
                        .collect(),
                    timers: timers.iter().map(TimerChange::result).collect(),
                    durable: None,
                    responded,
                };
                for change in timers {
                    self.timer_changed(change, &receipt);
                }
                for ticket in kv {
                    let revision = ticket.revision(&receipt);
                    self.kv_changed(ticket, revision);
                }
                self.answer(to, &answer);
            }
            Err(error) => {
                for ticket in &kv {
                    self.kv_refused(ticket);
                }
                for change in &timers {
                    self.timer_refused(change);
                }
                let mut answer = commit_error(&error);
                if let CommitError::RevisionConflict { index, .. } = error {
                    // On the wire the index is the position among the kv operations.
                    let index = kv.iter().position(|ticket| ticket.index() == index);
                    answer.index = index.map(|index| index as u32);
                }
                if if_lock && matches!(error, CommitError::ConditionFailed { .. }) {
                    answer.index = None;
                }
                self.publish_refused(to, "", &answer);
            }
        }
    }
}

fn stale(index: usize) -> Error {
    Error::new(
        Code::StaleLease,
        "expected a delivery this link holds, found one that is settled, expired or another's",
    )
    .at(index)
}

/// What a handler said, in one piece.
pub(crate) fn failure(error: Option<&rpc::HandlerError>, reason: Option<&str>) -> Option<Failure> {
    match (error, reason) {
        (Some(error), _) => Some(Failure {
            r#type: (!error.kind.is_empty()).then(|| error.kind.clone()),
            message: error.message.clone(),
            traceback: error.traceback.clone(),
        }),
        (None, Some(reason)) => Some(Failure::new(reason)),
        (None, None) => None,
    }
}
