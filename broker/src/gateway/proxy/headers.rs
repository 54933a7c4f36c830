//! What is taken away from a head and what is added, on the way to a plugin's server and back.

use axum::http::header::{
    AUTHORIZATION, CONNECTION, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{HeaderMap, Uri};

use crate::config::{HttpConfig, host_of_url};
use crate::gateway::guard::REQUEST_ID;
use crate::gateway::{Bound, RequestId, Source};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers about one connection; those named in `Connection` come on top.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What is known of a request beside its head.
pub(super) struct Circumstances<'a> {
    pub(super) config: &'a HttpConfig,
    pub(super) bound: &'a Bound,
    pub(super) source: Source,
    pub(super) request_id: &'a RequestId,
    pub(super) prefix: &'a str,
    pub(super) uri: &'a Uri,
}

/// Says whether a request asks for a WebSocket.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).map(HeaderValue::as_bytes);
    names(headers).any(|name| name.eq_ignore_ascii_case("upgrade"))
        && upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

/// Makes the head of a request fit for the server.
pub(super) fn of_request(headers: &mut HeaderMap, is_websocket: bool, around: &Circumstances<'_>) {
    let proto = proto(headers, around);
    hop(headers, is_websocket);
    // The daemon has answered it, or does so once the body is asked for.
    headers.remove(EXPECT);
    for name in [FORWARDED, REAL_IP, FORWARDED_FOR] {
        headers.remove(name);
    }
    if !around.config.behind_proxy {
        headers.remove(FORWARDED_HOST);
        headers.remove(FORWARDED_PORT);
    }
    if let Source(Some(address)) = around.source {
        insert(headers, FORWARDED_FOR, &address.to_string());
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    let before = public_path(around.config);
    let prefix = format!("{before}{}", around.prefix);
    insert(headers, FORWARDED_PREFIX, &prefix);
    insert(headers, REQUEST_ID, &around.request_id.0);
    if let Some(authority) = around.uri.authority() {
        insert(headers, HOST, authority.as_str());
    }
}

/// Makes the head of an answer fit for whoever asked.
pub(super) fn of_answer(headers: &mut HeaderMap, is_upgrade: bool) {
    hop(headers, is_upgrade);
}

/// Lists the tokens of a head; there may be several, in odd ones.
pub(super) fn bearer_tokens(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(AUTHORIZATION).iter();
    values
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .filter_map(|text| text.trim().split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned())
        .collect()
}

/// Removes what is about one connection; a WebSocket's wish is said anew.
fn hop(headers: &mut HeaderMap, is_websocket: bool) {
    let named: Vec<String> = names(headers).map(str::to_owned).collect();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    for name in named {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            headers.remove(name);
        }
    }
    if is_websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
}

fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
}

/// How it was asked, as far as that is known.
fn proto(headers: &HeaderMap, around: &Circumstances<'_>) -> &'static str {
    if !around.config.behind_proxy {
        return match around.bound {
            Bound::Tcp { is_tls: true, .. } => "https",
            _ => "http",
        };
    }
    let given = headers.get(FORWARDED_PROTO).map(HeaderValue::as_bytes);
    let public = around.config.public_url.as_deref().unwrap_or_default();
    match given {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ if public.starts_with("https://") => "https",
        _ => "http",
    }
}

/// The path of the public address, which a proxy in front takes away.
fn public_path(config: &HttpConfig) -> &str {
    let url = config.public_url.as_deref().unwrap_or_default();
    host_of_url(url)
        .and_then(|host| url.split_once(host))
        .map_or("", |(_, path)| path)
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            headers.insert(name, value);
        }
        Err(_) => {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut shown: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn what_is_about_one_connection_goes_no_further() {
        let mut headers = map(&[
            ("connection", "close, X-Mine"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "secret"),
            ("transfer-encoding", "chunked"),
            ("cookie", "a=b"),
        ]);
        assert!(!is_websocket(&headers));
        hop(&mut headers, false);
        assert_eq!(shown(&headers), ["cookie: a=b"]);
    }

    #[test]
    fn a_wish_for_a_websocket_goes_on() {
        let mut headers = map(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "k"),
        ]);
        assert!(is_websocket(&headers));
        hop(&mut headers, true);
        assert_eq!(
            shown(&headers),
            [
                "connection: upgrade",
                "sec-websocket-key: k",
                "upgrade: websocket"
            ]
        );
    }

    #[test]
    fn every_token_of_a_head_is_found() {
        let headers = map(&[
            ("authorization", "Bearer a"),
            ("authorization", "Basic b"),
            ("authorization", "bearer  c "),
        ]);
        assert_eq!(bearer_tokens(&headers), ["a", "c"]);
    }
}
