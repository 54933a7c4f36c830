//! Why a request is not taken.

use std::borrow::Cow;
use std::fmt;

/// Tells why a request is not taken. Its text names no secret and nothing of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A header that the scheme needs is not there.
    MissingHeader {
        /// Its name.
        header: Cow<'static, str>,
    },
    /// Something is there and cannot be read.
    Malformed {
        /// What it is.
        what: Cow<'static, str>,
        /// What was expected of it.
        expected: &'static str,
    },
    /// No active secret made the signature.
    BadSignature,
    /// The signature is good, and too old or from too far ahead.
    Stale {
        /// How far its time is from now, in milliseconds.
        off_ms: u64,
        /// How far it may be.
        tolerance_ms: u64,
    },
}

impl Refusal {
    /// Gives the HTTP status: 400 for what cannot be read, 401 for what proves nothing.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed { .. } => 400,
            Self::MissingHeader { .. } | Self::BadSignature | Self::Stale { .. } => 401,
        }
    }

    /// Names the refusal, for counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MissingHeader { .. } => "missing_header",
            Self::Malformed { .. } => "malformed",
            Self::BadSignature => "bad_signature",
            Self::Stale { .. } => "stale",
        }
    }

    pub(super) fn missing(header: &str) -> Self {
        Self::MissingHeader {
            header: header.to_ascii_lowercase().into(),
        }
    }

    pub(super) fn malformed(what: &str, expected: &'static str) -> Self {
        Self::Malformed {
            what: what.to_ascii_lowercase().into(),
            expected,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingHeader { header } => write!(f, "expected the header {header}, found none"),
            Self::Malformed { what, expected } => {
                write!(f, "expected {expected} in {what}, found something else")
            }
            Self::BadSignature => f.write_str("expected a signature of an active secret"),
            Self::Stale { tolerance_ms, .. } => {
                write!(f, "expected a time within {} s of now", tolerance_ms / 1000)
            }
        }
    }
}

impl std::error::Error for Refusal {}
