//! Tokens of a client: one by reference, and up to four by their hash, so that one can replace another
//! while both are good.

use sha2::{Digest, Sha256};
use trunkline_contract::envelope::parse_rfc3339;
use trunkline_contract::toml::{Kind, Node, Place, TableReader};

use super::load::Around;
use super::secret::{Secret, read_reference};
use super::types::{ClientSpec, TokenSpec};
use crate::core::TokenHash;

/// Shortest token that is not warned of.
const TOKEN_BYTES_MIN: usize = 16;
/// Most hashes of one client.
const HASHES_MAX: usize = 4;

const HASH_HINT: &str = "trunkline token makes a token and shows its hash";

/// Reads `token` and `token_sha256`; one of them has to be there.
pub(super) fn read(
    table: &TableReader<'_>,
    around: &Around<'_>,
    others: &[ClientSpec],
) -> Option<(Option<Secret>, Vec<TokenSpec>)> {
    let has_reference = table.entry("token").is_some();
    let has_hashes = table.entry("token_sha256").is_some();
    if !has_reference && !has_hashes {
        table.missing(
            "token",
            "add token = { file = \"tokens/agent\" }, or token_sha256 = [\"…\"] with what trunkline token \
             shows",
        );
        return None;
    }
    let token = if has_reference {
        Some(referred(table, around, others)?)
    } else {
        None
    };
    let hashes = if has_hashes {
        hashes(table, others)?
    } else {
        Vec::new()
    };
    Some((token, hashes))
}

fn referred(table: &TableReader<'_>, around: &Around<'_>, others: &[ClientSpec]) -> Option<Secret> {
    let (reference, place) = read_reference(table, "token")?;
    let sink = table.sink();
    match reference.resolve(around.env, around.base, around.files) {
        Ok(token) if token.is_empty() => {
            sink.error(
                "secret_missing",
                place,
                format!("clients.token is empty ({reference})"),
            );
            None
        }
        Ok(token) => {
            if token.len() < TOKEN_BYTES_MIN {
                let message = format!("clients.token is shorter than {TOKEN_BYTES_MIN} bytes");
                let hint = "make one with trunkline token";
                sink.warning_hint("weak_token", place, message, hint);
            }
            let hash: TokenHash = Sha256::digest(token.as_bytes()).into();
            check_new(table, place, hash, others);
            Some(Secret::new(token))
        }
        Err(problem) => {
            sink.error("secret_missing", place, format!("clients.token: {problem}"));
            None
        }
    }
}

fn hashes(table: &TableReader<'_>, others: &[ClientSpec]) -> Option<Vec<TokenSpec>> {
    let node = table.get("token_sha256")?;
    let items: Vec<&Node> = match &node.kind {
        Kind::Array(items) => items.iter().collect(),
        _ => vec![node],
    };
    if items.is_empty() || items.len() > HASHES_MAX {
        let message = format!(
            "clients.token_sha256 has to hold 1 to {HASHES_MAX} hashes, found {}",
            items.len()
        );
        table
            .sink()
            .error_hint("invalid_value", &node.place, message, HASH_HINT);
    }
    let mut hashes = Vec::with_capacity(items.len());
    for item in items {
        let spec = one(table, item)?;
        check_new(table, &item.place, spec.hash, others);
        hashes.push(spec);
    }
    Some(hashes)
}

/// A hash, or a table with `hash` and `expires_at`.
fn one(table: &TableReader<'_>, node: &Node) -> Option<TokenSpec> {
    let path = "clients.token_sha256";
    if let Some(text) = node.as_str() {
        return Some(TokenSpec {
            hash: read_hash(table, text, &node.place)?,
            expires_at_ms: None,
        });
    }
    let Some(entries) = node.as_table() else {
        table.wrong_type("token_sha256", "an array of hashes", node);
        return None;
    };
    let reader = table.under(path.to_owned(), entries, &node.place);
    if reader.entry("hash").is_none() {
        reader.missing("hash", HASH_HINT);
    }
    let hash = reader
        .text_at("hash")
        .and_then(|(text, place)| read_hash(table, text, place));
    let expires = match reader.entry("expires_at") {
        Some(_) => match reader.text_at("expires_at") {
            Some((text, place)) => {
                let at_ms = parse_rfc3339(text);
                if at_ms.is_none() {
                    table.sink().error_hint(
                        "invalid_value",
                        place,
                        format!("{path}.expires_at has to be an instant, found {text:?}"),
                        "write \"2027-01-31T00:00:00Z\"",
                    );
                }
                at_ms
            }
            None => None,
        },
        None => Some(i64::MAX),
    };
    reader.finish();
    let expires = expires?;
    Some(TokenSpec {
        hash: hash?,
        expires_at_ms: (expires != i64::MAX).then_some(expires),
    })
}

fn read_hash(table: &TableReader<'_>, text: &str, place: &Place) -> Option<TokenHash> {
    let hash = parse_hash(text.strip_prefix("sha256:").unwrap_or(text));
    if hash.is_none() {
        // It may be the token itself: what was found is not shown.
        table.sink().error_hint(
            "invalid_value",
            place,
            "clients.token_sha256 has to hold hashes of 64 hex digits, found something else",
            HASH_HINT,
        );
    }
    hash
}

fn parse_hash(text: &str) -> Option<TokenHash> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(hash)
}

fn check_new(table: &TableReader<'_>, place: &Place, hash: TokenHash, others: &[ClientSpec]) {
    let is_of = |other: &ClientSpec| {
        let own = other.token.as_ref();
        let own = own.map(|token| TokenHash::from(Sha256::digest(token.expose().as_bytes())));
        own == Some(hash) || other.hashes.iter().any(|spec| spec.hash == hash)
    };
    if others.iter().any(is_of) {
        let message = "clients.token is the token of another client too";
        table.sink().error("duplicate", place, message);
    }
}
