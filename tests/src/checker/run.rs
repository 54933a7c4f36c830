//! Judges a history in the order of its lines.
//!
//! Per (subscription, session) the events that were handed over and not settled are kept in the order of their
//! first delivery; in a correct history there is one, after a fault a few. That is what keeps it linear.

use std::collections::{HashMap, HashSet};

use super::known::Known;
use super::{Options, Report, Rule, Violation, matches};
use crate::history::{Dlv, Line, Record};

/// A link that serves a subscription.
#[derive(Debug)]
struct Link {
    life: u64,
    pid: u32,
    credit: u64,
    in_flight: HashSet<String>,
    is_open: bool,
}

/// The latest handing-over of an event.
#[derive(Debug)]
struct Handed {
    delivery: String,
    link: u64,
    at: u64,
    lease_ms: u64,
}

/// What became of an event at a subscription so far.
#[derive(Debug)]
struct Progress<'a> {
    /// Position among the session's first deliveries.
    order: u64,
    attempt: u64,
    life: u64,
    /// The handing-over that may still settle it; `None` after a settlement.
    handed: Option<Handed>,
    /// Attempts that were given back without a failure.
    excused: u64,
    is_acked_durably: bool,
    is_settled: bool,
    session: Option<&'a str>,
}

/// The unsettled events of one session.
#[derive(Debug, Default)]
struct Session<'a> {
    open: Vec<Key<'a>>,
    handed_over: u64,
    seq_last: u64,
}

/// An event at a subscription; a replay of a dead letter is its own.
type Key<'a> = (&'a str, Option<&'a str>);

/// A subscription.
#[derive(Debug, Default)]
struct Sub<'a> {
    filters: Vec<&'a str>,
    from_seq: u64,
    events: HashMap<Key<'a>, Progress<'a>>,
    sessions: HashMap<&'a str, Session<'a>>,
    by_delivery: HashMap<&'a str, Key<'a>>,
    /// Deliveries that were settled when they no longer could be.
    settled_late: HashSet<&'a str>,
}

/// A check under way.
#[derive(Debug)]
pub(super) struct Run<'a> {
    known: &'a Known<'a>,
    options: Options,
    report: Report,
    subs: HashMap<&'a str, Sub<'a>>,
    links: HashMap<u64, Link>,
    killed: HashSet<u32>,
    /// Lives of the broker up to here are over.
    life_ended: u64,
    mark: Option<u64>,
    /// Number and line of the first ack of an id.
    acked: HashMap<&'a str, u64>,
    by_seq: HashMap<u64, &'a str>,
    delivered: HashSet<&'a str>,
    /// Ids published again after they had been delivered.
    again_after_delivery: HashSet<&'a str>,
    in_log: HashSet<&'a str>,
    /// Ends of links: after each an event may have one attempt more.
    ends: u64,
    fault_end: Option<u64>,
    drain_end: Option<(u64, u64)>,
    line: usize,
}

impl<'a> Run<'a> {
    /// Prepares a check.
    pub(super) fn new(known: &'a Known<'a>, options: Options) -> Self {
        Self {
            known,
            options,
            report: Report::default(),
            subs: HashMap::new(),
            links: HashMap::new(),
            killed: HashSet::new(),
            life_ended: 0,
            mark: None,
            acked: HashMap::new(),
            by_seq: HashMap::new(),
            delivered: HashSet::new(),
            again_after_delivery: HashSet::new(),
            in_log: HashSet::new(),
            ends: 0,
            fault_end: None,
            drain_end: None,
            line: 0,
        }
    }

    /// Goes over all lines, then judges the end.
    pub(super) fn over(mut self, lines: &'a [Line]) -> Report {
        for line in lines {
            self.line += 1;
            self.step(line);
        }
        self.report.lines = lines.len();
        self.line = 0;
        self.end();
        self.report
    }

    fn broken(&mut self, rule: Rule, text: String) {
        self.report.violations.push(Violation {
            rule,
            line: self.line,
            text,
        });
    }

