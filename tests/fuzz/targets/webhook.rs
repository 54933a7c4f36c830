//! Signatures of webhooks: no request panics, and none without a signature of ours is taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_contract::webhook::{EventId, Scheme, Signature, Webhook};
use trunkline_patterns::signature::{Received, Request, Verifier, sign};

const NOW_MS: u64 = 1_800_000_000_000;
const PUBLIC: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
const HEADERS: [&str; 16] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-hub-signature-256",
    "x-slack-signature",
    "x-slack-request-timestamp",
    "stripe-signature",
    "x-twilio-signature",
    "x-twilio-webhooks-signature-settings",
    "content-type",
    "x-signature-ed25519",
    "x-signature-timestamp",
    "x-shopify-hmac-sha256",
    "linear-signature",
    "x-signed",
    "webhook-request-origin",
];

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(4, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (choice, url, head, body) = (next(), next(), next(), next());
    let (Ok(url), Ok(head)) = (std::str::from_utf8(url), std::str::from_utf8(head)) else {
        return;
    };
    let number = choice.first().copied().unwrap_or_default() as usize;
    let scheme = Scheme::WORDS[number % Scheme::WORDS.len()].1;
    let mut webhook = Webhook::new("a", scheme, "{config.key}");
    let secret = match scheme {
        Scheme::Discord => PUBLIC,
        // No signature: what it has is the secret itself, and a fuzzer cannot guess it either.
        Scheme::Telegram => "a-secret-that-is-not-in-the-corpus",
        _ => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    };
    if scheme == Scheme::Generic {
        webhook.signature = Some(Signature {
            header: "x-signed".into(),
            prefix: "v=".into(),
            separator: Some(','),
            template: "{method}{url}{timestamp}{id}{body}".into(),
            timestamp: Some("part:t=".into()),
            ..Signature::default()
        });
        webhook.id = Some(EventId::Header("x-id".into()));
    }
    webhook.check().expect("only what can be declared is tried");
    let headers: Vec<(&str, &str)> = head
        .lines()
        .enumerate()
        .map(|(at, line)| match line.split_once(':') {
            Some((name, value)) => (name, value),
            None => (HEADERS[(number + at) % HEADERS.len()], line),
        })
        .collect();
    let verifier = Verifier::of(&webhook, &[secret], Some("word".into()));
    let verifier = verifier
        .expect("the secrets are some")
        .origins(vec!["known.example.com".into()]);
    for method in ["POST", "GET", "OPTIONS"] {
        let request = Request {
            method,
            url,
            headers: &headers,
            body,
        };
        match verifier.receive(&request, NOW_MS) {
            Ok(Received::Request(_)) => panic!("{scheme} took what nobody signed"),
            Ok(Received::Challenge(_)) => assert_ne!(method, "POST", "unsigned, and answered"),
            Err(refusal) => assert!([400, 401].contains(&refusal.status())),
        }
    }
    // What is signed is taken, whatever it is; Linear has its time in the body, Twilio a hash in the address.
    if matches!(
        scheme,
        Scheme::Discord | Scheme::Linear | Scheme::Twilio | Scheme::Telegram
    ) {
        return;
    }
    let request = Request {
        method: "POST",
        url,
        headers: &[],
        body,
    };
    let made = sign(&webhook, secret, &request, "id", NOW_MS).expect("the secret signs");
    let made: Vec<(&str, &str)> = made
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let signed = Request {
        headers: &made,
        ..request
    };
    assert!(verifier.verify(&signed, NOW_MS).is_ok());
});
