//! `broker.publish`: one event in, durable before it is answered.

use std::sync::Arc;

use serde_json::value::RawValue;
use trunkline_contract::envelope::{Draft, Stamp};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::EVENT_BYTES_MARGIN;
use trunkline_contract::rpc::{self, PublishParamsRef, PublishResult};
use trunkline_contract::topic::check_topic;
use trunkline_contract::trace::Traceparent;

use crate::router::{LinkId, MeterId, Owner, Prepared};
use crate::store::{Commit, CommitError, NewEvent, OnConflict, Receipt, StateOp, StoredEvent};

use super::batch::{PendingEvent, Ticket, commit_error};
use super::blob::BlobHash;
use super::peer::{Phase, ReplyTo, Role};
use super::route::Routed;
use super::state::Core;

/// Topics a peer was found to be allowed to publish that are remembered.
const MAY_PUBLISH_MAX: usize = 4096;

/// A token bucket of one source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    tokens: f64,
    at_ms: u64,
}

/// An event that passed every check.
pub(crate) struct Accepted {
    pub(crate) event: NewEvent,
    /// Where its session was last served, when that changed.
    pub(crate) route: Option<StateOp>,
    /// Blobs that it names.
    pub(crate) blobs: Box<[BlobHash]>,
}

/// Why an event was not accepted.
pub(crate) enum NotYet {
    /// It is refused.
    Refused(Error),
    /// Its topic is resolved when a read comes back; the link is parked.
    Parked,
}

impl From<Error> for NotYet {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Core {
    pub(crate) fn publish(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let publish = match rpc::params::<PublishParamsRef<'_>>(params) {
            Ok(publish) => publish,
            Err(error) => return self.publish_refused(to, "", &error),
        };
        if publish.ephemeral {
            return self.publish_ephemeral(to, &publish);
        }
        match self.accept(to.link, &publish) {
            Ok(Accepted {
                event,
                route,
                blobs,
            }) => {
                let mut pending = self.pending(&event);
                pending.blobs = blobs;
                pending.meter = self.meter_of(to.link);
                let mut commit = Commit {
                    events: vec![event],
                    state: route.into_iter().collect(),
                    ..Commit::default()
                };
                let pending = vec![pending];
                self.name_blobs(&pending, &mut commit.state);
                let ticket = Ticket::Publish(to.clone());
                self.stage_events(commit, pending, Prepared::default(), ticket);
            }
            Err(NotYet::Refused(error)) => self.publish_refused(to, &publish.topic, &error),
            Err(NotYet::Parked) => {}
        }
    }

    /// Refuses a publish: answered if somebody waits, counted and reported either way.
    pub(crate) fn publish_refused(&mut self, to: &ReplyTo, topic: &str, error: &Error) {
        self.counters.add("publishes_refused", 1);
        if let Some(meter) = self.meter_of(to.link) {
            self.router.meters_mut().get(meter).refused(error.code);
        }
        self.note_rejection(to.link, error.code, topic);
        if let Some(peer) = self.peers.get(&to.link) {
            self.notes.refused(&peer.source, error.code);
        }
        self.refuse(to, error);
    }

    /// Where what a link does is counted, once it is known who it is.
    pub(crate) fn meter_of(&mut self, link: LinkId) -> Option<MeterId> {
        let peer = self.peers.get_mut(&link)?;
        if peer.meter.is_none() {
            let owner = match &peer.role {
                Role::Instance(key) => Owner::Instance(key.clone()),
                Role::Client { name, .. } => Owner::Client(name.clone()),
                Role::Unknown => return None,
            };
            peer.meter = Some(self.router.meters_mut().id(&owner));
        }
        peer.meter
    }

