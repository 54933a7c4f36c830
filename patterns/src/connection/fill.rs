//! Data with holes: `{cursor}`, `{cursor.key}`, `{config.key}`, and frames that answer a heartbeat.

use std::fmt;

use serde_json::Value;

/// Says that a hole could not be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoValue {
    /// The hole, without braces.
    pub name: String,
}

impl fmt::Display for NoValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a value for {{{}}}, found none", self.name)
    }
}

impl std::error::Error for NoValue {}

/// Fills the holes of the texts in a value. A text that is one hole becomes the value itself; within
/// a text, a value is put in as text. Other braces stay.
///
/// # Arguments
/// * `roots` - what holes may begin with, each with its value.
///
/// # Errors
/// [`NoValue`] for `{root.key}` where the root has no such key, and for a value inside a text that
/// has no text of its own.
///
/// ```
/// use serde_json::json;
/// use trunkline_patterns::connection::fill;
///
/// let cursor = json!({ "seq": 7 });
/// let beat = json!({ "op": "beat", "d": "{cursor.seq}", "s": "at {cursor.seq}" });
/// let filled = fill(&beat, &[("cursor", &cursor)]).unwrap();
/// assert_eq!(filled, json!({ "op": "beat", "d": 7, "s": "at 7" }));
/// ```
pub fn fill(value: &Value, roots: &[(&str, &Value)]) -> Result<Value, NoValue> {
    Ok(match value {
        Value::String(text) => fill_text(text, roots)?,
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| fill(item, roots))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, member)| Ok((key.clone(), fill(member, roots)?)))
                .collect::<Result<_, _>>()?,
        ),
        other => other.clone(),
    })
}

fn fill_text(text: &str, roots: &[(&str, &Value)]) -> Result<Value, NoValue> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        filled.push_str(before);
        let hole = from[1..].split_once('}');
        let Some((name, after)) = hole else {
            filled.push_str(from);
            return Ok(Value::String(filled));
        };
        match lookup(name, roots)? {
            None => {
                filled.push('{');
                rest = &from[1..];
            }
            Some(value) if filled.is_empty() && after.is_empty() && rest.len() == text.len() => {
                return Ok(value.clone());
            }
            Some(Value::String(value)) => {
                filled.push_str(value);
                rest = after;
            }
            Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                filled.push_str(&value.to_string());
                rest = after;
            }
            Some(_) => {
                return Err(NoValue {
                    name: name.to_owned(),
                });
            }
        }
    }
    filled.push_str(rest);
    Ok(Value::String(filled))
}

/// Finds what a hole means; none for what is no hole of ours.
fn lookup<'a>(name: &str, roots: &[(&str, &'a Value)]) -> Result<Option<&'a Value>, NoValue> {
    let mut path = name.split('.');
    let first = path.next().unwrap_or_default();
    let Some((_, root)) = roots.iter().find(|(root, _)| *root == first) else {
        return Ok(None);
    };
    let mut value = *root;
    for key in path {
        // What there is no cursor for is null, so that a first login reads as one.
        if value.is_null() {
            return Ok(Some(value));
        }
        value = value.get(key).ok_or_else(|| NoValue {
            name: name.to_owned(),
        })?;
    }
    Ok(Some(value))
}

/// Says whether a frame has everything that is expected: each member of an object, in it each of
/// theirs, everything else alike. A text that ends in `*` fits every text that begins so.
///
/// ```
/// use serde_json::json;
/// use trunkline_patterns::connection::answers;
///
/// assert!(answers(&json!({ "op": 11, "t": 5 }), &json!({ "op": 11 })));
/// assert!(answers(&json!("PONG irc.example :17"), &json!("PONG *")));
/// assert!(!answers(&json!({ "op": 1 }), &json!({ "op": 11 })));
/// ```
pub fn answers(frame: &Value, expected: &Value) -> bool {
    match (frame, expected) {
        (Value::Object(frame), Value::Object(expected)) => {
            expected.iter().all(|(key, expected)| {
                frame
                    .get(key)
                    .is_some_and(|member| answers(member, expected))
            })
        }
        (Value::String(frame), Value::String(expected)) => match expected.strip_suffix('*') {
            Some(beginning) => frame.starts_with(beginning),
            None => frame == expected,
        },
        (frame, expected) => frame == expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(template: &Value, cursor: &Value, expected: Result<Value, &str>) {
        let expected = expected.map_err(|name| NoValue {
            name: name.to_owned(),
        });
        assert_eq!(fill(template, &[("cursor", cursor)]), expected);
    }

    #[test]
    fn a_text_that_is_one_hole_becomes_the_value() {
        check(&json!(["{cursor}"]), &json!(7), Ok(json!([7])));
        check(&json!("{cursor}"), &Value::Null, Ok(Value::Null));
        check(&json!("{cursor.seq}"), &Value::Null, Ok(Value::Null));
        check(
            &json!("{cursor.a.b}"),
            &json!({"a": {"b": [1]}}),
            Ok(json!([1])),
        );
    }

    #[test]
    fn other_braces_stay_and_missing_keys_are_named() {
        check(&json!("{x} {cursor}{"), &json!("c"), Ok(json!("{x} c{")));
        check(&json!("{{cursor}}"), &json!(1), Ok(json!("{1}")));
        check(&json!("a {cursor.b}"), &json!({}), Err("cursor.b"));
        check(&json!("a {cursor}"), &json!({}), Err("cursor"));
    }
}
