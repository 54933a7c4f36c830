//! Calls that end before their answer: cancelled, out of time, or with a link that is gone.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::EARLY_CANCELS_MAX;
use trunkline_contract::rpc::{self, ToolCancelParams, method};

use crate::instance::InstanceKey;
use crate::router::LinkId;

use super::super::limits::REASON_BYTES_MAX;
use super::super::peer::ReplyTo;
use super::super::state::{Core, Timer};
use super::hand_over::number_text;
use super::limits::CANCEL_GRACE_MS;
use super::running::{CallNumber, Caller, Stage};

impl Core {
    /// `tool.cancel` from a caller.
    pub(crate) fn tool_cancel(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let mut params = match rpc::params::<ToolCancelParams>(params) {
            Ok(params) => params,
            Err(error) => return self.refuse(to, &error),
        };
        let Some(number) = self.tools.of_caller(to.link, &params.call_id) else {
            self.keep_early_cancel(to.link, params.call_id.into());
            return;
        };
        let reason = params.reason.get_or_insert_with(|| "cancelled".to_owned());
        crate::router::cut(reason, REASON_BYTES_MAX);
        let error = Error::new(
            Code::Cancelled,
            format!("the caller cancelled it: {reason}"),
        );
        self.leave(number, to.link, Some(&params.call_id), Some(&error), reason);
    }

