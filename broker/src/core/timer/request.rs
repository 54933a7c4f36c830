//! `timer.set`, `cancel`, `list`, and changes inside a commit.

use serde_json::value::RawValue;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::TIMER_LIST_MAX;
use trunkline_contract::rpc::{
    self, TimerCancelParams, TimerCancelResult, TimerEntry, TimerListParams, TimerListResult,
    TimerOp, TimerOpKind, TimerSetParams, TimerSetResult, method,
};

use crate::core::batch::{Ticket, commit_error};
use crate::core::peer::{ReplyTo, Role};
use crate::core::state::Core;
use crate::instance::InstanceKey;
use crate::router::LinkId;
use crate::store::{Commit, CommitError, Expect, Receipt, StateOp};

use super::clockwork::TimerTicket;
use super::record::{Timer, check_name, key};

/// Bytes of timers in one answer of `timer.list`; one is always given.
const PAGE_BYTES: usize = 256 << 10;

/// A change of a timer on its way to the disk.
#[derive(Debug)]
pub(crate) struct TimerChange {
    of: InstanceKey,
    name: Box<str>,
    what: What,
    /// Position of its state operation in its commit.
    index: usize,
}

#[derive(Debug)]
enum What {
    Set { timer: Box<Timer>, was_new: bool },
    Cancel { was_there: bool },
    Kept { due_ms: Option<i64> },
}

impl TimerChange {
    /// What the wire says of it when it is durable.
    pub(crate) fn result(&self) -> TimerSetResult {
        match &self.what {
            What::Set { timer, .. } => TimerSetResult {
                due_at: Some(rfc3339(timer.row.due_ms)),
                kept: false,
            },
            What::Kept { due_ms } => TimerSetResult {
                due_at: due_ms.map(rfc3339),
                kept: true,
            },
            What::Cancel { .. } => TimerSetResult::default(),
        }
    }
}

impl Core {
    pub(crate) fn timer(&mut self, to: &ReplyTo, name: &str, params: Option<&RawValue>) {
        let result = match name {
            method::TIMER_SET => rpc::params::<TimerSetParams>(params)
                .and_then(|params| self.timer_request(to, &TimerOp::from(params))),
            method::TIMER_CANCEL => rpc::params::<TimerCancelParams>(params)
                .and_then(|params| self.timer_request(to, &TimerOp::cancel(params.name))),
            method::TIMER_LIST => rpc::params::<TimerListParams>(params)
                .and_then(|params| self.timer_list(to, &params)),
            name => Err(Error::new(
                Code::NotImplemented,
                format!("expected a method of timers, found {name}"),
            )),
        };
        if let Err(error) = result {
            self.refuse(to, &error);
        }
    }

    fn timer_request(&mut self, to: &ReplyTo, op: &TimerOp) -> Result<(), Error> {
        let mut commit = Commit::default();
        let change = self.timer_op(to.link, op, &mut commit.state)?;
        if commit.state.is_empty() {
            self.answer_timer(to, &change);
            return Ok(());
        }
        let ticket = TimerTicket::Asked {
            to: to.clone(),
            change,
        };
        self.stage(commit, Ticket::Timer(Box::new(ticket)));
        Ok(())
    }

    fn answer_timer(&mut self, to: &ReplyTo, change: &TimerChange) {
        match change.what {
            What::Cancel { was_there } => {
                let cancelled = was_there;
                self.answer(to, &TimerCancelResult { cancelled });
            }
            _ => self.answer(to, &change.result()),
        }
    }

    /// The instance behind a link. Clients have no timers.
    fn timer_owner(&self, link: LinkId) -> Result<InstanceKey, Error> {
        match &self.kv_peer(link)?.role {
            Role::Instance(key) => Ok(key.clone()),
            Role::Client { .. } | Role::Unknown => Err(Error::new(
                Code::Unauthorized,
                "expected an instance of a plugin, found a client: timers belong to instances",
            )),
        }
    }

    /// Makes the state operation of one change, and reserves room for it.
    pub(crate) fn timer_op(
        &mut self,
        link: LinkId,
        op: &TimerOp,
        state: &mut Vec<StateOp>,
    ) -> Result<TimerChange, Error> {
        let of = self.timer_owner(link)?;
        self.timer_op_of(of, op, state)
    }

    fn timer_op_of(
        &mut self,
        of: InstanceKey,
        op: &TimerOp,
        state: &mut Vec<StateOp>,
    ) -> Result<TimerChange, Error> {
        let name: Box<str> = op.name.as_str().into();
        let index = state.len();
        let what = match op.op {
            TimerOpKind::Cancel => {
                check_name(&name)?;
                state.push(write(&of, &name, None));
                let was_there = self.timekeeper.get(&of, &name).is_some();
                What::Cancel { was_there }
            }
            TimerOpKind::Set => {
                let set = op.set_params()?;
                let timer = Timer::new(set, self.now.wall_ms, self.random.bits())?;
                match self.kept(&of, &timer) {
                    Some(kept) => kept,
                    None => {
                        let was_new = self.timekeeper.get(&of, &name).is_none();
                        self.timekeeper.reserve(&of, &name, timer.bytes())?;
                        state.push(write(&of, &name, Some(&timer)));
                        let timer = Box::new(timer);
                        What::Set { timer, was_new }
                    }
                }
            }
        };
        Ok(TimerChange {
            of,
            name,
            what,
            index,
        })
    }

