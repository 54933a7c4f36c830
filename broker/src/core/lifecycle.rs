//! What the broker says of instances: states, exits and rejected publishes, on the lifecycle topic.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::value::RawValue;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{self, InstanceState, LifecyclePayload};

use crate::instance::InstanceKey;
use crate::router::LinkId;
use crate::store::{Commit, NewEvent, OnConflict};

use super::batch::Ticket;
use super::instance::{Instance, InstanceReport, InstanceSignal};
use super::limits::{LOG_MESSAGE_BYTES_MAX, REJECTION_REPORT_MS};
use super::peer::{Call, ReplyTo};
use super::state::{Core, LogLine, Output, Timer};

/// A connection tells that it tries and that it failed, one after the other; of each a few.
const TRIES_MAX: usize = 8;

/// Rejections that were not reported yet: one report per kind and interval.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    pending: FxHashMap<(InstanceKey, Code), (String, u64)>,
    armed: bool,
}

/// The last tries of an instance's connections that it told about, each known by its reason.
#[derive(Debug, Default)]
pub(crate) struct Tries(VecDeque<Try>);

#[derive(Debug)]
struct Try {
    reason: String,
    attempt: u32,
    next_ms: Option<i64>,
}

impl Tries {
    /// Gives the attempt and the time of the next one that a report is about: of a connection, or of a start.
    pub(crate) fn of(&self, report: &InstanceReport) -> (Option<u32>, Option<String>) {
        if let Some(at_ms) = report.next_start_ms {
            return (None, Some(rfc3339(at_ms)));
        }
        let mut tries = self.0.iter().rev();
        let found = tries
            .find(|known| report.state == InstanceState::Degraded && known.reason == report.reason);
        found.map_or((None, None), |found| {
            (Some(found.attempt), found.next_ms.map(rfc3339))
        })
    }
}

impl Instance {
    /// How it is, as the lifecycle topic says it for good: without what its start tells, which is not to be stored.
    pub(super) fn lifecycle(&self) -> LifecyclePayload {
        let (attempt, next_try) = self.tries.of(&self.report);
        LifecyclePayload {
            state: self.report.state,
            reason: self.report.reason.clone(),
            since: rfc3339(self.since_ms),
            attempt,
            next_try,
            progress: None,
            generation: Some(self.generation),
            exit: None,
            restarts: Some(self.report.restarts),
            rejected: None,
        }
    }
}

impl Core {
    /// Remembers what an instance says of its tries, for the report that follows.
    pub(crate) fn note_try(&mut self, key: &InstanceKey, status: &rpc::StatusParams) {
        let now_ms = self.now.wall_ms;
        let (Some(instance), Some(attempt)) = (self.instances.get_mut(key), status.attempt) else {
            return;
        };
        let after_ms = status.retry_after_ms.map(u64::cast_signed);
        let tries = &mut instance.tries.0;
        if tries.len() == TRIES_MAX {
            tries.pop_front();
        }
        tries.push_back(Try {
            reason: status.reason.clone().unwrap_or_default(),
            attempt,
            next_ms: after_ms.map(|after| now_ms.saturating_add(after)),
        });
    }

    /// The supervisor reports a state.
    pub fn report(&mut self, key: &InstanceKey, mut report: InstanceReport) {
        if report.state == InstanceState::Disabled && report.reason.is_empty() {
            let by = if self.is_disabled(key) {
                "operator"
            } else {
                "config"
            };
            report.reason = format!("by {by}");
        }
        let is_failure = matches!(
            report.state,
            InstanceState::Failed
                | InstanceState::BackingOff
                | InstanceState::Degraded
                | InstanceState::NeedsAuth
        );
        let said = is_failure.then(|| self.without_secrets(key, report.reason.clone()));
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        let was_degraded = instance.report.state == InstanceState::Degraded;
        if report.state == InstanceState::Degraded && !was_degraded {
            instance.counts.degraded += 1;
        }
        if let Some(reason) = said.filter(|_| instance.report != report) {
            instance.last_error = Some((self.now.wall_ms, reason));
        }
        if instance.report.state != report.state {
            instance.since_ms = self.now.wall_ms;
        }
        if !matches!(
            report.state,
            InstanceState::Starting | InstanceState::Standby
        ) {
            instance.progress.end();
        }
        let exit = report.exit.clone();
        instance.report = report;
        let payload = LifecyclePayload {
            exit,
            ..instance.lifecycle()
        };
        self.publish_lifecycle(key, &payload);
    }

    fn publish_lifecycle(&mut self, key: &InstanceKey, payload: &LifecyclePayload) {
        let topic = self.topic(&format!("plugin.lifecycle.{}.{}", key.plugin, key.instance));
        self.publish_own(topic, payload);
    }

