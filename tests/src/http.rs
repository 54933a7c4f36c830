//! One HTTP request at a time, over a connection of its own: what a suite sends to the daemon's HTTP side.

use std::fs;
use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The first header of a name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The address that the daemon with this data directory has bound.
///
/// # Errors
/// The daemon does not answer HTTP.
pub fn address(data: &Path) -> Result<String> {
    let text = fs::read_to_string(data.join("http.addr"))?;
    let address = text.trim().strip_prefix("http://");
    address
        .map(str::to_owned)
        .ok_or_else(|| Error::other(format!("expected http://…, found {text:?}")))
}

/// Sends `GET`, with a token if there is one.
///
/// # Errors
/// The connection or the answer broke.
pub fn get(address: &str, path: &str, token: Option<&str>) -> Result<Answer> {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    send(address, "GET", path, &headers, "")
}

/// Sends any request.
///
/// # Errors
/// The connection or the answer broke.
pub fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let length = body.len();
    let request = format!("{head}content-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Result<Answer> {
    let text = String::from_utf8_lossy(answer);
    let broken = || Error::other(format!("expected an answer of HTTP, found {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let is_chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    Ok(Answer {
        status: status.ok_or_else(broken)?,
        body: if is_chunked {
            unchunked(body).ok_or_else(broken)?
        } else {
            body.to_owned()
        },
        headers,
    })
}

fn unchunked(mut body: &str) -> Option<String> {
    let mut out = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(out);
        }
        out.push_str(rest.get(..size)?);
        body = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole_in_one_piece_or_in_chunks() {
        let plain = parse(b"HTTP/1.1 404 Not Found\r\nX-A: b\r\n\r\nbody").expect("an answer");
        assert_eq!((plain.status, plain.body.as_str()), (404, "body"));
        assert_eq!(plain.header("x-a"), Some("b"));
        let chunked =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).expect("an answer").body, "abcd");
    }
}
