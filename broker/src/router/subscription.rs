//! A durable named interest with a cursor, and everything it has not settled yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trunkline_contract::topic::Filter;

use crate::clock::Now;
use crate::instance::InstanceKey;
use crate::planted::planted;
use crate::store::{Seq, StoredEvent};

use super::entry::{Entry, Row, State};
use super::limits::{LOADED_BYTES_MAX, PENDING_ROWS_MAX, READ_AHEAD_EVENTS_MAX};
use super::membership::{LinkId, Member};
use super::meter::MeterId;
use super::policy::RetryPolicy;
use super::session::Sessions;
use super::table::NEVER_MS;
use super::withdraw::Withdrawn;

/// Durable number of a subscription; part of its keys and of every delivery id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubId(pub u32);

/// Whose subscription it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A plugin instance; made when the instance is first configured.
    Instance(InstanceKey),
    /// A client, by name.
    Client(Arc<str>),
}

impl Owner {
    /// What filters mean for this owner. An instance gets what is private to operators only where a filter
    /// names it; a client was asked for the scope `admin` before.
    pub(crate) fn reach(&self, filters: Vec<Filter>) -> Vec<Filter> {
        match self {
            Self::Instance(_) => filters.into_iter().map(Filter::public).collect(),
            Self::Client(_) => filters,
        }
    }
}

/// How much a subscription may keep from being purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Age of its oldest unsettled event.
    pub age_ms: u64,
    /// Bytes of its unsettled events.
    pub bytes: u64,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            age_ms: 7 * 86_400_000,
            bytes: 1 << 30,
        }
    }
}

/// The durable description of a subscription (its position is a record of its own).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) filters: Vec<Filter>,
    /// `Some((plugin, instance))` for an instance's, else the client's name.
    pub(crate) instance: Option<(String, String)>,
    pub(crate) client: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) policy: RetryPolicy,
    pub(crate) hold: Hold,
    pub(crate) expire_ms: u64,
    /// Wall clock of the last time it was served, ms; starts `expire_ms`.
    pub(crate) served_at_ms: i64,
    /// Every event after this that it selects came to it; nothing: written by a version that did not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Seq>,
    /// Filters that went before everything that they select was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) withdrawn: Vec<Withdrawn>,
}

/// What a subscription is doing, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubState {
    /// Nobody serves it; it holds its events.
    Offline,
    /// Served, and looking at new events as they come.
    Live,
    /// Served, and reading what came earlier.
    CatchingUp,
    /// Too many unsettled events; it reads on when some are settled.
    Stalled,
    /// It was skipped forward because it held too much.
    Lagging,
}

impl SubState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Live => "live",
            Self::CatchingUp => "catching_up",
            Self::Stalled => "stalled",
            Self::Lagging => "lagging",
        }
    }
}

