//! What a server answered.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::body::Bytes;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use trunkline_contract::error::{Code, Error};

use super::keep::Spool;

/// Is an answer below 400, read whole.
#[derive(Clone)]
pub struct Response {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The body, if it was wanted in a file.
    pub(super) kept: Option<Arc<Spool>>,
    pub(super) url: Url,
    /// Every redirect on the way was a permanent one, and there was one.
    pub(super) is_moved: bool,
}

impl Response {
    /// Gives the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Gives a header by its name in any case; none for one that is missing or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Gives the headers that are text, their names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.headers.iter();
        headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// Gives the body as text; what is no UTF-8 becomes replacement characters.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// `invalid_payload` for a body that is no JSON, or no `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let text = format!("the answer ({}) does not fit: {error}", self.status);
            Error::new(Code::InvalidPayload, text)
        })
    }

    /// Gives the body's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Gives where the resource is from now on, when the server said so by permanent redirects.
    pub fn moved_to(&self) -> Option<&str> {
        self.is_moved.then_some(self.url.as_str())
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
