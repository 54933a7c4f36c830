//! Order within a session: one queue per ordering key, of which only the head may be leased.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::store::Seq;

/// The sessions of one subscription that have unsettled events.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    queues: FxHashMap<Arc<str>, VecDeque<Seq>>,
}

impl Sessions {
    /// The shared key for this session, so that entries do not each own a copy.
    pub(crate) fn intern(&self, session: &str) -> Arc<str> {
        self.queues
            .get_key_value(session)
            .map_or_else(|| session.into(), |(key, _)| key.clone())
    }

    /// Puts `seq` in its place. `head_is_busy` says that the present head is in flight and keeps its
    /// place whatever the numbers are. Returns true when `seq` is the head now, and the head it replaced.
    pub(crate) fn insert(
        &mut self,
        session: &Arc<str>,
        seq: Seq,
        head_is_busy: bool,
    ) -> (bool, Option<Seq>) {
        let queue = self.queues.entry(session.clone()).or_default();
        if queue.back().is_none_or(|&last| last < seq) {
            queue.push_back(seq);
            return (queue.len() == 1, None);
        }
        let first = usize::from(head_is_busy);
        let place = (first..queue.len())
            .find(|&i| queue[i] > seq)
            .unwrap_or(queue.len());
        let replaced = (place == 0).then(|| queue[0]);
        queue.insert(place, seq);
        (place == 0, replaced)
    }

    /// Says whether `seq` is its session's head.
    pub(crate) fn is_head(&self, session: &str, seq: Seq) -> bool {
        self.queues.get(session).and_then(VecDeque::front) == Some(&seq)
    }

    /// The head of a session.
    pub(crate) fn head(&self, session: &str) -> Option<Seq> {
        self.queues
            .get(session)
            .and_then(|queue| queue.front().copied())
    }

    /// Takes `seq` out; returns the new head when `seq` was the head.
    pub(crate) fn remove(&mut self, session: &str, seq: Seq) -> Option<Seq> {
        let queue = self.queues.get_mut(session)?;
        if queue.front() == Some(&seq) {
            queue.pop_front();
            let next = queue.front().copied();
            if next.is_none() {
                self.queues.remove(session);
            }
            return next;
        }
        queue.retain(|&other| other != seq);
        None
    }

    /// Sessions with unsettled events.
    pub(crate) fn len(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn clear(&mut self) {
        self.queues.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_is_the_head_unless_another_is_in_flight() {
        let mut sessions = Sessions::default();
        let key: Arc<str> = "a".into();
        assert_eq!(sessions.insert(&key, 5, false), (true, None));
        assert_eq!(sessions.insert(&key, 7, false), (false, None));
        assert_eq!(sessions.insert(&key, 3, false), (true, Some(5)));
        assert_eq!(sessions.insert(&key, 1, true), (false, None));
        assert_eq!(sessions.remove("a", 3), Some(1));
        assert_eq!(sessions.remove("a", 7), None);
        assert_eq!(sessions.remove("a", 1), Some(5));
        assert_eq!(sessions.remove("a", 5), None);
        assert_eq!(sessions.len(), 0);
    }
}
