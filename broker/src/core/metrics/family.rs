//! Samples, put together by metric.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use trunkline_contract::rpc::metrics::{MetricFamily, MetricHistogram, MetricKind, MetricSample};

use crate::router::Histogram;

/// One metric as it is documented.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: &'static str,
    /// How it moves.
    pub kind: MetricKind,
    /// Labels that a sample may have.
    pub labels: &'static [&'static str],
    /// What it counts, in one sentence.
    pub help: &'static str,
}

/// Families in the order in which their first samples came.
#[derive(Debug, Default)]
pub struct Families {
    families: Vec<MetricFamily>,
    by_name: FxHashMap<&'static str, usize>,
}

impl Families {
    /// Adds a value of a counter or gauge.
    pub fn add(&mut self, metric: &Metric, labels: &[(&str, &str)], value: f64) {
        debug_assert_ne!(metric.kind, MetricKind::Histogram, "{}", metric.name);
        self.sample(
            metric,
            MetricSample {
                labels: owned(metric, labels),
                value: Some(value),
                histogram: None,
            },
        );
    }

    /// Adds a histogram whose values are to be multiplied with `scale`.
    pub fn add_histogram(
        &mut self,
        metric: &Metric,
        labels: &[(&str, &str)],
        histogram: &Histogram,
        scale: f64,
    ) {
        let (bounds, counts) = (histogram.bounds(), histogram.counts());
        self.add_counts(metric, labels, (bounds, counts, histogram.sum()), scale);
    }

    /// Adds counts between bounds, one more than those, and the sum of all values; bounds and sum are to be
    /// multiplied with `scale`.
    pub fn add_counts(
        &mut self,
        metric: &Metric,
        labels: &[(&str, &str)],
        (bounds, counts, sum): (&[u64], &[u64], u64),
        scale: f64,
    ) {
        debug_assert_eq!(metric.kind, MetricKind::Histogram, "{}", metric.name);
        self.sample(
            metric,
            MetricSample {
                labels: owned(metric, labels),
                value: None,
                histogram: Some(MetricHistogram {
                    bounds: bounds.iter().map(|bound| *bound as f64 * scale).collect(),
                    counts: counts.to_vec(),
                    sum: sum as f64 * scale,
                }),
            },
        );
    }

    fn sample(&mut self, metric: &Metric, sample: MetricSample) {
        let families = &mut self.families;
        let at = *self.by_name.entry(metric.name).or_insert_with(|| {
            families.push(MetricFamily {
                name: metric.name.to_owned(),
                kind: metric.kind,
                help: metric.help.to_owned(),
                samples: Vec::new(),
            });
            families.len() - 1
        });
        self.families[at].samples.push(sample);
    }

    /// Gives them.
    pub fn into_vec(self) -> Vec<MetricFamily> {
        self.families
    }
}

fn owned(metric: &Metric, labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    debug_assert!(
        labels.iter().all(|(name, _)| metric.labels.contains(name)),
        "{} has no such label: {labels:?}",
        metric.name
    );
    let labels = labels.iter();
    labels
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
