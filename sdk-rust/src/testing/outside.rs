//! The outside of a test: what HTTP servers answer is what the test says, and waits between two
//! tries pass on the clock of the test.
//!
//! A call that the test has no answer for is an error of the test, and never leaves the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use reqwest::header::HeaderMap;
use tokio::sync::Notify;
use trunkline_contract::error::{Code, Error};
use trunkline_patterns::retry::Reached;

use crate::duration::in_ms;
use crate::faults::Faults;
use crate::http::{
    Answer, Asked, Keep, Later, Missed, Network, Outside, described, origin, too_long,
};

use super::http::HttpSeen;
use super::sockets::Sockets;

/// Requests of one route that are kept; more than a test would look at.
const REQUESTS_MAX: usize = 10_000;

/// What all instances and clients of a test reach.
pub(crate) struct Fake {
    state: Mutex<State>,
    moved: Notify,
    faults: Arc<Faults>,
    sockets: Arc<Sockets>,
}

#[derive(Default)]
struct State {
    routes: Vec<Route>,
    /// Servers that are called for real.
    real: Vec<String>,
    mono_ms: u64,
    wall_ms: u64,
    waiting: BTreeMap<u64, u64>,
    /// When timers of connections and locks are due. One that is due is at work until it is set anew.
    timers: BTreeMap<u64, u64>,
    /// How many calls of a start wait for the test to give an answer.
    held: u64,
    /// The answers are complete: a test that puts them together has gone on.
    is_said: bool,
    /// No call is held any longer: the clock moved.
    is_over: bool,
    last_wait: u64,
}

impl State {
    /// The route that was added last of those that fit.
    fn route_of(&mut self, asked: &Asked) -> Option<&mut Route> {
        let origin = origin(&asked.url);
        let method = asked.method.as_str();
        let mut routes = self.routes.iter_mut().rev();
        routes.find(|route| {
            let path = asked.url.path().strip_prefix(route.prefix.as_str());
            route.origin == origin
                && (route.method == "*" || route.method == method)
                && path.is_some_and(|path| matches(&route.path, path))
        })
    }
}

pub(super) struct Route {
    origin: String,
    prefix: String,
    method: String,
    path: String,
    pub(super) replies: VecDeque<Reply>,
    /// How many answers were given that did not stay.
    pub(super) given: usize,
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

    pub(super) fn new(status: u16) -> Self {
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
            sockets: Arc::default(),
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
        let state = self.lock();
        let timers = state.timers.values().filter(|due| **due > state.mono_ms);
        state.waiting.values().chain(timers).min().copied()
    }

    /// Says how many connections and locks are at work.
    pub(crate) fn working(&self) -> u64 {
        let state = self.lock();
        let due = state.timers.values().filter(|due| **due <= state.mono_ms);
        due.count() as u64 + self.sockets.working()
    }

    /// Says whether connections or locks wait for the clock or for the test.
    pub(crate) fn has_timers(&self) -> bool {
        !self.lock().timers.is_empty() || self.sockets.are_used()
    }

    /// Gives the servers of connections.
    pub(crate) fn sockets(&self) -> &Arc<Sockets> {
        &self.sockets
    }

    /// Says how many calls of a start wait for the test to give an answer.
    pub(crate) fn held(&self) -> u64 {
        self.lock().held
    }

    /// Notes, as errors of the test, what is asked for that the test does not play.
    pub(crate) fn complain(&self) {
        self.lock().is_over = true;
        self.moved.notify_waiters();
        for text in self.sockets.unplayed() {
            self.faults.complain(&text);
        }
    }

