//! The router's table: subscriptions, links, what came in and what is to be done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::topic::{Filter, session_key};

use crate::clock::{Now, Random};
use crate::store::{Expect, ReadLimit, Seq, StateOp, StoredEvent};

use super::DeliveryId;
use super::entry::{Entry, State};
use super::limits::{SETTLE_FLUSH_MS, SUBSCRIPTIONS_MAX};
use super::membership::{InFlight, LinkId, LinkState, Member, Window};
use super::meter::{Dropped, MeterId, Meters};
use super::policy::RetryPolicy;
use super::subscription::{
    Counters, Hold, Owner, PendingGap, Reading, SubId, Subscription, SubscriptionView,
};

/// What the router wants done.
#[derive(Debug, Clone)]
pub enum Command {
    /// Hand this event to that link.
    Deliver {
        /// To whom.
        link: LinkId,
        /// Which event.
        event: Arc<StoredEvent>,
        /// Settled with this.
        id: DeliveryId,
        /// Number of this handing-over.
        attempt: u32,
        /// It may have been handed over before.
        redelivered: bool,
        /// How long the lease lasts.
        lease_ms: u64,
        /// The next counted failure makes it a dead letter.
        is_last: bool,
        /// Name of the subscription.
        subscription: Arc<str>,
    },
    /// Hand this ephemeral event to that link: no delivery, nothing to settle.
    DeliverEphemeral {
        /// To whom.
        link: LinkId,
        /// Which event (`seq` 0).
        event: Arc<StoredEvent>,
    },
    /// Tell that link that events were skipped.
    Gap {
        /// To whom.
        link: LinkId,
        /// Name of the subscription.
        subscription: Arc<str>,
        /// First number skipped.
        from: Seq,
        /// Last number skipped.
        to: Seq,
        /// How many matching events.
        count: u64,
        /// Must be acked with this.
        id: DeliveryId,
    },
    /// Read the log; answer with [`Router::page`].
    Read {
        /// For whom.
        sub: SubId,
        /// Answers of an older generation are dropped.
        generation: u32,
        /// Events after this.
        after: Seq,
        /// That match any of these.
        filters: Vec<Filter>,
        /// At most this much.
        limit: ReadLimit,
    },
    /// Read these events again; answer with [`Router::bodies`].
    ReadAt {
        /// For whom.
        sub: SubId,
        /// Which.
        seqs: Vec<Seq>,
    },
    /// An attempt failed (for the log of whose subscription it is, and for operators).
    Failed(Box<super::failed::Failed>),
    /// A watched event is done with in one subscription.
    Ended {
        /// Which.
        seq: Seq,
    },
    /// This event of an instance died, and the instance did not say so.
    Undelivered {
        /// Which event.
        event: Arc<StoredEvent>,
        /// Why.
        reason: &'static str,
    },
    /// A subscription selects nothing and holds nothing any more.
    Drained {
        /// Which.
        sub: SubId,
    },
    /// An event was dead-lettered (for the advisory topic and the counters).
    Died {
        /// Name of the subscription.
        subscription: Arc<str>,
        /// Key of the record.
        id: String,
        /// Why.
        reason: &'static str,
    },
}

/// An event that is not stored, as it passes through.
pub type EventRef = Arc<StoredEvent>;

/// `expire_ms` of what never ends by itself.
pub const NEVER_MS: u64 = u64::MAX;

/// How a subscription is asked for.
#[derive(Debug, Clone)]
pub struct SubscribeAs {
    /// Full durable name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// What it wants; replaces the filters of an old name from now on.
    pub filters: Vec<Filter>,
    /// Members with the same group share it.
    pub group: Option<String>,
    /// Where a new one starts: events after this number.
    pub start: Seq,
    /// Retry policy.
    pub policy: RetryPolicy,
    /// How much it may keep back.
    pub hold: Hold,
    /// How long it holds events without being served.
    pub expire_ms: u64,
}

