//! Bytes as a request: a byte of choices, then text: `METHOD ADDRESS`, lines of headers, an empty line, the body.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use trunkline_broker::testing::TOKEN;

/// Choices of the first byte: headers that are there unless the text has its own.
const WITH_HOST: u8 = 1;
const WITH_TOKEN: u8 = 2;
const WITH_LENGTH: u8 = 4;
const WITH_JSON: u8 = 8;

/// Where the daemon believes it is.
pub(crate) const HOST: &str = "127.0.0.1:7711";

/// Reads a request; nothing when the bytes are none that a server would hand on.
pub(crate) fn read(data: &[u8]) -> Option<Request<Body>> {
    let (choices, text) = data.split_first()?;
    let (head, body) = match text.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&text[..end], &text[end + 2..]),
        None => (text, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let method = Method::from_bytes(first.next()?).ok()?;
    let uri = Uri::try_from(first.next()?).ok()?;
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next()?).ok()?;
        let value = HeaderValue::from_bytes(parts.next()?.trim_ascii()).ok()?;
        headers.try_append(name, value).ok()?;
    }
    let mut put = |choice: u8, name: &'static str, value: &str| {
        if choices & choice != 0 && !headers.contains_key(name) {
            headers.insert(name, value.parse().expect("it is plain"));
        }
    };
    put(WITH_HOST, "host", HOST);
    put(WITH_TOKEN, "authorization", &format!("Bearer {TOKEN}"));
    put(WITH_LENGTH, "content-length", &body.len().to_string());
    put(WITH_JSON, "content-type", "application/json");
    Some(request)
}
