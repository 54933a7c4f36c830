//! One declared webhook.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::scheme::{EventId, Scheme, Signature, is_header_name};
use super::source::{PartFields, ReceiptFields};
use crate::id;
use crate::limits;

/// Says how long a webhook waits for its plugin's own answer.
pub type Respond = Duration;

/// Describes a webhook that a plugin receives: where, whose signature, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The channel kind it belongs to.
    pub kind: String,
    /// Its name, when a kind has several: the last segment of its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whose signature a request bears.
    pub verify: Scheme,
    /// The secrets, each a text with `{config.<key>}`; a request signed with any of them is taken.
    #[serde(alias = "secrets", deserialize_with = "one_or_many")]
    pub secret: Vec<String>,
    /// The signature, for [`Scheme::Generic`] and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Where the provider's id is, when not where the scheme has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// JSON pointer to what becomes the event's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// How long the request waits for `respond` of the commit that settles it; none: not at all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "duration_text"
    )]
    pub respond: Option<Respond>,
    /// Methods taken besides those of the scheme's challenges.
    #[serde(default = "post_alone")]
    pub methods: Vec<String>,
    /// Largest body; none: what an event holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
    /// Media types taken (`application/json`); none: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content_types: Vec<String>,
    /// How old, and how far ahead, a signature may be, when not what the scheme has.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "duration_text"
    )]
    pub tolerance: Option<Duration>,
    /// The word that Meta's GET has to bring: a text with `{config.<key>}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_token: Option<String>,
    /// Who may ask for the handshake of CloudEvents' webhooks (`WebHook-Request-Origin`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// Each request is a part for the kind's assembler, without a handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartFields>,
    /// Each request tells the state of a message that was sent, without a handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptFields>,
}

impl Webhook {
    /// Makes the plainest declaration.
    pub fn new(kind: &str, verify: Scheme, secret: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            name: None,
            verify,
            secret: vec![secret.to_owned()],
            signature: None,
            id: None,
            session: None,
            respond: None,
            methods: post_alone(),
            body_bytes_max: None,
            content_types: Vec::new(),
            tolerance: None,
            verify_token: None,
            origins: Vec::new(),
            part: None,
            receipt: None,
        }
    }

    /// Names it in texts: its kind, and its name when it has one.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{}/{name}", self.kind),
            None => self.kind.clone(),
        }
    }

    /// Checks what no type says.
    ///
    /// # Errors
    /// The key at fault, and what was expected and found.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |key, text: String| Err((key, text));
        if !id::is_instance_name(&self.kind) {
            return wrong(
                "kind",
                format!("expected a channel kind, found {:?}", self.kind),
            );
        }
        if let Some(name) = &self.name
            && !id::is_instance_name(name)
        {
            return wrong(
                "name",
                format!("expected a name as an instance has, found {name:?}"),
            );
        }
        let most = limits::WEBHOOK_SECRETS_MAX;
        if self.secret.is_empty() || self.secret.len() > most {
            let found = self.secret.len();
            return wrong(
                "secret",
                format!("expected 1 to {most} secrets, found {found}"),
            );
        }
        for text in self.secret.iter().chain(&self.verify_token) {
            let found = references(text);
            if found.as_ref().map_or(true, Vec::is_empty) {
                let text = format!("expected a text with {{config.<key>}}, found {text:?}");
                return wrong("secret", text);
            }
        }
        if let Some(pointer) = &self.session
            && !pointer.starts_with('/')
        {
            let text = format!("expected a JSON pointer, found {pointer:?}");
            return wrong("session", text);
        }
        self.check_signature()?;
        self.check_source()?;
        self.check_http()
    }

    fn check_signature(&self) -> Result<(), (&'static str, String)> {
        let generic = self.verify == Scheme::Generic;
        let signature = match (&self.signature, generic) {
            (Some(signature), true) => signature,
            (None, false) => return Ok(()),
            (Some(_), false) => {
                let text = format!("expected no signature with verify = \"{}\"", self.verify);
                return Err(("signature", text));
            }
            (None, true) => {
                let text = "expected signature = { header = \"…\" } with verify = \"generic\"";
                return Err(("signature", text.to_owned()));
            }
        };
        if !is_header_name(&signature.header) {
            let text = format!(
                "expected the name of a header, found {:?}",
                signature.header
            );
            return Err(("signature", text));
        }
        let names = place_holders(&signature.template).map_err(|text| ("signature", text))?;
        let has = |name: &str| names.contains(&name);
        let is_token = signature.algorithm == super::Algorithm::Token;
        if !has("body") && !is_token {
            let text = "expected {body} in the template: what is not signed is not taken";
            return Err(("signature", text.to_owned()));
        }
        if has("timestamp") && signature.timestamp.is_none() {
            let text = "expected timestamp = \"header:…\" with {timestamp} in the template";
            return Err(("signature", text.to_owned()));
        }
        if let Some(place) = &signature.timestamp {
            let known = place.starts_with('/')
                || place.strip_prefix("header:").is_some_and(is_header_name)
                || place
                    .strip_prefix("part:")
                    .is_some_and(|part| !part.is_empty());
            if !known {
                let text = format!(
                    "expected header:<name>, part:<prefix> or a JSON pointer, found {place:?}"
                );
                return Err(("signature", text));
            }
            let is_signed = has("timestamp") || place.starts_with('/');
            if !is_signed && !is_token {
                let text = "expected {timestamp} in the template: an unsigned time proves nothing";
                return Err(("signature", text.to_owned()));
            }
        }
        if has("id") && !matches!(self.id, Some(EventId::Header(_))) {
            let text = "expected id = \"header:…\" with {id} in the template";
            return Err(("id", text.to_owned()));
        }
        Ok(())
    }

    fn check_http(&self) -> Result<(), (&'static str, String)> {
        const METHODS: &[&str] = &["POST", "PUT", "PATCH", "DELETE", "GET"];
        if self.methods.is_empty() {
            return Err(("methods", "expected at least one method".to_owned()));
        }
        for method in &self.methods {
            if !METHODS.contains(&method.as_str()) {
                let text = format!("expected one of {}, found {method:?}", METHODS.join(", "));
                return Err(("methods", text));
            }
        }
        if let Some(respond) = self.respond {
            let most = Duration::from_millis(limits::WEBHOOK_RESPOND_MS_MAX);
            if respond.is_zero() || respond > most {
                let text = format!("expected more than 0 and at most {most:?}, found {respond:?}");
                return Err(("respond", text));
            }
        }
        if self.body_bytes_max == Some(0) {
            return Err(("body_bytes_max", "expected at least 1 byte".to_owned()));
        }
        Ok(())
    }
}

