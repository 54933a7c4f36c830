//! `broker.subscribe`, `credit`, `seek`, `unsubscribe`.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::id::is_client_name;
use trunkline_contract::limits::FILTERS_MAX;
use trunkline_contract::rpc::{self, Start, SubscribeParams, SubscribeResult};
use trunkline_contract::topic::Filter;

use crate::router::{Hold, NEVER_MS, Owner, SubId, SubscribeAs, Window};
use crate::store::{Commit, Seq};

use super::batch::Ticket;
use super::handshake::policy;
use super::peer::{ReplyTo, Role};
use super::read::ReadRequest;
use super::state::{Core, Output};
use super::tail::TailAsked;

/// How long a client's subscription holds events without being served, unless it says.
const EXPIRE_MS: u64 = 7 * 86_400_000;

/// A `subscribe` or `seek` whose start is a time.
#[derive(Debug)]
pub struct StartRead {
    to: ReplyTo,
    what: What,
}

#[derive(Debug)]
enum What {
    Subscribe(SubscribeParams),
    Seek(SubId),
    Tail(TailAsked),
}

impl Core {
    pub(crate) fn subscribe(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result = rpc::params::<SubscribeParams>(params).and_then(|params| {
            self.check_subscribe(to, &params)?;
            Ok(params)
        });
        let params = match result {
            Ok(params) => params,
            Err(error) => return self.refuse(to, &error),
        };
        match self.start(&params.start) {
            Ok(Ok(start)) => self.subscribe_from(to, params, start),
            Ok(Err(at_ms)) => {
                let then = Box::new(StartRead {
                    to: to.clone(),
                    what: What::Subscribe(params),
                });
                self.outputs
                    .push(Output::Read(ReadRequest::SeqBefore { at_ms, then }));
            }
            Err(error) => self.refuse(to, &error),
        }
    }

    /// The number to start after, or the instant that must be looked up.
    pub(crate) fn start(&self, start: &Start) -> Result<Result<Seq, i64>, Error> {
        Ok(match start {
            Start::New => Ok(self.router.head()),
            Start::Earliest => Ok(0),
            Start::Seq(seq) => Ok(seq.saturating_sub(1)),
            Start::Time(text) => {
                let at_ms = trunkline_contract::envelope::parse_rfc3339(text).ok_or_else(|| {
                    Error::new(
                        Code::InvalidArguments,
                        format!("expected an RFC 3339 time, found {text:?}"),
                    )
                })?;
                Err(at_ms)
            }
        })
    }

    pub(crate) fn start_found(&mut self, seq: Seq, read: StartRead) {
        match read.what {
            What::Subscribe(params) => self.subscribe_from(&read.to, params, seq),
            What::Seek(sub) => self.seek_to(&read.to, sub, seq),
            What::Tail(asked) => self.tail_from(&read.to, asked, seq),
        }
    }

    pub(crate) fn tail_from_time(&mut self, to: &ReplyTo, asked: TailAsked, at_ms: i64) {
        let then = Box::new(StartRead {
            to: to.clone(),
            what: What::Tail(asked),
        });
        self.outputs
            .push(Output::Read(ReadRequest::SeqBefore { at_ms, then }));
    }

    fn check_subscribe(&self, to: &ReplyTo, params: &SubscribeParams) -> Result<(), Error> {
        if !is_client_name(&params.name) {
            return Err(Error::new(
                Code::InvalidArguments,
                format!(
                    "expected a subscription name of lower-case letters, digits, . _ -, at most 64, found {:?}",
                    params.name
                ),
            ));
        }
        if params.filters.is_empty() || params.filters.len() > FILTERS_MAX {
            return Err(Error::new(
                Code::InvalidArguments,
                format!(
                    "expected 1 to {FILTERS_MAX} filters, found {}",
                    params.filters.len()
                ),
            ));
        }
        for filter in &params.filters {
            self.may_read(to, filter)?;
        }
        Ok(())
    }

    pub(crate) fn may_read(&self, to: &ReplyTo, filter: &Filter) -> Result<(), Error> {
        let peer = self
            .peers
            .get(&to.link)
            .expect("frames come from known links");
        match &peer.role {
            Role::Client { scopes, .. } => {
                scopes.may_read(filter)?;
                let private = ["plugin.lifecycle.>", "plugin.dead.>", "broker.audit.>"]
                    .into_iter()
                    .find(|private| reaches(filter.as_str(), private));
                match private {
                    Some(private) if !scopes.is_admin() => Err(Error::new(
                        Code::TopicNotGranted,
                        format!(
                            "{private} needs the admin scope, and {} reaches it",
                            filter.as_str()
                        ),
                    )),
                    _ => Ok(()),
                }
            }
            Role::Instance(key) => self
                .instances
                .get(key)
                .ok_or_else(|| Error::new(Code::NotFound, format!("{key} was removed")))?
                .setup
                .grants
                .may_receive(filter),
            Role::Unknown => Err(Error::new(Code::Unauthorized, "expected connect first")),
        }
    }

