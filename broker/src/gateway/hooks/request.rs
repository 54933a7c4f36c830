//! What of a request is verified and stored.

use axum::http::header::{self, HOST, HeaderName};
use axum::http::{HeaderMap, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use trunkline_patterns::signature::{Request, Verifier};

use crate::core::{Endpoint, HookRequest};
use crate::gateway::server::Bound;
use crate::gateway::state::Gateway;

/// Headers that are never stored: they hold secrets, or belong to one connection.
const NOT_STORED: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
];

/// The headers whose values are text.
pub(super) fn texts(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let pairs = headers.iter();
    pairs
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect()
}

/// The whole address as its sender wrote it, for who signs it.
pub(super) fn address(gateway: &Gateway, headers: &HeaderMap, uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if let Some(public) = &gateway.config.public_url {
        // Behind a proxy that cuts a prefix off the path, the sender saw the prefix.
        return format!("{public}{path}");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or("localhost");
    let is_tls = matches!(gateway.bound, Bound::Tcp { is_tls: true, .. });
    let protocol = if is_tls { "https" } else { "http" };
    format!("{protocol}://{host}{path}")
}

/// What is stored of a verified request.
pub(super) fn stored(
    endpoint: &Endpoint,
    request: &Request<'_>,
    headers: &HeaderMap,
    uri: &Uri,
    id: Option<String>,
) -> HookRequest {
    let session = endpoint.webhook.session.as_deref();
    let traceparent = headers.get("traceparent");
    let (body, body_base64) = match std::str::from_utf8(request.body) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(request.body))),
    };
    HookRequest {
        id,
        method: request.method.to_owned(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers: kept(&endpoint.verifier, headers),
        body,
        body_base64,
        session: session.and_then(|pointer| request.pointed(pointer)),
        traceparent: traceparent
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
    }
}

/// The headers to store, each name once.
fn kept(verifier: &Verifier, headers: &HeaderMap) -> Vec<(String, String)> {
    let names = headers.keys();
    let names =
        names.filter(|name| !NOT_STORED.contains(name) && !verifier.is_proof(name.as_str()));
    names
        .map(|name| {
            let values = headers.get_all(name).iter();
            let values: Vec<_> = values
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            (name.as_str().to_owned(), values.join(", "))
        })
        .collect()
}