/// A read that was asked for and has not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    No,
    /// `generation` lets an answer from before a seek be dropped.
    Yes {
        generation: u32,
    },
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) id: SubId,
    pub(crate) meter: MeterId,
    pub(crate) name: Arc<str>,
    pub(crate) owner: Owner,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) filters: Vec<Filter>,
    pub(crate) policy: RetryPolicy,
    pub(crate) hold: Hold,
    pub(crate) expire_ms: u64,
    pub(crate) served_at_ms: i64,
    /// Every event after this that it selects came to it; at or below it, some may not have.
    pub(crate) since: Seq,
    pub(crate) withdrawn: Vec<Withdrawn>,

    pub(crate) cursor: Seq,
    pub(crate) settled_max: Seq,
    pub(crate) leased_to: Seq,
    /// What of `leased_to` is on disk.
    pub(crate) leased_to_durable: Seq,
    /// Unsettled at or below this were, perhaps, leased in an earlier life of the broker.
    pub(crate) repeat_to: Seq,

    pub(crate) entries: BTreeMap<Seq, Entry>,
    pub(crate) sessions: Sessions,
    pub(crate) ready: VecDeque<Seq>,
    pub(crate) suspects: BTreeSet<Seq>,
    pub(crate) waiting: BTreeSet<(u64, Seq)>,
    pub(crate) leases: BTreeSet<(u64, Seq)>,
    pub(crate) members: Vec<Member>,
    pub(crate) next_member: usize,
    pub(crate) loaded_bytes: usize,
    /// New events are looked at as they are committed; otherwise they are read later.
    pub(crate) live: bool,
    pub(crate) reading: Reading,
    pub(crate) read_generation: u32,
    /// Left unsettled by an earlier life and not read yet; nothing else is leased before they are.
    pub(crate) missing: BTreeSet<Seq>,
    /// Rows of an earlier life above the cursor: they count once the log is read past them, so that an event
    /// is never known twice.
    pub(crate) rows_ahead: BTreeMap<Seq, Row>,
    /// May be leased, but their bodies were dropped.
    pub(crate) unloaded: BTreeSet<Seq>,
    pub(crate) reading_bodies: bool,
    pub(crate) ephemeral: VecDeque<Arc<StoredEvent>>,
    /// A skip that has not been acknowledged: `(from, to, count, epoch)`.
    pub(crate) gap: Option<PendingGap>,

    pub(crate) dirty: bool,
    /// Its position must become durable with the router's own state, in one commit.
    pub(crate) is_pinned: bool,
    /// Something of what is known, loaded or not, is perhaps selected no longer.
    pub(crate) is_divided: bool,
    /// Something of what is loaded is, and was not looked for yet.
    pub(crate) is_judging: bool,
    /// Dead letters of what is selected no longer that are not durable yet.
    pub(crate) filing: usize,
    /// Replays of dead letters that are on their way to the disk.
    pub(crate) replays: usize,
    /// It was said that it holds nothing.
    pub(crate) is_drain_told: bool,
    /// Counts seeks, skips and changes of filters: a look that began before one says nothing after it.
    pub(crate) changes: u32,
    pub(crate) touched: bool,
    pub(crate) armed: Option<u64>,
    pub(crate) counters: Counters,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingGap {
    pub(crate) from: Seq,
    pub(crate) to: Seq,
    pub(crate) count: u64,
    #[serde(skip)]
    pub(crate) epoch: u64,
    #[serde(skip)]
    pub(crate) link: Option<LinkId>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) dead: u64,
    pub(crate) stale: u64,
    pub(crate) backlog_bytes: u64,
}

/// What people see of a subscription.
#[derive(Debug, Clone)]
pub struct SubscriptionView {
    /// Its number.
    pub id: SubId,
    /// Its name.
    pub name: Arc<str>,
    /// Its filters.
    pub filters: Vec<Filter>,
    /// What it is doing.
    pub state: SubState,
    /// Looked through up to here.
    pub cursor: Seq,
    /// Unsettled events that are loaded or parked.
    pub pending: usize,
    /// Of them in flight.
    pub in_flight: usize,
    /// Of them waiting for another try.
    pub waiting: usize,
    /// Sessions with unsettled events.
    pub sessions: usize,
    /// Links that serve it.
    pub members: usize,
    /// Dead letters since the daemon started.
    pub dead: u64,
    /// Settlements refused as stale since the daemon started.
    pub stale: u64,
}

impl Subscription {
    pub(crate) fn matches(&self, topic: &str) -> bool {
        self.filters.iter().any(|filter| filter.matches(topic))
    }

    /// True when somebody could take a delivery.
    pub(crate) fn is_served(&self) -> bool {
        !self.members.is_empty()
    }

    /// True when more may be loaded: what is in flight is bounded by the credit of its members, what waits
    /// for them by these limits.
    pub(crate) fn has_room(&self) -> bool {
        let in_flight: usize = self
            .members
            .iter()
            .map(|member| member.in_flight.bytes)
            .sum();
        self.entries.len() < PENDING_ROWS_MAX
            && self.loaded_bytes.saturating_sub(in_flight) < LOADED_BYTES_MAX
            && self.ready.len() < READ_AHEAD_EVENTS_MAX
    }

    pub(crate) fn state(&self) -> SubState {
        if !self.is_served() {
            SubState::Offline
        } else if self.gap.is_some() {
            SubState::Lagging
        } else if self.entries.len() >= PENDING_ROWS_MAX {
            SubState::Stalled
        } else if self.live {
            SubState::Live
        } else {
            SubState::CatchingUp
        }
    }

