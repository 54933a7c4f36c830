//! The outside of a test: what HTTP servers answer is what the test says, and waits between two
//! tries pass on the clock of the test.
//!
//! A call that the test has no answer for is an error of the test, and never leaves the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use trunkline_contract::error::{Code, Error};
use trunkline_patterns::retry::Reached;

use crate::duration::in_ms;
use crate::faults::Faults;
use crate::http::{Answer, Asked, Later, Missed, Network, Outside, described, origin};
use crate::payload::Json;

/// Requests of one route that are kept; more than a test would look at.
const REQUESTS_MAX: usize = 10_000;

/// What all instances and clients of a test reach.
pub(crate) struct Fake {
    state: Mutex<State>,
    moved: Notify,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct State {
    routes: Vec<Route>,
    /// Servers that are called for real.
    real: Vec<String>,
    mono_ms: u64,
    wall_ms: u64,
    waiting: BTreeMap<u64, u64>,
    last_wait: u64,
}

struct Route {
    origin: String,
    prefix: String,
    method: String,
    path: String,
    replies: VecDeque<Reply>,
    /// How many answers were given that did not stay.
    given: usize,
    requests: Vec<HttpSeen>,
}

/// What is answered once.
#[derive(Clone)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: HeaderMap,
        body: Bytes,
    },
    Fail(Reached),
}

impl Reply {
    /// Takes the request, and never answers.
    pub(crate) fn lost() -> Self {
        Self::Fail(Reached::Ambiguous)
    }

    /// Lets nobody connect.
    pub(crate) fn refused() -> Self {
        Self::Fail(Reached::NotSent)
    }

    fn new(status: u16) -> Self {
        Self::Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }
}

impl Fake {
    pub(crate) fn new(faults: Arc<Faults>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            moved: Notify::new(),
            faults,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what time it is; whoever waited for it goes on.
    pub(crate) fn set_now(&self, mono_ms: u64, wall_ms: u64) {
        let mut state = self.lock();
        (state.mono_ms, state.wall_ms) = (mono_ms, wall_ms);
        drop(state);
        self.moved.notify_waiters();
    }

    /// Says when the next wait is over.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.lock().waiting.values().min().copied()
    }

    /// Says how many calls wait for their next try.
    pub(crate) fn waiting(&self) -> u64 {
        self.lock().waiting.len() as u64
    }

    /// Adds a route; gives its number.
    pub(crate) fn on(&self, server: &str, method: &str, path: &str) -> Result<usize, Error> {
        let (origin, prefix) = split(server)?;
        let mut state = self.lock();
        state.routes.push(Route {
            origin,
            prefix,
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            replies: VecDeque::new(),
            given: 0,
            requests: Vec::new(),
        });
        Ok(state.routes.len() - 1)
    }

    /// Lets a server be called for real.
    pub(crate) fn pass_through(&self, server: &str) -> Result<(), Error> {
        let (origin, _) = split(server)?;
        self.lock().real.push(origin);
        Ok(())
    }

    fn with<R>(&self, route: usize, change: impl FnOnce(&mut Route) -> R) -> Result<R, Error> {
        let mut state = self.lock();
        let route = state.routes.get_mut(route);
        route.map(change).ok_or_else(|| {
            Error::new(
                Code::InvalidArguments,
                "the test broker knows no such route",
            )
        })
    }

    /// Adds an answer to a route.
    pub(crate) fn reply(&self, route: usize, reply: Reply) -> Result<(), Error> {
        self.with(route, |route| route.replies.push_back(reply))
    }

    /// Gives what was asked of a route.
    pub(crate) fn requests(&self, route: usize) -> Result<Vec<HttpSeen>, Error> {
        self.with(route, |route| route.requests.clone())
    }

    /// Finds the answer; none when the server is called for real.
    fn answer(&self, asked: &Asked) -> Option<Result<Answer, Missed>> {
        let mut state = self.lock();
        let origin = origin(&asked.url);
        let method = asked.method.as_str();
        let routes = state.routes.iter_mut().rev();
        let found = routes.filter(|route| route.origin == origin).find(|route| {
            let path = asked.url.path().strip_prefix(route.prefix.as_str());
            (route.method == "*" || route.method == method)
                && path.is_some_and(|path| matches(&route.path, path))
        });
        if let Some(route) = found {
            if route.requests.len() < REQUESTS_MAX {
                route.requests.push(HttpSeen::of(asked));
            }
            let reply = if route.replies.len() > 1 {
                route.given += 1;
                route.replies.pop_front()
            } else {
                route.replies.front().cloned()
            };
            return Some(match reply.unwrap_or_else(|| Reply::new(200)) {
                Reply::Answer {
                    status,
                    headers,
                    body,
                } => Ok(Answer {
                    status,
                    headers,
                    body,
                    from: None,
                }),
                Reply::Fail(reached) => Err(Missed {
                    reached,
                    status: None,
                    reason: match reached {
                        Reached::NotSent => "was not sent, as the test wants it".to_owned(),
                        _ => "was sent, but not answered, as the test wants it".to_owned(),
                    },
                    is_final: false,
                }),
            });
        }
        if state.real.contains(&origin) {
            return None;
        }
        let what = described(asked);
        let text = format!(
            "the test has no answer for {what}; \
             hint: broker.http({origin:?}).on({method:?}, {:?}).reply(200)",
            asked.url.path()
        );
        self.faults.complain(&text);
        Some(Err(Missed {
            reached: Reached::NotSent,
            status: None,
            reason: format!("was not sent: {text}"),
            is_final: true,
        }))
    }
}

