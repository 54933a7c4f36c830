//! Services outside that a plugin uses, played by the test: a provider that takes messages, a source of items,
//! and a gateway of lines. What they hear and answer are steps at which somebody may die.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::steps::{PATIENCE, Steps};

/// A message that the provider took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The idempotency key.
    pub key: String,
    /// Its text.
    pub text: String,
}

#[derive(Debug, Default)]
struct Known {
    taken: Vec<Taken>,
    items: Vec<String>,
    /// Who waits for items: who came later takes their place.
    waiter: u64,
    /// Who waits now has all there is.
    is_idle: bool,
}

fn numbered(items: &[String]) -> impl Iterator<Item = Value> {
    let numbered = (1u64..).zip(items);
    numbered.map(|(seq, text)| json!({ "op": "message", "seq": seq, "text": text }))
}

/// A provider and source over HTTP, and the gateway of lines.
#[derive(Debug)]
pub struct Outside {
    steps: Arc<Steps>,
    /// It takes a key only once.
    is_idempotent: bool,
    known: Mutex<Known>,
    changed: Condvar,
}

impl Outside {
    /// Starts it; gives its addresses, of HTTP and of lines.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start(steps: &Arc<Steps>, is_idempotent: bool) -> (Arc<Self>, [String; 2]) {
        let outside = Arc::new(Self {
            steps: Arc::clone(steps),
            is_idempotent,
            known: Mutex::default(),
            changed: Condvar::new(),
        });
        let serve: [fn(&Self, TcpStream); 2] = [
            |outside, stream| {
                outside.http(&stream);
            },
            |outside, stream| {
                outside.line(&stream);
            },
        ];
        let addresses = serve.map(|serve| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let address = listener.local_addr().expect("it is bound").to_string();
            let outside = Arc::clone(&outside);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let outside = Arc::clone(&outside);
                    thread::spawn(move || serve(&outside, stream));
                }
            });
            address
        });
        (outside, addresses)
    }

    /// What the provider took, in order.
    ///
    /// # Panics
    /// When a thread of it panicked.
    pub fn taken(&self) -> Vec<Taken> {
        self.known.lock().expect("no thread panics").taken.clone()
    }

    /// Adds an item to the source and to the line.
    ///
    /// # Panics
    /// When a thread of it panicked.
    pub fn add(&self, text: &str) {
        let mut known = self.known.lock().expect("no thread panics");
        known.items.push(text.to_owned());
        known.is_idle = false;
        self.changed.notify_all();
    }

    /// The number of who waited for items last, and whether that one waits now and has all there is.
    ///
    /// # Panics
    /// When a thread of it panicked.
    pub fn waiter(&self) -> (u64, bool) {
        let known = self.known.lock().expect("no thread panics");
        (known.waiter, known.is_idle)
    }

    /// Says that somebody waits now, and nobody else does.
    fn wait_alone(&self) -> u64 {
        let mut known = self.known.lock().expect("no thread panics");
        known.waiter += 1;
        known.is_idle = false;
        self.changed.notify_all();
        known.waiter
    }

    /// Waits for items after the `seen` first ones; nothing when somebody else waits now.
    fn items_after(&self, seen: u64, waiter: u64) -> Option<Vec<Value>> {
        let mut known = self.known.lock().expect("no thread panics");
        if known.waiter == waiter && known.items.len() as u64 <= seen {
            known.is_idle = true;
        }
        let waits = |known: &mut Known| known.items.len() as u64 <= seen && known.waiter == waiter;
        let waited = self.changed.wait_timeout_while(known, PATIENCE, waits);
        let (known, _) = waited.expect("no thread panics");
        let is_alone = known.waiter == waiter;
        is_alone.then(|| numbered(&known.items).skip(seen as usize).collect())
    }

    /// Answers one request; nothing when a link ended.
    fn http(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let (mut line, mut request, mut length) = (String::new(), String::new(), 0);
        while reader.read_line(&mut line).ok()? > 2 {
            let lower = line.to_ascii_lowercase();
            if let Some(text) = lower.strip_prefix("content-length:") {
                length = text.trim().parse().ok()?;
            }
            if request.is_empty() {
                request.clone_from(&line);
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let url = request.split(' ').nth(1)?;
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let value = query.split_once('=').map_or("", |(_, value)| value);
        let what = path.trim_start_matches('/');
        if self.steps.pass(&format!("{what} heard")) {
            // Who died at that did not do it, or does not hear of it.
            return None;
        }
        let answer = match what {
            "send" => {
                let id = self.take(&serde_json::from_slice(&body).ok()?)?;
                self.steps.pass("send done");
                json!({ "id": id })
            }
            "sent" => json!({ "id": self.find(&unescaped(value)) }),
            "updates" => json!(self.items_after(value.parse().ok()?, self.wait_alone())?),
            _ => {
                let known = self.known.lock().expect("no thread panics");
                let mut newest: Vec<_> = numbered(&known.items).collect();
                newest.reverse();
                newest.truncate(50);
                json!(newest)
            }
        };
        self.steps.pass(&format!("{what} answered"));
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(answer.as_bytes()).ok()
    }

    /// Takes a message; gives its id.
    fn take(&self, body: &Value) -> Option<String> {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let taken = Taken {
            key: text("key")?,
            text: text("text")?,
        };
        if self.is_idempotent
            && let Some(id) = self.find(&taken.key)
        {
            return Some(id);
        }
        let mut known = self.known.lock().expect("no thread panics");
        known.taken.push(taken);
        Some(format!("P{}", known.taken.len()))
    }

    fn find(&self, key: &str) -> Option<String> {
        let known = self.known.lock().expect("no thread panics");
        let at = known.taken.iter().position(|taken| taken.key == key)?;
        Some(format!("P{}", at + 1))
    }

    /// Speaks with one connection of lines: it says what comes after what the other side has.
    fn line(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        say(stream, &json!({ "op": "hello" }))?;
        let mut seen = hear(&mut reader)?["resume"].as_u64().unwrap_or(0);
        let waiter = self.wait_alone();
        loop {
            for message in self.items_after(seen, waiter)? {
                self.steps.pass("line says");
                say(stream, &message)?;
                while hear(&mut reader)?["op"] != "ack" {}
                self.steps.pass("line hears the ack");
                seen += 1;
            }
        }
    }
}

/// Says one line of JSON; none once the other side has gone.
pub fn say(mut stream: &TcpStream, frame: &Value) -> Option<()> {
    stream.write_all(format!("{frame}\n").as_bytes()).ok()
}

/// Hears one line of JSON; none at the end.
pub fn hear(reader: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    serde_json::from_str(&line).ok()
}

/// Reads percent signs.
fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex: Option<u8> = (byte == b'%')
            .then(|| [bytes.next(), bytes.next()].map(Option::unwrap_or_default))
            .and_then(|pair| u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok());
        out.push(hex.unwrap_or(byte));
    }
    String::from_utf8_lossy(&out).into_owned()
}
