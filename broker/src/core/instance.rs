//! Plugin instances: what is configured, what is attached, and how one is brought up and down.

use serde_json::{Map, Value};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::grant::Grants;
use trunkline_contract::message::ChannelFeatures;
use trunkline_contract::rpc::{self, InstanceState, ReportedState, method};
use trunkline_contract::tool::ToolDeclaration;
use trunkline_contract::topic::Filter;
use trunkline_contract::webhook::Webhook;

use crate::instance::InstanceKey;
use crate::router::{LinkId, Origin, Owner, RetryPolicy, SubId, SubscribeAs};
use crate::store::{Commit, Expect, StateOp};

use super::batch::Ticket;
use super::metrics::EngineCounts;
use super::peer::{Call, Peer, Phase, Role};
use super::state::{Core, Output, Timer};

/// One configured account, as the core needs to know it.
#[derive(Debug, Clone)]
pub struct InstanceSetup {
    /// Its name.
    pub key: InstanceKey,
    /// Version in the manifest.
    pub version: String,
    /// Kinds it serves.
    pub kinds: Vec<String>,
    /// What its channels can do, by kind, where the manifest says it.
    pub features: std::collections::BTreeMap<String, ChannelFeatures>,
    /// What it may publish, receive and call.
    pub grants: Grants,
    /// What its manifest declares as callable, with every schema read.
    pub tools: Vec<ToolDeclaration>,
    /// Webhooks that its manifest declares.
    pub webhooks: Vec<Webhook>,
    /// Its settings; secrets as `{"$secret": name}`.
    pub config: Map<String, Value>,
    /// Its secrets.
    pub secrets: std::collections::BTreeMap<String, String>,
    /// A directory of its own.
    pub state_dir: Option<String>,
    /// Retry policy of its own subscription.
    pub retry: RetryPolicy,
    /// It speaks the foreign contract 1.x.
    pub legacy: bool,
    /// Milliseconds between pings; 0 for none.
    pub ping_interval_ms: u64,
}

/// What the supervisor last said of an instance, shown by status and on the lifecycle topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceReport {
    /// State.
    pub state: InstanceState,
    /// Why.
    pub reason: String,
    /// Process id, while there is a process.
    pub pid: Option<u32>,
    /// Restarts since the daemon started.
    pub restarts: u64,
    /// How its last process ended, when this report is about that.
    pub exit: Option<rpc::Exit>,
}

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExitSummary {
    /// Status, signal, limit and last words.
    pub exit: rpc::Exit,
    /// It ended by itself with status 0.
    pub clean: bool,
}

/// What happened to an instance's link, for whoever supervises it.
#[derive(Debug, Clone, PartialEq)]
pub enum InstanceSignal {
    /// The handshake is done; nothing is opened outside yet.
    Standby,
    /// It said how it is.
    Status {
        /// State.
        state: ReportedState,
        /// Why.
        reason: Option<String>,
        /// For `retry_later`.
        retry_after_ms: Option<u64>,
    },
    /// Its start goes on.
    Progress,
    /// The handshake failed.
    Refused(Error),
    /// The link ended.
    LinkClosed,
    /// Too many pings were not answered.
    PingLost,
    /// Everything in flight is settled and it answered `shutdown`, or the time for it is over.
    Drained,
    /// It is gone from the process that it shared; with what it failed with.
    Closed(Option<String>),
    /// The answer to an exit: true when it was put down to a suspect event.
    Blamed(bool),
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) setup: InstanceSetup,
    pub(crate) link: Option<LinkId>,
    pub(crate) generation: u64,
    pub(crate) report: InstanceReport,
    pub(crate) since_ms: i64,
    /// Subscriptions it is served by.
    pub(crate) subs: Vec<SubId>,
    /// What it held when its link went; blamed if its process died.
    pub(crate) lost: Vec<(SubId, u64)>,
    pub(crate) settles_on_write: bool,
    /// When it last failed, or a handler of it, and how.
    pub(crate) last_error: Option<(i64, String)>,
    pub(crate) is_serving: bool,
    /// What its engines made of it, since the daemon started.
    pub(crate) counts: EngineCounts,
    drain: Option<Drain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Drain {
    deadline_ms: u64,
    reason: String,
    asked: bool,
}

