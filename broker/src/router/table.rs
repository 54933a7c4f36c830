//! The router's table: subscriptions, links, what came in and what is to be done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::topic::{Filter, session_key};

use crate::clock::{Now, Random};
use crate::store::{EventPage, Expect, ReadLimit, Seq, StateOp, StoredEvent};

use super::entry::{Entry, Row, State};
use super::limits::{
    EPHEMERAL_EVENTS_MAX, LEASED_TO_RESERVE, PENDING_ROWS_MAX, READ_AHEAD_EVENTS_MAX,
    READ_AT_EVENTS_MAX, SETTLE_FLUSH_MS, SUBSCRIPTIONS_MAX,
};
use super::membership::{InFlight, LinkId, LinkState, Member, Window};
use super::policy::RetryPolicy;
use super::position::{Position, PositionPart, PositionTrailer};
use super::subscription::{
    Counters, Hold, Owner, PendingGap, Reading, Record, SubId, Subscription, SubscriptionView,
};
use super::{DeliveryId, lease::Prepared};

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

/// What a batch carries for the router.
#[derive(Debug, Default)]
pub struct Durable {
    /// State of its own, as one commit; empty when there is nothing.
    pub ops: Vec<StateOp>,
    /// Positions.
    pub trailer: PositionTrailer,
    /// `leased_to` that will be durable with it.
    pub reserved: Vec<(SubId, Seq)>,
}

