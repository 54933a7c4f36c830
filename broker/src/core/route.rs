//! Completing topics: which instance a bare topic means.
//!
//! An outbound event without an instance is resolved once, at publish, and stored under the completed
//! topic: by the session's route (the instance that last served it, written in the same commit as that
//! inbound event), else by the only configured instance of the kind.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::topic::{Class, check_topic, classify};

use crate::router::LinkId;
use crate::store::{Expect, StateEntry, StateOp};

use super::limits::{ROUTE_MS, ROUTES_MAX};
use super::peer::Role;
use super::read::{GetThen, ReadRequest};
use super::state::{Core, Output};

/// Where a topic leads.
pub(crate) enum Routed {
    To(Arc<str>),
    /// A route is being read; the link is parked until it is there.
    Later,
}

/// A route that is being read.
#[derive(Debug)]
pub struct RouteRead {
    link: LinkId,
    key: Box<str>,
}

/// Routes in memory, the newest kept.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: FxHashMap<Box<str>, Known>,
    order: VecDeque<Box<str>>,
}

#[derive(Debug, Clone)]
struct Known {
    /// `None`: looked up and not there.
    instance: Option<Box<str>>,
    written_at_ms: i64,
}

impl Routes {
    fn put(&mut self, key: Box<str>, known: Known) {
        if self.known.insert(key.clone(), known).is_none() {
            self.order.push_back(key);
            while self.order.len() > ROUTES_MAX {
                if let Some(old) = self.order.pop_front() {
                    self.known.remove(&old);
                }
            }
        }
    }
}

fn route_key(kind: &str, session: &str) -> Box<str> {
    format!("{kind}/{session}").into()
}

impl Core {
    /// The complete topic that a peer means.
    pub(crate) fn route(
        &mut self,
        link: LinkId,
        topic: &str,
        session: Option<&str>,
    ) -> Result<Routed, Error> {
        // Before it is remembered: what is no topic may be as long as a frame.
        if !self.topics.contains(topic) {
            check_topic(topic)?;
        }
        let (class, kind) = match classify(topic) {
            Class::Inbound {
                kind,
                instance: None,
            } => ("inbound", kind),
            Class::Delivery {
                kind,
                instance: None,
            } => ("delivery", kind),
            Class::Outbound {
                kind,
                instance: None,
            } => ("outbound", kind),
            _ => {
                self.check_tool_topic(topic)?;
                return Ok(Routed::To(self.topic(topic)));
            }
        };
        let own = self.peers.get(&link).and_then(|peer| peer.instance());
        if class != "outbound" {
            if let Some(key) = own {
                let complete = format!("plugin.{class}.{kind}.{}", key.instance);
                return Ok(Routed::To(self.topic(&complete)));
            }
            return Err(Error::new(
                Code::InvalidTopic,
                format!("expected plugin.{class}.{kind}.<instance>, found {topic}"),
            ));
        }
        let kind = kind.to_owned();
        let served = self
            .kinds
            .get(kind.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let only = match served {
            [key] => Some(key.instance.clone()),
            _ => None,
        };
        if let Some(instance) = only {
            return Ok(Routed::To(
                self.topic(&format!("plugin.outbound.{kind}.{instance}")),
            ));
        }
        if let Some(session) = session.filter(|_| !served.is_empty()) {
            let key = route_key(&kind, session);
            match self.routes.known.get(&key) {
                Some(Known {
                    instance: Some(instance),
                    ..
                }) if served.iter().any(|other| *other.instance == **instance) => {
                    let complete = format!("plugin.outbound.{kind}.{instance}");
                    return Ok(Routed::To(self.topic(&complete)));
                }
                Some(_) => {}
                None => {
                    let state_key = format!("t/{key}").into_bytes();
                    let then = GetThen::Route(RouteRead { link, key });
                    self.outputs.push(Output::Read(ReadRequest::Get {
                        key: state_key,
                        then,
                    }));
                    if let Some(peer) = self.peers.get_mut(&link) {
                        peer.parked = Some(Box::default());
                    }
                    return Ok(Routed::Later);
                }
            }
        }
        let candidates: Vec<&str> = served.iter().map(|key| &*key.instance).collect();
        self.counters.add("events_unrouted", 1);
        Err(Error::new(
            Code::Unrouted,
            if candidates.is_empty() {
                format!("expected a configured instance of kind {kind:?}, found none")
            } else {
                format!(
                    "expected one instance of kind {kind:?}, found {}; name it: plugin.outbound.{kind}.<instance>",
                    candidates.join(", ")
                )
            },
        )
        .detail(serde_json::json!({ "candidates": candidates })))
    }

    /// The commit that carried a route was refused: what is remembered of it is not written.
    pub(crate) fn forget_route(&mut self, topic: &str, session: Option<&str>) {
        if let (
            Class::Inbound {
                kind,
                instance: Some(_),
            },
            Some(session),
        ) = (classify(topic), session)
        {
            self.routes.known.remove(&route_key(kind, session));
        }
    }

    pub(crate) fn route_found(&mut self, entry: Option<StateEntry>, read: RouteRead) {
        let instance = entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned().into());
        // An inbound event may have left a newer one while this was being read.
        if !self.routes.known.contains_key(&read.key) {
            self.routes.put(
                read.key,
                Known {
                    instance,
                    written_at_ms: self.now.wall_ms,
                },
            );
        }
        self.unpark(read.link);
    }

    /// The route that an inbound event leaves behind, when it is new or getting old.
    pub(crate) fn remember_route(
        &mut self,
        link: LinkId,
        topic: &str,
        session: Option<&str>,
    ) -> Option<StateOp> {
        let peer = self.peers.get(&link)?;
        if !matches!(peer.role, Role::Instance(_)) {
            return None;
        }
        let Class::Inbound {
            kind,
            instance: Some(instance),
        } = classify(topic)
        else {
            return None;
        };
        let key = route_key(kind, session?);
        let now_ms = self.now.wall_ms;
        let fresh = self.routes.known.get(&key).is_some_and(|known| {
            known.instance.as_deref() == Some(instance)
                && now_ms - known.written_at_ms < ROUTE_MS / 30
        });
        if fresh {
            return None;
        }
        let op = StateOp {
            key: format!("t/{key}").into_bytes(),
            value: Some(instance.as_bytes().to_vec()),
            expect: Expect::Any,
            expires_at_ms: Some(now_ms + ROUTE_MS),
        };
        self.routes.put(
            key,
            Known {
                instance: Some(instance.into()),
                written_at_ms: now_ms,
            },
        );
        Some(op)
    }
}
