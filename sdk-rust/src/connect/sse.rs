//! Server-sent events: an event of the stream is a frame, `{event, id, data}`.
//!
//! The cursor is the id of the last event, which the next request names in `Last-Event-ID`. There is
//! no way back to the server.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes as Chunk;
use hyper::header::{ACCEPT, CACHE_CONTROL, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};

use super::declare::Form;
use super::form::{Received, decode};
use super::socket::{Gone, Heard, Line, Say};
use super::stream::Address;
use crate::payload::Bytes;

/// The longest line, and the longest event, of a stream; a longer one ends the connection.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) async fn live(
    address: &Address,
    headers: &[(String, String)],
    cursor: Option<String>,
    mut line: Line,
) -> Result<Gone, Gone> {
    let teller = line.teller();
    let stream = address.open().await?;
    let broken = |error: hyper::Error| Gone::because(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let request = request(address, headers, cursor)?;
    let answering = sender.send_request(request);
    tokio::pin!(connection, answering);
    let response = tokio::select! {
        response = &mut answering => response.map_err(broken)?,
        ended = &mut connection => {
            ended.map_err(broken)?;
            return Err(Gone::because("closed by the server"));
        }
    };
    let status = response.status();
    if status != hyper::StatusCode::OK {
        let after = response.headers().get(RETRY_AFTER);
        if let Some(seconds) = after.and_then(|value| value.to_str().ok()?.parse::<u64>().ok()) {
            teller
                .tell(Heard::Retry(seconds.saturating_mul(1_000)))
                .await;
        }
        return Err(Gone {
            code: Some(status.as_u16()),
            reason: format!("the server answered {status}"),
        });
    }
    if !teller.tell(Heard::Opened).await {
        return Ok(Gone::because("closed here"));
    }
    let mut body = response.into_body();
    let mut parser = Parser::new(line.form);
    loop {
        let chunk = tokio::select! {
            chunk = body.frame() => chunk,
            ended = &mut connection => {
                ended.map_err(broken)?;
                body.frame().await
            }
            say = line.say.recv() => match say {
                Some(Say::Frame(_, done)) => {
                    if let Some(done) = done {
                        drop(done.send(Err(no_way_back())));
                        teller.tell(Heard::Sent).await;
                    }
                    continue;
                }
                Some(Say::Ping | Say::Flush) => continue,
                Some(Say::Close(..)) | None => return Ok(Gone::because("closed here")),
            },
        };
        let chunk = match chunk {
            None => return Ok(Gone::because("closed by the server")),
            Some(Err(error)) => return Err(broken(error)),
            Some(Ok(chunk)) => chunk,
        };
        let Ok(data) = chunk.into_data() else {
            continue;
        };
        for told in parser.take(&data)? {
            if matches!(told, Heard::Frame(_)) {
                teller.room().await;
            }
            if !teller.tell(told).await {
                return Ok(Gone::because("closed here"));
            }
        }
    }
}

fn request(
    address: &Address,
    headers: &[(String, String)],
    cursor: Option<String>,
) -> Result<Request<Empty<Chunk>>, Gone> {
    let path = address
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let mut request = Request::get(path)
        .header(HOST, address.authority())
        .header(ACCEPT, "text/event-stream")
        .header(CACHE_CONTROL, "no-store")
        .body(Empty::new())
        .map_err(|error| Gone::because(error.to_string()))?;
    let last = cursor.as_deref().and_then(last_event_id);
    let last = last.map(|id| ("last-event-id".to_owned(), id));
    for (name, value) in headers.iter().cloned().chain(last) {
        let refused = || {
            let text = "expected a header, found characters it cannot have in";
            Gone::because(format!("{text} {name:?}"))
        };
        let key = HeaderName::try_from(name.as_str()).map_err(|_| refused())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| refused())?;
        request.headers_mut().insert(key, value);
    }
    Ok(request)
}

/// What is said where something is sent.
pub(super) fn no_way_back() -> Error {
    let text = "an event stream has no way back: nothing can be sent on it";
    Error::new(Code::InvalidArguments, text)
}