    /// Stores an event of the broker itself.
    pub(crate) fn publish_own(&mut self, topic: Arc<str>, payload: &impl Serialize) {
        let event = self.own_event(topic, payload);
        let new = NewEvent {
            topic: event.topic.clone(),
            source: event.source.clone(),
            id: self.new_id().into(),
            body: [0; 16],
            session: None,
            expires_at_ms: None,
            on_conflict: OnConflict::KeepFirst,
            envelope: event.envelope,
        };
        let pending = self.pending(&new);
        let commit = Commit {
            events: vec![new],
            ..Commit::default()
        };
        self.stage_events(
            commit,
            vec![pending],
            crate::router::Prepared::default(),
            Ticket::Nothing,
        );
    }

    /// Remembers that an instance's frame was refused, for the next report.
    pub(crate) fn note_rejection(&mut self, link: LinkId, code: Code, topic: &str) {
        let Some(key) = self
            .peers
            .get(&link)
            .and_then(|peer| peer.instance().cloned())
        else {
            return;
        };
        let entry = self
            .rejections
            .pending
            .entry((key, code))
            .or_insert_with(|| (topic.to_owned(), 0));
        entry.1 += 1;
        if !self.rejections.armed {
            // The first of a kind is reported at once, the rest are counted together.
            self.rejections.armed = true;
            self.report_rejections();
            self.rejections.armed = true;
            self.arm(self.now.mono_ms + REJECTION_REPORT_MS, Timer::Rejections);
        }
    }

    pub(crate) fn report_rejections(&mut self) {
        self.rejections.armed = false;
        let pending = std::mem::take(&mut self.rejections.pending);
        for ((key, code), (topic, count)) in pending {
            let Some(instance) = self.instances.get(&key) else {
                continue;
            };
            let payload = LifecyclePayload {
                reason: format!("{count} rejected: {code}", code = code.as_str()),
                attempt: None,
                next_try: None,
                rejected: Some(rpc::Rejected {
                    code: code.as_str().to_owned(),
                    topic,
                    count,
                }),
                ..instance.lifecycle()
            };
            self.publish_lifecycle(&key, &payload);
        }
    }

    pub(crate) fn instance_status(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let key = self
            .peers
            .get(&to.link)
            .and_then(|peer| peer.instance().cloned());
        match (key, rpc::params::<rpc::StatusParams>(params)) {
            (Some(key), Ok(status)) => {
                self.reported(to.link, &key, status);
                self.answer(to, &rpc::Empty {});
            }
            (None, _) => self.refuse(to, &only_plugins("instance.status")),
            (_, Err(error)) => self.refuse(to, &error),
        }
    }

    /// A call of ours that an instance refused.
    pub(crate) fn refused_call(&mut self, link: LinkId, call: &Call, error: Error) {
        let Some(key) = self
            .peers
            .get(&link)
            .and_then(|peer| peer.instance().cloned())
        else {
            return;
        };
        self.log_line(&key, "error", format!("{call:?} was refused: {error}"));
        if *call == Call::Activate {
            self.signal_of(link, &key, InstanceSignal::Refused(error));
        }
    }

    pub(crate) fn log_line(&mut self, key: &InstanceKey, level: &str, message: String) {
        self.log_record(key, level, message, None);
    }

    pub(crate) fn log_record(
        &mut self,
        key: &InstanceKey,
        level: &str,
        mut message: String,
        fields: Option<Box<RawValue>>,
    ) {
        crate::router::cut(&mut message, LOG_MESSAGE_BYTES_MAX);
        self.outputs.push(Output::Log(LogLine {
            key: key.clone(),
            level: level.to_owned(),
            is_brokers: true,
            message,
            fields,
        }));
    }

    /// `log`: a record of a plugin.
    pub(crate) fn log(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let peer = self.peers.get(&to.link);
        let key = peer.and_then(|peer| peer.instance().cloned());
        self.log_of(to, key, params);
    }

    pub(crate) fn log_of(
        &mut self,
        to: &ReplyTo,
        key: Option<InstanceKey>,
        params: Option<&RawValue>,
    ) {
        match (key, rpc::params::<rpc::LogParams>(params)) {
            (Some(key), Ok(record)) => {
                let level = serde_json::to_value(record.level).ok();
                let level = level
                    .as_ref()
                    .and_then(|level| level.as_str())
                    .unwrap_or("info");
                let fields = if record.fields.is_empty() {
                    None
                } else {
                    serde_json::value::to_raw_value(&record.fields)
                        .ok()
                        .filter(|fields| fields.get().len() <= LOG_MESSAGE_BYTES_MAX)
                };
                let mut message = record.message;
                crate::router::cut(&mut message, LOG_MESSAGE_BYTES_MAX);
                self.outputs.push(Output::Log(LogLine {
                    key,
                    level: level.to_owned(),
                    is_brokers: false,
                    message,
                    fields,
                }));
                self.answer(to, &rpc::Empty {});
            }
            (None, _) => self.refuse(to, &only_plugins("log")),
            (_, Err(error)) => self.refuse(to, &error),
        }
    }
}

pub(super) fn only_plugins(method: &str) -> Error {
    Error::new(
        Code::InvalidArguments,
        format!("expected {method} from a plugin, found a client"),
    )
}
