//! What is in motion on a link: frames that arrived are sorted, frames that go out are lined up.
//!
//! Nothing here waits, and nothing here knows a task: whoever holds the link's lock calls it.

use std::collections::VecDeque;
use std::io::ErrorKind;

use serde::Serialize;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::frame::Frame;
use trunkline_contract::limits::LINK_UNWRITTEN_BYTES_MAX;
use trunkline_contract::rpc::{self, EventParamsRef, Message, method};

use super::calls::{Answer, Calls, Waiter};
use super::io::Stream;
use super::leases::Leases;
use super::outbox::Outbox;
use crate::incoming::{DeliveryInfo, Incoming};

/// Ephemeral events beyond this many waiting push out the oldest of them.
const EPHEMERAL_WAITING_MAX: usize = 1024;

/// What arrived for the link's owner.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// An event, to be handled and, if it has a delivery, settled.
    Event(Box<Incoming>),
    /// A request that must be answered.
    Request(Request),
    /// Anything else that was told.
    Notification { method: Box<str>, params: Box<str> },
    /// The answer to a call that keeps its place among notifications; never given to the owner.
    Answer(InOrder),
}

/// An answer, and who waits for it.
pub(crate) struct InOrder(pub(super) Waiter, pub(super) Result<Answer, Error>);

impl std::fmt::Debug for InOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InOrder").field(&self.1).finish()
    }
}

/// A request of the broker.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: Box<RawValue>,
    pub(crate) method: Box<str>,
    /// The parameters as JSON; `{}` where there were none.
    pub(crate) params: Box<str>,
    /// Its frame holds an integer of 16 digits or more.
    pub(crate) is_wide: bool,
}

/// All that is in motion on a link; the decoder is apart, since its frames are borrowed meanwhile.
#[derive(Default)]
pub(super) struct Traffic {
    pub(super) outbox: Outbox,
    pub(super) acks: Vec<Box<str>>,
    pub(super) calls: Calls,
    pub(super) leases: Leases,
    pub(super) inbound: VecDeque<Inbound>,
    /// Events in `inbound`, and how many of them are ephemeral.
    pub(super) events_waiting: usize,
    pub(super) ephemeral_waiting: usize,
    pub(super) ephemeral_dropped: u64,
    /// The latest progress of calls, where the outbox had no room for it.
    pub(super) progress: Vec<(Box<str>, Vec<u8>)>,
    pub(super) bad_frames: u32,
    pub(super) completions: Vec<(Waiter, Result<Answer, Error>)>,
    /// A turn is under way, whose end flushes.
    pub(super) is_driven: bool,
    pub(super) is_woken: bool,
    pub(super) wants_write: bool,
    /// Somebody waits for room.
    pub(super) is_awaited: bool,
    pub(super) closed: Option<Error>,
}

#[derive(Serialize)]
struct Pong {
    loop_lag_ms: u64,
    in_flight: usize,
}

#[derive(Serialize)]
pub(super) struct Deliveries<'a, T> {
    pub(super) deliveries: &'a [T],
}

impl Traffic {
    pub(super) fn is_quiet(&self) -> bool {
        self.outbox.unwritten() == 0 && self.acks.is_empty() && self.calls.len() == 0
    }

    /// Says whether something is under way that somebody works on.
    #[cfg(feature = "testing")]
    pub(super) fn is_at_work(&self) -> bool {
        self.outbox.unwritten() > 0 || !self.acks.is_empty() || self.calls.at_work() > 0
    }

    /// Writes what the stream takes; gives the error that breaks the link.
    pub(super) fn write_out(&mut self, stream: &Stream) -> Option<std::io::Error> {
        self.wants_write = false;
        loop {
            let piece = self.outbox.next();
            if piece.is_empty() {
                return None;
            }
            match stream.write(piece) {
                Ok(bytes) => self.outbox.wrote(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wants_write = true;
                    return None;
                }
                // What the broker still sent is read first: the end of reading ends the link.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return None,
                Err(error) => return Some(error),
            }
        }
    }

    pub(super) fn write_acks(&mut self) {
        if !self.acks.is_empty() {
            let params = Deliveries {
                deliveries: &self.acks,
            };
            self.outbox
                .data(|out| rpc::write_notification(out, method::BROKER_ACK, &params));
            self.acks.clear();
        }
    }

