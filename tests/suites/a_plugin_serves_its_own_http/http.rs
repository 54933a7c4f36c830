//! A client of HTTP/1.1 that shows what is on the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Connection {
    pub(crate) stream: BufReader<TcpStream>,
}

/// What came back, but for its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Connection {
    pub(crate) fn open(address: &str) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    /// Connects from one of the machine's own addresses.
    pub(crate) fn open_from(own: &str, address: &str) -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let own = SocketAddrV4::new(own.parse().unwrap(), 0);
        bind(&socket, &own).unwrap();
        let address: SocketAddrV4 = address.parse().unwrap();
        connect(&socket, &address).unwrap();
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Writes a request's head; a header `Host` is there already.
    pub(crate) fn ask(&mut self, line: &str, headers: &[&str]) {
        let mut head = format!("{line} HTTP/1.1\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            head.push_str("Host: localhost\r\n");
        }
        for header in headers {
            head.push_str(&format!("{header}\r\n"));
        }
        self.write(head + "\r\n");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn head(&mut self) -> Head {
        let line = self.line();
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Head {
            status: status.unwrap_or_else(|| panic!("expected a status, found {line:?}")),
            headers,
        }
    }

    /// Reads one chunk; empty at the end.
    pub(crate) fn chunk(&mut self) -> String {
        let size = usize::from_str_radix(&self.line(), 16).unwrap();
        let text = self.exactly(size);
        assert_eq!(self.line(), "");
        String::from_utf8(text).unwrap()
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads an answer whose body is JSON, or nothing.
    pub(crate) fn answer(&mut self) -> (Head, Value) {
        let head = self.head();
        let length = head.get("content-length").map_or(0, |n| n.parse().unwrap());
        let body = self.exactly(length);
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        (head, body)
    }
}
