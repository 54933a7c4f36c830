//! Decides whether a history keeps the promises, in time linear in its length.
//!
//! It is no model of the broker: it knows only what a driver outside may rely on. It runs over the lines twice,
//! once to learn what is known at the end (numbers, dead letters, the log), once in order.
//!
//! | rule | promise |
//! |---|---|
//! | C1 | an acked event is delivered to every subscription that matches it, or is a dead letter; so is what was rejected |
//! | C2 | what is delivered was published, with that session and those bytes |
//! | C3 | within a session, first deliveries come in the order of the log |
//! | C4 | within a session, one event is in flight; nothing overtakes an unsettled one |
//! | C5 | a repeat says that it is one, with a higher attempt |
//! | C6 | what was acked is not delivered again, but after a crash before the ack was durable |
//! | C7 | an id has one number, a number has one id, a known id is a duplicate |
//! | C8 | attempts are bounded by the limit and the faults; a dead letter has a reason |
//! | C9 | in flight is never more than the credit |
//! | C10 | a publish that was never answered appears at most once |
//! | C11 | nothing is delivered before it is durable |
//! | C12 | within 60 s after the last fault everything owed is settled |
//! | C13 | a settlement of an older delivery is answered as stale |

mod delivery;
mod end;
mod known;
mod run;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::history::{History, Line};

/// What a check assumes about the run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Attempts after which an event becomes a dead letter.
    pub failures_max: u64,
    /// Most milliseconds from the last fault to the end of the drain.
    pub drain_ms: u64,
    /// An answered ack is durable when the broker ran on for so many milliseconds. The contract says 10 after its
    /// receipt; the rest is for a sync on a loaded machine.
    pub ack_durable_ms: u64,
    /// The run ended with a drain, so that everything owed must be settled.
    pub drained: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            failures_max: 6,
            drain_ms: 60_000,
            ack_durable_ms: 250,
            drained: true,
        }
    }
}

/// A rule of the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table of the module says what each is")]
pub enum Rule {
    C1,
    C2,
    C3,
    C4,
    C5,
    C6,
    C7,
    C8,
    C9,
    C10,
    C11,
    C12,
    C13,
}

impl Rule {
    /// The promise in one sentence.
    pub fn promise(self) -> &'static str {
        match self {
            Self::C1 => "no acked event is lost",
            Self::C2 => "what is delivered was published, unchanged",
            Self::C3 => "first deliveries of a session come in the order of the log",
            Self::C4 => "one event of a session is in flight, and nothing overtakes it",
            Self::C5 => "a repeat says that it is one",
            Self::C6 => "what was durably acked is not delivered again",
            Self::C7 => "an id has one number",
            Self::C8 => "attempts are bounded and dead letters have a reason",
            Self::C9 => "in flight is never more than the credit",
            Self::C10 => "an unanswered publish appears at most once",
            Self::C11 => "nothing is delivered before it is durable",
            Self::C12 => "everything owed is settled within 60 s after the last fault",
            Self::C13 => "a settlement of an older delivery is stale",
        }
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub rule: Rule,
    /// Line of the history, from 1; 0 where it is the end of the run that shows it.
    pub line: usize,
    /// What was expected and what was found.
    pub text: String,
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Broken promises, in the order they were found.
    pub violations: Vec<Violation>,
    /// Lines of the history.
    pub lines: usize,
    /// Events acked.
    pub acked: usize,
    /// Deliveries received.
    pub deliveries: usize,
    /// Deliveries that said they were repeats.
    pub redeliveries: usize,
    /// Publishes whose answer never came.
    pub unknown: usize,
    /// Kills, crashes and cuts.
    pub faults: usize,
    /// Dead letters.
    pub dead: usize,
}

impl Report {
    /// Says whether every promise held.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Says whether `rule` was broken.
    pub fn broke(&self, rule: Rule) -> bool {
        self.violations
            .iter()
            .any(|violation| violation.rule == rule)
    }

    /// Panics with the whole report unless every promise held.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

/// Most violations that a report spells out.
const SHOWN_MAX: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} lines: {} acked, {} unanswered, {} deliveries ({} repeats), {} dead letters, {} faults",
            self.lines,
            self.acked,
            self.unknown,
            self.deliveries,
            self.redeliveries,
            self.dead,
            self.faults
        )?;
        if self.is_clean() {
            return write!(out, "every promise held");
        }
        let mut counts: BTreeMap<Rule, usize> = BTreeMap::new();
        for violation in &self.violations {
            *counts.entry(violation.rule).or_default() += 1;
        }
        for (rule, count) in counts {
            writeln!(out, "{rule:?} broken {count} times: {}", rule.promise())?;
        }
        writeln!(out, "first of them:")?;
        for Violation { rule, line, text } in self.violations.iter().take(SHOWN_MAX) {
            writeln!(out, "  {rule:?} line {line}: {text}")?;
        }
        Ok(())
    }
}

/// Checks the lines of a history.
pub fn check(lines: &[Line], options: Options) -> Report {
    let known = known::Known::learn(lines);
    run::Run::new(&known, options).over(lines)
}

/// Checks the history in the file at `path`.
///
/// # Errors
/// The file cannot be read.
pub fn check_file(path: &Path, options: Options) -> std::io::Result<Report> {
    Ok(check(&History::read(path)?, options))
}

/// Says whether `filter` matches `topic`: `*` is one segment, a final `>` one or more.
///
/// Written again here, so that a mistake in the broker's matching cannot hide itself.
pub fn matches(filter: &str, topic: &str) -> bool {
    let mut wanted = filter.split('.');
    let mut found = topic.split('.');
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(segment), Some(other)) if segment == other => {}
            _ => return false,
        }
    }
}
