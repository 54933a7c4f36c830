//! `tool.call`: from the caller's frame to a call that waits for its turn.

use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::id::is_event_id;
use trunkline_contract::limits::{
    EVENT_BYTES_MARGIN, IDEMPOTENCY_KEY_BYTES_MAX, REFERENCE_BYTES_MAX, SESSION_ID_BYTES_MAX,
    TOOL_CALLS_MAX, TOOL_QUEUE_MAX, TOOL_WINDOW_BYTES_MAX,
};
use trunkline_contract::rpc::{self, ToolCallParamsRef, ToolContext};
use trunkline_contract::tool::parse_full_name;
use trunkline_contract::trace::Traceparent;

use crate::instance::InstanceKey;
use crate::router::LinkId;

use super::super::peer::{Phase, ReplyTo, Role};
use super::super::state::{Core, Timer};
use super::idempotent::{Fingerprint, Key, fingerprint, other_arguments};
use super::limits::{RETRY_AFTER_MS, UNAVAILABLE_RETRY_MS, WAITING_BYTES_MAX};
use super::registry::Tool;
use super::running::{CallNumber, Caller, Context, Running, Stage};
use super::stream::Stream;

/// A call that passed every check but those of its turn.
pub(super) struct Asked {
    pub(super) tool: Arc<Tool>,
    pub(super) key: InstanceKey,
    pub(super) arguments: Box<RawValue>,
    pub(super) context: Context,
    pub(super) timeout_ms: u64,
    pub(super) window_bytes: u64,
}

