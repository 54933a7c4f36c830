//! What the demo prints: a table for people, or JSON lines for programs. Colour on a terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde_json::json;

use crate::error::DemoError;
use crate::trip::{Stage, Trip};

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// The columns of the table.
const COLUMNS: [(&str, Stage); 6] = [
    ("stored", Stage::Stored),
    ("plugin", Stage::Plugin),
    ("echoed", Stage::Echoed),
    ("answer", Stage::Answer),
    ("plugin", Stage::AnswerPlugin),
    ("back", Stage::Back),
];

const LEGEND: &str = "\
Times are milliseconds since the line was sent:
  stored  the broker has synced the line to the disk, and the chat knows
  plugin  the plugin's process has it
  echoed  its echo, receipt and ack are durable in one commit, and the echo is delivered
  answer  the agent's answer is durable and delivered
  plugin  the plugin's process has the answer
  back    the answer has come back through the plugin";

/// Prints.
pub(crate) struct Show {
    is_json: bool,
    is_coloured: bool,
}

impl Show {
    /// Prints for programs if `is_json`, else for people.
    pub(crate) fn new(is_json: bool) -> Self {
        Self {
            is_json,
            is_coloured: !is_json && io::stdout().is_terminal(),
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.is_coloured {
            format!("{colour}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    }

    fn print(text: &str) -> Result<(), DemoError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(DemoError::io("cannot write to standard output"))
    }

    /// Tells a fact about the start or the end; programs are not told.
    pub(crate) fn note(&self, who: &str, what: &str) -> Result<(), DemoError> {
        if self.is_json {
            return Ok(());
        }
        let who = self.paint(BOLD, &format!("{who:<12}"));
        Self::print(&format!("{who} {what}\n"))
    }

    /// Explains the columns.
    pub(crate) fn legend(&self) -> Result<(), DemoError> {
        if self.is_json {
            return Ok(());
        }
        let legend = self.paint(DIM, LEGEND);
        Self::print(&format!("\n{legend}\n"))
    }

    /// Asks for a line.
    pub(crate) fn prompt(&self) -> Result<(), DemoError> {
        let prompt = self.paint(BOLD, "you > ");
        Self::print(&format!("\n{prompt}"))
    }

    /// Begins the table of a line.
    pub(crate) fn line(&self, line: &str, is_typed: bool) -> Result<(), DemoError> {
        if self.is_json {
            return Ok(());
        }
        if !is_typed {
            self.prompt()?;
            Self::print(&format!("{line}\n"))?;
        }
        let names: Vec<String> = COLUMNS
            .iter()
            .map(|(name, _)| format!("{name:>9}"))
            .collect();
        let names = self.paint(DIM, &format!("{:9}{}", "", names.concat()));
        Self::print(&format!("{names}\n"))
    }

    /// Prints a line of the table.
    pub(crate) fn trip(&self, kind: &str, line: &str, trip: &Trip) -> Result<(), DemoError> {
        let back = trip.back().unwrap_or_default();
        if self.is_json {
            let row = json!({ "kind": kind, "line": line, "back": back, "hops": trip.hops() });
            return Self::print(&format!("{row}\n"));
        }
        let times: Vec<String> = COLUMNS
            .iter()
            .map(|(_, stage)| match trip.hop(*stage) {
                Some(hop) => format!("{:>9.2}", hop.ms),
                None => format!("{:>9}", "-"),
            })
            .collect();
        let kind = self.paint(BOLD, &format!("  {kind:<7}"));
        let back = self.paint(GREEN, &format!("agent: {}", visible(back)));
        Self::print(&format!("{kind}{}   {back}\n", times.concat()))
    }

    /// Says that everything came back.
    pub(crate) fn done(
        &self,
        lines: usize,
        kinds: usize,
        slowest: Duration,
    ) -> Result<(), DemoError> {
        let trips = lines * kinds;
        let slowest_ms = slowest.as_secs_f64() * 1000.0;
        if self.is_json {
            let row = json!({ "trips": trips, "lines": lines, "slowest_ms": slowest_ms });
            return Self::print(&format!("{row}\n"));
        }
        let ok = self.paint(GREEN, "ok");
        Self::print(&format!(
            "\n{ok}: {lines} lines came back through {kinds} languages, {trips} of {trips} trips, \
             the slowest in {slowest_ms:.2} ms\n"
        ))
    }

    /// Says on standard error what went wrong. When nobody reads it, the exit code still says it.
    pub(crate) fn failed(error: &DemoError) {
        let mut out = io::stderr().lock();
        let word = if out.is_terminal() {
            format!("{RED}error{PLAIN}")
        } else {
            "error".to_owned()
        };
        let _best_effort = writeln!(out, "{word}: {error}");
        if let Some(hint) = error.hint() {
            let _best_effort = writeln!(out, "\nhint: {hint}");
        }
    }
}

/// What was typed may hold bytes that a terminal obeys.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}