    /// Full name and owner of a link's subscription.
    fn full_name(&self, to: &ReplyTo, name: &str) -> Option<(String, Owner)> {
        match &self.peers.get(&to.link)?.role {
            Role::Client { name: client, .. } => Some((
                format!("client.{client}.{name}"),
                Owner::Client(client.clone()),
            )),
            Role::Instance(key) => Some((key.own_subscription(name), Owner::Instance(key.clone()))),
            Role::Unknown => None,
        }
    }

    fn subscribe_from(&mut self, to: &ReplyTo, params: SubscribeParams, start: Seq) {
        let Some((name, owner)) = self.full_name(to, &params.name) else {
            return;
        };
        if let Some(sub) = self.router.find(&name).and_then(|id| self.router.get(id)) {
            let same_group = params.group.is_some() && sub.group() == params.group.as_deref();
            if sub.is_served_by_another(to.link) && !same_group {
                let error = Error::new(
                    Code::InstanceBusy,
                    format!(
                        "{name} is served by another link; give both the same group to share it"
                    ),
                );
                return self.refuse(to, &error);
            }
        }
        let hold = self.options.retention.hold();
        let asked = params.hold.unwrap_or_default();
        let ask = SubscribeAs {
            name: name.clone(),
            owner,
            filters: params.filters,
            group: params.group,
            start,
            policy: policy(params.retry.as_ref()),
            hold: Hold {
                age_ms: asked.age_ms.map_or(hold.age_ms, |ms| ms.min(hold.age_ms)),
                bytes: asked
                    .bytes
                    .map_or(hold.bytes, |bytes| bytes.min(hold.bytes)),
            },
            expire_ms: params.expire_ms.unwrap_or(EXPIRE_MS).min(NEVER_MS - 1),
        };
        match self.router.subscribe(ask, self.now) {
            Ok((sub, created)) => {
                let window = Window {
                    events: params.credit.events as usize,
                    bytes: params.credit.bytes as usize,
                };
                self.router.join(sub, to.link, window, self.now);
                let result = SubscribeResult {
                    subscription: name,
                    cursor: self.router.get(sub).map_or(0, |sub| sub.cursor()),
                    head: self.router.head(),
                    created,
                };
                // The record of a new subscription rides in the same batch: it is durable when this is.
                let ticket = Ticket::Subscribe {
                    to: to.clone(),
                    result: Box::new(result),
                };
                self.stage(Commit::default(), ticket);
            }
            Err(error) => self.refuse(to, &error),
        }
    }

    /// A subscription that this link named, by its short or full name.
    fn named(&self, to: &ReplyTo, name: &str) -> Result<SubId, Error> {
        let not_found = || {
            Error::new(
                Code::NotFound,
                format!("no subscription {name:?} of this peer"),
            )
        };
        let (full, owner) = self.full_name(to, name).ok_or_else(not_found)?;
        let id = self
            .router
            .find(&full)
            .or_else(|| self.router.find(name))
            .ok_or_else(not_found)?;
        let owned = self.router.get(id).is_some_and(|sub| *sub.owner() == owner);
        if owned { Ok(id) } else { Err(not_found()) }
    }

    pub(crate) fn credit(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result = rpc::params::<rpc::CreditParams>(params).and_then(|params| {
            let window = Window {
                events: params.events as usize,
                bytes: params.bytes as usize,
            };
            match &params.subscription {
                Some(name) => {
                    let sub = self.named(to, name)?;
                    self.router.set_credit(sub, to.link, window);
                }
                None => self.router.set_link_window(to.link, window.bounded()),
            }
            Ok(rpc::Empty {})
        });
        self.reply(to, result);
    }

    pub(crate) fn seek(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result = rpc::params::<rpc::SeekParams>(params).and_then(|params| {
            let sub = self.named(to, &params.subscription)?;
            Ok((sub, self.start(&params.to)?))
        });
        match result {
            Ok((sub, Ok(seq))) => self.seek_to(to, sub, seq),
            Ok((sub, Err(at_ms))) => {
                let then = Box::new(StartRead {
                    to: to.clone(),
                    what: What::Seek(sub),
                });
                self.outputs
                    .push(Output::Read(ReadRequest::SeqBefore { at_ms, then }));
            }
            Err(error) => self.refuse(to, &error),
        }
    }

    fn seek_to(&mut self, to: &ReplyTo, sub: SubId, seq: Seq) {
        self.router.seek(sub, seq, self.now);
        let cursor = self.router.get(sub).map_or(0, |sub| sub.cursor());
        self.answer(to, &rpc::SeekResult { cursor });
    }

    pub(crate) fn unsubscribe(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result = rpc::params::<rpc::UnsubscribeParams>(params).and_then(|params| {
            let sub = self.named(to, &params.subscription)?;
            self.router.leave(sub, to.link, self.now);
            if params.delete {
                self.router.delete(sub, self.now);
            }
            Ok(rpc::Empty {})
        });
        self.reply(to, result);
    }
}

/// Says whether a filter can match a topic under `private`, which is `plugin.<class>.>`.
fn reaches(filter: &str, private: &str) -> bool {
    let mut ours = filter.split('.');
    for theirs in private.split('.') {
        match ours.next() {
            Some(">") => return true,
            Some(segment) if segment == "*" || theirs == ">" || segment == theirs => {}
            _ => return false,
        }
    }
    true
}
