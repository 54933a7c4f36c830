//! Locks: named, fenced rights across processes and hosts.
//!
//! A lock is two records, so that a renewal does not change the token:
//!
//! | key | written | value |
//! |---|---|---|
//! | `l/<name>` | when it is taken | holder; its revision **is** the token |
//! | `lx/<name>` | when it is taken or renewed | when it runs out (wall clock), time to live |
//!
//! `if_lock` of a commit is a condition on the revision of `l/<name>`: a commit of an older holder is
//! refused by the store itself, whatever this table believes. The table in memory decides who gets a lock
//! next; it counts by the monotonic clock, and by the wall clock only over a restart.
//!
//! A lock ends by its time to live or by `lock.release`, never by a link that ends: neither a reconnect nor
//! a restart of the broker loses it. The same source takes its own lock again (under a new token) once the
//! link that took it is gone.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::id::is_client_name;
use trunkline_contract::limits::LOCK_TTL_MS_MIN;
use trunkline_contract::rpc::{self, LockAcquireResult, LockReleaseParams, method};

use crate::clock::Now;
use crate::router::LinkId;
use crate::store::{Commit, CommitError, Condition, Expect, Receipt, Seq, StateEntry, StateOp};

use super::batch::{Ticket, commit_error};
use super::limits::{LOCK_TTL_MS_MAX, LOCK_WAITERS_MAX, LOCKS_MAX};
use super::peer::{ReplyTo, Role};
use super::state::{Core, Timer};

/// Locks that are held or waited for.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    by_name: FxHashMap<Arc<str>, Lock>,
    /// When each lock has to be looked at.
    due: BTreeSet<(u64, Arc<str>)>,
    armed: Option<u64>,
}

#[derive(Debug, Default)]
struct Lock {
    holder: Option<Holder>,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug, Clone)]
struct Holder {
    source: Arc<str>,
    /// The link that took or renewed it last; unknown after a restart.
    link: Option<LinkId>,
    /// The name as the holder says it.
    asked: Box<str>,
    /// 0 until it is durable.
    token: Seq,
    ttl_ms: u64,
    deadline_ms: u64,
    /// It is being given back.
    is_leaving: bool,
}

#[derive(Debug, Clone)]
struct Waiter {
    to: ReplyTo,
    source: Arc<str>,
    asked: Box<str>,
    ttl_ms: u64,
    deadline_ms: u64,
}

/// A lock that is being written.
#[derive(Debug)]
pub(crate) struct LockTicket {
    name: Arc<str>,
    what: Writing,
}

#[derive(Debug)]
enum Writing {
    Take {
        to: ReplyTo,
    },
    Renew {
        to: ReplyTo,
        token: Seq,
        expires_at_ms: i64,
    },
    Release {
        to: ReplyTo,
    },
    Expire,
}

#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    source: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Expiry {
    expires_at_ms: i64,
    ttl_ms: u64,
}

impl Locks {
    /// Brings the table back from `l/` and `lx/`.
    pub(crate) fn restore(taken: &[StateEntry], expiries: &[StateEntry], now: Now) -> Self {
        let mut table = Self::default();
        let name_of = |entry: &StateEntry, prefix: &str| {
            let text = String::from_utf8_lossy(&entry.key).into_owned();
            text.strip_prefix(prefix).map(Arc::<str>::from)
        };
        let expiries: FxHashMap<Arc<str>, Expiry> = expiries
            .iter()
            .filter_map(|entry| {
                let expiry = serde_json::from_slice(&entry.value).ok()?;
                Some((name_of(entry, "lx/")?, expiry))
            })
            .collect();
        for entry in taken {
            let Some(name) = name_of(entry, "l/") else {
                continue;
            };
            let source = serde_json::from_slice::<Taken>(&entry.value)
                .map(|taken| taken.source)
                .unwrap_or_default();
            let (ttl_ms, left_ms) = expiries.get(&name).map_or((0, 0), |expiry| {
                let left = expiry.expires_at_ms.saturating_sub(now.wall_ms).max(0);
                // A wall clock that jumped back must not keep a lock for longer than it was taken.
                (expiry.ttl_ms, (left as u64).min(expiry.ttl_ms))
            });
            let holder = Holder {
                source: source.into(),
                link: None,
                asked: name.as_ref().into(),
                token: entry.revision,
                ttl_ms,
                deadline_ms: now.mono_ms + left_ms,
                is_leaving: false,
            };
            table.due.insert((holder.deadline_ms, name.clone()));
            table.by_name.entry(name).or_default().holder = Some(holder);
        }
        table
    }

