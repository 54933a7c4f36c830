use std::time::Duration;

use proptest::prelude::*;
use trunkline_contract::webhook::{
    Algorithm, Encoding, EventId, KeyForm, Scheme, Signature, Webhook,
};

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;
const URL: &str = "https://example.com/hooks/shop/default?a=1";
/// The private key whose bytes are all 7, and what belongs to it.
const SEED: &str = "0707070707070707070707070707070707070707070707070707070707070707";
const PUBLIC: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
/// What belongs to the private key whose bytes are all 8.
const OTHER_PUBLIC: &str = "1398f62c6d1a457c51ba6a4b5f3dbd2f69fca93216218dc8997e416bd17d93ca";
const STANDARD_SEED: &str = "whsk_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn webhook(verify: Scheme) -> Webhook {
    Webhook::new("shop", verify, "{config.secret}")
}

/// A webhook with its two secrets: what signs and what checks.
fn pairs() -> Vec<(Webhook, &'static str, &'static str)> {
    let mut generic = webhook(Scheme::Generic);
    generic.id = EventId::parse("header:X-Id");
    generic.signature = Some(Signature {
        algorithm: Algorithm::HmacSha512,
        header: "X-Signed".into(),
        prefix: "s=".into(),
        encoding: Encoding::Base64,
        key: KeyForm::Hex,
        template: "{method} {url} {id}.{timestamp}.{body}".into(),
        timestamp: Some("header:X-Time".into()),
        ..Signature::default()
    });
    let mut ed25519 = webhook(Scheme::Generic);
    ed25519.signature = Some(Signature {
        algorithm: Algorithm::Ed25519,
        header: "X-Signed".into(),
        separator: Some(','),
        prefix: "e=".into(),
        encoding: Encoding::Base64,
        template: "{timestamp}|{body}".into(),
        timestamp: Some("part:at=".into()),
        ..Signature::default()
    });
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut pairs = vec![
        (webhook(Scheme::Standard), secret, secret),
        (webhook(Scheme::Standard), STANDARD_SEED, STANDARD_SEED),
        (webhook(Scheme::Discord), SEED, PUBLIC),
        (generic, "00ff10", "00ff10"),
        (ed25519, SEED, PUBLIC),
    ];
    for scheme in [
        Scheme::Github,
        Scheme::Slack,
        Scheme::Stripe,
        Scheme::Twilio,
        Scheme::Meta,
        Scheme::Shopify,
        Scheme::Linear,
        Scheme::Telegram,
    ] {
        pairs.push((webhook(scheme), "a secret", "a secret"));
    }
    pairs
}

fn body_of(webhook: &Webhook, text: &str) -> Vec<u8> {
    let text = serde_json::to_string(text).unwrap();
    let time = match webhook.verify {
        Scheme::Linear => format!(r#","webhookTimestamp":{NOW_MS}"#),
        _ => String::new(),
    };
    format!(r#"{{"text":{text},"type":7{time}}}"#).into_bytes()
}

fn url_of(webhook: &Webhook, body: &[u8]) -> String {
    match webhook.verify {
        Scheme::Twilio => twilio_url(URL, body),
        _ => URL.to_owned(),
    }
}

fn check(
    webhook: &Webhook,
    secrets: &[&str],
    headers: &[(String, String)],
    url: &str,
    body: &[u8],
    now_ms: u64,
) -> Result<Verified, Refusal> {
    let verifier = Verifier::of(webhook, secrets, None).unwrap();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    verifier.verify(&request(url, &headers, body), now_ms)
}

fn request<'a>(url: &'a str, headers: &'a [(&'a str, &'a str)], body: &'a [u8]) -> Request<'a> {
    Request {
        method: "POST",
        url,
        headers,
        body,
    }
}

fn signed(webhook: &Webhook, secret: &str, body: &[u8]) -> (String, Vec<(String, String)>) {
    let url = url_of(webhook, body);
    let headers = sign(webhook, secret, &request(&url, &[], body), "id-1", NOW_MS).unwrap();
    (url, headers)
}