/// Who gets which event next.
pub struct Router {
    pub(crate) subs: FxHashMap<SubId, Subscription>,
    pub(crate) names: FxHashMap<Arc<str>, SubId>,
    pub(crate) links: FxHashMap<LinkId, LinkState>,
    /// Which subscriptions match a topic; forgotten when any subscription changes.
    pub(crate) matching: FxHashMap<Arc<str>, Arc<[SubId]>>,
    pub(crate) next_sub: u32,
    /// Number of this life of the broker: part of every epoch.
    pub(crate) boot: u32,
    pub(crate) epochs: u64,
    /// Highest number of an event that is durable.
    pub(crate) head: Seq,
    /// Highest number of an event when this life began.
    pub(crate) boot_head: Seq,
    pub(crate) commands: Vec<Command>,
    pub(crate) touched: Vec<SubId>,
    pub(crate) dirty: Vec<SubId>,
    pub(crate) housekeeping: Vec<StateOp>,
    pub(crate) timers: BTreeSet<(u64, SubId)>,
    pub(crate) flush_at_ms: Option<u64>,
    pub(crate) random: Box<dyn Random>,
    pub(crate) meters: Meters,
    /// Events whose end somebody waits for.
    pub(crate) watched: FxHashSet<Seq>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("subs", &self.subs.len())
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// Bits of an epoch that count within one life: more leases than a life can give out.
const EPOCH_BITS: u32 = 40;

/// Where the number of the next new subscription is kept, so that one is never used twice: dead letters
/// and delivery ids name them.
pub(crate) const NEXT_SUB_KEY: &str = "s/ffffffff/n";

/// Most distinct topics whose matches are remembered; beyond, the table is forgotten and refilled.
const MATCHING_TOPICS_MAX: usize = 65_536;

impl Router {
    /// An empty router in life number `boot` of a store whose newest event is `head`.
    pub fn new(boot: u32, head: Seq, random: Box<dyn Random>) -> Self {
        Self {
            subs: FxHashMap::default(),
            names: FxHashMap::default(),
            links: FxHashMap::default(),
            matching: FxHashMap::default(),
            next_sub: 1,
            boot,
            epochs: 0,
            head,
            boot_head: head,
            commands: Vec::new(),
            touched: Vec::new(),
            dirty: Vec::new(),
            housekeeping: Vec::new(),
            timers: BTreeSet::new(),
            flush_at_ms: None,
            random,
            meters: Meters::default(),
            watched: FxHashSet::default(),
        }
    }

    /// What was counted for each owner.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// The same, to count what the router does not see.
    pub fn meters_mut(&mut self) -> &mut Meters {
        &mut self.meters
    }

    /// Tells of the end of this event, in each subscription that had it, until it is held no more.
    pub fn watch(&mut self, seq: Seq) {
        self.watched.insert(seq);
    }

    /// Tells of it no longer.
    pub fn unwatch(&mut self, seq: Seq) {
        self.watched.remove(&seq);
    }

    /// Says whether an event is not settled yet in some subscription of this owner.
    pub fn is_held(&mut self, owner: &Owner, seq: Seq, topic: &Arc<str>) -> bool {
        let subs = self.matching(topic);
        let mut subs = subs.iter().filter_map(|id| self.subs.get(id));
        subs.any(|sub| {
            let is_theirs = sub.owner == *owner;
            is_theirs && (sub.holds(seq, topic) || sub.entries.contains_key(&seq))
        })
    }

    /// Highest number of an event that is durable.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// Takes what is to be done since the last call.
    pub fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Gives a drained list back, so that its memory is used again.
    pub fn recycle(&mut self, mut commands: Vec<Command>) {
        if self.commands.is_empty() {
            commands.clear();
            self.commands = commands;
        }
    }

