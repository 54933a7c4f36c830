//! What a webhook's requests are without a handler: parts for an assembler, or late delivery receipts.
//!
//! JSON pointers (RFC 6901) into the decoded body: JSON, or the fields of a form. Reading a body is
//! not here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Webhook;
use crate::limits::RECEIPT_STATES_MAX;
use crate::message::ReceiptState;

/// Says where in a body the part is that it brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartFields {
    /// Whose it is.
    pub session: String,
    /// Which of the session's wholes it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its number, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<String>,
    /// How many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// Whether it is the last one.
    #[serde(default, rename = "final", skip_serializing_if = "Option::is_none")]
    pub is_final: Option<String>,
    /// What it brings.
    pub data: String,
}

/// Says where in a body the state of a message is that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFields {
    /// What the provider calls the message.
    pub provider_id: String,
    /// The provider's word for its state.
    pub state: String,
    /// What the provider's words mean, beyond `sent`, `delivered`, `read` and `failed`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<String, ReceiptState>,
}

/// Tells whoever serves an instance which of its webhooks have no handler, and what their requests are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSource {
    /// The channel's kind.
    pub kind: String,
    /// The webhook's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Each request is a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartFields>,
    /// Each request is a receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptFields>,
}

impl WebhookSource {
    /// Names it in texts: its kind, and its name when it has one.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{}/{name}", self.kind),
            None => self.kind.clone(),
        }
    }
}

impl Webhook {
    /// Gives what its requests are without a handler, if they are something.
    pub fn source(&self) -> Option<WebhookSource> {
        if self.part.is_none() && self.receipt.is_none() {
            return None;
        }
        Some(WebhookSource {
            kind: self.kind.clone(),
            name: self.name.clone(),
            part: self.part.clone(),
            receipt: self.receipt.clone(),
        })
    }

    /// Checks `part` and `receipt`.
    pub(super) fn check_source(&self) -> Result<(), (&'static str, String)> {
        let (key, pointers) = match (&self.part, &self.receipt) {
            (None, None) => return Ok(()),
            (Some(_), Some(_)) => {
                let text = "expected part or receipt, found both: give each a webhook of its own";
                return Err(("receipt", text.to_owned()));
            }
            (Some(part), None) => {
                let optional = [&part.group, &part.seq, &part.total, &part.is_final];
                let optional = optional.into_iter().flatten();
                let pointers: Vec<&String> = [&part.session, &part.data]
                    .into_iter()
                    .chain(optional)
                    .collect();
                ("part", pointers)
            }
            (None, Some(receipt)) => {
                check_states(&receipt.states)?;
                ("receipt", vec![&receipt.provider_id, &receipt.state])
            }
        };
        for pointer in pointers {
            if !is_pointer(pointer) {
                let text = format!("expected a JSON pointer such as \"/from\", found {pointer:?}");
                return Err((key, text));
            }
        }
        if self.respond.is_some() {
            let text = format!("expected no respond beside {key}: no handler answers");
            return Err(("respond", text));
        }
        Ok(())
    }
}

fn check_states(states: &BTreeMap<String, ReceiptState>) -> Result<(), (&'static str, String)> {
    if states.len() > RECEIPT_STATES_MAX {
        let found = states.len();
        let text = format!("expected at most {RECEIPT_STATES_MAX} states, found {found}");
        return Err(("receipt", text));
    }
    for (word, state) in states {
        if let ReceiptState::Other(state) = state {
            let text = format!(
                "expected queued, sent, delivered, read, failed or unknown for {word:?}, found {state:?}"
            );
            return Err(("receipt", text));
        }
    }
    Ok(())
}

/// Says whether a text is a JSON pointer to something inside a document.
fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1);
    text.starts_with('/')
        && escapes
            .into_iter()
            .all(|rest| rest.starts_with('0') || rest.starts_with('1'))
}
