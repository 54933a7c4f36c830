//! How far the start of an instance is: what it tells while it gets ready, for whoever has to help it or waits for it.
//!
//! A start begins with an activation; it ends with the first status, or with the link. What was
//! told last is in every status until then. On the lifecycle topic it is at most once in [`PROGRESS_REPORT_MS`]: the newest,
//! as soon as its turn comes.
//!
//! Invariant: it is never stored. The code of a login is a credential, and the log keeps events for days.

use serde_json::value::RawValue;
use trunkline_contract::limits::{PROGRESS_DATA_BYTES_MAX, PROGRESS_REPORT_MS};
use trunkline_contract::rpc::{self, LifecyclePayload, ProgressParams};

use crate::instance::InstanceKey;

use super::instance::{Instance, InstanceSignal};
use super::lifecycle::only_plugins;
use super::limits::REASON_BYTES_MAX;
use super::peer::ReplyTo;
use super::state::{Core, Timer};

/// The progress of one start.
#[derive(Debug, Default)]
pub(crate) struct StartProgress {
    is_open: bool,
    last: Option<ProgressParams>,
    /// The message that is in the log already.
    logged: String,
    /// `last` waits for its turn on the lifecycle topic.
    is_due: bool,
    /// Before this, monotonic ms, nothing of any start is on the topic again.
    next_ms: u64,
}

impl StartProgress {
    /// A start begins: what was told of the one before is over.
    pub(super) fn begin(&mut self) {
        self.end();
        self.is_open = true;
    }

    /// The start has ended, in whatever way.
    pub(super) fn end(&mut self) {
        self.is_open = false;
        self.is_due = false;
        self.last = None;
        self.logged.clear();
    }

    /// What was told last, while the start lasts.
    pub(super) fn shown(&self) -> Option<&ProgressParams> {
        self.last.as_ref()
    }
}

impl Instance {
    /// Why it is as it is: as was reported, else as it says of its start.
    pub(super) fn reason(&self) -> String {
        let told = self.progress.shown();
        let told = told.filter(|_| self.report.reason.is_empty());
        told.map_or_else(|| self.report.reason.clone(), |told| told.message.clone())
    }
}

impl Core {
    pub(crate) fn instance_progress(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let peer = self.peers.get(&to.link);
        let key = peer.and_then(|peer| peer.instance().cloned());
        match (key, rpc::params::<ProgressParams>(params)) {
            (Some(key), Ok(progress)) => {
                let starts = self.instances.get(&key).is_some_and(|instance| {
                    instance.link == Some(to.link) && instance.progress.is_open
                });
                if starts {
                    self.take_progress(&key, progress);
                } else if !progress.message.is_empty() {
                    self.log_line(&key, "info", progress.message);
                }
                self.signal_of(to.link, &key, InstanceSignal::Progress);
                self.answer(to, &rpc::Empty {});
            }
            (None, _) => self.refuse(to, &only_plugins("instance.progress")),
            (_, Err(error)) => self.refuse(to, &error),
        }
    }

    fn take_progress(&mut self, key: &InstanceKey, mut progress: ProgressParams) {
        crate::router::cut(&mut progress.message, REASON_BYTES_MAX);
        let bytes = |data: &serde_json::Value| data.to_string().len();
        let too_long = progress.data.as_ref().map(bytes);
        let too_long = too_long.filter(|bytes| *bytes > PROGRESS_DATA_BYTES_MAX);
        if too_long.is_some() {
            progress.data = None;
        }
        let now_ms = self.now.mono_ms;
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        let start = &mut instance.progress;
        start.last = Some(progress);
        let next_ms = start.next_ms;
        let waits = std::mem::replace(&mut start.is_due, true);
        if let Some(bytes) = too_long.filter(|_| !waits) {
            let text = format!(
                "expected at most {PROGRESS_DATA_BYTES_MAX} bytes of data with a progress, found {bytes}; it is not shown"
            );
            self.log_line(key, "warn", text);
        }
        if now_ms >= next_ms {
            self.progress_due(key);
        } else if !waits {
            self.arm(next_ms, Timer::Progress(key.clone()));
        }
    }

    /// It is the turn of what an instance told of its start, if that goes on.
    pub(super) fn progress_due(&mut self, key: &InstanceKey) {
        let now_ms = self.now.mono_ms;
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        let start = &mut instance.progress;
        if now_ms < start.next_ms || !std::mem::take(&mut start.is_due) {
            return;
        }
        start.next_ms = now_ms + PROGRESS_REPORT_MS;
        let message = start.last.as_ref().map(|last| last.message.clone());
        let message = message.filter(|message| *message != start.logged);
        if let Some(message) = &message {
            start.logged.clone_from(message);
        }
        let payload = LifecyclePayload {
            reason: instance.reason(),
            progress: instance.progress.shown().cloned(),
            ..instance.lifecycle()
        };
        if let Some(message) = message.filter(|message| !message.is_empty()) {
            self.log_line(key, "info", message);
        }
        let topic = format!("plugin.lifecycle.{}.{}", key.plugin, key.instance);
        self.broadcast(&topic, &payload);
    }
}