    /// When the first lock has to be looked at.
    pub(crate) fn first_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    fn holder(&mut self, name: &str, source: &str, token: Seq) -> Result<&mut Holder, Error> {
        self.by_name
            .get_mut(name)
            .and_then(|lock| lock.holder.as_mut())
            .filter(|holder| {
                holder.token == token && *holder.source == *source && !holder.is_leaving
            })
            .ok_or_else(|| lost(name, token))
    }
}

fn lost(name: &str, token: Seq) -> Error {
    Error::new(
        Code::LockLost,
        format!("expected {name:?} to be held with token {token}, found it gone or taken"),
    )
}

fn held(name: &str, holder: Option<&Holder>, now: Now) -> Error {
    let left_ms = holder.map_or(0, |holder| holder.deadline_ms.saturating_sub(now.mono_ms));
    let source = holder.map_or("somebody", |holder| &holder.source);
    Error::new(
        Code::LockHeld,
        format!("expected {name:?} to be free, found it held by {source}"),
    )
    .retry_after(left_ms)
}

impl Core {
    pub(crate) fn lock(&mut self, to: &ReplyTo, name: &str, params: Option<&RawValue>) {
        let result = match name {
            method::LOCK_ACQUIRE => rpc::params(params).and_then(|p| self.acquire(to, &p)),
            method::LOCK_RENEW => rpc::params(params).and_then(|p| self.renew(to, &p)),
            method::LOCK_RELEASE => rpc::params(params).and_then(|p| self.release(to, &p)),
            name => Err(Error::new(
                Code::NotImplemented,
                format!("expected a method of lock, found {name}"),
            )),
        };
        if let Err(error) = result {
            self.refuse(to, &error);
        }
    }

    /// The full name and the source of whoever asks, if it may.
    fn lock_name(&self, link: LinkId, asked: &str) -> Result<(Arc<str>, Arc<str>), Error> {
        let peer = self.kv_peer(link)?;
        if !is_client_name(asked) {
            return Err(Error::new(
                Code::InvalidArguments,
                format!(
                    "expected a lock name of lower-case letters, digits, . _ -, at most 64, found {asked:?}"
                ),
            ));
        }
        let name: Arc<str> = match &peer.role {
            Role::Instance(key) => {
                let own = format!("{}.", key.plugin);
                if asked.starts_with(&own) {
                    asked.into()
                } else {
                    format!("{own}{asked}").into()
                }
            }
            Role::Client { scopes, .. } if scopes.may_lock(asked) => asked.into(),
            Role::Client { .. } => {
                return Err(Error::new(
                    Code::Unauthorized,
                    format!("expected the scope lock: with a prefix of {asked:?}, found none"),
                ));
            }
            Role::Unknown => {
                return Err(Error::new(Code::Unauthorized, "expected connect first"));
            }
        };
        Ok((name, peer.source.clone()))
    }

    fn acquire(&mut self, to: &ReplyTo, params: &rpc::LockAcquireParams) -> Result<(), Error> {
        let (name, source) = self.lock_name(to.link, &params.name)?;
        let ttl_ms = ttl(params.ttl_ms)?;
        if self.locks.by_name.len() >= LOCKS_MAX && !self.locks.by_name.contains_key(&name) {
            return Err(Error::new(
                Code::QuotaExceeded,
                format!("expected at most {LOCKS_MAX} locks at once"),
            ));
        }
        let wait_ms = params.wait_ms.unwrap_or(0).min(LOCK_TTL_MS_MAX);
        let waiter = Waiter {
            to: to.clone(),
            source,
            asked: params.name.as_str().into(),
            ttl_ms,
            deadline_ms: self.now.mono_ms + wait_ms,
        };
        let lock = self.locks.by_name.entry(name.clone()).or_default();
        let is_free = match &lock.holder {
            None => true,
            Some(holder) if holder.is_leaving || holder.token == 0 => false,
            Some(holder) => {
                let is_own = holder.source == waiter.source
                    && holder
                        .link
                        .is_none_or(|link| link == to.link || !self.peers.contains_key(&link));
                is_own || holder.deadline_ms <= self.now.mono_ms
            }
        };
        if is_free {
            self.take(&name, waiter);
            return Ok(());
        }
        if wait_ms == 0 || lock.waiters.len() >= LOCK_WAITERS_MAX {
            return Err(held(&params.name, lock.holder.as_ref(), self.now));
        }
        self.locks.due.insert((waiter.deadline_ms, name.clone()));
        lock.waiters.push_back(waiter);
        self.arm_locks();
        Ok(())
    }

