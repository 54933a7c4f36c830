//! Every number at one moment.

use std::collections::BTreeMap;

use trunkline_contract::rpc::InstanceState;
use trunkline_contract::rpc::metrics::AdminMetricsResult;

use crate::core::peer::Role;
use crate::core::state::Core;
use crate::core::tool::LATENCY_BOUNDS_MS;
use crate::router::{
    DEAD_REASONS, Dropped, Meter, MeterId, Owner, SubId, SubState, Subscription, TopicClass,
};
use crate::store::StoreFacts;

use super::engines::TIMER_ENGINES;
use super::family::{Families, Metric};
use super::receipts::RECEIPT_STATES;
use super::table as t;

const MS: f64 = 0.001;
const US: f64 = 0.000_001;

/// Every state, for the one that is 1 and those that are 0.
const STATES: [(InstanceState, &str); 11] = [
    (InstanceState::Starting, "starting"),
    (InstanceState::Standby, "standby"),
    (InstanceState::Ready, "ready"),
    (InstanceState::Degraded, "degraded"),
    (InstanceState::NeedsAuth, "needs_auth"),
    (InstanceState::Paused, "paused"),
    (InstanceState::Draining, "draining"),
    (InstanceState::BackingOff, "backing_off"),
    (InstanceState::Stopped, "stopped"),
    (InstanceState::Failed, "failed"),
    (InstanceState::Disabled, "disabled"),
];

const SUB_STATES: [SubState; 5] = [
    SubState::Offline,
    SubState::Live,
    SubState::CatchingUp,
    SubState::Stalled,
    SubState::Lagging,
];

/// Counters that are kept by name.
const NAMED: [(&str, Metric); 11] = [
    ("batches", t::BATCHES),
    ("links_opened", t::LINKS_OPENED),
    ("links_closed_unread", t::LINKS_UNREAD),
    ("bad_frames", t::BAD_FRAMES),
    ("requests_refused", t::REFUSED),
    ("unknown_methods", t::UNKNOWN),
    ("late_responses", t::LATE),
    ("gaps", t::GAPS),
    ("traceparents_dropped", t::TRACES),
    ("spans", t::SPANS),
    ("spans_dropped", t::SPANS_DROPPED),
];

/// The load of one owner: all of its subscriptions together.
#[derive(Default)]
struct Load {
    pending: u64,
    in_flight: u64,
    retrying: u64,
    dead: u64,
    oldest_ms: Option<u64>,
    states: [u64; SUB_STATES.len()],
}

impl Core {
    /// Everything that is counted. `counts` are unread events of subscriptions, as the store told.
    pub(crate) fn metrics(&self, facts: StoreFacts, counts: &[(SubId, u64)]) -> AdminMetricsResult {
        let mut out = Families::default();
        self.general(&mut out, facts);
        self.instance_metrics(&mut out);
        self.owner_metrics(&mut out, counts);
        self.tool_metrics(&mut out);
        self.core_metrics(&mut out);
        self.link_metrics(&mut out);
        AdminMetricsResult {
            families: out.into_vec(),
        }
    }

    fn general(&self, out: &mut Families, facts: StoreFacts) {
        let labels = [
            ("version", self.options.version.as_str()),
            ("store", self.options.store_kind),
            ("durability", self.durability()),
        ];
        out.add(&t::INFO, &labels, 1.0);
        out.add(&t::START, &[], self.options.started_at_ms as f64 * MS);
        out.add(&t::DRAINING, &[], f64::from(u8::from(self.draining)));
        out.add(&t::HEAD, &[], facts.head as f64);
        out.add(&t::USED, &[], facts.used_bytes as f64);
        out.add(&t::FREE, &[], facts.free_bytes as f64);
        out.add(&t::EVENT_BYTES, &[], facts.event_bytes as f64);
        out.add(&t::DISK, &[], self.retirement.disk_percent() / 100.0);
    }

