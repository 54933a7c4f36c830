//! The orderly end of an instance: no new deliveries, what is in flight is waited for, then it is asked to end.

use trunkline_contract::rpc::{self, method};

use crate::instance::InstanceKey;
use crate::router::LinkId;

use super::instance::InstanceSignal;
use super::peer::{Call, Phase};
use super::state::{Core, Timer};

/// An end that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drain {
    deadline_ms: u64,
    reason: String,
    asked: bool,
}

impl Core {
    /// Drains an instance: no new leases, what is in flight is waited for, then it is told to shut down.
    /// [`InstanceSignal::Drained`] follows, at the latest after `timeout_ms`.
    pub fn shutdown(&mut self, seat: &InstanceKey, timeout_ms: u64, reason: &str) {
        if self.shut_process(seat, timeout_ms, reason) {
            return;
        }
        let key = &seat.of_seat();
        if self.is_spare(key, seat) {
            return self.shut_spare(key, timeout_ms, reason);
        }
        self.serve(key, false);
        let deadline_ms = self.now.mono_ms + timeout_ms;
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        if instance.link.is_none() {
            self.signal(key, InstanceSignal::Drained);
            return;
        }
        instance.drain = Some(Drain {
            deadline_ms,
            reason: reason.to_owned(),
            asked: false,
        });
        self.arm(deadline_ms, Timer::DrainEnd(key.clone()));
        self.drain_step(key);
    }

    /// Asks a draining instance to shut down as soon as nothing is in flight.
    pub(crate) fn drain_step(&mut self, key: &InstanceKey) {
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        let (Some(link), Some(drain)) = (instance.link, instance.drain.as_mut()) else {
            return;
        };
        if drain.asked || self.router.in_flight(link) > 0 || self.tools.worked_on_by(link) > 0 {
            return;
        }
        drain.asked = true;
        let timeout_ms = drain.deadline_ms.saturating_sub(self.now.mono_ms);
        let params = rpc::ShutdownParams {
            reason: drain.reason.clone(),
            timeout_ms,
        };
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.phase = Phase::Closing;
        }
        self.call(link, Call::Shutdown, method::SHUTDOWN, &params);
    }

    /// Looks at every draining instance: something was settled.
    pub fn drain_steps(&mut self) {
        let draining: Vec<InstanceKey> = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.drain.as_ref().is_some_and(|drain| !drain.asked))
            .map(|(key, _)| key.clone())
            .collect();
        for key in draining {
            self.drain_step(&key);
        }
    }

    pub(crate) fn drain_ended(&mut self, key: &InstanceKey) {
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        if instance
            .drain
            .as_ref()
            .is_some_and(|drain| drain.deadline_ms <= self.now.mono_ms)
        {
            instance.drain = None;
            self.signal(key, InstanceSignal::Drained);
        }
    }

    pub(crate) fn shutdown_answered(&mut self, link: LinkId, key: &InstanceKey) {
        if self.spare_of(key, link).is_some() {
            return self.signal_of(link, key, InstanceSignal::Drained);
        }
        if let Some(instance) = self.instances.get_mut(key)
            && instance.drain.take().is_some()
        {
            self.signal(key, InstanceSignal::Drained);
        }
    }
}
