//! Every signature has a second opinion: what a provider's own package signs we take, and what we sign it takes;
//! what one of the two refuses (another body, another signature, an old time, another secret), so does the other.
//!
//! `standardwebhooks`, `stripe`, `slack_sdk`, `twilio`, `PyNaCl` (`v1a`, Discord), `@octokit/webhooks-methods`,
//! `@linear/sdk`, `@shopify/shopify-api`, `discord-interactions`. Telegram and Meta have no package that checks:
//! the languages' own hmac does; Linear's and Shopify's packages only check.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use trunkline_contract::webhook::{Scheme, Webhook};
use trunkline_patterns::signature::{Refusal, Request, Verified, Verifier, sign, twilio_url};
use trunkline_tests::webhooks::{Answer, Case, Oracle};

const SEED: &str = "0707070707070707070707070707070707070707070707070707070707070707";
const PUBLIC: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
const OTHER_SEED: &str = "0808080808080808080808080808080808080808080808080808080808080808";
const OTHER_PUBLIC: &str = "1398f62c6d1a457c51ba6a4b5f3dbd2f69fca93216218dc8997e416bd17d93ca";
const FORM: &str = "application/x-www-form-urlencoded";
/// Well beyond the window of every scheme that has one.
const OLD_S: u64 = 3600;

/// One package's way, and ours.
#[derive(Clone)]
struct Way {
    oracle: Oracle,
    by: &'static str,
    scheme: Scheme,
    /// What signs and what checks, and the same of another secret.
    secrets: [(&'static str, &'static str); 2],
    content_type: &'static str,
    url: &'static str,
    headers: &'static [(&'static str, &'static str)],
    /// Says whether the package checks the time of signing.
    has_window: bool,
}

fn ways() -> Vec<Way> {
    let shared = [("a secret", "a secret"), ("another", "another")];
    let way = |oracle, by, scheme, has_window| Way {
        oracle,
        by,
        scheme,
        secrets: shared,
        content_type: "application/json",
        url: "https://example.com/hooks/shop",
        headers: &[],
        has_window,
    };
    let standard = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let other = "whsec_c2hhcmVkIHNlY3JldCBvZiB0d28=";
    let ed = "whsk_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let other_ed = "whsk_CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
    let form = Way {
        content_type: FORM,
        ..way(Oracle::Python, "twilio", Scheme::Twilio, false)
    };
    vec![
        Way {
            secrets: [(standard, standard), (other, other)],
            ..way(Oracle::Python, "standard", Scheme::Standard, true)
        },
        Way {
            secrets: [(ed, ed), (other_ed, other_ed)],
            ..way(Oracle::Python, "v1a", Scheme::Standard, false)
        },
        way(Oracle::Python, "slack", Scheme::Slack, true),
        Way {
            content_type: FORM,
            ..way(Oracle::Python, "slack", Scheme::Slack, true)
        },
        way(Oracle::Python, "stripe", Scheme::Stripe, true),
        way(Oracle::Python, "twilio", Scheme::Twilio, false),
        Way {
            url: "https://example.com:443/hooks/shop?a=1",
            ..form.clone()
        },
        Way {
            headers: &[(
                "x-twilio-webhooks-signature-settings",
                "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256",
            )],
            url: "http://example.com/hooks/shop",
            ..form.clone()
        },
        form,
        way(Oracle::Python, "telegram", Scheme::Telegram, false),
        way(Oracle::Python, "meta", Scheme::Meta, false),
        Way {
            secrets: [(SEED, PUBLIC), (OTHER_SEED, OTHER_PUBLIC)],
            ..way(Oracle::Python, "discord", Scheme::Discord, false)
        },
        Way {
            secrets: [(SEED, PUBLIC), (OTHER_SEED, OTHER_PUBLIC)],
            ..way(Oracle::Node, "discord", Scheme::Discord, false)
        },
        way(Oracle::Node, "github", Scheme::Github, false),
        way(Oracle::Node, "linear", Scheme::Linear, true),
        way(Oracle::Node, "shopify", Scheme::Shopify, false),
        way(Oracle::Node, "shopify_events", Scheme::Shopify, false),
    ]
}

impl Way {
    fn name(&self) -> String {
        format!(
            "{} {:?} {} {}",
            self.by, self.oracle, self.content_type, self.url
        )
    }

