//! The way of a webhook's request, gate by gate: the cheap gates first, and nothing read before they are passed.
//!
//! | gate | status |
//! |---|---|
//! | the rate of its source, or of all | 429, `Retry-After` |
//! | a webhook at this path | 404 |
//! | its method | 405, `Allow` |
//! | its media type | 415 |
//! | a length, or chunks | 411 |
//! | the size, before and while it is read | 413 |
//! | the time for the body | 408 |
//! | something to verify, verified | 400, 401 |
//! | room: the disk, what is under way, a stop | 503, `Retry-After` |
//! | durable | 200; 202 when its plugin is late; else what its plugin says |

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::http::header::{
    ALLOW, CONTENT_LENGTH, HeaderName, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::oneshot;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::EVENT_BYTES_MARGIN;
use trunkline_contract::rpc::Respond;
use trunkline_patterns::signature::{self, Challenge, Received, Refusal};

use super::content::{self, Room};
use super::request::{address, stored, texts};
use crate::clock::Now;
use crate::core::{Endpoint, HookAnswer, HookReply, HookRequest};
use crate::gateway::body;
use crate::gateway::error::Failure;
use crate::gateway::guard::Source;
use crate::gateway::limits::{HOOK_DURABLE_MS, HOOK_RETRY_MS};
use crate::gateway::state::Gateway;

/// Names the event of a request in its answer.
const EVENT_ID: HeaderName = HeaderName::from_static("x-trunkline-event-id");
/// Says that a request was stored before.
const DUPLICATE: HeaderName = HeaderName::from_static("x-trunkline-duplicate");

/// Takes a request to `/hooks/…`.
pub(in crate::gateway) async fn receive(
    State(gateway): State<Arc<Gateway>>,
    Extension(Source(source)): Extension<Source>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    limited(gateway.hook_rates.take(source, &path))?;
    let (endpoint, now) = match find(&gateway, &path).await {
        Ok(found) => found,
        Err(failure) => {
            // Whoever tries one path after the other has one rate for all of them.
            limited(gateway.hook_rates.take(source, ""))?;
            return Err(failure);
        }
    };
    let key = endpoint.key.clone();
    let answer = take(&gateway, endpoint, now, request).await;
    let status = answer
        .as_ref()
        .map_or_else(Failure::status, Response::status);
    gateway.insight.requests.hooked(&key, status.as_u16());
    answer
}

/// Takes a request for a webhook that is there.
async fn take(
    gateway: &Gateway,
    endpoint: Arc<Endpoint>,
    now: Now,
    request: Request,
) -> Result<Response, Failure> {
    check_head(&endpoint, request.method(), request.headers())?;
    let (parts, content) = request.into_parts();
    let limit = body_limit(gateway, &endpoint);
    let (content, room) = content::read(
        content,
        limit,
        gateway.config.body_timeout,
        &gateway.hook_bodies,
    )
    .await?;
    let headers = texts(&parts.headers);
    let whole = address(gateway, &parts.headers, &parts.uri);
    let seen = signature::Request {
        method: parts.method.as_str(),
        url: &whole,
        headers: &headers,
        body: &content,
    };
    let received = endpoint.verifier.receive(&seen, now.wall_ms.max(0) as u64);
    let verified = match received {
        Ok(Received::Challenge(challenge)) => return Ok(answer_challenge(challenge)),
        Ok(Received::Request(verified)) => verified,
        Err(refusal) => return Err(refused(gateway, &endpoint, &refusal)),
    };
    let request = stored(&endpoint, &seen, &parts.headers, &parts.uri, verified.id);
    drop(content);
    store(gateway, endpoint, request, room).await
}

fn limited(taken: Result<(), Duration>) -> Result<(), Failure> {
    taken.map_err(|wait| {
        let error = Error::new(Code::RateLimited, "expected fewer requests from one source");
        error.retry_after(wait.as_millis() as u64 + 1).into()
    })
}

async fn find(gateway: &Gateway, path: &str) -> Result<(Arc<Endpoint>, Now), Failure> {
    let mut parts = path.split('/').map(str::to_owned);
    let (kind, instance, name) = (parts.next(), parts.next(), parts.next());
    let rest = parts.next();
    let found = gateway.broker.with(move |core| {
        let kind = kind.filter(|_| rest.is_none()).unwrap_or_default();
        core.webhook(&kind, instance.as_deref(), name.as_deref())
    });
    match found.await? {
        Ok(found) => Ok(found),
        // Which of them there are is nobody's business.
        Err(error) if error.code == Code::Unrouted => Err(Failure::new(
            StatusCode::NOT_FOUND,
            Code::NotFound,
            error.message,
        )),
        Err(error) => Err(error.into()),
    }
}

/// What the head of a request says.
fn check_head(endpoint: &Endpoint, method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    let webhook = &endpoint.webhook;
    let mut allowed: Vec<&str> = webhook.methods.iter().map(String::as_str).collect();
    for challenge in endpoint.verifier.challenge_methods() {
        if !allowed.contains(&challenge) {
            allowed.push(challenge);
        }
    }
    if !allowed.contains(&method.as_str()) {
        let allow = HeaderValue::from_str(&allowed.join(", ")).expect("methods are letters");
        let text = format!("expected {}, found {method}", allowed.join(" or "));
        let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, Code::InvalidArguments, text);
        return Err(failure.header(ALLOW, allow));
    }
    let may_be_empty = matches!(*method, Method::GET | Method::OPTIONS | Method::DELETE);
    if may_be_empty {
        return Ok(());
    }
    if !webhook.content_types.is_empty() {
        let types: Vec<&str> = webhook.content_types.iter().map(String::as_str).collect();
        body::need_type(headers, &types)?;
    }
    if !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
        return Err(Failure::new(
            StatusCode::LENGTH_REQUIRED,
            Code::InvalidArguments,
            "expected Content-Length, or a body in chunks",
        ));
    }
    Ok(())
}

