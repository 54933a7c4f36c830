//! `/mcp` in the gateway's tree.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::any;
use http_body_util::Full;
use sha2::{Digest, Sha256};

use super::endpoint::{Endpoint, EndpointOptions};
use super::port::PortTools;
use crate::config::{HttpConfig, host_of_url};
use crate::gateway::error::Failure;
use crate::gateway::{Bound, Gateway, auth, body};

/// Asks proxies not to keep parts of a stream back.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
const STREAM: &str = "text/event-stream";

/// Builds the path.
pub(in crate::gateway) fn routes(gateway: &Arc<Gateway>) -> Router<Arc<Gateway>> {
    let endpoint = Arc::new(Endpoint::new(EndpointOptions {
        hosts: hosts(gateway),
        origins: gateway.config.origins.clone(),
        request_bytes_max: gateway.config.body_bytes_max,
        names: gateway.mcp_names.clone(),
    }));
    tokio::spawn({
        let (gateway, endpoint) = (gateway.clone(), endpoint.clone());
        async move {
            gateway.stopping().await;
            endpoint.stop();
        }
    });
    let answer = move |State(gateway): State<Arc<Gateway>>, request: Request| {
        let endpoint = endpoint.clone();
        async move { answer(&gateway, &endpoint, request).await }
    };
    Router::new().route("/mcp", any(answer))
}

async fn answer(
    gateway: &Arc<Gateway>,
    endpoint: &Endpoint<PortTools>,
    request: Request,
) -> Result<Response, Failure> {
    let token = auth::need(request.headers())?;
    // A token that the core does not know ends here, with 401.
    gateway.ports.of(&token).await?;
    let key = Sha256::digest(token.expose().as_bytes()).into();
    let HttpConfig {
        body_bytes_max,
        body_timeout,
        ..
    } = gateway.config;
    let (parts, sent) = request.into_parts();
    let sent = body::read(sent, body_bytes_max, body_timeout).await?;
    let request = Request::from_parts(parts, Full::new(sent));
    let tools = || PortTools::pooled(gateway.ports.clone(), token);
    let mut response = endpoint.handle(key, tools, request).await.map(Body::new);
    let headers = response.headers_mut();
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with(STREAM)) {
        headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    }
    Ok(response)
}

/// The hosts that the guard lets in, once more for the protocol's own check.
fn hosts(gateway: &Gateway) -> Vec<String> {
    let config = &gateway.config;
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(Into::into).into();
    hosts.extend(config.hosts.iter().cloned());
    hosts.extend(
        config
            .public_url
            .as_deref()
            .and_then(host_of_url)
            .map(|host| host.to_ascii_lowercase()),
    );
    if let Bound::Tcp { address, .. } = &gateway.bound {
        if address.ip().is_unspecified() {
            // Any address of this machine may be meant; the guard has checked that it is one.
            return Vec::new();
        }
        hosts.push(address.ip().to_string());
    }
    hosts
}
