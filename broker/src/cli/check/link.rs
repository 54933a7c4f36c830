//! The broker's side of the link, as far as a plugin can tell.
//!
//! It answers what a plugin asks and remembers what it says; it stores nothing.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::frame::{Decoder, Frame};
use trunkline_contract::limits::FRAME_BYTES_MAX;
use trunkline_contract::rpc::{self, Message, method};

use crate::supervisor::Connection;

/// What the plugin said.
#[derive(Debug)]
pub(super) enum Said {
    /// An answer to a request of ours.
    Answer(u64, Result<Value, Error>),
    /// An error that belongs to no request: a frame could not be read.
    Complaint(Error),
    /// Something it asked or told; answered already.
    Call { method: String, params: Value },
    /// Its link ended.
    End,
}

/// The link to one process.
pub(super) struct Link {
    read: Box<dyn AsyncRead + Send + Unpin>,
    write: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    decoder: Decoder,
    next_id: u64,
    seq: u64,
    /// Lines that were no frames, or no messages.
    pub(super) faults: Vec<String>,
    /// How each delivery was settled, in order.
    pub(super) settled: BTreeMap<String, Vec<&'static str>>,
    /// Topics and ids of what it published.
    pub(super) published: Vec<(String, Option<String>)>,
    /// Methods that it used and that no broker has.
    pub(super) unknown: Vec<String>,
}

impl Link {
    /// Takes over the broker's ends.
    pub(super) fn new(connection: Connection) -> io::Result<Self> {
        let (read, write): (
            Box<dyn AsyncRead + Send + Unpin>,
            Box<dyn AsyncWrite + Send + Unpin>,
        ) = match connection {
            Connection::Socket(stream) => {
                let (read, write) = tokio::net::UnixStream::from_std(stream)?.into_split();
                (Box::new(read), Box::new(write))
            }
            Connection::Stdio { stdin, stdout } => {
                use tokio::net::unix::pipe::{Receiver, Sender};
                let read = Receiver::from_owned_fd(stdout)?;
                let write = Sender::from_owned_fd(stdin)?;
                (Box::new(read), Box::new(write))
            }
        };
        Ok(Self {
            read,
            write: Some(write),
            decoder: Decoder::new(FRAME_BYTES_MAX),
            next_id: 1,
            seq: 1,
            faults: Vec::new(),
            settled: BTreeMap::new(),
            published: Vec::new(),
            unknown: Vec::new(),
        })
    }

