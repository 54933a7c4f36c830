//! What operators ask: `admin.*` and `system.info`.
//!
//! What the core knows it answers itself; what belongs to processes, logs and the configuration goes to the
//! control plane as it came.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::admin::{
    AdminStatusResult, ClientStatus, DoctorResult, StoreStatus, SubscriptionState,
    SubscriptionStatus,
};
use trunkline_contract::rpc::{self, method};

use crate::router::{SubId, SubState, Subscription};
use crate::store::StoreFacts;

use super::handshake::SERVICES;
use super::peer::{ReplyTo, Role};
use super::read::{FactsThen, ReadRequest};
use super::state::{ControlRequest, Core, Output};
use super::tail::Watcher;

/// Subscriptions whose unread events are counted for one answer; the rest show what is loaded.
const COUNTS_MAX: usize = 32;

/// An admin request that waits for sizes.
#[derive(Debug)]
pub struct AdminRead {
    to: ReplyTo,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Status,
    Doctor,
    Metrics,
}

impl Core {
    /// Notes where HTTP is answered.
    pub fn set_http(&mut self, address: String) {
        self.http = Some(address);
    }

    pub(crate) fn admin(&mut self, to: &ReplyTo, name: &str, params: Option<&RawValue>) {
        if let Err(error) = self.check_admin(to, name) {
            return self.refuse(to, &error);
        }
        self.audit(to, name, params);
        match name {
            method::ADMIN_STATUS => self.ask_facts(to, What::Status),
            method::ADMIN_DOCTOR => self.ask_facts(to, What::Doctor),
            method::ADMIN_TAIL => self.tail(to, params, Watcher::Operator),
            method::ADMIN_METRICS => self.ask_facts(to, What::Metrics),
            method::ADMIN_TAIL_END => self.end_tail(to),
            method::ADMIN_DLQ_LIST => self.list_dead(to, params),
            method::ADMIN_DLQ_SHOW => self.show_dead(to, params),
            method::ADMIN_DLQ_REPLAY => self.replay_dead(to, params),
            method::ADMIN_DLQ_DISCARD => self.discard_dead(to, params),
            method::ADMIN_POLLERS_LIST => self.list_pollers(to, params),
            method::ADMIN_POLLERS_ORDER => self.order_poller(to, params),
            method::ADMIN_PLUGINS_LIST
            | method::ADMIN_PLUGINS_VERIFY
            | method::ADMIN_PLUGINS_RESTART
            | method::ADMIN_PLUGINS_UPGRADE
            | method::ADMIN_PLUGINS_ENABLE
            | method::ADMIN_PLUGINS_DISABLE
            | method::ADMIN_LOGS
            | method::ADMIN_LOGS_END
            | method::ADMIN_CONFIG_RELOAD
            | method::ADMIN_SHUTDOWN => self.outputs.push(Output::Control(ControlRequest {
                link: to.link,
                id: to.id.clone(),
                method: name.to_owned(),
                params: params.map(ToOwned::to_owned),
            })),
            name => {
                let error = Error::new(
                    Code::NotImplemented,
                    format!("expected a method of admin, found {name}"),
                );
                self.refuse(to, &error);
            }
        }
    }

    fn check_admin(&self, to: &ReplyTo, name: &str) -> Result<(), Error> {
        let peer = self
            .peers
            .get(&to.link)
            .expect("frames come from known links");
        match &peer.role {
            Role::Client { scopes, .. } if scopes.is_admin() => Ok(()),
            // Numbers alone, which tell no payload: who may read anything may read them.
            Role::Client { scopes, .. }
                if name == method::ADMIN_METRICS && !scopes.readable().is_empty() =>
            {
                Ok(())
            }
            _ => Err(Error::new(
                Code::Unauthorized,
                format!("expected the scope admin for {name}, found none"),
            )),
        }
    }

    fn ask_facts(&mut self, to: &ReplyTo, what: What) {
        let head = self.router.head();
        let counts: Vec<_> = self
            .router
            .views()
            .into_iter()
            .filter(|view| view.cursor < head && view.state != SubState::Live)
            .take(COUNTS_MAX)
            .filter_map(|view| {
                let filters = self.router.get(view.id)?.read_filters();
                Some((view.id, view.cursor, filters))
            })
            .collect();
        let to = to.clone();
        self.outputs.push(Output::Read(ReadRequest::Facts {
            counts,
            then: FactsThen::Admin(AdminRead { to, what }),
        }));
    }

