//! Frames to consumers: events, gaps and advisories.
//!
//! A delivery is a prefix, the stored envelope as it is, and a suffix: the payload is never parsed.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;
use trunkline_contract::limits::LINK_UNWRITTEN_BYTES_MAX;
use trunkline_contract::rpc::{self, method};

use crate::router::{DeliveryId, LinkId, Settle};
use crate::store::{Seq, StoredEvent};

use super::state::{Core, Output};

impl Core {
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one router command"
    )]
    pub(crate) fn deliver(
        &mut self,
        link: LinkId,
        event: &Arc<StoredEvent>,
        id: DeliveryId,
        attempt: u32,
        redelivered: bool,
        lease_ms: u64,
        is_last: bool,
        subscription: &str,
    ) {
        self.counters.add("deliveries", 1);
        self.span_delivered(event, id, attempt, subscription);
        let Some(peer) = self.peers.get(&link) else {
            return;
        };
        if peer.legacy {
            self.deliver_legacy(link, event);
            // It cannot settle: it is done once it is written, and nothing runs out before.
            let lease_ms = crate::router::limits::LEASE_MS_MAX;
            self.router
                .settle(link, id, Settle::Extend { lease_ms }, self.now);
            if let Some(peer) = self.peers.get_mut(&link) {
                peer.unwritten_deliveries.push(id);
            }
            return;
        }
        if self.deliver_as_call(link, event, id, redelivered, subscription) {
            return;
        }
        let last = if is_last { "\"last\":true," } else { "" };
        self.write_data(link, |out| {
            event_frame(out, event);
            writeln!(
                out,
                ",\"delivery\":{{\"id\":\"{id}\",\"attempt\":{attempt},\"redelivered\":{redelivered},\
                 \"lease_ms\":{lease_ms},{last}\"subscription\":\"{subscription}\"}}}}}}"
            )
            .expect("a Vec takes every write");
        });
    }

    pub(crate) fn deliver_ephemeral(&mut self, link: LinkId, event: &Arc<StoredEvent>) {
        let Some(peer) = self.peers.get(&link) else {
            return;
        };
        if peer.legacy {
            self.deliver_legacy(link, event);
            return;
        }
        self.write_data(link, |out| {
            event_frame(out, event);
            out.extend_from_slice(b"}}\n");
        });
    }

    pub(crate) fn deliver_gap(
        &mut self,
        link: LinkId,
        subscription: &str,
        from: Seq,
        to: Seq,
        count: u64,
        id: DeliveryId,
    ) {
        self.counters.add("gaps", 1);
        let params = rpc::GapParams {
            subscription: subscription.to_owned(),
            from,
            to,
            count,
            delivery: rpc::GapDelivery { id: id.to_string() },
        };
        self.write_data(link, |out| {
            rpc::write_notification(out, method::BROKER_GAP, &params);
        });
    }

    /// Appends to the data lane and tells the router when the link has enough for now.
    pub(crate) fn write_data(&mut self, link: LinkId, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        peer.out.data(write);
        if !peer.flush {
            peer.flush = true;
            self.outputs.push(Output::Flush(link));
        }
        if peer.out.len() >= LINK_UNWRITTEN_BYTES_MAX {
            self.router.set_writable(link, false);
        }
    }

    /// Tells whoever listens (`admin` only) that something was dead-lettered.
    pub(crate) fn advise_dead(&mut self, subscription: &str, id: &str, reason: &str) {
        #[derive(Serialize)]
        struct Advice<'a> {
            id: &'a str,
            subscription: &'a str,
            reason: &'a str,
        }
        self.counters.add("dead_letters", 1);
        let topic = format!("plugin.dead.{}", subscription.replace('.', "-"));
        self.broadcast(
            &topic,
            &Advice {
                id,
                subscription,
                reason,
            },
        );
    }

    /// An ephemeral event of the broker's own.
    pub(crate) fn broadcast(&mut self, topic: &str, payload: &impl Serialize) {
        let topic = self.topic(topic);
        if self.router.matching(&topic).is_empty() {
            return;
        }
        let event = self.own_event(topic, payload);
        self.router.ephemeral(&Arc::new(event));
    }

    /// An event whose source is the broker itself.
    pub(crate) fn own_event(&mut self, topic: Arc<str>, payload: &impl Serialize) -> StoredEvent {
        #[derive(Serialize)]
        struct Envelope<'a, P> {
            id: &'a str,
            timestamp: &'a str,
            topic: &'a str,
            source: &'a str,
            payload: &'a P,
        }
        let id = self.new_id();
        let timestamp = self.timestamp().to_owned();
        let envelope = Envelope {
            id: &id,
            timestamp: &timestamp,
            topic: &topic,
            source: "broker",
            payload,
        };
        let bytes = serde_json::to_vec(&envelope).expect("our own payloads are plain data");
        StoredEvent {
            seq: 0,
            stored_at_ms: self.now.wall_ms,
            topic,
            source: "broker".into(),
            session: None,
            expires_at_ms: None,
            envelope: bytes.into(),
        }
    }
}

/// Everything of a `broker.event` frame up to the end of its event.
pub(crate) fn event_frame(out: &mut Vec<u8>, event: &StoredEvent) {
    out.reserve(event.envelope.len() + event.topic.len() + 256);
    out.extend_from_slice(
        b"{\"jsonrpc\":\"2.0\",\"method\":\"broker.event\",\"params\":{\"topic\":\"",
    );
    out.extend_from_slice(event.topic.as_bytes());
    out.extend_from_slice(b"\",\"event\":");
    out.extend_from_slice(&event.envelope);
}
