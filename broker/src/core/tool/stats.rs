//! Figures of calls, by tool: plain numbers, for whoever shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use trunkline_contract::error::Code;

use super::super::state::Core;

/// Upper bounds of the latency buckets, in milliseconds; a last bucket takes the rest.
pub const LATENCY_BOUNDS_MS: [u64; 12] = [
    1, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000, 120_000,
];

/// What became of the calls of one tool since the broker started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolStats {
    /// `<plugin>.<tool>`.
    pub name: String,
    /// Calls that were admitted.
    pub calls: u64,
    /// Calls that ended with a result.
    pub succeeded: u64,
    /// Calls that ended with an error, by code.
    pub failed: BTreeMap<&'static str, u64>,
    /// Answers, chunks and progress that came after their call had ended.
    pub late: u64,
    /// Repeats under an idempotency key that were answered without running.
    pub repeated: u64,
    /// Calls that the plugin works on now.
    pub running: u64,
    /// Calls that wait for their turn now.
    pub waiting: u64,
    /// Calls by time from admission to answer; one more than [`LATENCY_BOUNDS_MS`].
    pub latency_buckets: [u64; 13],
    /// Sum of these times in milliseconds.
    pub latency_sum_ms: u64,
}

/// All of them. Names come from the registry, so that their number is bounded by it and what was removed.
#[derive(Debug, Default)]
pub(super) struct AllStats {
    by_name: BTreeMap<Arc<str>, ToolStats>,
}

/// Tools whose figures are kept; beyond, those of unknown tools are not.
const NAMES_MAX: usize = 16_384;

impl AllStats {
    pub(super) fn of(&mut self, name: &Arc<str>) -> &mut ToolStats {
        let name = if self.by_name.len() >= NAMES_MAX && !self.by_name.contains_key(name) {
            "".into()
        } else {
            name.clone()
        };
        self.by_name.entry(name).or_default()
    }

    pub(super) fn ended(&mut self, name: &Arc<str>, outcome: Result<(), Code>, took_ms: u64) {
        let stats = self.of(name);
        match outcome {
            Ok(()) => stats.succeeded += 1,
            Err(code) => *stats.failed.entry(code.as_str()).or_default() += 1,
        }
        let bucket = LATENCY_BOUNDS_MS
            .iter()
            .position(|bound| took_ms <= *bound)
            .unwrap_or(LATENCY_BOUNDS_MS.len());
        stats.latency_buckets[bucket] += 1;
        stats.latency_sum_ms += took_ms;
    }
}

impl Core {
    /// The figures of every tool that was called, by name.
    pub fn tool_stats(&self) -> Vec<ToolStats> {
        let mut now: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (name, lane) in self.tools.lanes.values().flatten() {
            let entry = now.entry(name).or_default();
            entry.0 += u64::from(lane.running);
            entry.1 += lane.queue.len() as u64;
        }
        self.tools
            .stats
            .by_name
            .iter()
            .map(|(name, stats)| {
                let (running, waiting) = now.get(&**name).copied().unwrap_or_default();
                ToolStats {
                    name: name.to_string(),
                    running,
                    waiting,
                    ..stats.clone()
                }
            })
            .collect()
    }
}
