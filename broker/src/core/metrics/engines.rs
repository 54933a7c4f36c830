//! What the engines of an instance do, as far as the broker sees it: timers that fire, and how often
//! a connection was not there. Counts belong to the instance and begin anew with the daemon.

use super::receipts::ReceiptCounts;

/// What an instance's engines are counted by.
#[derive(Debug, Default)]
pub(crate) struct EngineCounts {
    /// Timers that fired, in the order of [`TIMER_ENGINES`].
    pub(crate) timers: [u64; TIMER_ENGINES.len()],
    /// How often it began to be degraded, e.g. by a connection that was lost.
    pub(crate) degraded: u64,
    /// What became of its messages.
    pub(crate) receipts: ReceiptCounts,
}

/// Who sets timers: the engines, by the beginning of the names that they give, and authors.
pub(crate) const TIMER_ENGINES: [(&str, &str); 3] = [
    ("poll", "engine.poll."),
    ("assemble", "engine.assemble."),
    ("none", ""),
];

impl EngineCounts {
    /// Counts a timer that fired.
    pub(crate) fn fired(&mut self, name: &str) {
        let engines = TIMER_ENGINES.iter();
        let mut engines = engines.zip(&mut self.timers);
        if let Some((_, count)) = engines.find(|((_, prefix), _)| name.starts_with(prefix)) {
            *count += 1;
        }
    }
}
