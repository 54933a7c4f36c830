//! A publishing link: many publishes in flight, each repeated under its id until it is answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::{CLIENT, Plan, Shared};
use crate::history::{Record, hash};
use crate::random::Random;
use crate::wire::{Incoming, Peer, WireError};

/// How long to wait before trying again what the broker does not take now.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a silent link is listened to before looking around.
const LOOK: Duration = Duration::from_millis(100);
/// Unsettled events of one subscription above which nothing new is made: a run is to test the broker's
/// promises, and a drain that is long because subscribers are slow tests only patience.
const BACKLOG_MAX: usize = 1_500;
/// Refusals that pass by themselves.
const PASSING: [&str; 5] = [
    "storage_full",
    "rate_limited",
    "draining",
    "unavailable",
    "link_lost",
];

#[derive(Debug, Clone)]
struct Sending {
    id: String,
    topic: String,
    session: Option<String>,
    payload: String,
}

/// One publishing link.
#[derive(Debug)]
pub(super) struct Publisher {
    source: String,
    plan: Plan,
    random: Random,
    shared: Arc<Shared>,
    made: u64,
    /// To be sent before anything new.
    again: VecDeque<Sending>,
    in_flight: BTreeMap<u64, Sending>,
}

impl Publisher {
    pub(super) fn new(number: u64, plan: &Plan, random: Random, shared: Arc<Shared>) -> Self {
        Self {
            source: format!("publisher-{number}"),
            plan: plan.clone(),
            random,
            shared,
            made: 0,
            again: VecDeque::new(),
            in_flight: BTreeMap::new(),
        }
    }

    /// Publishes until the load is finished and every publish is answered.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while shared.gate.wait_open().is_some() {
            let served = Peer::connect(&shared.socket, &shared.token, CLIENT)
                .and_then(|mut peer| self.serve(&mut peer));
            self.give_up_unanswered();
            match served {
                Ok(()) => return,
                Err(WireError::Refused { code, message }) => {
                    let text = format!("{} was refused: {code}: {message}", self.source);
                    shared.history.record(Record::Note { text });
                    shared.gate.wait_change(AGAIN);
                }
                Err(_) => shared.gate.wait_change(AGAIN),
            }
        }
    }

    fn serve(&mut self, peer: &mut Peer) -> Result<(), WireError> {
        loop {
            while self.in_flight.len() < self.plan.window {
                let Some(sending) = self.next_sending() else {
                    break;
                };
                self.send(peer, sending)?;
            }
            let is_publishing = self.shared.is_publishing.load(Ordering::Acquire);
            let is_done = self.in_flight.is_empty() && self.again.is_empty() && !is_publishing;
            if is_done || self.shared.gate.is_over() {
                return Ok(());
            }
            if let Some(Incoming::Reply { id, result }) = peer.next(LOOK)?
                && let Some(sending) = self.in_flight.remove(&id)
            {
                self.answered(sending, result)?;
            }
        }
    }

    fn next_sending(&mut self) -> Option<Sending> {
        if let Some(sending) = self.again.pop_front() {
            return Some(sending);
        }
        let may_make =
            self.made < self.plan.events_max && self.shared.ledger.backlog() < BACKLOG_MAX;
        if !may_make || !self.shared.is_publishing.load(Ordering::Acquire) {
            return None;
        }
        self.made += 1;
        let topics = &self.plan.topics;
        let topic = topics[self.random.below(topics.len() as u64) as usize].clone();
        // One of nine asks for no order.
        let session = (!self.random.chance(11))
            .then(|| format!("{}/{}", self.source, self.random.below(self.plan.sessions)));
        let filler = self.random.below(self.plan.payload_bytes * 2 + 1) as usize;
        let payload = format!(
            "{{\"n\": {}, \"big\": 9007199254740993, \"text\": \"{}\"}}",
            self.made,
            "x".repeat(filler)
        );
        let id = format!(
            "{}-{}-{:08x}",
            self.source,
            self.made,
            self.random.below(1 << 32)
        );
        Some(Sending {
            id,
            topic,
            session,
            payload,
        })
    }

    fn send(&mut self, peer: &mut Peer, sending: Sending) -> Result<(), WireError> {
        let Sending {
            id,
            topic,
            session,
            payload,
        } = &sending;
        self.shared.history.record(Record::PubInvoke {
            id: id.clone(),
            source: self.source.clone(),
            topic: topic.clone(),
            session: session.clone(),
            hash: hash(payload.as_bytes()),
        });
        let sent = peer.publish(topic, id, session.as_deref(), payload);
        // Even when the write fails, bytes may have reached the broker.
        self.in_flight
            .insert(sent.as_ref().copied().unwrap_or(u64::MAX), sending);
        sent.map(drop)
    }

    fn answered(
        &mut self,
        sending: Sending,
        result: Result<Value, WireError>,
    ) -> Result<(), WireError> {
        let (id, source) = (sending.id.clone(), self.source.clone());
        match result {
            Ok(answer) => {
                let seq = answer["seq"].as_u64().unwrap_or_default();
                let duplicate = answer["duplicate"].as_bool().unwrap_or_default();
                self.shared.history.record(Record::PubOk {
                    id,
                    source,
                    seq,
                    duplicate,
                });
                self.shared.ledger.acked(&sending.id, &sending.topic);
                if !duplicate && self.random.chance(self.plan.repeat_percent) {
                    self.again.push_back(sending);
                }
            }
            Err(WireError::Refused { code, message }) => {
                self.shared.ledger.refused(&code);
                let is_passing = PASSING.contains(&code.as_str());
                self.shared.history.record(Record::PubErr {
                    id,
                    source,
                    code: code.clone(),
                });
                if is_passing {
                    self.again.push_back(sending);
                    self.shared.gate.wait_change(AGAIN);
                } else {
                    let text = format!("a publish was refused: {code}: {message}");
                    self.shared.history.record(Record::Note { text });
                }
            }
            Err(error) => {
                self.in_flight.insert(u64::MAX, sending);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Notes what was not answered and queues it again, oldest first.
    fn give_up_unanswered(&mut self) {
        let unanswered = std::mem::take(&mut self.in_flight);
        for (_, sending) in unanswered.into_iter().rev() {
            let (id, source) = (sending.id.clone(), self.source.clone());
            self.shared
                .history
                .record(Record::PubUnknown { id, source });
            self.again.push_front(sending);
        }
    }
}
