//! How long to wait for parts, and how much to hold.

use serde::{Deserialize, Serialize};

/// Most parts of a whole: with what else changes they fit into one commit.
pub const PARTS_MAX: u32 = 200;
/// Most wholes that are collected at a time, by one assembler of one instance.
pub const WHOLES_MAX: usize = 10_000;
/// Most bytes of the parts of a whole.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Says when a whole is made though parts may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// So long after the last part.
    pub silence_ms: u64,
    /// So long after the first part.
    pub max_age_ms: u64,
    /// At so many parts.
    pub max_parts: u32,
    /// At so many bytes of parts.
    pub max_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            silence_ms: 30_000,
            max_age_ms: 600_000,
            max_parts: 64,
            max_bytes: BYTES_MAX,
        }
    }
}

/// Tells which option does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOptions {
    /// Its name.
    pub option: &'static str,
    /// What was expected, and what was found.
    pub text: String,
}

impl Options {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first option out of its range.
    pub fn check(&self) -> Result<(), BadOptions> {
        let bad = |option, text| Err(BadOptions { option, text });
        if self.silence_ms == 0 {
            return bad("silence", "expected more than 0, found 0".to_owned());
        }
        if self.max_age_ms < self.silence_ms {
            let (age, silence) = (self.max_age_ms, self.silence_ms);
            return bad(
                "max_age",
                format!("expected at least silence ({silence} ms), found {age} ms"),
            );
        }
        if self.max_parts == 0 || self.max_parts > PARTS_MAX {
            let found = self.max_parts;
            return bad(
                "max_parts",
                format!("expected 1 to {PARTS_MAX}, found {found}"),
            );
        }
        if self.max_bytes == 0 || self.max_bytes > BYTES_MAX {
            let found = self.max_bytes;
            return bad(
                "max_bytes",
                format!("expected 1 to {BYTES_MAX}, found {found}"),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        assert_eq!(Options::default().check(), Ok(()));
        let with = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.check().expect_err("out of range").option
        };
        assert_eq!(with(|options| options.silence_ms = 0), "silence");
        assert_eq!(with(|options| options.max_age_ms = 1), "max_age");
        assert_eq!(with(|options| options.max_parts = 201), "max_parts");
        assert_eq!(with(|options| options.max_bytes = u64::MAX), "max_bytes");
    }
}
