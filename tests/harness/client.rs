//! A bare WebSocket client: enough to see what a fake says, and nothing that a plugin uses.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::stage::PATIENCE;

/// Any key will do: a fake's answer to it is not checked.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const MASKED: u8 = 0x80;
/// Says that the length follows in two bytes.
const LONG: u8 = 0x7e;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
/// The payload of a frame shorter than this has its length in one byte.
const SHORT_MAX: usize = 125;

/// A connection.
#[derive(Debug)]
pub struct WebSocket {
    reader: BufReader<TcpStream>,
}

impl WebSocket {
    /// Connects to `ws://…`.
    ///
    /// # Errors
    /// Nobody is there, or it is no WebSocket.
    pub fn connect(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("ws://").unwrap_or(url);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self {
            reader: BufReader::new(stream),
        };
        let request = format!(
            "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n"
        );
        client.reader.get_mut().write_all(request.as_bytes())?;
        let mut status = String::new();
        client.reader.read_line(&mut status)?;
        let mut line = status.clone();
        while line.len() > 2 {
            line.clear();
            client.reader.read_line(&mut line)?;
        }
        if status.contains(" 101 ") {
            Ok(client)
        } else {
            let text = format!("expected another protocol, found {}", status.trim_end());
            Err(Error::other(text))
        }
    }

    /// Waits for a frame of JSON.
    ///
    /// # Errors
    /// The connection ended; the text has the code of the goodbye.
    pub fn frame(&mut self) -> Result<Value> {
        loop {
            let mut head = [0; 2];
            self.reader.read_exact(&mut head)?;
            let length = match usize::from(head[1] & 0x7f) {
                126 => {
                    let mut more = [0; 2];
                    self.reader.read_exact(&mut more)?;
                    usize::from(u16::from_be_bytes(more))
                }
                127 => return Err(Error::other("expected a short frame")),
                length => length,
            };
            let mut payload = vec![0; length];
            self.reader.read_exact(&mut payload)?;
            match head[0] & 0x0f {
                TEXT => return serde_json::from_slice(&payload).map_err(Error::other),
                CLOSE => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Err(Error::other(format!("closed with {code:?}")));
                }
                _ => {}
            }
        }
    }

    /// Sends a frame of JSON.
    ///
    /// # Errors
    /// The connection ended.
    pub fn say(&mut self, frame: &Value) -> Result<()> {
        self.send(TEXT, frame.to_string().as_bytes())
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// The connection ended.
    pub fn close(&mut self, code: u16) -> Result<()> {
        self.send(CLOSE, &code.to_be_bytes())
    }

    /// Writes a frame, masked by zeros.
    fn send(&mut self, kind: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![0x80 | kind];
        if payload.len() <= SHORT_MAX {
            frame.push(MASKED | payload.len() as u8);
        } else {
            let length = u16::try_from(payload.len()).map_err(Error::other)?;
            frame.push(MASKED | LONG);
            frame.extend(length.to_be_bytes());
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.reader.get_mut().write_all(&frame)
    }
}