    /// Waits until the clock says so.
    async fn reached(&self, at_ms: u64) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.lock().mono_ms >= at_ms {
                return;
            }
            moved.await;
        }
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

    pub(super) fn with<R>(
        &self,
        route: usize,
        change: impl FnOnce(&mut Route) -> R,
    ) -> Result<R, Error> {
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
        let added = self.with(route, |route| route.replies.push_back(reply));
        self.go_on();
        added
    }

    /// Adds an answer that is not complete yet; gives its place, counted from the first one.
    pub(super) fn begin_reply(&self, route: usize, reply: Reply) -> Result<usize, Error> {
        self.lock().is_said = false;
        self.with(route, |route| {
            route.replies.push_back(reply);
            route.given + route.replies.len() - 1
        })
    }

    /// Lets held calls have their answers: the test has said them to the end.
    pub(super) fn go_on(&self) {
        self.lock().is_said = true;
        self.moved.notify_waiters();
    }

    /// Waits until the test gives an answer, or the clock moves, or the start is over.
    async fn hold(&self, asked: &Asked, reach: &Reach) {
        let _held = Held::begin(self);
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let is_over = self.lock().is_over || !reach.is_early();
            if is_over || self.has_answer(asked) {
                return;
            }
            moved.await;
        }
    }

    /// Says whether there is an answer already, or a real server.
    fn has_answer(&self, asked: &Asked) -> bool {
        let mut state = self.lock();
        let is_said = state.is_said;
        let is_real = state.real.contains(&origin(&asked.url));
        let found = state.route_of(asked);
        is_said && (is_real || found.is_some_and(|route| !route.replies.is_empty()))
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
        if let Some(route) = state.route_of(asked) {
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
                    kept: None,
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
    is_started: AtomicBool,
    /// Connections that ask for their address just now.
    asking: AtomicUsize,
}

impl Reach {
    pub(crate) fn new(fake: &Arc<Fake>) -> Arc<Self> {
        Arc::new(Self {
            fake: fake.clone(),
            network: std::sync::OnceLock::new(),
            is_started: AtomicBool::new(false),
            asking: AtomicUsize::new(0),
        })
    }

    /// Says whether the plugin may ask before the test can have said an answer.
    fn is_early(&self) -> bool {
        !self.is_started.load(Ordering::SeqCst) || self.asking.load(Ordering::SeqCst) > 0
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
            if self.is_early() {
                self.fake.hold(&asked, self).await;
            }
            match self.fake.answer(&asked) {
                Some(answer) => kept(&asked, answer?).await,
                None => self.network()?.send(asked).await,
            }
        })
    }

    fn started(&self) {
        self.is_started.store(true, Ordering::SeqCst);
        self.fake.moved.notify_waiters();
    }

    fn asks_for_address(&self, is_asking: bool) {
        if is_asking {
            self.asking.fetch_add(1, Ordering::SeqCst);
        } else {
            self.asking.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn wait(&self, wait: Duration) -> Later<'_, ()> {
        Box::pin(async move {
            let waiting = Waiting::begin(&self.fake, in_ms(wait));
            self.fake.reached(waiting.due_ms).await;
        })
    }

    fn mono_ms(&self) -> u64 {
        self.fake.lock().mono_ms
    }

    fn wall_ms(&self) -> u64 {
        self.fake.lock().wall_ms
    }
}

/// Keeps the body of an answer as the network does.
async fn kept(asked: &Asked, answer: Answer) -> Result<Answer, Missed> {
    let status = answer.status;
    let missed = |most| Missed {
        reached: Reached::Answered,
        status: Some(status),
        reason: too_long(status, most, asked.save.is_some()),
        is_final: true,
    };
    let bytes = answer.body.len() as u64;
    let keep = Keep::begin(asked.save.as_ref(), status, Some(bytes));
    let mut keep = keep.map_err(missed)?;
    keep.add(&answer.body).await.map_err(missed)?;
    let (body, kept) = keep.end().await;
    Ok(Answer {
        body,
        kept,
        ..answer
    })
}

/// A call that is held.
struct Held<'a>(&'a Fake);

impl<'a> Held<'a> {
    fn begin(fake: &'a Fake) -> Self {
        fake.lock().held += 1;
        Self(fake)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lock().held -= 1;
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

/// A timer on the clock of the test, of one task.
pub(crate) struct Timer {
    fake: Arc<Fake>,
    number: u64,
}

impl Timer {
    pub(crate) fn new(fake: &Arc<Fake>) -> Self {
        let mut state = fake.lock();
        state.last_wait += 1;
        Self {
            fake: fake.clone(),
            number: state.last_wait,
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.fake.lock().mono_ms
    }

    pub(crate) fn clear(&self) {
        self.fake.lock().timers.remove(&self.number);
    }

    /// Waits. Afterwards its owner counts as working, until it waits again.
    pub(crate) async fn wait(&self, wait_ms: u64) {
        let due_ms = {
            let mut state = self.fake.lock();
            let due_ms = state.mono_ms.saturating_add(wait_ms);
            state.timers.insert(self.number, due_ms);
            due_ms
        };
        self.fake.reached(due_ms).await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clear();
    }
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