    fn webhook(&self) -> Webhook {
        Webhook::new("shop", self.scheme, "{config.secret}")
    }

    fn bodies(&self, timestamp: u64) -> Vec<String> {
        if self.content_type == FORM {
            return vec![
                "To=%2B1800&Body=a+b%C3%A9&Body=A&Digits=12&Body=A".to_owned(),
                "b=2&a=1&a=&B=3&empty=".to_owned(),
            ];
        }
        // Linear's time is in the body.
        let time = format!(r#""webhookTimestamp":{}"#, timestamp * 1000);
        vec![
            format!(r#"{{"id":"evt_1","type":"x",{time}}}"#),
            format!("{{\"text\":\"h\u{e9} \u{1f600} \\u00e9\\/\",\n {time} }}"),
        ]
    }

    fn case(&self, r#do: &'static str, body: &str, timestamp: u64) -> Case {
        let is_hashed = self.scheme == Scheme::Twilio && self.content_type != FORM;
        let url = if is_hashed {
            twilio_url(self.url, body.as_bytes())
        } else {
            self.url.to_owned()
        };
        let named = [("content-type", self.content_type)];
        let headers = named.iter().chain(self.headers);
        Case {
            r#do,
            by: self.by,
            secret: self.secrets[0].0.to_owned(),
            url,
            headers: headers
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            body: body.to_owned(),
            id: "msg_1".to_owned(),
            timestamp,
        }
    }

    /// Our opinion of a request.
    fn judge(&self, case: &Case, secrets: &[&str], now_s: u64) -> Result<Verified, Refusal> {
        let verifier = Verifier::of(&self.webhook(), secrets, None).expect("the secrets are some");
        let headers: Vec<(&str, &str)> = case.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        verifier.verify(&request(case, &headers), now_s * 1000)
    }
}

fn request<'a>(case: &'a Case, headers: &'a [(&'a str, &'a str)]) -> Request<'a> {
    Request {
        method: "POST",
        url: &case.url,
        headers,
        body: case.body.as_bytes(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the packages read the machine's clock"
)]
fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("the clock is past 1970").as_secs()
}

/// Changes one character of the header that proves the request.
fn tampered(headers: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut changed = headers.clone();
    let is_proof = |name: &&String| {
        ["signature", "hmac", "token", "ed25519"]
            .iter()
            .any(|word| name.contains(word))
            && !name.contains("settings")
            && !name.contains("idempotency")
            && !name.contains("timestamp")
    };
    let name = headers
        .keys()
        .find(is_proof)
        .expect("a header proves it")
        .clone();
    let value = changed.get_mut(&name).expect("it is there");
    // Neither the first nor the last characters: some of their bits may mean nothing.
    let at = value.len() - 6;
    let other = if &value[at..=at] == "a" { "b" } else { "a" };
    value.replace_range(at..=at, other);
    changed
}

fn ask(cases: &[(Oracle, Case)]) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = vec![None; cases.len()];
    for oracle in [Oracle::Python, Oracle::Node] {
        let mine = cases
            .iter()
            .enumerate()
            .filter(|(_, (by, _))| *by == oracle);
        let (places, asked): (Vec<usize>, Vec<Case>) =
            mine.map(|(place, (_, case))| (place, case.clone())).unzip();
        for (place, answer) in places.into_iter().zip(oracle.ask(&asked)) {
            answers[place] = Some(answer);
        }
    }
    answers
        .into_iter()
        .map(|answer| answer.expect("both were asked"))
        .collect()
}

/// Proves P2a: what the providers' own packages sign is taken over raw bytes, with the old and the new secret while
/// both are active; another body, signature or secret is refused with 401.
/// Proves P2b: a signature outside its window is stale, and a repeat is known by the provider's own id.
#[test]
fn what_the_packages_sign_we_take_and_nothing_else() {
    let now_s = now_s();
    let mut asked = Vec::new();
    for way in ways() {
        for timestamp in [now_s, now_s - OLD_S] {
            for body in way.bodies(timestamp) {
                asked.push((way.clone(), way.case("sign", &body, timestamp)));
            }
        }
    }
    let cases: Vec<_> = asked
        .iter()
        .map(|(way, case)| (way.oracle, case.clone()))
        .collect();
    for ((way, mut case), answer) in asked.into_iter().zip(ask(&cases)) {
        let Answer::Headers(signed) = answer else {
            panic!("{} signs", way.name())
        };
        case.headers.extend(signed);
        let name = way.name();
        let [(_, own), (_, other)] = way.secrets;
        let found = way.judge(&case, &[own], case.timestamp);
        let taken = found.unwrap_or_else(|refusal| panic!("{name}: {refusal}: {case:?}"));
        assert_eq!(
            way.judge(&case, &[own], case.timestamp).as_ref(),
            Ok(&taken),
            "a repeat"
        );
        let rotated = way.judge(&case, &[other, own], case.timestamp);
        assert_eq!(rotated.map(|taken| taken.secret), Ok(1), "{name}");
        if case.timestamp != now_s && taken.signed_at_ms.is_some() {
            let stale = way.judge(&case, &[own], now_s);
            assert!(
                matches!(stale, Err(Refusal::Stale { .. })),
                "{name}: {stale:?}"
            );
        }
        let refused = |case: &Case, secret: &str| {
            let refusal = way.judge(case, &[secret], case.timestamp).unwrap_err();
            assert!([400, 401].contains(&refusal.status()), "{name}");
        };
        refused(&case, other);
        let mut changed = case.clone();
        changed.headers = tampered(&case.headers);
        refused(&changed, own);
        // Telegram's token says nothing of the body.
        if way.scheme != Scheme::Telegram {
            let mut changed = case.clone();
            changed.body = case.body.replacen('1', "2", 1);
            assert_ne!(changed.body, case.body);
            refused(&changed, own);
        }
    }
}

/// Proves P2a: what we sign the providers' own packages take, and they refuse what we refuse.
#[test]
fn what_we_sign_the_packages_take_and_nothing_else() {
    let now_s = now_s();
    let mut asked = Vec::new();
    for way in ways() {
        // Our signer has one name for Shopify's header, the older one.
        if way.by == "shopify_events" {
            continue;
        }
        for body in way.bodies(now_s) {
            let signed = |secret: &str, timestamp: u64| {
                let mut case = way.case("verify", &body, timestamp);
                let headers: Vec<(&str, &str)> =
                    case.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
                let request = request(&case, &headers);
                let made = sign(&way.webhook(), secret, &request, &case.id, timestamp * 1000);
                let made = made.unwrap_or_else(|error| panic!("{}: {error}", way.name()));
                case.headers.extend(made);
                case
            };
            let good = signed(way.secrets[0].0, now_s);
            let mut other_header = good.clone();
            other_header.headers = tampered(&good.headers);
            let mut other_body = good.clone();
            other_body.body = good.body.replacen('1', "2", 1);
            let of_another = signed(way.secrets[1].0, now_s);
            let old = signed(way.secrets[0].0, now_s - OLD_S);
            asked.push((way.clone(), "the good one", good, true));
            asked.push((way.clone(), "another signature", other_header, false));
            asked.push((way.clone(), "another secret", of_another, false));
            if way.scheme != Scheme::Telegram {
                asked.push((way.clone(), "another body", other_body, false));
            }
            // Linear's time is in the body, which is signed as it is.
            if way.has_window && way.scheme != Scheme::Linear {
                asked.push((way.clone(), "an old one", old, false));
            }
        }
        if way.scheme == Scheme::Linear {
            let old_s = now_s - OLD_S;
            let mut old = way.case("verify", &way.bodies(old_s)[0], old_s);
            let headers = sign(&way.webhook(), "a secret", &request(&old, &[]), "1", 0);
            old.headers.extend(headers.expect("it signs"));
            asked.push((way.clone(), "an old one", old, false));
        }
    }
    let cases: Vec<_> = asked
        .iter()
        .map(|(way, _, case, _)| (way.oracle, case.clone()))
        .collect();
    for ((way, what, case, is_taken), answer) in asked.iter().zip(ask(&cases)) {
        let name = way.name();
        assert_eq!(answer, Answer::Taken(*is_taken), "{name}: {what}: {case:?}");
        let ours = way.judge(case, &[way.secrets[0].1], now_s);
        assert_eq!(ours.is_ok(), *is_taken, "{name}: {what}: {ours:?}");
    }
}
