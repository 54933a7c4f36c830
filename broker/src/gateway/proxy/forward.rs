//! One request to a plugin's server and its answer, both streamed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use trunkline_contract::error::{Code, Error};

use super::body::{Downloaded, Progress, Upload, Uploaded};
use super::connect::Connection;
use super::headers::{self, Circumstances};
use super::target::Target;
use super::tunnel::Tunnel;
use crate::gateway::error::Failure;
use crate::gateway::guard::{RequestId, Source};
use crate::gateway::server::Held;
use crate::gateway::state::Gateway;
use crate::instance::InstanceKey;
use crate::supervisor::{KnownServer, ServerAddress, State as InstanceState};

/// A start that is further away than this is not waited for.
const START_WAIT_MS: u64 = 3_000;
/// What is suggested where nobody knows when an instance serves again.
const RETRY_MS: u64 = 10_000;
/// What is suggested while a server has all the connections it may have.
const BUSY_RETRY_MS: u64 = 1_000;
/// How long a connection may take to be queued.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Marks the answer of a plugin's server: its head is left as it is.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct Passed;

/// Passes a request on and its answer back.
pub(in crate::gateway) async fn serve(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response<Body>, Failure> {
    let (key, prefix, rest) = match Target::of(request.uri())? {
        Target::Path { key, prefix, rest } => (key, prefix, rest),
        Target::Root { location } => return Ok(redirect(&location)),
    };
    let known = gateway.servers.find(&key).ok_or_else(|| none(&key))?;
    let address = running(&key, &known)?;
    let permit = known.connections.clone().try_acquire_owned();
    let permit = permit.map_err(|_| {
        let text = format!("{key} has all the connections it may have");
        unavailable(text, Some(BUSY_RETRY_MS))
    })?;

    let (mut head, body) = request.into_parts();
    let is_websocket = headers::is_websocket(&head.headers);
    let asker = is_websocket
        .then(|| head.extensions.remove::<hyper::upgrade::OnUpgrade>())
        .flatten();
    let place = head.extensions.remove::<Held>();
    let source = head.extensions.get::<Source>().copied();
    let request_id = head.extensions.get::<RequestId>().cloned();
    let (Some(source), Some(request_id)) = (source, request_id) else {
        return Err(Error::new(Code::Internal, "a request went around the guard").into());
    };
    keep_tokens_back(&gateway, &key, &mut head.headers).await?;
    let around = Circumstances {
        config: &gateway.config,
        bound: &gateway.bound,
        source,
        request_id: &request_id,
        prefix: &prefix,
        uri: &head.uri,
    };
    headers::of_request(&mut head.headers, asker.is_some(), &around);

    let progress = Arc::new(Progress::default());
    let body = Uploaded::new(body, progress.clone(), gateway.config.body_timeout);
    let mut onward = Request::new(Body::new(body));
    *onward.method_mut() = head.method;
    *onward.uri_mut() = rest.into();
    *onward.version_mut() = Version::HTTP_11;
    *onward.headers_mut() = head.headers;

    let connection = connect(&key, &address).await?;
    let limit = known.settings.timeout;
    let answered = tokio::select! {
        answered = connection.send(onward) => answered,
        () = progress.overdue(limit) => return Err(overdue(&key, limit)),
    };
    let (answer, held) = answered.map_err(|error| broken(&gateway, &key, &progress, &error))?;
    let (mut head, incoming) = answer.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let server = head.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let (Some(asker), Some(server)) = (asker, server) else {
            let text = format!("{key} answered with another protocol, which nobody asked for");
            return Err(Failure::new(StatusCode::BAD_GATEWAY, Code::HttpError, text));
        };
        let tunnel = Tunnel {
            asker,
            server,
            held: (held, permit, place),
        };
        tunnel.start(gateway);
        return Ok(passed(head.status, head.headers, Body::empty(), true));
    }
    let body = Body::new(Downloaded::new(incoming, held, permit));
    Ok(passed(head.status, head.headers, body, false))
}

