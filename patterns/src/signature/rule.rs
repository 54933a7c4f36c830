//! The table: what each provider does.

use std::borrow::Cow;

use trunkline_contract::webhook::{Algorithm, Encoding, EventId, KeyForm, Scheme, Signature};

/// Where the time of signing is.
#[derive(Debug, Clone)]
pub(super) enum Time {
    /// Nowhere: the scheme has no replay window.
    None,
    /// In this header.
    Header(Cow<'static, str>),
    /// In the signature's header, behind this prefix.
    Part(Cow<'static, str>),
    /// At this JSON pointer into the signed body.
    Body(Cow<'static, str>),
}

/// How the bytes of a signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Small hexadecimal digits.
    Hex,
    /// Hexadecimal digits of any size.
    AnyHex,
    /// Base64 with padding.
    Base64,
    /// As they are.
    Raw,
}

/// What is signed.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A template with `{body}` and other names in braces.
    Template(Cow<'static, str>),
    /// The address, and the fields of the form in order.
    Twilio,
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    By(Algorithm),
    /// As a header of the request says.
    AsTwilioSays,
}

/// How a secret becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secret {
    /// By its form.
    Form(KeyForm),
    /// Base64 behind `whsec_`, `whpk_` or `whsk_`.
    Standard,
}

/// One way in which a provider signs.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) header: Cow<'static, str>,
    /// Between the parts of the header.
    pub(super) separator: Option<char>,
    /// Before a signature.
    pub(super) prefix: Cow<'static, str>,
    pub(super) made: Made,
    pub(super) written: Written,
    pub(super) content: Content,
    pub(super) time: Time,
    pub(super) secret: Secret,
    /// Where the id is that the template names, and that makes a repeat known.
    pub(super) id: EventId,
}

/// What a scheme is beside its rules.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) rules: Vec<Rule>,
    /// How far the time of signing may be from now.
    pub(super) tolerance_ms: u64,
    /// More places of an id, asked in this order when the rule's own has none.
    pub(super) ids: &'static [EventId],
    /// The provider counts every status but 401 as a failed check.
    pub(super) is_always_unauthorized: bool,
}

const MINUTE_MS: u64 = 60_000;

const fn pointer(text: &'static str) -> EventId {
    EventId::Pointer(Cow::Borrowed(text))
}

const fn header(name: &'static str) -> EventId {
    EventId::Header(Cow::Borrowed(name))
}

/// HMAC-SHA256 of the body alone, in hexadecimal digits.
fn plain(name: &'static str) -> Rule {
    Rule {
        header: name.into(),
        separator: None,
        prefix: "".into(),
        made: Made::By(Algorithm::HmacSha256),
        written: Written::Hex,
        content: Content::Template("{body}".into()),
        time: Time::None,
        secret: Secret::Form(KeyForm::Text),
        id: EventId::None,
    }
}

/// Looks up a scheme.
pub(super) fn table(scheme: Scheme, signature: Option<&Signature>) -> Table {
    let mut table = Table {
        rules: Vec::new(),
        tolerance_ms: 5 * MINUTE_MS,
        ids: &[],
        is_always_unauthorized: false,
    };
    match scheme {
        Scheme::Standard => {
            let shared = Rule {
                separator: Some(' '),
                prefix: "v1,".into(),
                written: Written::Base64,
                content: Content::Template("{id}.{timestamp}.{body}".into()),
                time: Time::Header("webhook-timestamp".into()),
                secret: Secret::Standard,
                id: header("webhook-id"),
                ..plain("webhook-signature")
            };
            table.rules.push(Rule {
                prefix: "v1a,".into(),
                made: Made::By(Algorithm::Ed25519),
                ..shared.clone()
            });
            table.rules.push(shared);
        }
        Scheme::Github => table.rules.push(Rule {
            prefix: "sha256=".into(),
            id: header("x-github-delivery"),
            ..plain("x-hub-signature-256")
        }),
        Scheme::Slack => {
            table.rules.push(Rule {
                prefix: "v0=".into(),
                content: Content::Template("v0:{timestamp}:{body}".into()),
                time: Time::Header("x-slack-request-timestamp".into()),
                id: pointer("/event_id"),
                ..plain("x-slack-signature")
            });
            table.ids = const { &[pointer("/trigger_id")] };
        }
        Scheme::Stripe => table.rules.push(Rule {
            separator: Some(','),
            prefix: "v1=".into(),
            content: Content::Template("{timestamp}.{body}".into()),
            time: Time::Part("t=".into()),
            id: pointer("/id"),
            ..plain("stripe-signature")
        }),
        Scheme::Twilio => table.rules.push(Rule {
            made: Made::AsTwilioSays,
            written: Written::Base64,
            content: Content::Twilio,
            id: header("i-twilio-idempotency-token"),
            ..plain("x-twilio-signature")
        }),
        Scheme::Telegram => table.rules.push(Rule {
            made: Made::By(Algorithm::Token),
            written: Written::Raw,
            id: pointer("/update_id"),
            ..plain("x-telegram-bot-api-secret-token")
        }),
        Scheme::Discord => {
            table.rules.push(Rule {
                made: Made::By(Algorithm::Ed25519),
                content: Content::Template("{timestamp}{body}".into()),
                time: Time::Header("x-signature-timestamp".into()),
                secret: Secret::Form(KeyForm::Hex),
                id: pointer("/id"),
                ..plain("x-signature-ed25519")
            });
            // An event of a webhook has no id; its time makes a repeat the same bytes.
            table.ids = const { &[EventId::Content] };
            table.is_always_unauthorized = true;
        }
        Scheme::Meta => table.rules.push(Rule {
            prefix: "sha256=".into(),
            id: EventId::Content,
            ..plain("x-hub-signature-256")
        }),
        Scheme::Shopify => {
            for (name, id) in [
                ("shopify-hmac-sha256", "shopify-webhook-id"),
                ("x-shopify-hmac-sha256", "x-shopify-webhook-id"),
            ] {
                table.rules.push(Rule {
                    written: Written::Base64,
                    id: header(id),
                    ..plain(name)
                });
            }
        }
        Scheme::Linear => {
            table.rules.push(Rule {
                time: Time::Body("/webhookTimestamp".into()),
                id: header("linear-delivery"),
                ..plain("linear-signature")
            });
            table.tolerance_ms = MINUTE_MS;
        }
        Scheme::Generic => table.rules.extend(signature.map(generic)),
    }
    table
}

fn generic(signature: &Signature) -> Rule {
    let is_token = signature.algorithm == Algorithm::Token;
    let time = match signature.timestamp.as_deref() {
        None => Time::None,
        Some(place) => match (place.strip_prefix("header:"), place.strip_prefix("part:")) {
            (Some(name), _) => Time::Header(name.to_owned().into()),
            (None, Some(part)) => Time::Part(part.to_owned().into()),
            (None, None) => Time::Body(place.to_owned().into()),
        },
    };
    // A public key has no text of its own; its digits are what people copy.
    let key = match (signature.algorithm, signature.key) {
        (Algorithm::Ed25519, KeyForm::Text) => KeyForm::Hex,
        (_, form) => form,
    };
    Rule {
        header: signature.header.clone().into(),
        separator: signature.separator,
        prefix: signature.prefix.clone().into(),
        made: Made::By(signature.algorithm),
        written: match signature.encoding {
            _ if is_token => Written::Raw,
            Encoding::Hex => Written::AnyHex,
            Encoding::Base64 => Written::Base64,
        },
        content: Content::Template(signature.template.clone().into()),
        time,
        secret: Secret::Form(key),
        id: EventId::None,
    }
}
