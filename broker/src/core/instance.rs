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
use crate::router::{LinkId, NEVER_MS, Origin, Owner, RetryPolicy, SubId, SubscribeAs};
use crate::store::{Commit, Expect, StateOp};

use super::batch::Ticket;
use super::lifecycle::Tries;
use super::metrics::EngineCounts;
use super::peer::{Call, Peer, Phase, Role};
use super::progress::StartProgress;
use super::state::{Core, Output};

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
    /// When it is started again, wall-clock ms, where it waits for that.
    pub next_start_ms: Option<i64>,
}

impl InstanceReport {
    /// Makes one of an instance that has no process of the supervisor's.
    fn without_process(state: InstanceState, reason: impl Into<String>) -> Self {
        Self {
            state,
            reason: reason.into(),
            pid: None,
            restarts: 0,
            exit: None,
            next_start_ms: None,
        }
    }
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
    /// It is back in standby; with what it failed with.
    Deactivated(Option<String>),
    /// The answer to an exit: true when it was put down to a suspect event.
    Blamed(bool),
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) setup: InstanceSetup,
    /// Counts how often it was configured as a whole: what was offered before one of those is no longer awaited.
    pub(crate) config_epoch: u64,
    /// What its plugin said of the last config that was offered, if it did not take it.
    pub(crate) refused_config: Option<String>,
    pub(crate) link: Option<LinkId>,
    /// The seat of the process that serves it, or would.
    pub(crate) seat: InstanceKey,
    /// What its handshake declared, while there is another that it may be replaced with.
    pub(crate) said: Option<Box<rpc::InitializeResult>>,
    /// The other seat, while one process is being replaced with another.
    pub(crate) spare: Option<Box<super::switch::Spare>>,
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
    pub(crate) tries: Tries,
    pub(super) progress: StartProgress,
    pub(super) drain: Option<super::drain::Drain>,
}

impl Core {
    /// Makes an instance known, or changes what is known of it. Its subscription exists from here on, so
    /// that what is published to it while it is down waits for it.
    ///
    /// # Errors
    /// `quota_exceeded` when there are too many subscriptions.
    pub fn configure(&mut self, setup: InstanceSetup) -> Result<(), Error> {
        if let Some(instance) = self.instances.get_mut(&setup.key) {
            instance.config_epoch += 1;
            instance.refused_config = None;
        }
        self.set_up(setup)
    }