    fn step(&mut self, line: &'a Line) {
        match &line.what {
            Record::PubInvoke { id, .. } => self.publish(id),
            Record::PubOk {
                id, seq, duplicate, ..
            } => self.published(id, *seq, *duplicate),
            Record::PubUnknown { .. } => self.report.unknown += 1,
            Record::Sub {
                sub,
                filters,
                from_seq,
            } => {
                let entry = self.subs.entry(sub).or_default();
                entry.filters = filters.iter().map(String::as_str).collect();
                entry.from_seq = *from_seq;
            }
            Record::Attach {
                link,
                life,
                pid,
                credit,
                ..
            } => {
                let link_state = Link {
                    life: *life,
                    pid: *pid,
                    credit: *credit,
                    in_flight: HashSet::new(),
                    is_open: true,
                };
                self.links.insert(*link, link_state);
            }
            Record::Detach { link } => {
                self.ends += 1;
                if let Some(link) = self.links.get_mut(link) {
                    link.is_open = false;
                }
            }
            Record::Dlv(dlv) => self.delivery(dlv, line.at),
            Record::AckSent { sub, delivery, .. } => self.settle(sub, delivery, false),
            Record::Reject { sub, delivery, .. } => self.settle(sub, delivery, false),
            Record::Nak {
                sub,
                delivery,
                counted,
                ..
            } => {
                self.settle(sub, delivery, true);
                if !counted {
                    self.excuse(sub, delivery);
                }
            }
            Record::AckOk { sub, delivery, id } => self.ack_ok(sub, delivery, id),
            Record::Dead { sub, id, reason } => {
                self.report.dead += 1;
                if reason.is_empty() {
                    self.broken(Rule::C8, format!("dead letter {id} of {sub} has no reason"));
                }
            }
            Record::Seek { sub } => {
                if let Some(sub) = self.subs.get_mut(sub.as_str()) {
                    sub.events.clear();
                    sub.sessions.clear();
                    sub.by_delivery.clear();
                    sub.settled_late.clear();
                }
            }
            Record::Log { seq, id } => self.logged(*seq, id),
            Record::Mark { seq } => self.mark = Some(*seq),
            Record::Crash { life } | Record::Cut { life } => {
                self.report.faults += 1;
                self.ends += 1;
                self.life_ended = self.life_ended.max(*life);
            }
            Record::Kill { pid } => {
                self.report.faults += 1;
                self.ends += 1;
                self.killed.insert(*pid);
            }
            Record::FaultEnd => self.fault_end = Some(line.at),
            Record::DrainEnd { unsettled } => self.drain_end = Some((line.at, *unsettled)),
            Record::PubErr { .. }
            | Record::AckStale { .. }
            | Record::Gap { .. }
            | Record::LogEnd
            | Record::Restart { .. }
            | Record::Note { .. } => {}
        }
    }

    fn publish(&mut self, id: &'a str) {
        if self.delivered.contains(id) {
            self.again_after_delivery.insert(id);
        }
    }

    fn published(&mut self, id: &'a str, seq: u64, duplicate: bool) {
        let is_known = self.acked.contains_key(id);
        match self.acked.get(id) {
            Some(first) if *first != seq => {
                let text = format!("{id} was acked as {first} and again as {seq}");
                self.broken(Rule::C7, text);
            }
            Some(_) => {}
            None => {
                self.acked.insert(id, seq);
                self.report.acked += 1;
            }
        }
        if let Some(other) = self.by_seq.insert(seq, id).filter(|other| *other != id) {
            self.broken(Rule::C7, format!("{seq} was given to {other} and to {id}"));
        }
        if !duplicate && is_known {
            let text = format!("{id} was acked before, yet its repeat is no duplicate");
            self.broken(Rule::C7, text);
        } else if !duplicate && self.again_after_delivery.contains(id) {
            let text = format!("{id} was delivered, yet the store did not know it: {seq} is new");
            self.broken(Rule::C11, text);
        }
    }

