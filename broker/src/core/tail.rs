//! `admin.tail`: looking at events as they pass, without a subscription.
//!
//! A tail holds nothing back: what retention takes while it is behind, it does not see. It reads when its
//! link has room and waits when it has not, so that a slow terminal costs no memory.

use std::io::Write;

use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::{FILTERS_MAX, LINK_UNWRITTEN_BYTES_MAX};
use trunkline_contract::rpc::admin::AdminTailParams;
use trunkline_contract::rpc::{self, method};
use trunkline_contract::topic::Filter;

use crate::router::LinkId;
use crate::store::{EventPage, ReadLimit, Seq, StoredEvent};

use super::limits::TAIL_EVENTS;
use super::peer::ReplyTo;
use super::read::{LogThen, ReadRequest};
use super::state::{Core, Output};

/// A piece of the log for a tail.
#[derive(Debug)]
pub struct TailRead {
    link: LinkId,
    generation: u64,
}

/// Tails that are open, one per link.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    open: FxHashMap<LinkId, Tail>,
    generation: u64,
}

#[derive(Debug)]
struct Tail {
    filters: Vec<Filter>,
    /// Everything up to here was shown.
    after: Seq,
    left: Option<u64>,
    is_reading: bool,
    generation: u64,
}

impl Tails {
    pub(crate) fn drop_link(&mut self, link: LinkId) {
        self.open.remove(&link);
    }
}

impl Core {
    pub(crate) fn tail(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result = rpc::params::<AdminTailParams>(params).and_then(|params| {
            if params.filters.len() > FILTERS_MAX {
                return Err(Error::new(
                    Code::InvalidArguments,
                    format!(
                        "expected at most {FILTERS_MAX} filters, found {}",
                        params.filters.len()
                    ),
                ));
            }
            if self.tails.open.contains_key(&to.link) {
                return Err(Error::new(
                    Code::InvalidArguments,
                    format!(
                        "this link has a tail already; end it with {}",
                        method::ADMIN_TAIL_END
                    ),
                ));
            }
            let start = self.start(&params.start)?;
            Ok((params, start))
        });
        match result {
            Ok((params, Ok(after))) => self.tail_from(to, params, after),
            Ok((params, Err(at_ms))) => self.tail_from_time(to, params, at_ms),
            Err(error) => self.refuse(to, &error),
        }
    }

    pub(crate) fn tail_from(&mut self, to: &ReplyTo, params: AdminTailParams, after: Seq) {
        if !self.peers.contains_key(&to.link) {
            return;
        }
        self.tails.generation += 1;
        let filters = if params.filters.is_empty() {
            vec![Filter::parse(">").expect("a literal filter")]
        } else {
            params.filters
        };
        let tail = Tail {
            filters,
            after,
            left: params.limit,
            is_reading: false,
            generation: self.tails.generation,
        };
        self.tails.open.insert(to.link, tail);
        self.answer(to, &rpc::Empty {});
        self.resume_tail(to.link);
    }

    pub(crate) fn end_tail(&mut self, to: &ReplyTo) {
        self.tails.open.remove(&to.link);
        self.answer(to, &rpc::Empty {});
    }

    /// Something became durable.
    pub(crate) fn resume_tails(&mut self) {
        if self.tails.open.is_empty() {
            return;
        }
        let links: Vec<LinkId> = self.tails.open.keys().copied().collect();
        for link in links {
            self.resume_tail(link);
        }
    }

    /// Shows what there is, as far as the link has room.
    pub(crate) fn resume_tail(&mut self, link: LinkId) {
        let head = self.router.head();
        while let Some(tail) = self.tails.open.get_mut(&link) {
            let has_room = self
                .peers
                .get(&link)
                .is_some_and(|peer| peer.out.len() < LINK_UNWRITTEN_BYTES_MAX);
            if tail.is_reading || tail.after >= head || !has_room {
                return;
            }
            let limit = ReadLimit {
                events: TAIL_EVENTS,
                ..ReadLimit::default()
            };
            let (after, generation) = (tail.after, tail.generation);
            if let Some(page) = self.ring.read(after, &tail.filters, limit) {
                self.show(link, page);
                continue;
            }
            tail.is_reading = true;
            let request = ReadRequest::Log {
                after,
                filters: tail.filters.clone(),
                limit,
                then: LogThen::Tail(TailRead { link, generation }),
            };
            self.outputs.push(Output::Read(request));
        }
    }

    pub(crate) fn tail_read(&mut self, page: EventPage, read: &TailRead) {
        let Some(tail) = self.tails.open.get_mut(&read.link) else {
            return;
        };
        if tail.generation != read.generation {
            return;
        }
        tail.is_reading = false;
        self.show(read.link, page);
        self.resume_tail(read.link);
    }

    fn show(&mut self, link: LinkId, page: EventPage) {
        let next = page.next;
        for event in page.events {
            let has_room = self
                .peers
                .get(&link)
                .is_some_and(|peer| peer.out.len() < LINK_UNWRITTEN_BYTES_MAX);
            let Some(tail) = self.tails.open.get_mut(&link) else {
                return;
            };
            if !has_room {
                return;
            }
            if tail.left == Some(0) {
                self.tails.open.remove(&link);
                return;
            }
            tail.left = tail.left.map(|left| left - 1);
            tail.after = event.seq;
            self.write_data(link, |out| event_frame(out, &event));
        }
        if let Some(tail) = self.tails.open.get_mut(&link) {
            tail.after = tail.after.max(next);
            if tail.left == Some(0) {
                self.tails.open.remove(&link);
            }
        }
    }
}

fn event_frame(out: &mut Vec<u8>, event: &StoredEvent) {
    out.reserve(event.envelope.len() + event.topic.len() + 128);
    write!(
        out,
        "{{\"jsonrpc\":\"2.0\",\"method\":\"{}\",\"params\":{{\"seq\":{},\"topic\":\"{}\",\"event\":",
        method::ADMIN_EVENT,
        event.seq,
        event.topic
    )
    .expect("a Vec takes every write");
    out.extend_from_slice(&event.envelope);
    out.extend_from_slice(b"}}\n");
}
