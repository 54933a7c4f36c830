//! One call, being put together; awaiting it makes it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use std::borrow::Cow;

use hyper::body::Bytes;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value as Json;
use trunkline_contract::error::{Code, Error};

use super::TIMEOUT;
use super::at::HttpAt;
use super::content::Content;
use super::error::HttpError;
use super::keep::Save;
use super::response::Response;
use crate::duration::IntoDuration;

/// What a call carries.
#[derive(Default)]
pub(crate) struct Body {
    pub(crate) content: Content,
    pub(crate) media_type: Option<Cow<'static, str>>,
}

/// Is a call: set options on it, then await it for the [`Response`].
///
/// Cancel safety: dropped while it waits, the call may or may not have happened.
#[must_use = "nothing is sent until it is awaited"]
pub struct HttpRequest {
    pub(super) at: HttpAt,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body,
    /// The body of a good answer goes to a file.
    pub(super) save: Option<Save>,
    pub(super) timeout: Duration,
    pub(super) idempotency_key: Option<String>,
    pub(super) fault: Option<Error>,
}

impl HttpRequest {
    pub(super) fn new(at: HttpAt, method: Method, path: String) -> Self {
        Self {
            at,
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::default(),
            save: None,
            timeout: TIMEOUT,
            idempotency_key: None,
            fault: None,
        }
    }

    pub(super) fn refuse(mut self, text: impl Into<String>) -> Self {
        self.fault
            .get_or_insert_with(|| Error::new(Code::InvalidArguments, text));
        self
    }

    pub(super) fn refuse_method(self, method: &str) -> Self {
        self.refuse(format!("expected a method like GET, found {method:?}"))
    }

    /// Sends a JSON body.
    pub fn json(self, body: impl Serialize) -> Self {
        match serde_json::to_vec(&body) {
            Ok(bytes) => self.carry(bytes.into(), "application/json"),
            Err(error) => self.refuse(format!("the body has no JSON form: {error}")),
        }
    }

    /// Sends a form: an object of texts, numbers, booleans, or lists of these; null is left out.
    pub fn form(self, fields: impl Serialize) -> Self {
        match form_text(fields) {
            Ok(form) => self.carry(form.into(), "application/x-www-form-urlencoded"),
            Err(error) => self.refuse(error),
        }
    }

    /// Sends bytes; say what they are with `header("content-type", …)`.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body {
            content: Content::from(Bytes::from(body.into())),
            media_type: None,
        };
        self
    }

    pub(crate) fn carry(mut self, bytes: Bytes, media_type: &'static str) -> Self {
        self.body = Body {
            content: bytes.into(),
            media_type: Some(media_type.into()),
        };
        self
    }

    /// Adds to the query: an object as for [`form`](Self::form).
    pub fn query(mut self, fields: impl Serialize) -> Self {
        match pairs("query", fields) {
            Ok(pairs) => {
                self.query.extend(pairs);
                self
            }
            Err(error) => self.refuse(error),
        }
    }

    /// Sends a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Says how long one try may take; the time that is left for what is being handled bounds it.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        match timeout.into_duration() {
            Ok(timeout) => self.timeout = timeout,
            Err(error) => self.fault = self.fault.or(Some(error)),
        }
        self
    }

    /// Sends `Idempotency-Key`: the server does it once however often it is asked, so the call is
    /// tried again as a GET is.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

impl IntoFuture for HttpRequest {
    type Output = Result<Response, HttpError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(super::call::perform(self))
    }
}

impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("base", &self.at.base)
            .finish_non_exhaustive()
    }
}

/// Writes a form: an object of texts, numbers, booleans, or lists of these; null is left out.
///
/// # Errors
/// What else was found.
pub(crate) fn form_text(fields: impl Serialize) -> Result<String, String> {
    Ok(encode(&pairs("form", fields)?))
}

/// Reads an object as pairs of texts.
pub(super) fn pairs(what: &str, fields: impl Serialize) -> Result<Vec<(String, String)>, String> {
    let fields = serde_json::to_value(fields).map_err(|error| format!("a {what}: {error}"))?;
    let Json::Object(fields) = fields else {
        return Err(format!("expected a {what} with names and values"));
    };
    let mut pairs = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let values = match value {
            Json::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            let text = match value {
                Json::Null => continue,
                Json::String(text) => text,
                Json::Bool(value) => value.to_string(),
                Json::Number(value) => value.to_string(),
                Json::Array(_) | Json::Object(_) => {
                    return Err(format!(
                        "expected texts and numbers in a {what}, found more at {name:?}"
                    ));
                }
            };
            pairs.push((name.clone(), text));
        }
    }
    Ok(pairs)
}

fn encode(pairs: &[(String, String)]) -> String {
    let mut url = reqwest::Url::parse("http://form/").expect("a valid URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms_take_texts_numbers_and_lists() {
        let form = json!({ "to": "+49 1&2", "n": 3, "ok": true, "none": null, "tag": ["a", "b"] });
        let encoded = encode(&pairs("form", form).unwrap());
        assert_eq!(encoded, "to=%2B49+1%262&n=3&ok=true&tag=a&tag=b");
        assert_eq!(encode(&[]), "");
        assert!(pairs("form", json!({ "a": { "b": 1 } })).is_err());
        assert!(pairs("form", json!("a=b")).is_err());
    }
}
