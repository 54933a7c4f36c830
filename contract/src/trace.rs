//! W3C trace context: which texts are a `traceparent`, and how one follows from another.
//!
//! Not here: `tracestate`, sampling decisions, exporters. Only version `00` is written; a later version is
//! read as its first four fields, as the recommendation asks
//! (<https://www.w3.org/TR/trace-context/#traceparent-header>).
//!
//! | field | bytes of text | value |
//! |---|---|---|
//! | version | 2 | `00` to `fe` |
//! | trace id | 32 | not all zero |
//! | span id | 16 | not all zero |
//! | flags | 2 | bit 0: sampled |

use std::fmt;

use sha2::{Digest, Sha256};

/// Bytes of the text of version `00`.
const TEXT_BYTES: usize = 55;
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// Names one span of one trace.
///
/// ```
/// use trunkline_contract::trace::Traceparent;
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let parent = Traceparent::parse(text).unwrap();
/// assert!(parent.is_sampled() && parent.to_string() == text);
/// let child = parent.child(b"event-1");
/// assert_eq!(child.trace_id, parent.trace_id);
/// assert_ne!(child.span_id, parent.span_id);
/// assert!(Traceparent::parse("00-0-0-01").is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Traceparent {
    /// The trace: the same from the webhook to the receipt.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// Bit 0: recorded.
    pub flags: u8,
}

impl Traceparent {
    /// Reads a `traceparent`; `None` for what the recommendation calls invalid.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let version = byte(bytes.get(..2)?)?;
        let has_end = match version {
            0xff => return None,
            0 => bytes.len() == TEXT_BYTES,
            _ => bytes.len() == TEXT_BYTES || bytes.get(TEXT_BYTES) == Some(&b'-'),
        };
        if !has_end || [2, 35, 52].iter().any(|&at| bytes[at] != b'-') {
            return None;
        }
        let parsed = Self {
            trace_id: hex(&bytes[3..35])?,
            span_id: hex(&bytes[36..52])?,
            flags: byte(&bytes[53..55])?,
        };
        let is_named = parsed.trace_id != [0; 16] && parsed.span_id != [0; 8];
        is_named.then_some(parsed)
    }

    /// Begins a trace of its own from 24 random bytes.
    pub fn begin(random: [u8; 24], is_sampled: bool) -> Self {
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&random[..16]);
        span_id.copy_from_slice(&random[16..]);
        // All zero would be invalid.
        trace_id[15] |= u8::from(trace_id == [0; 16]);
        span_id[7] |= u8::from(span_id == [0; 8]);
        Self {
            trace_id,
            span_id,
            flags: u8::from(is_sampled),
        }
    }

    /// Gives another span of the same trace. What is named alike twice is the same span, so that an event
    /// that is said again is said with the same text.
    pub fn child(&self, name: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.trace_id);
        hash.update(self.span_id);
        hash.update(name);
        let hash: [u8; 32] = hash.finalize().into();
        let mut span_id = [0; 8];
        span_id.copy_from_slice(&hash[..8]);
        span_id[7] |= u8::from(span_id == [0; 8]);
        Self { span_id, ..*self }
    }

    /// Says whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace_id
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span_id
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        // Of the flags only the one that is known is passed on.
        write!(f, "-{:02x}", self.flags & SAMPLED)
    }
}

fn byte(text: &[u8]) -> Option<u8> {
    let [high, low] = *text else { return None };
    Some(digit(high)? << 4 | digit(low)?)
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (out, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *out = byte(pair)?;
    }
    Some(bytes)
}

/// Upper case is invalid here.
fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_the_recommendation_calls_invalid_is_refused() {
        let bad = [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ];
        for text in bad {
            assert_eq!(Traceparent::parse(text), None, "{text}");
        }
        for text in [GOOD, &GOOD.replacen("00-", "01-", 1)] {
            assert!(Traceparent::parse(text).is_some(), "{text}");
        }
        let later = format!("{}-what-comes-later", GOOD.replacen("00-", "cc-", 1));
        assert!(Traceparent::parse(&later).is_some());
    }

    #[test]
    fn a_child_is_the_same_each_time_and_another_for_another_name() {
        let parent = Traceparent::parse(GOOD).unwrap();
        assert_eq!(parent.child(b"a"), parent.child(b"a"));
        assert_ne!(parent.child(b"a"), parent.child(b"b"));
        assert_eq!(parent.child(b"a").flags, parent.flags);
        let begun = Traceparent::begin([0; 24], false);
        assert_eq!(Traceparent::parse(&begun.to_string()), Some(begun));
    }
}
