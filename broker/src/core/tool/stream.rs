//! What comes while a call runs: chunks within their window, credit for more, and progress.
//!
//! Each hop has a window of its own. The broker gives the plugin one of at most [`RELAY_WINDOW_BYTES`] and
//! renews it as chunks leave for the caller, so that a caller that does not read stops the plugin, and what
//! waits here is bounded. For a caller that asked for no stream chunks are collected.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::{
    EVENT_BYTES_MARGIN, LINK_UNWRITTEN_BYTES_MAX, TOOL_WINDOW_BYTES_MAX,
};
use trunkline_contract::rpc::{self, ToolChunkParamsRef, ToolCreditParams, method};

use crate::router::LinkId;

use super::super::peer::ReplyTo;
use super::super::state::Core;
use super::accept::full;
use super::hand_over::{number_text, parse_number};
use super::limits::{COLLECTED_BYTES_MAX, RELAY_WINDOW_BYTES};
use super::result::{broken, check_output};
use super::running::{CallNumber, Caller, Stage};

/// The chunks of one call.
#[derive(Debug)]
pub(super) struct Stream {
    /// The plugin's first window.
    window: u64,
    /// What the plugin may still send.
    plugin_left: i64,
    /// What left for the caller and was not given back to the plugin.
    owed: u64,
    received: u64,
    /// What the caller still takes; `None`: it wants no chunks.
    caller_left: Option<i64>,
    sent: u64,
    waiting: VecDeque<Box<RawValue>>,
    collected: Collected,
}

/// Chunks put together.
#[derive(Debug, Default)]
struct Collected {
    /// Separated by commas.
    text: String,
    /// Where each chunk ends.
    ends: Vec<u32>,
    /// One of them is no string.
    is_mixed: bool,
}

impl Stream {
    pub(super) fn new(caller_window: u64) -> Self {
        let is_relayed = caller_window > 0;
        let window = if is_relayed {
            caller_window.min(RELAY_WINDOW_BYTES)
        } else {
            RELAY_WINDOW_BYTES
        };
        Self {
            window,
            plugin_left: window as i64,
            owed: 0,
            received: 0,
            caller_left: is_relayed.then_some(caller_window as i64),
            sent: 0,
            waiting: VecDeque::new(),
            collected: Collected::default(),
        }
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn is_relayed(&self) -> bool {
        self.caller_left.is_some()
    }

    pub(super) fn collected_bytes(&self) -> usize {
        self.collected.text.len()
    }

    /// What was collected, as JSON.
    pub(super) fn collected(&self) -> String {
        self.collected.whole()
    }

    /// Gives back to the plugin what left, once half its window is used up.
    fn take_owed(&mut self) -> Option<u64> {
        let is_due = self.owed > 0 && self.plugin_left <= (self.window / 2) as i64;
        is_due.then(|| {
            let owed = std::mem::take(&mut self.owed);
            self.plugin_left += owed as i64;
            owed
        })
    }
}

impl Collected {
    fn push(&mut self, data: &str) {
        if !self.ends.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(data);
        self.ends.push(self.text.len() as u32);
        self.is_mixed |= !data.starts_with('"');
    }

    /// Strings as one string, joined as they stand, escapes and all; anything else as an array.
    fn whole(&self) -> String {
        if self.is_mixed || self.ends.is_empty() {
            return format!("[{}]", self.text);
        }
        let mut whole = String::with_capacity(self.text.len() + 2);
        whole.push('"');
        let mut start = 0;
        for end in self.ends.iter().map(|end| *end as usize) {
            whole.push_str(&self.text[start + 1..end - 1]);
            start = end + 1;
        }
        whole.push('"');
        whole
    }
}

/// `tool.progress` with its data as it stands.
#[derive(Deserialize)]
struct ProgressIn<'a> {
    #[serde(borrow)]
    call_id: Cow<'a, str>,
    #[serde(default)]
    done: Option<f64>,
    #[serde(default)]
    total: Option<f64>,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// The same for the caller, without its call id.
#[derive(Serialize)]
struct ProgressOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

impl Core {
    /// The call that a plugin's link names, if that link works on it.
    fn worked_on(&mut self, link: LinkId, call_id: &str) -> Option<CallNumber> {
        let number = parse_number(self.boot, call_id);
        let call = number.and_then(|number| self.tools.calls.get(&number));
        match call {
            Some(call) if matches!(call.stage, Stage::HandedOver { link: at, .. } if at == link) => {
                number
            }
            Some(call) if call.worker() == Some(link) => {
                let name = call.tool.name.clone();
                self.tools.stats.of(&name).late += 1;
                None
            }
            _ => {
                self.counters.add("tool_frames_unknown", 1);
                None
            }
        }
    }