    /// The oldest number that must not be purged.
    pub fn oldest_unsettled(&self) -> Seq {
        let listed = self
            .entries
            .iter()
            .find(|(_, e)| !e.inline)
            .map(|(seq, _)| *seq);
        let missing = self.missing.first().copied();
        [listed, missing]
            .into_iter()
            .flatten()
            .fold(self.cursor + 1, Seq::min)
    }

    /// Says whether this event must be kept for it.
    pub(crate) fn holds(&self, seq: Seq, topic: &str) -> bool {
        if seq > self.cursor {
            return self.wants(seq, topic) || self.rows_ahead.contains_key(&seq);
        }
        self.missing.contains(&seq) || self.entries.get(&seq).is_some_and(|entry| !entry.inline)
    }

    /// How often its cursor or its filters were changed from outside.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// Its number.
    pub fn id(&self) -> SubId {
        self.id
    }

    /// How much it may keep back.
    pub fn hold(&self) -> Hold {
        self.hold
    }

    /// Says whether an instance has it by what it is and declares, and not by a call of its own: it does not expire.
    pub fn is_declared(&self) -> bool {
        self.expire_ms == NEVER_MS
    }

    /// What it selects.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// Bytes of its unsettled events, counted since the daemon started or the last measurement.
    pub fn backlog_bytes(&self) -> u64 {
        self.counters.backlog_bytes
    }

    /// When its oldest unsettled event was stored, if that is known without reading.
    pub fn oldest_stored_at_ms(&self) -> Option<i64> {
        let (seq, entry) = self.entries.iter().find(|(_, entry)| !entry.inline)?;
        let is_oldest = *seq == self.oldest_unsettled();
        entry
            .body
            .as_ref()
            .filter(|_| is_oldest)
            .map(|body| body.stored_at_ms)
    }

    /// Puts a new or restored entry in its session and, if it may be leased, in the ready queue.
    pub(crate) fn insert(&mut self, seq: Seq, mut entry: Entry) {
        if planted("session_lock_off") {
            entry.session = None;
        }
        if let Some(session) = entry.session.clone() {
            let head_is_busy = self
                .sessions
                .head(&session)
                .and_then(|head| self.entries.get(&head))
                .is_some_and(|head| head.lease().is_some());
            let (is_head, replaced) = self.sessions.insert(&session, seq, head_is_busy);
            if let Some(other) = replaced.and_then(|seq| self.entries.get_mut(&seq))
                && other.state == State::Ready
            {
                other.state = State::Parked;
            }
            if !is_head && entry.state == State::Ready {
                entry.state = State::Parked;
            }
        }
        match entry.state {
            State::Ready => self.ready.push_back(seq),
            State::Waiting(until) => {
                self.waiting.insert((until, seq));
            }
            State::Parked => {
                if self.loaded_bytes > LOADED_BYTES_MAX / 2 && !entry.inline {
                    entry.body = None;
                }
            }
            State::Leased(_) => unreachable!("an entry is inserted before it is leased"),
        }
        if entry.suspect {
            self.suspects.insert(seq);
        }
        if entry.body.is_some() {
            self.loaded_bytes += entry.bytes;
        }
        let old = self.entries.insert(seq, entry);
        debug_assert!(old.is_none(), "an event enters a subscription once");
    }

    /// Takes an entry out (settled or dead) and frees its session for the next.
    pub(crate) fn take(&mut self, seq: Seq) -> Option<Entry> {
        let entry = self.entries.remove(&seq)?;
        self.unindex(seq, &entry);
        if entry.body.is_some() {
            self.loaded_bytes = self.loaded_bytes.saturating_sub(entry.bytes);
        }
        self.suspects.remove(&seq);
        self.unloaded.remove(&seq);
        // A replay may lie ahead of a cursor that was set back; it says nothing of what is between.
        if seq <= self.cursor {
            self.settled_max = self.settled_max.max(seq);
        }
        if let Some(session) = &entry.session
            && let Some(next) = self.sessions.remove(session, seq)
        {
            self.wake(next);
        }
        Some(entry)
    }

    /// A parked event became the head of its session.
    fn wake(&mut self, seq: Seq) {
        if let Some(entry) = self.entries.get_mut(&seq)
            && entry.state == State::Parked
        {
            entry.state = State::Ready;
            self.ready.push_back(seq);
        }
    }

