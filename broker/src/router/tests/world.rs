//! The world around a router: a log, keyed state, links, time, and crashes of everything.

mod operator;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use trunkline_contract::topic::{Filter, session_key};

use super::super::*;
use super::model::{End, Fate, SubModel};
use crate::clock::{Now, Random, SeededRandom};
use crate::store::{EventPage, ReadLimit, Seq, StateOp, StoredEvent, Trailer};

pub(super) type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// A delivery as its consumer sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) id: DeliveryId,
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct SimLink {
    pub(super) window: Option<Window>,
    pub(super) serving: bool,
    pub(super) writable: bool,
    pub(super) windows: BTreeMap<SubId, Window>,
    pub(super) held: Vec<Held>,
    /// Named by commits under way.
    pub(super) settling: Vec<Held>,
    pub(super) gaps: Vec<DeliveryId>,
}

#[derive(Debug)]
pub(super) enum Asked {
    Page(SubId, u32, Seq, Vec<Filter>, ReadLimit),
    Bodies(SubId, Vec<Seq>),
}

#[derive(Debug)]
pub(super) enum Answer {
    Page(SubId, u32, EventPage),
    Bodies(SubId, Vec<Seq>, Vec<StoredEvent>),
}

#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) events: Vec<StoredEvent>,
    pub(super) ops: Vec<StateOp>,
    pub(super) prepared: Prepared,
    pub(super) acks: Vec<(LinkId, DeliveryId)>,
    pub(super) rejects: Vec<(LinkId, DeliveryId)>,
    pub(super) replay: Option<(SubId, StoredEvent, Option<String>)>,
}

/// A batch between the router and the disk.
#[derive(Debug)]
pub(super) struct BatchSim {
    commits: Vec<Staged>,
    durable: Durable,
    trailer: PositionTrailer,
    /// (subscription, its number of seeks, event) that ended before the batch was made.
    ends: Vec<(SubId, u32, Seq)>,
    seeks: Vec<(SubId, u32, Seq)>,
    subs: Vec<SubId>,
    /// The filters that its records say.
    versions: Vec<(SubId, u32)>,
    written: Option<Vec<bool>>,
}