    /// Writes bytes as they are; gives up after a while with a plugin that does not read.
    pub(super) async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), String> {
        let Some(write) = &mut self.write else {
            return Err("the link is closed".to_owned());
        };
        match tokio::time::timeout(limit, write.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the link broke: {error}")),
            Err(_) => Err("it does not read its link".to_owned()),
        }
    }

    /// Sends a request and gives its number.
    pub(super) async fn request(
        &mut self,
        method: &str,
        params: &impl Serialize,
        limit: Duration,
    ) -> Result<u64, String> {
        let id = self.next_id;
        self.next_id += 1;
        let mut frame = Vec::new();
        rpc::write_request(&mut frame, id, method, params);
        self.write(&frame, limit).await?;
        Ok(id)
    }

    /// Sends a notification.
    pub(super) async fn notify(
        &mut self,
        method: &str,
        params: &impl Serialize,
        limit: Duration,
    ) -> Result<(), String> {
        let mut frame = Vec::new();
        rpc::write_notification(&mut frame, method, params);
        self.write(&frame, limit).await
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask(
        &mut self,
        method: &str,
        params: &impl Serialize,
        limit: Duration,
    ) -> Result<Result<Value, Error>, String> {
        let id = self.request(method, params, limit).await?;
        self.until(limit, |said| match said {
            Said::Answer(found, answer) if *found == id => Some(answer.clone()),
            _ => None,
        })
        .await
        .map_err(|why| format!("{method} was not answered: {why}"))
    }

    /// Listens until `found` has what it wants.
    pub(super) async fn until<T>(
        &mut self,
        limit: Duration,
        mut found: impl FnMut(&Said) -> Option<T>,
    ) -> Result<T, String> {
        let listen = async {
            loop {
                let said = self.next().await;
                if let Some(wanted) = found(&said) {
                    return Ok(wanted);
                }
                if matches!(said, Said::End) {
                    return Err("its link ended".to_owned());
                }
            }
        };
        tokio::time::timeout(limit, listen)
            .await
            .unwrap_or_else(|_| Err(format!("nothing came within {limit:?}")))
    }

    /// Listens until a delivery is settled, and says how.
    pub(super) async fn settlement(
        &mut self,
        delivery: &str,
        limit: Duration,
    ) -> Result<&'static str, String> {
        let listen = async {
            loop {
                if let Some(how) = self.settled.get(delivery).and_then(|how| how.first()) {
                    return Ok(*how);
                }
                if matches!(self.next().await, Said::End) {
                    return Err("its link ended".to_owned());
                }
            }
        };
        tokio::time::timeout(limit, listen)
            .await
            .unwrap_or_else(|_| Err(format!("not settled within {limit:?}")))
    }

    /// Ends the link: the plugin reads an end of file.
    pub(super) fn close(&mut self) {
        self.write = None;
        self.read = Box::new(tokio::io::empty());
    }

    async fn next(&mut self) -> Said {
        loop {
            let message = match self.decoder.next_frame() {
                Some(Frame::Complete(frame)) => own(frame),
                Some(Frame::TooLarge { bytes, limit }) => Err(format!(
                    "a frame of {bytes} bytes, at most {limit} are allowed"
                )),
                None => match self.read.read(self.decoder.spare(64 * 1024)).await {
                    Ok(count) if count > 0 => {
                        self.decoder.filled(count);
                        continue;
                    }
                    _ => return Said::End,
                },
            };
            match message {
                Ok(Heard::Said(said)) => return said,
                Ok(Heard::Call { id, method, params }) => {
                    let answer = self.serve(&method, &params);
                    if let Some(id) = id {
                        let mut frame = Vec::new();
                        match answer {
                            Ok(result) => rpc::write_result(&mut frame, &id, &result),
                            Err(error) => rpc::write_error(&mut frame, Some(&id), &error),
                        }
                        // A plugin that does not read its answers is found out by the next rule.
                        let _best_effort = self.write(&frame, Duration::from_secs(5)).await;
                    }
                    return Said::Call { method, params };
                }
                Err(fault) => self.faults.push(fault),
            }
        }
    }

    fn settle(&mut self, ids: &Value, how: &'static str) {
        for id in ids.as_array().into_iter().flatten() {
            let id = id.as_str().or_else(|| id["delivery"].as_str());
            if let Some(id) = id {
                self.settled.entry(id.to_owned()).or_default().push(how);
            }
        }
    }

    fn publish(&mut self, params: &Value) -> Value {
        let topic = params["topic"].as_str().unwrap_or_default().to_owned();
        let id = params["event"]["id"].as_str().map(str::to_owned);
        self.published.push((topic, id));
        self.seq += 1;
        json!({"seq": self.seq, "duplicate": false, "matched": 1})
    }

    /// Answers as a broker would.
    fn serve(&mut self, name: &str, params: &Value) -> Result<Value, Error> {
        let is_publish = |params: &Value| params.is_object();
        Ok(match name {
            method::BROKER_PUBLISH if is_publish(params) => self.publish(params),
            method::BROKER_COMMIT => {
                let events: Vec<Value> = params["events"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|event| self.publish(event))
                    .collect();
                self.settle(&params["ack"], "ack");
                self.settle(&params["nak"], "nak");
                self.settle(&params["reject"], "reject");
                let changes = params["kv"].as_array().map_or(0, Vec::len);
                let revisions: Vec<Value> = (0..changes)
                    .map(|_| json!({"revision": self.seq}))
                    .collect();
                json!({"events": events, "kv": revisions})
            }
            method::BROKER_ACK => {
                self.settle(&params["deliveries"], "ack");
                json!({"stale": []})
            }
            method::BROKER_NAK => {
                self.settle(&params["deliveries"], "nak");
                json!({"stale": []})
            }
            method::BROKER_REJECT => {
                self.settle(&params["deliveries"], "reject");
                json!({"stale": []})
            }
            method::BROKER_EXTEND => json!({"stale": []}),
            method::BROKER_SUBSCRIBE => json!({
                "subscription": params["name"], "cursor": 0, "head": 0, "created": true}),
            method::INSTANCE_STATUS
            | method::INSTANCE_PROGRESS
            | method::LOG
            | method::BROKER_CREDIT
            | method::BROKER_UNSUBSCRIBE
            | method::KV_UNWATCH
            | method::LOCK_RELEASE => json!({}),
            method::PING => json!({"loop_lag_ms": 0, "in_flight": 0}),
            method::KV_GET => return Err(Error::new(Code::NotFound, "there is no such key")),
            method::KV_PUT | method::KV_DELETE => json!({"revision": self.seq}),
            method::KV_LIST => json!({"entries": [], "revision": self.seq}),
            method::KV_WATCH => json!({"watch": "1", "revision": self.seq}),
            method::LOCK_ACQUIRE | method::LOCK_RENEW => json!({"token": 1}),
            name => {
                if !method::ALL.contains(&name) {
                    self.unknown.push(name.to_owned());
                }
                let text = format!("{name} is not served by a check");
                return Err(Error::new(Code::NotImplemented, text));
            }
        })
    }
}

enum Heard {
    Said(Said),
    Call {
        id: Option<Box<RawValue>>,
        method: String,
        params: Value,
    },
}

fn own(frame: &[u8]) -> Result<Heard, String> {
    let text = |frame: &[u8]| {
        let text = String::from_utf8_lossy(&frame[..frame.len().min(80)]).into_owned();
        crate::cli::output::one_line(&text, 80)
    };
    let value = |raw: Option<&RawValue>| match raw {
        Some(raw) => serde_json::from_str(raw.get()).unwrap_or_default(),
        None => Value::Object(Map::new()),
    };
    match rpc::parse(frame) {
        Ok(Message::Request { id, method, params }) => Ok(Heard::Call {
            id: Some(id.to_owned()),
            method: method.into_owned(),
            params: value(params),
        }),
        Ok(Message::Notification { method, params }) => Ok(Heard::Call {
            id: None,
            method: method.into_owned(),
            params: value(params),
        }),
        Ok(Message::Response { id, result }) => {
            let answer = match result {
                Ok(result) => Ok(value(Some(result))),
                Err(error) => Err(Error::from_rpc(&error)),
            };
            match (id.get().parse::<u64>(), answer) {
                (Ok(id), answer) => Ok(Heard::Said(Said::Answer(id, answer))),
                (Err(_), Err(error)) if id.get() == "null" => {
                    Ok(Heard::Said(Said::Complaint(error)))
                }
                (Err(_), _) => Err(format!(
                    "an answer to a request nobody made: {}",
                    text(frame)
                )),
            }
        }
        Err(fault) => Err(format!("{}: {}", fault.error.message, text(frame))),
    }
}