    fn logged(&mut self, seq: u64, id: &'a str) {
        let Some(published) = self.known.published.get(id) else {
            return;
        };
        if !self.in_log.insert(id) {
            let rule = if published.has_unknown {
                Rule::C10
            } else {
                Rule::C7
            };
            self.broken(
                rule,
                format!("{id} is in the log twice, the second time as {seq}"),
            );
        } else if published.seq.is_some_and(|acked| acked != seq) {
            let text = format!(
                "{id} was acked as {:?}, in the log it is {seq}",
                published.seq
            );
            self.broken(Rule::C7, text);
        }
    }

    /// Says whether the link still holds what it was given.
    fn holds(&self, handed: &Handed, at: u64) -> bool {
        // The broker's lease began before the delivery was read, by an unknown time: be lenient by half.
        at < handed.at + handed.lease_ms / 2
            && self.links.get(&handed.link).is_some_and(|link| {
                link.is_open && link.life > self.life_ended && !self.killed.contains(&link.pid)
            })
    }

    fn delivery(&mut self, dlv: &'a Dlv, at: u64) {
        self.report.deliveries += 1;
        self.report.redeliveries += usize::from(dlv.redelivered);
        let id = dlv.id.as_str();
        let Some(published) = self.known.published.get(id) else {
            self.broken(Rule::C2, format!("{id} was delivered and never published"));
            return;
        };
        if published.hash != dlv.hash || published.session != dlv.session.as_deref() {
            self.broken(
                Rule::C2,
                format!("{id} was changed on its way to {}", dlv.sub),
            );
        }
        self.delivered.insert(id);
        let seq = dlv.seq.or(published.seq);
        if let (Some(mark), Some(seq)) = (self.mark, dlv.seq)
            && seq > mark
        {
            self.broken(Rule::C11, format!("{id} is {seq}, durable is {mark}"));
        }
        let key = (id, dlv.replay_of.as_deref());
        let before = self
            .subs
            .get(dlv.sub.as_str())
            .and_then(|sub| sub.events.get(&key));
        let excused = before.map_or(0, |before| before.excused);
        let is_acked_durably = before.is_some_and(|before| before.is_acked_durably);
        let attempts_max = self.options.failures_max + self.ends + excused;
        if dlv.attempt > attempts_max {
            let text = format!(
                "attempt {} of {id}, at most {attempts_max} are due",
                dlv.attempt
            );
            self.broken(Rule::C8, text);
        }
        self.repeat(dlv, key, at);
        self.in_session(dlv, key, seq, at);
        self.credit(dlv, at);
        let life = self.links.get(&dlv.link).map_or(0, |link| link.life);
        let sub = self.subs.entry(&dlv.sub).or_default();
        let handed = Handed {
            delivery: dlv.delivery.clone(),
            link: dlv.link,
            at,
            lease_ms: dlv.lease_ms,
        };
        let session = dlv.session.as_deref();
        let order = session.map_or(0, |session| {
            let state = sub.sessions.entry(session).or_default();
            let order = sub.events.get(&key).map_or_else(
                || {
                    state.handed_over += 1;
                    state.handed_over
                },
                |progress| progress.order,
            );
            if !state.open.contains(&key) {
                state.open.push(key);
            }
            order
        });
        sub.by_delivery.insert(&dlv.delivery, key);
        let progress = Progress {
            order,
            attempt: dlv.attempt,
            life,
            handed: Some(handed),
            excused,
            is_acked_durably,
            is_settled: false,
            session,
        };
        sub.events.insert(key, progress);
    }