    /// Lines up the progress that waits, as soon as there is room for it.
    pub(super) fn write_progress(&mut self) {
        if !self.progress.is_empty() && self.has_room() {
            for (_, frame) in std::mem::take(&mut self.progress) {
                self.outbox.control(|out| out.extend_from_slice(&frame));
            }
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.outbox.unwritten() < LINK_UNWRITTEN_BYTES_MAX
    }

    pub(super) fn take(&mut self, frame: Frame<'_>, lag_ms: u64, in_flight: usize) {
        let frame = match frame {
            Frame::Complete(frame) => frame,
            Frame::TooLarge { bytes, limit } => {
                let text = format!("expected a frame of at most {limit} bytes, found {bytes}");
                self.refuse(&Error::new(Code::FrameTooLarge, text));
                return;
            }
        };
        // Nearly every frame is an event in this form; whatever it does not read is read below.
        if let Ok(Some((params, facts))) = rpc::notification_params(frame, method::BROKER_EVENT)
            && let Ok(incoming) = read_event(params)
        {
            self.bad_frames = 0;
            self.event(Ok(incoming), facts.has_big_integer);
            return;
        }
        match rpc::parse_with_facts(frame) {
            Ok((Message::Response { id, result }, _)) => {
                self.bad_frames = 0;
                self.response(id.get(), result);
            }
            Ok((Message::Request { id, method, params }, facts)) => {
                self.bad_frames = 0;
                if method == method::PING {
                    let in_flight = in_flight + self.events_waiting;
                    let pong = Pong {
                        loop_lag_ms: lag_ms,
                        in_flight,
                    };
                    self.outbox.control(|out| rpc::write_result(out, id, &pong));
                } else {
                    self.inbound.push_back(Inbound::Request(Request {
                        id: id.to_owned(),
                        method: method.into(),
                        params: params.map_or("{}", RawValue::get).into(),
                        is_wide: facts.has_big_integer,
                    }));
                }
            }
            Ok((Message::Notification { method, params }, facts)) => {
                self.bad_frames = 0;
                let params = params.map_or("{}", RawValue::get);
                if method == method::BROKER_EVENT {
                    self.event(read_event(params), facts.has_big_integer);
                } else {
                    self.inbound.push_back(Inbound::Notification {
                        method: method.into(),
                        params: params.into(),
                    });
                }
            }
            Err(fault) => {
                tracing::warn!(error = %fault.error, "A frame of the broker was refused.");
                self.bad_frames += 1;
                self.outbox
                    .control(|out| rpc::write_rpc_error(out, None, &fault.to_rpc()));
            }
        }
    }

    pub(super) fn refuse(&mut self, error: &Error) {
        tracing::warn!(%error, "A frame of the broker was refused.");
        self.bad_frames += 1;
        self.outbox
            .control(|out| rpc::write_error(out, None, error));
    }

    pub(super) fn response(&mut self, id: &str, result: Result<&RawValue, rpc::RpcError>) {
        let Some(waiter) = self.calls.take(id) else {
            tracing::debug!(id, "An answer came that nobody waits for.");
            return;
        };
        let verdict = match result {
            Ok(result) => Ok(Answer(result.get().into())),
            Err(error) => Err(Error::from_rpc(&error)),
        };
        if matches!(waiter, Waiter::InOrder(_)) {
            self.inbound
                .push_back(Inbound::Answer(InOrder(waiter, verdict)));
        } else {
            self.completions.push((waiter, verdict));
        }
    }

    fn event(&mut self, read: Result<Incoming, Error>, is_wide: bool) {
        match read {
            Ok(mut incoming) => {
                incoming.set_wide(is_wide);
                if incoming.delivery().is_none() {
                    self.bound_ephemeral();
                }
                self.events_waiting += 1;
                self.inbound.push_back(Inbound::Event(Box::new(incoming)));
            }
            Err(error) => {
                tracing::error!(%error, "An event of the broker could not be read.");
                self.bad_frames += 1;
            }
        }
    }

    /// Only what nobody has taken for a while can pile up here; credit bounds the rest.
    pub(super) fn bound_ephemeral(&mut self) {
        self.ephemeral_waiting += 1;
        if self.ephemeral_waiting > EPHEMERAL_WAITING_MAX {
            let oldest = self.inbound.iter().position(
                |inbound| matches!(inbound, Inbound::Event(event) if event.delivery().is_none()),
            );
            if let Some(oldest) = oldest {
                self.inbound.remove(oldest);
                self.ephemeral_waiting -= 1;
                self.events_waiting = self.events_waiting.saturating_sub(1);
                self.ephemeral_dropped += 1;
            }
        }
    }
}

fn read_event(params: &str) -> Result<Incoming, Error> {
    let params: EventParamsRef<'_> = serde_json::from_str(params)
        .map_err(|error| Error::new(Code::InvalidFrame, error.to_string()))?;
    let delivery = params.delivery.map(|delivery| DeliveryInfo {
        id: delivery.id.into_owned(),
        attempt: delivery.attempt,
        redelivered: delivery.redelivered,
        lease_ms: delivery.lease_ms,
        is_last: delivery.last,
        subscription: delivery.subscription.into_owned(),
    });
    Incoming::parse(&params.topic, params.event.get(), delivery)
}