    /// Gives a free lock to `waiter`, as soon as that is durable.
    fn take(&mut self, name: &Arc<str>, waiter: Waiter) {
        let expires_at_ms = self.now.wall_ms + waiter.ttl_ms as i64;
        let taken = Taken {
            source: waiter.source.to_string(),
        };
        let expiry = Expiry {
            expires_at_ms,
            ttl_ms: waiter.ttl_ms,
        };
        let holder = Holder {
            source: waiter.source,
            link: Some(waiter.to.link),
            asked: waiter.asked,
            token: 0,
            ttl_ms: waiter.ttl_ms,
            deadline_ms: self.now.mono_ms + waiter.ttl_ms,
            is_leaving: false,
        };
        let lock = self.locks.by_name.entry(name.clone()).or_default();
        lock.holder = Some(holder);
        let commit = Commit {
            state: vec![
                crate::router::put_record(format!("l/{name}").into_bytes(), &taken),
                crate::router::put_record(format!("lx/{name}").into_bytes(), &expiry),
            ],
            ..Commit::default()
        };
        let what = Writing::Take { to: waiter.to };
        let name = name.clone();
        self.stage(commit, Ticket::Lock(LockTicket { name, what }));
    }

    fn renew(&mut self, to: &ReplyTo, params: &rpc::LockRenewParams) -> Result<(), Error> {
        let (name, source) = self.lock_name(to.link, &params.name)?;
        let now = self.now;
        let asked_ttl = params.ttl_ms.map(ttl).transpose()?;
        let holder = self.locks.holder(&name, &source, params.token)?;
        if holder.deadline_ms <= now.mono_ms {
            return Err(lost(&params.name, params.token));
        }
        let before_ms = holder.deadline_ms;
        holder.ttl_ms = asked_ttl.unwrap_or(holder.ttl_ms);
        holder.deadline_ms = now.mono_ms + holder.ttl_ms;
        holder.link = Some(to.link);
        holder.asked = params.name.as_str().into();
        let (deadline_ms, ttl_ms) = (holder.deadline_ms, holder.ttl_ms);
        self.locks.due.remove(&(before_ms, name.clone()));
        self.locks.due.insert((deadline_ms, name.clone()));
        self.arm_locks();
        let expires_at_ms = now.wall_ms + ttl_ms as i64;
        let expiry = Expiry {
            expires_at_ms,
            ttl_ms,
        };
        let commit = Commit {
            conditions: vec![condition(&name, params.token)],
            state: vec![crate::router::put_record(
                format!("lx/{name}").into_bytes(),
                &expiry,
            )],
            ..Commit::default()
        };
        let what = Writing::Renew {
            to: to.clone(),
            token: params.token,
            expires_at_ms,
        };
        self.stage(commit, Ticket::Lock(LockTicket { name, what }));
        Ok(())
    }

    fn release(&mut self, to: &ReplyTo, params: &LockReleaseParams) -> Result<(), Error> {
        let (name, source) = self.lock_name(to.link, &params.name)?;
        let holder = self.locks.holder(&name, &source, params.token)?;
        holder.is_leaving = true;
        let commit = Commit {
            conditions: vec![condition(&name, params.token)],
            ..gone(&name)
        };
        let what = Writing::Release { to: to.clone() };
        self.stage(commit, Ticket::Lock(LockTicket { name, what }));
        Ok(())
    }

    /// What must hold for a commit under this lock.
    pub(crate) fn lock_condition(
        &mut self,
        link: LinkId,
        lock: &rpc::IfLock,
    ) -> Result<Condition, Error> {
        let (name, source) = self.lock_name(link, &lock.name)?;
        let now_ms = self.now.mono_ms;
        let holder = self.locks.holder(&name, &source, lock.token)?;
        if holder.deadline_ms <= now_ms {
            return Err(lost(&lock.name, lock.token));
        }
        Ok(condition(&name, lock.token))
    }

    pub(crate) fn lock_done(&mut self, ticket: LockTicket, result: Result<Receipt, CommitError>) {
        let LockTicket { name, what } = ticket;
        match (what, result) {
            (Writing::Take { to }, Ok(receipt)) => self.taken(&to, &name, receipt.revisions[0]),
            (Writing::Take { to }, Err(error)) => {
                self.refuse(&to, &commit_error(&error));
                if let Some(lock) = self.locks.by_name.get_mut(&name) {
                    lock.holder = None;
                }
                self.next_holder(&name);
            }
            (
                Writing::Renew {
                    to,
                    token,
                    expires_at_ms,
                },
                Ok(_),
            ) => {
                let expires_at = Some(rfc3339(expires_at_ms));
                self.answer(&to, &LockAcquireResult { token, expires_at });
            }
            (Writing::Release { to }, Ok(_)) => {
                self.answer(&to, &rpc::Empty {});
                if let Some(lock) = self.locks.by_name.get_mut(&name) {
                    lock.holder = None;
                }
                self.next_holder(&name);
            }
            (Writing::Renew { to, .. } | Writing::Release { to }, Err(error)) => {
                let lock = self.locks.by_name.get_mut(&name);
                if let Some(holder) = lock.and_then(|lock| lock.holder.as_mut()) {
                    holder.is_leaving = false;
                    self.locks.due.insert((holder.deadline_ms, name));
                    self.arm_locks();
                }
                let mut error = commit_error(&error);
                error.index = None;
                self.refuse(&to, &error);
            }
            (Writing::Expire, _) => {}
        }
    }

