//! A webhook's request as a part or a receipt, without a handler: what the pointers of its declaration
//! find in the decoded body.
//!
//! Not here: decoding a body ([`crate::signature::Request::fields`]), and what becomes of a part or a
//! receipt. Numbers may be texts, as the fields of a form are; a number may be a session or an id.

use std::fmt;

use serde_json::Value;
use trunkline_contract::message::ReceiptState;
use trunkline_contract::webhook::{PartFields, ReceiptFields};

/// Is the part that a request brings.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundPart {
    /// Whose it is.
    pub session: String,
    /// Which of the session's wholes it belongs to.
    pub group: Option<String>,
    /// Its number, from 1.
    pub seq: Option<u64>,
    /// How many there are.
    pub total: Option<u64>,
    /// It is the last one.
    pub is_final: bool,
    /// What it brings.
    pub data: Value,
}

/// Is the state of a message that a request tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundReceipt {
    /// What the provider calls the message.
    pub provider_id: String,
    /// Its state; none where the provider's word is not known.
    pub state: Option<ReceiptState>,
    /// The provider's word.
    pub word: String,
}

/// Says what a request has not where its declaration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The pointer of the declaration.
    pub pointer: String,
    expected: &'static str,
    found: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pointer,
            expected,
            found,
        } = self;
        write!(f, "expected {expected} at {pointer}, found {found}")
    }
}

impl std::error::Error for Misfit {}

/// Finds the part in a decoded body.
///
/// Session and data have to be there; the others may be missing. What has neither a number nor a
/// total where a total is declared was not cut: it is a whole of one part.
///
/// ```
/// use serde_json::json;
/// use trunkline_patterns::hook_source::part;
///
/// let fields = json!({ "session": "/from", "seq": "/n", "total": "/of", "data": "/text" });
/// let fields = serde_json::from_value(fields)?;
/// let found = part(&fields, &json!({ "from": 4917, "n": "2", "of": 3, "text": "b" }))?;
/// assert_eq!((&*found.session, found.seq, found.total), ("4917", Some(2), Some(3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What is missing, or of the wrong kind.
pub fn part(fields: &PartFields, body: &Value) -> Result<FoundPart, Misfit> {
    let group = fields.group.as_deref();
    let group = group.map(|pointer| text(pointer, body)).transpose()?;
    let seq = number(fields.seq.as_deref(), body)?;
    let mut total = number(fields.total.as_deref(), body)?;
    if fields.total.is_some() && total.is_none() && seq.is_none() {
        total = Some(1);
    }
    let data = pointed(&fields.data, body);
    let data = data.ok_or_else(|| Misfit {
        pointer: fields.data.clone(),
        expected: "what the part brings",
        found: "nothing".to_owned(),
    })?;
    Ok(FoundPart {
        session: needed(&fields.session, body)?,
        group: group.flatten(),
        seq,
        total,
        is_final: flag(fields.is_final.as_deref(), body)?,
        data: data.clone(),
    })
}

/// Finds the state of a message in a decoded body.
///
/// `sent`, `delivered`, `read` and `failed` need no translation. Words are compared without regard to
/// the case of ASCII letters.
///
/// # Errors
/// The id or the word is missing, or neither text nor number.
pub fn receipt(fields: &ReceiptFields, body: &Value) -> Result<FoundReceipt, Misfit> {
    const KNOWN: [ReceiptState; 4] = [
        ReceiptState::Sent,
        ReceiptState::Delivered,
        ReceiptState::Read,
        ReceiptState::Failed,
    ];
    let provider_id = needed(&fields.provider_id, body)?;
    let word = needed(&fields.state, body)?;
    let exact = fields.states.get(&word);
    let translated = exact.or_else(|| {
        let mut all = fields.states.iter();
        all.find_map(|(other, state)| other.eq_ignore_ascii_case(&word).then_some(state))
    });
    let state = translated.or_else(|| {
        let mut known = KNOWN.iter();
        known.find(|state| state.as_str().eq_ignore_ascii_case(&word))
    });
    Ok(FoundReceipt {
        state: state.cloned(),
        provider_id,
        word,
    })
}

/// What is there, and is not null.
fn pointed<'a>(pointer: &str, body: &'a Value) -> Option<&'a Value> {
    body.pointer(pointer).filter(|value| !value.is_null())
}

/// A text or a number, where there is one; an empty text is none.
fn text(pointer: &str, body: &Value) -> Result<Option<String>, Misfit> {
    match pointed(pointer, body) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(misfit(pointer, "a text or a number", other)),
    }
}

fn needed(pointer: &str, body: &Value) -> Result<String, Misfit> {
    text(pointer, body)?.ok_or_else(|| Misfit {
        pointer: pointer.to_owned(),
        expected: "a text or a number",
        found: "nothing".to_owned(),
    })
}

