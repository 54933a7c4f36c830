//! The chat: sends lines through every channel and follows them.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use trunkline::{Client, Delivery, Start};
use trunkline_contract::rpc::{InstanceState, LifecyclePayload};

use crate::agent::{ANSWER, agent};
use crate::error::DemoError;
use crate::house::KINDS;
use crate::trip::{EventRef, Seen, Trip};

/// What the chat watches: one subscription each, so that none waits for the acks of another.
const WATCHED: [(&str, &str); 3] = [
    ("sent", "plugin.outbound.>"),
    ("said", "plugin.inbound.>"),
    ("receipts", "plugin.delivery.>"),
];

/// Deliveries seen and not yet looked at; beyond it the subscriptions wait.
const SEEN_MAX: usize = 256;

/// The part of a message that the chat reads.
#[derive(Deserialize)]
struct Said {
    text: Option<String>,
    raw: Option<Raw>,
}

#[derive(Deserialize)]
struct Raw {
    echo: Option<EchoTimes>,
}

#[derive(Deserialize)]
struct EchoTimes {
    received_us: i64,
}

/// Reads the wall clock, which the plugins' times are told by.
pub(crate) fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// A chat that is connected, with an agent beside it.
pub(crate) struct Chat {
    client: Client,
    agent: Client,
    seen: mpsc::Receiver<Seen>,
    limit_ms: u64,
    lines: u64,
}

impl Chat {
    /// Connects the chat and the agent.
    pub(crate) async fn connect(socket: &Path, limit_ms: u64) -> Result<Self, DemoError> {
        let connected = DemoError::client("cannot connect to the daemon");
        let client = Client::new("chat")
            .socket(socket)
            .connect()
            .await
            .map_err(connected)?;
        let (sender, seen) = mpsc::channel(SEEN_MAX);
        for (name, filter) in WATCHED {
            let mut subscription = client
                .subscribe([filter])
                .name(name)
                .await
                .map_err(DemoError::client("the chat cannot subscribe"))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Some(delivery) = subscription.next().await {
                    let seen = seen_in(&delivery);
                    delivery.ack();
                    if let Some(seen) = seen
                        && sender.send(seen).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
        let agent = agent()
            .socket(socket)
            .connect()
            .await
            .map_err(DemoError::client("the agent cannot connect"))?;
        Ok(Self {
            client,
            agent,
            seen,
            limit_ms,
            lines: 0,
        })
    }

    /// Waits until every plugin is ready; gives each with how long ago the chat began to wait.
    pub(crate) async fn wait_for_plugins(
        &self,
        mut told: impl FnMut(&str),
    ) -> Result<(), DemoError> {
        let mut states = self
            .client
            .subscribe(["plugin.lifecycle.>"])
            .name("lifecycle")
            .start(Start::Earliest)
            .await
            .map_err(DemoError::client(
                "the chat cannot read the plugins' states",
            ))?;
        let mut waiting: Vec<String> = KINDS.iter().map(|kind| format!("echo-{kind}")).collect();
        while !waiting.is_empty() {
            let next = timeout(Duration::from_millis(self.limit_ms), states.next());
            let delivery = next
                .await
                .map_err(|_| DemoError::Late {
                    what: format!("expected {} to be ready", waiting.join(", ")),
                    limit_ms: self.limit_ms,
                })?
                .ok_or(DemoError::Ended)?;
            let plugin = delivery
                .topic()
                .split('.')
                .nth(2)
                .unwrap_or_default()
                .to_owned();
            let payload = delivery.payload::<LifecyclePayload>();
            delivery.ack();
            let payload = payload.map_err(DemoError::client("a lifecycle event is unreadable"))?;
            match payload.state {
                InstanceState::Ready | InstanceState::Degraded => {
                    if waiting.contains(&plugin) {
                        told(&plugin);
                    }
                    waiting.retain(|name| *name != plugin);
                }
                InstanceState::BackingOff | InstanceState::Failed | InstanceState::Stopped => {
                    return Err(broken(plugin, payload));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends a line through one channel and follows it until its answer is back.
    ///
    /// # Errors
    /// [`DemoError::Late`] names the stage that was not reached.
    pub(crate) async fn send(&mut self, kind: &str, line: &str) -> Result<Trip, DemoError> {
        self.lines += 1;
        let id = format!("line-{}-{kind}", self.lines);
        let message = json!({ "text": line, "sender": { "id": "you" } });
        let mut trip = Trip::new(id.clone(), now_us());
        let topic = format!("plugin.outbound.{kind}.default");
        let published = self
            .client
            .publish(&topic, message)
            .id(&id)
            .session("demo")
            .await
            .map_err(DemoError::client("the broker did not take the line"))?;
        let stored = EventRef {
            topic,
            source: "client:chat".to_owned(),
            id,
            seq: published.seq,
        };
        trip.stored(stored, now_us());
        let limit = Duration::from_millis(self.limit_ms);
        let follow = async {
            while !trip.is_complete() {
                let seen = self.seen.recv().await.ok_or(DemoError::Ended)?;
                trip.see(seen);
            }
            Ok::<(), DemoError>(())
        };
        let followed = timeout(limit, follow).await;
        followed.map_err(|_| DemoError::Late {
            what: format!("{kind}: {}", trip.waits_for()),
            limit_ms: self.limit_ms,
        })??;
        if trip.back() == Some(&format!("{ANSWER}{line}")) {
            Ok(trip)
        } else {
            Err(DemoError::Plugin {
                plugin: format!("echo-{kind}"),
                state: "wrong".to_owned(),
                reason: format!("it came back as {:?}", trip.back().unwrap_or_default()),
            })
        }
    }

    /// Lets the agent finish and closes both links.
    pub(crate) async fn close(self) {
        self.agent.close().await;
        self.client.close().await;
    }
}

fn broken(plugin: String, payload: LifecyclePayload) -> DemoError {
    let mut reason = payload.reason;
    if let Some(tail) = payload.exit.and_then(|exit| exit.stderr_tail) {
        reason = format!("{reason}\n{}", tail.trim_end());
    }
    DemoError::Plugin {
        plugin,
        state: payload.state.as_str().to_owned(),
        reason,
    }
}

/// Takes what the chat needs; what it cannot read is not the demo's.
fn seen_in(delivery: &Delivery) -> Option<Seen> {
    let at_us = now_us();
    let event = delivery.event().ok()?;
    let said = delivery.payload::<Said>().ok();
    let (text, raw) = said.map_or((None, None), |said| (said.text, said.raw));
    Some(Seen {
        event: EventRef {
            topic: event.topic,
            source: event.source,
            id: event.id,
            seq: None,
        },
        correlation_id: event.correlation_id,
        text,
        received_us: raw.and_then(|raw| raw.echo).map(|echo| echo.received_us),
        at_us,
    })
}
