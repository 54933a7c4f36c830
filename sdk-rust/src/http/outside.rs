//! The outside as the client sees it: something that answers requests, and a clock.
//!
//! In production it is the network; in a test broker it is what the test says.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use std::sync::Arc;

use hyper::body::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use trunkline_contract::error::Error;
use trunkline_patterns::retry::Reached;

use super::content::Content;
use super::keep::{Save, Spool};

/// One request, complete.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Content,
    /// The body of a good answer is wanted in a file.
    pub(crate) save: Option<Save>,
    /// For connecting, sending, and the whole answer.
    pub(crate) timeout: Duration,
    /// Only public addresses may be connected to.
    pub(crate) is_guarded: bool,
}

/// An answer, of any status.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Where the body is instead, if it was wanted in a file.
    pub(crate) kept: Option<Result<Arc<Spool>, Error>>,
    /// Who answered, where that is known.
    pub(crate) from: Option<IpAddr>,
}

/// No answer, or none that can be used.
#[derive(Clone, Debug)]
pub(crate) struct Missed {
    pub(crate) reached: Reached,
    /// The status, when only what followed it is missing.
    pub(crate) status: Option<u16>,
    /// What happened, as the end of a sentence about the call.
    pub(crate) reason: String,
    /// The same call would fail again.
    pub(crate) is_final: bool,
}

pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Is what calls go to.
pub(crate) trait Outside: Send + Sync {
    /// Sends a request once, and reads the answer.
    fn send(&self, asked: Asked) -> Later<'_, Result<Answer, Missed>>;

    /// Hears that the instance or client has started.
    fn started(&self) {}

    /// Hears that a connection asks for its address, or has ended asking.
    fn asks_for_address(&self, _is_asking: bool) {}

    /// Waits between two tries.
    fn wait(&self, wait: Duration) -> Later<'_, ()>;

    /// Reads the clock that `wait` waits on: milliseconds since any start.
    fn mono_ms(&self) -> u64;

    /// Reads the time of day: milliseconds since the epoch.
    fn wall_ms(&self) -> u64;
}
