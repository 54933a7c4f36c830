//! What every fake is made of: a server on a port of its own, its state, and who waits for a change of it.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The state of a fake, and word of its changes.
#[derive(Debug)]
pub struct Stage<S>(Arc<watch::Sender<S>>);

impl<S> Clone for Stage<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Stage<S> {
    /// Begins with a state.
    pub fn new(state: S) -> Self {
        Self(Arc::new(watch::Sender::new(state)))
    }

    /// Reads it.
    pub fn look<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        look(&self.0.borrow())
    }

    /// Changes it, and wakes who waits.
    pub fn change<R>(&self, change: impl FnOnce(&mut S) -> R) -> R {
        let mut result = None;
        self.0.send_modify(|state| result = Some(change(state)));
        result.expect("the change was made")
    }

    /// Waits until `find` finds something in it.
    ///
    /// Cancel safety: nothing is changed by waiting.
    pub async fn until<R>(&self, mut find: impl FnMut(&S) -> Option<R>) -> R {
        let mut changes = self.0.subscribe();
        loop {
            let found = find(&changes.borrow_and_update());
            if let Some(found) = found {
                return found;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// A fake while it plays: it ends with this.
#[derive(Debug)]
pub struct Server<S> {
    stage: Stage<S>,
    /// Taken at the end alone.
    runtime: Option<Runtime>,
}

impl<S: Send + Sync + 'static> Server<S> {
    /// Starts one with a thread of its own.
    ///
    /// # Panics
    /// When the machine has no threads left.
    pub fn start(state: S) -> Self {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        Self {
            stage: Stage::new(state),
            runtime: Some(runtime.expect("the machine has a thread left")),
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken at the end alone")
    }

    /// Its state.
    pub fn stage(&self) -> &Stage<S> {
        &self.stage
    }

    /// Binds a port of this machine; gives the address.
    ///
    /// # Panics
    /// When no port is free.
    pub fn bind(&self) -> (TcpListener, String) {
        let bound = self.runtime().block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = bound.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        (listener, address)
    }

    /// Serves HTTP; gives the address.
    pub fn http(&self, router: Router) -> String {
        let (listener, address) = self.bind();
        self.spawn(async move {
            // It ends with the fake.
            axum::serve(listener, router).await.ok();
        });
        address
    }

    /// Plays something beside the rest.
    pub fn spawn(&self, play: impl Future<Output = ()> + Send + 'static) {
        self.runtime().spawn(play);
    }

    /// Waits until `find` finds something in the state.
    ///
    /// # Panics
    /// With `what` and the state when it takes too long.
    pub fn wait<R>(&self, what: &str, find: impl FnMut(&S) -> Option<R>) -> R
    where
        S: std::fmt::Debug,
    {
        let waited = self
            .runtime()
            .block_on(async { tokio::time::timeout(PATIENCE, self.stage.until(find)).await });
        waited.unwrap_or_else(|_| {
            self.stage
                .look(|state| panic!("expected {what}, found {state:#?}"))
        })
    }
}

impl<S> Drop for Server<S> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The arguments of a call, of its query and of its body, be it JSON or a form.
pub fn arguments(uri: &Uri, headers: &HeaderMap, body: &Bytes) -> BTreeMap<String, Value> {
    let mut given = pairs(uri);
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/json") {
        if let Ok(Value::Object(members)) = serde_json::from_slice(body) {
            given.extend(members);
        }
    } else if kind.starts_with("application/x-www-form-urlencoded")
        && let Ok(form) = format!("/?{}", String::from_utf8_lossy(body)).parse()
    {
        given.extend(pairs(&form));
    }
    given
}

/// The pairs of a query.
pub fn pairs(uri: &Uri) -> BTreeMap<String, Value> {
    let read = Query::<HashMap<String, String>>::try_from_uri(uri);
    let pairs = read.map(|Query(pairs)| pairs).unwrap_or_default();
    pairs
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect()
}

/// A number, which may be given as text.
pub fn number(given: &BTreeMap<String, Value>, name: &str) -> Option<i64> {
    let value = given.get(name)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A text, which may be given as a number.
pub fn text(given: &BTreeMap<String, Value>, name: &str) -> String {
    match given.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// The credential that a request has after `scheme`.
pub fn credential<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix(scheme)?.strip_prefix(' ')
}

/// An answer of JSON.
///
/// # Panics
/// When the status is none.
pub fn json_answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a status of HTTP");
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
}

/// Adds a header to an answer.
///
/// # Panics
/// When the value is none.
pub fn with_header(mut answer: Response, name: &'static str, value: &str) -> Response {
    let value = HeaderValue::from_str(value).expect("a value of a header");
    answer.headers_mut().insert(name, value);
    answer
}
