//! Numbers for monitoring: `admin.metrics`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Result of `admin.metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdminMetricsResult {
    /// Every metric with its samples.
    #[serde(default)]
    pub families: Vec<MetricFamily>,
}

/// Says how a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Up only, from 0 at the start of the daemon.
    Counter,
    /// Up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// Is one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricFamily {
    /// Its name, with its unit.
    pub name: String,
    /// How it moves.
    pub kind: MetricKind,
    /// What it counts, in one sentence.
    pub help: String,
    /// One per set of labels.
    #[serde(default)]
    pub samples: Vec<MetricSample>,
}

/// Is one value of a metric, or one histogram.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSample {
    /// What it is of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The value of a counter or gauge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The counts of a histogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<MetricHistogram>,
}

/// Counts values by their size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricHistogram {
    /// Upper bounds, ascending.
    pub bounds: Vec<f64>,
    /// How many values fell between each bound and the one before it, then above all.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}