    /// Makes a subscription, or changes the one of that name. Says whether it is new.
    ///
    /// # Errors
    /// `quota_exceeded` at the limit, `unauthorized` when the name is another owner's.
    pub fn subscribe(&mut self, mut ask: SubscribeAs, now: Now) -> Result<(SubId, bool), Error> {
        ask.filters = ask.owner.reach(ask.filters);
        if let Some(&id) = self.names.get(ask.name.as_str()) {
            let sub = self
                .subs
                .get_mut(&id)
                .expect("every name has its subscription");
            if sub.owner != ask.owner {
                return Err(Error::new(
                    Code::Unauthorized,
                    format!("subscription {:?} belongs to somebody else", ask.name),
                ));
            }
            let refiltered = sub.filters != ask.filters;
            let before = sub.record();
            sub.policy = ask.policy.bounded();
            sub.hold = ask.hold;
            sub.expire_ms = ask.expire_ms;
            sub.group = ask.group.map(Into::into);
            if refiltered {
                self.refilter(id, ask.filters, now);
            } else if sub.record() != before {
                let op = put(sub.key("c"), &sub.record());
                self.housekeeping.push(op);
                self.flush_soon(now);
            }
            return Ok((id, false));
        }
        if self.subs.len() >= SUBSCRIPTIONS_MAX {
            return Err(Error::new(
                Code::QuotaExceeded,
                format!("expected at most {SUBSCRIPTIONS_MAX} subscriptions; delete one"),
            ));
        }
        self.matching.clear();
        let id = SubId(self.next_sub);
        self.next_sub += 1;
        let op = put(NEXT_SUB_KEY.as_bytes().to_vec(), &self.next_sub);
        self.housekeeping.push(op);
        let meter = self.meters.id(&ask.owner);
        let mut sub = empty(id, &ask.name, ask.owner, meter);
        sub.filters = ask.filters;
        sub.group = ask.group.map(Into::into);
        sub.policy = ask.policy.bounded();
        sub.hold = ask.hold;
        sub.expire_ms = ask.expire_ms;
        sub.served_at_ms = now.wall_ms;
        sub.cursor = ask.start.min(self.head);
        sub.settled_max = sub.cursor;
        sub.since = sub.cursor;
        self.housekeeping.push(put(sub.key("c"), &sub.record()));
        self.names.insert(sub.name.clone(), id);
        self.subs.insert(id, sub);
        self.mark_dirty(id, now);
        Ok((id, true))
    }

    /// Forgets a subscription and everything it holds (its dead letters stay). Links that served it get
    /// their credit back.
    pub fn delete(&mut self, id: SubId, now: Now) {
        let Some(sub) = self.subs.remove(&id) else {
            return;
        };
        self.matching.clear();
        let left = sub.entries.len() as u64;
        self.meters.get(sub.meter).dropped(Dropped::Deleted, left);
        self.names.remove(&sub.name);
        for member in &sub.members {
            self.part(id, *member, sub.suspects.len());
        }
        if let Some(at) = sub.armed {
            self.timers.remove(&(at, id));
        }
        let keys = ["c", "p", "g"].map(|suffix| sub.key(suffix)).into_iter();
        let rows = sub
            .entries
            .iter()
            .filter(|(_, e)| e.has_row)
            .map(|(seq, _)| seq)
            .chain(sub.rows_ahead.keys())
            .map(|seq| sub.row_key(*seq));
        self.housekeeping.extend(keys.chain(rows).map(remove));
        self.flush_soon(now);
    }

    /// The subscription of that name.
    pub fn find(&self, name: &str) -> Option<SubId> {
        self.names.get(name).copied()
    }

    /// One subscription.
    pub fn get(&self, id: SubId) -> Option<&Subscription> {
        self.subs.get(&id)
    }

