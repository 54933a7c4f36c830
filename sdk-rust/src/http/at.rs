//! Where calls go, and as whom: said once, as data.

use std::sync::Arc;

use reqwest::Method;
use tokio::time::Instant;

use super::request::HttpRequest;
use super::transfer::{Download, Upload};
use crate::blob::BlobRef;
use crate::instance::InstanceCore;

/// Makes calls to HTTP servers outside.
///
/// ```
/// use serde_json::json;
/// use trunkline::{Context, Json, Result};
///
/// async fn create(customer: String, ctx: Context) -> Result<Json> {
///     let stripe = ctx.http().at("https://api.stripe.com/v1").bearer("{config.api_key}");
///     let call = stripe.post("/invoices").form(json!({ "customer": customer }));
///     Ok(call.idempotency_key(ctx.idempotency_key()).await?.json()?)
/// }
/// ```
#[derive(Clone)]
pub struct Http {
    core: Arc<InstanceCore>,
    deadline: Option<Instant>,
}

impl Http {
    pub(crate) fn new(core: Arc<InstanceCore>, deadline: Option<Instant>) -> Self {
        Self { core, deadline }
    }

    /// Begins calls to a server. `{config.key}` in the base, and in what is set on the result, is
    /// filled in from the instance's config.
    pub fn at(&self, base: impl Into<String>) -> HttpAt {
        HttpAt {
            base: Some(base.into()),
            ..self.anywhere()
        }
    }

    /// Begins calls to any server.
    pub(crate) fn anywhere(&self) -> HttpAt {
        HttpAt {
            core: self.core.clone(),
            deadline: self.deadline,
            base: None,
            auth: None,
            headers: Vec::new(),
            is_guarded: false,
        }
    }

    /// Gets what is at a URL, which is taken as it is.
    pub fn get(&self, url: impl Into<String>) -> HttpRequest {
        self.anywhere().get(url)
    }

    /// Posts to a URL.
    pub fn post(&self, url: impl Into<String>) -> HttpRequest {
        self.anywhere().post(url)
    }

    /// Puts to a URL.
    pub fn put(&self, url: impl Into<String>) -> HttpRequest {
        self.anywhere().put(url)
    }

    /// Patches what is at a URL.
    pub fn patch(&self, url: impl Into<String>) -> HttpRequest {
        self.anywhere().patch(url)
    }

    /// Deletes what is at a URL.
    pub fn delete(&self, url: impl Into<String>) -> HttpRequest {
        self.anywhere().delete(url)
    }

    /// Makes a call of any method to a URL.
    pub fn request(&self, method: &str, url: impl Into<String>) -> HttpRequest {
        self.anywhere().request(method, url)
    }

    /// Makes what is at a URL a blob; see [`HttpAt::download`].
    pub fn download(&self, url: impl Into<String>) -> Download {
        self.anywhere().download(url)
    }

    /// Sends a blob to a URL; see [`HttpAt::upload`].
    pub fn upload(&self, url: impl Into<String>, blob: &BlobRef) -> Upload {
        self.anywhere().upload(url, blob)
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

/// Who the caller is.
#[derive(Clone)]
pub(super) enum Auth {
    Bearer(String),
    Basic(String, String),
}

/// Makes calls to one server, as one caller. Cloning is cheap; it can be kept.
#[derive(Clone)]
pub struct HttpAt {
    pub(super) core: Arc<InstanceCore>,
    pub(super) deadline: Option<Instant>,
    pub(super) base: Option<String>,
    pub(super) auth: Option<Auth>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) is_guarded: bool,
}

impl HttpAt {
    /// Sends `Authorization: Bearer …` with each call.
    pub fn bearer(mut self, token: impl Into<String>) -> Self {
        self.auth = Some(Auth::Bearer(token.into()));
        self
    }

    /// Sends `Authorization: Basic …` with each call.
    pub fn basic(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.auth = Some(Auth::Basic(user.into(), password.into()));
        self
    }

    /// Sends a header with each call.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Calls public addresses only: for URLs that come from outside, so that nobody reaches through
    /// the plugin what only the plugin can reach.
    pub fn guard(mut self) -> Self {
        self.is_guarded = true;
        self
    }

    /// Gets what is under the base at a path.
    pub fn get(&self, path: impl Into<String>) -> HttpRequest {
        self.of(Method::GET, path)
    }

    /// Posts to a path.
    pub fn post(&self, path: impl Into<String>) -> HttpRequest {
        self.of(Method::POST, path)
    }

    /// Puts to a path.
    pub fn put(&self, path: impl Into<String>) -> HttpRequest {
        self.of(Method::PUT, path)
    }

    /// Patches what is at a path.
    pub fn patch(&self, path: impl Into<String>) -> HttpRequest {
        self.of(Method::PATCH, path)
    }

    /// Deletes what is at a path.
    pub fn delete(&self, path: impl Into<String>) -> HttpRequest {
        self.of(Method::DELETE, path)
    }

    /// Makes a call of any method.
    pub fn request(&self, method: &str, path: impl Into<String>) -> HttpRequest {
        let read = Method::from_bytes(method.to_ascii_uppercase().as_bytes());
        let request = self.of(read.as_ref().cloned().unwrap_or_default(), path);
        match read {
            Ok(_) => request,
            Err(_) => request.refuse_method(method),
        }
    }

    /// Makes what is under the base at a path a blob, piece by piece: set options, then await it.
    /// Tried again as a GET is.
    pub fn download(&self, path: impl Into<String>) -> Download {
        Download::new(self.get(path))
    }

    /// Posts a blob to a path, piece by piece, as the body or as a part of a form: set options,
    /// then await it.
    pub fn upload(&self, path: impl Into<String>, blob: &BlobRef) -> Upload {
        Upload::new(self.post(path), blob)
    }

    fn of(&self, method: Method, path: impl Into<String>) -> HttpRequest {
        HttpRequest::new(self.clone(), method, path.into())
    }
}

impl std::fmt::Debug for HttpAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpAt")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}
