//! What became of outbound messages, counted as it is stored.

use std::borrow::Cow;

use serde::Deserialize;
use trunkline_contract::topic::{Class, classify};

use crate::core::state::Core;
use crate::instance::InstanceKey;
use crate::store::StoredEvent;

/// Every state of a receipt; the last counts words that are none of them.
pub(crate) const RECEIPT_STATES: [&str; 7] = [
    "queued",
    "sent",
    "delivered",
    "read",
    "failed",
    "unknown",
    "other",
];

/// The receipts of an instance, by kind and in the order of [`RECEIPT_STATES`].
#[derive(Debug, Default)]
pub(crate) struct ReceiptCounts(Vec<(Box<str>, [u64; RECEIPT_STATES.len()])>);

impl ReceiptCounts {
    fn count(&mut self, kind: &str, state: &str) {
        let at = RECEIPT_STATES.iter().position(|known| *known == state);
        let at = at.unwrap_or(RECEIPT_STATES.len() - 1);
        match self.0.iter_mut().find(|(known, _)| **known == *kind) {
            Some((_, counts)) => counts[at] += 1,
            None => {
                let mut counts = [0; RECEIPT_STATES.len()];
                counts[at] = 1;
                self.0.push((kind.into(), counts));
            }
        }
    }

    /// Gives the counts of a kind.
    pub(super) fn of(&self, kind: &str) -> [u64; RECEIPT_STATES.len()] {
        let found = self.0.iter().find(|(known, _)| **known == *kind);
        found.map_or([0; RECEIPT_STATES.len()], |(_, counts)| *counts)
    }
}

impl Core {
    /// Counts a receipt that is durable, for the instance whose message it is about.
    pub(crate) fn receipt_stored(&mut self, event: &StoredEvent) {
        #[derive(Deserialize)]
        struct Said<'a> {
            #[serde(borrow)]
            payload: Receipt<'a>,
        }
        #[derive(Deserialize)]
        struct Receipt<'a> {
            #[serde(borrow)]
            state: Cow<'a, str>,
        }
        let Class::Delivery {
            kind,
            instance: Some(instance),
        } = classify(&event.topic)
        else {
            return;
        };
        let said: Option<Said<'_>> = serde_json::from_slice(&event.envelope).ok();
        let state = said.as_ref().map_or("other", |said| &said.payload.state);
        // Most are said by the instance itself; the broker speaks for one that is gone.
        let source = InstanceKey::parse(&event.source);
        let is_its = |key: &InstanceKey| &*key.instance == instance;
        let found = if is_its(&source) && self.instances.contains_key(&source) {
            self.instances.get_mut(&source)
        } else {
            let mut all = self.instances.iter_mut();
            let has_kind = |found: &[String]| found.iter().any(|known| known == kind);
            all.find(|(key, instance)| is_its(key) && has_kind(&instance.setup.kinds))
                .map(|(_, instance)| instance)
        };
        if let Some(instance) = found
            && instance.setup.kinds.iter().any(|known| known == kind)
        {
            instance.counts.receipts.count(kind, state);
        }
    }
}
