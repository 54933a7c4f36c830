//! Requests of providers, as the daemon would have stored them.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use trunkline_broker::core::{HookAnswer, HookRequest};

use super::TestBroker;
use crate::http::form_text;
use crate::payload::Json;

/// Is a request of a webhook on its way: set options, then await it.
///
/// It is signed with the secret of the config, as its provider does, unless the test gives the signature;
/// what only the provider can sign is taken as it is. Challenges and the limits of the daemon's port are
/// not run.
#[must_use = "nothing is sent until it is awaited"]
pub struct SendWebhook<'a> {
    broker: &'a TestBroker,
    request: Request,
}

/// What a provider sends.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Request {
    pub(crate) kind: String,
    pub(crate) instance: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) query: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<String>,
    pub(crate) body_base64: Option<String>,
    pub(crate) form: Option<Json>,
}

impl TestBroker {
    /// Sends a provider's request to a webhook of the plugin.
    pub fn webhook(&self, kind: impl Into<String>) -> SendWebhook<'_> {
        self.provider_sends(Request {
            kind: kind.into(),
            ..Request::default()
        })
    }

    pub(crate) fn provider_sends(&self, request: Request) -> SendWebhook<'_> {
        SendWebhook {
            broker: self,
            request,
        }
    }
}

impl SendWebhook<'_> {
    /// Sends it to this instance, in place of `default`.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.request.instance = Some(instance.into());
        self
    }

    /// Gives it the provider's id; the same id twice is one request.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.request.id = Some(id.into());
        self
    }

    /// Sends it to the webhook of this name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.request.name = Some(name.into());
        self
    }

    /// Says which conversation it belongs to, as a webhook with `session` finds out.
    pub fn session(mut self, session: impl Into<String>) -> Self {
        self.request.session = Some(session.into());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        let name = name.to_ascii_lowercase();
        self.request.headers.insert(name, value.into());
        self
    }

    /// Sends JSON.
    pub fn json(self, body: impl Serialize) -> Self {
        let body = serde_json::to_string(&body).expect("a body has a JSON form");
        self.header("content-type", "application/json").body(body)
    }

    /// Sends a form: the members of an object, numbers and truth values as text.
    pub fn form(mut self, fields: impl Serialize) -> Self {
        let fields = serde_json::to_value(fields).expect("a form's fields have a JSON form");
        self.request.form = Some(fields);
        self
    }

    /// Sends these bytes.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        match String::from_utf8(body.into()) {
            Ok(text) => self.request.body = Some(text),
            Err(error) => self.request.body_base64 = Some(STANDARD.encode(error.into_bytes())),
        }
        self
    }
}

/// Is what a webhook's provider gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebhookAnswer {
    /// HTTP status: 200 once the request is durable, 202 where the plugin was too slow to answer itself.
    pub status: u16,
    /// The plugin's own headers.
    pub headers: BTreeMap<String, String>,
    /// The plugin's own body.
    pub body: Option<String>,
    /// The request's id was known: it was not stored again.
    pub duplicate: bool,
}

impl WebhookAnswer {
    fn of(answer: HookAnswer) -> Self {
        let plain = |status, duplicate| Self {
            status,
            headers: BTreeMap::new(),
            body: None,
            duplicate,
        };
        match answer {
            HookAnswer::Stored { is_duplicate, .. } => plain(200, is_duplicate),
            HookAnswer::Accepted { .. } => plain(202, false),
            HookAnswer::Respond(respond) => Self {
                headers: respond.headers,
                body: respond.body,
                ..plain(respond.status, false)
            },
            HookAnswer::Refused(error) => panic!("the request was refused: {error}"),
        }
    }
}

impl<'a> IntoFuture for SendWebhook<'a> {
    type Output = WebhookAnswer;
    type IntoFuture = Pin<Box<dyn Future<Output = WebhookAnswer> + Send + 'a>>;

    /// Stores the request, and waits for the plugin where it answers itself.
    ///
    /// # Panics
    /// Where the plugin has no such webhook, or the broker refuses the request.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Request {
                kind,
                instance,
                name,
                ..
            } = &self.request;
            let instance = instance.as_deref().unwrap_or("default");
            let sent = self.request.stored(instance);
            // A provider tells of what it got: what was sent before is handled first.
            self.broker.settle().await;
            let core = self.broker.core().read().await;
            let core = core.as_ref().expect("the broker runs");
            let answer = core.webhook(kind, instance, name.as_deref(), sent).await;
            let answer =
                answer.unwrap_or_else(|error| panic!("no webhook took the request: {error}"));
            WebhookAnswer::of(answer)
        })
    }
}

impl Request {
    fn path(&self, instance: &str) -> String {
        let path = format!("/hooks/{}/{instance}", self.kind);
        match &self.name {
            Some(name) => format!("{path}/{name}"),
            None => path,
        }
    }

    fn stored(&self, instance: &str) -> HookRequest {
        let (mut headers, mut body) = (self.headers.clone(), self.body.clone());
        if let Some(fields) = &self.form {
            let form = form_text(fields).unwrap_or_else(|error| panic!("{error}"));
            let media = "application/x-www-form-urlencoded".to_owned();
            headers.entry("content-type".to_owned()).or_insert(media);
            body = Some(form);
        }
        HookRequest {
            id: self.id.clone(),
            method: self.method.clone().unwrap_or_else(|| "POST".to_owned()),
            path: self.path(instance),
            query: self.query.clone(),
            headers: headers.into_iter().collect(),
            body,
            body_base64: self.body_base64.clone(),
            session: self.session.clone(),
            traceparent: None,
        }
    }
}
