//! What providers ask before they send: each in its order.
//!
//! Meta's GET is proven by its own word, the handshake of CloudEvents' webhooks by a list of who may
//! ask. Slack's and Discord's come signed like every request, and are answered only when they are.

use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use trunkline_contract::webhook::Scheme;

use super::refusal::Refusal;
use super::request::Request;

/// Holds the answer that a provider waits for; nothing is stored of such a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The HTTP status.
    pub status: u16,
    /// Headers to answer with.
    pub headers: Vec<(&'static str, String)>,
    /// The body to answer with.
    pub body: String,
}

impl Challenge {
    fn json(value: &Value) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".to_owned())],
            body: value.to_string(),
        }
    }
}

/// Answers `hub.challenge`, when the request is one.
pub(super) fn of_meta(
    request: &Request<'_>,
    verify_token: Option<&str>,
) -> Option<Result<Challenge, Refusal>> {
    if request.method != "GET" {
        return None;
    }
    let expected = verify_token?;
    if request.query("hub.mode").as_deref() != Some("subscribe") {
        return Some(Err(Refusal::malformed("hub.mode", "subscribe")));
    }
    let found = request.query("hub.verify_token").unwrap_or_default();
    let is_right = !expected.is_empty() && bool::from(found.as_bytes().ct_eq(expected.as_bytes()));
    if !is_right {
        return Some(Err(Refusal::BadSignature));
    }
    let challenge = request
        .query("hub.challenge")
        .filter(|text| text.len() <= 1024);
    Some(match challenge {
        None => Err(Refusal::malformed("hub.challenge", "a challenge")),
        Some(body) => Ok(Challenge {
            status: 200,
            headers: vec![
                ("content-type", "text/plain; charset=utf-8".to_owned()),
                ("x-content-type-options", "nosniff".to_owned()),
            ],
            body,
        }),
    })
}

/// Answers the handshake of CloudEvents' webhooks, when the request is one.
pub(super) fn of_cloud_events(
    request: &Request<'_>,
    origins: &[String],
) -> Option<Result<Challenge, Refusal>> {
    const ORIGIN: &str = "WebHook-Request-Origin";
    if request.method != "OPTIONS" || origins.is_empty() {
        return None;
    }
    let origin = match request.header(ORIGIN) {
        Ok(Some(origin)) => origin,
        Ok(None) => return Some(Err(Refusal::missing(ORIGIN))),
        Err(refusal) => return Some(Err(refusal)),
    };
    let may = origins
        .iter()
        .any(|known| known == "*" || known.eq_ignore_ascii_case(origin));
    if !may {
        return Some(Err(Refusal::BadSignature));
    }
    Some(Ok(Challenge {
        status: 200,
        headers: vec![
            ("webhook-allowed-origin", origin.to_owned()),
            ("webhook-allowed-rate", "*".to_owned()),
            ("allow", "POST".to_owned()),
        ],
        body: String::new(),
    }))
}

/// Answers what a signed request asks, when it asks anything.
pub(super) fn signed(scheme: Scheme, request: &Request<'_>) -> Option<Challenge> {
    match scheme {
        Scheme::Slack if !request.is_form() => {
            let fields = request.fields()?;
            let asks = fields.get("type").and_then(Value::as_str) == Some("url_verification");
            let challenge = fields.get("challenge").and_then(Value::as_str)?;
            asks.then(|| Challenge::json(&json!({ "challenge": challenge })))
        }
        Scheme::Discord => {
            let fields = request.fields()?;
            match fields.get("type").and_then(Value::as_u64)? {
                0 => Some(Challenge {
                    status: 204,
                    headers: Vec::new(),
                    body: String::new(),
                }),
                // An event of a webhook is of type 1 as well, and has its event.
                1 if fields.get("event").is_none() => Some(Challenge::json(&json!({ "type": 1 }))),
                _ => None,
            }
        }
        _ => None,
    }
}
