//! `broker.tail` and `admin.tail`: looking at events as they pass, without a subscription.
//!
//! A tail holds nothing back: what retention takes while it is behind, it does not see. It reads when its
//! link has room and waits when it has not, so that a slow terminal costs no memory.

use std::io::Write;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::grant::Scopes;
use trunkline_contract::limits::{FILTERS_MAX, LINK_UNWRITTEN_BYTES_MAX};
use trunkline_contract::rpc::{self, TailParams, TailResult, method};
use trunkline_contract::topic::Filter;

use crate::router::LinkId;
use crate::store::{EventPage, ReadLimit, Seq, StoreFacts, StoredEvent};

use super::limits::TAIL_EVENTS;
use super::peer::{ReplyTo, Role};
use super::read::{FactsThen, LogThen, ReadRequest};
use super::state::{Core, Output};

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watcher {
    /// An operator, who may see everything.
    Operator,
    /// A peer, who sees what it may read.
    Reader,
}

/// A tail that was asked for.
#[derive(Debug)]
pub(crate) struct TailAsked {
    params: TailParams,
    watcher: Watcher,
}

/// A tail that begins once it is known what is kept.
#[derive(Debug)]
pub struct TailOpening {
    to: ReplyTo,
    asked: TailAsked,
    after: Seq,
}

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
    watcher: Watcher,
    /// What a client may read, which may be less than what its filters reach.
    scopes: Option<Arc<Scopes>>,
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
    pub(crate) fn tail(&mut self, to: &ReplyTo, params: Option<&RawValue>, watcher: Watcher) {
        let result = rpc::params::<TailParams>(params).and_then(|params| {
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
                        match watcher {
                            Watcher::Operator => method::ADMIN_TAIL_END,
                            Watcher::Reader => method::BROKER_TAIL_END,
                        }
                    ),
                ));
            }
            let params = self.visible(to, params, watcher)?;
            let start = self.start(&params.start)?;
            Ok((params, start))
        });
        match result {
            Ok((params, start)) => {
                let asked = TailAsked { params, watcher };
                match start {
                    Ok(after) => self.tail_from(to, asked, after),
                    Err(at_ms) => self.tail_from_time(to, asked, at_ms),
                }
            }
            Err(error) => self.refuse(to, &error),
        }
    }

    /// Fills in what is meant by no filter; every filter of a reader has to be one it may read.
    fn visible(
        &self,
        to: &ReplyTo,
        mut params: TailParams,
        watcher: Watcher,
    ) -> Result<TailParams, Error> {
        if watcher == Watcher::Operator {
            if params.filters.is_empty() {
                params.filters = vec![Filter::parse(">").expect("a literal filter")];
            }
            return Ok(params);
        }
        if !params.filters.is_empty() {
            for filter in &params.filters {
                self.may_read(to, filter)?;
            }
            return Ok(params);
        }
        let role = self.peers.get(&to.link).map(|peer| &peer.role);
        params.filters = match role {
            Some(Role::Client { scopes, .. }) => scopes.reads().to_vec(),
            Some(Role::Instance(key)) => self
                .instances
                .get(key)
                .map(|instance| instance.setup.grants.receive.clone())
                .unwrap_or_default(),
            Some(Role::Unknown) | None => Vec::new(),
        };
        if params.filters.is_empty() {
            return Err(Error::new(
                Code::TopicNotGranted,
                "expected a peer that may read something, found one that may read nothing",
            ));
        }
        Ok(params)
    }

    pub(crate) fn tail_from(&mut self, to: &ReplyTo, asked: TailAsked, after: Seq) {
        match asked.watcher {
            Watcher::Operator => {
                if self.open_tail(to, asked, after) {
                    self.answer(to, &rpc::Empty {});
                    self.resume_tail(to.link);
                }
            }
            Watcher::Reader => {
                let opening = TailOpening {
                    to: to.clone(),
                    asked,
                    after,
                };
                self.outputs.push(Output::Read(ReadRequest::Facts {
                    counts: Vec::new(),
                    then: FactsThen::Tail(Box::new(opening)),
                }));
            }
        }
    }

    /// It is known what is kept.
    pub(crate) fn tail_opens(&mut self, facts: StoreFacts, opening: TailOpening) {
        let TailOpening { to, asked, after } = opening;
        if self.open_tail(&to, asked, after) {
            let first = facts.purged + 1;
            self.answer(&to, &TailResult { after, first });
            self.resume_tail(to.link);
        }
    }

    fn open_tail(&mut self, to: &ReplyTo, asked: TailAsked, after: Seq) -> bool {
        let Some(peer) = self.peers.get(&to.link) else {
            return false;
        };
        let scopes = match (&peer.role, asked.watcher) {
            (Role::Client { scopes, .. }, Watcher::Reader) => Some(scopes.clone()),
            _ => None,
        };
        self.tails.generation += 1;
        let tail = Tail {
            watcher: asked.watcher,
            scopes,
            filters: asked.params.filters,
            after,
            left: asked.params.limit,
            is_reading: false,
            generation: self.tails.generation,
        };
        self.tails.open.insert(to.link, tail);
        true
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
            tail.after = event.seq;
            if let Some(scopes) = &tail.scopes
                && !scopes.may_receive(&event.topic)
            {
                continue;
            }
            tail.left = tail.left.map(|left| left - 1);
            let name = match tail.watcher {
                Watcher::Operator => method::ADMIN_EVENT,
                Watcher::Reader => method::BROKER_TAIL_EVENT,
            };
            self.write_data(link, |out| event_frame(out, name, &event));
        }
        if let Some(tail) = self.tails.open.get_mut(&link) {
            tail.after = tail.after.max(next);
            if tail.left == Some(0) {
                self.tails.open.remove(&link);
            }
        }
    }
}

fn event_frame(out: &mut Vec<u8>, name: &str, event: &StoredEvent) {
    out.reserve(event.envelope.len() + event.topic.len() + 128);
    write!(
        out,
        "{{\"jsonrpc\":\"2.0\",\"method\":\"{name}\",\"params\":{{\"seq\":{},\"topic\":\"{}\",\"event\":",
        event.seq,
        event.topic
    )
    .expect("a Vec takes every write");
    out.extend_from_slice(&event.envelope);
    out.extend_from_slice(b"}}\n");
}