    /// `tool.chunk` from a plugin.
    pub(crate) fn tool_chunk(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let params = match rpc::params::<ToolChunkParamsRef<'_>>(params) {
            Ok(params) => params,
            Err(error) => return self.refuse(to, &error),
        };
        let Some(number) = self.worked_on(to.link, &params.call_id) else {
            return;
        };
        if let Err(error) = self.take_chunk(number, &params) {
            self.give_up(number, &error, "the stream broke");
        }
    }

    fn take_chunk(
        &mut self,
        number: CallNumber,
        params: &ToolChunkParamsRef<'_>,
    ) -> Result<(), Error> {
        let bytes = params.data.get().len();
        self.check_size("a chunk", bytes)?;
        let most = self.options.frame_bytes_max - EVENT_BYTES_MARGIN;
        let call = self.tools.calls.get_mut(&number).expect("it is running");
        let tool = call.tool.clone();
        let Some(stream) = &mut call.stream else {
            let message = "it sent a chunk and is not declared as streaming";
            return Err(broken(&tool, message, Value::Null));
        };
        if params.seq != stream.received {
            let message = format!("expected chunk {}, found {}", stream.received, params.seq);
            return Err(broken(&tool, &message, Value::Null));
        }
        if stream.plugin_left <= 0 {
            let message = "it sent a chunk beyond its window";
            return Err(broken(&tool, message, Value::Null));
        }
        check_output(&tool, params.data)?;
        stream.received += 1;
        stream.plugin_left -= bytes as i64;
        if stream.is_relayed() {
            stream.waiting.push_back(params.data.to_owned());
            self.pump_stream(number);
            return Ok(());
        }
        let before = stream.collected.text.len();
        if before + bytes > most {
            return Err(Error::new(
                Code::QuotaExceeded,
                format!(
                    "expected a stream of at most {most} bytes for a caller that takes no chunks; \
                     call with window_bytes"
                ),
            )
            .detail(serde_json::json!({ "limit": most })));
        }
        if self.tools.collected_bytes + bytes > COLLECTED_BYTES_MAX {
            return Err(full(format!(
                "expected at most {COLLECTED_BYTES_MAX} bytes of streams that are collected"
            )));
        }
        stream.collected.push(params.data.get());
        self.tools.collected_bytes += stream.collected.text.len() - before;
        stream.owed += bytes as u64;
        self.give_credit(number);
        Ok(())
    }

    /// Sends the plugin what its window has free again.
    fn give_credit(&mut self, number: CallNumber) {
        let boot = self.boot;
        let Some(call) = self.tools.calls.get_mut(&number) else {
            return;
        };
        let Stage::HandedOver { link, .. } = call.stage else {
            return;
        };
        if let Some(bytes) = call.stream.as_mut().and_then(Stream::take_owed) {
            let params = ToolCreditParams {
                call_id: number_text(boot, number),
                bytes,
            };
            self.notify(link, method::TOOL_CREDIT, &params);
        }
    }

    /// Sends the caller what it takes; the result follows the last chunk.
    pub(super) fn pump_stream(&mut self, number: CallNumber) {
        loop {
            let Some(call) = self.tools.calls.get_mut(&number) else {
                return;
            };
            let Some(Caller::Link { to, call_id }) = call.callers.first() else {
                return;
            };
            let link = to.link;
            let Some(stream) = &mut call.stream else {
                return;
            };
            let Some(data) = stream.waiting.front() else {
                break;
            };
            if stream.caller_left.is_none_or(|left| left <= 0) {
                break;
            }
            let Some(peer) = self.peers.get(&link) else {
                return;
            };
            if peer.out.len() >= LINK_UNWRITTEN_BYTES_MAX {
                self.tools.blocked.entry(link).or_default().insert(number);
                break;
            }
            let params = ToolChunkParamsRef {
                call_id: Cow::Borrowed(call_id),
                seq: stream.sent,
                data,
            };
            let mut frame = Vec::with_capacity(data.get().len() + 256);
            rpc::write_notification(&mut frame, method::TOOL_CHUNK, &params);
            let bytes = data.get().len();
            stream.sent += 1;
            stream.owed += bytes as u64;
            stream.caller_left = stream.caller_left.map(|left| left - bytes as i64);
            stream.waiting.pop_front();
            self.write_data(link, |out| out.extend_from_slice(&frame));
        }
        self.give_credit(number);
        let is_done = self.tools.calls.get(&number).is_some_and(|call| {
            matches!(call.stage, Stage::Draining { .. })
                && call.stream.as_ref().is_none_or(|s| s.waiting.is_empty())
        });
        if is_done
            && let Some(call) = self.tools.calls.get(&number)
            && let Stage::Draining { result } = &call.stage
        {
            let result: Arc<RawValue> = Arc::from(result.clone());
            self.finish_call(number, &Ok(result));
        }
    }