    /// Judges a delivery as a repeat of earlier ones.
    fn repeat(&mut self, dlv: &'a Dlv, key: Key<'a>, at: u64) {
        let life = self.links.get(&dlv.link).map_or(0, |link| link.life);
        let Some(before) = self
            .subs
            .get(dlv.sub.as_str())
            .and_then(|sub| sub.events.get(&key))
        else {
            return;
        };
        let (id, sub) = (&dlv.id, &dlv.sub);
        let mut found = Vec::new();
        if before.is_acked_durably {
            found.push((
                Rule::C6,
                format!("{id} came again to {sub} after its ack was answered"),
            ));
        }
        if before
            .handed
            .as_ref()
            .is_some_and(|handed| self.holds(handed, at))
        {
            found.push((
                Rule::C4,
                format!("{id} came to {sub} again while it was in flight"),
            ));
        }
        if !dlv.redelivered {
            let has_unknown = self
                .known
                .published
                .get(id.as_str())
                .is_some_and(|p| p.has_unknown);
            let rule = if has_unknown && dlv.attempt <= 1 {
                Rule::C10
            } else {
                Rule::C5
            };
            found.push((
                rule,
                format!("{id} came to {sub} a second time, not marked as a repeat"),
            ));
        } else if life == before.life && dlv.attempt <= before.attempt {
            let text = format!(
                "{id}: attempt {} after attempt {}",
                dlv.attempt, before.attempt
            );
            found.push((Rule::C5, text));
        } else if dlv.attempt < 2 {
            found.push((
                Rule::C5,
                format!("{id}: a repeat with attempt {}", dlv.attempt),
            ));
        }
        for (rule, text) in found {
            self.broken(rule, text);
        }
    }

    /// Judges a delivery among the unsettled ones of its session.
    fn in_session(&mut self, dlv: &'a Dlv, key: Key<'a>, seq: Option<u64>, at: u64) {
        let Some(session) = dlv.session.as_deref() else {
            return;
        };
        let known = self.known;
        let Some(sub) = self.subs.get_mut(dlv.sub.as_str()) else {
            return;
        };
        let state = sub.sessions.entry(session).or_default();
        let order = sub.events.get(&key).map(|progress| progress.order);
        let mut found = Vec::new();
        if order.is_none()
            && key.1.is_none()
            && let Some(seq) = seq
        {
            if seq <= state.seq_last {
                let text = format!(
                    "{} ({seq}) of session {session} came to {} after {}",
                    dlv.id, dlv.sub, state.seq_last
                );
                found.push((Rule::C3, text));
            }
            state.seq_last = state.seq_last.max(seq);
        }
        // A dead letter no longer keeps its session waiting.
        state
            .open
            .retain(|open| *open == key || !known.dead.contains(&(&*dlv.sub, open.0)));
        let others: Vec<_> = state
            .open
            .iter()
            .filter(|open| **open != key)
            .copied()
            .collect();
        for other in others {
            let sub = &self.subs[dlv.sub.as_str()];
            let Some(progress) = sub.events.get(&other) else {
                continue;
            };
            let is_earlier = order.is_none_or(|order| progress.order < order);
            let in_flight = progress.handed.as_ref().is_some_and(|h| self.holds(h, at));
            if is_earlier || in_flight {
                let text = format!(
                    "{} came to {} while {} of session {session} was {}",
                    dlv.id,
                    dlv.sub,
                    other.0,
                    if in_flight { "in flight" } else { "unsettled" }
                );
                found.push((Rule::C4, text));
            }
        }
        for (rule, text) in found {
            self.broken(rule, text);
        }
    }

    fn credit(&mut self, dlv: &'a Dlv, at: u64) {
        let Some(link) = self.links.get_mut(&dlv.link) else {
            return;
        };
        link.in_flight.insert(dlv.delivery.clone());
        if link.in_flight.len() as u64 <= link.credit {
            return;
        }
        let ours = std::mem::take(&mut link.in_flight);
        let credit = link.credit;
        let held: HashSet<String> = ours
            .into_iter()
            .filter(|delivery| *delivery == dlv.delivery || self.may_settle(&dlv.sub, delivery, at))
            .collect();
        let count = held.len() as u64;
        if let Some(link) = self.links.get_mut(&dlv.link) {
            link.in_flight = held;
        }
        if count > credit {
            let text = format!("{count} in flight at {}, its credit is {credit}", dlv.sub);
            self.broken(Rule::C9, text);
        }
    }

    /// Says whether `delivery` is the latest handing-over of its event and its lease holds.
    fn may_settle(&self, sub: &str, delivery: &str, at: u64) -> bool {
        self.subs.get(sub).is_some_and(|sub| {
            sub.by_delivery
                .get(delivery)
                .and_then(|key| sub.events.get(key))
                .is_some_and(|event| {
                    event
                        .handed
                        .as_ref()
                        .is_some_and(|h| h.delivery == delivery && self.holds(h, at))
                })
        })
    }

