//! The servers that a test plays for connections: who connects, and what each side says.
//!
//! Nothing here waits: the test looks, the connection's task is woken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::Uri;
use tokio::sync::{mpsc, oneshot};
use trunkline_contract::error::{Code, Error};

use crate::payload::Json;

/// Frames of a test that its plugin has not read yet.
const TOLD_MAX: usize = 1_024;
/// Frames of a plugin that are kept of one connection; more than a test would look at.
const FRAMES_MAX: usize = 10_000;

/// All servers of a test, and who is connected to them.
#[derive(Default)]
pub(crate) struct Sockets {
    state: Mutex<State>,
    /// Frames that a plugin has not handled yet.
    working: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    servers: Vec<Server>,
    dials: BTreeMap<u64, Dial>,
    last_dial: u64,
    talks: Vec<Arc<Talk>>,
    /// Addresses that a test was told about which nobody plays.
    told: Vec<String>,
}

/// A server, by the beginning of its addresses.
struct Server {
    origin: String,
    path: String,
}

/// An attempt to connect that nobody has accepted yet.
struct Dial {
    server: Option<usize>,
    call: Call,
    answer: oneshot::Sender<Accepted>,
}

/// What an attempt to connect asks for.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) uri: Uri,
    pub(crate) headers: BTreeMap<String, String>,
}

/// A connection as the plugin's side of it takes it.
pub(crate) struct Accepted {
    pub(crate) talk: Arc<Talk>,
    pub(crate) told: mpsc::Receiver<Told>,
}

/// What becomes of an attempt.
pub(crate) enum Answered {
    /// The test accepted it.
    Played(Accepted),
    /// A server on this machine, which the test does not play.
    Real,
    /// The test is over.
    Over,
}

/// What a test does on a connection.
pub(crate) enum Told {
    Frame(Json, Work),
    Close(Option<u16>, String),
}

/// Something at work, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Work(Arc<AtomicU64>);

impl Work {
    fn begin(working: &Arc<AtomicU64>) -> Self {
        working.fetch_add(1, Ordering::SeqCst);
        Self(working.clone())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Sockets {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn working(&self) -> u64 {
        self.working.load(Ordering::SeqCst)
    }

    pub(super) fn are_used(&self) -> bool {
        let state = self.lock();
        !(state.dials.is_empty() && state.talks.is_empty())
    }

    /// Adds a server; gives its number. Who waits for one there is now waiting for this one.
    pub(crate) fn add(&self, url: &str) -> Result<usize, Error> {
        let refused = || {
            let text = format!(
                "expected the address of a server of connections, as \"wss://gateway.example.com\" \
                 or \"tls://host:6697\", found {url:?}"
            );
            Error::new(Code::InvalidArguments, text)
        };
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let origin = origin(&uri).ok_or_else(refused)?;
        let path = uri.path().trim_end_matches('/').to_owned();
        let mut state = self.lock();
        state.servers.push(Server { origin, path });
        let number = state.servers.len() - 1;
        let State { servers, dials, .. } = &mut *state;
        for dial in dials.values_mut() {
            dial.server = find(servers, &dial.call.uri);
        }
        Ok(number)
    }

    /// Waits for the test to accept an attempt to connect.
    pub(crate) async fn dial(&self, call: Call) -> Answered {
        let (answer, accepted) = oneshot::channel();
        let _waiting = {
            let mut state = self.lock();
            let server = find(&state.servers, &call.uri);
            if server.is_none() && is_here(&call.uri) {
                return Answered::Real;
            }
            state.last_dial += 1;
            let number = state.last_dial;
            let dial = Dial {
                server,
                call,
                answer,
            };
            state.dials.insert(number, dial);
            Waiting {
                sockets: self,
                number,
            }
        };
        match accepted.await {
            Ok(accepted) => Answered::Played(accepted),
            Err(_) => Answered::Over,
        }
    }

    /// Accepts the oldest attempt that waits for a server; gives the connection's number.
    pub(crate) fn accept(&self, server: usize) -> Option<usize> {
        let mut state = self.lock();
        loop {
            let mut dials = state.dials.iter();
            let (&number, _) = dials.find(|(_, dial)| dial.server == Some(server))?;
            let dial = state.dials.remove(&number)?;
            let (tell, told) = mpsc::channel(TOLD_MAX);
            let talk = Arc::new(Talk {
                call: dial.call,
                tell,
                said: Mutex::default(),
                is_stalled: AtomicBool::new(false),
            });
            let accepted = Accepted {
                talk: talk.clone(),
                told,
            };
            // One that was given up meanwhile is none.
            if dial.answer.send(accepted).is_ok() {
                state.talks.push(talk);
                return Some(state.talks.len() - 1);
            }
        }
    }

    /// Gives a connection.
    pub(crate) fn talk(&self, number: usize) -> Result<Arc<Talk>, Error> {
        self.lock().talks.get(number).cloned().ok_or_else(|| {
            let text = "the test broker knows no such connection";
            Error::new(Code::InvalidArguments, text)
        })
    }

    /// Lets a frame come; it is at work until it is handled.
    pub(crate) fn send(&self, number: usize, frame: Json) -> Result<(), Error> {
        let work = Work::begin(&self.working);
        self.talk(number)?.tell(Told::Frame(frame, work))
    }

    /// Describes the attempts that wait where nobody plays, each address once.
    pub(super) fn unplayed(&self) -> Vec<String> {
        let mut state = self.lock();
        let State { dials, told, .. } = &mut *state;
        let mut new = Vec::new();
        for dial in dials.values().filter(|dial| dial.server.is_none()) {
            let url = dial.call.uri.to_string();
            if told.contains(&url) {
                continue;
            }
            let start = origin(&dial.call.uri).unwrap_or_default();
            new.push(format!(
                "the plugin connects to {url}, which nobody plays; \
                 hint: broker.socket({start:?}), then accept() its connection"
            ));
            told.push(url);
        }
        new
    }

    /// Says who waits to be accepted, for who was waited for in vain.
    pub(crate) fn describe(&self) -> String {
        let state = self.lock();
        let waiting: Vec<_> = state.dials.values().map(|dial| &dial.call.uri).collect();
        match waiting[..] {
            [] => "the plugin does not try to connect".to_owned(),
            _ => format!("the plugin waits for {waiting:?}"),
        }
    }
}

/// An attempt is forgotten with who made it.
struct Waiting<'a> {
    sockets: &'a Sockets,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.sockets.lock().dials.remove(&self.number);
    }
}

