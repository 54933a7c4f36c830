//! Judges the bytes of a whole frame, so that every language reads or refuses it alike.
//!
//! Checked: UTF-8, nesting, lone surrogate escapes, numbers beyond an f64. Marked: integers of 16
//! digits and more. The grammar itself is the parser's duty: a frame that passes here may still
//! be no JSON. Nothing is allocated and no payload is parsed.

use crate::error::{Code, Error};
use crate::limits::{BIG_INTEGER_DIGITS, JSON_DEPTH_MAX};

/// Says what a frame contains that a reader must care about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// It has an integer of 16 or more digits, which not every language's usual number holds.
    pub has_big_integer: bool,
    /// How deep arrays and objects are nested.
    pub depth: usize,
}

/// Says why and where the bytes of a frame are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub kind: FaultKind,
    /// Offset of the guilty byte.
    pub at: usize,
}

/// Names why the bytes of a frame are refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The bytes are no UTF-8.
    NotUtf8,
    /// Arrays and objects are nested deeper than [`JSON_DEPTH_MAX`].
    TooDeep,
    /// A `\u` escape is half of a surrogate pair.
    LoneSurrogate,
    /// A number is beyond the range of an f64.
    NumberTooLarge,
    /// Brackets or quotes are not closed.
    NotJson,
}

impl Fault {
    /// Gives the error that the peer is told.
    pub fn to_error(&self) -> Error {
        let text = match self.kind {
            FaultKind::NotUtf8 => "expected UTF-8, found another byte".to_owned(),
            FaultKind::TooDeep => format!("expected at most {JSON_DEPTH_MAX} levels, found more"),
            FaultKind::LoneSurrogate => {
                "expected a surrogate pair, found a lone surrogate escape".to_owned()
            }
            FaultKind::NumberTooLarge => {
                "expected a number within the range of an f64, found a larger one".to_owned()
            }
            FaultKind::NotJson => "expected JSON, found an unclosed or unopened value".to_owned(),
        };
        Error::new(Code::InvalidFrame, format!("{text} at byte {}", self.at))
    }
}

/// Scans a frame.
///
/// # Errors
/// A [`Fault`]; the frame must be refused with JSON-RPC code -32700.
///
/// ```
/// use trunkline_contract::frame::{FaultKind, scan};
/// assert!(!scan(br#"{"n":1}"#).unwrap().has_big_integer);
/// assert!(scan(br#"{"n":12345678901234567890}"#).unwrap().has_big_integer);
/// assert_eq!(scan(br#"{"s":"\ud800"}"#).unwrap_err().kind, FaultKind::LoneSurrogate);
/// ```
pub fn scan(frame: &[u8]) -> Result<Facts, Fault> {
    match std::str::from_utf8(frame) {
        Ok(text) => scan_text(text),
        Err(error) => Err(Fault {
            kind: FaultKind::NotUtf8,
            at: error.valid_up_to(),
        }),
    }
}

/// Scans a frame that is known to be UTF-8.
pub(crate) fn scan_text(text: &str) -> Result<Facts, Fault> {
    let bytes = text.as_bytes();
    let mut facts = Facts::default();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = string(bytes, at + 1)?,
            b'-' | b'0'..=b'9' => at = number(text, at, &mut facts)?,
            b'{' | b'[' => {
                depth += 1;
                facts.depth = facts.depth.max(depth);
                if depth > JSON_DEPTH_MAX {
                    return Err(Fault {
                        kind: FaultKind::TooDeep,
                        at,
                    });
                }
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1).ok_or(Fault {
                    kind: FaultKind::NotJson,
                    at,
                })?;
                at += 1;
            }
            _ => at += 1,
        }
    }
    if depth > 0 {
        return Err(Fault {
            kind: FaultKind::NotJson,
            at,
        });
    }
    Ok(facts)
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Has the high bit set in each byte of `word` that equals `byte` (and perhaps in later ones).
const fn equal_bytes(word: u64, byte: u8) -> u64 {
    let zero_if_equal = word ^ (LOW_BITS * byte as u64);
    zero_if_equal.wrapping_sub(LOW_BITS) & !zero_if_equal & HIGH_BITS
}

/// Finds the next quote or backslash, eight bytes at a time.
fn special(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let hits = equal_bytes(word, b'"') | equal_bytes(word, b'\\');
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < bytes.len() && bytes[at] != b'"' && bytes[at] != b'\\' {
        at += 1;
    }
    at
}

/// Runs through a string from behind its opening quote to behind its closing one.
fn string(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let mut at = start;
    loop {
        at = special(bytes, at);
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'"'), _) => return Ok(at + 1),
            (Some(_), Some(b'u')) => at = unicode_escape(bytes, at)?,
            (Some(_), Some(_)) => at += 2,
            _ => {
                return Err(Fault {
                    kind: FaultKind::NotJson,
                    at,
                });
            }
        }
    }
}

/// Runs through the `\u` escape at `at`, and its second half if it is a surrogate pair.
fn unicode_escape(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let not_json = Fault {
        kind: FaultKind::NotJson,
        at,
    };
    let lone = Fault {
        kind: FaultKind::LoneSurrogate,
        at,
    };
    let first = hex4(bytes, at + 2).ok_or(not_json)?;
    match first {
        0xD800..=0xDBFF => {
            if bytes.get(at + 6..at + 8) != Some(b"\\u") {
                return Err(lone);
            }
            match hex4(bytes, at + 8).ok_or(not_json)? {
                0xDC00..=0xDFFF => Ok(at + 12),
                _ => Err(lone),
            }
        }
        0xDC00..=0xDFFF => Err(lone),
        _ => Ok(at + 6),
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, &digit| {
        Some(value * 16 + char::from(digit).to_digit(16)?)
    })
}

/// Runs through a number, judges its size and marks a long integer.
fn number(text: &str, start: usize, facts: &mut Facts) -> Result<usize, Fault> {
    let bytes = text.as_bytes();
    let mut at = start + usize::from(bytes[start] == b'-');
    let digits = at;
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    let whole_digits = at - digits;
    let mut is_integer = true;
    let mut has_exponent = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'0'..=b'9' | b'+' | b'-' | b'.' => is_integer = false,
            b'e' | b'E' => {
                is_integer = false;
                has_exponent = true;
            }
            _ => break,
        }
        at += 1;
    }
    facts.has_big_integer |= is_integer && whole_digits >= BIG_INTEGER_DIGITS;
    // Without an exponent it takes more than 308 digits to leave the range of an f64.
    if (has_exponent || whole_digits > 308)
        && text[start..at].parse::<f64>().is_ok_and(f64::is_infinite)
    {
        return Err(Fault {
            kind: FaultKind::NumberTooLarge,
            at: start,
        });
    }
    Ok(at)
}