/// Who gets which event next.
pub struct Router {
    pub(crate) subs: FxHashMap<SubId, Subscription>,
    pub(crate) names: FxHashMap<Arc<str>, SubId>,
    pub(crate) links: FxHashMap<LinkId, LinkState>,
    /// Which subscriptions match a topic; forgotten when any subscription changes.
    matching: FxHashMap<Arc<str>, Arc<[SubId]>>,
    next_sub: u32,
    /// Number of this life of the broker: part of every epoch.
    pub(crate) boot: u32,
    epochs: u64,
    /// Highest number of an event that is durable.
    head: Seq,
    /// Highest number of an event when this life began.
    boot_head: Seq,
    pub(crate) commands: Vec<Command>,
    pub(crate) touched: Vec<SubId>,
    pub(crate) dirty: Vec<SubId>,
    pub(crate) housekeeping: Vec<StateOp>,
    pub(crate) timers: BTreeSet<(u64, SubId)>,
    pub(crate) flush_at_ms: Option<u64>,
    pub(crate) random: Box<dyn Random>,
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
const NEXT_SUB_KEY: &str = "s/ffffffff/n";

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
        }
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

    /// Brings one subscription back from its state entries (`key` without the `s/` prefix, value), as
    /// they were scanned in key order. Entries that this version did not write are reported.
    ///
    /// # Errors
    /// The key of the first entry that cannot be read.
    pub fn restore(&mut self, entries: &[(Vec<u8>, Vec<u8>)], now: Now) -> Result<(), String> {
        for (key, value) in entries {
            let text = String::from_utf8_lossy(key).into_owned();
            self.restore_entry(&text, value, now).ok_or(text)?;
        }
        for id in self.subs.keys().copied().collect::<Vec<_>>() {
            self.rearm(id);
        }
        Ok(())
    }

    fn restore_entry(&mut self, key: &str, value: &[u8], now: Now) -> Option<()> {
        if key == NEXT_SUB_KEY {
            let next: u32 = serde_json::from_slice(value).ok()?;
            self.next_sub = self.next_sub.max(next);
            return Some(());
        }
        let mut parts = key.strip_prefix("s/")?.splitn(3, '/');
        let id = SubId(u32::from_str_radix(parts.next()?, 16).ok()?);
        let (kind, rest) = (parts.next()?, parts.next());
        if kind != "c" && !self.subs.contains_key(&id) {
            // A replay or a position that became durable with, or after, the end of its subscription.
            self.housekeeping.push(remove(key.as_bytes().to_vec()));
            self.flush_soon(now);
            return Some(());
        }
        match (kind, rest) {
            ("c", None) => {
                let record: Record = serde_json::from_slice(value).ok()?;
                self.restore_record(id, record, now)?;
            }
            ("p", None) => {
                let position = Position::decode(value)?;
                let sub = self.subs.get_mut(&id)?;
                sub.cursor = position.upto;
                sub.settled_max = position.upto;
                sub.leased_to = position.leased_to;
                sub.leased_to_durable = position.leased_to;
                sub.repeat_to = position.leased_to.min(self.boot_head);
                for seq in position.unsettled {
                    sub.missing.insert(seq);
                }
            }
            ("g", None) => {
                self.subs.get_mut(&id)?.gap = Some(serde_json::from_slice(value).ok()?);
            }
            ("r", Some(seq)) => {
                let seq = Seq::from_str_radix(seq, 16).ok()?;
                let row: Row = serde_json::from_slice(value).ok()?;
                let sub = self.subs.get_mut(&id)?;
                if row.inline.is_none() && seq > sub.cursor {
                    // The log will be read past it; until then it is not known what comes before it.
                    sub.rows_ahead.insert(seq, row);
                } else {
                    sub.restore_row(seq, row, None, now);
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn restore_record(&mut self, id: SubId, record: Record, now: Now) -> Option<()> {
        let owner = match (record.instance, record.client) {
            (Some((plugin, instance)), None) => {
                Owner::Instance(crate::instance::InstanceKey::new(&plugin, &instance))
            }
            (None, Some(name)) => Owner::Client(name.into()),
            _ => return None,
        };
        let mut sub = empty(id, &record.name, owner);
        sub.filters = record.filters;
        sub.group = record.group.map(Into::into);
        sub.policy = record.policy.bounded();
        sub.hold = record.hold;
        sub.expire_ms = record.expire_ms;
        // It may have been served until the moment the last life ended.
        sub.served_at_ms = record.served_at_ms.max(now.wall_ms);
        self.next_sub = self.next_sub.max(id.0 + 1);
        self.names.insert(sub.name.clone(), id);
        self.subs.insert(id, sub);
        Some(())
    }

    /// Makes a subscription, or changes the one of that name. Says whether it is new.
    ///
    /// # Errors
    /// `quota_exceeded` at the limit, `unauthorized` when the name is another owner's.
    pub fn subscribe(&mut self, ask: SubscribeAs, now: Now) -> Result<(SubId, bool), Error> {
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
            sub.filters = ask.filters;
            sub.policy = ask.policy.bounded();
            sub.hold = ask.hold;
            sub.expire_ms = ask.expire_ms;
            sub.group = ask.group.map(Into::into);
            if refiltered {
                // A page that is being read was asked for with the old filters; it may reach events that
                // are stored after this moment.
                sub.forget_read();
            }
            if sub.record() != before {
                let op = put(sub.key("c"), &sub.record());
                self.housekeeping.push(op);
                self.flush_soon(now);
            }
            if refiltered {
                self.matching.clear();
                self.touch(id);
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
        let mut sub = empty(id, &ask.name, ask.owner);
        sub.filters = ask.filters;
        sub.group = ask.group.map(Into::into);
        sub.policy = ask.policy.bounded();
        sub.hold = ask.hold;
        sub.expire_ms = ask.expire_ms;
        sub.served_at_ms = now.wall_ms;
        sub.cursor = ask.start.min(self.head);
        sub.settled_max = sub.cursor;
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

    /// Events became durable, in order of their numbers.
    pub fn committed(&mut self, event: &EventRef) {
        debug_assert!(event.seq > self.head, "numbers ascend");
        let before = self.head;
        self.head = event.seq;
        for &id in self.matching(&event.topic).iter() {
            let sub = self
                .subs
                .get_mut(&id)
                .expect("matches are forgotten when one is deleted");
            sub.counters.backlog_bytes += event.envelope.len() as u64;
            if !sub.live {
                continue;
            }
            debug_assert!(sub.cursor <= before, "a live cursor never runs ahead");
            if !sub.has_room() {
                // From here on it reads: what it has passed is exactly what it knows.
                sub.cursor = before;
                sub.live = false;
                continue;
            }
            sub.cursor = event.seq;
            sub.admit(event.clone());
            self.touch(id);
        }
    }

    /// An ephemeral event passes: live subscribers only.
    pub fn ephemeral(&mut self, event: &EventRef) -> usize {
        let ids = self.matching(&event.topic);
        for &id in ids.iter() {
            let sub = self
                .subs
                .get_mut(&id)
                .expect("matches are forgotten when one is deleted");
            if sub.members.is_empty() {
                continue;
            }
            if sub.ephemeral.len() >= EPHEMERAL_EVENTS_MAX {
                sub.ephemeral.pop_front();
                sub.counters.ephemeral_dropped += 1;
            }
            sub.ephemeral.push_back(event.clone());
            self.touch(id);
        }
        ids.len()
    }

    /// The answer to [`Command::Read`].
    pub fn page(&mut self, id: SubId, generation: u32, page: EventPage, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        if sub.reading != (Reading::Yes { generation }) {
            return;
        }
        sub.reading = Reading::No;
        for event in page.events {
            if event.seq <= sub.cursor {
                continue;
            }
            if event.seq > self.head {
                // The reader was faster than the writer's answer: it is on its way to `committed`.
                break;
            }
            sub.cursor = event.seq;
            if let Some(row) = sub.rows_ahead.remove(&event.seq) {
                sub.restore_row(event.seq, row, Some(Arc::new(event)), now);
            } else if !sub.entries.contains_key(&event.seq) {
                sub.admit(Arc::new(event));
            }
        }
        sub.cursor = sub.cursor.max(page.next.min(self.head));
        // A row whose event the log no longer has says nothing any more.
        let mut gone = Vec::new();
        while let Some(row) = sub
            .rows_ahead
            .first_entry()
            .filter(|row| *row.key() <= sub.cursor)
        {
            gone.push(remove(super::subscription::key(
                id,
                &format!("r/{:016x}", row.key()),
            )));
            row.remove();
        }
        if !gone.is_empty() {
            self.housekeeping.append(&mut gone);
            self.mark_dirty(id, now);
        }
        self.touch(id);
    }

    /// The answer to [`Command::ReadAt`]: bodies that had been dropped, or were left from an earlier life.
    pub fn bodies(&mut self, id: SubId, asked: &[Seq], found: Vec<StoredEvent>, now: Now) {
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        sub.reading_bodies = false;
        // Ready entries go to the front: the highest first, so that the lowest ends up foremost.
        for event in found.into_iter().rev() {
            let seq = event.seq;
            let left = sub.missing.remove(&seq);
            sub.unloaded.remove(&seq);
            let event = Arc::new(event);
            if !sub.entries.contains_key(&seq) {
                // Unless a seek or a skip passed it meanwhile.
                if left {
                    sub.admit(event);
                }
                continue;
            }
            let session = sub.session_of(&event);
            let entry = sub.entries.get_mut(&seq).expect("looked up above");
            if entry.body.is_none() {
                entry.bytes = event.envelope.len();
                sub.loaded_bytes += entry.bytes;
                entry.body = Some(event);
                if entry.session.is_none() {
                    entry.session = session;
                }
                if entry.state == State::Ready {
                    sub.ready.push_front(seq);
                }
            }
        }
        // What the log no longer has cannot be delivered: retention took it after its hold ran out.
        let gone: Vec<Seq> = asked
            .iter()
            .copied()
            .filter(|seq| {
                sub.missing.remove(seq);
                sub.unloaded.remove(seq);
                sub.entries
                    .get(seq)
                    .is_some_and(|e| e.body.is_none() && e.state == State::Ready)
            })
            .collect();
        for seq in gone {
            self.finish_entry(id, seq, now);
        }
        self.mark_dirty(id, now);
        self.touch(id);
    }

    /// Does everything that became possible: leases, reads, gaps. Call it after any other change.
    pub fn run(&mut self, now: Now) {
        while let Some(id) = self.touched.pop() {
            let Some(sub) = self.subs.get_mut(&id) else {
                continue;
            };
            sub.touched = false;
            self.dispatch(id, now);
            self.read_on(id);
            self.rearm(id);
        }
    }

    fn read_on(&mut self, id: SubId) {
        let head = self.head;
        let Some(sub) = self.subs.get_mut(&id) else {
            return;
        };
        if !sub.is_served() {
            sub.live = false;
            return;
        }
        let all_loaded = sub.missing.is_empty() && sub.unloaded.is_empty();
        if !sub.reading_bodies && !all_loaded {
            let from = if sub.missing.is_empty() {
                &sub.unloaded
            } else {
                &sub.missing
            };
            let seqs: Vec<Seq> = from.iter().take(READ_AT_EVENTS_MAX).copied().collect();
            sub.reading_bodies = true;
            self.commands.push(Command::ReadAt { sub: id, seqs });
        }
        // What an earlier life left comes first: its sessions are not known before it is read.
        let waits = !sub.missing.is_empty();
        if waits || sub.live || sub.reading != Reading::No || !sub.has_room() {
            return;
        }
        if sub.cursor >= head {
            sub.live = true;
            return;
        }
        sub.read_generation = sub.read_generation.wrapping_add(1);
        let generation = sub.read_generation;
        sub.reading = Reading::Yes { generation };
        let room = READ_AHEAD_EVENTS_MAX.min(PENDING_ROWS_MAX - sub.entries.len());
        let limit = ReadLimit {
            events: room.min(256),
            ..ReadLimit::default()
        };
        let (after, filters) = (sub.cursor, sub.filters.clone());
        self.commands.push(Command::Read {
            sub: id,
            generation,
            after,
            filters,
            limit,
        });
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

    /// When positions or rows are to be written at the latest.
    pub fn next_flush(&self) -> Option<u64> {
        self.flush_at_ms
    }

    /// Says whether positions or rows have waited long enough for a commit of their own.
    pub fn wants_flush(&self, now: Now) -> bool {
        self.flush_at_ms.is_some_and(|at| at <= now.mono_ms)
    }

    /// What the next batch must carry. `head_estimate` is the highest number the batch can reach;
    /// `prepared` are the settlements its commits make, as (commit of the batch, settlement), and
    /// `housekeeping_index` is the commit under which the returned `ops` will be put.
    pub fn durable(
        &mut self,
        head_estimate: Seq,
        prepared: &[(usize, &Prepared)],
        housekeeping_index: usize,
    ) -> Durable {
        self.flush_at_ms = None;
        let mut settles: FxHashMap<SubId, Vec<(usize, Seq)>> = FxHashMap::default();
        let mut ended_rows: FxHashSet<Vec<u8>> = FxHashSet::default();
        for (commit, prepared) in prepared {
            for &(id, seq, epoch) in &prepared.settles {
                // A seek may have ended the lease since.
                if self.settling(id, seq, epoch) {
                    self.list_dirty(id);
                    settles.entry(id).or_default().push((*commit, seq));
                    let sub = &self.subs[&id];
                    if sub.entries[&seq].has_row {
                        ended_rows.insert(sub.row_key(seq));
                    }
                }
            }
        }
        if !ended_rows.is_empty() {
            // These rows end in their commits, which come first in the batch: written after, they would
            // come back. Should such a commit be refused, the list still holds the event.
            self.housekeeping
                .retain(|op| op.value.is_none() || !ended_rows.contains(&op.key));
        }
        let mut durable = Durable {
            ops: std::mem::take(&mut self.housekeeping),
            ..Durable::default()
        };
        if !durable.ops.is_empty() {
            durable.trailer.housekeeping = Some(housekeeping_index);
        }
        for id in std::mem::take(&mut self.dirty) {
            let Some(sub) = self.subs.get_mut(&id) else {
                continue;
            };
            sub.dirty = false;
            let frontier = if sub.live { head_estimate } else { sub.cursor };
            if sub.is_served() && frontier + LEASED_TO_RESERVE / 2 > sub.leased_to {
                sub.leased_to = frontier + LEASED_TO_RESERVE;
            }
            let settles = settles.remove(&id).unwrap_or_default();
            let last = settles.iter().map(|(_, seq)| *seq).max().unwrap_or(0);
            durable.trailer.parts.push(PositionPart {
                key: sub.key("p"),
                cursor: sub.cursor,
                settled_max: sub.settled_max,
                unsettled: sub.listed(sub.settled_max.max(last)),
                leased_to: sub.leased_to,
                settles,
            });
            durable.reserved.push((id, sub.leased_to));
        }
        durable
    }

    /// Reserves `leased_to` for subscriptions that will be asked to lease what this batch appends, so that
    /// the reservation rides in the same commit.
    pub fn reserve_for(&mut self, topic: &Arc<str>, head_estimate: Seq) {
        for &id in self.matching(topic).iter() {
            let Some(sub) = self.subs.get(&id) else {
                continue;
            };
            if sub.live && head_estimate > sub.leased_to {
                self.list_dirty(id);
            }
        }
    }

    /// The batch that carried `reserved` is durable (or, with `ok` false, its housekeeping was refused:
    /// everything is kept and tried again).
    pub fn durable_done(&mut self, durable: Durable, ok: bool, now: Now) {
        let Durable {
            mut ops,
            trailer,
            reserved,
        } = durable;
        if !ok {
            ops.append(&mut self.housekeeping);
            self.housekeeping = ops;
            for (id, _) in reserved {
                self.mark_dirty(id, now);
            }
            self.flush_at_ms = Some(now.mono_ms + 1_000);
            return;
        }
        drop(trailer);
        for (id, leased_to) in reserved {
            if let Some(sub) = self.subs.get_mut(&id) {
                sub.leased_to_durable = sub.leased_to_durable.max(leased_to);
                self.touch(id);
            }
        }
    }

    /// Makes what is to be written due now.
    pub fn flush_now(&mut self, now: Now) {
        if !self.dirty.is_empty() || !self.housekeeping.is_empty() {
            self.flush_at_ms = Some(now.mono_ms);
        }
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

    fn list_dirty(&mut self, id: SubId) {
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
        self.reading = Reading::No;
        self.read_generation = self.read_generation.wrapping_add(1);
    }

    fn restore_row(&mut self, seq: Seq, row: Row, event: Option<EventRef>, now: Now) {
        let inline = row.inline.map(|(topic, envelope)| {
            Arc::new(StoredEvent {
                seq,
                stored_at_ms: now.wall_ms,
                topic: topic.into(),
                source: "".into(),
                session: row.session.as_deref().map(Into::into),
                expires_at_ms: None,
                envelope: envelope.into_bytes().into(),
            })
        });
        let is_inline = inline.is_some();
        let body = inline.or(event);
        let wait_ms = row.not_before_ms.saturating_sub(now.wall_ms).max(0) as u64;
        let entry = Entry {
            state: if wait_ms > 0 {
                State::Waiting(now.mono_ms + wait_ms)
            } else {
                State::Ready
            },
            session: None,
            bytes: body.as_ref().map_or(0, |event| event.envelope.len()),
            attempt: row.attempt,
            failures: row.failures,
            crashes: row.crashes,
            redelivered: true,
            suspect: row.suspect,
            has_row: true,
            inline: is_inline,
            first_leased_at_ms: row.first_leased_at_ms,
            first_error: row.first_error,
            last_error: row.last_error,
            body,
        };
        let mut entry = entry;
        entry.session = row.session.map(|session| self.sessions.intern(&session));
        self.insert(seq, entry);
    }

    /// The durable form of an entry.
    pub(crate) fn row_op(&self, seq: Seq, entry: &Entry, now: Now) -> StateOp {
        let not_before_ms = match entry.state {
            State::Waiting(until) => {
                let wait_ms = i64::try_from(until.saturating_sub(now.mono_ms)).unwrap_or(i64::MAX);
                now.wall_ms.saturating_add(wait_ms)
            }
            _ => 0,
        };
        let row = Row {
            attempt: entry.attempt,
            failures: entry.failures,
            crashes: entry.crashes,
            suspect: entry.suspect,
            not_before_ms,
            first_leased_at_ms: entry.first_leased_at_ms,
            first_error: entry.first_error.clone(),
            last_error: entry.last_error.clone(),
            session: entry.session.as_deref().map(str::to_owned),
            inline: entry.body.as_ref().filter(|_| entry.inline).map(|event| {
                (
                    event.topic.to_string(),
                    String::from_utf8_lossy(&event.envelope).into_owned(),
                )
            }),
        };
        put(self.row_key(seq), &row)
    }
}

fn empty(id: SubId, name: &str, owner: Owner) -> Subscription {
    Subscription {
        id,
        name: name.into(),
        owner,
        group: None,
        filters: Vec::new(),
        policy: RetryPolicy::default(),
        hold: Hold::default(),
        expire_ms: 0,
        served_at_ms: 0,
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