impl Core {
    /// Makes an instance known, or changes what is known of it. Its subscription exists from here on, so
    /// that what is published to it while it is down waits for it.
    ///
    /// # Errors
    /// `quota_exceeded` when there are too many subscriptions.
    pub fn configure(&mut self, setup: InstanceSetup) -> Result<(), Error> {
        let key = setup.key.clone();
        self.declare_manifest(&key, &setup.tools)?;
        let mut setup = self.with_declared_webhooks(setup);
        setup.grants.add_own(&key.plugin, &key.instance);
        let sub = self.subscribe_main(&setup)?;
        // What was found to be allowed under the old grants is judged again.
        if let Some(peer) = self
            .link_of(&key)
            .and_then(|link| self.peers.get_mut(&link))
        {
            peer.may_publish.clear();
        }
        for served in self.kinds.values_mut() {
            served.retain(|other| *other != key);
        }
        for kind in &setup.kinds {
            let served = self.kinds.entry(kind.as_str().into()).or_default();
            if !served.contains(&key) {
                served.push(key.clone());
                served.sort();
            }
        }
        match self.instances.get_mut(&key) {
            Some(instance) => instance.setup = setup,
            None => {
                let since_ms = self.now.wall_ms;
                let generation = self.standings.get(&key).map_or(0, |s| s.generation);
                let instance = Instance {
                    setup,
                    link: None,
                    generation,
                    report: InstanceReport {
                        state: InstanceState::Stopped,
                        reason: "configured".into(),
                        pid: None,
                        restarts: 0,
                        exit: None,
                    },
                    since_ms,
                    subs: vec![sub],
                    lost: Vec::new(),
                    settles_on_write: false,
                    last_error: None,
                    is_serving: false,
                    counts: EngineCounts::default(),
                    drain: None,
                };
                self.instances.insert(key.clone(), instance);
            }
        }
        self.open_webhooks(&key);
        self.timers_configured(&key);
        Ok(())
    }

    /// Makes or changes the main subscription of an instance: what it may receive, without what it
    /// declared subscriptions of its own for. Nothing is handed over twice.
    pub(crate) fn subscribe_main(&mut self, setup: &InstanceSetup) -> Result<SubId, Error> {
        let key = &setup.key;
        let owner = Owner::Instance(key.clone());
        let name = format!("instance.{}.{}", key.plugin, key.instance);
        let mut filters = setup.grants.receive.clone();
        for topic in self.tool_topics(key) {
            if !filters.contains(&topic) {
                filters.push(topic);
            }
        }
        for sub in self.router.of_owner(&owner) {
            if let Some(declared) = self.router.get(sub).filter(|sub| sub.name() != name) {
                let is_declared = |filter: &Filter| {
                    let mut declared = declared.filters().iter();
                    declared.any(|other| other.as_str() == filter.as_str())
                };
                filters.retain(|filter| !is_declared(filter));
            }
        }
        let (sub, _) = self.router.subscribe(
            SubscribeAs {
                name,
                owner,
                filters,
                group: None,
                start: self.router.head(),
                policy: setup.retry.clone(),
                hold: self.options.retention.hold(),
                expire_ms: u64::MAX,
            },
            self.now,
        )?;
        Ok(sub)
    }

    /// Forgets an instance. What is pending for it ends: as dead letters, or dropped.
    pub fn remove(&mut self, key: &InstanceKey, dead_letter: bool) {
        let Some(instance) = self.instances.remove(key) else {
            return;
        };
        self.open_webhooks(key);
        for served in self.kinds.values_mut() {
            served.retain(|other| other != key);
        }
        self.withdraw(key);
        self.drop_timers(key);
        self.tools.registry.remove(key, |_| true);
        if let Some(link) = instance.link {
            self.close(link);
        }
        for sub in self.router.of_owner(&Owner::Instance(key.clone())) {
            if dead_letter && !self.router.is_all_loaded(sub) {
                // What was never read cannot be filed: the subscription keeps it, and `doctor` shows it,
                // until the instance comes back or its hold runs out.
                continue;
            }
            if dead_letter {
                self.router.bury_all(sub, self.now);
            }
            self.router.delete(sub, self.now);
        }
    }