    fn settle(&mut self, sub: &'a str, delivery: &'a str, comes_again: bool) {
        let Some(sub) = self.subs.get_mut(sub) else {
            return;
        };
        let Some(key) = sub.by_delivery.get(delivery).copied() else {
            return;
        };
        let Some(progress) = sub.events.get_mut(&key) else {
            return;
        };
        match progress
            .handed
            .take_if(|handed| handed.delivery == delivery)
        {
            Some(handed) => {
                if let Some(link) = self.links.get_mut(&handed.link) {
                    link.in_flight.remove(delivery);
                }
                if !comes_again
                    && let Some(state) = progress
                        .session
                        .and_then(|session| sub.sessions.get_mut(session))
                {
                    state.open.retain(|open| *open != key);
                }
                progress.is_settled = !comes_again;
            }
            None => {
                sub.settled_late.insert(delivery);
            }
        }
    }

    fn excuse(&mut self, sub: &str, delivery: &str) {
        if let Some(sub) = self.subs.get_mut(sub)
            && let Some(key) = sub.by_delivery.get(delivery)
            && let Some(progress) = sub.events.get_mut(key)
        {
            progress.excused += 1;
        }
    }

    fn ack_ok(&mut self, name: &'a str, delivery: &'a str, id: &'a str) {
        let Some(sub) = self.subs.get_mut(name) else {
            return;
        };
        if sub.settled_late.contains(delivery) {
            let text =
                format!("the ack of {id} by {name} was for an older delivery, yet it counted");
            self.broken(Rule::C13, text);
            return;
        }
        if let Some(key) = sub.by_delivery.get(delivery).copied()
            && let Some(progress) = sub.events.get_mut(&key)
        {
            progress.is_acked_durably = true;
        }
    }

    /// Judges what only the end can tell.
    fn end(&mut self) {
        let mut found = Vec::new();
        for (name, sub) in &self.subs {
            for (id, seq) in &self.acked {
                let published = &self.known.published[id];
                let is_owed = *seq > sub.from_seq
                    && sub
                        .filters
                        .iter()
                        .any(|filter| matches(filter, published.topic))
                    && !self.known.dead.contains(&(name, id))
                    && !self.known.skipped(name, *seq);
                if !self.options.drained || !is_owed {
                    continue;
                }
                match sub.events.get(&(*id, None)) {
                    None => {
                        let text = format!("{id} ({seq}) was acked and never came to {name}");
                        found.push((*seq, Rule::C1, text));
                    }
                    Some(progress) if !progress.is_settled => {
                        let text = format!("{id} ({seq}) came to {name} and was never settled");
                        found.push((*seq, Rule::C12, text));
                    }
                    Some(_) => {}
                }
            }
        }
        if let Some(log) = &self.known.log {
            for (id, seq) in &self.acked {
                if !log.contains_key(id) {
                    let text = format!("{id} ({seq}) was acked and is not in the log");
                    found.push((*seq, Rule::C1, text));
                }
            }
            for id in &self.delivered {
                if !log.contains_key(id) && !self.acked.contains_key(id) {
                    found.push((
                        0,
                        Rule::C11,
                        format!("{id} was delivered and is not in the log"),
                    ));
                }
            }
        }
        found.sort();
        for (_, rule, text) in found {
            self.broken(rule, text);
        }
        self.drained();
    }

    fn drained(&mut self) {
        if !self.options.drained {
            return;
        }
        let Some((at, unsettled)) = self.drain_end else {
            self.broken(Rule::C12, "the drain never ended".into());
            return;
        };
        if unsettled > 0 {
            self.broken(
                Rule::C12,
                format!("{unsettled} events were unsettled when the drain ended"),
            );
        }
        let took = at.saturating_sub(self.fault_end.unwrap_or(at));
        if took > self.options.drain_ms {
            let text = format!(
                "the drain took {took} ms, allowed are {}",
                self.options.drain_ms
            );
            self.broken(Rule::C12, text);
        }
    }
}