    fn instance_metrics(&self, out: &mut Families) {
        let mut keys: Vec<_> = self.instances.keys().collect();
        keys.sort();
        for key in keys {
            let instance = &self.instances[key];
            let labels = [("plugin", &*key.plugin), ("instance", &*key.instance)];
            let state = instance.report.state;
            let is_up = matches!(state, InstanceState::Ready | InstanceState::Degraded);
            out.add(&t::UP, &labels, one(is_up));
            for (other, name) in STATES {
                let labels = [labels[0], labels[1], ("state", name)];
                out.add(&t::STATE, &labels, one(state == other));
            }
            out.add(&t::STATE_SINCE, &labels, instance.since_ms as f64 * MS);
            out.add(&t::CONNECTED, &labels, one(instance.link.is_some()));
            out.add(&t::RESTARTS, &labels, instance.report.restarts as f64);
            let link = instance.link.and_then(|link| self.peers.get(&link));
            if let Some(lag_ms) = link.and_then(|peer| peer.pulse.lag_ms()) {
                out.add(&t::LOOP_LAG, &labels, lag_ms as f64 * MS);
            }
            out.add(&t::DEGRADED, &labels, instance.counts.degraded as f64);
            for ((engine, _), count) in TIMER_ENGINES.iter().zip(instance.counts.timers) {
                let labels = [labels[0], labels[1], ("engine", *engine)];
                out.add(&t::TIMERS_FIRED, &labels, count as f64);
            }
            for kind in &instance.setup.kinds {
                let counts = instance.counts.receipts.of(kind);
                for (state, count) in RECEIPT_STATES.iter().zip(counts) {
                    let labels = [labels[0], labels[1], ("kind", kind), ("state", *state)];
                    out.add(&t::RECEIPTS, &labels, count as f64);
                }
            }
            if let Some(at_ms) = self.last_inbound_ms(key) {
                out.add(&t::LAST_INBOUND, &labels, at_ms as f64 * MS);
            }
            if let Some((at_ms, _)) = &instance.last_error {
                out.add(&t::LAST_ERROR, &labels, *at_ms as f64 * MS);
            }
        }
    }

    fn owner_metrics(&self, out: &mut Families, counts: &[(SubId, u64)]) {
        let mut loads: BTreeMap<MeterId, Load> = BTreeMap::new();
        for view in self.router.views() {
            let Some(sub) = self.router.get(view.id) else {
                continue;
            };
            let load = loads.entry(sub.meter()).or_default();
            let unread = counts.iter().find(|(id, _)| *id == view.id);
            let parked = view.pending.saturating_sub(view.in_flight) as u64;
            load.pending += parked + unread.map_or(0, |(_, count)| *count);
            load.in_flight += view.in_flight as u64;
            load.retrying += view.waiting as u64;
            load.dead += self.dead.count_of(view.id) as u64;
            let oldest_ms = Subscription::oldest_stored_at_ms(sub)
                .map(|at_ms| self.now.wall_ms.saturating_sub(at_ms).max(0) as u64);
            load.oldest_ms = load.oldest_ms.max(oldest_ms);
            let state = SUB_STATES.iter().position(|state| *state == view.state);
            load.states[state.expect("every state is listed")] += 1;
        }
        for (owner, meter) in self.router.meters().all() {
            counted(out, owner, meter);
        }
        for (id, load) in loads {
            loaded(out, self.router.meters().owner(id), &load);
        }
    }

    fn tool_metrics(&self, out: &mut Families) {
        for stats in self.tool_stats() {
            let (plugin, tool) = stats.name.split_once('.').unwrap_or(("other", "other"));
            let of = [("plugin", plugin), ("tool", tool)];
            let ok = [("ok", stats.succeeded), ("repeated", stats.repeated)];
            let failed = stats.failed.iter().map(|(code, count)| (*code, *count));
            for (result, count) in ok.into_iter().chain(failed) {
                let of = with(&of, "result", result);
                out.add(&t::TOOL_CALLS, &of, count as f64);
            }
            let buckets = &stats.latency_buckets[..];
            let counts = (&LATENCY_BOUNDS_MS[..], buckets, stats.latency_sum_ms);
            out.add_counts(&t::TOOL_TIME, &of, counts, MS);
            out.add(&t::TOOL_RUNNING, &of, stats.running as f64);
            out.add(&t::TOOL_WAITING, &of, stats.waiting as f64);
            out.add(&t::TOOL_LATE, &of, stats.late as f64);
        }
    }

    fn core_metrics(&self, out: &mut Families) {
        let meter = &self.meter;
        for (index, class) in TopicClass::NAMES.iter().enumerate() {
            let labels = [("class", *class)];
            out.add(&t::STORED, &labels, meter.stored[index] as f64);
            out.add(&t::STORED_UNMATCHED, &labels, meter.unmatched[index] as f64);
        }
        out.add_histogram(&t::BATCH_COMMITS, &[], &meter.batch_commits, 1.0);
        out.add_histogram(&t::SYNC, &[], &meter.sync_us, US);
        out.add_histogram(&t::TIMER_LAG, &[], &meter.timer_lag_ms, MS);
        out.add(&t::STAGED, &[], self.staged.len() as f64);
        out.add(&t::STAGED_BYTES, &[], self.staged_bytes as f64);
        out.add(&t::RING, &[("result", "hit")], meter.ring_hits as f64);
        out.add(&t::RING, &[("result", "miss")], meter.ring_misses as f64);
    }

