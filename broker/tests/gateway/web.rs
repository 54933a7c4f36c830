//! Requests as bytes on a socket: no library stands between a test and what the daemon answers.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::operator::{Home, LIMIT};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// A daemon's HTTP side.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    /// `127.0.0.1:<port>`
    pub(crate) address: String,
    /// The owner's token.
    pub(crate) owner: String,
}

impl Web {
    /// Finds that of a running daemon.
    pub(crate) fn of(home: &Home) -> Self {
        let read = |name: &str| {
            let path = home.path().join(".trunkline").join(name);
            std::fs::read_to_string(path).unwrap().trim().to_owned()
        };
        let address = read("http.addr");
        Self {
            address: address.rsplit('/').next().unwrap().to_owned(),
            owner: read("token"),
        }
    }

    /// Opens a connection.
    pub(crate) fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Sends a head line and headers, then a body, and reads the whole answer.
    pub(crate) fn send(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.dial();
        write(&mut stream, &self.address, line, headers, body);
        read_answer(&mut BufReader::new(stream))
    }

    /// Asks with a token.
    pub(crate) fn get(&self, token: &str, path: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send(&format!("GET {path}"), &[("Authorization", &bearer)], "")
    }

    /// Posts JSON with a token.
    pub(crate) fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.put(
            token,
            &format!("POST {path}"),
            "application/json",
            &body.to_string(),
        )
    }

    /// Sends a body of any kind with a token.
    pub(crate) fn put(&self, token: &str, line: &str, media_type: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", media_type),
        ];
        self.send(line, &headers, body)
    }

    /// Follows a stream of events.
    pub(crate) fn follow(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Stream {
        let mut stream = self.dial();
        write(&mut stream, &self.address, line, headers, body);
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader);
        assert_eq!(status, 200, "{headers:?}");
        Stream {
            reader,
            text: String::new(),
        }
    }
}

/// Server-sent events as they come.
pub(crate) struct Stream {
    reader: BufReader<TcpStream>,
    text: String,
}

/// One of them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Stream {
    /// The next one that is no comment; none at the end.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((one, rest)) = self.text.split_once("\n\n") {
                let mut event = Event::default();
                for line in one.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => id.clone_into(&mut event.id),
                        Some(("event", name)) => name.clone_into(&mut event.name),
                        Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                if event != Event::default() {
                    return Some(event);
                }
            }
            let chunk = read_chunk(&mut self.reader)?;
            self.text.push_str(&chunk);
        }
    }
}

fn write(stream: &mut TcpStream, host: &str, line: &str, headers: &[(&str, &str)], body: &str) {
    let mut head = format!("{line} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.push_str(&format!("Host: {host}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("Connection: close\r\n\r\n");
    head.push_str(body);
    // An early refusal may close the connection while the body is still on its way.
    if let Err(error) = stream.write_all(head.as_bytes()) {
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
}

fn read_head(reader: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}"));
    let status = status.parse().unwrap();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => return (status, headers),
        }
    }
}

fn read_chunk(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
    let mut bytes = vec![0; length + 2];
    reader.read_exact(&mut bytes).ok()?;
    bytes.truncate(length);
    (length > 0).then(|| String::from_utf8(bytes).unwrap())
}

pub(crate) fn read_answer(reader: &mut impl BufRead) -> Answer {
    let (status, headers) = read_head(reader);
    let is_chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
    let mut body = String::new();
    if is_chunked {
        while let Some(chunk) = read_chunk(reader) {
            body.push_str(&chunk);
        }
    } else {
        reader.read_to_string(&mut body).unwrap();
    }
    Answer {
        status,
        headers,
        body,
    }
}

/// Waits until the other end closes; gives what it said before.
pub(crate) fn until_closed(stream: &mut TcpStream) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
