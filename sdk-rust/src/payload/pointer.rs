//! Says where in a payload something does not fit: a JSON pointer (RFC 6901) found from the line
//! and column of a `serde_json` error.

use serde_json::json;
use trunkline_contract::error::{Code, Error};

/// Makes the `invalid_payload` error of a payload that is valid JSON, but not of the wanted type.
pub(crate) fn misfit(text: &str, error: &serde_json::Error) -> Error {
    let pointer = pointer_to(text.as_bytes(), offset(text, error.line(), error.column()));
    let at = if pointer.is_empty() {
        "the payload"
    } else {
        &pointer
    };
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    Error::new(Code::InvalidPayload, format!("{at}: {reason}"))
        .detail(json!({ "pointer": pointer, "reason": reason }))
}

/// The byte before which the reader stopped; lines and columns count from one, columns in bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (start + column).min(text.len())
}

enum Step {
    Object { key: String, key_next: bool },
    Array(usize),
}

/// The path of the value that holds the byte before `end`; `text` is valid JSON.
fn pointer_to(text: &[u8], end: usize) -> String {
    let mut path: Vec<Step> = Vec::new();
    let mut at = 0;
    while at < end {
        match text[at] {
            b'{' => path.push(Step::Object {
                key: String::new(),
                key_next: true,
            }),
            b'[' => path.push(Step::Array(0)),
            b'}' | b']' if at + 1 < end => {
                path.pop();
            }
            // The reader stopped at the end of this very object: it lacks something.
            b'}' | b']' => {
                path.pop();
                break;
            }
            b',' => match path.last_mut() {
                Some(Step::Object { key_next, .. }) => *key_next = true,
                Some(Step::Array(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let close = closing_quote(text, at + 1);
                if let Some(Step::Object { key, key_next }) = path.last_mut()
                    && *key_next
                {
                    *key = String::from_utf8_lossy(&text[at + 1..close]).into_owned();
                    *key_next = false;
                }
                at = close;
            }
            _ => {}
        }
        at += 1;
    }
    let mut pointer = String::new();
    for step in &path {
        match step {
            Step::Object { key, .. } if key.is_empty() => {}
            Step::Object { key, .. } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Step::Array(index) => pointer.push_str(&format!("/{index}")),
        }
    }
    pointer
}

fn closing_quote(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Order {
        items: Vec<Item>,
    }

    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Item {
        count: u8,
    }

    fn check(text: &str, pointer: &str) {
        let error = serde_json::from_str::<Order>(text).expect_err("does not fit");
        let found = misfit(text, &error);
        assert_eq!(found.code, Code::InvalidPayload);
        assert_eq!(found.detail.expect("has one")["pointer"], pointer, "{text}");
    }

    #[test]
    fn an_error_points_at_the_value_that_does_not_fit() {
        check(
            r#"{"items":[{"count":1},{"count":"many"}]}"#,
            "/items/1/count",
        );
        check(r#"{"items":[{"count":1},{"count":999}]}"#, "/items/1/count");
        check(r#"{"items":[{"other":{"a":[]}}]}"#, "/items/0");
        check("{\n \"items\":\n  {}}", "/items");
        check(r#"{"other":"a\"}{"}"#, "");
        check("5", "");
    }
}
