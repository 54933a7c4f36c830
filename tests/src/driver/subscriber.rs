//! A link that serves a subscription: takes deliveries, holds them for a while, settles them in many ways.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::{CLIENT, Shared, SubscriptionPlan};
use crate::history::{Dlv, Record, hash};
use crate::random::Random;
use crate::wire::{Delivery, Handing, Incoming, Peer, Subscribe, WireError};

/// How long a link that cannot be made is left alone.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a silent link is listened to before looking around.
const LOOK: Duration = Duration::from_millis(100);
/// How long a link with deliveries in hand is listened to before one is settled.
const WORK: Duration = Duration::from_millis(1);
/// How long the new delivery is kept after the former one was acked, so that a mistake can show.
const SUSPENSE: Duration = Duration::from_millis(20);
/// How long an answer to an ack may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Former deliveries by event id, shared by the members of a subscription.
pub(super) type Former = Arc<Mutex<HashMap<String, String>>>;

/// One serving link.
#[derive(Debug)]
pub(super) struct Member {
    plan: SubscriptionPlan,
    sub: String,
    random: Random,
    former: Former,
    shared: Arc<Shared>,
    link: u64,
    /// Event id and delivery, in no order.
    held: Vec<(String, Handing)>,
    /// Unanswered acks: delivery and event id by request.
    acks: HashMap<u64, (String, String)>,
}

/// Why serving ended without an error.
#[derive(PartialEq, Eq)]
enum End {
    Over,
    Detached,
}

impl Member {
    pub(super) fn new(
        plan: SubscriptionPlan,
        random: Random,
        former: Former,
        shared: Arc<Shared>,
    ) -> Self {
        let sub = plan.full_name();
        let (held, acks) = (Vec::new(), HashMap::new());
        Self {
            plan,
            sub,
            random,
            former,
            shared,
            link: 0,
            held,
            acks,
        }
    }