    /// One caller waits no more. The call goes on for others under the same key.
    fn leave(
        &mut self,
        number: CallNumber,
        link: LinkId,
        call_id: Option<&str>,
        error: Option<&Error>,
        reason: &str,
    ) {
        let Some(call) = self.tools.calls.get_mut(&number) else {
            return;
        };
        let is_meant = |caller: &Caller| match caller {
            Caller::Link { to, call_id: own } => {
                to.link == link && call_id.is_none_or(|asked| asked == &**own)
            }
            Caller::Event(_) => false,
        };
        let name = call.tool.name.clone();
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut call.callers)
            .into_iter()
            .partition(is_meant);
        call.callers = left;
        let is_alone = call.callers.is_empty();
        for caller in gone {
            self.forget(&caller);
            if let Some(error) = error {
                self.tell_caller(&name, caller, &Err(error.clone()));
            }
        }
        if is_alone {
            let gone = Error::new(Code::Cancelled, "nobody waits for it any more");
            self.give_up(number, error.unwrap_or(&gone), reason);
        }
    }

    fn keep_early_cancel(&mut self, link: LinkId, call_id: Box<str>) {
        let early = &mut self.tools.callers.entry(link).or_default().early;
        if early.len() >= EARLY_CANCELS_MAX {
            early.pop_front();
        }
        early.push_back(call_id);
    }

    pub(super) fn take_early_cancel(&mut self, link: LinkId, call_id: &str) -> bool {
        let Some(calls) = self.tools.callers.get_mut(&link) else {
            return false;
        };
        let Some(index) = calls.early.iter().position(|early| &**early == call_id) else {
            return false;
        };
        calls.early.remove(index);
        true
    }

    /// Ends a call with an error: its callers are told at once, the plugin is told to stop.
    pub(super) fn give_up(&mut self, number: CallNumber, error: &Error, reason: &str) {
        let Some(call) = self.tools.calls.get_mut(&number) else {
            return;
        };
        let (link, request) = match call.stage {
            Stage::GivenUp { .. } => return,
            Stage::Waiting { .. } => {
                let (key, name) = (call.key.clone(), call.tool.name.clone());
                let lane = self.tools.lane(&key, &name);
                lane.queue.retain(|other| *other != number);
                self.tools.tidy_lane(&key, &name);
                return self.finish_call(number, &Err(error.clone()));
            }
            Stage::Draining { .. } => return self.finish_call(number, &Err(error.clone())),
            Stage::HandedOver { link, request } => (link, request),
        };
        call.stage = Stage::GivenUp { link, request };
        call.progress = None;
        let callers = std::mem::take(&mut call.callers);
        let name = call.tool.name.clone();
        let trace = call.context.traceparent.clone();
        let took_ms = self.now.mono_ms.saturating_sub(call.started_ms);
        let armed_ms = self.now.mono_ms + CANCEL_GRACE_MS;
        let was_armed_ms = std::mem::replace(&mut call.armed_ms, armed_ms);
        if let Some(stream) = call.stream.take() {
            self.tools.collected_bytes -= stream.collected_bytes();
        }
        if let Some((key, _)) = &call.idempotency
            && self.tools.keyed.get(key) == Some(&number)
        {
            self.tools.keyed.remove(key);
        }
        self.tools.stats.ended(&name, Err(error.code), took_ms);
        self.span_called(&name, trace.as_deref(), took_ms, Some(error.code.as_str()));
        self.counters.add("tool_calls_failed", 1);
        self.timers.remove(&(was_armed_ms, Timer::Tool(number)));
        self.arm(armed_ms, Timer::Tool(number));
        let params = ToolCancelParams {
            call_id: number_text(self.boot, number),
            reason: Some(reason.to_owned()),
        };
        self.notify(link, method::TOOL_CANCEL, &params);
        for caller in callers {
            self.forget(&caller);
            self.tell_caller(&name, caller, &Err(error.clone()));
        }
    }

    /// A call's timer rang: its time is over, or the plugin never answered a cancel.
    pub(crate) fn tool_due(&mut self, number: CallNumber) {
        let Some(call) = self.tools.calls.get(&number) else {
            return;
        };
        if call.armed_ms > self.now.mono_ms {
            return;
        }
        if let Stage::GivenUp { link, request } = call.stage {
            self.counters.add("tool_cancels_ignored", 1);
            self.release_slot(number);
            self.tools.calls.remove(&number);
            if let Some(peer) = self.peers.get_mut(&link) {
                peer.calls.remove(&request);
            }
            return;
        }
        let took_ms = call.deadline_ms - call.started_ms;
        let handed_over = !matches!(call.stage, Stage::Waiting { .. });
        let error = Error::new(
            Code::TimedOut,
            format!("expected {} to end within {took_ms} ms", call.tool.name),
        )
        .detail(serde_json::json!({ "handed_over": handed_over }));
        self.give_up(number, &error, "timed_out");
    }

    /// A link ended: what it asked for is cancelled, what its plugin worked on is lost.
    pub(crate) fn tools_detached(&mut self, link: LinkId, instance: Option<&InstanceKey>) {
        self.tools.blocked.remove(&link);
        if let Some(calls) = self.tools.callers.get(&link) {
            let numbers: Vec<CallNumber> = calls.running.values().copied().collect();
            for number in numbers {
                self.leave(number, link, None, None, "the caller's link ended");
            }
            self.tools.callers.remove(&link);
        }
        let Some(key) = instance else { return };
        let lost: Vec<CallNumber> = self
            .tools
            .calls
            .iter()
            .filter(|(_, call)| call.worker() == Some(link))
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            self.lose(number, key);
        }
        if self.link_of(key).is_none_or(|current| current == link) {
            self.withdraw(key);
        }
    }

    /// The plugin that worked on a call is gone.
    fn lose(&mut self, number: CallNumber, key: &InstanceKey) {
        self.release_slot(number);
        let Some(call) = self.tools.calls.get_mut(&number) else {
            return;
        };
        if call.is_given_up() {
            let armed_ms = call.armed_ms;
            self.tools.calls.remove(&number);
            self.timers.remove(&(armed_ms, Timer::Tool(number)));
            return;
        }
        // An event comes again with its delivery, which says that it was handed over before.
        call.callers
            .retain(|caller| matches!(caller, Caller::Link { .. }));
        let name = call.tool.name.clone();
        let error = if call.tool.declaration.idempotent {
            self.unavailable(key)
        } else {
            Error::new(
                Code::OutcomeUnknown,
                format!("expected an answer of {name}, found that {key} went away while it ran"),
            )
        };
        self.finish_call(number, &Err(error));
    }

    /// An instance takes no calls any more: those that wait for it are told so.
    pub(crate) fn withdraw(&mut self, key: &InstanceKey) {
        let Some(lanes) = self.tools.lanes.get_mut(key) else {
            return;
        };
        let waiting: Vec<CallNumber> = lanes
            .values_mut()
            .flat_map(|lane| lane.queue.drain(..))
            .collect();
        for number in waiting {
            let Some(call) = self.tools.calls.get_mut(&number) else {
                continue;
            };
            let callers = std::mem::take(&mut call.callers);
            let name = call.tool.name.clone();
            let (events, links): (Vec<_>, Vec<_>) = callers
                .into_iter()
                .partition(|caller| matches!(caller, Caller::Event(_)));
            if let Some(call) = self.tools.calls.get_mut(&number) {
                call.callers = links;
            }
            for caller in events {
                if let Caller::Event(event) = caller {
                    self.put_back(&event, 0);
                }
            }
            let error = self.unavailable(key);
            self.finish_call(number, &Err(error));
            self.tools.tidy_lane(key, &name);
        }
    }
}
