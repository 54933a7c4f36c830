//! A provider's request to a webhook: signed as the provider signs it, and verified as the gateway does.
//!
//! Not here: challenges, and the limits of the gateway.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::webhook::Scheme;
use trunkline_patterns::signature::{Request, sign, twilio_url};

use crate::core::{Endpoint, HookRequest};

/// Headers that are never stored.
const NOT_STORED: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

/// Signs a request with the secret of the config, and gives what is stored of it.
///
/// A request that the test has signed is verified as it is. One that only the provider can sign is
/// taken as it is. What the request has in `id` and `session` counts more than what its declaration
/// finds.
///
/// # Errors
/// The request does not pass its webhook's signature, as a status of HTTP and its reason.
pub(super) fn provided(
    endpoint: &Endpoint,
    base: &str,
    secret: &str,
    mut request: HookRequest,
    now_ms: u64,
) -> Result<HookRequest, Error> {
    let body = match (&request.body, &request.body_base64) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(text)) => STANDARD.decode(text).unwrap_or_default(),
        (None, None) => Vec::new(),
    };
    let mut url = address(base, &request);
    let given = request.headers.clone();
    if endpoint.webhook.verify == Scheme::Twilio && !is_form(&given) && !body.is_empty() {
        url = twilio_url(&url, &body);
    }
    let is_signed = given
        .iter()
        .any(|(name, _)| endpoint.verifier.is_proof(name));
    let id = request.id.clone().unwrap_or_else(new_id);
    let signed = {
        let seen = seen(&request.method, &url, &given, &body);
        if is_signed {
            Some(Vec::new())
        } else {
            sign(&endpoint.webhook, secret, &seen.request(), &id, now_ms).ok()
        }
    };
    let is_verified = signed.is_some();
    for (name, value) in signed.unwrap_or_default() {
        let is_given = given.iter().any(|(other, _)| *other == name);
        if !is_given {
            request.headers.push((name.to_ascii_lowercase(), value));
        }
    }
    let headers = std::mem::take(&mut request.headers);
    let seen = seen(&request.method, &url, &headers, &body);
    let looked_at = seen.request();
    if is_verified {
        match endpoint.verifier.verify(&looked_at, now_ms) {
            Ok(verified) => request.id = request.id.or(verified.id),
            // The config has a public key, or the time of signing is in the body, which is the test's.
            Err(_) if !is_signed => {}
            Err(refusal) => {
                let text = format!(
                    "the request is refused with {}: {refusal}",
                    refusal.status()
                );
                return Err(Error::new(Code::Unauthorized, text));
            }
        }
    }
    if request.session.is_none() {
        let pointer = endpoint.webhook.session.as_deref();
        request.session = pointer.and_then(|pointer| looked_at.pointed(pointer));
    }
    drop(seen);
    request.headers = headers;
    request
        .headers
        .retain(|(name, _)| !endpoint.verifier.is_proof(name) && !NOT_STORED.contains(&&**name));
    Ok(request)
}

/// The whole address that the provider calls.
fn address(base: &str, request: &HookRequest) -> String {
    let host = base.strip_suffix("/hooks").unwrap_or(base);
    let mut url = format!("{host}{}", request.path);
    if !request.query.is_empty() {
        url.push('?');
        url.push_str(&request.query);
    }
    url
}

fn is_form(headers: &[(String, String)]) -> bool {
    let seen = seen("POST", "", headers, b"");
    seen.request().is_form()
}

/// A request with its headers borrowed.
struct Seen<'a> {
    method: &'a str,
    url: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a [u8],
}

fn seen<'a>(
    method: &'a str,
    url: &'a str,
    headers: &'a [(String, String)],
    body: &'a [u8],
) -> Seen<'a> {
    let headers = headers.iter().map(|(name, value)| (&**name, &**value));
    Seen {
        method,
        url,
        headers: headers.collect(),
        body,
    }
}

impl Seen<'_> {
    fn request(&self) -> Request<'_> {
        Request {
            method: self.method,
            url: self.url,
            headers: &self.headers,
            body: self.body,
        }
    }
}

fn new_id() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("request-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}