/// The server that was added last of those that fit.
fn find(servers: &[Server], uri: &Uri) -> Option<usize> {
    let origin = origin(uri)?;
    servers.iter().rposition(|server| {
        let rest = uri.path().strip_prefix(server.path.as_str());
        server.origin == origin && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Scheme, host and port, which is left out where it is the scheme's own.
fn origin(uri: &Uri) -> Option<String> {
    let scheme = uri.scheme_str()?;
    if !["ws", "wss", "http", "https", "tcp", "tls"].contains(&scheme) {
        return None;
    }
    let host = uri.host()?.to_ascii_lowercase();
    let port = match (scheme, uri.port_u16()) {
        (_, None) | ("ws" | "http", Some(80)) | ("wss" | "https", Some(443)) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    Some(format!("{scheme}://{host}{port}"))
}

fn is_here(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

/// One connection, as the test has it.
pub(crate) struct Talk {
    pub(crate) call: Call,
    tell: mpsc::Sender<Told>,
    said: Mutex<Said>,
    is_stalled: AtomicBool,
}

/// What the plugin did.
#[derive(Default)]
struct Said {
    /// Each frame until it is taken, with its number.
    frames: BTreeMap<u64, Json>,
    last: u64,
    /// How the connection ended.
    ended: Option<(Option<u16>, String)>,
}

impl Talk {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, told: Told) -> Result<(), Error> {
        if let Some(end) = self.end() {
            let text = format!("the connection is not there any more: {end}");
            return Err(Error::new(Code::InvalidArguments, text));
        }
        self.tell.try_send(told).map_err(|_| {
            let text = format!("expected at most {TOLD_MAX} frames that are not read yet");
            Error::new(Code::InvalidArguments, text)
        })
    }

    pub(crate) fn stall(&self) {
        self.is_stalled.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::SeqCst)
    }

    /// Notes a frame of the plugin.
    pub(crate) fn note(&self, frame: Json) {
        let mut said = self.said();
        if said.frames.len() < FRAMES_MAX {
            said.last += 1;
            let number = said.last;
            said.frames.insert(number, frame);
        }
    }

    /// Notes how it ended; the first word counts.
    pub(crate) fn note_end(&self, code: Option<u16>, reason: &str) {
        let end = (code, reason.to_owned());
        self.said().ended.get_or_insert(end);
    }

    /// How it ended.
    pub(crate) fn ended(&self) -> Option<(Option<u16>, String)> {
        self.said().ended.clone()
    }

    /// How it ended, in words.
    pub(crate) fn end(&self) -> Option<String> {
        self.ended().map(|(code, reason)| match code {
            Some(code) => format!("closed with {code}: {reason}"),
            None => reason,
        })
    }

    /// Takes the oldest frame that fits.
    pub(crate) fn take(&self, mut fits: impl FnMut(&Json) -> bool) -> Option<Json> {
        let mut said = self.said();
        let mut frames = said.frames.iter();
        let (&number, _) = frames.find(|(_, frame)| fits(frame))?;
        said.frames.remove(&number)
    }

    /// Gives the oldest frame after a number, and leaves it there.
    #[cfg(feature = "host")]
    pub(crate) fn after(&self, number: u64) -> Option<(u64, Json)> {
        let said = self.said();
        let mut frames = said.frames.range(number + 1..);
        frames
            .next()
            .map(|(number, frame)| (*number, frame.clone()))
    }

    /// Takes a frame by its number.
    #[cfg(feature = "host")]
    pub(crate) fn remove(&self, number: u64) {
        self.said().frames.remove(&number);
    }

    /// Says what came that was not taken.
    pub(crate) fn describe(&self) -> String {
        let said = self.said();
        let frames: Vec<_> = said.frames.values().map(ToString::to_string).collect();
        if frames.is_empty() {
            return "it sent nothing else".to_owned();
        }
        format!("it sent {}", frames.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_by_scheme_host_port_and_the_start_of_its_path() {
        let sockets = Sockets::default();
        for url in [
            "wss://a.example/v1",
            "wss://a.example:443/v1/x",
            "tls://b.example:6697",
        ] {
            sockets.add(url).expect("an address");
        }
        let state = sockets.lock();
        for (url, expected) in [
            ("wss://a.example/v1?x=1", Some(0)),
            ("wss://a.example/v1/x", Some(1)),
            ("wss://A.example:443/v1/y", Some(0)),
            ("wss://a.example/v11", None),
            ("ws://a.example/v1", None),
            ("tls://b.example:6697", Some(2)),
            ("tls://b.example:6698", None),
        ] {
            let uri = url.parse().expect("an address");
            assert_eq!(find(&state.servers, &uri), expected, "{url}");
        }
        drop(state);
        assert!(sockets.add("ftp://a.example").is_err());
    }
}