    /// Every subscription, by name, for people.
    pub fn views(&self) -> Vec<SubscriptionView> {
        let mut views: Vec<_> = self.subs.values().map(Subscription::view).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// Subscriptions of one owner.
    pub fn of_owner(&self, owner: &Owner) -> Vec<SubId> {
        let mut ids: Vec<_> = self
            .subs
            .values()
            .filter(|sub| sub.owner == *owner)
            .map(|sub| sub.id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Which subscriptions match this topic.
    pub fn matching(&mut self, topic: &Arc<str>) -> Arc<[SubId]> {
        if let Some(found) = self.matching.get(topic) {
            return found.clone();
        }
        if self.matching.len() >= MATCHING_TOPICS_MAX {
            self.matching.clear();
        }
        let mut ids: Vec<SubId> = self
            .subs
            .values()
            .filter(|sub| sub.matches(topic))
            .map(|sub| sub.id)
            .collect();
        ids.sort_unstable();
        let ids: Arc<[SubId]> = ids.into();
        self.matching.insert(topic.clone(), ids.clone());
        ids
    }

    /// Introduces a link. It gets nothing before [`Router::set_serving`].
    pub fn link_up(&mut self, link: LinkId, window: Window) {
        self.links.insert(
            link,
            LinkState {
                window,
                in_flight: InFlight::default(),
                serving: false,
                writable: true,
                subs: Vec::new(),
                suspects: 0,
                starved: false,
            },
        );
    }

    /// Lets a link serve a subscription, with a credit of its own.
    pub fn join(&mut self, id: SubId, link: LinkId, window: Window, now: Now) {
        let (Some(sub), Some(state)) = (self.subs.get_mut(&id), self.links.get_mut(&link)) else {
            return;
        };
        sub.served_at_ms = now.wall_ms;
        match sub.member(link) {
            Some(member) => member.window = window.bounded(),
            None => {
                sub.members.push(Member {
                    link,
                    window: window.bounded(),
                    in_flight: InFlight::default(),
                });
                state.subs.push(id);
                state.suspects += sub.suspects.len();
            }
        }
        self.touch(id);
    }

    /// Starts or stops deliveries to a link (ready, paused, draining).
    pub fn set_serving(&mut self, link: LinkId, serving: bool) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        state.serving = serving;
        let subs = state.subs.clone();
        if serving {
            for id in subs {
                self.touch(id);
            }
        }
    }

    /// Says whether a link's writer has room.
    pub fn set_writable(&mut self, link: LinkId, writable: bool) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        if writable && !state.writable {
            state.writable = true;
            let subs = state.subs.clone();
            for id in subs {
                self.touch(id);
            }
        } else {
            state.writable = writable;
        }
    }

    /// Changes the credit of a link for one subscription.
    pub fn set_credit(&mut self, id: SubId, link: LinkId, window: Window) {
        if let Some(member) = self.subs.get_mut(&id).and_then(|sub| sub.member(link)) {
            member.window = window.bounded();
            self.touch(id);
        }
    }

    /// How many events this link holds unsettled.
    pub fn in_flight(&self, link: LinkId) -> usize {
        self.links
            .get(&link)
            .map_or(0, |state| state.in_flight.events)
    }

    /// Time passed: leases run out, waits end. Returns nothing; call [`Router::run`] after it.
    pub fn tick(&mut self, now: Now) {
        while let Some(&(at, id)) = self.timers.first() {
            if at > now.mono_ms {
                break;
            }
            self.timers.pop_first();
            let Some(sub) = self.subs.get_mut(&id) else {
                continue;
            };
            sub.armed = None;
            self.due(id, now);
            self.touch(id);
            self.rearm(id);
        }
    }

    /// When [`Router::tick`] or a flush is due next, in monotonic ms.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let timer = self.timers.first().map(|(at, _)| *at);
        match (timer, self.flush_at_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When [`Router::tick`] is due next, in monotonic ms.
    pub fn next_timer_ms(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn touch(&mut self, id: SubId) {
        if let Some(sub) = self.subs.get_mut(&id)
            && !sub.touched
        {
            sub.touched = true;
            self.touched.push(id);
        }
    }

    /// The position changed and is to be written within [`SETTLE_FLUSH_MS`].
    pub(crate) fn mark_dirty(&mut self, id: SubId, now: Now) {
        self.list_dirty(id);
        self.flush_soon(now);
    }

    pub(crate) fn list_dirty(&mut self, id: SubId) {
        if let Some(sub) = self.subs.get_mut(&id)
            && !sub.dirty
        {
            sub.dirty = true;
            self.dirty.push(id);
        }
    }

    pub(crate) fn flush_soon(&mut self, now: Now) {
        self.flush_at_ms
            .get_or_insert(now.mono_ms + SETTLE_FLUSH_MS);
    }

    /// The next epoch: never used before, also not by an earlier life.
    pub(crate) fn epoch(&mut self) -> u64 {
        self.epochs += 1;
        (u64::from(self.boot) << EPOCH_BITS) | self.epochs
    }

    pub(crate) fn rearm(&mut self, id: SubId) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        // A timer that fires early only looks again; one that is missing would lose a wait.
        let Some(earliest) = sub.earliest() else {
            return;
        };
        if sub.armed.is_none_or(|armed| earliest < armed) {
            if let Some(armed) = sub.armed.replace(earliest) {
                self.timers.remove(&(armed, id));
            }
            self.timers.insert((earliest, id));
        }
    }
}

impl Subscription {
    /// Lets a durable event in.
    pub(crate) fn admit(&mut self, event: EventRef) {
        let session = self.session_of(&event);
        let seq = event.seq;
        let repeat = seq <= self.repeat_to;
        let mut entry = Entry::new(event, session);
        entry.state = State::Ready;
        entry.redelivered = repeat;
        entry.attempt = u32::from(repeat);
        self.insert(seq, entry);
    }

    pub(crate) fn session_of(&self, event: &StoredEvent) -> Option<Arc<str>> {
        session_key(&event.topic, event.session.as_deref()).map(|key| self.sessions.intern(&key))
    }

    /// Unsettled numbers up to `last` that have no row of their own, or whose row may end in a commit under
    /// way, ascending; and the first one beyond.
    pub(crate) fn listed(&self, last: Seq) -> Vec<Seq> {
        let mut listed: Vec<Seq> = Vec::new();
        for (seq, entry) in &self.entries {
            if entry.has_row && (entry.inline || !entry.lease().is_some_and(|l| l.settling)) {
                continue;
            }
            listed.push(*seq);
            if *seq > last {
                break;
            }
        }
        if !self.missing.is_empty() {
            listed.extend(
                self.missing
                    .iter()
                    .filter(|seq| !self.entries.contains_key(seq)),
            );
            listed.sort_unstable();
        }
        listed
    }

    /// The answer to a read that is under way will be dropped.
    pub(crate) fn forget_read(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        self.reading = Reading::No;
        self.read_generation = self.read_generation.wrapping_add(1);
    }
}

pub(crate) fn empty(id: SubId, name: &str, owner: Owner, meter: MeterId) -> Subscription {
    Subscription {
        id,
        meter,
        name: name.into(),
        owner,
        group: None,
        filters: Vec::new(),
        policy: RetryPolicy::default(),
        hold: Hold::default(),
        expire_ms: 0,
        served_at_ms: 0,
        since: 0,
        withdrawn: Vec::new(),
        cursor: 0,
        settled_max: 0,
        leased_to: 0,
        leased_to_durable: 0,
        repeat_to: 0,
        entries: BTreeMap::new(),
        sessions: super::session::Sessions::default(),
        ready: VecDeque::new(),
        suspects: BTreeSet::new(),
        waiting: BTreeSet::new(),
        leases: BTreeSet::new(),
        members: Vec::new(),
        next_member: 0,
        loaded_bytes: 0,
        live: false,
        reading: Reading::No,
        read_generation: 0,
        missing: BTreeSet::new(),
        rows_ahead: BTreeMap::new(),
        unloaded: BTreeSet::new(),
        reading_bodies: false,
        ephemeral: VecDeque::new(),
        gap: None::<PendingGap>,
        dirty: false,
        is_pinned: false,
        is_divided: false,
        is_judging: false,
        filing: 0,
        replays: 0,
        is_drain_told: false,
        changes: 0,
        touched: false,
        armed: None,
        counters: Counters::default(),
    }
}

pub(crate) fn put(key: Vec<u8>, value: &impl serde::Serialize) -> StateOp {
    StateOp {
        key,
        value: Some(serde_json::to_vec(value).expect("our own records are plain data")),
        expect: Expect::Any,
        expires_at_ms: None,
    }
}

pub(crate) fn remove(key: Vec<u8>) -> StateOp {
    StateOp {
        key,
        value: None,
        expect: Expect::Any,
        expires_at_ms: None,
    }
}