#[test]
fn the_vectors_of_the_providers_are_taken() {
    let verify =
        |scheme, secret: &str, url: &str, headers: &[(&str, &str)], body: &str, now_s: u64| {
            let verifier = Verifier::new(scheme, None, &[secret]).unwrap();
            verifier.verify(&request(url, headers, body.as_bytes()), now_s * 1000)
        };
    let hub = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let headers = [
        ("X-Hub-Signature-256", hub),
        ("X-GitHub-Delivery", "72d3162e"),
    ];
    let github = verify(
        Scheme::Github,
        "It's a Secret to Everybody",
        URL,
        &headers,
        "Hello, World!",
        0,
    );
    assert_eq!(github.unwrap().id.as_deref(), Some("72d3162e"));

    let headers = [
        ("X-Slack-Request-Timestamp", "1531420618"),
        (
            "X-Slack-Signature",
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        ),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let slack = verify(
        Scheme::Slack,
        "8f742231b10e8888abcd99yyyzzz85a5",
        URL,
        &headers,
        body,
        1_531_420_618,
    );
    let trigger = "398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    assert_eq!(slack.unwrap().id.as_deref(), Some(trigger));

    let headers = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        (
            "webhook-signature",
            "v1,Zm9v v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
    ];
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = r#"{"test": 2432232314}"#;
    let standard = verify(Scheme::Standard, secret, URL, &headers, body, 1_614_265_330).unwrap();
    assert_eq!(standard.id.as_deref(), Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
    assert_eq!(standard.signed_at_ms, Some(1_614_265_330_000));
    let late = verify(Scheme::Standard, secret, URL, &headers, body, 1_614_265_631);
    assert!(
        matches!(
            late,
            Err(Refusal::Stale {
                off_ms: 301_000,
                ..
            })
        ),
        "{late:?}"
    );

    let headers = [
        ("X-Twilio-Signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (
            "Content-Type",
            "application/x-www-form-urlencoded; charset=UTF-8",
        ),
    ];
    let body = "CallSid=CA1234567890ABCDE&Digits=1234&Caller=%2B14158675309&From=%2B14158675309&To=%2B18005551212";
    for url in [
        "https://mycompany.com/myapp.php?foo=1&bar=2",
        "https://mycompany.com:8443/myapp.php?foo=1&bar=2",
    ] {
        let twilio = verify(Scheme::Twilio, "12345", url, &headers, body, 0);
        assert!(twilio.is_ok(), "{url} {twilio:?}");
    }
}

#[test]
fn what_is_signed_is_taken_and_another_secret_is_not() {
    for (webhook, private, public) in pairs() {
        let body = body_of(&webhook, "hello");
        let (url, headers) = signed(&webhook, private, &body);
        let taken = check(&webhook, &[public], &headers, &url, &body, NOW_MS);
        assert!(taken.is_ok(), "{} {taken:?} {headers:?}", webhook.verify);
        let (other_private, _) = signed(&webhook, other(private), &body);
        assert_eq!(other_private, url);
        let headers = signed(&webhook, other(private), &body).1;
        let refused = check(&webhook, &[public], &headers, &url, &body, NOW_MS);
        assert_eq!(refused, Err(Refusal::BadSignature), "{}", webhook.verify);
    }
}

/// Another secret of the same form.
fn other(secret: &str) -> &str {
    match secret {
        SEED => "0808080808080808080808080808080808080808080808080808080808080808",
        STANDARD_SEED => "whsk_CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=",
        "00ff10" => "00ff11",
        "a secret" => "another secret",
        _ => "whsec_NfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
}

#[test]
fn old_and_new_secrets_are_taken_while_both_are_active() {
    for (webhook, private, public) in pairs() {
        let body = body_of(&webhook, "hello");
        let new = if public == PUBLIC {
            OTHER_PUBLIC
        } else {
            other(public)
        };
        let (url, headers) = signed(&webhook, private, &body);
        let old_key = check(&webhook, &[new, public], &headers, &url, &body, NOW_MS);
        assert_eq!(old_key.unwrap().secret, 1);
        let headers = signed(&webhook, other(private), &body).1;
        let new_key = check(&webhook, &[new, public], &headers, &url, &body, NOW_MS);
        assert_eq!(
            new_key.map(|taken| taken.secret),
            Ok(0),
            "{}",
            webhook.verify
        );
    }
}

#[test]
fn a_time_outside_the_window_is_stale_and_a_time_is_never_unsigned() {
    for (webhook, private, public) in pairs() {
        let body = body_of(&webhook, "hello");
        let (url, headers) = signed(&webhook, private, &body);
        let at = |now_ms| check(&webhook, &[public], &headers, &url, &body, now_ms);
        let Some(_) = at(NOW_MS).unwrap().signed_at_ms else {
            assert!(at(0).is_ok(), "{} has no window", webhook.verify);
            continue;
        };
        let window_ms = if webhook.verify == Scheme::Linear {
            60_000
        } else {
            300_000
        };
        for (now_ms, is_taken) in [
            (NOW_MS + window_ms, true),
            (NOW_MS + window_ms + 1, false),
            (NOW_MS - window_ms, true),
            (NOW_MS - window_ms - 1, false),
        ] {
            let found = at(now_ms);
            let is_stale = matches!(found, Err(Refusal::Stale { .. }));
            assert_eq!(
                (found.is_ok(), is_stale),
                (is_taken, !is_taken),
                "{}",
                webhook.verify
            );
        }
        let mut wide = webhook.clone();
        wide.tolerance = Some(Duration::from_hours(1));
        let found = check(&wide, &[public], &headers, &url, &body, NOW_MS + 3_600_000);
        assert!(found.is_ok());
    }
}

#[test]
fn each_refusal_is_the_one_that_fits() {
    let webhook = webhook(Scheme::Slack);
    let body = b"{}";
    let (url, headers) = signed(&webhook, "a secret", body);
    let at =
        |headers: &[(String, String)]| check(&webhook, &["a secret"], headers, &url, body, NOW_MS);
    let without = at(&headers[1..]).unwrap_err();
    assert_eq!((without.name(), without.status()), ("missing_header", 401));
    let untimed = at(&headers[..1]).unwrap_err();
    assert_eq!(
        untimed.to_string(),
        "expected the header x-slack-request-timestamp, found none"
    );
    for (at_header, value) in [
        (0, "v0=xyz"),
        (0, ""),
        (0, "v1=00"),
        (1, "soon"),
        (1, "-1"),
        (1, "99999999999999999999999"),
    ] {
        let mut changed = headers.clone();
        changed[at_header].1 = value.to_owned();
        let malformed = at(&changed).unwrap_err();
        assert_eq!(
            (malformed.name(), malformed.status()),
            ("malformed", 400),
            "{value}"
        );
    }
    let twice = [headers.clone(), vec![headers[0].clone()]].concat();
    assert_eq!(at(&twice).unwrap_err().name(), "malformed");
}

#[test]
fn discord_is_told_401_whatever_is_wrong() {
    let webhook = webhook(Scheme::Discord);
    let body = br#"{"type":1}"#;
    let (url, headers) = signed(&webhook, SEED, body);
    for (at, value) in [(0, "zz"), (0, "00"), (1, "soon")] {
        let mut changed = headers.clone();
        changed[at].1 = value.to_owned();
        let refused = check(&webhook, &[PUBLIC], &changed, &url, body, NOW_MS).unwrap_err();
        assert_eq!(refused.status(), 401);
    }
}

#[test]
fn secrets_that_are_none_are_refused() {
    let new = |scheme, secret: &str| Verifier::new(scheme, None, &[secret]).map(|_| ());
    for (_, scheme) in Scheme::WORDS {
        assert!(new(*scheme, "").is_err(), "{scheme}");
    }
    assert_eq!(new(Scheme::Standard, "whsec_"), Err(SecretError::Empty));
    assert!(new(Scheme::Standard, "whsec_no base64!").is_err());
    assert!(new(Scheme::Standard, "whpk_AAAA").is_err());
    assert!(new(Scheme::Discord, "a secret").is_err());
    // A point of small order is a public key of which anybody has signatures.
    assert!(new(Scheme::Discord, &"00".repeat(32)).is_err());
    assert_eq!(new(Scheme::Generic, "x"), Err(SecretError::NoSignature));
    let five = ["a"; 5];
    let found = Verifier::new(Scheme::Slack, None, &five).map(|_| ());
    assert_eq!(found, Err(SecretError::Count { found: 5 }));
    let none: [&str; 0] = [];
    assert!(Verifier::new(Scheme::Slack, None, &none).is_err());
}

#[test]
fn challenges_are_answered_in_the_order_of_their_provider() {
    let slack = webhook(Scheme::Slack);
    let body = br#"{"type":"url_verification","challenge":"3eZb","token":"x"}"#;
    let (url, headers) = signed(&slack, "a secret", body);
    let receive = |webhook: &Webhook, secret: &str, headers: &[(String, String)], body: &[u8]| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        let verifier = Verifier::of(webhook, &[secret], None).unwrap();
        verifier.receive(&request(&url, &headers, body), NOW_MS)
    };
    let Ok(Received::Challenge(answer)) = receive(&slack, "a secret", &headers, body) else {
        panic!("the challenge is answered")
    };
    assert_eq!(
        (answer.status, &*answer.body),
        (200, r#"{"challenge":"3eZb"}"#)
    );
    // Not before it is proven.
    assert_eq!(
        receive(&slack, "b", &headers, body),
        Err(Refusal::BadSignature)
    );
    assert_eq!(receive(&slack, "b", &[], body).unwrap_err().status(), 401);

    let discord = webhook(Scheme::Discord);
    for (body, status, text) in [
        (r#"{"type":1,"id":"1"}"#, 200, r#"{"type":1}"#),
        (r#"{"type":0}"#, 204, ""),
    ] {
        let headers = signed(&discord, SEED, body.as_bytes()).1;
        let Ok(Received::Challenge(answer)) = receive(&discord, PUBLIC, &headers, body.as_bytes())
        else {
            panic!("the ping is answered")
        };
        assert_eq!((answer.status, &*answer.body), (status, text));
        assert!(receive(&discord, PUBLIC, &headers, b"{}").is_err());
    }
    let event = br#"{"type":1,"event":{"type":"ENTITLEMENT_CREATE"}}"#;
    let headers = signed(&discord, SEED, event).1;
    let received = receive(&discord, PUBLIC, &headers, event);
    let Ok(Received::Request(verified)) = received else {
        panic!("{received:?}")
    };
    assert!(
        verified.id.is_some(),
        "an event of a webhook is known by its content"
    );
}

#[test]
fn meta_is_answered_by_its_own_word_and_cloud_events_by_a_list() {
    let verifier = Verifier::new(Scheme::Meta, None, &["app secret"])
        .unwrap()
        .verify_token("a word & more")
        .origins(vec!["sender.example.com".to_owned()]);
    assert_eq!(
        verifier.challenge_methods().collect::<Vec<_>>(),
        ["GET", "OPTIONS"]
    );
    let get = |query: &str| {
        let url = format!("https://example.com/hooks/wa?{query}");
        let request = Request {
            method: "GET",
            url: &url,
            headers: &[],
            body: b"",
        };
        verifier.receive(&request, NOW_MS)
    };
    let right = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=a+word+%26+more";
    let Ok(Received::Challenge(answer)) = get(right) else {
        panic!("the challenge is answered")
    };
    assert_eq!((answer.status, &*answer.body), (200, "1158201444"));
    let wrong = "hub.mode=subscribe&hub.challenge=1&hub.verify_token=another";
    assert_eq!(get(wrong), Err(Refusal::BadSignature));
    assert_eq!(get("hub.mode=unsubscribe").unwrap_err().status(), 400);

    let options = |origin: &str| {
        let headers = [("WebHook-Request-Origin", origin)];
        let request = Request {
            method: "OPTIONS",
            url: URL,
            headers: &headers,
            body: b"",
        };
        verifier.receive(&request, NOW_MS)
    };
    let Ok(Received::Challenge(answer)) = options("sender.example.com") else {
        panic!("the handshake is answered")
    };
    let allowed = ("webhook-allowed-origin", "sender.example.com".to_owned());
    assert!(answer.headers.contains(&allowed));
    assert!(options("elsewhere.example.com").is_err());
}

#[test]
fn a_body_for_twilio_is_proven_by_its_form_or_by_its_hash() {
    let webhook = webhook(Scheme::Twilio);
    let body = br#"{"a":1}"#;
    let (url, mut headers) = signed(&webhook, "t", body);
    let at = |headers: &[(String, String)], url: &str, body: &[u8]| {
        check(&webhook, &["t"], headers, url, body, NOW_MS).map(|_| ())
    };
    assert_eq!(at(&headers, &url, body), Ok(()));
    assert_eq!(at(&headers, &url, b"{}"), Err(Refusal::BadSignature));
    // An address that was signed without a body proves no body.
    let (bare, _) = signed(&webhook, "t", b"");
    let bare_headers = sign(&webhook, "t", &request(URL, &[], b""), "", 0).unwrap();
    assert!(at(&bare_headers, &bare, b"").is_err() || bare == URL);
    assert_eq!(at(&bare_headers, URL, b""), Ok(()));
    assert_eq!(
        at(&bare_headers, URL, body).unwrap_err().name(),
        "malformed"
    );
    // The other algorithm is another signature.
    let settings = (
        "X-Twilio-Webhooks-Signature-Settings",
        "key=k1,algorithm=HMAC_SHA256",
    );
    headers.push((settings.0.into(), settings.1.into()));
    assert_eq!(at(&headers, &url, body), Err(Refusal::BadSignature));
    let mut newer = sign(&webhook, "t", &request(&url, &[settings], body), "", 0).unwrap();
    newer.push((settings.0.into(), settings.1.into()));
    assert_eq!(at(&newer, &url, body), Ok(()));
    newer.last_mut().unwrap().1 = "algorithm=HMAC_MD5".into();
    assert_eq!(at(&newer, &url, body).unwrap_err().status(), 400);
}

#[test]
fn an_id_is_taken_from_where_it_is_declared() {
    let mut webhook = webhook(Scheme::Github);
    let body = br#"{"delivery":{"n":12345678901234567890}}"#;
    let (url, headers) = signed(&webhook, "s", body);
    let id = |webhook: &Webhook| check(webhook, &["s"], &headers, &url, body, 0).unwrap().id;
    assert_eq!(id(&webhook).as_deref(), Some("id-1"));
    for (place, expected) in [
        ("/delivery/n", Some("12345678901234567890")),
        ("/nowhere", None),
        ("none", None),
        ("header:x-hub-signature-256", Some(&*headers[0].1)),
    ] {
        webhook.id = EventId::parse(place);
        assert_eq!(id(&webhook).as_deref(), expected, "{place}");
    }
    webhook.id = Some(EventId::Content);
    assert_eq!(id(&webhook).map(|id| id.len()), Some(64));
}

fn flipped(bytes: &[u8], at: usize, bit: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let at = at % changed.len();
    changed[at] ^= 1 << (bit % 8);
    changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_signed_is_taken_and_any_flipped_bit_is_not(
        pair in 0..13_usize,
        text in ".{0,64}",
        at in any::<usize>(),
        bit in 0..8_u8,
    ) {
        let (webhook, private, public) = pairs().swap_remove(pair);
        let body = body_of(&webhook, &text);
        let (url, headers) = signed(&webhook, private, &body);
        let taken = check(&webhook, &[public], &headers, &url, &body, NOW_MS);
        prop_assert!(taken.is_ok(), "{} {taken:?}", webhook.verify);

        let other = flipped(&body, at, bit);
        if webhook.verify != Scheme::Telegram {
            let refused = check(&webhook, &[public], &headers, &url, &other, NOW_MS);
            prop_assert!(refused.is_err(), "{} took another body", webhook.verify);
        }
        // Every header that the signature has part in, but not a header that only names the request.
        let signed_headers = match webhook.verify {
            Scheme::Github | Scheme::Shopify | Scheme::Linear | Scheme::Twilio => 1,
            _ => headers.len(),
        };
        let mut changed = headers.clone();
        let header = at % signed_headers;
        let value = flipped(changed[header].1.as_bytes(), at >> 4, bit);
        if let Ok(value) = String::from_utf8(value) {
            // A space at the end is none.
            prop_assume!(value.trim() != headers[header].1);
            // Another name of a part that is not read leaves the others.
            changed[header].1 = value;
            let refused = check(&webhook, &[public], &changed, &url, &body, NOW_MS);
            prop_assert!(refused.is_err(), "{} took {changed:?}", webhook.verify);
        }
    }

    #[test]
    fn no_request_panics(
        pair in 0..13_usize,
        url in ".{0,40}",
        headers in proptest::collection::vec((0..12_usize, ".{0,40}"), 0..6),
        body in proptest::collection::vec(any::<u8>(), 0..64),
        now_ms in any::<u64>(),
    ) {
        const NAMES: [&str; 12] = [
            "webhook-signature", "webhook-id", "webhook-timestamp", "x-hub-signature-256",
            "stripe-signature", "x-twilio-signature", "content-type", "x-signature-ed25519",
            "x-signature-timestamp", "linear-signature", "X-Signed", "x-slack-signature",
        ];
        let (webhook, _, public) = pairs().swap_remove(pair);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (NAMES[*name], &**value)).collect();
        let verifier = Verifier::of(&webhook, &[public], Some("t".into())).unwrap();
        for method in ["GET", "POST", "OPTIONS"] {
            let request = Request { method, url: &url, headers: &headers, body: &body };
            prop_assert!(verifier.receive(&request, now_ms).is_err());
        }
    }
}