    fn taken(&mut self, to: &ReplyTo, name: &Arc<str>, token: Seq) {
        let now = self.now;
        let Some(holder) = self
            .locks
            .by_name
            .get_mut(name)
            .and_then(|l| l.holder.as_mut())
        else {
            return;
        };
        holder.token = token;
        // Counted from here, so that the holder, who counts from its question, ends first.
        holder.deadline_ms = now.mono_ms + holder.ttl_ms;
        let deadline_ms = holder.deadline_ms;
        let expires_at = Some(rfc3339(now.wall_ms + holder.ttl_ms as i64));
        self.locks.due.insert((deadline_ms, name.clone()));
        self.arm_locks();
        self.answer(to, &LockAcquireResult { token, expires_at });
    }

    /// A lock is free: the first who still waits gets it.
    fn next_holder(&mut self, name: &Arc<str>) {
        let Some(lock) = self.locks.by_name.get_mut(name) else {
            return;
        };
        match lock.waiters.pop_front() {
            Some(waiter) => self.take(name, waiter),
            None => {
                self.locks.by_name.remove(name);
            }
        }
    }

    /// Looks at every lock that is due: holders whose time is over, waiters who waited long enough.
    pub(crate) fn expire_locks(&mut self) {
        self.locks.armed = None;
        while let Some((at, name)) = self.locks.due.first().cloned() {
            if at > self.now.mono_ms {
                break;
            }
            self.locks.due.pop_first();
            self.look_at_lock(&name);
        }
        self.arm_locks();
    }

    fn look_at_lock(&mut self, name: &Arc<str>) {
        let now = self.now;
        let Some(lock) = self.locks.by_name.get_mut(name) else {
            return;
        };
        let (over, waiting): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut lock.waiters)
            .into_iter()
            .partition(|waiter| waiter.deadline_ms <= now.mono_ms);
        lock.waiters = waiting;
        let holder = lock.holder.clone();
        for waiter in over {
            let error = held(&waiter.asked, holder.as_ref(), now);
            self.refuse(&waiter.to, &error);
        }
        let Some(holder) = holder else {
            return;
        };
        let is_over = holder.deadline_ms <= now.mono_ms && holder.token > 0 && !holder.is_leaving;
        if !is_over {
            return;
        }
        self.counters.add("locks_expired", 1);
        if let Some(link) = holder.link {
            let lost = LockReleaseParams {
                name: holder.asked.into(),
                token: holder.token,
            };
            self.notify(link, method::LOCK_LOST, &lost);
        }
        if let Some(lock) = self.locks.by_name.get_mut(name) {
            lock.holder = None;
            if lock.waiters.is_empty() {
                let what = Writing::Expire;
                let ticket = LockTicket {
                    name: name.clone(),
                    what,
                };
                self.stage(gone(name), Ticket::Lock(ticket));
            }
        }
        self.next_holder(name);
    }

    pub(crate) fn arm_locks(&mut self) {
        let Some(at) = self.locks.first_due_ms() else {
            return;
        };
        if self.locks.armed.is_none_or(|armed| at < armed) {
            if let Some(armed) = self.locks.armed.replace(at) {
                self.timers.remove(&(armed, Timer::Lock));
            }
            self.arm(at, Timer::Lock);
        }
    }

    /// A link is gone: it waits for nothing any more.
    pub(crate) fn drop_lock_waits(&mut self, link: LinkId) {
        for lock in self.locks.by_name.values_mut() {
            lock.waiters.retain(|waiter| waiter.to.link != link);
        }
    }
}

fn ttl(ttl_ms: u64) -> Result<u64, Error> {
    if (LOCK_TTL_MS_MIN..=LOCK_TTL_MS_MAX).contains(&ttl_ms) {
        return Ok(ttl_ms);
    }
    Err(Error::new(
        Code::InvalidArguments,
        format!("expected ttl_ms from {LOCK_TTL_MS_MIN} to {LOCK_TTL_MS_MAX}, found {ttl_ms}"),
    ))
}

fn condition(name: &str, token: Seq) -> Condition {
    Condition {
        key: format!("l/{name}").into_bytes(),
        expect: Expect::Revision(token),
    }
}

/// Removes both records.
fn gone(name: &str) -> Commit {
    let remove = |key: String| StateOp {
        key: key.into_bytes(),
        value: None,
        expect: Expect::Any,
        expires_at_ms: None,
    };
    Commit {
        state: vec![remove(format!("l/{name}")), remove(format!("lx/{name}"))],
        ..Commit::default()
    }
}