    /// Checks an event and makes it what will be stored.
    pub(crate) fn accept(
        &mut self,
        link: LinkId,
        publish: &PublishParamsRef<'_>,
    ) -> Result<Accepted, NotYet> {
        self.may_publish_now(link)?;
        if !publish.ephemeral {
            self.check_room()?;
        }
        let mut draft = self.draft(publish)?;
        self.check_trace(&mut draft);
        let topic = match self.route(link, &publish.topic, draft.session_id.as_deref())? {
            Routed::To(topic) => topic,
            Routed::Later => return Err(NotYet::Parked),
        };
        self.check_granted(link, &topic)?;
        let blobs = self.blobs_of(link, &draft, &topic, publish.ephemeral)?;
        self.check_rate(link)?;
        let event = self.stamp(link, topic, &draft, publish)?;
        let route = self.remember_route(link, &event.topic, draft.session_id.as_deref());
        Ok(Accepted {
            event,
            route,
            blobs,
        })
    }

    fn draft<'a>(&self, publish: &PublishParamsRef<'a>) -> Result<Draft<'a>, Error> {
        let limit = self.options.frame_bytes_max - EVENT_BYTES_MARGIN;
        let bytes = publish.event.get().len();
        if bytes > limit {
            return Err(Error::new(
                Code::FrameTooLarge,
                format!("expected an event of at most {limit} bytes, found {bytes}"),
            )
            .detail(serde_json::json!({ "bytes": bytes, "limit": limit })));
        }
        Draft::parse(publish.event.get())
    }

    /// A trace that nobody can follow is not passed on; the event is.
    fn check_trace(&mut self, draft: &mut Draft<'_>) {
        let is_valid = |text: &str| Traceparent::parse(text).is_some();
        if draft
            .traceparent
            .as_deref()
            .is_some_and(|text| !is_valid(text))
        {
            draft.traceparent = None;
            self.counters.add("traceparents_dropped", 1);
        }
    }

    fn stamp(
        &mut self,
        link: LinkId,
        topic: Arc<str>,
        draft: &Draft<'_>,
        publish: &PublishParamsRef<'_>,
    ) -> Result<NewEvent, Error> {
        let expires_at_ms = draft.expires_at_ms()?;
        let body = draft.body(&topic);
        let id: Box<str> = match &draft.id {
            Some(id) => self.unalias(link, id),
            None => self.new_id().into(),
        };
        let source = self
            .peers
            .get(&link)
            .expect("frames come from known links")
            .source
            .clone();
        let timestamp = match &draft.timestamp {
            Some(timestamp) => timestamp.as_ref().to_owned(),
            None => self.timestamp().to_owned(),
        };
        let stamp = Stamp {
            id: &id,
            timestamp: &timestamp,
            topic: &topic,
            source: &source,
            metadata: &[],
        };
        let envelope = draft.envelope(&stamp);
        Ok(NewEvent {
            topic,
            source,
            id,
            body: body[..16].try_into().expect("a hash has 32 bytes"),
            session: draft.session_id.as_deref().map(Into::into),
            expires_at_ms,
            on_conflict: match publish.on_conflict {
                rpc::OnConflict::Refuse => OnConflict::Refuse,
                rpc::OnConflict::KeepFirst => OnConflict::KeepFirst,
            },
            envelope: envelope.into(),
        })
    }

    fn may_publish_now(&self, link: LinkId) -> Result<(), Error> {
        let peer = self.peers.get(&link).expect("frames come from known links");
        if self.draining && !matches!(peer.role, Role::Instance(_)) {
            return Err(
                Error::new(Code::Draining, "the broker is shutting down").retry_after(5_000)
            );
        }
        match (peer.phase, peer.instance()) {
            (Phase::Opening | Phase::Standby, _) => Err(Error::new(
                Code::NotActive,
                "expected instance.activate before the first publish, found standby",
            )),
            // Its last words still count while it drains.
            (Phase::Active | Phase::Closing, Some(key)) => self.check_current(link, key),
            (Phase::Active, None) => Ok(()),
            (Phase::Closing, None) => Err(Error::new(Code::Draining, "this link is being closed")),
        }
    }

    fn check_granted(&mut self, link: LinkId, topic: &Arc<str>) -> Result<(), Error> {
        let peer = self
            .peers
            .get_mut(&link)
            .expect("frames come from known links");
        if peer.may_publish.contains(topic) {
            return Ok(());
        }
        check_topic(topic)?;
        match &peer.role {
            Role::Client { scopes, .. } => {
                if topic.starts_with("plugin.hook.")
                    || topic.starts_with("plugin.lifecycle.")
                    || topic.starts_with("plugin.dead.")
                    || topic.starts_with("plugin.timer.")
                {
                    return Err(Error::new(
                        Code::TopicNotGranted,
                        format!("only the broker publishes {topic}"),
                    ));
                }
                scopes.may_publish(topic)?;
            }
            Role::Instance(key) => {
                let instance = self.instances.get(key).expect("bound to its link");
                instance.setup.grants.may_publish(topic)?;
            }
            Role::Unknown => {
                return Err(Error::new(Code::Unauthorized, "expected connect first"));
            }
        }
        if peer.may_publish.len() >= MAY_PUBLISH_MAX {
            peer.may_publish.clear();
        }
        peer.may_publish.insert(topic.clone());
        Ok(())
    }

    fn check_rate(&mut self, link: LinkId) -> Result<(), Error> {
        let source = self
            .peers
            .get(&link)
            .expect("frames come from known links")
            .source
            .clone();
        self.check_source_rate(&source)
    }

    /// Takes one event of a source's rate.
    pub(crate) fn check_source_rate(&mut self, source: &Arc<str>) -> Result<(), Error> {
        let Some(per_second) = self.options.source_events_per_second else {
            return Ok(());
        };
        let burst = f64::from(per_second);
        let now_ms = self.now.mono_ms;
        let rate = self.rates.entry(source.clone()).or_insert(Rate {
            tokens: burst,
            at_ms: now_ms,
        });
        let gained = (now_ms - rate.at_ms) as f64 / 1000.0 * burst;
        rate.tokens = (rate.tokens + gained).min(burst);
        rate.at_ms = now_ms;
        if rate.tokens < 1.0 {
            let wait_ms = ((1.0 - rate.tokens) / burst * 1000.0).ceil() as u64;
            return Err(Error::new(
                Code::RateLimited,
                format!("expected at most {per_second} events per second from one source"),
            )
            .retry_after(wait_ms));
        }
        rate.tokens -= 1.0;
        Ok(())
    }

    fn publish_ephemeral(&mut self, to: &ReplyTo, publish: &PublishParamsRef<'_>) {
        match self.accept(to.link, publish) {
            Ok(Accepted { event, route, .. }) => {
                if route.is_some() {
                    self.forget_route(&event.topic, event.session.as_deref());
                }
                let event = Arc::new(StoredEvent {
                    seq: 0,
                    stored_at_ms: self.now.wall_ms,
                    topic: event.topic,
                    source: event.source,
                    session: event.session,
                    expires_at_ms: event.expires_at_ms,
                    envelope: event.envelope,
                });
                let matched = self.router.ephemeral(&event) as u32;
                self.counters.add("events_ephemeral", 1);
                if let Some(meter) = self.meter_of(to.link) {
                    self.router.meters_mut().get(meter).ephemeral += 1;
                }
                let result = PublishResult {
                    seq: None,
                    duplicate: false,
                    matched,
                    durable: None,
                };
                self.answer(to, &result);
            }
            Err(NotYet::Refused(error)) => self.publish_refused(to, &publish.topic, &error),
            Err(NotYet::Parked) => {}
        }
    }

    pub(crate) fn published(
        &mut self,
        to: &ReplyTo,
        events: &[PendingEvent],
        result: Result<Receipt, CommitError>,
    ) {
        match result {
            Ok(receipt) => {
                let answer = publish_result(&receipt, events, 0);
                self.answer(to, &answer);
            }
            Err(error) => {
                let mut error = commit_error(&error);
                error.index = None;
                let topic = events
                    .first()
                    .map_or("", |event| &*event.event.topic)
                    .to_owned();
                self.publish_refused(to, &topic, &error);
            }
        }
    }
}

/// The wire's answer for event `index` of a commit.
pub(crate) fn publish_result(
    receipt: &Receipt,
    events: &[PendingEvent],
    index: usize,
) -> PublishResult {
    let stored = receipt.events[index];
    PublishResult {
        seq: Some(stored.seq),
        duplicate: stored.duplicate,
        matched: events[index].matched,
        durable: None,
    }
}