    /// The supervisor started a process for `key`; this is its link.
    pub(crate) fn spawned(&mut self, link: LinkId, key: &InstanceKey) {
        let source: std::sync::Arc<str> = key.to_string().into();
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        peer.role = Role::Instance(key.clone());
        peer.spawned = true;
        peer.source = source;
        if self.link_of(key).is_some() {
            let busy = Error::new(
                Code::InstanceBusy,
                format!("{key} is served by a plugin that was started by hand"),
            );
            self.outputs
                .push(Output::Signal(key.clone(), InstanceSignal::Refused(busy)));
            self.close(link);
            return;
        }
        self.bind(link, key);
        self.initialize(link, key);
    }

    /// Tells the supervisor; for a plugin that was started by hand there is none, and the core itself
    /// does what follows.
    pub(crate) fn signal(&mut self, key: &InstanceKey, signal: InstanceSignal) {
        let attached = self
            .link_of(key)
            .and_then(|link| self.peers.get(&link))
            .is_some_and(|peer| !peer.spawned);
        if !attached {
            self.outputs.push(Output::Signal(key.clone(), signal));
            return;
        }
        let (state, reason) = match signal {
            InstanceSignal::Standby => {
                self.activate(key);
                (InstanceState::Standby, "attached".to_owned())
            }
            InstanceSignal::Status { state, reason, .. } => {
                let state = match state {
                    ReportedState::Ready => InstanceState::Ready,
                    ReportedState::Degraded => InstanceState::Degraded,
                    ReportedState::NeedsAuth => InstanceState::NeedsAuth,
                    ReportedState::RetryLater | ReportedState::Fatal => InstanceState::Failed,
                };
                (state, reason.unwrap_or_default())
            }
            InstanceSignal::Refused(error) => (InstanceState::Failed, error.to_string()),
            InstanceSignal::PingLost => {
                if let Some(link) = self.link_of(key) {
                    self.close(link);
                }
                (
                    InstanceState::Degraded,
                    "pings are not answered, the link is closed".to_owned(),
                )
            }
            InstanceSignal::Progress
            | InstanceSignal::Closed(_)
            | InstanceSignal::LinkClosed
            | InstanceSignal::Drained
            | InstanceSignal::Blamed(_) => return,
        };
        self.report(
            key,
            InstanceReport {
                state,
                reason,
                pid: None,
                restarts: 0,
                exit: None,
            },
        );
    }

    /// Gives an instance its link.
    pub(crate) fn bind(&mut self, link: LinkId, key: &InstanceKey) {
        self.router.link_up(link, crate::router::Window::default());
        if let Some(instance) = self.instances.get_mut(key) {
            instance.link = Some(link);
            instance.is_serving = false;
            instance.drain = None;
            let subs = instance.subs.clone();
            for sub in subs {
                self.router
                    .join(sub, link, crate::router::Window::UNLIMITED, self.now);
            }
        }
    }