/// The id in a cursor.
pub(super) fn last_event_id(cursor: &str) -> Option<String> {
    match serde_json::from_str(cursor) {
        Ok(serde_json::Value::String(id)) => Some(id),
        Ok(serde_json::Value::Number(id)) => Some(id.to_string()),
        _ => None,
    }
}

/// Reads an event stream, however it is cut into pieces.
pub(super) struct Parser {
    form: Form,
    line: Vec<u8>,
    /// The last byte was a carriage return, so that a line feed that follows ends nothing.
    after_return: bool,
    is_begun: bool,
    event: String,
    data: Option<Vec<u8>>,
    id: Option<String>,
}

impl Parser {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            line: Vec::new(),
            after_return: false,
            is_begun: false,
            event: String::new(),
            data: None,
            id: None,
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, Gone> {
        let mut told = Vec::new();
        for &byte in bytes {
            let was_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if was_return => {}
                b'\n' | b'\r' => {
                    let mut line = std::mem::take(&mut self.line);
                    if !std::mem::replace(&mut self.is_begun, true)
                        && line.starts_with(b"\xef\xbb\xbf")
                    {
                        line.drain(..3);
                    }
                    told.extend(self.line(&line));
                }
                byte => self.line.push(byte),
            }
            let held = self.line.len() + self.data.as_ref().map_or(0, Vec::len);
            if held > EVENT_BYTES_MAX {
                let text = format!("expected events of at most {EVENT_BYTES_MAX} bytes");
                return Err(Gone::because(text));
            }
        }
        Ok(told)
    }

    fn line(&mut self, line: &[u8]) -> Option<Heard> {
        if line.is_empty() {
            return self.event();
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(0) => return Some(Heard::Alive),
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match field {
            b"event" => self.event = text(),
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"id" if !value.contains(&0) => self.id = Some(text()),
            b"retry" => return text().parse().ok().map(Heard::Retry),
            _ => {}
        }
        None
    }

    fn event(&mut self) -> Option<Heard> {
        #[derive(serde::Serialize)]
        struct Sent<'a> {
            event: &'a str,
            id: Option<&'a str>,
            data: &'a RawValue,
        }
        let event = std::mem::take(&mut self.event);
        let data = self.data.take()?;
        let whole = |data: &Bytes| {
            let sent = Sent {
                event: if event.is_empty() { "message" } else { &event },
                id: self.id.as_deref(),
                data: data.raw(),
            };
            Bytes::encode(&sent).unwrap_or_default()
        };
        let payload = match decode(self.form, &data) {
            Ok(data) => Ok(whole(&data)),
            Err((error, text)) => Err((error, whole(&text))),
        };
        Some(Heard::Frame(Received {
            id: self.id.clone(),
            ..Received::of(payload)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(told: Vec<Heard>) -> Vec<String> {
        let frames = told.into_iter().filter_map(|heard| match heard {
            Heard::Frame(frame) => Some(frame.payload.expect("valid").as_str().to_owned()),
            _ => None,
        });
        frames.collect()
    }

    #[test]
    fn a_stream_reads_alike_however_it_is_cut() {
        let stream = b"\xef\xbb\xbfid: 7\r\nevent: add\ndata: {\"a\":\ndata: 1}\r\n\r\n: beat\n\
            data: 2\r\rretry: 500\nid\ndata:3\n\ndata: half";
        let expected = [
            r#"{"event":"add","id":"7","data":{"a":"#.to_owned() + "\n1}}",
            r#"{"event":"message","id":"7","data":2}"#.to_owned(),
            r#"{"event":"message","id":"","data":3}"#.to_owned(),
        ];
        for size in 1..stream.len() {
            let mut parser = Parser::new(Form::Json);
            let mut told = Vec::new();
            for piece in stream.chunks(size) {
                told.extend(parser.take(piece).expect("short enough"));
            }
            assert!(told.iter().any(|heard| matches!(heard, Heard::Retry(500))));
            assert_eq!(payloads(told), expected);
        }
    }
}
