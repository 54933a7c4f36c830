//! Requests, counted by route and status.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::clock::{Clock, SystemClock};
use crate::core::metrics::Families;
use crate::instance::InstanceKey;
use crate::router::Histogram;

use super::table as t;

/// Routes that are told apart, by how their path begins; anything else is `other`.
const ROUTES: &[(&str, &str)] = &[
    ("/hooks/", "hooks"),
    ("/v1/link", "link"),
    ("/v1/publish", "publish"),
    ("/v1/events", "events"),
    ("/v1/tools", "tools"),
    ("/v1/kv", "kv"),
    ("/v1/dead_letters", "dead_letters"),
    ("/v1/instances", "instances"),
    ("/v1/blobs", "blobs"),
    ("/v1/", "api"),
    ("/plugins/", "plugins"),
    ("/mcp", "mcp"),
    ("/metrics", "metrics"),
    ("/healthz", "health"),
    ("/readyz", "health"),
];

/// Bounds of the time a request takes, in microseconds.
const REQUEST_US: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Requests since the daemon started. Bounded: routes are few, and statuses have three digits.
#[derive(Debug, Default)]
pub struct Requests {
    counted: Mutex<Counted>,
    clock: SystemClock,
}

#[derive(Debug, Default)]
struct Counted {
    answers: BTreeMap<(&'static str, u16), u64>,
    times: BTreeMap<&'static str, Histogram>,
    webhooks: BTreeMap<(InstanceKey, u16), u64>,
}

impl Requests {
    /// Names the route of a path.
    pub fn route(path: &str) -> &'static str {
        let found = ROUTES.iter().find(|(start, _)| path.starts_with(start));
        found.map_or("other", |(_, route)| route)
    }

    /// Notes the beginning of a request, for [`Requests::answered`].
    pub fn begin_us(&self) -> u64 {
        self.clock.micros()
    }

    /// Counts an answer.
    pub fn answered(&self, route: &'static str, status: u16, began_us: u64) {
        let took_us = self.clock.micros().saturating_sub(began_us);
        let mut counted = self.counted.lock().expect("no panic while held");
        *counted.answers.entry((route, status)).or_default() += 1;
        let time = counted.times.entry(route);
        time.or_insert_with(|| Histogram::new(REQUEST_US))
            .record(took_us);
    }

    /// Counts the answer to a request for a webhook of an instance, which is one of the config.
    pub fn hooked(&self, key: &InstanceKey, status: u16) {
        let mut counted = self.counted.lock().expect("no panic while held");
        *counted.webhooks.entry((key.clone(), status)).or_default() += 1;
    }

    pub(super) fn tell(&self, out: &mut Families) {
        let counted = self.counted.lock().expect("no panic while held");
        for ((route, status), count) in &counted.answers {
            let labels = [("route", *route), ("status", &*status.to_string())];
            out.add(&t::REQUESTS, &labels, *count as f64);
        }
        for ((key, status), count) in &counted.webhooks {
            let labels = [
                ("plugin", &*key.plugin),
                ("instance", &*key.instance),
                ("status", &*status.to_string()),
            ];
            out.add(&t::WEBHOOKS, &labels, *count as f64);
        }
        for (route, time) in &counted.times {
            out.add_histogram(&t::REQUEST_TIME, &[("route", route)], time, 0.000_001);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_makes_a_route_of_its_own() {
        for (path, route) in [
            ("/hooks/stripe/main", "hooks"),
            ("/v1/tools/a/call", "tools"),
            ("/v1/unheard-of", "api"),
            ("/", "other"),
            ("/wp-login.php", "other"),
        ] {
            assert_eq!(Requests::route(path), route);
        }
    }
}
