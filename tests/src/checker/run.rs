//! Judges a history in the order of its lines.
//!
//! Per (subscription, session) the events that were handed over and not settled are kept in the order of their
//! first delivery; in a correct history there is one, after a fault a few. That is what keeps it linear.

use std::collections::{HashMap, HashSet};

use super::known::Known;
use super::{Options, Report, Rule, Violation};
use crate::history::{Line, Record};

/// A link that serves a subscription.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) life: u64,
    pub(super) pid: u32,
    pub(super) credit: u64,
    pub(super) in_flight: HashSet<String>,
    pub(super) is_open: bool,
}

/// The latest handing-over of an event.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) delivery: String,
    pub(super) link: u64,
    pub(super) at: u64,
    pub(super) lease_ms: u64,
}

/// What became of an event at a subscription so far.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    /// Position among the session's first deliveries.
    pub(super) order: u64,
    pub(super) attempt: u64,
    pub(super) life: u64,
    /// The handing-over that may still settle it; `None` after a settlement.
    pub(super) handed: Option<Handed>,
    /// Attempts that were given back without a failure.
    pub(super) excused: u64,
    /// The answer to its ack: life of the broker and how long that had run.
    pub(super) acked: Option<(u64, u64)>,
    pub(super) is_settled: bool,
    /// When it was rejected, if that is how it was settled.
    pub(super) rejected_at: Option<u64>,
    pub(super) session: Option<&'a str>,
}

/// The unsettled events of one session.
#[derive(Debug, Default)]
pub(super) struct Session<'a> {
    pub(super) open: Vec<Key<'a>>,
    pub(super) handed_over: u64,
    pub(super) seq_last: u64,
}

/// An event at a subscription; a replay of a dead letter is its own.
pub(super) type Key<'a> = (&'a str, Option<&'a str>);

/// A subscription.
#[derive(Debug, Default)]
pub(super) struct Sub<'a> {
    pub(super) filters: Vec<&'a str>,
    pub(super) from_seq: u64,
    pub(super) events: HashMap<Key<'a>, Progress<'a>>,
    pub(super) sessions: HashMap<&'a str, Session<'a>>,
    pub(super) by_delivery: HashMap<&'a str, Key<'a>>,
    /// Deliveries that were settled when they no longer could be.
    pub(super) settled_late: HashSet<&'a str>,
}

/// A check under way.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) options: Options,
    pub(super) report: Report,
    pub(super) subs: HashMap<&'a str, Sub<'a>>,
    pub(super) links: HashMap<u64, Link>,
    pub(super) killed: HashSet<u32>,
    /// Lives of the broker up to here are over.
    pub(super) life_ended: u64,
    /// When each life ended, by the broker's running time.
    pub(super) ended_at: HashMap<u64, u64>,
    stopped_at: Option<u64>,
    stopped_ms: u64,
    pub(super) mark: Option<u64>,
    /// Number and line of the first ack of an id.
    pub(super) acked: HashMap<&'a str, u64>,
    pub(super) by_seq: HashMap<u64, &'a str>,
    pub(super) delivered: HashSet<&'a str>,
    /// Ids published again after they had been delivered.
    pub(super) again_after_delivery: HashSet<&'a str>,
    pub(super) in_log: HashSet<&'a str>,
    /// Ends of links: after each an event may have one attempt more.
    pub(super) ends: u64,
    pub(super) fault_end: Option<u64>,
    pub(super) drain_end: Option<(u64, u64)>,
    pub(super) line: usize,
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
            ended_at: HashMap::new(),
            stopped_at: None,
            stopped_ms: 0,
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

    pub(super) fn broken(&mut self, rule: Rule, text: String) {
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
            Record::Reject { sub, delivery, .. } => {
                self.settle(sub, delivery, false);
                if let Some(progress) = self.progress(sub, delivery) {
                    progress.rejected_at = Some(line.at);
                }
            }
            Record::Nak {
                sub,
                delivery,
                counted,
                ..
            } => {
                self.settle(sub, delivery, true);
                if !counted && let Some(progress) = self.progress(sub, delivery) {
                    progress.excused += 1;
                }
            }
            Record::AckOk { sub, delivery, id } => self.ack_ok(sub, delivery, id, line.at),
            Record::Stop => self.stopped_at = Some(line.at),
            Record::Cont => self.resumed(line.at),
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
                let running = self.running(line.at);
                self.ended_at.insert(*life, running);
            }
            Record::Kill { pid } => {
                self.report.faults += 1;
                self.ends += 1;
                self.killed.insert(*pid);
            }
            // A stopped broker is killed without going on.
            Record::Restart { .. } => self.resumed(line.at),
            Record::FaultEnd => self.fault_end = Some(line.at),
            Record::DrainEnd { unsettled } => self.drain_end = Some((line.at, *unsettled)),
            Record::PubErr { .. }
            | Record::AckStale { .. }
            | Record::Gap { .. }
            | Record::LogEnd
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

    fn progress(&mut self, sub: &str, delivery: &str) -> Option<&mut Progress<'a>> {
        let sub = self.subs.get_mut(sub)?;
        let key = sub.by_delivery.get(delivery)?;
        sub.events.get_mut(key)
    }

    /// How long the broker has run, without the time it was stopped.
    pub(super) fn running(&self, at: u64) -> u64 {
        self.stopped_at
            .unwrap_or(at)
            .saturating_sub(self.stopped_ms)
    }

    fn resumed(&mut self, at: u64) {
        if let Some(since) = self.stopped_at.take() {
            self.stopped_ms += at - since;
        }
    }

    fn ack_ok(&mut self, name: &'a str, delivery: &'a str, id: &'a str, at: u64) {
        let running = self.running(at);
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
            progress.acked = Some((progress.life, running));
        }
    }
}