fn passed(
    status: StatusCode,
    mut headers: HeaderMap,
    body: Body,
    is_upgrade: bool,
) -> Response<Body> {
    headers::of_answer(&mut headers, is_upgrade);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(Passed);
    response
}

fn redirect(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Takes the daemon's own tokens out of a head: who has one may do what its owner may.
async fn keep_tokens_back(
    gateway: &Gateway,
    key: &InstanceKey,
    headers: &mut HeaderMap,
) -> Result<(), Failure> {
    let tokens = headers::bearer_tokens(headers);
    if tokens.is_empty() {
        return Ok(());
    }
    let is_ours = gateway
        .broker
        .with(move |core| tokens.iter().any(|token| core.is_token(token)))
        .await?;
    if is_ours {
        tracing::debug!(%key, "A token of this daemon was kept from a plugin's server.");
        headers.remove(AUTHORIZATION);
    }
    Ok(())
}

async fn connect(key: &InstanceKey, address: &ServerAddress) -> Result<Connection, Failure> {
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, Connection::open(address)).await;
    let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()));
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let text = format!("too many wait for the HTTP server of {key} already");
            unavailable(text, Some(BUSY_RETRY_MS))
        }
        _ => {
            let text = format!("the HTTP server of {key} cannot be reached: {error}");
            Failure::new(StatusCode::BAD_GATEWAY, Code::HttpError, text)
        }
    })
}

/// Gives where a server is, if the instance serves or is about to.
fn running(key: &InstanceKey, known: &KnownServer) -> Result<ServerAddress, Failure> {
    let is_soon = match known.state {
        InstanceState::Stopped | InstanceState::Disabled | InstanceState::Failed => false,
        InstanceState::BackingOff => known.retry_in_ms.unwrap_or_default() <= START_WAIT_MS,
        _ => true,
    };
    let address = known.address.clone().filter(|_| is_soon);
    address.ok_or_else(|| {
        let text = format!("{key} does not serve now, it is {}", known.state.as_str());
        unavailable(text, known.retry_in_ms)
    })
}

fn none(key: &InstanceKey) -> Failure {
    let text = format!(
        "expected an instance with an HTTP server of its own, found none at {key}; hint: its plugin.toml has \
         to ask for http_server in [capabilities], and [grants.{}] has to grant it",
        key.plugin
    );
    Error::new(Code::NotFound, text).into()
}

fn unavailable(text: String, retry_ms: Option<u64>) -> Failure {
    let mut error = Error::new(Code::Unavailable, text);
    error.retry_after_ms = Some(retry_ms.unwrap_or(RETRY_MS).max(1));
    error.into()
}

fn overdue(key: &InstanceKey, limit: Duration) -> Failure {
    let text = format!("expected an answer of {key} within {limit:?}, found none");
    Failure::new(StatusCode::GATEWAY_TIMEOUT, Code::TimedOut, text)
}

/// Says why there was no answer: whose fault it is.
fn broken(
    gateway: &Gateway,
    key: &InstanceKey,
    progress: &Progress,
    error: &hyper::Error,
) -> Failure {
    match progress.upload() {
        Upload::TimedOut => {
            let limit = gateway.config.body_timeout;
            let text = format!("expected more of the body within {limit:?}, found nothing");
            return Failure::new(StatusCode::REQUEST_TIMEOUT, Code::TimedOut, text);
        }
        Upload::Broken => {
            let text = "the body broke off before its end";
            return Failure::new(StatusCode::BAD_REQUEST, Code::InvalidFrame, text);
        }
        Upload::Moving | Upload::Waiting => {}
    }
    let known = gateway.servers.find(key);
    if let Some(Err(failure)) = known.map(|known| running(key, &known)) {
        return failure;
    }
    tracing::debug!(%key, %error, "No answer of a plugin's server.");
    let text = format!("the HTTP server of {key} ended the connection without an answer");
    Failure::new(StatusCode::BAD_GATEWAY, Code::HttpError, text)
}
