//! A raw peer of the wire contract: JSON lines over a Unix socket, without any SDK.
//!
//! Drivers use it so that a mistake of an SDK cannot hide one of the broker. It is a client only; it checks
//! nothing, keeps no state but the frames that came while it waited for another, and answers pings.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Unwritten bytes after which a frame is written at once instead of with the next read.
const WRITE_BYTES: usize = 64 * 1024;
/// How much one read asks for.
const READ_BYTES: usize = 64 * 1024;
/// How long the broker may leave a write standing.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Why a peer cannot go on, or was refused.
#[derive(Debug)]
pub enum WireError {
    /// The link ended.
    Closed(io::Error),
    /// The broker answered with an error.
    Refused {
        /// Stable code.
        code: String,
        /// Its words.
        message: String,
    },
    /// No answer came in time.
    TimedOut,
}

impl fmt::Display for WireError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(error) => write!(out, "the link ended: {error}"),
            Self::Refused { code, message } => write!(out, "refused with {code}: {message}"),
            Self::TimedOut => write!(out, "no answer came in time"),
        }
    }
}

impl std::error::Error for WireError {}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Closed(error)
    }
}

/// A frame that came in.
#[derive(Debug)]
pub enum Incoming {
    /// The answer to a request.
    Reply {
        /// The request's number.
        id: u64,
        /// What it was answered with.
        result: Result<Value, WireError>,
    },
    /// An event.
    Delivery(Delivery),
    /// Any other notification or request of the broker.
    Other {
        /// Number to answer to, when it is a request.
        id: Option<u64>,
        /// Its method.
        method: String,
        /// Its parameters.
        params: Value,
    },
}

/// An event as it was handed over.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Complete topic.
    pub topic: String,
    /// Event id.
    pub event_id: String,
    /// Session, if any.
    pub session: Option<String>,
    /// What it belongs to: of a receipt, the outbound event.
    pub correlation_id: Option<String>,
    /// The payload's bytes, exactly as they came.
    pub payload: Box<str>,
    /// Dead letter that it was replayed from.
    pub replay_of: Option<String>,
    /// The handing-over; `None` for an ephemeral event.
    pub handing: Option<Handing>,
}

/// The delivery object of an event.
#[derive(Debug, Clone, Deserialize)]
pub struct Handing {
    /// Opaque, new each time.
    pub id: String,
    /// Its number among the attempts.
    pub attempt: u64,
    /// It is a repeat.
    pub redelivered: bool,
    /// How long it may be settled.
    pub lease_ms: u64,
    /// Full name of the subscription.
    pub subscription: String,
}

/// Parameters of `broker.subscribe`.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// Name within the client.
    pub name: String,
    /// Topic filters.
    pub filters: Vec<String>,
    /// Group that shares the subscription.
    pub group: Option<String>,
    /// Most events in flight on this link.
    pub credit: u64,
    /// How failures are handled, as the wire says it.
    pub retry: Option<Value>,
}

/// What a subscription was answered with.
#[derive(Debug, Clone, Deserialize)]
pub struct Subscribed {
    /// Full name.
    pub subscription: String,
    /// Where it stands.
    pub cursor: u64,
    /// It was new.
    pub created: bool,
}

#[derive(Deserialize)]
struct FrameIn<'a> {
    id: Option<u64>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<ErrorIn>,
}

#[derive(Deserialize)]
struct ErrorIn {
    code: i64,
    message: String,
    data: Option<Value>,
}

#[derive(Deserialize)]
struct EventIn<'a> {
    topic: String,
    #[serde(borrow)]
    event: EnvelopeIn<'a>,
    delivery: Option<Handing>,
}

#[derive(Deserialize)]
struct EnvelopeIn<'a> {
    id: String,
    session_id: Option<String>,
    correlation_id: Option<String>,
    #[serde(borrow)]
    payload: &'a RawValue,
    metadata: Option<Value>,
}

/// One link as a client.
#[derive(Debug)]
pub struct Peer {
    stream: UnixStream,
    unwritten: Vec<u8>,
    unread: Vec<u8>,
    /// Up to here `unread` was searched for a newline.
    searched: usize,
    waiting: VecDeque<Incoming>,
    last_id: u64,
    timeout: Option<Duration>,
    /// What `connect` was answered with.
    pub welcome: Value,
}

