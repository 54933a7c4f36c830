//! Whether an instance lives, whether its event loop turns, and whether its own HTTP server works.
//!
//! A loop that lags, or a server that fails, makes the instance degraded, on top of what the instance says of itself; once it keeps
//! up again, what the instance said last holds again.

use serde_json::value::RawValue;
use trunkline_contract::error::Error;
use trunkline_contract::rpc::{self, ReportedState, method};

use crate::instance::InstanceKey;
use crate::router::LinkId;

use super::instance::InstanceSignal;
use super::limits::{LOOP_LAG_MS_MAX, PING_MISSES_MAX};
use super::peer::Call;
use super::state::{Core, Timer};

/// What is known of the loop behind a link.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    misses: u32,
    /// As the last answer to a ping said.
    lag_ms: Option<u64>,
    /// Its loop lags too far behind.
    lag_fault: Option<String>,
    /// Its own HTTP server fails.
    server_fault: Option<String>,
    /// It counts as degraded because of one of these.
    is_faulty: bool,
    /// It said of itself that it is ready,
    is_ready: bool,
    /// for this reason.
    reason: Option<String>,
}

impl Pulse {
    /// The instance said how it is: that is newer than what any ping told.
    pub(super) fn said(&mut self, state: ReportedState, reason: Option<&str>) {
        self.is_faulty = false;
        self.lag_fault = None;
        self.server_fault = None;
        self.is_ready = state == ReportedState::Ready;
        self.reason = reason.map(str::to_owned);
    }

    /// How far its loop lags behind, once a ping was answered.
    pub(super) fn lag_ms(&self) -> Option<u64> {
        self.lag_ms
    }

    /// Takes the answer to a ping. Gives the status that follows, if that is another one.
    fn answered(&mut self, lag_ms: u64) -> Option<InstanceSignal> {
        self.misses = 0;
        self.lag_ms = Some(lag_ms);
        let lags = lag_ms > LOOP_LAG_MS_MAX;
        self.lag_fault = lags.then(|| format!("its event loop lags {lag_ms} ms"));
        self.judged()
    }

    /// Gives the status that follows from what is known now, if that is another one.
    fn judged(&mut self) -> Option<InstanceSignal> {
        let fault = self.lag_fault.as_ref().or(self.server_fault.as_ref());
        let is_faulty = fault.is_some();
        if !self.is_ready || std::mem::replace(&mut self.is_faulty, is_faulty) == is_faulty {
            return None;
        }
        let (state, reason) = match fault {
            Some(fault) => (ReportedState::Degraded, Some(fault.clone())),
            None => (ReportedState::Ready, self.reason.clone()),
        };
        Some(InstanceSignal::Status {
            state,
            reason,
            retry_after_ms: None,
        })
    }

    /// A ping was not answered before the next one was due. True when that were too many.
    fn missed(&mut self) -> bool {
        self.misses += 1;
        let is_lost = self.misses >= PING_MISSES_MAX;
        if is_lost {
            self.misses = 0;
        }
        is_lost
    }
}

impl Core {
    /// Pings an instance, and gives it up when it has not answered for too long.
    pub(crate) fn ping(&mut self, link: LinkId) {
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        let Some(key) = peer.instance().or(peer.process.as_ref()).cloned() else {
            return;
        };
        if peer.calls.values().any(|call| *call == Call::Ping) {
            if peer.pulse.missed() {
                if peer.process.is_some() {
                    self.signal(&key, InstanceSignal::PingLost);
                } else {
                    self.signal_of(link, &key, InstanceSignal::PingLost);
                }
            }
        } else {
            self.call(link, Call::Ping, method::PING, &rpc::PingParams {});
        }
        let interval = self.ping_interval_of(&key);
        if interval > 0 {
            self.arm(self.now.mono_ms + interval, Timer::Ping(link));
        }
    }

    /// Somebody asked an instance's own HTTP server how it is; `fault` is what is wrong with it.
    pub fn own_server(&mut self, key: &InstanceKey, fault: Option<String>) {
        let link = self.link_of(key);
        let Some(peer) = link.and_then(|link| self.peers.get_mut(&link)) else {
            return;
        };
        peer.pulse.server_fault = fault;
        if let Some(signal) = peer.pulse.judged() {
            self.signal(key, signal);
        }
    }

    /// An instance answered a ping. Any answer is a sign of life.
    pub(crate) fn pong(&mut self, link: LinkId, answer: Result<&RawValue, Error>) {
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        if let Some(key) = peer.process.clone() {
            peer.pulse.misses = 0;
            return self.process_pong(link, &key);
        }
        let Some(key) = peer.instance().cloned() else {
            return;
        };
        let lag_ms = answer
            .ok()
            .and_then(|result| serde_json::from_str::<rpc::PingResult>(result.get()).ok())
            .map_or(0, |pong| pong.loop_lag_ms);
        if let Some(signal) = peer.pulse.answered(lag_ms) {
            self.signal_of(link, &key, signal);
        }
    }
}
