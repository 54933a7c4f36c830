//! The end of a call: the plugin's answer, checked, to whoever waits for it.

use std::sync::Arc;

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc;

use crate::router::LinkId;

use super::super::limits::UNREAD_ANSWERS_BYTES_MAX;
use super::super::state::{Core, Timer};
use super::idempotent::Outcome;
use super::running::{CallNumber, Caller, Stage};

impl Core {
    /// The plugin answered `tool.call`.
    pub(crate) fn tool_answered(&mut self, number: CallNumber, answer: Result<&RawValue, Error>) {
        let Some(call) = self.tools.calls.get(&number) else {
            self.counters.add("tool_answers_late", 1);
            return;
        };
        if call.is_given_up() {
            self.answered_late(number, answer);
            return;
        }
        self.release_slot(number);
        let outcome = match answer {
            Ok(result) => self.take_result(number, result),
            Err(error) => Err(as_told(error)),
        };
        match outcome {
            Ok(Some(result)) => self.finish_call(number, &Ok(result)),
            // Chunks are still on their way to the caller.
            Ok(None) => {}
            Err(error) => self.finish_call(number, &Err(error)),
        }
    }

    /// The call was cancelled or ran out of time: nobody waits any more.
    fn answered_late(&mut self, number: CallNumber, answer: Result<&RawValue, Error>) {
        self.counters.add("tool_answers_late", 1);
        self.release_slot(number);
        let Some(call) = self.tools.calls.remove(&number) else {
            return;
        };
        self.timers.remove(&(call.armed_ms, Timer::Tool(number)));
        self.tools.stats.of(&call.tool.name).late += 1;
        // What it did is done: a repeat under the same key is told so instead of doing it again.
        if let (Some((key, print)), Ok(result)) = (call.idempotency, answer)
            && !call.tool.declaration.streaming
            && super::result::check(&call.tool, result).is_ok()
            && self.check_size("a result", result.get().len()).is_ok()
        {
            let outcome = Ok(Arc::from(result.to_owned()));
            let now_ms = self.now.mono_ms;
            self.tools.results.keep(key, print, outcome, now_ms);
        }
    }

    /// Gives the place of a call in its lane to the next.
    pub(super) fn release_slot(&mut self, number: CallNumber) {
        let Some(call) = self.tools.calls.get(&number) else {
            return;
        };
        let (key, name) = (call.key.clone(), call.tool.name.clone());
        let lane = self.tools.lane(&key, &name);
        lane.running = lane.running.saturating_sub(1);
        self.tools.released.push((key, name));
    }

    /// Lets the next calls in where places became free.
    pub(crate) fn pump_released(&mut self) {
        while let Some((key, name)) = self.tools.released.pop() {
            self.pump_lane(&key, &name);
        }
    }

    /// Tells everybody who waits, and forgets the call.
    pub(super) fn finish_call(&mut self, number: CallNumber, outcome: &Outcome) {
        let Some(call) = self.end_call(number, outcome) else {
            return;
        };
        self.timers.remove(&(call.armed_ms, Timer::Tool(number)));
        for caller in call.callers {
            self.forget(&caller);
            self.tell_caller(&call.tool.name, caller, outcome);
        }
    }

    /// Takes a call out of every table but its lane, and counts it.
    fn end_call(
        &mut self,
        number: CallNumber,
        outcome: &Outcome,
    ) -> Option<super::running::Running> {
        let mut call = self.tools.calls.remove(&number)?;
        if let Stage::Waiting { arguments } = &call.stage {
            self.tools.waiting_bytes -= arguments.get().len();
        }
        if let Some(stream) = call.stream.take() {
            self.tools.collected_bytes -= stream.collected_bytes();
        }
        if let Some((key, print)) = call.idempotency.take() {
            if self.tools.keyed.get(&key) == Some(&number) {
                self.tools.keyed.remove(&key);
            }
            if !call.tool.declaration.streaming && is_kept(outcome) {
                let now_ms = self.now.mono_ms;
                self.tools.results.keep(key, print, outcome.clone(), now_ms);
            }
        }
        let took_ms = self.now.mono_ms.saturating_sub(call.started_ms);
        let code = outcome.as_ref().map(|_| ()).map_err(|error| error.code);
        self.tools.stats.ended(&call.tool.name, code, took_ms);
        let (trace, error) = (&call.context.traceparent, code.err().map(Code::as_str));
        self.span_called(&call.tool.name, trace.as_deref(), took_ms, error);
        if code.is_err() {
            self.counters.add("tool_calls_failed", 1);
        }
        Some(call)
    }

    pub(super) fn forget(&mut self, caller: &Caller) {
        if let Caller::Link { to, call_id } = caller {
            self.tools.forget_caller(to.link, call_id);
        }
    }

    /// Answers one caller, after the chunks it was sent.
    pub(super) fn tell_caller(&mut self, tool: &Arc<str>, caller: Caller, outcome: &Outcome) {
        match caller {
            Caller::Link { to, .. } => {
                let Some(id) = to.id.as_deref() else { return };
                let mut frame = Vec::new();
                match outcome {
                    Ok(result) => rpc::write_result(&mut frame, id, &**result),
                    Err(error) => rpc::write_error(&mut frame, Some(id), error),
                }
                self.write_data(to.link, |out| out.extend_from_slice(&frame));
                self.close_unread(to.link);
            }
            Caller::Event(event) => self.reply_to_event(tool, *event, outcome),
        }
    }

    /// A peer that calls and never reads is closed, as one that asks anything else.
    fn close_unread(&mut self, link: LinkId) {
        let is_over = self
            .peers
            .get(&link)
            .is_some_and(|peer| peer.out.len() > UNREAD_ANSWERS_BYTES_MAX);
        if is_over {
            self.counters.add("links_closed_unread", 1);
            self.close(link);
        }
    }
}

/// Errors after which a repeat may run again: nothing happened, or nobody knows what.
fn is_kept(outcome: &Outcome) -> bool {
    match outcome {
        Ok(_) => true,
        Err(error) => matches!(error.code, Code::ToolFailed | Code::InvalidReturn),
    }
}

/// A plugin's error as callers are told. What only the broker can say is a failure of the tool.
fn as_told(error: Error) -> Error {
    let is_brokers = matches!(
        error.code,
        Code::Internal
            | Code::NotImplemented
            | Code::ToolNotFound
            | Code::Unauthorized
            | Code::InvalidFrame
            | Code::LinkLost
            | Code::ProtocolViolation
    );
    if !is_brokers {
        return error;
    }
    let code = error.code.as_str();
    Error {
        code: Code::ToolFailed,
        detail: error
            .detail
            .or_else(|| Some(serde_json::json!({ "code": code }))),
        ..error
    }
}