    fn link_metrics(&self, out: &mut Families) {
        let (mut instances, mut clients, mut opening, mut unwritten) = (0u64, 0u64, 0u64, 0);
        let mut processes = 0u64;
        for peer in self.peers.values() {
            match &peer.role {
                Role::Instance(_) => instances += 1,
                Role::Client { .. } => clients += 1,
                Role::Unknown if peer.process.is_some() => processes += 1,
                Role::Unknown => opening += 1,
            }
            unwritten += peer.out.len();
        }
        for (role, count) in [
            ("instance", instances),
            ("client", clients),
            ("opening", opening),
            ("process", processes),
        ] {
            out.add(&t::LINKS, &[("role", role)], count as f64);
        }
        out.add(&t::UNWRITTEN, &[], unwritten as f64);
        for (name, metric) in &NAMED {
            out.add(metric, &[], self.counters.get(name) as f64);
        }
    }
}

fn one(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// Who it is of, with room for one more label.
fn labels(owner: &Owner) -> Vec<(&str, &str)> {
    match owner {
        Owner::Instance(key) => vec![("plugin", &*key.plugin), ("instance", &*key.instance)],
        Owner::Client(name) => vec![("client", &**name)],
    }
}

fn with<'a>(
    labels: &[(&'a str, &'a str)],
    name: &'a str,
    value: &'a str,
) -> Vec<(&'a str, &'a str)> {
    let mut labels = labels.to_vec();
    labels.push((name, value));
    labels
}

fn counted(out: &mut Families, owner: &Owner, meter: &Meter) {
    let of = labels(owner);
    out.add(&t::DELIVERIES, &of, meter.delivered as f64);
    out.add(&t::REDELIVERIES, &of, meter.redelivered as f64);
    for (result, count) in [
        ("acked", meter.acked),
        ("naked", meter.naked),
        ("deferred", meter.deferred),
        ("rejected", meter.rejected),
        ("lease_expired", meter.lease_expired),
        ("stale", meter.stale),
    ] {
        out.add(&t::SETTLEMENTS, &with(&of, "result", result), count as f64);
    }
    for (reason, count) in DEAD_REASONS.iter().zip(meter.dead) {
        let of = with(&of, "reason", reason.as_str());
        out.add(&t::DIED, &of, count as f64);
    }
    for ((_, reason), count) in Dropped::ALL.iter().zip(meter.dropped) {
        out.add(&t::DROPPED, &with(&of, "reason", reason), count as f64);
    }
    let stored: u64 = meter.stored.iter().sum();
    for (result, count) in [
        ("stored", stored),
        ("duplicate", meter.duplicates),
        ("ephemeral", meter.ephemeral),
    ] {
        out.add(&t::PUBLISHES, &with(&of, "result", result), count as f64);
    }
    for (code, count) in meter.refusals() {
        let of = with(&of, "result", code.as_str());
        out.add(&t::PUBLISHES, &of, *count as f64);
    }
    for (class, count) in TopicClass::NAMES.iter().zip(meter.stored) {
        if count > 0 {
            out.add(&t::PUBLISHED, &with(&of, "class", class), count as f64);
        }
    }
    out.add(&t::UNMATCHED, &of, meter.unmatched as f64);
    for (class, wait) in meter.waits() {
        let of = with(&of, "class", TopicClass::NAMES[class]);
        out.add_histogram(&t::WAIT, &of, wait, MS);
    }
    if let Some(handling) = meter.handling() {
        out.add_histogram(&t::HANDLING, &of, handling, MS);
    }
}

fn loaded(out: &mut Families, owner: &Owner, load: &Load) {
    let of = labels(owner);
    out.add(&t::PENDING, &of, load.pending as f64);
    out.add(&t::IN_FLIGHT, &of, load.in_flight as f64);
    out.add(&t::RETRYING, &of, load.retrying as f64);
    out.add(&t::DEAD, &of, load.dead as f64);
    if let Some(oldest_ms) = load.oldest_ms {
        out.add(&t::OLDEST, &of, oldest_ms as f64 * MS);
    }
    for (state, count) in SUB_STATES.iter().zip(load.states) {
        let of = with(&of, "state", state.as_str());
        out.add(&t::SUBSCRIPTIONS, &of, count as f64);
    }
}