pub(super) struct World {
    pub(super) rng: SeededRandom,
    pub(super) now: Now,
    pub(super) boot: u32,
    pub(super) router: Router,
    /// Durable events, in order.
    pub(super) log: Vec<Arc<StoredEvent>>,
    pub(super) log_head: Seq,
    /// Everything ever stored, for the model.
    pub(super) history: BTreeMap<Seq, Arc<StoredEvent>>,
    pub(super) state: State,
    pub(super) last_seq: Seq,
    pub(super) staged: Vec<Staged>,
    pub(super) batch: Option<BatchSim>,
    pub(super) asked: Vec<Asked>,
    pub(super) answers: Vec<Answer>,
    pub(super) links: BTreeMap<LinkId, SimLink>,
    pub(super) next_link: u32,
    pub(super) lost: Vec<Vec<(SubId, Seq)>>,
    pub(super) subs: BTreeMap<SubId, SubModel>,
    pub(super) delivered: u64,
    /// Every delivery, in order, for tests that look at one life closely.
    pub(super) deliveries: Vec<(SubId, Seq, u32, bool)>,
    /// Sessions in flight: (subscription, key) → event.
    pub(super) busy: FxHashMap<(SubId, String), Seq>,
    /// Chance of faults, in percent.
    pub(super) faults: u64,
    /// Looks at every index after every step: for small worlds.
    pub(super) checked: bool,
    traced: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: SeededRandom(seed),
            now: Now {
                mono_ms: 0,
                wall_ms: 1_700_000_000_000,
            },
            boot: 1,
            router: Router::new(1, 0, Box::new(SeededRandom(seed ^ 0x5EED))),
            log: Vec::new(),
            log_head: 0,
            history: BTreeMap::new(),
            state: State::new(),
            last_seq: 0,
            staged: Vec::new(),
            batch: None,
            asked: Vec::new(),
            answers: Vec::new(),
            links: BTreeMap::new(),
            next_link: 1,
            lost: Vec::new(),
            subs: BTreeMap::new(),
            delivered: 0,
            deliveries: Vec::new(),
            busy: FxHashMap::default(),
            faults: 5,
            checked: true,
            traced: std::env::var_os("TRUNKLINE_TRACE").is_some(),
        }
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.rng.bits() % n.max(1)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len() as u64) as usize])
    }

    /// Says what happens, where a failing seed is looked at (`TRUNKLINE_TRACE=1`).
    pub(super) fn trace(&self, what: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:>6} {}", self.now.mono_ms, what());
        }
    }

    // ---- inputs

    pub(super) fn subscribe(&mut self, name: &str, filters: &[&str], policy: RetryPolicy) -> SubId {
        self.subscribe_from(name, filters, policy, Seq::MAX)
    }

    pub(super) fn subscribe_from(
        &mut self,
        name: &str,
        filters: &[&str],
        policy: RetryPolicy,
        start: Seq,
    ) -> SubId {
        let ask = SubscribeAs {
            name: name.to_owned(),
            owner: Owner::Client("c".into()),
            filters: filters.iter().map(|f| Filter::parse(f).unwrap()).collect(),
            group: Some("g".into()),
            start,
            policy,
            hold: Hold::default(),
            expire_ms: u64::MAX,
        };
        let start = start.min(self.router.head());
        let (id, created) = self.router.subscribe(ask.clone(), self.now).unwrap();
        if created {
            let mut model = SubModel::new(&ask, start);
            for event in self
                .history
                .values()
                .filter(|event| !self.is_logged(event.seq))
            {
                if model.matches(event) {
                    model.know(event.seq).fate = Fate::Skipped;
                }
            }
            self.subs.insert(id, model);
        }
        id
    }

    pub(super) fn link(&mut self, window: Window) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        self.router.link_up(id, window);
        self.router.set_serving(id, true);
        let link = SimLink {
            window: Some(window),
            serving: true,
            writable: true,
            ..SimLink::default()
        };
        self.links.insert(id, link);
        id
    }

    pub(super) fn join(&mut self, sub: SubId, link: LinkId, window: Window) {
        self.trace(|| format!("join {sub:?} {link:?} {window:?}"));
        self.router.join(sub, link, window, self.now);
        let link = self.links.get_mut(&link).unwrap();
        link.windows.insert(sub, window.bounded());
    }

    pub(super) fn publish(&mut self, topic: &str, session: Option<&str>, bytes: usize) {
        self.publish_expiring(topic, session, bytes, None);
    }

    pub(super) fn publish_expiring(
        &mut self,
        topic: &str,
        session: Option<&str>,
        bytes: usize,
        expires_at_ms: Option<i64>,
    ) {
        let envelope = format!("{{\"p\":\"{}\"}}", "x".repeat(bytes));
        let event = StoredEvent {
            seq: 0,
            stored_at_ms: self.now.wall_ms,
            topic: topic.into(),
            source: "s".into(),
            session: session.map(Into::into),
            expires_at_ms,
            envelope: envelope.into_bytes().into(),
        };
        self.staged.push(Staged {
            events: vec![event],
            ..Staged::default()
        });
    }

    /// Settles at once, as `broker.ack` and its kin do.
    pub(super) fn settle(&mut self, link: LinkId, index: usize, what: &Settle) {
        self.trace(|| {
            format!(
                "settle {link:?} {index} {what:?} {:?}",
                self.links[&link].held[index].id.to_string()
            )
        });
        let held = self.links.get_mut(&link).unwrap().held.remove(index);
        let id = held.id;
        let leased = self.lease_of(id);
        let settled = self.router.settle(link, id, what.clone(), self.now);
        assert_eq!(
            settled, leased,
            "a lease settles once, and only while it lasts: {id}"
        );
        if !settled {
            return;
        }
        match what {
            Settle::Extend { .. } => self.links.get_mut(&link).unwrap().held.push(held),
            Settle::Ack => self.end(id.sub, id.seq, End::Acked),
            Settle::Nak(nak) => self.unlease(id.sub, id.seq, nak.counted),
            // `Died` follows.
            Settle::Reject(_) => self.unlease(id.sub, id.seq, false),
        }
    }

    /// Says whether the model thinks that this lease is out.
    pub(super) fn lease_of(&self, id: DeliveryId) -> bool {
        let known = self
            .subs
            .get(&id.sub)
            .and_then(|sub| sub.known.get(&id.seq));
        known.is_some_and(|known| known.leased == Some(id.epoch))
    }

    /// Says whether retention left it.
    pub(super) fn is_logged(&self, seq: Seq) -> bool {
        self.log
            .binary_search_by_key(&seq, |event| event.seq)
            .is_ok()
    }

    fn session_of(&self, seq: Seq) -> Option<String> {
        let event = &self.history[&seq];
        session_key(&event.topic, event.session.as_deref())
    }

    fn free_session(&mut self, sub: SubId, seq: Seq) {
        if let Some(key) = self.session_of(seq)
            && self.busy.get(&(sub, key.clone())) == Some(&seq)
        {
            self.busy.remove(&(sub, key));
        }
    }

    pub(super) fn end(&mut self, sub: SubId, seq: Seq, end: End) {
        self.free_session(sub, seq);
        if let Some(model) = self.subs.get_mut(&sub) {
            model.end(seq, end);
        }
    }

    pub(super) fn unlease(&mut self, sub: SubId, seq: Seq, failed: bool) {
        self.free_session(sub, seq);
        if let Some(model) = self.subs.get_mut(&sub) {
            let known = model.know(seq);
            known.leased = None;
            known.failures += u32::from(failed);
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        self.trace(|| format!("down {link:?}"));
        let gone = self.links.remove(&link).unwrap();
        let lost = self.router.link_down(link, Loss::Link, self.now);
        for held in gone
            .held
            .iter()
            .filter(|held| self.lease_of(held.id))
            .collect::<Vec<_>>()
        {
            assert!(
                lost.contains(&(held.id.sub, held.id.seq)),
                "a lost lease is named: {held:?}"
            );
            self.unlease(held.id.sub, held.id.seq, false);
        }
        self.lost.push(lost);
    }

    pub(super) fn blame(&mut self, lost: &[(SubId, Seq)]) {
        self.trace(|| format!("blame {lost:?}"));
        if let [(sub, seq)] = lost
            && let Some(model) = self.subs.get_mut(sub)
        {
            model.know(*seq).deaths_alone += 1;
        }
        self.router.blame(lost, &Origin::default(), self.now);
    }

    pub(super) fn advance(&mut self, ms: u64) {
        self.trace(|| format!("advance {ms}"));
        self.now.mono_ms += ms;
        self.now.wall_ms += ms as i64;
        // The model lets run out what the router must let run out.
        for id in self.subs.keys().copied().collect::<Vec<_>>() {
            let due: Vec<Seq> = self.router.subs.get(&id).map_or_else(Vec::new, |sub| {
                let due = sub.leases.iter().filter(|(at, _)| *at <= self.now.mono_ms);
                due.map(|(_, seq)| *seq).collect()
            });
            for seq in due {
                self.unlease(id, seq, true);
            }
        }
        self.router.tick(self.now);
    }

    /// `kill -9` of the broker: what is on the disk is all that is left.
    pub(super) fn crash(&mut self) {
        self.trace(|| "crash".to_owned());
        if let Some(batch) = self.batch.take()
            && let Some(accepted) = batch.written
        {
            // Nobody was told, but it happened.
            let housekept = batch.durable.ops.is_empty() || accepted.last() == Some(&true);
            for (commit, _) in batch.commits.iter().zip(&accepted).filter(|(_, a)| **a) {
                for (index, (_, id)) in commit.acks.iter().chain(&commit.rejects).enumerate() {
                    if self.lease_of(*id) {
                        let acked = index < commit.acks.len();
                        let end = if acked {
                            End::Acked
                        } else {
                            End::Dead("rejected")
                        };
                        self.end(id.sub, id.seq, end);
                        let known = self.subs.get_mut(&id.sub).unwrap().know(id.seq);
                        known.durable = housekept;
                        known.unsure = !housekept;
                    }
                }
            }
        }
        self.boot += 1;
        let random = Box::new(SeededRandom(self.rng.bits()));
        self.router = Router::new(self.boot, self.log_head, random);
        let range = self.state.range(b"s/".to_vec()..b"s0".to_vec());
        let entries: Vec<_> = range.map(|(k, v)| (k.clone(), v.clone())).collect();
        self.router.restore(&entries, self.now).unwrap();
        self.staged.clear();
        self.batch = None;
        self.asked.clear();
        self.answers.clear();
        self.links.clear();
        self.lost.clear();
        self.busy.clear();
        // A replay that was written but not answered is open again all the same.
        for id in self.subs.keys().copied().collect::<Vec<_>>() {
            let there = self.router.get(id).is_some();
            let model = self.subs.get_mut(&id).unwrap();
            assert!(
                there || model.deleted || !model.durable,
                "{} survives a crash",
                model.name
            );
            let log = &self.log;
            model.crash(|seq| log.binary_search_by_key(&seq, |event| event.seq).is_ok());
            if let Some(sub) = self.router.get(id) {
                let history = &self.history;
                model.filters_restored(&sub.filters, |seq| history[&seq].topic.clone());
            }
            if there && model.deleted {
                self.router.delete(id, self.now);
            }
            if !there {
                self.subs.remove(&id);
            }
        }
        for (id, sub) in &self.router.subs {
            let Some(model) = self.subs.get_mut(id) else {
                continue;
            };
            for (seq, _) in sub.entries.iter().filter(|(_, entry)| entry.inline) {
                let known = model.know(*seq);
                known.replayed = true;
                known.durable = false;
                known.fate = Fate::Pending;
            }
        }
        self.run();
    }

    // ---- what the router wants

    pub(super) fn run(&mut self) {
        self.router.run(self.now);
        for command in self.router.take_commands() {
            self.carry_out(command);
        }
        if self.checked {
            self.check();
        }
    }

    fn carry_out(&mut self, command: Command) {
        self.trace(|| {
            format!("{command:?}")
                .split(", envelope")
                .next()
                .unwrap_or("")
                .to_owned()
        });
        match command {
            Command::Deliver {
                link,
                event,
                id,
                attempt,
                redelivered,
                ..
            } => self.delivered(link, &event, id, attempt, redelivered),
            Command::DeliverEphemeral { .. } => {}
            Command::Gap { link, id, .. } => {
                let link = self
                    .links
                    .get_mut(&link)
                    .expect("a gap goes to a link that is there");
                link.gaps.push(id);
            }
            Command::Read {
                sub,
                generation,
                after,
                filters,
                limit,
            } => self
                .asked
                .push(Asked::Page(sub, generation, after, filters, limit)),
            Command::ReadAt { sub, seqs } => self.asked.push(Asked::Bodies(sub, seqs)),
            Command::Failed(failed) => {
                let known = self
                    .subs
                    .get_mut(&failed.sub)
                    .map(|sub| sub.know(failed.seq));
                assert!(failed.attempt >= 1 && known.is_some(), "{failed:?}");
            }
            // Nothing is watched here.
            Command::Ended { .. } | Command::Undelivered { .. } | Command::Drained { .. } => {}
            Command::Died {
                subscription,
                id,
                reason,
            } => {
                let seq = Seq::from_str_radix(id.split('-').nth(1).unwrap(), 16).unwrap();
                let sub = SubId(u32::from_str_radix(id.split('-').next().unwrap(), 16).unwrap());
                let Some(model) = self.subs.get_mut(&sub) else {
                    return;
                };
                assert_eq!(*model.name, *subscription);
                let policy = model.policy.clone();
                let known = model.know(seq);
                match reason {
                    "delivery_limit" => assert!(known.failures >= policy.failures_max, "{known:?}"),
                    "crashed" => assert!(known.deaths_alone >= policy.crashes_max, "{known:?}"),
                    _ => {}
                }
                if known.fate != Fate::Ended(End::Dead("rejected")) {
                    assert!(
                        !matches!(known.fate, Fate::Ended(_)) && !known.durable,
                        "an event ends once: {seq} {reason} {known:?}"
                    );
                    self.end(sub, seq, End::Dead(reason));
                }
            }
        }
    }

    fn delivered(
        &mut self,
        link: LinkId,
        event: &StoredEvent,
        id: DeliveryId,
        attempt: u32,
        redelivered: bool,
    ) {
        let seq = id.seq;
        self.delivered += 1;
        self.deliveries.push((id.sub, seq, attempt, redelivered));
        let stored = &self.history[&seq];
        assert_eq!(
            stored.envelope, event.envelope,
            "what was published is delivered"
        );
        let key = self.session_of(seq);
        let state = self
            .links
            .get_mut(&link)
            .expect("delivered to a link that is there");
        assert!(state.serving && state.writable, "{link:?} takes deliveries");
        let window = state.windows[&id.sub];
        let bytes = event.envelope.len();
        let all: Vec<Held> = state.held.iter().chain(&state.settling).copied().collect();
        state.held.push(Held { id, bytes });
        let link_window = state.window.unwrap();
        let all: Vec<Held> = all
            .into_iter()
            .filter(|held| self.lease_of(held.id))
            .collect();
        let fits = |window: Window, held: &[Held]| {
            let used: usize = held.iter().map(|held| held.bytes).sum();
            held.len() < window.events && (held.is_empty() || used + bytes <= window.bytes)
        };
        assert!(fits(link_window, &all), "the link's window holds");
        let own: Vec<Held> = all.iter().copied().filter(|h| h.id.sub == id.sub).collect();
        assert!(fits(window, &own), "the member's window holds: {own:?}");
        assert!(
            seq <= self.log_head && seq <= self.router.head(),
            "delivered before it is durable"
        );
        let model = self
            .subs
            .get_mut(&id.sub)
            .expect("delivered for a subscription that is there");
        assert!(model.matches(event), "only what matches is delivered");
        model.brought(seq);
        let known = model.know(seq);
        assert!(known.leased.is_none(), "leased twice at once: {id}");
        assert!(!known.durable, "a settled event came again: {id} {known:?}");
        assert!(
            !matches!(known.fate, Fate::Ended(_)),
            "an ended event came again: {id} {known:?}"
        );
        if known.deliveries > 0 {
            assert!(redelivered, "a repeat says that it is one: {id} {known:?}");
            assert!(
                attempt > 1 || known.replayed,
                "a repeat is a later attempt: {id} {known:?}"
            );
        }
        assert!(attempt > known.attempt, "attempts ascend: {id} {known:?}");
        known.attempt = attempt;
        known.deliveries += 1;
        known.leased = Some(id.epoch);
        let first = known.deliveries == 1 && !known.replayed;
        if let Some(key) = key {
            if first {
                let last = model.last_first.entry(key.clone()).or_default();
                assert!(
                    *last < seq,
                    "first deliveries of session {key} ascend: {last} then {seq}"
                );
                *last = seq;
            }
            let other = self.busy.insert((id.sub, key.clone()), seq);
            assert!(
                other.is_none(),
                "one in flight per session: {other:?} and {seq} of {key}"
            );
        }
    }

    /// Everything heals; everything that is left must end. Returns what is still open.
    pub(super) fn drain(&mut self) -> BTreeSet<(SubId, Seq)> {
        self.trace(|| "drain".to_owned());
        self.faults = 0;
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.link_down(link);
        }
        self.lost.clear();
        let link = self.link(Window::UNLIMITED);
        for id in self.subs.keys().copied().collect::<Vec<_>>() {
            if !self.subs[&id].deleted {
                self.join(id, link, Window::default());
            }
        }
        self.run();
        for _ in 0..20_000 {
            let mut idle = true;
            while !self.links[&link].held.is_empty() {
                self.settle(link, 0, &Settle::Ack);
                idle = false;
            }
            for id in std::mem::take(&mut self.links.get_mut(&link).unwrap().gaps) {
                assert!(
                    self.router.settle(link, id, Settle::Ack, self.now),
                    "a gap is acked"
                );
                idle = false;
            }
            while !self.asked.is_empty() {
                self.read(0);
            }
            while !self.answers.is_empty() {
                self.answer_read(0);
                idle = false;
            }
            self.run();
            if self.batch.is_some() || self.router.wants_flush(self.now) || !self.staged.is_empty()
            {
                self.flush();
                // A batch that was under way is done; now the one that is wanted.
                idle = false;
            }
            if idle && self.asked.is_empty() && self.links[&link].held.is_empty() {
                let Some(at) = self.router.next_deadline_ms() else {
                    break;
                };
                self.advance(at.saturating_sub(self.now.mono_ms));
                self.run();
            }
        }
        let mut open = BTreeSet::new();
        for (id, model) in self.subs.iter().filter(|(_, model)| !model.deleted) {
            for (seq, known) in &model.known {
                let event = &self.history[seq];
                let expired = event.expires_at_ms.is_some_and(|at| at <= self.now.wall_ms);
                let dropped = expired && model.policy.on_expired == OnExpired::Drop;
                if known.fate == Fate::Pending && !dropped {
                    open.insert((*id, *seq));
                }
            }
        }
        open
    }
}
