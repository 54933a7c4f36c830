//! What the owner asks of the daemon over HTTP.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::operator::Home;

/// Posts to the HTTP interface as the owner; gives the status and the body.
pub(crate) fn post(home: &Home, path: &str, body: &str) -> (u16, Value) {
    let status = home.run(&["status", "--json"]).json();
    let address = status["http"].as_str().unwrap();
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let token = std::fs::read_to_string(home.path().join(".trunkline/token")).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        token.trim(),
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}