fn post_alone() -> Vec<String> {
    vec!["POST".to_owned()]
}

/// Finds the keys of `{config.<key>}` in a text.
///
/// # Errors
/// The part in braces that is no such thing.
pub(super) fn references(text: &str) -> Result<Vec<&str>, &str> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let inside = &rest[start + 1..];
        let end = inside.find('}').ok_or(&rest[start..])?;
        let key = inside[..end].strip_prefix("config.");
        keys.push(key.filter(|key| !key.is_empty()).ok_or(&inside[..end])?);
        rest = &inside[end + 1..];
    }
    Ok(keys)
}

impl Webhook {
    /// Lists the config keys that its secrets name.
    pub fn config_keys(&self) -> impl Iterator<Item = &str> {
        let texts = self.secret.iter().chain(&self.verify_token);
        texts.flat_map(|text| references(text).unwrap_or_default())
    }

    /// Puts the values of config keys in place of `{config.<key>}`.
    ///
    /// # Errors
    /// The first key that `value_of` does not have.
    pub fn filled(text: &str, value_of: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let Some(end) = rest[start..].find('}') else {
                break;
            };
            let inside = &rest[start + 1..start + end];
            let key = inside.strip_prefix("config.").ok_or(inside)?;
            filled.push_str(&rest[..start]);
            filled.push_str(&value_of(key).ok_or(key)?);
            rest = &rest[start + end + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// The names in braces of a template.
fn place_holders(template: &str) -> Result<Vec<&str>, String> {
    const KNOWN: &[&str] = &["body", "timestamp", "id", "method", "url"];
    let mut names = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let inside = &rest[start + 1..];
        let end = inside
            .find('}')
            .ok_or_else(|| format!("expected a closing brace in the template {template:?}"))?;
        let name = &inside[..end];
        if !KNOWN.contains(&name) {
            let known = KNOWN.join("}, {");
            return Err(format!(
                "expected {{{known}}} in the template, found {{{name}}}"
            ));
        }
        names.push(name);
        rest = &inside[end + 1..];
    }
    Ok(names)
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Secrets;
    impl<'de> serde::de::Visitor<'de> for Secrets {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a secret or a list of secrets")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut items: A,
        ) -> Result<Self::Value, A::Error> {
            let mut secrets = Vec::new();
            while let Some(secret) = items.next_element()? {
                secrets.push(secret);
            }
            Ok(secrets)
        }
    }
    deserializer.deserialize_any(Secrets)
}

/// Durations as people write them.
mod duration_text {
    use std::borrow::Cow;
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::ref_option,
        reason = "serde calls it with a reference to the field"
    )]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(crate::duration::format).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<Cow<'_, str>>::deserialize(deserializer)?;
        let parse = |text: Cow<'_, str>| {
            crate::duration::parse(&text).map_err(|_| {
                serde::de::Error::custom(format!("expected a duration as \"3s\", found {text:?}"))
            })
        };
        text.map(parse).transpose()
    }
}
