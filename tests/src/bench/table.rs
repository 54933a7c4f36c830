//! Figures as they are printed: the median of the rounds, with the least and the greatest.

use std::fmt;

use serde::Serialize;

/// The rounds of one figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What it is, with its unit.
    pub name: String,
    /// What is aimed at, as a word and a number.
    pub target: Option<Target>,
    /// Middle of the rounds.
    pub median: f64,
    /// Least of the rounds.
    pub min: f64,
    /// Greatest of the rounds.
    pub max: f64,
    /// How many rounds there were.
    pub rounds: usize,
}

/// What is aimed at.
#[derive(Debug, Clone, Copy, Serialize)]
pub enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Figure {
    /// A figure of these rounds.
    ///
    /// # Panics
    /// Without rounds.
    pub fn new(name: impl Into<String>, target: Option<Target>, rounds: &[f64]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        assert!(!sorted.is_empty(), "a figure has rounds");
        Self {
            name: name.into(),
            target,
            median: sorted[sorted.len() / 2],
            min: sorted[0],
            max: sorted[sorted.len() - 1],
            rounds: sorted.len(),
        }
    }

    /// The ratio of two sides, round by round.
    pub fn ratio(name: impl Into<String>, target: Option<Target>, a: &[f64], b: &[f64]) -> Self {
        let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
        Self::new(name, target, &ratios)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.target {
            None => String::new(),
            Some(Target::AtLeast(aim)) if self.median >= aim => format!("  >= {aim} met"),
            Some(Target::AtLeast(aim)) => format!("  >= {aim} MISSED"),
            Some(Target::AtMost(aim)) if self.median <= aim => format!("  <= {aim} met"),
            Some(Target::AtMost(aim)) => format!("  <= {aim} MISSED"),
        };
        write!(
            f,
            "{:<58} {:>12} ({} .. {}){verdict}",
            self.name,
            short(self.median),
            short(self.min),
            short(self.max)
        )
    }
}

fn short(value: f64) -> String {
    if value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

/// Prints figures to stderr as a table and to stdout as JSON.
///
/// # Errors
/// When stdout is closed.
pub fn print(figures: &[Figure]) -> anyhow::Result<()> {
    use std::io::Write;
    for figure in figures {
        eprintln!("{figure}");
    }
    writeln!(std::io::stdout(), "{}", serde_json::to_string(figures)?)?;
    Ok(())
}
