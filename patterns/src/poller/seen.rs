//! Which items were handed over: hashed ids, each with when it was last met.
//!
//! An entry is 12 bytes: the first 8 of a hash of the id, and minutes since the epoch in 4, both
//! big-endian; all entries together are kept as one text of base64. Two ids of one poller that share 64
//! bits of SHA-256 are one; with every entry in use that is one chance in 10^11 per poller.
//!
//! Nothing is forgotten while it is still listed: an entry's age counts from the last document it was
//! met in, and entries are dropped only behind a whole run, when all that is listed has been met. The
//! set holds twice what one run reads.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};

/// Most items remembered; beyond it those not met for the longest time are forgotten.
pub const SEEN_MAX: usize = 8192;
/// How long an item is remembered that is listed no more, in minutes: 90 days.
const AGE_MINUTES_MAX: u32 = 90 * 24 * 60;
/// How old the time of the last meeting may get before it is written again: a day.
const TOUCH_MINUTES: u32 = 24 * 60;
const ENTRY_BYTES: usize = 12;
const MINUTE_MS: u64 = 60_000;

/// Remembers items by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    met: HashMap<u64, u32>,
    is_changed: bool,
}

/// Hashes an item's id.
pub(super) fn hash(id: &str) -> u64 {
    let digest = Sha256::digest(id.as_bytes());
    u64::from_be_bytes(
        digest[..8]
            .try_into()
            .expect("a digest is longer than 8 bytes"),
    )
}

impl Seen {
    /// Gives how many items are remembered.
    pub fn len(&self) -> usize {
        self.met.len()
    }

    /// Says whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.met.is_empty()
    }

    /// Says whether an item was handed over.
    pub fn contains(&self, id: &str) -> bool {
        self.met.contains_key(&hash(id))
    }

    /// Meets a listed item; says whether it was handed over before.
    pub(super) fn meet(&mut self, id: u64, now_ms: u64) -> bool {
        let now = minutes(now_ms);
        let Some(met) = self.met.get_mut(&id) else {
            return false;
        };
        if now >= met.saturating_add(TOUCH_MINUTES) {
            *met = now;
            self.is_changed = true;
        }
        true
    }

    /// Remembers an item that is handed over.
    pub(super) fn insert(&mut self, id: u64, now_ms: u64) {
        self.met.insert(id, minutes(now_ms));
        self.is_changed = true;
        // A run inserts at most half of what is kept, so none of its own is dropped here.
        if self.met.len() > SEEN_MAX {
            self.keep_newest(SEEN_MAX - SEEN_MAX / 16);
        }
    }

    /// Forgets what has not been listed for long; only behind a whole run.
    pub(super) fn forget_old(&mut self, now_ms: u64) {
        let oldest = minutes(now_ms).saturating_sub(AGE_MINUTES_MAX);
        let before = self.met.len();
        self.met.retain(|_, met| *met >= oldest);
        self.is_changed |= self.met.len() != before;
    }

    fn keep_newest(&mut self, count: usize) {
        let mut entries: Vec<(u32, u64)> = self.met.iter().map(|(id, met)| (*met, *id)).collect();
        entries.sort_unstable_by(|one, other| other.cmp(one));
        self.met = entries
            .into_iter()
            .take(count)
            .map(|(met, id)| (id, met))
            .collect();
    }

    /// Gives the text to be kept, if it changed since the last time.
    pub(super) fn take_changed(&mut self) -> Option<String> {
        std::mem::take(&mut self.is_changed).then(|| self.encode())
    }

    /// Writes the set as text; the same set is always the same text.
    pub fn encode(&self) -> String {
        let mut entries: Vec<(u64, u32)> = self.met.iter().map(|(id, met)| (*id, *met)).collect();
        entries.sort_unstable();
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
        for (id, met) in entries {
            bytes.extend(id.to_be_bytes());
            bytes.extend(met.to_be_bytes());
        }
        STANDARD_NO_PAD.encode(bytes)
    }

    /// Reads a text that was written; `None` for any other.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        if bytes.len() % ENTRY_BYTES != 0 || bytes.len() > SEEN_MAX * ENTRY_BYTES {
            return None;
        }
        let entry = |entry: &[u8]| {
            let (id, met) = entry.split_at(8);
            Some((
                u64::from_be_bytes(id.try_into().ok()?),
                u32::from_be_bytes(met.try_into().ok()?),
            ))
        };
        Some(Self {
            met: bytes
                .chunks(ENTRY_BYTES)
                .map(entry)
                .collect::<Option<_>>()?,
            is_changed: false,
        })
    }
}

fn minutes(ms: u64) -> u32 {
    u32::try_from(ms / MINUTE_MS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3600 * 1000;

    #[test]
    fn what_is_written_is_read_again_and_fits_a_key() {
        let mut seen = Seen::default();
        for n in 0..20_000_u64 {
            seen.insert(hash(&n.to_string()), n * MINUTE_MS);
            assert!(seen.len() <= SEEN_MAX);
        }
        assert!(seen.contains("19999") && !seen.contains("0"));
        let text = seen.take_changed().unwrap();
        assert!(text.len() < trunkline_contract::limits::KV_VALUE_BYTES_MAX * 3 / 4);
        assert_eq!(Seen::decode(&text).unwrap(), seen);
        assert_eq!(seen.take_changed(), None);
        for bad in ["AAAA", "?", "AAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(Seen::decode(bad), None);
        }
        assert!(Seen::decode("").unwrap().is_empty());
    }

    #[test]
    fn an_item_is_remembered_as_long_as_it_is_listed() {
        let mut seen = Seen::default();
        let (listed, gone) = (hash("listed"), hash("gone"));
        seen.insert(listed, 0);
        seen.insert(gone, 0);
        assert!(seen.take_changed().is_some());
        assert!(seen.meet(listed, DAY_MS / 2));
        assert_eq!(
            seen.take_changed(),
            None,
            "a meeting on the same day is not worth a write"
        );
        // Nothing was polled for a year, and it is still known.
        assert!(seen.meet(listed, 365 * DAY_MS));
        seen.forget_old(365 * DAY_MS);
        assert!(seen.contains("listed") && !seen.contains("gone"));
        assert!(seen.take_changed().is_some());
    }
}
