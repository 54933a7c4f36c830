//! `/mcp` over HTTP: one MCP server per caller, kept between requests.
//!
//! The caller is who its token says: the gateway has checked it before a request comes here. A session belongs to the
//! token that opened it, and is unknown under any other.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use hyper::body::Body;
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::sync::watch;

use super::handler::Handler;
use super::limits::{CALLERS_MAX, SESSION_IDLE, SESSIONS_MAX};
use super::tools::Tools;
use crate::config::McpNames;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Tells a caller from others: a digest of its token.
pub(crate) type CallerKey = [u8; 32];

/// What the endpoint is made of.
#[derive(Debug, Clone)]
pub(crate) struct EndpointOptions {
    /// Hosts that may stand in `Host`.
    pub(crate) hosts: Vec<String>,
    /// Origins that may stand in `Origin`.
    pub(crate) origins: Vec<String>,
    /// Largest request.
    pub(crate) request_bytes_max: usize,
    /// Names that the operator gives.
    pub(crate) names: watch::Receiver<Arc<McpNames>>,
}

/// Serves MCP over HTTP to every caller.
pub(crate) struct Endpoint<T> {
    config: StreamableHttpServerConfig,
    names: watch::Receiver<Arc<McpNames>>,
    callers: Mutex<Callers<T>>,
}

struct Callers<T> {
    by_key: HashMap<CallerKey, (u64, Arc<Caller<T>>)>,
    /// Counts uses, so that the longest idle is known.
    used: u64,
}

struct Caller<T> {
    handler: Handler<T>,
    service: StreamableHttpService<Handler<T>, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    /// Sessions in the order they were opened.
    opened: Mutex<VecDeque<String>>,
}

impl<T: Tools> Endpoint<T> {
    /// Makes the endpoint.
    pub(crate) fn new(options: EndpointOptions) -> Self {
        let config = StreamableHttpServerConfig::default()
            .with_json_response(true)
            .with_max_request_body_bytes(options.request_bytes_max)
            .with_allowed_hosts(options.hosts)
            .with_allowed_origins(options.origins)
            .enforce_origin_validation();
        Self {
            config,
            names: options.names,
            callers: Mutex::new(Callers {
                by_key: HashMap::new(),
                used: 0,
            }),
        }
    }

    /// Answers one request of a caller.
    ///
    /// # Arguments
    /// * `tools` - makes the caller's tools where it is new.
    ///
    /// # Cancel safety
    /// Dropping the future, or the body of the answer, cancels the call in it (2026-07-28).
    pub(crate) async fn handle<B>(
        &self,
        key: CallerKey,
        tools: impl FnOnce() -> T,
        request: Request<B>,
    ) -> Response<BoxBody<Bytes, Infallible>>
    where
        B: Body + Send + 'static,
        B::Error: Display,
    {
        let caller = self.caller(key, tools);
        if request.method() == Method::POST
            && let Some(name) = request.headers().get(NAME)
            && let Ok(name) = name.to_str()
            && let Err(error) = caller.handler.prepare(name.trim()).await
        {
            // The call itself says so in its answer.
            tracing::debug!(%error, "Tools not listed.");
        }
        let is_in_session = request.headers().contains_key(SESSION);
        let is_end = request.method() == Method::DELETE;
        let mut response = caller.service.handle(request).await;
        if is_end && response.status() == StatusCode::ACCEPTED {
            // The session has ended already; some clients take 202 for a failure.
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        if !is_in_session
            && let Some(id) = response.headers().get(SESSION)
            && let Ok(id) = id.to_str()
        {
            caller.opened(id.to_owned()).await;
        }
        response
    }

    /// Ends every session and every stream.
    pub(crate) fn stop(&self) {
        self.config.cancellation_token.cancel();
    }

    fn caller(&self, key: CallerKey, tools: impl FnOnce() -> T) -> Arc<Caller<T>> {
        let callers = self.callers.lock();
        let mut callers = callers.unwrap_or_else(PoisonError::into_inner);
        callers.used += 1;
        let used = callers.used;
        if let Some((last, caller)) = callers.by_key.get_mut(&key) {
            *last = used;
            return caller.clone();
        }
        if callers.by_key.len() >= CALLERS_MAX {
            let idle = callers.by_key.iter().min_by_key(|(_, (last, _))| *last);
            if let Some(idle) = idle.map(|(key, _)| *key) {
                callers.by_key.remove(&idle);
            }
        }
        let caller = Arc::new(self.make(tools()));
        callers.by_key.insert(key, (used, caller.clone()));
        caller
    }

    fn make(&self, tools: T) -> Caller<T> {
        let handler = Handler::new(tools, self.names.clone());
        let mut sessions = LocalSessionManager::default();
        sessions.session_config.keep_alive = Some(SESSION_IDLE);
        let sessions = Arc::new(sessions);
        let served = handler.clone();
        let service = StreamableHttpService::new(
            move || Ok(served.clone()),
            sessions.clone(),
            self.config.clone(),
        );
        Caller {
            handler,
            service,
            sessions,
            opened: Mutex::default(),
        }
    }
}

impl<T> Caller<T> {
    /// Takes a new session in, and ends the oldest if there are too many.
    async fn opened(&self, id: String) {
        let ended = {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.push_back(id);
            if opened.len() > SESSIONS_MAX {
                opened.pop_front()
            } else {
                None
            }
        };
        if let Some(ended) = ended
            && let Err(error) = self.sessions.close_session(&ended.into()).await
        {
            tracing::debug!(%error, "Session not ended.");
        }
    }
}
