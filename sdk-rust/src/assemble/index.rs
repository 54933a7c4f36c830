//! How many wholes are collected at a time, and which of them waits longest.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

/// Knows the open buffers of one assembler.
///
/// A hint, not the truth, which is in the state: what a commit that failed left here is found to be
/// nothing when it is its turn.
pub(super) struct Index {
    known: Mutex<Option<Known>>,
    /// At so many one gives way.
    wholes_max: usize,
}

#[derive(Default)]
struct Known {
    last: HashMap<String, u64>,
    oldest: BTreeSet<(u64, String)>,
}

impl Index {
    pub(super) fn new(wholes_max: usize) -> Self {
        Self {
            known: Mutex::default(),
            wholes_max,
        }
    }

    /// Says whether it was filled since the instance began.
    pub(super) fn is_known(&self) -> bool {
        self.lock().is_some()
    }

    /// Fills it with what earlier lives left.
    pub(super) fn fill(&self, open: impl IntoIterator<Item = (String, u64)>) {
        let mut known = Known::default();
        for (key, last_ms) in open {
            known.note(key, last_ms);
        }
        self.lock().get_or_insert(known);
    }

    /// Notes a part; gives the one that must give way, if there are too many.
    pub(super) fn note(&self, key: &str, last_ms: u64) -> Option<String> {
        let mut known = self.lock();
        let known = known.get_or_insert_default();
        known.note(key.to_owned(), last_ms);
        if known.last.len() <= self.wholes_max {
            return None;
        }
        let (_, oldest) = known.oldest.first()?.clone();
        known.forget(&oldest);
        Some(oldest)
    }

    /// Notes that a whole was made.
    pub(super) fn forget(&self, key: &str) {
        if let Some(known) = self.lock().as_mut() {
            known.forget(key);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn note(&mut self, key: String, last_ms: u64) {
        if let Some(before) = self.last.insert(key.clone(), last_ms) {
            self.oldest.remove(&(before, key.clone()));
        }
        self.oldest.insert((last_ms, key));
    }

    fn forget(&mut self, key: &str) {
        if let Some(before) = self.last.remove(key) {
            self.oldest.remove(&(before, key.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_patterns::assembler::WHOLES_MAX;

    use super::*;

    /// Proves P6b, bound part: with too many conversations, the one that waits longest gives way.
    #[test]
    fn the_one_that_waits_longest_gives_way() {
        let index = Index::new(WHOLES_MAX);
        for number in 0..WHOLES_MAX {
            assert_eq!(index.note(&number.to_string(), number as u64), None);
        }
        assert_eq!(
            index.note("0", 1_000_000),
            None,
            "it is not the oldest any more"
        );
        assert_eq!(index.note("new", 1_000_001).as_deref(), Some("1"));
        index.forget("2");
        assert_eq!(index.note("newer", 1_000_002), None);
    }
}
