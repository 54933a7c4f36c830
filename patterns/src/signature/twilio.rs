//! Twilio's way: the address as it was called, and the fields of the form in order.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use trunkline_contract::webhook::Algorithm;

use super::key::to_hex;
use super::refusal::Refusal;
use super::request::Request;

/// The header that names another algorithm.
pub(super) const SETTINGS: &str = "X-Twilio-Webhooks-Signature-Settings";
/// The parameter of the query that stands for a body that is no form.
pub(super) const BODY_HASH: &str = "bodySHA256";

/// Says which algorithm the request names.
pub(super) fn algorithm(request: &Request<'_>) -> Result<Algorithm, Refusal> {
    let settings = request.header(SETTINGS)?.unwrap_or_default();
    let parts = settings.split(',').filter_map(|part| part.split_once('='));
    let mut named = parts.filter(|(name, _)| name.trim() == "algorithm");
    let Some((_, value)) = named.next() else {
        return Ok(Algorithm::HmacSha1);
    };
    match value.trim().to_ascii_uppercase().as_str() {
        "" | "HMAC_SHA1" => Ok(Algorithm::HmacSha1),
        "HMAC_SHA256" => Ok(Algorithm::HmacSha256),
        _ => Err(Refusal::malformed(SETTINGS, "HMAC_SHA1 or HMAC_SHA256")),
    }
}

/// Lists what may have been signed: the sender is not consistent about the port.
///
/// # Errors
/// The body is no form, and the address does not hold its hash: nothing would prove it.
pub(super) fn contents(request: &Request<'_>) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut fields = Vec::new();
    if request.is_form() {
        fields = in_order(request.body);
    } else if !request.body.is_empty() {
        let expected = to_hex(&Sha256::digest(request.body));
        let found = request
            .query(BODY_HASH)
            .ok_or_else(|| Refusal::malformed(BODY_HASH, "the hash of the body"))?;
        let found = found.to_ascii_lowercase();
        if !bool::from(expected.as_bytes().ct_eq(found.as_bytes())) {
            return Err(Refusal::BadSignature);
        }
    }
    let addresses = addresses(request.url);
    let content = |address: String| [address.as_bytes(), &fields].concat();
    Ok(addresses.into_iter().map(content).collect())
}

/// The fields of a form: names in order, the values of each in order, none twice.
fn in_order(body: &[u8]) -> Vec<u8> {
    let mut fields: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (name, value) in form(body) {
        fields.entry(name).or_default().insert(value);
    }
    let mut text = Vec::with_capacity(body.len());
    for (name, values) in fields {
        for value in values {
            text.extend_from_slice(&name);
            text.extend_from_slice(&value);
        }
    }
    text
}

/// The address without a port, and with the one it has or would have.
fn addresses(url: &str) -> Vec<String> {
    let Some((protocol, rest)) = url.split_once("://") else {
        return vec![url.to_owned()];
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, tail) = rest.split_at(end);
    // The colons of an address in brackets are none of a port.
    let after = host.rfind(']').map_or(0, |at| at + 1);
    let (bare, port) = match host[after..].rfind(':') {
        Some(at) => (&host[..after + at], Some(&host[after + at + 1..])),
        None => (host, None),
    };
    let usual = if protocol == "https" { "443" } else { "80" };
    let port = port.unwrap_or(usual);
    vec![
        format!("{protocol}://{bare}{tail}"),
        format!("{protocol}://{bare}:{port}{tail}"),
    ]
}

/// Reads the fields of a form, decoded.
pub(super) fn form(text: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
    let parts = text
        .split(|byte| *byte == b'&')
        .filter(|part| !part.is_empty());
    parts.map(|part| {
        let at = part.iter().position(|byte| *byte == b'=');
        let (name, value) = match at {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, &[][..]),
        };
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| {
        let byte = *text.get(at)?;
        (byte as char).to_digit(16).map(|digit| digit as u8)
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                at += 3;
                continue;
            }
            (b'+', _, _) => bytes.push(b' '),
            (byte, _, _) => bytes.push(byte),
        }
        at += 1;
    }
    bytes
}