    /// Serves until the run is over.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while let Some(life) = shared.gate.wait_open() {
            let Ok(mut peer) = Peer::connect(&shared.socket, &shared.token, CLIENT) else {
                shared.gate.wait_change(AGAIN);
                continue;
            };
            self.link = 1 + shared.links.fetch_add(1, Ordering::Relaxed);
            self.held.clear();
            self.acks.clear();
            let served = self.serve(&mut peer, life);
            shared.history.record(Record::Detach { link: self.link });
            // Whether these counted nobody knows; if not, the events come again and are owed again.
            for (_, (_, id)) in self.acks.drain() {
                shared.ledger.settled(&self.sub, &id);
            }
            match served {
                Ok(End::Over) => return,
                Ok(End::Detached) => {}
                Err(WireError::Refused { code, message }) => {
                    let text = format!("{} was refused: {code}: {message}", self.sub);
                    shared.history.record(Record::Note { text });
                    shared.gate.wait_change(AGAIN);
                }
                Err(_) => shared.gate.wait_change(AGAIN),
            }
        }
    }

    fn serve(&mut self, peer: &mut Peer, life: u64) -> Result<End, WireError> {
        self.shared.history.record(Record::Attach {
            sub: self.sub.clone(),
            link: self.link,
            life,
            pid: std::process::id(),
            credit: self.plan.credit,
        });
        let subscribed = peer.subscribe(&Subscribe {
            name: self.plan.name.clone(),
            filters: self.plan.filters.clone(),
            group: (self.plan.members > 1).then(|| "all".to_owned()),
            credit: self.plan.credit,
            retry: Some(json!({"backoff_ms": [10, 20, 50]})),
        })?;
        assert_eq!(
            subscribed.subscription, self.sub,
            "the name of a client's subscription"
        );
        loop {
            if self.shared.gate.is_over() {
                self.settle_rest(peer)?;
                return Ok(End::Over);
            }
            let limit = if self.held.is_empty() { LOOK } else { WORK };
            let incoming = peer.next(limit)?;
            let is_quiet = incoming.is_none();
            if let Some(incoming) = incoming {
                self.receive(incoming);
            }
            // The kernel rounds a short wait up to some milliseconds; make up for it with several at once.
            let surplus = self.held.len().saturating_sub(self.plan.habits.hold_max);
            let free = if is_quiet {
                self.random.below(self.held.len() as u64 + 1)
            } else {
                0
            };
            for _ in 0..surplus.max(free as usize) {
                let chosen = self.random.below(self.held.len() as u64) as usize;
                let (id, handing) = self.held.swap_remove(chosen);
                if self.settle(peer, id, handing)? == End::Detached {
                    return Ok(End::Detached);
                }
            }
        }
    }

    fn receive(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Delivery(delivery) => self.delivery(delivery),
            Incoming::Reply { id, result } => {
                if let Some((delivery, event)) = self.acks.remove(&id) {
                    self.acked(&result, delivery, event);
                }
            }
            Incoming::Other { method, params, .. } => {
                let text = format!("{} got {method} {params}", self.sub);
                self.shared.history.record(Record::Note { text });
            }
        }
    }

    fn delivery(&mut self, delivery: Delivery) {
        let Some(handing) = delivery.handing else {
            return;
        };
        self.shared.history.record(Record::Dlv(Dlv {
            sub: handing.subscription.clone(),
            link: self.link,
            id: delivery.event_id.clone(),
            session: delivery.session,
            hash: hash(delivery.payload.as_bytes()),
            delivery: handing.id.clone(),
            attempt: handing.attempt,
            redelivered: handing.redelivered,
            replay_of: delivery.replay_of,
            seq: None,
            lease_ms: handing.lease_ms,
        }));
        self.shared.ledger.handed(&self.sub, &delivery.event_id);
        self.held.push((delivery.event_id, handing));
    }

    fn settle(&mut self, peer: &mut Peer, id: String, handing: Handing) -> Result<End, WireError> {
        let former = self
            .former
            .lock()
            .expect("no thread panics with it")
            .remove(&id);
        if let Some(former) = former.filter(|former| *former != handing.id) {
            self.ack_former(peer, &id, former)?;
        }
        let habits = self.plan.habits;
        let mut roll = self.random.below(1_000);
        let mut falls_on = |share: u64| {
            let hit = roll < share;
            roll = roll.wrapping_sub(share);
            hit
        };
        let (sub, delivery) = (self.sub.clone(), handing.id);
        if falls_on(habits.detach) {
            return Ok(End::Detached);
        } else if falls_on(habits.reject) {
            let params = json!({"deliveries": [delivery], "reason": "the harness says so"});
            self.shared.history.record(Record::Reject {
                sub,
                delivery,
                id: id.clone(),
            });
            peer.notify("broker.reject", &params)?;
            self.shared.ledger.settled(&self.sub, &id);
        } else if falls_on(habits.counted_nak) {
            let params = json!({"deliveries": [delivery], "reason": "the harness says so"});
            self.shared.history.record(Record::Nak {
                counted: true,
                sub,
                delivery,
                id,
            });
            peer.notify("broker.nak", &params)?;
        } else if falls_on(habits.nak) {
            self.nak(peer, id, delivery, false)?;
        } else if falls_on(habits.stale_ack) {
            self.nak(peer, id, delivery, true)?;
        } else if falls_on(habits.silent_ack) {
            let params = json!({"deliveries": [delivery]});
            self.shared.history.record(Record::AckSent {
                sub,
                delivery,
                id: id.clone(),
            });
            peer.notify("broker.ack", &params)?;
            self.shared.ledger.settled(&self.sub, &id);
        } else {
            self.ack(peer, id, delivery)?;
        }
        Ok(End::Over)
    }

    fn ack(&mut self, peer: &mut Peer, id: String, delivery: String) -> Result<(), WireError> {
        let (sub, event) = (self.sub.clone(), id.clone());
        self.shared.history.record(Record::AckSent {
            sub,
            delivery: delivery.clone(),
            id: event,
        });
        let request = peer.ack(&delivery)?;
        self.acks.insert(request, (delivery, id));
        Ok(())
    }

    fn nak(
        &mut self,
        peer: &mut Peer,
        id: String,
        delivery: String,
        is_remembered: bool,
    ) -> Result<(), WireError> {
        let delay_ms = if is_remembered {
            0
        } else {
            self.random.below(30)
        };
        let params = json!({"deliveries": [delivery], "delay_ms": delay_ms, "counted": false});
        if is_remembered {
            let mut former = self.former.lock().expect("no thread panics with it");
            former.insert(id.clone(), delivery.clone());
        }
        let sub = self.sub.clone();
        self.shared.history.record(Record::Nak {
            counted: false,
            sub,
            delivery,
            id,
        });
        peer.notify("broker.nak", &params)
    }

    /// Acks a delivery that is no longer valid while the new one is in hand, and looks what follows.
    fn ack_former(&mut self, peer: &mut Peer, id: &str, former: String) -> Result<(), WireError> {
        let (sub, delivery) = (self.sub.clone(), former.clone());
        self.shared.history.record(Record::AckSent {
            sub,
            delivery,
            id: id.to_owned(),
        });
        let answer = peer.call("broker.ack", &json!({"deliveries": [former]}), ANSWER);
        if !matches!(answer, Ok(_) | Err(WireError::Refused { .. })) {
            return answer.map(drop);
        }
        let is_stale = is_stale(&answer, &former);
        self.note_ack(is_stale, former, id.to_owned());
        if let Some(incoming) = peer.next(SUSPENSE)? {
            self.receive(incoming);
        }
        Ok(())
    }

    fn acked(&mut self, answer: &Result<Value, WireError>, delivery: String, id: String) {
        let is_stale = is_stale(answer, &delivery);
        if !is_stale {
            self.shared.ledger.settled(&self.sub, &id);
        }
        self.note_ack(is_stale, delivery, id);
    }

    fn note_ack(&self, is_stale: bool, delivery: String, id: String) {
        let sub = self.sub.clone();
        self.shared.history.record(if is_stale {
            Record::AckStale { sub, delivery, id }
        } else {
            Record::AckOk { sub, delivery, id }
        });
    }

    /// Acks what is in hand at the end of the run, and hears the answers.
    fn settle_rest(&mut self, peer: &mut Peer) -> Result<(), WireError> {
        for (id, handing) in std::mem::take(&mut self.held) {
            self.ack(peer, id, handing.id)?;
        }
        while !self.acks.is_empty() {
            match peer.next(ANSWER)? {
                Some(Incoming::Reply { id, result }) => {
                    self.receive(Incoming::Reply { id, result });
                }
                // Nothing more is taken in hand: what comes now was never received.
                Some(_) => {}
                None => return Err(WireError::TimedOut),
            }
        }
        Ok(())
    }
}

/// Says whether the broker called the delivery stale, or refused the ack altogether.
fn is_stale(answer: &Result<Value, WireError>, delivery: &str) -> bool {
    match answer {
        Ok(answer) => answer["stale"]
            .as_array()
            .is_some_and(|stale| stale.iter().any(|item| item == delivery)),
        Err(_) => true,
    }
}