    /// `tool.credit` from a caller.
    pub(crate) fn tool_credit(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let params = match rpc::params::<ToolCreditParams>(params) {
            Ok(params) => params,
            Err(error) => return self.refuse(to, &error),
        };
        let Some(number) = self.tools.of_caller(to.link, &params.call_id) else {
            // Its call ended meanwhile.
            return;
        };
        if let Some(stream) = self
            .tools
            .calls
            .get_mut(&number)
            .and_then(|call| call.stream.as_mut())
        {
            let most = TOOL_WINDOW_BYTES_MAX as i64;
            let more = i64::try_from(params.bytes).unwrap_or(most).min(most);
            stream.caller_left = stream.caller_left.map(|left| (left + more).min(most));
        }
        self.pump_stream(number);
    }

    /// `tool.progress` from a plugin.
    pub(crate) fn tool_progress(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let progress = match rpc::params::<ProgressIn<'_>>(params) {
            Ok(progress) => progress,
            Err(error) => return self.refuse(to, &error),
        };
        let Some(number) = self.worked_on(to.link, &progress.call_id) else {
            return;
        };
        let out = ProgressOut {
            done: progress.done,
            total: progress.total,
            message: progress.message,
            data: progress.data,
        };
        let Ok(text) = rpc::raw(&out) else { return };
        if self.check_size("progress", text.get().len()).is_err() {
            return;
        }
        if let Some(call) = self.tools.calls.get_mut(&number) {
            call.progress = Some(text);
        }
        self.pump_progress(number);
    }

    /// Writes the newest progress to everybody who waits and has room; an older one is replaced.
    fn pump_progress(&mut self, number: CallNumber) {
        let Some(call) = self.tools.calls.get_mut(&number) else {
            return;
        };
        let Some(progress) = call.progress.take() else {
            return;
        };
        let callers: Vec<(LinkId, Box<str>)> = call
            .callers
            .iter()
            .filter_map(|caller| match caller {
                Caller::Link { to, call_id } => Some((to.link, call_id.clone())),
                Caller::Event(_) => None,
            })
            .collect();
        let mut is_kept = false;
        for (link, call_id) in callers {
            let has_room = self
                .peers
                .get(&link)
                .is_some_and(|peer| peer.out.len() < LINK_UNWRITTEN_BYTES_MAX);
            if !has_room {
                self.tools.blocked.entry(link).or_default().insert(number);
                is_kept = true;
                continue;
            }
            let id = serde_json::to_string(&*call_id).expect("a text has a JSON form");
            let members = progress.get().trim_start_matches('{');
            let comma = if members == "}" { "" } else { "," };
            let text = format!("{{\"call_id\":{id}{comma}{members}");
            let params = RawValue::from_string(text).expect("made of JSON");
            self.notify(link, method::TOOL_PROGRESS, &params);
        }
        if is_kept && let Some(call) = self.tools.calls.get_mut(&number) {
            call.progress = Some(progress);
        }
    }

    /// A link has room again: what waited for it goes on.
    pub(crate) fn resume_tools(&mut self, link: LinkId) {
        if let Some(numbers) = self.tools.blocked.remove(&link) {
            for number in numbers {
                self.pump_progress(number);
                self.pump_stream(number);
            }
        }
        if !self.tools.lanes.is_empty()
            && let Some(key) = self
                .peers
                .get(&link)
                .and_then(|peer| peer.instance().cloned())
        {
            self.pump_instance(&key);
        }
    }
}