    /// Takes a setup into force, whoever decided on it.
    pub(crate) fn set_up(&mut self, setup: InstanceSetup) -> Result<(), Error> {
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
                    config_epoch: 0,
                    refused_config: None,
                    link: None,
                    seat: key.clone(),
                    said: None,
                    spare: None,
                    generation,
                    report: InstanceReport::without_process(InstanceState::Stopped, "configured"),
                    since_ms,
                    subs: vec![sub],
                    lost: Vec::new(),
                    settles_on_write: false,
                    last_error: None,
                    is_serving: false,
                    counts: EngineCounts::default(),
                    tries: Tries::default(),
                    progress: StartProgress::default(),
                    drain: None,
                };
                self.instances.insert(key.clone(), instance);
            }
        }
        if !self.has_way_back(&key) {
            self.narrow_declared(&key);
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
        let name = key.main_subscription();
        let mut filters = setup.grants.receive.clone();
        filters.extend(self.tool_topics(key));
        filters.extend(self.kept_for_the_way_back(key));
        let mut seen = std::collections::BTreeSet::new();
        filters.retain(|filter| seen.insert(filter.as_str().to_owned()));
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
                expire_ms: NEVER_MS,
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
        let spare = instance.spare.and_then(|spare| spare.link);
        for link in instance.link.into_iter().chain(spare) {
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
    pub(crate) fn spawned(&mut self, link: LinkId, seat: &InstanceKey) {
        let key = &seat.of_seat();
        let source: std::sync::Arc<str> = key.to_string().into();
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        peer.role = Role::Instance(key.clone());
        peer.spawned = true;
        peer.source = source;
        let is_spare = self.is_spare(key, seat);
        if is_spare && !self.is_attached_by_hand(key) {
            self.take_spare(link, key);
            self.initialize(link, key);
            return;
        }
        if is_spare || self.link_of(key).is_some() {
            let busy = Error::new(
                Code::InstanceBusy,
                format!("{key} is served by a plugin that was started by hand"),
            );
            self.outputs
                .push(Output::Signal(seat.clone(), InstanceSignal::Refused(busy)));
            self.close(link);
            return;
        }
        // An instance that was removed and came back while its process ended is new here, but the supervisor starts it
        // in the seat that counted before.
        if let Some(instance) = self.instances.get_mut(key)
            && instance.spare.is_none()
        {
            instance.seat = seat.clone();
        }
        self.bind(link, key);
        self.initialize(link, key);
    }

    /// Tells the supervisor; for a plugin that was started by hand there is none, and the core itself
    /// does what follows.
    pub(crate) fn signal(&mut self, key: &InstanceKey, signal: InstanceSignal) {
        if !self.is_attached_by_hand(key) {
            let seat = self.instances.get(key).map(|instance| &instance.seat);
            let seat = seat.unwrap_or(key).clone();
            self.outputs.push(Output::Signal(seat, signal));
            return;
        }
        let (state, reason) = match signal {
            InstanceSignal::Standby => {
                self.report(
                    key,
                    InstanceReport::without_process(InstanceState::Starting, "attached"),
                );
                return self.activate(key);
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
            | InstanceSignal::Deactivated(_)
            | InstanceSignal::LinkClosed
            | InstanceSignal::Drained
            | InstanceSignal::Blamed(_) => return,
        };
        self.report(key, InstanceReport::without_process(state, reason));
    }

    fn is_attached_by_hand(&self, key: &InstanceKey) -> bool {
        let peer = self.link_of(key).and_then(|link| self.peers.get(&link));
        peer.is_some_and(|peer| !peer.spawned)
    }

    /// Gives an instance its link.
    pub(crate) fn bind(&mut self, link: LinkId, key: &InstanceKey) {
        self.router.link_up(link, crate::router::Window::default());
        if let Some(instance) = self.instances.get_mut(key) {
            instance.link = Some(link);
            instance.is_serving = false;
            instance.drain = None;
            instance.progress.end();
            let subs = instance.subs.clone();
            for sub in subs {
                self.router
                    .join(sub, link, crate::router::Window::UNLIMITED, self.now);
            }
        }
    }

    /// Tells a standby instance to go to work, under a new generation. Where it is another seat than the one
    /// that serves, that one is fenced off first.
    pub fn activate(&mut self, seat: &InstanceKey) {
        let key = &seat.of_seat();
        if self.is_spare(key, seat)
            && let Err(error) = self.change_seats(key)
        {
            return self.signal(key, InstanceSignal::Refused(error));
        }
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        let Some(link) = instance.link else { return };
        instance.generation += 1;
        instance.progress.begin();
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
                    attempt: None,
                    url: None,
                },
            );
        } else {
            let params = rpc::ActivateParams { generation };
            self.call(link, Call::Activate, method::INSTANCE_ACTIVATE, &params);
        }
    }

    /// No new deliveries; connections stay.
    pub fn pause(&mut self, seat: &InstanceKey, reason: &str) {
        let key = &seat.of_seat();
        if self.is_spare(key, seat) {
            return;
        }
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
    pub fn resume(&mut self, seat: &InstanceKey) {
        let key = &seat.of_seat();
        if self.is_spare(key, seat) {
            return;
        }
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
            return self.spare_detached(key, link);
        }
        instance.link = None;
        instance.is_serving = false;
        instance.progress.end();
        instance.lost = lost;
        let draining = instance.drain.take().is_some();
        self.offers_end(key, peer);
        let Some(instance) = self.instances.get_mut(key) else {
            return;
        };
        if !peer.spawned {
            // Nobody will say how its process ended: what it held is simply delivered again.
            instance.lost.clear();
            let reason = "the plugin that was attached went away";
            let report = InstanceReport::without_process(InstanceState::Stopped, reason);
            return self.report(key, report);
        }
        if draining {
            self.signal(key, InstanceSignal::Drained);
        }
        self.signal(key, InstanceSignal::LinkClosed);
    }

    /// The process of an instance ended (its link is gone, or goes now). Answered with
    /// [`InstanceSignal::Blamed`].
    pub fn exited(&mut self, seat: &InstanceKey, summary: &ExitSummary) {
        let key = &seat.of_seat();
        if self.instances.get(key).is_some_and(|one| one.seat != *seat) {
            return self.spare_exited(seat);
        }
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
        if self.spare_of(key, link).is_some() {
            // It has nothing to say before it is activated, or after another was.
            return;
        }
        if let Some(reason) = &mut status.reason {
            crate::router::cut(reason, super::limits::REASON_BYTES_MAX);
        }
        if let Some(instance) = self.instances.get_mut(key) {
            instance.progress.end();
        }
        let quiets = |peer: &Peer| {
            let mut asked = peer.calls.values();
            asked.any(|call| matches!(call, Call::Deactivate))
        };
        let active = self
            .peers
            .get(&link)
            .is_some_and(|peer| peer.phase == Phase::Active && !quiets(peer));
        // One that was just switched off may not know it yet. One that is started by hand may attach because it is off.
        let is_off = self.peers.get(&link).is_some_and(|peer| {
            if peer.spawned {
                self.is_disabled(key)
            } else {
                peer.is_switched_off
            }
        });
        let active = active && !is_off;
        // One that drains, or that the operator paused, is served no more, whatever it says.
        let is_held = self.instances.get(key).is_some_and(|instance| {
            instance.drain.is_some() || instance.report.state == InstanceState::Paused
        });
        let active = active && !is_held;
        if active && matches!(status.state, ReportedState::Ready | ReportedState::Degraded) {
            self.no_way_back(key);
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
        self.note_try(key, &status);
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

    pub(crate) fn serve(&mut self, key: &InstanceKey, serving: bool) {
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
}

pub(crate) fn generation_key(key: &InstanceKey) -> Vec<u8> {
    format!("g/{}/{}", key.plugin, key.instance).into_bytes()
}
