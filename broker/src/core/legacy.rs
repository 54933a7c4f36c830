//! Foreign peers that speak the nexo contract 1.x.
//!
//! They are active and ready at their answer to `initialize`, settle nothing (an event counts as done once
//! it is written), and expect ids and sessions to be UUIDs. What is none is given one, derived from it
//! (version 5), and mapped back when they publish it.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use trunkline_contract::envelope::Draft;
use trunkline_contract::id::legacy_uuid;

use crate::router::LinkId;
use crate::store::StoredEvent;

use super::state::Core;

/// Ids remembered per link, so that they can be mapped back; older ones stay UUIDs.
const ALIASES_MAX: usize = 4096;

/// UUIDs handed to a foreign peer, and what they stand for.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    meant: FxHashMap<String, Box<str>>,
    order: VecDeque<String>,
}

impl Aliases {
    fn give(&mut self, text: &str) -> String {
        let uuid = legacy_uuid(text);
        if uuid != text && !self.meant.contains_key(&uuid) {
            self.meant.insert(uuid.clone(), text.into());
            self.order.push_back(uuid.clone());
            if self.order.len() > ALIASES_MAX
                && let Some(old) = self.order.pop_front()
            {
                self.meant.remove(&old);
            }
        }
        uuid
    }
}

impl Core {
    /// What a foreign peer means by this id or session.
    pub(crate) fn unalias(&self, link: LinkId, text: &str) -> Box<str> {
        self.peers
            .get(&link)
            .filter(|peer| peer.legacy)
            .and_then(|peer| peer.aliases.meant.get(text).cloned())
            .unwrap_or_else(|| text.into())
    }

    pub(crate) fn deliver_legacy(&mut self, link: LinkId, event: &Arc<StoredEvent>) {
        let Ok(text) = std::str::from_utf8(&event.envelope) else {
            return;
        };
        let Ok(draft) = Draft::parse(text) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        let id = peer.aliases.give(draft.id.as_deref().unwrap_or_default());
        let session = draft
            .session_id
            .as_deref()
            .map(|session| peer.aliases.give(session));
        let payload = if draft.payload.trim_start().starts_with('{') {
            draft.payload.to_owned()
        } else {
            format!("{{\"value\":{}}}", draft.payload)
        };
        let mut body = serde_json::Map::new();
        body.insert("id".into(), id.into());
        body.insert(
            "timestamp".into(),
            draft.timestamp.as_deref().unwrap_or_default().into(),
        );
        body.insert("topic".into(), (*event.topic).into());
        body.insert(
            "source".into(),
            draft.source.as_deref().unwrap_or("broker").into(),
        );
        if let Some(session) = session {
            body.insert("session_id".into(), session.into());
        }
        let head = serde_json::to_string(&body).expect("a map of strings is JSON");
        let envelope = format!("{},\"payload\":{payload}}}", &head[..head.len() - 1]);
        let raw: Result<&RawValue, _> = serde_json::from_str(&envelope);
        debug_assert!(raw.is_ok(), "made of JSON parts");
        self.write_data(link, |out| {
            out.extend_from_slice(
                b"{\"jsonrpc\":\"2.0\",\"method\":\"broker.event\",\"params\":{\"topic\":\"",
            );
            out.extend_from_slice(event.topic.as_bytes());
            out.extend_from_slice(b"\",\"event\":");
            out.extend_from_slice(envelope.as_bytes());
            out.extend_from_slice(b"}}\n");
        });
    }
}