    /// What is kept in place of setting this one; none where it is set.
    fn kept(&self, of: &InstanceKey, timer: &Timer) -> Option<What> {
        let set = &timer.row.set;
        if !set.keep {
            return None;
        }
        let old = self.timekeeper.get(of, &set.name);
        if let Some(old) = old.filter(|old| old.row.set.is_same(set)) {
            let due_ms = Some(old.row.due_ms);
            return Some(What::Kept { due_ms });
        }
        let is_past = set.at.is_some() && timer.row.due_ms <= self.now.wall_ms;
        is_past.then_some(What::Kept { due_ms: None })
    }

    /// A change that is part of a commit was refused, or its commit.
    pub(crate) fn timer_refused(&mut self, change: &TimerChange) {
        if let What::Set { timer, was_new } = &change.what {
            self.timekeeper.release(&change.of, *was_new, timer.bytes());
        }
    }

    /// A change is durable.
    pub(crate) fn timer_changed(&mut self, change: TimerChange, receipt: &Receipt) {
        self.timer_refused(&change);
        let TimerChange {
            of,
            name,
            what,
            index,
        } = change;
        match what {
            What::Kept { .. } => {}
            // Its instance is gone meanwhile, and this row came after the end of the others.
            _ if !self.instances.contains_key(&of) => self.drop_row(key(&of, &name)),
            What::Cancel { .. } => self.timekeeper.drop_timer(&of, &name),
            What::Set { mut timer, .. } => {
                timer.revision = receipt.revisions[index];
                self.timekeeper.put(&of, &name, *timer);
                self.queue_timer(&of, &name);
            }
        }
    }

    pub(super) fn timer_answered(
        &mut self,
        to: &ReplyTo,
        change: TimerChange,
        result: Result<Receipt, CommitError>,
    ) {
        match result {
            Ok(receipt) => {
                self.answer_timer(to, &change);
                self.timer_changed(change, &receipt);
            }
            Err(error) => {
                self.timer_refused(&change);
                let mut error = commit_error(&error);
                error.index = None;
                self.refuse(to, &error);
            }
        }
    }

    /// Sets a timer of an instance for somebody else, who is answered when it is durable.
    pub(crate) fn set_timer_for(
        &mut self,
        of: InstanceKey,
        set: TimerSetParams,
        to: &ReplyTo,
        answer: serde_json::Value,
    ) -> Result<(), Error> {
        let mut commit = Commit::default();
        let change = self.timer_op_of(of, &TimerOp::from(set), &mut commit.state)?;
        let ticket = TimerTicket::Ordered {
            to: to.clone(),
            change,
            answer,
        };
        self.stage(commit, Ticket::Timer(Box::new(ticket)));
        Ok(())
    }

    pub(super) fn timer_ordered(
        &mut self,
        to: &ReplyTo,
        change: TimerChange,
        answer: &serde_json::Value,
        result: Result<Receipt, CommitError>,
    ) {
        match result {
            Ok(receipt) => {
                self.answer(to, answer);
                self.timer_changed(change, &receipt);
            }
            Err(error) => {
                self.timer_refused(&change);
                self.refuse(to, &commit_error(&error));
            }
        }
    }

    /// Gives the timers of an instance whose names begin so: name, when it is due, whether it is at work.
    pub(crate) fn timers_of(
        &self,
        of: &InstanceKey,
        prefix: &str,
    ) -> Vec<(String, Option<String>, bool)> {
        let set = self.timekeeper.after(of, "");
        let set = set.filter(|(name, ..)| name.starts_with(prefix));
        let mut found: Vec<_> = set
            .map(|(name, timer, running)| {
                let due = rfc3339(timer.row.due_ms);
                (name.to_string(), Some(due), running)
            })
            .collect();
        for name in self.timekeeper.running(of) {
            if name.starts_with(prefix) && !found.iter().any(|(other, ..)| other == name) {
                found.push((name.to_owned(), None, true));
            }
        }
        found
    }

    fn timer_list(&mut self, to: &ReplyTo, params: &TimerListParams) -> Result<(), Error> {
        let of = self.timer_owner(to.link)?;
        let limit = params
            .limit
            .unwrap_or(TIMER_LIST_MAX)
            .clamp(1, TIMER_LIST_MAX) as usize;
        let mut result = TimerListResult::default();
        let mut bytes = 0;
        let after = params.after.as_deref().unwrap_or_default();
        for (name, timer, running) in self.timekeeper.after(&of, after) {
            if !name.starts_with(&params.prefix) {
                continue;
            }
            bytes += timer.bytes();
            let is_full = result.timers.len() == limit || bytes > PAGE_BYTES;
            if is_full && let Some(last) = result.timers.last() {
                result.next = Some(last.set.name.clone());
                break;
            }
            result.timers.push(TimerEntry {
                set: timer.row.set.clone(),
                due_at: rfc3339(timer.row.due_ms),
                running,
            });
        }
        self.answer(to, &result);
        Ok(())
    }
}

fn write(of: &InstanceKey, name: &str, timer: Option<&Timer>) -> StateOp {
    match timer {
        Some(timer) => crate::router::put_record(key(of, name), &timer.row),
        None => StateOp {
            key: key(of, name),
            value: None,
            expect: Expect::Any,
            expires_at_ms: None,
        },
    }
}