/// A number from 1, where there is one; what is not written down is none.
fn number(pointer: Option<&str>, body: &Value) -> Result<Option<u64>, Misfit> {
    let Some((pointer, found)) = pointer.and_then(|at| Some((at, pointed(at, body)?))) else {
        return Ok(None);
    };
    let number = match found {
        Value::String(text) if text.is_empty() => return Ok(None),
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    match number {
        Some(number @ 1..) => Ok(Some(number)),
        _ => Err(misfit(pointer, "a whole number from 1", found)),
    }
}

fn flag(pointer: Option<&str>, body: &Value) -> Result<bool, Misfit> {
    let Some((pointer, found)) = pointer.and_then(|at| Some((at, pointed(at, body)?))) else {
        return Ok(false);
    };
    match found {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "" | "false" | "0" => Ok(false),
            _ => Err(misfit(pointer, "true or false", found)),
        },
        Value::Number(number) if number.as_u64() == Some(1) => Ok(true),
        Value::Number(number) if number.as_u64() == Some(0) => Ok(false),
        _ => Err(misfit(pointer, "true or false", found)),
    }
}

/// Names what was found by its kind: what a provider sends is not for error texts.
fn misfit(pointer: &str, expected: &'static str, found: &Value) -> Misfit {
    let found = match found {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "another number",
        Value::String(_) => "another text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Misfit {
        pointer: pointer.to_owned(),
        expected,
        found: found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields() -> PartFields {
        serde_json::from_value(json!({
            "session": "/from", "group": "/ref", "seq": "/part", "total": "/parts",
            "final": "/last", "data": "/text",
        }))
        .expect("it has its members")
    }

    fn states() -> ReceiptFields {
        serde_json::from_value(json!({
            "provider_id": "/MessageSid", "state": "/MessageStatus",
            "states": { "undelivered": "failed", "queued": "queued" },
        }))
        .expect("it has its members")
    }

    #[test]
    fn a_part_is_read_from_json_and_from_a_form() {
        let body = json!({ "from": "+49", "ref": 7, "part": 2, "parts": 3, "last": false, "text": { "a": 1 } });
        let found = part(&fields(), &body).expect("it fits");
        assert_eq!(found.group.as_deref(), Some("7"));
        assert_eq!((found.seq, found.total), (Some(2), Some(3)));
        assert_eq!((found.is_final, found.data), (false, json!({ "a": 1 })));
        let form = json!({ "from": "+49", "ref": "", "part": "2", "parts": "", "last": "True", "text": "" });
        let found = part(&fields(), &form).expect("it fits");
        assert_eq!((found.group, found.seq, found.total), (None, Some(2), None));
        assert!(found.is_final && found.data == json!(""));
    }

    #[test]
    fn what_was_not_cut_is_a_whole() {
        let body = json!({ "from": "+49", "text": "hi", "part": null });
        let found = part(&fields(), &body).expect("it fits");
        assert_eq!((found.seq, found.total), (None, Some(1)));
        let mut unnumbered = fields();
        unnumbered.total = None;
        let found = part(&unnumbered, &body).expect("it fits");
        assert_eq!(found.total, None);
    }

    #[test]
    fn what_does_not_fit_says_where() {
        let refused = |body: Value| {
            part(&fields(), &body)
                .expect_err("does not fit")
                .to_string()
        };
        assert_eq!(
            refused(json!({ "text": "a" })),
            "expected a text or a number at /from, found nothing"
        );
        assert!(refused(json!({ "from": "", "text": "a" })).contains("/from, found nothing"));
        assert!(refused(json!({ "from": ["x"], "text": "a" })).contains("/from, found a list"));
        assert!(refused(json!({ "from": "x" })).contains("at /text, found nothing"));
        assert!(refused(json!([])).contains("found nothing"));
        for number in [json!(0), json!(-1), json!(1.5), json!("x"), json!(true)] {
            let body = json!({ "from": "x", "text": "a", "part": number });
            assert!(refused(body).contains("whole number from 1 at /part"));
        }
        assert!(refused(json!({ "from": "x", "text": "a", "last": "no" })).contains("/last"));
    }

    #[test]
    fn a_state_is_translated_known_or_not_known() {
        let found = |word: &str| {
            let body = json!({ "MessageSid": "SM1", "MessageStatus": word });
            receipt(&states(), &body).expect("it fits").state
        };
        assert_eq!(found("delivered"), Some(ReceiptState::Delivered));
        assert_eq!(found("READ"), Some(ReceiptState::Read));
        assert_eq!(found("Undelivered"), Some(ReceiptState::Failed));
        assert_eq!(found("queued"), Some(ReceiptState::Queued));
        assert_eq!(found("sending"), None);
        assert_eq!(found("unknown"), None);
        let error = receipt(&states(), &json!({ "MessageSid": "SM1" })).expect_err("no state");
        assert_eq!(error.pointer, "/MessageStatus");
    }
}
