//! Everything that was published, in order, for a test to look for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Event;
use crate::payload::Json;
use crate::subscription::Subscription;

/// What was published and not yet expected.
#[derive(Clone, Default)]
pub(super) struct Observer {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    events: Vec<Event>,
    total: usize,
}

impl Observer {
    /// Records what a subscription gives, as long as it gives something.
    pub(super) async fn watch(self, mut subscription: Subscription) {
        while let Some(delivery) = subscription.next().await {
            if let Ok(event) = delivery.event() {
                let mut seen = self.lock();
                // Only what is marked as a repeat can be one, which keeps long tests fast.
                let is_marked = delivery.info().is_some_and(|info| info.redelivered);
                let is_repeat = is_marked
                    && seen
                        .events
                        .iter()
                        .any(|other| (&other.id, &other.source) == (&event.id, &event.source));
                if !is_repeat {
                    seen.events.push(event);
                    seen.total += 1;
                }
            }
            delivery.ack();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there have been.
    pub(super) fn total(&self) -> usize {
        self.lock().total
    }

    /// Takes the first that fits.
    pub(super) fn take(&self, fits: impl Fn(&Event) -> bool) -> Option<Event> {
        let mut seen = self.lock();
        let at = seen.events.iter().position(fits)?;
        Some(seen.events.remove(at))
    }

    /// Takes everything.
    pub(super) fn take_all(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().events)
    }

    /// Says what there is, for a test that fails.
    pub(super) fn describe(&self) -> String {
        let seen = self.lock();
        if seen.events.is_empty() {
            return "nothing else was published".to_owned();
        }
        let lines: Vec<_> = seen
            .events
            .iter()
            .map(|event| format!("  {} {}", event.topic, event.payload.as_str()))
            .collect();
        format!("what was published instead:\n{}", lines.join("\n"))
    }
}

/// Says whether a payload has all that is asked for: members of objects may be more, all else is
/// equal.
pub(super) fn includes(payload: &Json, asked: &Json) -> bool {
    match (payload, asked) {
        (Json::Object(payload), Json::Object(asked)) => asked.iter().all(|(key, asked)| {
            payload
                .get(key)
                .is_some_and(|payload| includes(payload, asked))
        }),
        (payload, asked) => payload == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::includes;
    use serde_json::json;

    #[test]
    fn objects_may_have_more_than_is_asked_for() {
        assert!(includes(
            &json!({ "a": 1, "b": { "c": 2, "d": 3 } }),
            &json!({ "b": { "c": 2 } })
        ));
        assert!(!includes(&json!({ "a": 1 }), &json!({ "a": 2 })));
        assert!(!includes(&json!([1, 2]), &json!([1])));
        assert!(includes(&json!("x"), &json!("x")));
    }
}
