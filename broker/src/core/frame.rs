//! From a frame to the method it names.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::BAD_FRAMES_MAX;
use trunkline_contract::rpc::{self, Message, method};

use crate::router::LinkId;

use super::instance::InstanceSignal;
use super::peer::{Call, Phase, ReplyTo, Role};
use super::state::Core;
use super::tail::Watcher;

/// What the reader of a link does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Goes on with the next frame.
    Continue,
    /// Feeds no more frames until [`super::Output::Resume`].
    Pause,
    /// Closes the link.
    Close,
}

impl Core {
    /// Applies one frame of a link (without its newline).
    pub fn frame(&mut self, link: LinkId, frame: &[u8]) -> Flow {
        if !self.peers.contains_key(&link) {
            return Flow::Close;
        }
        match rpc::parse(frame) {
            Ok(message) => {
                if let Some(peer) = self.peers.get_mut(&link) {
                    peer.bad_frames = 0;
                }
                self.message(link, message);
            }
            Err(fault) => {
                let rpc_error = fault.to_rpc();
                self.write_control(link, |out| rpc::write_rpc_error(out, None, &rpc_error));
                self.bad_frame(link);
            }
        }
        self.flow(link, frame)
    }

    /// A frame over the limit was discarded while it streamed in.
    pub fn frame_too_large(&mut self, link: LinkId, bytes: u64) -> Flow {
        let limit = self.options.frame_bytes_max;
        let error = Error::new(
            Code::FrameTooLarge,
            format!("expected a frame of at most {limit} bytes, found {bytes}"),
        )
        .detail(serde_json::json!({ "bytes": bytes, "limit": limit }));
        self.write_control(link, |out| rpc::write_error(out, None, &error));
        self.bad_frame(link);
        self.note_rejection(link, Code::FrameTooLarge, "");
        if self
            .peers
            .get(&link)
            .is_some_and(|peer| peer.phase != Phase::Closing)
        {
            Flow::Continue
        } else {
            Flow::Close
        }
    }

    fn flow(&mut self, link: LinkId, frame: &[u8]) -> Flow {
        let Some(peer) = self.peers.get_mut(&link) else {
            return Flow::Close;
        };
        if let Some(parked) = &mut peer.parked {
            if parked.is_empty() {
                *parked = frame.into();
            }
            return Flow::Pause;
        }
        if peer.out.control_len() > super::limits::UNREAD_ANSWERS_BYTES_MAX {
            self.counters.add("links_closed_unread", 1);
            self.close(link);
            return Flow::Close;
        }
        Flow::Continue
    }

    /// The frame that had to wait is applied again; the link goes on.
    pub(crate) fn unpark(&mut self, link: LinkId) {
        let Some(frame) = self
            .peers
            .get_mut(&link)
            .and_then(|peer| peer.parked.take())
        else {
            return;
        };
        if self.frame(link, &frame) == Flow::Continue {
            self.outputs.push(super::Output::Resume(link));
        }
    }

    fn bad_frame(&mut self, link: LinkId) {
        self.counters.add("bad_frames", 1);
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        peer.bad_frames += 1;
        if peer.bad_frames >= BAD_FRAMES_MAX {
            let error = Error::new(
                Code::ProtocolViolation,
                format!("{BAD_FRAMES_MAX} bad frames in a row, the link is closed"),
            );
            self.write_control(link, |out| rpc::write_error(out, None, &error));
            self.close(link);
        }
    }

    fn message(&mut self, link: LinkId, message: Message<'_>) {
        match message {
            Message::Request { id, method, params } => {
                let to = ReplyTo {
                    link,
                    id: Some(id.to_owned()),
                };
                self.request(&to, &method, params);
            }
            Message::Notification { method, params } => {
                let to = ReplyTo { link, id: None };
                self.request(&to, &method, params);
            }
            Message::Response { id, result } => self.response(link, id, result),
        }
    }