    pub(crate) fn admin_facts(
        &mut self,
        facts: StoreFacts,
        counts: &[(SubId, u64)],
        read: &AdminRead,
    ) {
        match read.what {
            What::Status => {
                let status = self.status(facts, counts);
                self.answer(&read.to, &status);
            }
            What::Metrics => {
                let metrics = self.metrics(facts, counts);
                self.answer(&read.to, &metrics);
            }
            What::Doctor => {
                let status = self.status(facts, counts);
                let findings = self.findings(&status);
                self.answer(&read.to, &DoctorResult { findings });
            }
        }
    }

    /// What an acknowledged event survives.
    pub fn durability(&self) -> &'static str {
        if self.options.store_kind == "memory" {
            "none"
        } else {
            "fsync"
        }
    }

    fn status(&self, facts: StoreFacts, counts: &[(SubId, u64)]) -> AdminStatusResult {
        let subscriptions = self.subscription_statuses(facts.head, counts);
        let mut instances = self.instance_statuses();
        for instance in &mut instances {
            let own = format!("instance.{}.{}", instance.plugin, instance.instance);
            let more = format!("{own}.");
            let subs = subscriptions
                .iter()
                .filter(|sub| sub.name == own || sub.name.starts_with(&more));
            instance.oldest_ms = subs.clone().filter_map(|sub| sub.oldest_ms).max();
            (instance.pending, instance.in_flight) = subs.fold((0, 0), |(pending, leased), sub| {
                (pending + sub.pending, leased + sub.in_flight)
            });
        }
        let mut clients: BTreeMap<&str, u64> = BTreeMap::new();
        for peer in self.peers.values() {
            if let Role::Client { name, .. } = &peer.role {
                *clients.entry(name).or_default() += 1;
            }
        }
        AdminStatusResult {
            version: self.options.version.clone(),
            pid: self.options.pid,
            started_at: rfc3339(self.options.started_at_ms),
            http: self.http.clone(),
            store: StoreStatus {
                kind: self.options.store_kind.to_owned(),
                durability: self.durability().to_owned(),
                head: facts.head,
                used_bytes: facts.used_bytes,
                free_bytes: facts.free_bytes,
                event_bytes: facts.event_bytes,
                disk_used_percent: self.retirement.disk_percent(),
            },
            instances,
            subscriptions,
            clients: clients
                .into_iter()
                .map(|(name, links)| ClientStatus {
                    name: name.to_owned(),
                    links,
                })
                .collect(),
            counters: self
                .counters
                .all()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }

    fn subscription_statuses(&self, head: u64, counts: &[(SubId, u64)]) -> Vec<SubscriptionStatus> {
        let now = self.now;
        self.router
            .views()
            .into_iter()
            .map(|view| {
                let unread = counts.iter().find(|(id, _)| *id == view.id);
                let unread = unread.map_or(0, |(_, count)| *count);
                let known = self.router.get(view.id);
                let is_expired = known.is_some_and(|sub| sub.is_expired(now));
                let stored_at_ms = known.and_then(Subscription::oldest_stored_at_ms);
                let age_ms = |at_ms: i64| u64::try_from(now.wall_ms.saturating_sub(at_ms));
                let oldest_ms = stored_at_ms.map(|at_ms| age_ms(at_ms).unwrap_or(0));
                let parked = view.pending - view.in_flight.min(view.pending);
                SubscriptionStatus {
                    name: view.name.to_string(),
                    filters: view.filters,
                    state: match view.state {
                        SubState::Offline if is_expired => SubscriptionState::Expired,
                        SubState::Offline => SubscriptionState::Idle,
                        SubState::Live | SubState::CatchingUp => SubscriptionState::Active,
                        SubState::Stalled | SubState::Lagging => SubscriptionState::Lagging,
                    },
                    cursor: view.cursor,
                    head,
                    pending: (view.pending - view.in_flight) as u64 + unread,
                    in_flight: view.in_flight as u64,
                    parked: parked as u64,
                    dead: self.dead.count_of(view.id) as u64,
                    members: view.members as u64,
                    oldest_ms,
                }
            })
            .collect()
    }

    /// `system.info`: what any peer may know.
    pub(crate) fn system_info(&mut self, to: &ReplyTo) {
        let result = rpc::SystemInfoResult {
            host: self.host(),
            protocol: rpc::ProtocolRange::ours(),
            now: rfc3339(self.now.wall_ms),
            started_at: rfc3339(self.options.started_at_ms),
            limits: rpc::LinkLimits::of_frame(self.options.frame_bytes_max),
            services: SERVICES.iter().map(|name| (*name).to_owned()).collect(),
        };
        self.answer(to, &result);
    }
}