impl Peer {
    /// Connects as a client.
    ///
    /// # Errors
    /// Nobody listens at `socket`, or the token is refused.
    pub fn connect(socket: &Path, token: &str, name: &str) -> Result<Self, WireError> {
        let mut peer = Self::open(socket)?;
        let protocol = json!({"name": "trunkline", "min": "1.0", "max": "1.0"});
        let hello = json!({"role": "client", "token": token, "name": name, "protocol": protocol});
        peer.welcome = peer.call("connect", &hello, Duration::from_secs(10))?;
        Ok(peer)
    }

    /// Opens a link and says nothing yet.
    ///
    /// # Errors
    /// Nobody listens at `socket`.
    pub fn open(socket: &Path) -> Result<Self, WireError> {
        Self::over(UnixStream::connect(socket)?)
    }

    /// Makes a peer of a stream that is already there.
    ///
    /// # Errors
    /// The stream takes no time limit.
    pub fn over(stream: UnixStream) -> Result<Self, WireError> {
        stream.set_write_timeout(Some(WRITE_LIMIT))?;
        Ok(Self {
            stream,
            unwritten: Vec::new(),
            unread: Vec::new(),
            searched: 0,
            waiting: VecDeque::new(),
            last_id: 0,
            timeout: None,
            welcome: Value::Null,
        })
    }

