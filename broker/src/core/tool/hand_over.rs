//! A call's turn: from the queue to the plugin.

use std::borrow::Cow;
use std::sync::Arc;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::LINK_UNWRITTEN_BYTES_MAX;
use trunkline_contract::rpc::{self, ToolCallParamsRef, ToolContext, method};

use crate::instance::InstanceKey;
use crate::router::LinkId;

use super::super::peer::Call;
use super::super::state::Core;
use super::running::{CallNumber, Stage};

impl Core {
    /// Hands over what may run now.
    pub(super) fn pump_lane(&mut self, key: &InstanceKey, name: &Arc<str>) {
        while let Some(link) = self.serves_calls(key) {
            let has_room = self
                .peers
                .get(&link)
                .is_some_and(|peer| peer.out.len() < LINK_UNWRITTEN_BYTES_MAX);
            let lane = self.tools.lane(key, name);
            let Some(number) = lane.queue.front().copied() else {
                break;
            };
            // The declaration that was in force when the call came.
            let Some(call) = self.tools.calls.get(&number) else {
                self.tools.lane(key, name).queue.pop_front();
                continue;
            };
            let most = call.tool.declaration.concurrency();
            let lane = self.tools.lane(key, name);
            if lane.running >= most || !has_room {
                break;
            }
            lane.queue.pop_front();
            lane.running += 1;
            self.hand_over(number, link);
        }
        self.tools.tidy_lane(key, name);
    }

    /// Hands over what waits for any tool of an instance: its link has room, or it serves again.
    pub(super) fn pump_instance(&mut self, key: &InstanceKey) {
        let Some(lanes) = self.tools.lanes.get(key) else {
            return;
        };
        let names: Vec<Arc<str>> = lanes
            .iter()
            .filter(|(_, lane)| !lane.queue.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.pump_lane(key, &name);
        }
    }

    fn hand_over(&mut self, number: CallNumber, link: LinkId) {
        let left_ms = match self.tools.calls.get(&number) {
            Some(call) => call.deadline_ms.saturating_sub(self.now.mono_ms),
            None => return,
        };
        if left_ms == 0 {
            // Its timer is due as well; it must not run for nothing.
            let error = Error::new(Code::TimedOut, "the time allowed was over before its turn");
            self.release_slot(number);
            self.finish_call(number, &Err(error));
            return;
        }
        let boot = self.boot;
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        let request = peer.next_call;
        peer.next_call += 1;
        peer.calls.insert(request, Call::Tool(number));
        let call = self.tools.calls.get_mut(&number).expect("looked up above");
        let stage = std::mem::replace(&mut call.stage, Stage::HandedOver { link, request });
        let Stage::Waiting { arguments } = stage else {
            unreachable!("only what waits is handed over")
        };
        self.tools.waiting_bytes -= arguments.get().len();
        let call_id = number_text(boot, number);
        let context = &call.context;
        let params = ToolCallParamsRef {
            call_id: Cow::Borrowed(&call_id),
            tool: Cow::Borrowed(&call.tool.name),
            instance: Some(Cow::Borrowed(&call.key.instance)),
            arguments: Some(&arguments),
            context: ToolContext {
                caller: Some(context.caller.to_string()),
                session_id: context.session_id.as_deref().map(str::to_owned),
                traceparent: context.traceparent.as_deref().map(str::to_owned),
                timeout_ms: Some(left_ms),
                idempotency_key: context.idempotency_key.as_deref().map(str::to_owned),
            },
            window_bytes: call
                .stream
                .as_ref()
                .map_or(0, super::stream::Stream::window),
        };
        let mut frame = Vec::with_capacity(arguments.get().len() + 512);
        rpc::write_request(&mut frame, request, method::TOOL_CALL, &params);
        self.write_data(link, |out| out.extend_from_slice(&frame));
    }
}

/// A call's name on the plugin's link.
pub(super) fn number_text(boot: u32, number: CallNumber) -> String {
    format!("{boot}-{number}")
}

/// The call that a plugin means.
pub(super) fn parse_number(boot: u32, text: &str) -> Option<CallNumber> {
    let (life, number) = text.split_once('-')?;
    (life.parse() == Ok(boot)).then(|| number.parse().ok())?
}