/// Splits the address of a server into origin and path.
fn split(server: &str) -> Result<(String, String), Error> {
    let url = reqwest::Url::parse(server).map_err(|error| {
        let text = format!("expected the address of a server, found {server:?}: {error}");
        Error::new(Code::InvalidArguments, text)
    })?;
    let prefix = url.path().trim_end_matches('/').to_owned();
    Ok((origin(&url), prefix))
}

/// Says whether a path fits a pattern, in which `*` is any text.
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The outside of one instance or client: the test's answers, and real connections of its own for
/// what the test lets through.
pub(crate) struct Reach {
    pub(crate) fake: Arc<Fake>,
    network: std::sync::OnceLock<Network>,
}

impl Reach {
    pub(crate) fn new(fake: &Arc<Fake>) -> Arc<Self> {
        Arc::new(Self {
            fake: fake.clone(),
            network: std::sync::OnceLock::new(),
        })
    }

    fn network(&self) -> Result<&Network, Missed> {
        if let Some(network) = self.network.get() {
            return Ok(network);
        }
        let network = Network::new().map_err(|error| Missed {
            reached: Reached::NotSent,
            status: None,
            reason: format!("was not sent: {error}"),
            is_final: true,
        })?;
        Ok(self.network.get_or_init(|| network))
    }
}

impl Outside for Reach {
    fn send(&self, asked: Asked) -> Later<'_, Result<Answer, Missed>> {
        Box::pin(async move {
            match self.fake.answer(&asked) {
                Some(answer) => answer,
                None => self.network()?.send(asked).await,
            }
        })
    }

    fn wait(&self, wait: Duration) -> Later<'_, ()> {
        Box::pin(async move {
            let waiting = Waiting::begin(&self.fake, in_ms(wait));
            loop {
                let moved = self.fake.moved.notified();
                tokio::pin!(moved);
                moved.as_mut().enable();
                if self.fake.lock().mono_ms >= waiting.due_ms {
                    return;
                }
                moved.await;
            }
        })
    }

    fn mono_ms(&self) -> u64 {
        self.fake.lock().mono_ms
    }

    fn wall_ms(&self) -> u64 {
        self.fake.lock().wall_ms
    }
}

/// A wait that the clock of the test knows about.
struct Waiting<'a> {
    fake: &'a Fake,
    number: u64,
    due_ms: u64,
}

impl<'a> Waiting<'a> {
    fn begin(fake: &'a Fake, wait_ms: u64) -> Self {
        let mut state = fake.lock();
        state.last_wait += 1;
        let (number, due_ms) = (state.last_wait, state.mono_ms.saturating_add(wait_ms));
        state.waiting.insert(number, due_ms);
        Self {
            fake,
            number,
            due_ms,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.fake.lock().waiting.remove(&self.number);
    }
}

/// Is a server outside, as a test plays it.
pub struct HttpFake {
    pub(super) fake: Arc<Fake>,
    pub(super) server: String,
}

impl HttpFake {
    /// Begins the answers to requests of a method, `*` for any, whose path fits a pattern in which
    /// `*` is any text. Where several fit, the one that was added last answers.
    ///
    /// # Panics
    /// When the server's address is none.
    pub fn on(&self, method: &str, path: &str) -> HttpRoute {
        let number = self.fake.on(&self.server, method, path);
        HttpRoute {
            fake: self.fake.clone(),
            number: number.unwrap_or_else(|error| panic!("{error}")),
            reply: None,
        }
    }

