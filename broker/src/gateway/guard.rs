//! What every request passes before a handler sees it, and every answer on its way out.
//!
//! A page of another origin can make a browser send requests to loopback. It cannot choose their `Host` or
//! hide their `Origin`, so both are checked on every path; nothing here answers with a CORS header.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HOST, HeaderName, HeaderValue, ORIGIN};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use trunkline_contract::error::Code;

use super::auth;
use super::error::Failure;
use super::metrics::Requests;
use super::proxy;
use super::state::Gateway;
use crate::config::{HttpConfig, Listen, Network, host_of_url};

/// Header that names the request in the daemon's log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// The other end of the connection; none for a unix socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) Option<IpAddr>);

/// Who sent a request, as far as an address says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(pub Option<IpAddr>);

/// Names a request in answers and in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// Checks a request, lets it through, and finishes its answer.
pub(super) async fn pass(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id: Arc<str> = gateway.next_request_id().into();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let requests = &gateway.insight.requests;
    let began_us = requests.begin_us();
    let mut response = match admit(&gateway, &mut request) {
        Ok(()) => {
            request.extensions_mut().insert(RequestId(id.clone()));
            next.run(request).await
        }
        Err(failure) => axum::response::IntoResponse::into_response(failure),
    };
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        let error = failure.error();
        tracing::debug!(request_id = &*id, %method, path, %error, "Request refused.");
        response = failure.into_answer(&id);
    }
    requests.answered(Requests::route(&path), response.status().as_u16(), began_us);
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(&id).expect("an id is made of digits");
    headers.insert(REQUEST_ID, id);
    if response
        .extensions_mut()
        .remove::<proxy::Passed>()
        .is_some()
    {
        return response;
    }
    let headers = response.headers_mut();
    headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn admit(gateway: &Gateway, request: &mut Request) -> Result<(), Failure> {
    let config = &gateway.config;
    let peer = request.extensions().get::<Peer>().copied();
    let source = source(
        config,
        peer.and_then(|Peer(address)| address),
        request.headers(),
    )?;
    check_host(gateway, request.headers(), request.uri())?;
    let path = request.uri().path();
    let is_plugins = path.starts_with(proxy::PREFIX);
    if !is_plugins {
        check_origin(config, request.headers())?;
    }
    if !is_plugins && !path.starts_with("/hooks/") {
        // What platforms put into the address of a webhook is theirs, and a plugin's server is its own.
        auth::refuse_in_query(request.uri())?;
    }
    request.extensions_mut().insert(Source(source));
    Ok(())
}

/// Finds who sent it: the nearest address of `X-Forwarded-For` that is no trusted proxy; where a proxy named
/// nobody, or what is no address, the proxy.
fn source(
    config: &HttpConfig,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
) -> Result<Option<IpAddr>, Failure> {
    if !config.behind_proxy {
        return Ok(peer);
    }
    let is_trusted = |address: IpAddr| {
        let networks: &[Network] = &config.trusted_proxies;
        networks.iter().any(|network| network.contains(address))
    };
    if let Some(peer) = peer
        && !is_trusted(peer)
    {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            Code::Unauthorized,
            format!("expected a proxy of http.trusted_proxies, found {peer}"),
        ));
    }
    // From the nearest on: what stands before the first one that no trusted proxy added, anybody may have written.
    let named = headers.get_all(FORWARDED_FOR).iter().rev();
    let named = named.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    let mut nearest = peer;
    for one in named {
        let Some(address) = forwarded_address(one) else {
            break;
        };
        nearest = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    Ok(nearest)
}

/// Reads one address of `X-Forwarded-For`; some proxies add the port.
fn forwarded_address(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let address = text.parse().ok().or_else(|| {
        let with_port = text.parse().ok().map(|address: SocketAddr| address.ip());
        let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
        with_port.or_else(bracketed)
    });
    address.map(|address: IpAddr| address.to_canonical())
}

fn check_host(gateway: &Gateway, headers: &HeaderMap, uri: &Uri) -> Result<(), Failure> {
    let mut values = headers.get_all(HOST).iter();
    let given = values.next().map(|value| value.to_str().unwrap_or("?"));
    let found = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => given.unwrap_or_default(),
    };
    if values.next().is_none() && is_ours(gateway, found) {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::MISDIRECTED_REQUEST,
        Code::InvalidArguments,
        format!(
            "expected a Host of this daemon, found {found:?}; hint: add the name to http.hosts, or set \
             http.public_url"
        ),
    ))
}

fn is_ours(gateway: &Gateway, authority: &str) -> bool {
    let authority = authority.to_ascii_lowercase();
    let name = without_port(&authority);
    let config = &gateway.config;
    let public = config.public_url.as_deref().and_then(host_of_url);
    if let Some(public) = public
        && without_port(&public.to_ascii_lowercase()) == name
    {
        return true;
    }
    if config
        .hosts
        .iter()
        .any(|host| *host == authority || host == name)
    {
        return true;
    }
    let is_local_name = name == "localhost";
    let literal: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
    match (&config.listen, gateway.bound.address()) {
        (Listen::Unix(_), _) => is_local_name || literal.is_some_and(|ip| ip.is_loopback()),
        (_, Some(bound)) => {
            let bound = bound.ip();
            // No name can be made to point elsewhere when there is none: an address is what it is.
            let is_bound = |ip: IpAddr| bound == ip || ip.is_loopback() || bound.is_unspecified();
            is_local_name || literal.is_some_and(is_bound)
        }
        (_, None) => is_local_name,
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => {
            let is_bare_v6 = authority[..colon].contains(':') && !authority.starts_with('[');
            if is_bare_v6 {
                authority
            } else {
                &authority[..colon]
            }
        }
        _ => authority,
    }
}

/// Refuses what a page of a foreign origin sent.
pub(super) fn check_origin(config: &HttpConfig, headers: &HeaderMap) -> Result<(), Failure> {
    for origin in headers.get_all(ORIGIN) {
        let origin = origin.to_str().unwrap_or("?").to_ascii_lowercase();
        let is_known = config.origins.contains(&origin);
        if !is_known {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                Code::Unauthorized,
                format!(
                    "expected no Origin or one of http.origins, found {origin:?}; hint: add it to \
                     http.origins"
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_forwarded_may_have_a_port() {
        for (text, address) in [
            ("9.9.9.9", Some("9.9.9.9")),
            (" 9.9.9.9:1234 ", Some("9.9.9.9")),
            ("::ffff:9.9.9.9", Some("9.9.9.9")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("unknown", None),
            ("", None),
        ] {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(forwarded_address(text.as_bytes()), address, "{text:?}");
        }
    }

    #[test]
    fn a_port_is_no_part_of_a_name() {
        for (authority, name) in [
            ("localhost:7711", "localhost"),
            ("localhost", "localhost"),
            ("[::1]:7711", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(without_port(authority), name);
        }
    }
}
