//! What a redirect makes of a request.
//!
//! | status | method and body |
//! |---|---|
//! | 301, 302 | a POST becomes a GET |
//! | 303 | becomes a GET |
//! | 307, 308 | kept; a body goes to no other origin |
//!
//! To another origin go neither the credentials nor the other headers that were declared with the
//! base. A server with a public address cannot lead to one that has none.

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION};
use reqwest::{Method, Url};
use trunkline_patterns::address;

use super::content::Content;
use super::outside::{Answer, Asked};
use super::url::origin;

/// What a redirect leads to.
pub(super) enum Next {
    /// This request, and whether it is so for good.
    Follow(Box<Asked>, bool),
    /// Nothing that may be followed, because of this.
    Refuse(&'static str),
    /// The answer is no redirect.
    Stay,
}

/// Reads an answer as a redirect.
///
/// # Arguments
/// * `own_headers` - the names of headers that were declared with the base
pub(super) fn next(asked: &Asked, answer: &Answer, own_headers: &[String]) -> Next {
    let is_permanent = matches!(answer.status, 301 | 308);
    if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return Next::Stay;
    }
    let Some(location) = answer.headers.get(LOCATION) else {
        return Next::Stay;
    };
    let location = std::str::from_utf8(location.as_bytes()).ok();
    let Some(url) = location.and_then(|text| asked.url.join(text).ok()) else {
        return Next::Refuse("redirected to what is no address");
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Next::Refuse("redirected to what is no HTTP server");
    }
    let mut next = asked.clone();
    let becomes_get = match answer.status {
        301 | 302 => asked.method == Method::POST,
        303 => asked.method != Method::HEAD && asked.method != Method::GET,
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        next.body = Content::default();
        next.headers.remove(CONTENT_TYPE);
        next.headers.remove(CONTENT_LENGTH);
    }
    if origin(&url) != origin(&asked.url) {
        if !next.body.is_empty() {
            return Next::Refuse("redirected to another server, which would get the body");
        }
        next.headers.remove(AUTHORIZATION);
        next.headers.remove(COOKIE);
        for name in own_headers {
            next.headers.remove(name.as_str());
        }
        next.is_guarded |= is_public(answer, &asked.url);
    }
    next.url = Url::parse(url.as_str()).unwrap_or(url);
    // Credentials in an address would be sent as a header.
    if !next.url.username().is_empty() || next.url.password().is_some() {
        return Next::Refuse("redirected to an address with credentials");
    }
    Next::Follow(Box::new(next), is_permanent)
}

/// Says whether the server that answered is a public one; unknown counts as public.
fn is_public(answer: &Answer, url: &Url) -> bool {
    let known = answer.from.or_else(|| literal(url));
    known.is_none_or(|from| address::refused(from).is_none())
}

/// Gives the address that a URL names by itself.
pub(super) fn literal(url: &Url) -> Option<std::net::IpAddr> {
    let host = url.host_str()?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::body::Bytes;
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::*;

    fn asked(method: Method, body: &'static str) -> Asked {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
        headers.insert("x-api-key", HeaderValue::from_static("secret"));
        headers.insert("accept", HeaderValue::from_static("text/html"));
        Asked {
            method,
            url: Url::parse("https://api.example/v1/a").unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()).into(),
            save: None,
            timeout: Duration::from_secs(1),
            is_guarded: false,
        }
    }

    fn follow(asked: &Asked, status: u16, location: &str, from: Option<&str>) -> Next {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_str(location).unwrap());
        let answer = Answer {
            status,
            headers,
            body: Bytes::new(),
            kept: None,
            from: from.map(|from| from.parse().unwrap()),
        };
        next(asked, &answer, &["x-api-key".to_owned()])
    }

    fn followed(next: Next) -> Asked {
        match next {
            Next::Follow(asked, _) => *asked,
            Next::Refuse(why) => panic!("refused: {why}"),
            Next::Stay => panic!("no redirect"),
        }
    }

    #[test]
    fn within_an_origin_everything_is_sent_on() {
        let next = followed(follow(&asked(Method::PUT, "x"), 307, "/v2/a", None));
        assert_eq!(next.url.as_str(), "https://api.example/v2/a");
        assert_eq!((next.method, next.headers.len()), (Method::PUT, 3));
        assert_eq!(next.body.len(), 1);
    }

    /// Proves: what was declared for one server is never sent to another.
    #[test]
    fn another_origin_gets_no_credentials_and_no_body() {
        for location in [
            "https://evil.example/",
            "http://api.example/",
            "https://api.example:444/",
        ] {
            let next = followed(follow(&asked(Method::GET, ""), 302, location, None));
            assert_eq!(next.headers.len(), 1, "{location}");
            assert!(next.is_guarded, "{location}");
            let refused = follow(&asked(Method::POST, "secret"), 307, location, None);
            assert!(matches!(refused, Next::Refuse(_)), "{location}");
        }
        let next = followed(follow(
            &asked(Method::POST, "x"),
            303,
            "https://b.example/",
            None,
        ));
        assert!(next.body.is_empty() && next.method == Method::GET);
    }

    #[test]
    fn a_server_inside_may_lead_inside() {
        let get = asked(Method::GET, "");
        let inside = follow(&get, 302, "http://10.0.0.2/", Some("10.0.0.1"));
        assert!(!followed(inside).is_guarded);
        let outside = follow(&get, 302, "http://10.0.0.2/", Some("93.184.215.14"));
        assert!(followed(outside).is_guarded);
    }

    #[test]
    fn other_schemes_and_credentials_are_not_followed() {
        for location in [
            "file:///etc/passwd",
            "ftp://a.example/",
            "https://u:p@a.example/",
        ] {
            let next = follow(&asked(Method::GET, ""), 302, location, None);
            assert!(matches!(next, Next::Refuse(_)), "{location}");
        }
        assert!(matches!(
            follow(&asked(Method::GET, ""), 304, "/x", None),
            Next::Stay
        ));
    }
}
