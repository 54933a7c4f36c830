//! The agent of the IRC suite: answers each inbound line over a raw link, writes the shared history, is killed.
//!
//! Its answers have ids that derive from what they answer, so one that is given again is a duplicate. It acks
//! when the answer was acked. It lives as long as its link: who started it starts it again.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use trunkline_tests::history::{Dlv, History, Record, hash};
use trunkline_tests::wire::{Delivery, Incoming, Peer, Subscribe, WireError};

/// Most events in flight.
const CREDIT: u64 = 16;
/// How long to listen before looking around.
const LOOK: Duration = Duration::from_secs(1);

/// What an answer of the broker is waited for.
enum Asked {
    /// The publish of an answer to this delivery.
    Publish { delivery: String, id: String },
    /// An ack.
    Ack { delivery: String, id: String },
}

struct Agent {
    peer: Peer,
    history: History,
    sub: String,
    link: u64,
    asked: HashMap<u64, Asked>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, token, history, life] = &arguments[..] else {
        bail!("expected socket, token, history and life, found {arguments:?}");
    };
    let lived = Agent::attach(socket, token, history, life).and_then(|mut agent| agent.serve());
    match lived {
        // The daemon was killed, perhaps before the first word.
        Err(error) if matches!(error.downcast_ref(), Some(WireError::Closed(_))) => Ok(()),
        other => other,
    }
}

impl Agent {
    fn attach(socket: &str, token: &str, history: &str, life: &str) -> Result<Self> {
        let mut peer = Peer::connect(Path::new(socket), token, "irc_agent")?;
        let history = History::open(Path::new(history))?;
        let life = std::fs::read_to_string(life)?.trim().parse()?;
        let filters = vec!["plugin.inbound.irc.>".to_owned()];
        let subscribe = Subscribe {
            name: "answers".into(),
            filters: filters.clone(),
            group: None,
            credit: CREDIT,
            retry: None,
        };
        let subscribed = peer.subscribe(&subscribe)?;
        let (sub, pid) = (subscribed.subscription, std::process::id());
        if subscribed.created {
            history.record(Record::Sub {
                sub: sub.clone(),
                filters,
                from_seq: subscribed.cursor,
            });
        }
        let link = (life << 32) + u64::from(pid);
        history.record(Record::Attach {
            sub: sub.clone(),
            link,
            life,
            pid,
            credit: CREDIT,
        });
        Ok(Self {
            peer,
            history,
            sub,
            link,
            asked: HashMap::new(),
        })
    }

    fn serve(&mut self) -> Result<()> {
        loop {
            match self.peer.next(LOOK)? {
                Some(Incoming::Delivery(delivery)) => self.answer(delivery)?,
                Some(Incoming::Reply { id, result }) => self.answered(id, result)?,
                Some(Incoming::Other { .. }) | None => {}
            }
        }
    }

    fn answer(&mut self, delivery: Delivery) -> Result<()> {
        let handing = delivery.handing.context("a durable event has a delivery")?;
        let message: Value = serde_json::from_str(&delivery.payload)?;
        self.history.record(Record::Dlv(Dlv {
            sub: handing.subscription,
            link: self.link,
            id: delivery.event_id.clone(),
            // Order is kept per account: its topic is part of the key.
            session: delivery
                .session
                .as_ref()
                .map(|session| format!("{} {session}", delivery.topic)),
            hash: hash(message.to_string().as_bytes()),
            delivery: handing.id.clone(),
            attempt: handing.attempt,
            redelivered: handing.redelivered,
            replay_of: delivery.replay_of,
            seq: None,
            lease_ms: handing.lease_ms,
        }));
        let topic = delivery.topic.replace(".inbound.", ".outbound.");
        let text = message["text"].as_str().unwrap_or_default();
        let answer =
            json!({"text": format!("echo: {text}"), "conversation": message["conversation"]});
        let (id, session) = (format!("reply-{}", delivery.event_id), delivery.session);
        let number = self
            .peer
            .publish(&topic, &id, session.as_deref(), &answer.to_string())?;
        let asked = Asked::Publish {
            delivery: handing.id,
            id: delivery.event_id,
        };
        self.asked.insert(number, asked);
        Ok(())
    }

    fn answered(&mut self, number: u64, result: Result<Value, WireError>) -> Result<()> {
        match self.asked.remove(&number) {
            Some(Asked::Publish { delivery, id }) => {
                result?;
                self.history.record(Record::AckSent {
                    sub: self.sub.clone(),
                    delivery: delivery.clone(),
                    id: id.clone(),
                });
                let number = self.peer.ack(&delivery)?;
                self.asked.insert(number, Asked::Ack { delivery, id });
            }
            Some(Asked::Ack { delivery, id }) => {
                let sub = self.sub.clone();
                self.history
                    .record(if result?["stale"] == json!([delivery]) {
                        Record::AckStale { sub, delivery, id }
                    } else {
                        Record::AckOk { sub, delivery, id }
                    });
            }
            None => {}
        }
        Ok(())
    }
}