    /// Queues a request and returns its number.
    ///
    /// # Errors
    /// The link ended.
    pub fn request(&mut self, method: &str, params: &Value) -> Result<u64, WireError> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        Ok(id)
    }

    /// Queues the answer to a request of the broker.
    ///
    /// # Errors
    /// The link ended.
    pub fn respond(&mut self, id: u64, result: &Value) -> Result<(), WireError> {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }

    /// Queues a notification.
    ///
    /// # Errors
    /// The link ended.
    pub fn notify(&mut self, method: &str, params: &Value) -> Result<(), WireError> {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
    }

    /// Queues a publish and returns the request's number; many may be under way.
    ///
    /// # Errors
    /// The link ended.
    pub fn publish(
        &mut self,
        topic: &str,
        id: &str,
        session: Option<&str>,
        payload: &str,
    ) -> Result<u64, WireError> {
        // Written by hand: the payload's bytes must reach the broker as they are.
        self.last_id += 1;
        let id = json!(id);
        let (number, topic, session) = (self.last_id, json!(topic), json!(session));
        let frame = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"broker.publish\",\"params\":{{\
             \"topic\":{topic},\"event\":{{\"id\":{id},\"session_id\":{session},\
             \"payload\":{payload}}}}}}}\n"
        );
        self.unwritten.extend_from_slice(frame.as_bytes());
        if self.unwritten.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(number)
    }

    /// Subscribes and waits for the answer; deliveries that came before it are kept.
    ///
    /// # Errors
    /// The link ended or the broker refused.
    pub fn subscribe(&mut self, subscribe: &Subscribe) -> Result<Subscribed, WireError> {
        let mut params = json!({
            "name": subscribe.name,
            "filters": subscribe.filters,
            "start": "earliest",
            "credit": {"events": subscribe.credit, "bytes": 8 << 20},
        });
        if let Some(group) = &subscribe.group {
            params["group"] = json!(group);
        }
        if let Some(retry) = &subscribe.retry {
            params["retry"] = retry.clone();
        }
        let answer = self.call("broker.subscribe", &params, Duration::from_secs(10))?;
        serde_json::from_value(answer).map_err(|error| malformed(&error))
    }

    /// Queues an ack as a request and returns its number.
    ///
    /// # Errors
    /// The link ended.
    pub fn ack(&mut self, delivery: &str) -> Result<u64, WireError> {
        self.request("broker.ack", &json!({"deliveries": [delivery]}))
    }

    /// Sends a request and waits up to `limit` for its answer; what else comes is kept for [`Peer::next`].
    ///
    /// # Errors
    /// The link ended, the broker refused, or the answer did not come.
    pub fn call(
        &mut self,
        method: &str,
        params: &Value,
        limit: Duration,
    ) -> Result<Value, WireError> {
        let wanted = self.request(method, params)?;
        let until = Instant::now() + limit;
        let mut kept = VecDeque::new();
        let answer = loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.next(left) {
                Ok(Some(Incoming::Reply { id, result })) if id == wanted => break result,
                Ok(Some(other)) => kept.push_back(other),
                Ok(None) => break Err(WireError::TimedOut),
                Err(error) => break Err(error),
            }
        };
        kept.append(&mut self.waiting);
        self.waiting = kept;
        answer
    }

    /// Writes what is queued and returns the next frame, or `None` when none comes within `limit`.
    ///
    /// # Errors
    /// The link ended.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Incoming>, WireError> {
        self.flush()?;
        if let Some(incoming) = self.waiting.pop_front() {
            return Ok(Some(incoming));
        }
        let until = Instant::now() + limit;
        loop {
            while let Some(frame) = self.frame() {
                if let Some(incoming) = self.read_frame(&frame)? {
                    return Ok(Some(incoming));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if !self.fill(left)? {
                return Ok(None);
            }
        }
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// The link ended.
    pub fn flush(&mut self) -> Result<(), WireError> {
        if !self.unwritten.is_empty() {
            let written = self.stream.write_all(&self.unwritten);
            self.unwritten.clear();
            written?;
        }
        Ok(())
    }

    /// Writes bytes as they are, frame or not.
    ///
    /// # Errors
    /// The link ended.
    pub fn write_raw(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.unwritten.extend_from_slice(bytes);
        self.flush()
    }

    fn send(&mut self, frame: &Value) -> Result<(), WireError> {
        serde_json::to_writer(&mut self.unwritten, frame).map_err(|error| malformed(&error))?;
        self.unwritten.push(b'\n');
        if self.unwritten.len() >= WRITE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Takes one whole line out of what was read.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let newline = self.unread[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n');
        let Some(found) = newline else {
            self.searched = self.unread.len();
            return None;
        };
        let end = self.searched + found;
        let rest = self.unread.split_off(end + 1);
        let mut frame = std::mem::replace(&mut self.unread, rest);
        frame.pop();
        self.searched = 0;
        Some(frame)
    }

    /// Reads more; false when nothing came within `limit`.
    fn fill(&mut self, limit: Duration) -> Result<bool, WireError> {
        let limit = limit.max(Duration::from_millis(1));
        if self.timeout != Some(limit) {
            self.stream.set_read_timeout(Some(limit))?;
            self.timeout = Some(limit);
        }
        let begin = self.unread.len();
        self.unread.resize(begin + READ_BYTES, 0);
        let read = self.stream.read(&mut self.unread[begin..]);
        self.unread
            .truncate(begin + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => Err(WireError::Closed(ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads one frame; `None` when it was a ping, which is answered here.
    fn read_frame(&mut self, bytes: &[u8]) -> Result<Option<Incoming>, WireError> {
        let frame: FrameIn<'_> =
            serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        match (frame.id, frame.method) {
            (Some(id), Some(method)) if method == "ping" => {
                let result = json!({"loop_lag_ms": 0, "in_flight": 0});
                self.send(&json!({"jsonrpc": "2.0", "id": id, "result": result}))?;
                self.flush()?;
                Ok(None)
            }
            (_, Some(method)) if method == "broker.event" => {
                let params = frame.params.map_or("null", RawValue::get);
                Ok(Some(Incoming::Delivery(delivery(params)?)))
            }
            (_, Some(method)) => {
                let params = frame.params.map_or("null", RawValue::get);
                let params = serde_json::from_str(params).map_err(|error| malformed(&error))?;
                Ok(Some(Incoming::Other {
                    id: frame.id,
                    method,
                    params,
                }))
            }
            (Some(id), None) => {
                let result = match frame.error {
                    Some(error) => Err(refused(error)),
                    None => serde_json::from_str(frame.result.map_or("null", RawValue::get))
                        .map_err(|error| malformed(&error)),
                };
                Ok(Some(Incoming::Reply { id, result }))
            }
            (None, None) => {
                let words = String::from_utf8_lossy(bytes).into_owned();
                Ok(Some(Incoming::Other {
                    id: None,
                    method: String::new(),
                    params: Value::String(words),
                }))
            }
        }
    }
}

fn delivery(params: &str) -> Result<Delivery, WireError> {
    let EventIn {
        topic,
        event,
        delivery,
    } = serde_json::from_str(params).map_err(|error| malformed(&error))?;
    let replay_of = event
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.get("replay_of"));
    Ok(Delivery {
        topic,
        event_id: event.id,
        session: event.session_id,
        payload: event.payload.get().into(),
        correlation_id: event.correlation_id,
        replay_of: replay_of.map(|value| value.as_str().map_or(value.to_string(), str::to_owned)),
        handing: delivery,
    })
}

fn refused(error: ErrorIn) -> WireError {
    let code = error
        .data
        .as_ref()
        .and_then(|data| data.get("code"))
        .and_then(Value::as_str);
    let code = code.map_or_else(|| error.code.to_string(), str::to_owned);
    WireError::Refused {
        code,
        message: error.message,
    }
}

fn malformed(error: &serde_json::Error) -> WireError {
    WireError::Closed(io::Error::new(ErrorKind::InvalidData, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Plays the broker's lines: each read line is answered with the next of `lines`.
    fn broker(lines: Vec<String>) -> (tempfile::TempDir, thread::JoinHandle<Vec<Value>>) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let handle = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut seen = Vec::new();
            for answer in lines {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                seen.push(serde_json::from_str(&line).unwrap());
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
            seen
        });
        (dir, handle)
    }

    const EVENT: &str = r#"{"jsonrpc":"2.0","method":"broker.event","params":{"topic":"a.b","event":{"id":"e1","session_id":"s","payload":{"n": 9007199254740993},"metadata":{}},"delivery":{"id":"d1","attempt":2,"redelivered":true,"lease_ms":30000,"subscription":"client.x.all"}}}"#;

    #[test]
    fn a_delivery_that_comes_before_an_answer_is_kept_with_its_exact_bytes() {
        let (dir, broker) = broker(vec![
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"source\":\"client:x\"}}\n".into(),
            format!(
                "{EVENT}\n{{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{{\"subscription\":\"client.x.all\",\"cursor\":4,\"head\":9,\"created\":true}}}}\n"
            ),
        ]);
        let mut peer = Peer::connect(&dir.path().join("s"), "t", "x").unwrap();
        assert_eq!(peer.welcome["source"], "client:x");
        let filters = vec!["a.>".into()];
        let subscribe = Subscribe {
            name: "all".into(),
            filters,
            group: None,
            credit: 4,
            retry: None,
        };
        let subscribed = peer.subscribe(&subscribe).unwrap();
        assert_eq!((subscribed.cursor, subscribed.created), (4, true));
        let next = peer.next(Duration::from_secs(5)).unwrap();
        let Some(Incoming::Delivery(delivery)) = next else {
            panic!("{next:?}")
        };
        assert_eq!(&*delivery.payload, r#"{"n": 9007199254740993}"#);
        assert!(delivery.handing.is_some_and(|handing| handing.redelivered));
        let seen = broker.join().unwrap();
        assert_eq!(seen[0]["params"]["role"], "client");
        assert_eq!(seen[1]["params"]["credit"]["events"], 4);
    }

    #[test]
    fn a_refusal_carries_its_stable_code_and_a_ping_is_answered() {
        let (dir, broker) = broker(vec![
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}\n".into(),
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"no\",\"data\":{\"code\":\"unauthorized\"}}}\n".into(),
        ]);
        let refused = Peer::connect(&dir.path().join("s"), "t", "x").unwrap_err();
        assert!(matches!(&refused, WireError::Refused { code, .. } if code == "unauthorized"));
        assert_eq!(broker.join().unwrap()[1]["result"]["in_flight"], 0);
    }

    #[test]
    fn silence_is_no_end_and_an_end_is_no_silence() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let mut peer = Peer::open(&dir.path().join("s")).unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert!(peer.next(Duration::from_millis(5)).unwrap().is_none());
        drop(stream);
        assert!(matches!(
            peer.next(Duration::from_secs(5)),
            Err(WireError::Closed(_))
        ));
    }
}
