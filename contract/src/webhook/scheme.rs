//! Whose signature a request bears, and where its id is.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names whose signature a webhook bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Standard Webhooks: `v1` (HMAC-SHA256) and `v1a` (Ed25519).
    Standard,
    /// GitHub, and who signs as it does.
    Github,
    /// Slack.
    Slack,
    /// Stripe.
    Stripe,
    /// Twilio, over the address and the form.
    Twilio,
    /// Telegram's secret token.
    Telegram,
    /// Discord's interactions and webhook events.
    Discord,
    /// Meta: `WhatsApp`, Messenger, Instagram.
    Meta,
    /// Shopify.
    Shopify,
    /// Linear.
    Linear,
    /// As the declaration's `signature` describes.
    Generic,
}

impl Scheme {
    /// Lists the words of manifests.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("standard", Self::Standard),
        ("github", Self::Github),
        ("slack", Self::Slack),
        ("stripe", Self::Stripe),
        ("twilio", Self::Twilio),
        ("telegram", Self::Telegram),
        ("discord", Self::Discord),
        ("meta", Self::Meta),
        ("shopify", Self::Shopify),
        ("linear", Self::Linear),
        ("generic", Self::Generic),
    ];

    /// Names the scheme as manifests do.
    pub fn as_str(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, scheme)| *scheme == self);
        found.expect("every scheme has a word").0
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names how a generic signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// HMAC with SHA-256.
    #[default]
    HmacSha256,
    /// HMAC with SHA-1.
    HmacSha1,
    /// HMAC with SHA-512.
    HmacSha512,
    /// Ed25519; the secret is the public key.
    Ed25519,
    /// No signature: the header holds the secret itself.
    Token,
}

impl Algorithm {
    /// Lists the words of manifests.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("hmac-sha256", Self::HmacSha256),
        ("hmac-sha1", Self::HmacSha1),
        ("hmac-sha512", Self::HmacSha512),
        ("ed25519", Self::Ed25519),
        ("token", Self::Token),
    ];
}

/// Names how the bytes of a generic signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal digits, large or small.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

impl Encoding {
    /// Lists the words of manifests.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("hex", Self::Hex), ("base64", Self::Base64)];
}

/// Names how the key of a generic signature is made of the secret's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyForm {
    /// Its bytes as they are (for Ed25519: hexadecimal digits).
    #[default]
    Text,
    /// Hexadecimal digits.
    Hex,
    /// Base64.
    Base64,
}

impl KeyForm {
    /// Lists the words of manifests.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("text", Self::Text),
        ("hex", Self::Hex),
        ("base64", Self::Base64),
    ];
}

/// Describes a generic signature.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// How it is made.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The header that holds it.
    pub header: String,
    /// What stands before it in the header.
    #[serde(default)]
    pub prefix: String,
    /// What stands between the parts of the header, when it has several: one character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<char>,
    /// How its bytes are written.
    #[serde(default)]
    pub encoding: Encoding,
    /// How the key is made of the secret.
    #[serde(default)]
    pub key: KeyForm,
    /// What is signed: text with `{body}`, `{timestamp}`, `{id}`, `{method}` and `{url}`.
    #[serde(default = "Signature::body_alone")]
    pub template: String,
    /// Where the time of signing is: `header:<name>`, `part:<prefix>` (in the signature's own header)
    /// or a JSON pointer into the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

impl Signature {
    /// The template where none is given.
    pub fn body_alone() -> String {
        "{body}".to_owned()
    }
}

/// Says where the provider's own id of a request is: what makes a repeat known as one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventId {
    /// In this header.
    Header(Cow<'static, str>),
    /// At this JSON pointer into the body (of a form: `/<field>`).
    Pointer(Cow<'static, str>),
    /// There is none, and equal bodies are the same request.
    Content,
    /// There is none, and every request is a new one.
    None,
}

impl EventId {
    /// Reads it as declarations write it: `header:<name>`, a JSON pointer, `content` or `none`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "content" => Some(Self::Content),
            "none" => Some(Self::None),
            pointer if pointer.starts_with('/') => Some(Self::Pointer(pointer.to_owned().into())),
            other => {
                let name = other.strip_prefix("header:")?;
                is_header_name(name).then(|| Self::Header(name.to_owned().into()))
            }
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Pointer(pointer) => f.write_str(pointer),
            Self::Content => f.write_str("content"),
            Self::None => f.write_str("none"),
        }
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "expected header:<name>, a JSON pointer, content or none, found {text:?}"
            ))
        })
    }
}

/// Tells whether `text` is a header's name.
pub(super) fn is_header_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
