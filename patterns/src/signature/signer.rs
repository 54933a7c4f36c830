//! The signer: the verifier's mirror.

use sha2::{Digest, Sha256};
use trunkline_contract::webhook::{Algorithm, EventId, Webhook};

use super::content::{Said, contents, names_id};
use super::key::{PrivateKey, SecretError, to_hex, written};
use super::request::Request;
use super::rule::{Made, Time, table};
use super::twilio;

/// Signs a request as the provider of a webhook does, and gives the headers to send with it.
///
/// `secret` is the text that the provider has: for Discord and Ed25519 the private key (32 bytes in the
/// form of the public one), for Standard Webhooks `whsec_…` or `whsk_…`. `id` goes into the scheme's
/// header, where it has one; `now_ms` is Unix time. What a scheme has inside its body (Linear's
/// `webhookTimestamp`, ids that a pointer points to) is the caller's; a body for Twilio that is no form
/// needs the address of [`twilio_url`].
///
/// ```
/// use trunkline_contract::webhook::{Scheme, Webhook};
/// use trunkline_patterns::signature::{Request, sign};
///
/// let webhook = Webhook::new("github", Scheme::Github, "{config.secret}");
/// let request = Request { method: "POST", url: "https://example.com/hooks/github", headers: &[], body: b"{}" };
/// let headers = sign(&webhook, "It's a Secret to Everybody", &request, "72d3162e", 0)?;
/// assert_eq!(headers[0].0, "x-hub-signature-256");
/// assert_eq!(headers[1], ("x-github-delivery".into(), "72d3162e".into()));
/// # Ok::<(), trunkline_patterns::signature::SecretError>(())
/// ```
///
/// # Errors
/// The secret is none of the scheme, or only checks.
pub fn sign(
    webhook: &Webhook,
    secret: &str,
    request: &Request<'_>,
    id: &str,
    now_ms: u64,
) -> Result<Vec<(String, String)>, SecretError> {
    let table = table(webhook.verify, webhook.signature.as_ref());
    let mut refused = SecretError::NoSignature;
    for rule in table.rules.iter().rev() {
        let algorithm = match rule.made {
            Made::By(algorithm) => algorithm,
            Made::AsTwilioSays => twilio::algorithm(request).map_err(|_| {
                let expected = "an algorithm that Twilio has";
                SecretError::Malformed { expected }
            })?,
        };
        let key = PrivateKey::read(secret, rule.secret, Some(algorithm))?;
        if key.is_pair() != (algorithm == Algorithm::Ed25519) {
            refused = SecretError::CannotSign;
            continue;
        }
        let id_place = webhook.id.as_ref().unwrap_or(&rule.id);
        let timestamp = (now_ms / 1000).to_string();
        let said = Said {
            id: names_id(rule).then(|| id.to_owned()),
            timestamp: Some(timestamp.clone()),
        };
        let contents = contents(rule, request, &said).map_err(|_| SecretError::Malformed {
            expected: "an address with the hash of the body",
        })?;
        let signature = written(&key.sign(algorithm, &contents[0]), rule.written);
        let mut value = format!("{}{signature}", rule.prefix);
        let mut headers = Vec::new();
        match &rule.time {
            Time::Header(name) => headers.push((name.to_string(), timestamp)),
            Time::Part(prefix) => {
                let separator = rule.separator.unwrap_or(',');
                value = format!("{prefix}{timestamp}{separator}{value}");
            }
            Time::Body(_) | Time::None => {}
        }
        headers.insert(0, (rule.header.to_string(), value));
        if let EventId::Header(name) = id_place {
            headers.push((name.to_string(), id.to_owned()));
        }
        return Ok(headers);
    }
    Err(refused)
}

/// Adds the hash of a body that is no form to an address, as Twilio does.
pub fn twilio_url(url: &str, body: &[u8]) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    let hash = to_hex(&Sha256::digest(body));
    format!("{url}{separator}{}={hash}", twilio::BODY_HASH)
}
