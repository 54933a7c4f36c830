//! Whether an instance lives, and whether its event loop turns: pings, and what their answers say.
//!
//! A loop that lags makes the instance degraded, on top of what the instance says of itself; once it keeps
//! up again, what the instance said last holds again.

use serde_json::value::RawValue;
use trunkline_contract::error::Error;
use trunkline_contract::rpc::{self, ReportedState, method};

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
    /// It counts as degraded because of its lag.
    is_lagging: bool,
    /// It said of itself that it is ready,
    is_ready: bool,
    /// for this reason.
    reason: Option<String>,
}

impl Pulse {
    /// The instance said how it is: that is newer than what any ping told.
    pub(super) fn said(&mut self, state: ReportedState, reason: Option<&str>) {
        self.is_lagging = false;
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
        if !self.is_ready || std::mem::replace(&mut self.is_lagging, lags) == lags {
            return None;
        }
        let (state, reason) = if lags {
            let reason = format!("its event loop lags {lag_ms} ms");
            (ReportedState::Degraded, Some(reason))
        } else {
            (ReportedState::Ready, self.reason.clone())
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
        let Some(key) = peer.instance().cloned() else {
            return;
        };
        if peer.calls.values().any(|call| *call == Call::Ping) {
            if peer.pulse.missed() {
                self.signal(&key, InstanceSignal::PingLost);
            }
        } else {
            self.call(link, Call::Ping, method::PING, &rpc::PingParams {});
        }
        let interval = self
            .instances
            .get(&key)
            .map_or(0, |i| i.setup.ping_interval_ms);
        if interval > 0 {
            self.arm(self.now.mono_ms + interval, Timer::Ping(link));
        }
    }

    /// An instance answered a ping. Any answer is a sign of life.
    pub(crate) fn pong(&mut self, link: LinkId, answer: Result<&RawValue, Error>) {
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        let Some(key) = peer.instance().cloned() else {
            return;
        };
        let lag_ms = answer
            .ok()
            .and_then(|result| serde_json::from_str::<rpc::PingResult>(result.get()).ok())
            .map_or(0, |pong| pong.loop_lag_ms);
        if let Some(signal) = peer.pulse.answered(lag_ms) {
            self.signal(&key, signal);
        }
    }
}
