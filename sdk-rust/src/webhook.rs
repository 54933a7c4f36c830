//! Webhooks: what a provider sends becomes events.
//!
//! The daemon owns the port. It verifies the raw bytes, answers challenges, drops repeats, stores the
//! request and answers 2xx; only then is the request an event, and handled here like every other one:
//! at least once, with its events in the commit that settles it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::HANDLER_TIMEOUT_MS;
use trunkline_contract::topic::Filter;
use trunkline_contract::webhook::{EventId, Scheme, Signature, Webhook as Declaration};

use crate::dispatch::{Route, Takes};
use crate::duration::IntoDuration;
use crate::engine::{Engine, Registered};
use crate::handler::{Handler, Work, forget};
use crate::incoming::Incoming;
use crate::outcome::{Reject, Result};
use crate::settle::Mode;

pub(crate) mod declared;

/// Is a request that the daemon verified and stored.
///
/// ```
/// use trunkline::WebhookRequest;
///
/// let request: WebhookRequest = serde_json::from_str(
///     r#"{"id": "1", "method": "POST", "headers": {"x-github-event": "issues"}, "body": "{\"n\":7}"}"#,
/// )?;
/// assert_eq!(request.header("X-GitHub-Event"), Some("issues"));
/// assert_eq!(request.json::<serde_json::Value>()?["n"], 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WebhookRequest {
    /// The provider's id of it, else the event's.
    pub id: String,
    /// Which of the kind's webhooks it came by, where they have names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// HTTP method, in capitals.
    #[serde(default)]
    pub method: String,
    /// The path it was sent to.
    #[serde(default)]
    pub path: String,
    /// What stands after `?`.
    #[serde(default)]
    pub query: String,
    /// Headers by their names in small letters; several of one name are joined by `, `.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The exact body, where it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The exact body, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl WebhookRequest {
    /// Gives a header; its name may be written in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.get(&name.to_ascii_lowercase());
        found.map(String::as_str)
    }

    /// Gives the body's exact bytes.
    ///
    /// # Errors
    /// [`Reject`] with the code `invalid_payload` where the event is not one that the daemon wrote.
    pub fn bytes(&self) -> Result<Vec<u8>, Reject> {
        match (&self.body, &self.body_base64) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map_err(|error| misfit(&format!("expected base64: {error}"))),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Gives the body, where it is text.
    ///
    /// # Errors
    /// [`Reject`] with the code `invalid_payload` where it is not UTF-8.
    pub fn text(&self) -> Result<&str, Reject> {
        match (&self.body, &self.body_base64) {
            (Some(text), _) => Ok(text),
            (None, None) => Ok(""),
            (None, Some(_)) => Err(misfit("expected a body of UTF-8")),
        }
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`Reject`] with the code `invalid_payload` where it is none, or does not fit the type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Reject> {
        let text = self.text()?;
        serde_json::from_str(text).map_err(|error| misfit(&format!("expected JSON: {error}")))
    }
}

fn misfit(text: &str) -> Reject {
    Reject::new(format!("the request's body: {text}")).code(Code::InvalidPayload.as_str())
}

/// Handles the requests of a provider; what it returns becomes durable with the ack.
///
/// ```
/// use serde_json::{Value, json};
/// use trunkline::{Event, Plugin, Result, Webhook, WebhookRequest};
///
/// async fn hook(request: WebhookRequest) -> Result<Option<Event>> {
///     let body: Value = request.json()?;
///     if request.header("x-github-event") != Some("issues") || body["action"] != "opened" {
///         return Ok(None);
///     }
///     let issue = &body["issue"];
///     Ok(Some(Event::inbound(json!({
///         "text": issue["title"], "conversation": { "id": issue["html_url"] },
///     }))))
/// }
///
/// let plugin = Plugin::new("github")
///     .webhook(Webhook::new("github", hook).verify("github").secret("{config.webhook_secret}"));
/// # drop(plugin);
/// ```
#[derive(Clone)]
pub struct Webhook {
    kind: String,
    name: Option<String>,
    verify: Option<Result<Scheme, Error>>,
    secret: Vec<String>,
    rest: WebhookOptions,
    respond: Option<Result<Duration, Error>>,
    tolerance: Option<Result<Duration, Error>>,
    timeout: Result<Duration, Error>,
    work: Work,
}

/// What else may be declared of a webhook.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookOptions {
    /// The signature, for `verify("generic")`.
    pub signature: Option<Signature>,
    /// Where the provider's id is, when not where the scheme has it.
    pub id: Option<EventId>,
    /// JSON pointer into the body to what becomes the request's session: its requests are handled in order.
    pub session: Option<String>,
    /// Methods taken besides POST.
    pub methods: Option<Vec<String>>,
    /// Largest body, in bytes.
    pub body_bytes_max: Option<u64>,
    /// Media types taken; none: any.
    pub content_types: Vec<String>,
    /// The word that Meta's GET has to bring: a text with `{config.<key>}`.
    pub verify_token: Option<String>,
    /// Who may ask for the handshake of CloudEvents' webhooks.
    pub origins: Vec<String>,
}

