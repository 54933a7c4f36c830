//! Writes data to stdout and talk to stderr, as text or as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::Args;
use serde::Serialize;
use trunkline_contract::envelope::parse_rfc3339;

use super::failure::Failure;
pub(crate) use crate::line::one_line;

/// How data is written.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Write JSON: one object per line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Writes text and a newline to stdout.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::nobody_reads(),
        _ => Failure::new("output", 74, format!("stdout cannot be written: {error}")),
    })
}

/// Writes one JSON value and a newline to stdout.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::new("internal", 70, format!("no JSON: {error}")))?;
    data(&text)
}

/// Writes a line to stderr. What is said there is for people; when nobody reads it, nothing is lost.
pub(crate) fn say(line: &str) {
    let _best_effort = writeln!(io::stderr(), "{line}");
}

/// Lays rows out under their headings; columns are two blanks apart.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|text| text.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _infallible = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.pop();
    text
}

/// Writes bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Says how long ago an RFC 3339 instant was; what is no instant stays as it is.
pub(crate) fn ago(instant: &str, now_ms: i64) -> String {
    let Some(at_ms) = parse_rfc3339(instant) else {
        return instant.to_owned();
    };
    age((now_ms - at_ms).max(0) as u64)
}

/// Says how long something took, in two units at most.
pub(crate) fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_table_is_as_wide_as_it_has_to_be() {
        let rows = [
            vec!["echo/default".to_owned(), "ready".to_owned()],
            vec!["x/y".to_owned(), "backing_off".to_owned()],
        ];
        expect![[r"
            instance      state
            echo/default  ready
            x/y           backing_off"]]
        .assert_eq(&table(&["instance", "state"], &rows));
    }

    #[test]
    fn sizes_and_ages_are_rounded_for_people() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1 << 20), "1.0 MiB");
        assert_eq!(ago("1970-01-01T00:00:00Z", 3_661_000), "1h 1m");
        assert_eq!(ago("soon", 0), "soon");
    }
}