    fn request(&mut self, to: &ReplyTo, name: &str, params: Option<&RawValue>) {
        let peer = self
            .peers
            .get(&to.link)
            .expect("frames come from known links");
        if let Some(key) = peer.process.clone() {
            return self.process_request(to, &key, name, params);
        }
        if matches!(peer.role, Role::Unknown) {
            if name == method::CONNECT {
                self.connect(to, params);
            } else {
                let error = Error::new(
                    Code::Unauthorized,
                    format!("expected connect as the first frame, found {name}"),
                );
                self.refuse(to, &error);
                self.close(to.link);
            }
            return;
        }
        match name {
            method::BROKER_PUBLISH => self.publish(to, params),
            method::BROKER_COMMIT => self.commit(to, params),
            method::BROKER_ACK => self.ack(to, params),
            method::BROKER_NAK => self.nak(to, params),
            method::BROKER_REJECT => self.reject(to, params),
            method::BROKER_EXTEND => self.extend(to, params),
            method::BROKER_SUBSCRIBE => self.subscribe(to, params),
            method::BROKER_UNSUBSCRIBE => self.unsubscribe(to, params),
            method::BROKER_CREDIT => self.credit(to, params),
            method::BROKER_SEEK => self.seek(to, params),
            method::BROKER_TAIL => self.tail(to, params, Watcher::Reader),
            method::BROKER_TAIL_END => self.end_tail(to),
            method::INSTANCE_STATUS => self.instance_status(to, params),
            method::INSTANCE_PROGRESS => self.instance_progress(to, params),
            method::PING => self.answer(to, &rpc::PingResult::default()),
            method::LOG => self.log(to, params),
            method::SYSTEM_INFO => self.system_info(to),
            method::DEAD_LETTER_PUT => self.put_dead_letter(to, params),
            method::TOOL_CALL => self.tool_call(to, params),
            method::TOOL_CHUNK => self.tool_chunk(to, params),
            method::TOOL_PROGRESS => self.tool_progress(to, params),
            method::TOOL_CREDIT => self.tool_credit(to, params),
            method::TOOL_CANCEL => self.tool_cancel(to, params),
            method::TOOL_LIST => self.tool_list(to, params),
            method::TOOL_REGISTER => self.tool_register(to, params),
            method::TOOL_UNREGISTER => self.tool_unregister(to, params),
            name if name.starts_with("kv.") => self.kv(to, name, params),
            name if name.starts_with("blob.") => self.blob(to, name, params),
            name if name.starts_with("timer.") => self.timer(to, name, params),
            name if name.starts_with("lock.") => self.lock(to, name, params),
            name if name.starts_with("admin.") => self.admin(to, name, params),
            method::CONNECT => {
                let error = Error::new(Code::InvalidArguments, "this link is connected already");
                self.refuse(to, &error);
            }
            name if method::is_reserved(name) => {
                let error = Error::new(
                    Code::NotImplemented,
                    format!("{name} is reserved and not built yet"),
                );
                self.refuse(to, &error);
            }
            name => {
                self.counters.add("unknown_methods", 1);
                let error = Error::new(
                    Code::NotImplemented,
                    format!("expected a known method, found {name}"),
                );
                self.refuse(to, &error);
            }
        }
    }

    fn response(&mut self, link: LinkId, id: &RawValue, result: Result<&RawValue, rpc::RpcError>) {
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        let call = id
            .get()
            .parse::<u64>()
            .ok()
            .and_then(|id| peer.calls.remove(&id));
        let Some(call) = call else {
            // Late or made up: counted, nothing else.
            self.counters.add("late_responses", 1);
            return;
        };
        let answer = result.map_err(|error| Error::from_rpc(&error));
        match call {
            Call::Initialize => self.initialized(link, answer),
            Call::Ping => self.pong(link, answer),
            Call::Open(key) => self.open_answered(&key, answer),
            Call::Close(key) => self.close_answered(&key, answer),
            Call::Shutdown => {
                if let Some(key) = self.peers.get(&link).and_then(|peer| peer.process.clone()) {
                    self.signal(&key, InstanceSignal::Drained);
                }
                if let Some(key) = self
                    .peers
                    .get(&link)
                    .and_then(|peer| peer.instance().cloned())
                {
                    if let Err(error) = answer {
                        self.log_line(&key, "warning", format!("shutdown was refused: {error}"));
                    }
                    self.shutdown_answered(link, &key);
                }
            }
            Call::Deactivate => self.deactivated(link, answer),
            Call::Activate | Call::Pause | Call::Resume => {
                if let Err(error) = answer {
                    self.refused_call(link, &call, error);
                }
            }
            Call::Tool(number) => self.tool_answered(number, answer),
            Call::ConfigUpdate(offer) => self.config_answered(link, &offer, answer),
        }
    }
}