impl Webhook {
    /// Handles `plugin.hook.<kind>.<this instance>`. Without [`verify`](Self::verify) the manifest has the
    /// declaration.
    pub fn new<Args: 'static>(kind: impl Into<String>, handler: impl Handler<Args>) -> Self {
        Self {
            kind: kind.into(),
            name: None,
            verify: None,
            secret: Vec::new(),
            rest: WebhookOptions::default(),
            respond: None,
            tolerance: None,
            timeout: Ok(Duration::from_millis(HANDLER_TIMEOUT_MS)),
            work: Work::Call(forget(handler)),
        }
    }

    /// Tells it from others of its kind: the last part of its path.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Says whose signature the requests bear: `github`, `slack`, `stripe`, `standard`, `generic`, ….
    pub fn verify(mut self, scheme: &str) -> Self {
        let known = Scheme::WORDS.iter().find(|(word, _)| *word == scheme);
        let words: Vec<_> = Scheme::WORDS.iter().map(|(word, _)| *word).collect();
        let unknown = format!(
            "expected verify = one of {}, found {scheme:?}",
            words.join(", ")
        );
        self.verify = Some(
            known
                .map(|(_, scheme)| *scheme)
                .ok_or_else(|| Error::new(Code::InvalidArguments, unknown)),
        );
        self
    }

    /// Adds a secret, a text with `{config.<key>}`; a request signed with any of them is taken.
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secret.push(secret.into());
        self
    }

    /// Lets the provider wait for the batch's [`ack`](crate::Batch::ack), at most this long.
    pub fn respond(mut self, within: impl IntoDuration) -> Self {
        self.respond = Some(within.into_duration());
        self
    }

    /// Says how old, and how far ahead, a signature may be.
    pub fn tolerance(mut self, tolerance: impl IntoDuration) -> Self {
        self.tolerance = Some(tolerance.into_duration());
        self
    }

    /// Says how long handling one request may take.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.timeout = timeout.into_duration();
        self
    }

    /// Says what else is to be declared.
    pub fn options(mut self, options: WebhookOptions) -> Self {
        self.rest = options;
        self
    }

    /// Handles by somebody else.
    #[cfg(feature = "host")]
    pub(crate) fn work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    fn declaration(&self) -> Result<Option<Declaration>, Error> {
        let Some(verify) = &self.verify else {
            if self.secret.is_empty() {
                return Ok(None);
            }
            let text = format!(
                "expected verify beside the secret of webhook {:?}",
                self.kind
            );
            return Err(Error::new(Code::InvalidArguments, text));
        };
        let made = Declaration::new(&self.kind, verify.clone()?, "");
        let rest = self.rest.clone();
        let declared = Declaration {
            name: self.name.clone(),
            secret: self.secret.clone(),
            signature: rest.signature,
            id: rest.id,
            session: rest.session,
            respond: self.respond.clone().transpose()?,
            methods: rest.methods.unwrap_or_else(|| made.methods.clone()),
            body_bytes_max: rest.body_bytes_max,
            content_types: rest.content_types,
            tolerance: self.tolerance.clone().transpose()?,
            verify_token: rest.verify_token,
            origins: rest.origins,
            ..made
        };
        declared.check().map_err(|(key, text)| {
            let text = format!("webhook {:?}, {key}: {text}", declared.label());
            Error::new(Code::InvalidArguments, text)
        })?;
        Ok(Some(declared))
    }

    pub(crate) fn registered(self) -> Registered {
        let webhook = self.declaration()?;
        let label = match &self.name {
            Some(name) => format!("webhook {}/{name}", self.kind),
            None => format!("webhook {}", self.kind),
        };
        let takes = self.name.map(|name| -> Takes {
            Arc::new(move |incoming: &Incoming| is_named(incoming, Some(&name)))
        });
        let route = Route {
            name: None,
            filters: vec![Filter::parse(&format!("plugin.hook.{}.>", self.kind))?],
            mode: Mode::On,
            timeout: self.timeout?,
            is_manual: false,
            work: self.work,
            takes,
        };
        Ok(Engine {
            name: label,
            kind: self.kind,
            routes: vec![route],
            webhook,
            timers: Vec::new(),
            connect: None,
        })
    }
}

/// Says whether an event is a request of the webhook of this name, or of the one without.
fn is_named(incoming: &Incoming, name: Option<&str>) -> bool {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, default)]
        name: Option<Cow<'a, str>>,
    }
    let named = serde_json::from_str::<Named<'_>>(incoming.payload());
    named.is_ok_and(|named| named.name.as_deref() == name)
}
