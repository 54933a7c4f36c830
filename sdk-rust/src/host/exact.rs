//! Integers that a double does not hold, on their way through a JSON reader that has only doubles.
//!
//! In a *tagged* text such an integer is a string that begins with U+0000 and `n`; a string that
//! begins with U+0000 gets one more in front. Only texts that need it are tagged.

use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::BIG_INTEGER_DIGITS;

/// Writes a JSON text in its tagged form.
pub(super) fn tag(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len() + 32);
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                at = string_end(bytes, at);
                if text[start..at].starts_with("\"\\u0000") && !is_key(bytes, at) {
                    out.push_str("\"\\u0000");
                    out.push_str(&text[start + 1..at]);
                } else {
                    out.push_str(&text[start..at]);
                }
            }
            b'-' | b'0'..=b'9' => {
                at += 1;
                while at < bytes.len()
                    && matches!(bytes[at], b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
                {
                    at += 1;
                }
                let number = &text[start..at];
                let digits = number.strip_prefix('-').unwrap_or(number);
                if digits.len() >= BIG_INTEGER_DIGITS && digits.bytes().all(|b| b.is_ascii_digit())
                {
                    out.push_str("\"\\u0000n");
                    out.push_str(number);
                    out.push('"');
                } else {
                    out.push_str(number);
                }
            }
            _ => {
                while at < bytes.len() && !matches!(bytes[at], b'"' | b'-' | b'0'..=b'9') {
                    at += 1;
                }
                out.push_str(&text[start..at]);
            }
        }
    }
    out
}

/// Reads a tagged text back.
///
/// # Errors
/// [`Code::InvalidPayload`] for what has no JSON form, such as NaN.
///
/// ```
/// use trunkline::host::untag;
///
/// assert_eq!(untag(r#"{"n":"\u0000n9007199254740993"}"#)?, r#"{"n":9007199254740993}"#);
/// assert!(untag(r#"["\u0000x NaN"]"#).is_err());
/// # Ok::<(), trunkline::Error>(())
/// ```
pub fn untag(text: &str) -> Result<String, Error> {
    const MARK: &str = "\"\\u0000";
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        if bytes[at] != b'"' {
            at = next_quote(bytes, at);
            out.push_str(&text[start..at]);
            continue;
        }
        at = string_end(bytes, at);
        let marked = text[start..at].strip_prefix(MARK);
        let Some(marked) = marked.filter(|_| !is_key(bytes, at)) else {
            out.push_str(&text[start..at]);
            continue;
        };
        let inner = marked.strip_suffix('"').unwrap_or(marked);
        if let Some(digits) = inner.strip_prefix('n') {
            out.push_str(digits);
        } else if let Some(what) = inner.strip_prefix("x ") {
            // One text for all languages: Rust's own names.
            let what = match what {
                "Infinity" => "inf",
                "-Infinity" => "-inf",
                other => other,
            };
            return Err(super::payload_error(&format!(
                "expected a finite number, found {what}"
            )));
        } else if inner.starts_with("\\u0000") {
            out.push('"');
            out.push_str(marked);
        } else {
            let text = format!("expected a tagged text, found {:?}", &text[start..at]);
            return Err(Error::new(Code::InvalidArguments, text));
        }
    }
    Ok(out)
}

/// Says whether the string that ends here is a member's name: those are never tagged.
fn is_key(bytes: &[u8], end: usize) -> bool {
    let next = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace());
    next == Some(&b':')
}

fn next_quote(bytes: &[u8], from: usize) -> usize {
    bytes[from..]
        .iter()
        .position(|byte| *byte == b'"')
        .map_or(bytes.len(), |found| from + found)
}

/// The place after the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves W4, boundary part: what is tagged and untagged is the same text.
    #[test]
    fn a_text_survives_the_way_there_and_back() {
        for text in [
            r#"{"a":[12345678901234567890,-9007199254740993,1.5e300,0.12345678901234567],"b":"x"}"#,
            "[\"\\u0000n5\",\"\\u0000\",\"a\\\"12345678901234567890\\\\\"]",
            "12345678901234567890123456789",
            "{\"\\u0000n1\" : \"\\u0000\"}",
            "{}",
            "[]",
            "null",
        ] {
            assert_eq!(untag(&tag(text)).expect("it was tagged"), text);
        }
        assert_eq!(
            tag("[9007199254740993,7]"),
            "[\"\\u0000n9007199254740993\",7]"
        );
    }

    /// Proves W5, boundary part: NaN is refused with the same words everywhere.
    #[test]
    fn what_has_no_json_form_is_refused() {
        let refused = untag("{\"a\":\"\\u0000x NaN\"}").expect_err("refused");
        assert_eq!(refused.code, Code::InvalidPayload);
        assert!(
            refused.message.starts_with("a payload must be valid JSON"),
            "{refused}"
        );
    }
}
