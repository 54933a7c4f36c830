//! How long sent messages are remembered, so that later states and echoes find them.
//!
//! A store has room for so many keys and no more. The more are kept, the shorter a new one is kept;
//! what does not fit is not kept at all. A new life of the process begins with what the store has of
//! the earlier ones.

use std::collections::{BTreeMap, VecDeque};

/// Keys that are kept at most.
pub const KEYS_MAX: usize = 20_000;
/// Ids that echoes are told by: as many as there are keys, so that a restart forgets none.
const IDS_MAX: usize = KEYS_MAX;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Below so many keys, how long a new one is kept.
const KEPT_MS: [(usize, u64); 4] = [
    (KEYS_MAX / 4, 72 * HOUR_MS),
    (KEYS_MAX / 2, 12 * HOUR_MS),
    (KEYS_MAX * 3 / 4, HOUR_MS),
    (KEYS_MAX, 10 * MINUTE_MS),
];

/// Counts what is kept.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// How many keys run out at which time.
    ends: BTreeMap<u64, usize>,
    kept: usize,
    /// What was sent last, oldest first.
    ids: VecDeque<String>,
    known: std::collections::HashSet<String>,
}

impl Memory {
    /// Takes a place for a key, and says for how long; none where there is no room.
    ///
    /// ```
    /// use trunkline_patterns::outbound::Memory;
    /// let mut memory = Memory::default();
    /// assert_eq!(memory.keep(0), Some(72 * 3_600_000));
    /// ```
    pub fn keep(&mut self, now_ms: u64) -> Option<u64> {
        while let Some(first) = self.ends.first_entry() {
            if *first.key() > now_ms {
                break;
            }
            self.kept -= first.remove();
        }
        let kept = self.kept;
        let (_, for_ms) = KEPT_MS.iter().find(|(below, _)| kept < *below)?;
        // Minutes are exact enough, and keep this small.
        let end = (now_ms + for_ms).div_ceil(MINUTE_MS) * MINUTE_MS;
        *self.ends.entry(end).or_default() += 1;
        self.kept += 1;
        Some(*for_ms)
    }

    /// Begins with what earlier lives kept: ids, and when each runs out.
    ///
    /// ```
    /// use trunkline_patterns::outbound::Memory;
    /// let mut memory = Memory::default();
    /// memory.restore(vec![("SM1".to_owned(), 60_000)]);
    /// assert!(memory.is_sent("SM1"));
    /// ```
    pub fn restore(&mut self, mut kept: Vec<(String, u64)>) {
        kept.sort_unstable_by_key(|(_, end)| *end);
        self.ends.clear();
        self.kept = kept.len();
        for (id, end) in kept {
            let end = end.div_ceil(MINUTE_MS) * MINUTE_MS;
            *self.ends.entry(end).or_default() += 1;
            self.sent(id);
        }
    }

    /// Remembers the id of a sent message; the oldest are forgotten.
    pub fn sent(&mut self, id: String) {
        if self.known.contains(&id) {
            return;
        }
        if self.ids.len() >= IDS_MAX
            && let Some(oldest) = self.ids.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(id.clone());
        self.ids.push_back(id);
    }

    /// Says whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Says whether this is the id of a message that was sent.
    pub fn is_sent(&self, id: &str) -> bool {
        self.known.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_and_come_free_again() {
        let mut memory = Memory::default();
        let kept = (0..100_000).filter(|_| memory.keep(0).is_some()).count();
        assert_eq!(kept, KEYS_MAX);
        // The shortest of them are over, and make room.
        assert_eq!(memory.keep(11 * MINUTE_MS), Some(10 * MINUTE_MS));
        assert_eq!(memory.keep(80 * HOUR_MS), Some(72 * HOUR_MS));
        assert_eq!(memory.kept, 1);
    }

    #[test]
    fn what_an_earlier_life_kept_counts() {
        let mut memory = Memory::default();
        memory.sent("own".to_owned());
        let kept = (0..KEYS_MAX).map(|id| (id.to_string(), id as u64 + 1));
        memory.restore(kept.collect());
        assert!(memory.is_sent("19999") && !memory.is_sent("own"));
        assert_eq!(memory.keep(0), None);
        assert_eq!(memory.keep(MINUTE_MS), Some(72 * HOUR_MS));
    }

    #[test]
    fn the_oldest_ids_are_forgotten() {
        let mut memory = Memory::default();
        for id in 0..=IDS_MAX {
            memory.sent(id.to_string());
        }
        assert!(!memory.is_sent("0") && memory.is_sent("1"));
        assert!(memory.is_sent(&IDS_MAX.to_string()));
    }
}