    /// Lets requests to this server out, for a test that runs one of its own.
    ///
    /// # Panics
    /// When the server's address is none.
    pub fn pass_through(&self) {
        let passed = self.fake.pass_through(&self.server);
        passed.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Is what a server answers to some requests, one after the other; the last answer stays.
pub struct HttpRoute {
    fake: Arc<Fake>,
    number: usize,
    /// The answer that is being put together, counted from the first one.
    reply: Option<usize>,
}

impl HttpRoute {
    fn push(mut self, reply: Reply) -> Self {
        let place = self.fake.with(self.number, |route| {
            route.replies.push_back(reply);
            route.given + route.replies.len() - 1
        });
        self.reply = place.ok();
        self
    }

    fn change(self, change: impl FnOnce(&mut HeaderMap, &mut Bytes)) -> Self {
        let place = self.reply.expect("say `.reply(status)` first");
        let changed = self.fake.with(self.number, |route| {
            let place = place.checked_sub(route.given);
            let reply = place.and_then(|place| route.replies.get_mut(place));
            if let Some(Reply::Answer { headers, body, .. }) = reply {
                change(headers, body);
            }
        });
        changed.unwrap_or_else(|error| panic!("{error}"));
        self
    }

    /// Adds an answer that was put together elsewhere.
    pub(super) fn answers(&self, reply: Reply) -> Result<(), Error> {
        self.fake.reply(self.number, reply)
    }

    /// Answers with a status.
    pub fn reply(self, status: u16) -> Self {
        self.push(Reply::new(status))
    }

    /// Gives the answer a header.
    ///
    /// # Panics
    /// Without a reply before it, or when it is no header.
    pub fn header(self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("the name of a header");
        let value = HeaderValue::from_str(value).expect("the value of a header");
        self.change(move |headers, _| {
            headers.append(name, value);
        })
    }

    /// Gives the answer a JSON body.
    ///
    /// # Panics
    /// Without a reply before it.
    pub fn json(self, body: impl Serialize) -> Self {
        let text = serde_json::to_vec(&body).expect("an answer has a JSON form");
        let json = HeaderValue::from_static("application/json");
        self.change(move |headers, bytes| {
            headers.insert(reqwest::header::CONTENT_TYPE, json);
            *bytes = text.into();
        })
    }

    /// Gives the answer a body.
    ///
    /// # Panics
    /// Without a reply before it.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into().into();
        self.change(move |_, bytes| *bytes = body)
    }

    /// Takes the request, and never answers.
    pub fn lose(self) -> Self {
        self.push(Reply::lost())
    }

    /// Lets nobody connect.
    pub fn refuse(self) -> Self {
        self.push(Reply::refused())
    }

    /// Gives the requests that came, oldest first.
    pub fn requests(&self) -> Vec<HttpSeen> {
        self.fake.requests(self.number).unwrap_or_default()
    }
}

/// Is a request that a plugin sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSeen {
    /// The method.
    pub method: String,
    /// The whole address.
    pub url: String,
    /// Its path.
    pub path: String,
    /// The pairs of its query.
    pub query: BTreeMap<String, String>,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpSeen {
    fn of(asked: &Asked) -> Self {
        let headers = asked.headers.iter();
        Self {
            method: asked.method.to_string(),
            url: asked.url.to_string(),
            path: asked.url.path().to_owned(),
            query: asked.url.query_pairs().into_owned().collect(),
            headers: headers
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.to_string(), value)
                })
                .collect(),
            body: asked.body.to_vec(),
        }
    }

    /// Reads the body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("the request has a JSON body")
    }

    /// Reads the body as a form.
    pub fn form(&self) -> BTreeMap<String, String> {
        let text = String::from_utf8_lossy(&self.body);
        let url = reqwest::Url::parse(&format!("http://form/?{text}"));
        url.map(|url| url.query_pairs().into_owned().collect())
            .unwrap_or_default()
    }
}

/// Makes an answer from its parts, as other languages give them.
pub(crate) fn reply_of(
    status: u16,
    given: BTreeMap<String, String>,
    json: Option<&Json>,
    body: Vec<u8>,
) -> Result<Reply, Error> {
    let mut headers = HeaderMap::new();
    let is_json = json.is_some();
    for (name, value) in given {
        let refused = || {
            let text = format!("expected a header, found {name:?}");
            Error::new(Code::InvalidArguments, text)
        };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        let value = HeaderValue::from_str(&value).map_err(|_| refused())?;
        headers.append(header, value);
    }
    let body = json.map_or(body, |json| json.to_string().into_bytes());
    if is_json {
        let json = HeaderValue::from_static("application/json");
        headers.entry(reqwest::header::CONTENT_TYPE).or_insert(json);
    }
    Ok(Reply::Answer {
        status,
        headers,
        body: body.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, path, expected) in [
            ("*", "/a/b", true),
            ("*/Messages.json", "/2010/Accounts/AC1/Messages.json", true),
            ("*/Messages.json", "/Messages.jsonx", false),
            ("/users/*", "/users/7", true),
            ("/users/*/posts", "/users/7/posts", true),
            ("/users/*/posts", "/users/posts", false),
            ("/users", "/users", true),
            ("/users", "/users/7", false),
            ("/a*b*c", "/aXbYc", true),
            ("/a*b*c", "/abXc", true),
            ("/a*b*c", "/ac", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