    /// Tells a standby instance to go to work, under a new generation.
    pub fn activate(&mut self, key: &InstanceKey) {
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        let Some(link) = instance.link else { return };
        instance.generation += 1;
        let generation = instance.generation;
        self.standings.entry(key.clone()).or_default().generation = generation;
        let commit = Commit {
            state: vec![StateOp {
                key: generation_key(key),
                value: Some(generation.to_string().into_bytes()),
                expect: Expect::Any,
                expires_at_ms: None,
            }],
            ..Commit::default()
        };
        self.stage(commit, Ticket::Nothing);
        let legacy = self.peers.get(&link).is_some_and(|peer| peer.legacy);
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.phase = Phase::Active;
        }
        if legacy {
            self.reported(
                link,
                key,
                rpc::StatusParams {
                    state: ReportedState::Ready,
                    reason: None,
                    retry_after_ms: None,
                    url: None,
                },
            );
        } else {
            let params = rpc::ActivateParams { generation };
            self.call(link, Call::Activate, method::INSTANCE_ACTIVATE, &params);
        }
    }

    /// Tells an instance to go back to standby.
    pub fn deactivate(&mut self, key: &InstanceKey, timeout_ms: u64, reason: &str) {
        let Some(link) = self.link_of(key) else {
            return;
        };
        self.serve(key, false);
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.phase = Phase::Standby;
        }
        let params = rpc::DeactivateParams {
            timeout_ms,
            reason: reason.to_owned(),
        };
        self.call(link, Call::Deactivate, method::INSTANCE_DEACTIVATE, &params);
    }

    /// No new deliveries; connections stay.
    pub fn pause(&mut self, key: &InstanceKey, reason: &str) {
        let Some(link) = self.link_of(key) else {
            return;
        };
        self.serve(key, false);
        let params = rpc::PauseParams {
            reason: reason.to_owned(),
        };
        self.call(link, Call::Pause, method::INSTANCE_PAUSE, &params);
    }

    /// Deliveries again.
    pub fn resume(&mut self, key: &InstanceKey) {
        let Some(link) = self.link_of(key) else {
            return;
        };
        self.call(
            link,
            Call::Resume,
            method::INSTANCE_RESUME,
            &rpc::PauseParams::default(),
        );
        self.serve(key, true);
    }

    /// Drains an instance: no new leases, what is in flight is waited for, then it is told to shut down.
    /// [`InstanceSignal::Drained`] follows, at the latest after `timeout_ms`.
    pub fn shutdown(&mut self, key: &InstanceKey, timeout_ms: u64, reason: &str) {
        if self.shut_process(key, timeout_ms, reason) {
            return;
        }
        self.serve(key, false);
        let deadline_ms = self.now.mono_ms + timeout_ms;
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        if instance.link.is_none() {
            self.signal(key, InstanceSignal::Drained);
            return;
        }
        instance.drain = Some(Drain {
            deadline_ms,
            reason: reason.to_owned(),
            asked: false,
        });
        self.arm(deadline_ms, Timer::DrainEnd(key.clone()));
        self.drain_step(key);
    }

    /// Asks a draining instance to shut down as soon as nothing is in flight.
    pub(crate) fn drain_step(&mut self, key: &InstanceKey) {
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        let (Some(link), Some(drain)) = (instance.link, instance.drain.as_mut()) else {
            return;
        };
        if drain.asked || self.router.in_flight(link) > 0 || self.tools.worked_on_by(link) > 0 {
            return;
        }
        drain.asked = true;
        let timeout_ms = drain.deadline_ms.saturating_sub(self.now.mono_ms);
        let params = rpc::ShutdownParams {
            reason: drain.reason.clone(),
            timeout_ms,
        };
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.phase = Phase::Closing;
        }
        self.call(link, Call::Shutdown, method::SHUTDOWN, &params);
    }

    /// Looks at every draining instance: something was settled.
    pub fn drain_steps(&mut self) {
        let draining: Vec<InstanceKey> = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.drain.as_ref().is_some_and(|drain| !drain.asked))
            .map(|(key, _)| key.clone())
            .collect();
        for key in draining {
            self.drain_step(&key);
        }
    }

    pub(crate) fn drain_ended(&mut self, key: &InstanceKey) {
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        if instance
            .drain
            .as_ref()
            .is_some_and(|drain| drain.deadline_ms <= self.now.mono_ms)
        {
            instance.drain = None;
            self.signal(key, InstanceSignal::Drained);
        }
    }

    pub(crate) fn shutdown_answered(&mut self, key: &InstanceKey) {
        if let Some(instance) = self.instances.get_mut(key)
            && instance.drain.take().is_some()
        {
            self.signal(key, InstanceSignal::Drained);
        }
    }

    /// The link of an instance ended.
    pub(crate) fn instance_detached(
        &mut self,
        key: &InstanceKey,
        link: LinkId,
        lost: Vec<(SubId, u64)>,
        peer: &Peer,
    ) {
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        if instance.link != Some(link) {
            return;
        }
        instance.link = None;
        instance.is_serving = false;
        instance.lost = lost;
        let draining = instance.drain.take().is_some();
        if !peer.spawned {
            // Nobody will say how its process ended: what it held is simply delivered again.
            instance.lost.clear();
            let reason = "the plugin that was attached went away".to_owned();
            let state = InstanceState::Stopped;
            self.report(
                key,
                InstanceReport {
                    state,
                    reason,
                    pid: None,
                    restarts: 0,
                    exit: None,
                },
            );
            return;
        }
        if draining {
            self.signal(key, InstanceSignal::Drained);
        }
        self.signal(key, InstanceSignal::LinkClosed);
    }

    /// The process of an instance ended (its link is gone, or goes now). Answered with
    /// [`InstanceSignal::Blamed`].
    pub fn exited(&mut self, key: &InstanceKey, summary: &ExitSummary) {
        if let Some(link) = self.link_of(key) {
            self.detach(link);
            self.outputs.push(Output::Close(link));
        }
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        let lost = std::mem::take(&mut instance.lost);
        let version = instance.setup.version.clone();
        let blamed = if summary.clean || lost.is_empty() {
            false
        } else {
            let origin = Origin {
                exit: Some(summary.exit.clone()),
                stderr_tail: summary.exit.stderr_tail.clone(),
                plugin_version: Some(version),
            };
            self.router.blame(&lost, &origin, self.now)
        };
        self.signal(key, InstanceSignal::Blamed(blamed));
    }

    /// It said how it is (or, for a foreign peer, its handshake said so).
    pub(crate) fn reported(
        &mut self,
        link: LinkId,
        key: &InstanceKey,
        mut status: rpc::StatusParams,
    ) {
        if let Some(reason) = &mut status.reason {
            crate::router::cut(reason, super::limits::REASON_BYTES_MAX);
        }
        let active = self
            .peers
            .get(&link)
            .is_some_and(|peer| peer.phase == Phase::Active);
        // One that was just switched off may not know it yet.
        let active = active && !self.is_disabled(key);
        // One that drains, or that the operator paused, is served no more, whatever it says.
        let is_held = self.instances.get(key).is_some_and(|instance| {
            instance.drain.is_some() || instance.report.state == InstanceState::Paused
        });
        let active = active && !is_held;
        if active && matches!(status.state, ReportedState::Ready | ReportedState::Degraded) {
            self.serve(key, true);
        }
        if matches!(
            status.state,
            ReportedState::NeedsAuth | ReportedState::Fatal | ReportedState::RetryLater
        ) {
            self.serve(key, false);
        }
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.pulse.said(status.state, status.reason.as_deref());
        }
        let signal = InstanceSignal::Status {
            state: status.state,
            reason: status.reason,
            retry_after_ms: status.retry_after_ms,
        };
        self.signal(key, signal);
    }

    /// Refuses what clients publish from here on; instances may still finish.
    pub fn drain(&mut self) {
        self.draining = true;
        self.end_hook_waits();
    }

    /// No delivery reaches anybody from here on: the broker is about to end.
    pub fn stop_serving_all(&mut self) {
        let links: Vec<LinkId> = self.peers.keys().copied().collect();
        for link in links {
            self.router.set_serving(link, false);
        }
    }

    /// No delivery reaches an instance from here on (it was disabled, or is being removed).
    pub fn stop_serving(&mut self, key: &InstanceKey) {
        self.serve(key, false);
    }

    fn serve(&mut self, key: &InstanceKey, serving: bool) {
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        instance.is_serving = serving;
        if let Some(link) = instance.link {
            self.router.set_serving(link, serving);
        }
        if !serving {
            self.withdraw(key);
        }
    }

    pub(crate) fn link_of(&self, key: &InstanceKey) -> Option<LinkId> {
        self.instances.get(key).and_then(|instance| instance.link)
    }

    /// Sends an instance another configuration. The answer decides whether it takes it.
    pub fn update_config(
        &mut self,
        key: &InstanceKey,
        config: Map<String, Value>,
        secrets: std::collections::BTreeMap<String, String>,
        revision: u64,
    ) -> Result<(), Error> {
        let Some(link) = self.link_of(key) else {
            return Err(Error::new(Code::Unavailable, format!("{key} has no link")));
        };
        let params = rpc::ConfigUpdateParams {
            config,
            secrets: rpc::Secrets(secrets),
            revision,
        };
        self.call(
            link,
            Call::ConfigUpdate { revision },
            method::CONFIG_UPDATE,
            &params,
        );
        Ok(())
    }
}

pub(crate) fn generation_key(key: &InstanceKey) -> Vec<u8> {
    format!("g/{}/{}", key.plugin, key.instance).into_bytes()
}