fn body_limit(gateway: &Gateway, endpoint: &Endpoint) -> usize {
    let event = gateway.frame_bytes_max - EVENT_BYTES_MARGIN;
    let own = endpoint.webhook.body_bytes_max.unwrap_or(u64::MAX);
    let own = usize::try_from(own).unwrap_or(usize::MAX);
    event.min(gateway.config.body_bytes_max).min(own)
}

fn refused(gateway: &Gateway, endpoint: &Endpoint, refusal: &Refusal) -> Failure {
    // Where the core is too far behind to count, nobody waits for it.
    let counted = gateway.broker.post(crate::core::Core::hook_refused);
    tracing::debug!(
        instance = %endpoint.key,
        webhook = endpoint.webhook.label(),
        %refusal,
        counted = counted.is_ok(),
        "Webhook refused."
    );
    let status = StatusCode::from_u16(refusal.status()).expect("a refusal has a status of HTTP");
    match refusal {
        Refusal::Malformed { .. } => {
            Failure::new(status, Code::InvalidArguments, refusal.to_string())
        }
        // Whoever guesses is told nothing of how near it was.
        _ => Failure::new(
            status,
            Code::Unauthorized,
            "expected a valid and recent signature of this webhook",
        ),
    }
}

/// Stores a request and waits until it is durable, or answered.
async fn store(
    gateway: &Gateway,
    endpoint: Arc<Endpoint>,
    request: HookRequest,
    room: Room,
) -> Result<Response, Failure> {
    let (done, answered) = oneshot::channel();
    let respond = endpoint.webhook.respond.unwrap_or_default();
    let reply = HookReply::new(move |answer| {
        if done.send(answer).is_err() {
            tracing::debug!("A webhook's sender did not wait for the answer.");
        }
    });
    let staged = gateway.broker.with(move |core| {
        core.hook(&endpoint, &request, reply);
        // What is under way is in the core's own bounds from here on.
        drop(room);
    });
    staged.await?;
    let limit = Duration::from_millis(HOOK_DURABLE_MS) + respond;
    match tokio::time::timeout(limit, answered).await {
        Ok(Ok(answer)) => answer_with(answer),
        // It may be stored all the same: the provider's repeat is then a duplicate.
        Ok(Err(_)) => Err(busy("the broker ended before the request was durable")),
        Err(_) => Err(busy("the request was not durable in time")),
    }
}

fn busy(text: &str) -> Failure {
    Error::new(Code::Unavailable, text)
        .retry_after(HOOK_RETRY_MS)
        .into()
}

fn answer_with(answer: HookAnswer) -> Result<Response, Failure> {
    // An empty body: some platforms take a body for an order.
    let stored = |status, id: &str| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        if let Ok(id) = HeaderValue::from_str(id) {
            response.headers_mut().insert(EVENT_ID, id);
        }
        response
    };
    match answer {
        HookAnswer::Stored { id, is_duplicate } => {
            let mut response = stored(StatusCode::OK, &id);
            if is_duplicate {
                let headers = response.headers_mut();
                headers.insert(DUPLICATE, HeaderValue::from_static("true"));
            }
            Ok(response)
        }
        HookAnswer::Accepted { id } => Ok(stored(StatusCode::ACCEPTED, &id)),
        HookAnswer::Respond(respond) => Ok(answer_respond(respond)),
        // Providers know no 507; it is the same to them.
        HookAnswer::Refused(error) if error.code == Code::StorageFull => {
            let wait = error.retry_after_ms.unwrap_or(HOOK_RETRY_MS);
            let seconds = HeaderValue::from(wait.div_ceil(1000));
            let failure = Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Code::StorageFull,
                "the store is full",
            );
            Err(failure.header(RETRY_AFTER, seconds))
        }
        HookAnswer::Refused(error) => Err(error.into()),
    }
}

fn answer_respond(respond: Respond) -> Response {
    let body = match (respond.body, respond.body_base64) {
        (Some(text), _) => Body::from(text),
        (None, Some(text)) => Body::from(STANDARD.decode(text).unwrap_or_default()),
        (None, None) => Body::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(respond.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &respond.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        // Lengths and connections are the server's own.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value))
            && ![CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name)
            && name != axum::http::header::CONNECTION
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn answer_challenge(challenge: Challenge) -> Response {
    let mut response = Response::new(Body::from(challenge.body));
    *response.status_mut() =
        StatusCode::from_u16(challenge.status).expect("a challenge has a status of HTTP");
    for (name, value) in challenge.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    response
}