    pub(crate) fn unindex(&mut self, seq: Seq, entry: &Entry) {
        match entry.state {
            State::Leased(lease) => {
                self.leases.remove(&(lease.deadline_ms, seq));
            }
            State::Waiting(until) => {
                self.waiting.remove(&(until, seq));
            }
            State::Ready | State::Parked => {}
        }
    }

    /// Drops every body that can be read again, except that of `kept`.
    pub(crate) fn unload(&mut self, kept: Option<Seq>) {
        for (seq, entry) in &mut self.entries {
            if Some(*seq) != kept
                && !entry.inline
                && entry.lease().is_none()
                && entry.body.take().is_some()
            {
                self.loaded_bytes = self.loaded_bytes.saturating_sub(entry.bytes);
            }
        }
    }

    /// Changes the state of an entry and keeps every index true. Returns the entry.
    pub(crate) fn set_state(&mut self, seq: Seq, state: State) {
        let Some(old) = self.entries.get(&seq).map(|entry| entry.state) else {
            return;
        };
        match old {
            State::Leased(lease) => {
                self.leases.remove(&(lease.deadline_ms, seq));
            }
            State::Waiting(until) => {
                self.waiting.remove(&(until, seq));
            }
            State::Ready | State::Parked => {}
        }
        match state {
            State::Leased(lease) => {
                self.leases.insert((lease.deadline_ms, seq));
            }
            State::Waiting(until) => {
                self.waiting.insert((until, seq));
            }
            // What was tried before goes first: it is older than what was not.
            State::Ready => self.ready.push_front(seq),
            State::Parked => {}
        }
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.state = state;
        }
    }

    /// The earliest time at which something is due.
    pub(crate) fn earliest(&self) -> Option<u64> {
        let lease = self.leases.first().map(|(at, _)| *at);
        let wait = self.waiting.first().map(|(at, _)| *at);
        match (lease, wait) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(crate) fn member(&mut self, link: LinkId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.link == link)
    }

    pub(crate) fn key(&self, suffix: &str) -> Vec<u8> {
        key(self.id, suffix)
    }

    pub(crate) fn row_key(&self, seq: Seq) -> Vec<u8> {
        key(self.id, &format!("r/{seq:016x}"))
    }

    /// Looked through up to here.
    pub fn cursor(&self) -> Seq {
        self.cursor
    }

    /// Its full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says whether it is a client's that was not served for too long: it holds nothing any more.
    pub fn is_expired(&self, now: Now) -> bool {
        matches!(self.owner, Owner::Client(_))
            && self.members.is_empty()
            && now.wall_ms.saturating_sub(self.served_at_ms)
                > i64::try_from(self.expire_ms).unwrap_or(i64::MAX)
    }

    /// Where what happens to it is counted.
    pub fn meter(&self) -> MeterId {
        self.meter
    }

    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Its group, if it may be shared.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Says whether a link other than this one serves it.
    pub fn is_served_by_another(&self, link: LinkId) -> bool {
        self.members.iter().any(|member| member.link != link)
    }

    /// Name, numbers and state, for people.
    pub fn view(&self) -> SubscriptionView {
        SubscriptionView {
            id: self.id,
            name: self.name.clone(),
            filters: self.filters.clone(),
            state: self.state(),
            cursor: self.cursor,
            pending: self.entries.len(),
            in_flight: self.leases.len(),
            waiting: self.waiting.len(),
            sessions: self.sessions.len(),
            members: self.members.len(),
            dead: self.counters.dead,
            stale: self.counters.stale,
        }
    }

    pub(crate) fn record(&self) -> Record {
        let (instance, client) = match &self.owner {
            Owner::Instance(key) => (
                Some((key.plugin.to_string(), key.instance.to_string())),
                None,
            ),
            Owner::Client(name) => (None, Some(name.to_string())),
        };
        Record {
            name: self.name.to_string(),
            filters: self.filters.clone(),
            instance,
            client,
            group: self.group.as_deref().map(str::to_owned),
            policy: self.policy.clone(),
            hold: self.hold,
            expire_ms: self.expire_ms,
            served_at_ms: self.served_at_ms,
            since: Some(self.since),
            withdrawn: self.withdrawn.clone(),
        }
    }
}

pub(crate) fn key(id: SubId, suffix: &str) -> Vec<u8> {
    format!("s/{:08x}/{suffix}", id.0).into_bytes()
}
