//! What a failed call says, and what it means for whatever was being handled.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde_json::json;
use trunkline_contract::error::{Code, Error};
use trunkline_patterns::retry::{Class, Failed, Reached};

use crate::outcome::Failure;
use crate::payload::Json;

/// Says that a call outside failed: an answer of 400 and up, or none that can be used.
///
/// Left to itself (`?`), it settles what is being handled: what the server told to wait for waits
/// and does not count, what may go better later backs off, the rest is final.
///
/// ```
/// use trunkline::{Context, Json, Result};
///
/// async fn lookup(id: String, ctx: Context) -> Result<Option<Json>> {
///     let api = ctx.http().at("https://api.example.com");
///     match api.get(format!("/users/{id}")).await {
///         Ok(answer) => Ok(Some(answer.json()?)),
///         Err(error) if error.status() == Some(404) => Ok(None),
///         Err(error) => Err(error.into()),
///     }
/// }
/// ```
#[derive(Clone, PartialEq)]
pub struct HttpError(Box<Error>);

impl HttpError {
    /// Makes one of a call that failed.
    pub(super) fn failed(
        failed: &Failed,
        is_final: bool,
        method: &str,
        url: &str,
        said: &str,
    ) -> Self {
        let class = Class::of(failed);
        let is_retryable = !is_final && matches!(class, Class::Wait { .. } | Class::BackOff { .. });
        let mut error = Error::new(Code::HttpError, format!("{method} {url} {said}"));
        error.retry_after_ms = failed.retry_after_ms;
        Self(Box::new(error.detail(json!({
            "class": failed.reached.as_str(), "status": failed.status, "final": is_final,
            "retryable": is_retryable, "method": method, "url": url,
        }))))
    }

    /// Adds to what is kept for programs.
    pub(super) fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        if let Some(Json::Object(detail)) = &mut self.0.detail {
            detail.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Reads what an error of the catalogue says about a call, if it is one.
    pub fn of(error: &Error) -> Option<Self> {
        let http = Self(Box::new(error.clone()));
        (error.code == Code::HttpError && http.reached().is_some()).then_some(http)
    }

    fn detail(&self, name: &str) -> Option<&Json> {
        self.0.detail.as_ref()?.get(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.detail(name)?.as_str()
    }

    fn reached(&self) -> Option<Reached> {
        Reached::parse(self.text("class")?)
    }

    /// Gives the code: `http_error`; another when the call could not even be made.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Gives the status of the answer.
    pub fn status(&self) -> Option<u16> {
        u16::try_from(self.detail("status")?.as_u64()?).ok()
    }

    /// Says how far the call came: `not_sent`, `ambiguous` (sent, no answer), `answered`.
    pub fn class(&self) -> &str {
        self.text("class").unwrap_or(Reached::NotSent.as_str())
    }

    /// Says when to come back, as the server said it.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after_ms.map(Duration::from_millis)
    }

    /// Says whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable()
    }

    /// Gives where the call went, without its query and without what came from the config.
    pub fn url(&self) -> &str {
        self.text("url").unwrap_or_default()
    }

    /// Gives the beginning of the answer's body, as text.
    pub fn body(&self) -> Option<&str> {
        self.text("body")
    }

    /// Gives the error of the catalogue that it is.
    pub fn as_error(&self) -> &Error {
        &self.0
    }

    /// Says what to do about it.
    pub fn retry_class(&self) -> Option<Class> {
        let reached = self.reached()?;
        if self.detail("final").and_then(Json::as_bool) == Some(true) {
            return Some(Class::Final);
        }
        Some(Class::of(&Failed {
            reached,
            status: self.status(),
            retry_after_ms: self.0.retry_after_ms,
        }))
    }
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        Self(Box::new(error))
    }
}

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        *error.0
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body is for programs: it may be about people.
        f.debug_struct("HttpError")
            .field("code", &self.code())
            .field("status", &self.status())
            .field("class", &self.class())
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

impl StdError for HttpError {}

/// Reads what a failure says about a call outside, if it is about one.
pub(crate) fn http_error_of(failure: &Failure) -> Option<HttpError> {
    match failure.is::<HttpError>() {
        Some(error) => Some(error.clone()),
        None => HttpError::of(failure.is::<Error>()?),
    }
}

/// Says what a failure means for another try, if it is one of a call outside; none otherwise.
pub fn class_of(failure: &Failure) -> Option<Class> {
    http_error_of(failure)?.retry_class()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, retry_after_ms: Option<u64>) -> HttpError {
        let failed = Failed {
            reached: Reached::Answered,
            status: Some(status),
            retry_after_ms,
        };
        let said = format!("was answered with {status}");
        HttpError::failed(&failed, false, "GET", "https://a.example/x", &said)
    }

    #[test]
    fn an_error_reads_the_same_after_it_crossed_as_one_of_the_catalogue() {
        let error = answered(429, Some(3_000)).with("body", "slow down");
        let crossed = Error::from_rpc(&error.as_error().to_rpc());
        assert_eq!(HttpError::of(&crossed), Some(error.clone()));
        assert_eq!(
            class_of(&Failure::from(crossed)),
            Some(Class::Wait { after_ms: 3_000 })
        );
        assert_eq!(
            class_of(&Failure::from(error)),
            Some(Class::Wait { after_ms: 3_000 })
        );
    }

    #[test]
    fn what_a_person_reads_has_no_body_in_it() {
        let error = answered(404, None).with("body", "no user Jane Doe");
        assert!(!format!("{error} {error:?}").contains("Jane"));
        assert_eq!(error.body(), Some("no user Jane Doe"));
        assert!(!error.is_retryable() && answered(503, None).is_retryable());
    }

    #[test]
    fn other_failures_have_no_class() {
        assert_eq!(class_of(&Failure::new("something")), None);
        let other = Error::new(Code::StorageFull, "no room");
        assert_eq!(class_of(&Failure::from(other)), None);
        let bare = Error::new(Code::HttpError, "made by hand");
        assert_eq!(class_of(&Failure::from(bare)), None);
    }
}