impl Core {
    pub(crate) fn tool_call(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let params = match rpc::params::<ToolCallParamsRef<'_>>(params) {
            Ok(params) => params,
            Err(error) => return self.refuse(to, &error),
        };
        if to.id.is_none() {
            let error = Error::new(
                Code::InvalidFrame,
                "expected tool.call as a request, found a notification",
            );
            return self.refuse(to, &error);
        }
        if let Err(error) = self.try_call(to, params) {
            self.refuse(to, &error);
        }
    }

    fn try_call(&mut self, to: &ReplyTo, params: ToolCallParamsRef<'_>) -> Result<(), Error> {
        let call_id: Box<str> = params.call_id.as_ref().into();
        self.check_call(to.link, &params)?;
        if self.take_early_cancel(to.link, &call_id) {
            return Err(Error::new(
                Code::Cancelled,
                "the caller cancelled it before it came",
            ));
        }
        let (key, tool) = self.resolve(&params.tool, params.instance.as_deref())?;
        let arguments = self.check_arguments(&tool, params.arguments)?;
        let timeout_ms = timeout(&tool, &params.context)?;
        let asked = Asked {
            context: Context {
                caller: self.peers[&to.link].source.clone(),
                session_id: params.context.session_id.map(Into::into),
                traceparent: self.valid_trace(params.context.traceparent),
                idempotency_key: params.context.idempotency_key.map(Into::into),
            },
            tool,
            key,
            arguments,
            timeout_ms,
            window_bytes: params.window_bytes,
        };
        let caller = Caller::Link {
            to: to.clone(),
            call_id,
        };
        self.admit(asked, caller)
    }

    /// A trace that nobody can follow is not passed on; the call is.
    fn valid_trace(&mut self, traceparent: Option<String>) -> Option<Box<str>> {
        let text = traceparent?;
        if Traceparent::parse(&text).is_none() {
            self.counters.add("traceparents_dropped", 1);
            return None;
        }
        Some(text.into())
    }

    /// Checks what does not depend on the tool.
    fn check_call(&self, link: LinkId, params: &ToolCallParamsRef<'_>) -> Result<(), Error> {
        let peer = self.peers.get(&link).expect("frames come from known links");
        match (&peer.role, peer.phase) {
            (Role::Client { .. }, _) if self.draining => {
                let error = Error::new(Code::Draining, "the broker is shutting down");
                return Err(error.retry_after(5_000));
            }
            (Role::Instance(_), Phase::Opening | Phase::Standby) => {
                return Err(Error::new(
                    Code::NotActive,
                    "expected instance.activate before the first call, found standby",
                ));
            }
            (Role::Instance(key), _) => self.check_current(link, key)?,
            _ => {}
        }
        let invalid = |message: String| Err(Error::new(Code::InvalidArguments, message));
        if !is_event_id(&params.call_id) {
            return invalid("expected a call_id of 1 to 128 bytes".to_owned());
        }
        if self.tools.of_caller(link, &params.call_id).is_some() {
            return invalid(format!(
                "expected a new call_id, found {:?}, which is running",
                params.call_id
            ));
        }
        if params.window_bytes > TOOL_WINDOW_BYTES_MAX {
            return invalid(format!(
                "expected window_bytes of at most {TOOL_WINDOW_BYTES_MAX}, found {}",
                params.window_bytes
            ));
        }
        let context = &params.context;
        for (name, text, most) in [
            ("session_id", &context.session_id, SESSION_ID_BYTES_MAX),
            ("traceparent", &context.traceparent, REFERENCE_BYTES_MAX),
            (
                "idempotency_key",
                &context.idempotency_key,
                IDEMPOTENCY_KEY_BYTES_MAX,
            ),
        ] {
            let bytes = text.as_ref().map_or(0, String::len);
            if bytes > most {
                return invalid(format!(
                    "expected context.{name} of at most {most} bytes, found {bytes}"
                ));
            }
        }
        self.may_call(link, &params.tool)?;
        let running = self.tools.callers.get(&link);
        if running.is_some_and(|calls| calls.running.len() >= TOOL_CALLS_MAX) {
            return Err(full(format!(
                "expected at most {TOOL_CALLS_MAX} unanswered calls of one link"
            )));
        }
        Ok(())
    }

    /// The instance that is to run the tool.
    pub(super) fn resolve(
        &self,
        name: &str,
        instance: Option<&str>,
    ) -> Result<(InstanceKey, Arc<Tool>), Error> {
        let holders = parse_full_name(name)
            .and_then(|(plugin, _)| Some((plugin, self.tools.registry.find(name)?)));
        let Some((plugin, holders)) = holders else {
            return Err(Error::new(
                Code::ToolNotFound,
                format!("expected a tool that is declared, found {name:?}"),
            ));
        };
        let found = match instance {
            Some(instance) => holders.get_key_value(instance),
            None if holders.len() == 1 => holders.iter().next(),
            None => None,
        };
        let Some((instance, tool)) = found else {
            let candidates: Vec<&str> = holders.keys().map(|name| &**name).collect();
            let message = match instance {
                Some(instance) => format!(
                    "expected an instance that has {name} ({}), found {instance:?}",
                    candidates.join(", ")
                ),
                None => format!(
                    "expected one instance that has {name}, found {}; name it in `instance`",
                    candidates.join(", ")
                ),
            };
            return Err(Error::new(Code::Unrouted, message)
                .detail(serde_json::json!({ "candidates": candidates })));
        };
        Ok((InstanceKey::new(plugin, instance), tool.clone()))
    }

    /// Arguments that fit the tool's schema; the plugin sees no others.
    pub(super) fn check_arguments(
        &self,
        tool: &Tool,
        arguments: Option<&RawValue>,
    ) -> Result<Box<RawValue>, Error> {
        let text = arguments.map_or("{}", RawValue::get);
        self.check_size("arguments", text.len())?;
        let invalid = |message: String| Error::new(Code::InvalidArguments, message);
        let value: Value = serde_json::from_str(text)
            .map_err(|error| invalid(format!("expected arguments in JSON, found: {error}")))?;
        if !value.is_object() {
            return Err(invalid(format!(
                "expected the arguments of {} as an object",
                tool.name
            ))
            .detail(serde_json::json!({ "pointer": "" })));
        }
        tool.input.check(&value).map_err(|found| {
            let at = if found.pointer.is_empty() {
                "the arguments"
            } else {
                &found.pointer
            };
            invalid(format!("{}: {at}: {}", tool.name, found.message)).detail(found.detail())
        })?;
        Ok(match arguments {
            Some(arguments) => arguments.to_owned(),
            None => RawValue::from_string("{}".to_owned()).expect("an empty object is JSON"),
        })
    }

    /// Arguments, results and chunks keep this far below a frame, so that every frame around them fits.
    pub(super) fn check_size(&self, what: &str, bytes: usize) -> Result<(), Error> {
        let limit = self.options.frame_bytes_max - EVENT_BYTES_MARGIN;
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::new(
            Code::FrameTooLarge,
            format!("expected {what} of at most {limit} bytes, found {bytes}"),
        )
        .detail(serde_json::json!({ "bytes": bytes, "limit": limit })))
    }

    /// The link on which an instance takes calls now.
    pub(super) fn serves_calls(&self, key: &InstanceKey) -> Option<LinkId> {
        let instance = self.instances.get(key)?;
        let link = instance.link.filter(|_| instance.is_serving)?;
        let peer = self.peers.get(&link)?;
        (peer.phase == Phase::Active && !peer.legacy).then_some(link)
    }

    /// Lets a call in: joined to one under the same key, answered as one before, or in the queue.
    pub(super) fn admit(&mut self, asked: Asked, caller: Caller) -> Result<(), Error> {
        let idempotency = asked.context.idempotency_key.clone().map(|text| {
            let key = Key {
                caller: asked.context.caller.clone(),
                tool: asked.tool.name.clone(),
                instance: asked.key.instance.as_ref().into(),
                text,
            };
            (key, fingerprint(&asked.arguments))
        });
        let caller = match &idempotency {
            Some((key, print)) => match self.repeat(key, *print, caller)? {
                Some(caller) => caller,
                None => return Ok(()),
            },
            None => caller,
        };
        if asked.timeout_ms == 0 {
            return Err(Error::new(Code::TimedOut, "the time allowed is over"));
        }
        if self.serves_calls(&asked.key).is_none() {
            return Err(self.unavailable(&asked.key));
        }
        let name = asked.tool.name.clone();
        let bytes = asked.arguments.get().len();
        let queued = self.tools.lane(&asked.key, &name).queue.len();
        if queued >= TOOL_QUEUE_MAX || self.tools.waiting_bytes + bytes > WAITING_BYTES_MAX {
            self.tools.tidy_lane(&asked.key, &name);
            return Err(full(format!(
                "expected {name} to have room, found {queued} calls waiting for it"
            )));
        }
        let number = self.tools.number();
        let now_ms = self.now.mono_ms;
        let deadline_ms = now_ms + asked.timeout_ms;
        self.tools.waiting_bytes += bytes;
        self.tools.lane(&asked.key, &name).queue.push_back(number);
        if let Some((key, _)) = &idempotency {
            self.tools.keyed.insert(key.clone(), number);
        }
        self.note_caller(&caller, number);
        self.tools.stats.of(&name).calls += 1;
        self.counters.add("tool_calls", 1);
        let stream = asked
            .tool
            .declaration
            .streaming
            .then(|| Stream::new(asked.window_bytes));
        let running = Running {
            tool: asked.tool,
            key: asked.key.clone(),
            stage: Stage::Waiting {
                arguments: asked.arguments,
            },
            callers: vec![caller],
            context: asked.context,
            idempotency,
            started_ms: now_ms,
            deadline_ms,
            armed_ms: deadline_ms,
            stream,
            progress: None,
        };
        self.tools.calls.insert(number, running);
        self.arm(deadline_ms, Timer::Tool(number));
        self.pump_lane(&asked.key, &name);
        Ok(())
    }

    /// Looks for the first call under a key. Gives the caller back if there is none.
    fn repeat(
        &mut self,
        key: &Key,
        print: Fingerprint,
        caller: Caller,
    ) -> Result<Option<Caller>, Error> {
        if let Some(number) = self.tools.keyed.get(key).copied()
            && let Some(call) = self.tools.calls.get_mut(&number)
        {
            if call.idempotency.as_ref().is_some_and(|(_, p)| *p != print) {
                return Err(other_arguments(key));
            }
            if call.stream.as_ref().is_some_and(Stream::is_relayed) {
                return Err(full(
                    "expected the first call under this key to end, found it streaming".to_owned(),
                ));
            }
            call.callers.push(caller);
            let call = &self.tools.calls[&number];
            let caller = call.callers.last().expect("pushed above");
            let known = link_call(caller);
            self.tools.stats.of(&key.tool).repeated += 1;
            if let Some((link, call_id)) = known {
                let calls = self.tools.callers.entry(link).or_default();
                calls.running.insert(call_id, number);
            }
            return Ok(None);
        }
        match self.tools.results.find(key, print, self.now.mono_ms)? {
            None => Ok(Some(caller)),
            Some(outcome) => {
                self.tools.stats.of(&key.tool).repeated += 1;
                self.tell_caller(&key.tool, caller, &outcome);
                Ok(None)
            }
        }
    }

    fn note_caller(&mut self, caller: &Caller, number: CallNumber) {
        if let Some((link, call_id)) = link_call(caller) {
            let calls = self.tools.callers.entry(link).or_default();
            calls.running.insert(call_id, number);
        }
    }

    pub(super) fn unavailable(&self, key: &InstanceKey) -> Error {
        let state = self.instances.get(key).map(|found| found.report.state);
        let state = state.map_or("gone", rpc::InstanceState::as_str);
        Error::new(
            Code::Unavailable,
            format!("expected {key} to take calls, found it {state}"),
        )
        .retry_after(UNAVAILABLE_RETRY_MS)
        .detail(serde_json::json!({ "instance": key.to_string(), "state": state }))
    }
}

fn link_call(caller: &Caller) -> Option<(LinkId, Box<str>)> {
    match caller {
        Caller::Link { to, call_id } => Some((to.link, call_id.clone())),
        Caller::Event(_) => None,
    }
}

pub(super) fn full(message: String) -> Error {
    Error::new(Code::RateLimited, message).retry_after(RETRY_AFTER_MS)
}

/// The time a call has: the tool's own, or what the caller has left if that is less.
fn timeout(tool: &Tool, context: &ToolContext) -> Result<u64, Error> {
    let own = tool.declaration.timeout_ms();
    match context.timeout_ms {
        Some(0) => Err(Error::new(Code::TimedOut, "the time allowed is over")),
        Some(left) => Ok(left.min(own)),
        None => Ok(own),
    }
}
