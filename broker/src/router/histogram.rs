//! A histogram with fixed bounds: recording allocates nothing and loses nothing but precision.

/// Bounds of latencies, in ms: from a live delivery to an hour of waiting for a consumer.
pub const LATENCY_MS: &[u64] = &[
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000,
    3_600_000,
];

/// Counts by how large values were.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [u64],
    counts: Box<[u64]>,
    sum: u64,
}

impl Histogram {
    /// An empty one; a value that equals a bound counts below it.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1].into(),
            sum: 0,
        }
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Upper bounds, ascending; beyond the last comes one more count.
    pub fn bounds(&self) -> &'static [u64] {
        self.bounds
    }

    /// How many values fell between each bound and the one before it, and then above all.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_below_the_first_bound_that_it_does_not_exceed() {
        let mut histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11, u64::MAX] {
            histogram.record(value);
        }
        assert_eq!(histogram.counts(), [2, 2, 2]);
        assert_eq!(histogram.sum(), u64::MAX);
    }
}
