//! The first frames of a link: `connect` from whoever dials in, `initialize` to a plugin.

use std::sync::Arc;

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::id;
use trunkline_contract::rpc::{self, method};
use trunkline_contract::topic::Filter;
use trunkline_contract::webhook::Webhook;

use crate::instance::InstanceKey;
use crate::router::{
    LinkId, NEVER_MS, Owner, RetryPolicy, SubId, SubscribeAs, Subscription, Window, is_covered,
};
use crate::store::Seq;

use super::instance::InstanceSignal;
use super::peer::{Call, Phase, ReplyTo, Role};
use super::state::{Core, Timer};

/// Services that a link may call.
pub(crate) const SERVICES: &[&str] = &["kv", "lock", "blob", "log", "tool", "timers"];

impl Core {
    /// Sends `initialize` to a new plugin link.
    pub(crate) fn initialize(&mut self, link: LinkId, key: &InstanceKey) {
        let Some(setup) = self.setup_of(key, link) else {
            self.close(link);
            return;
        };
        let params = rpc::InitializeParams {
            protocol: rpc::ProtocolRange::ours(),
            host: self.host(),
            nexo_version: Some("0.1.5".into()),
            plugin: key.plugin.to_string(),
            instance: key.instance.to_string(),
            config: setup.config.clone(),
            secrets: rpc::Secrets(setup.secrets.clone()),
            state_dir: setup.state_dir.clone(),
            hooks_url: self.hooks_url(),
            features: setup.features.clone(),
            webhooks: setup.webhooks.iter().filter_map(Webhook::source).collect(),
            limits: rpc::LinkLimits::of_frame(self.options.frame_bytes_max),
            services: SERVICES.iter().map(|name| (*name).to_owned()).collect(),
        };
        self.call(link, Call::Initialize, method::INITIALIZE, &params);
    }

    pub(crate) fn host(&self) -> rpc::Host {
        rpc::Host {
            name: "trunkline".into(),
            version: self.options.version.clone(),
        }
    }

    /// The answer to `initialize`.
    pub(crate) fn initialized(&mut self, link: LinkId, answer: Result<&RawValue, Error>) {
        let Some(key) = self
            .peers
            .get(&link)
            .and_then(|peer| peer.instance().cloned())
        else {
            return;
        };
        if let Err(error) = answer.and_then(|result| self.accept_initialize(link, &key, result)) {
            self.signal_of(link, &key, InstanceSignal::Refused(error));
            self.close(link);
        }
    }

    fn accept_initialize(
        &mut self,
        link: LinkId,
        key: &InstanceKey,
        result: &RawValue,
    ) -> Result<(), Error> {
        let result: rpc::InitializeResult =
            serde_json::from_str(result.get()).map_err(|error| {
                Error::new(
                    Code::InvalidFrame,
                    format!(
                        "expected an answer to initialize with manifest.plugin.id, found {error}"
                    ),
                )
            })?;
        if result.manifest.plugin.id != *key.plugin {
            return Err(Error::new(
                Code::DeclarationConflict,
                format!(
                    "expected plugin {:?} as in its manifest, found {:?}",
                    key.plugin, result.manifest.plugin.id
                ),
            ));
        }
        let legacy = result.protocol.is_none();
        if let Some(protocol) = &result.protocol {
            let ours = rpc::ProtocolRange::ours();
            if !ours.includes(protocol) {
                return Err(Error::new(
                    Code::ProtocolMismatch,
                    format!(
                        "expected {} {} to {}, found {protocol}",
                        ours.name, ours.min, ours.max
                    ),
                ));
            }
        }
        if !self.instances.contains_key(key) {
            return Err(Error::new(Code::NotFound, format!("{key} was removed")));
        }
        let is_later = self.keep_said(link, key, &result);
        if is_later {
            self.check_filters(link, key, &result.subscriptions)?;
        } else {
            self.take_declared(link, key, &result)?;
        }
        let accepts = result.accepts.unwrap_or_default();
        let window = Window {
            events: accepts.events as usize,
            bytes: accepts.bytes as usize,
        }
        .bounded();
        let Some(peer) = self.peers.get_mut(&link) else {
            return Ok(());
        };
        peer.phase = Phase::Standby;
        peer.legacy = legacy;
        let window = if legacy {
            Window {
                events: 1,
                ..window
            }
        } else {
            window
        };
        self.router.set_link_window(link, window);
        let setup = self.setup_of(key, link);
        let interval = setup.map_or(0, |setup| setup.ping_interval_ms);
        if let Some(instance) = self.instances.get_mut(key).filter(|_| !is_later) {
            instance.settles_on_write = legacy;
        }
        if interval > 0 {
            self.arm(self.now.mono_ms + interval, Timer::Ping(link));
        }
        self.signal_of(link, key, InstanceSignal::Standby);
        Ok(())
    }

    /// Takes what a handshake declared.
    pub(crate) fn take_declared(
        &mut self,
        link: LinkId,
        key: &InstanceKey,
        said: &rpc::InitializeResult,
    ) -> Result<(), Error> {
        self.declared(key, said.declares.as_ref())?;
        self.declare_subscriptions(link, key, &said.subscriptions)
    }

    /// Checks what a process in standby will subscribe to, so that it is refused before it takes over.
    fn check_filters(
        &self,
        link: LinkId,
        key: &InstanceKey,
        wanted: &[rpc::SubscriptionDeclaration],
    ) -> Result<(), Error> {
        let setup = self.setup_of(key, link).expect("bound to its link");
        let mut filters = wanted.iter().flat_map(|declared| &declared.filters);
        filters.try_for_each(|filter| setup.grants.may_receive(filter))
    }

    /// Declarations that need what is not built are refused, never ignored.
    fn declared(
        &mut self,
        key: &InstanceKey,
        declares: Option<&serde_json::Value>,
    ) -> Result<(), Error> {
        let empty = serde_json::Map::new();
        let declares = match declares {
            Some(serde_json::Value::Object(declares)) => declares,
            _ => &empty,
        };
        let webhooks = declares.get("webhooks").filter(|value| !value.is_null());
        self.declared_webhooks(key, webhooks)?;
        self.declared_tools(key, declares.get("tools").filter(|value| !value.is_null()))?;
        for (name, value) in declares {
            let empty = value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(serde_json::Map::is_empty)
                || value.is_null();
            if empty {
                continue;
            }
            match name.as_str() {
                "channels" => self.declared_channels(key, value)?,
                "tools" | "webhooks" => {}
                "pollers" => {
                    return Err(Error::new(
                        Code::NotImplemented,
                        format!("{name} cannot be declared yet, found {value}"),
                    ));
                }
                other => {
                    return Err(Error::new(
                        Code::DeclarationConflict,
                        format!("expected channels, tools, webhooks or pollers, found {other:?}"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn declared_channels(
        &mut self,
        key: &InstanceKey,
        value: &serde_json::Value,
    ) -> Result<(), Error> {
        let kinds = &self
            .instances
            .get(key)
            .expect("bound to its link")
            .setup
            .kinds;
        for channel in value.as_array().into_iter().flatten() {
            let kind = channel
                .get("kind")
                .and_then(|kind| kind.as_str())
                .unwrap_or_default();
            if !kinds.iter().any(|known| known == kind) {
                return Err(Error::new(
                    Code::DeclarationConflict,
                    format!(
                        "expected a kind of the manifest ({}), found {kind:?}",
                        kinds.join(", ")
                    ),
                ));
            }
        }
        Ok(())
    }

    /// What an instance's subscriptions selected before a handshake, and will not select under that name after it, with
    /// the oldest event that waits there: whoever selects it now begins with that one. So nothing is lost that came
    /// before the first handshake, or under another version's names.
    fn given_up(
        &self,
        key: &InstanceKey,
        wanted: &[rpc::SubscriptionDeclaration],
    ) -> Vec<(Vec<Filter>, Seq)> {
        let prefix = key.own_subscription("");
        let subs = self.router.of_owner(&Owner::Instance(key.clone()));
        let subs = subs.into_iter().filter_map(|sub| self.router.get(sub));
        let given_up = subs.filter(|sub| sub.is_declared()).map(|sub| {
            let mut filters = sub.filters().to_vec();
            let own = sub.name().strip_prefix(&prefix);
            let stays = wanted.iter().find(|declared| Some(&*declared.name) == own);
            if let Some(stays) = stays {
                filters.retain(|held| !stays.filters.iter().any(|filter| filter.covers(held)));
            }
            (filters, sub.oldest_unsettled())
        });
        given_up.collect()
    }

    /// The event before the oldest that waits for these filters where they were given up.
    fn before_what_waits(given_up: &[(Vec<Filter>, Seq)], filters: &[Filter]) -> Option<Seq> {
        let shares = |held: &Filter| {
            let mut wanted = filters.iter();
            wanted.any(|wanted| wanted.covers(held) || held.covers(wanted))
        };
        let waits = given_up.iter().filter(|(held, _)| held.iter().any(shares));
        let oldest = waits.map(|(_, oldest)| *oldest).min();
        oldest.map(|oldest| oldest.saturating_sub(1))
    }

    /// What other versions of the plugin have declared, and this one does not.
    pub(super) fn declared_no_longer(
        &self,
        key: &InstanceKey,
        wanted: &[rpc::SubscriptionDeclaration],
    ) -> Vec<SubId> {
        let main = key.main_subscription();
        let is_wanted = |name: &str| {
            let mut wanted = wanted.iter();
            wanted.any(|declared| key.own_subscription(&declared.name) == name)
        };
        let mut left = self.router.of_owner(&Owner::Instance(key.clone()));
        left.retain(|sub| {
            let sub = self.router.get(*sub);
            // One that was made by `broker.subscribe` is served when its plugin makes it again, unless nothing can come
            // by it any more.
            sub.is_some_and(|sub| {
                let is_left = sub.is_declared() || sub.filters().is_empty();
                // What is declared selects something from now on, though its filters may be gone at this moment.
                is_left && sub.name() != main && !is_wanted(sub.name())
            })
        });
        left
    }

    /// Ends what is declared no longer and that a declared one goes on with; the rest is served beside it, so that
    /// nothing waits in it for ever.
    pub(super) fn settle_left(
        &mut self,
        link: LinkId,
        key: &InstanceKey,
        left: &[SubId],
        wanted: &[rpc::SubscriptionDeclaration],
    ) {
        let declared = wanted.iter().flat_map(|declared| declared.filters.clone());
        let declared = Owner::Instance(key.clone()).reach(declared.collect());
        for &sub in left {
            let Some(held) = self.router.get(sub) else {
                continue;
            };
            let mut held_filters = held.filters().iter();
            let goes_on = held_filters.all(|held| is_covered(held, &declared));
            let has_way_back = self.has_way_back(key);
            let instance = self.instances.get_mut(key).expect("bound to its link");
            let grants = &instance.setup.grants;
            let mut held_filters = held.filters().iter();
            if has_way_back && held_filters.any(|filter| grants.may_receive(filter).is_err()) {
                // What the operator allows no longer reaches nobody, under an old name either; the version that may
                // have to go on is still allowed it.
                instance.subs.retain(|one| *one != sub);
                self.router.leave(sub, link, self.now);
                continue;
            }
            if goes_on && self.router.is_undivided(sub) {
                instance.subs.retain(|one| *one != sub);
                self.router.delete(sub, self.now);
                continue;
            }
            if goes_on {
                // What nothing goes on with is still to be found among what waits; then it ends.
                self.router.refilter(sub, Vec::new(), self.now);
            }
            if !instance.subs.contains(&sub) {
                instance.subs.push(sub);
            }
            self.router.join(sub, link, Window::UNLIMITED, self.now);
        }
    }

    /// Has the subscriptions of an instance beside its main one select only what it may receive.
    pub(crate) fn narrow_declared(&mut self, key: &InstanceKey) {
        let main = key.main_subscription();
        let Some(instance) = self.instances.get(key) else {
            return;
        };
        for sub in self.router.of_owner(&Owner::Instance(key.clone())) {
            let Some(held) = self.router.get(sub).filter(|held| held.name() != main) else {
                continue;
            };
            let mut filters = held.filters().to_vec();
            filters.retain(|filter| instance.setup.grants.may_receive(filter).is_ok());
            if filters.len() == held.filters().len() {
                continue;
            }
            tracing::warn!(
                subscription = held.name(),
                "Its instance may no longer receive all of it: what waits is a dead letter."
            );
            let is_left = held.is_declared() || filters.is_empty();
            let link = instance.link.filter(|_| is_left && !held.is_served());
            self.router.refilter(sub, filters, self.now);
            if let Some(link) = link {
                self.router.join(sub, link, Window::UNLIMITED, self.now);
            }
        }
    }

    /// A subscription selects nothing and holds nothing any more: it goes, unless it is the main one.
    pub(crate) fn drained(&mut self, sub: SubId) {
        let Some(held) = self.router.get(sub) else {
            return;
        };
        let Owner::Instance(key) = held.owner().clone() else {
            return;
        };
        if held.name() == key.main_subscription() {
            return;
        }
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.subs.retain(|one| *one != sub);
        }
        self.router.delete(sub, self.now);
    }

    fn declare_subscriptions(
        &mut self,
        link: LinkId,
        key: &InstanceKey,
        wanted: &[rpc::SubscriptionDeclaration],
    ) -> Result<(), Error> {
        let given_up = self.given_up(key, wanted);
        let left = self.declared_no_longer(key, wanted);
        for declared in wanted {
            if !id::is_client_name(&declared.name) {
                return Err(Error::new(
                    Code::InvalidArguments,
                    format!(
                        "expected a subscription name in lower case, found {:?}",
                        declared.name
                    ),
                ));
            }
            let instance = self.instances.get(key).expect("bound to its link");
            for filter in &declared.filters {
                instance.setup.grants.may_receive(filter)?;
            }
            let start = match declared.start {
                rpc::Start::New => {
                    let head = self.router.head();
                    let waits = Self::before_what_waits(&given_up, &declared.filters);
                    waits.map_or(head, |before| before.min(head))
                }
                rpc::Start::Earliest => 0,
                rpc::Start::Seq(seq) => seq.saturating_sub(1),
                rpc::Start::Time(_) => {
                    return Err(Error::new(
                        Code::NotImplemented,
                        "a declared subscription cannot start at a time; use broker.subscribe",
                    ));
                }
            };
            let name = key.own_subscription(&declared.name);
            let known = self.router.find(&name).and_then(|sub| self.router.get(sub));
            let gained: Vec<Filter> = known.map_or_else(Vec::new, |known| {
                let is_new =
                    |filter: &&Filter| !known.filters().iter().any(|held| held.covers(filter));
                declared.filters.iter().filter(is_new).cloned().collect()
            });
            let (sub, _) = self.router.subscribe(
                SubscribeAs {
                    name,
                    owner: Owner::Instance(key.clone()),
                    filters: declared.filters.clone(),
                    group: declared.group.clone(),
                    start,
                    policy: policy(declared.retry.as_ref()),
                    hold: self.options.retention.hold(),
                    expire_ms: NEVER_MS,
                },
                self.now,
            )?;
            // One that is wider than before goes back for what waits elsewhere: rather twice than never.
            let back = Self::before_what_waits(&given_up, &gained);
            let cursor = self.router.get(sub).map_or(0, Subscription::cursor);
            if let Some(back) = back.filter(|back| *back < cursor) {
                self.router.go_back(sub, back, self.now);
            }
            let instance = self.instances.get_mut(key).expect("bound to its link");
            if !instance.subs.contains(&sub) {
                instance.subs.push(sub);
            }
            self.router.join(sub, link, Window::UNLIMITED, self.now);
        }
        self.settle_left(link, key, &left, wanted);
        if !wanted.is_empty() || !left.is_empty() {
            let setup = self
                .instances
                .get(key)
                .expect("bound to its link")
                .setup
                .clone();
            self.subscribe_main(&setup)?;
        }
        Ok(())
    }

    /// `connect`: a client or a plugin that was started by hand.
    pub(crate) fn connect(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let result = rpc::params::<rpc::ConnectParams>(params)
            .and_then(|params| self.accept_connect(to.link, params));
        match result {
            Ok((answer, then)) => {
                self.answer(to, &answer);
                if let Some(key) = then {
                    self.initialize(to.link, &key);
                }
            }
            Err(error) => {
                self.refuse(to, &error);
                self.close(to.link);
            }
        }
    }

    fn accept_connect(
        &mut self,
        link: LinkId,
        params: rpc::ConnectParams,
    ) -> Result<(rpc::ConnectResult, Option<InstanceKey>), Error> {
        let protocol = rpc::ProtocolRange::ours().agree(&params.protocol)?;
        if let Some(key) = self.take_opened(params.token.as_deref()) {
            self.bind_opened(link, &key, &params)?;
            let answer = self.welcome(protocol, key.to_string(), Vec::new());
            return Ok((answer, Some(key)));
        }
        let now_ms = self.now.wall_ms;
        let found = params
            .token
            .as_deref()
            .and_then(|token| self.options.tokens.found(token, now_ms))
            .ok_or_else(|| {
                Error::new(
                    Code::Unauthorized,
                    "expected the token of this broker, found another or none",
                )
            })?;
        let grant = found.grant.clone();
        let (source, scopes, then) = match params.role {
            rpc::Role::Client => {
                let name = client_name(&grant, params.name.as_deref())?;
                let source: Arc<str> = format!("client:{name}").into();
                let scopes = grant.scopes.clone();
                self.router.link_up(link, Window::UNLIMITED);
                self.router.set_serving(link, true);
                let peer = self
                    .peers
                    .get_mut(&link)
                    .expect("frames come from known links");
                peer.role = Role::Client { name, scopes };
                peer.source = source.clone();
                peer.phase = Phase::Active;
                (source, grant.scopes.texts(), None)
            }
            rpc::Role::Plugin => {
                let key = self.attach_plugin(link, &grant, &params)?;
                (key.to_string().into(), Vec::new(), Some(key))
            }
        };
        self.came_in_by(link, &found);
        let answer = self.welcome(protocol, source.to_string(), scopes);
        Ok((answer, then))
    }

    fn welcome(&self, protocol: String, source: String, scopes: Vec<String>) -> rpc::ConnectResult {
        rpc::ConnectResult {
            protocol,
            host: self.host(),
            source,
            scopes,
            limits: rpc::LinkLimits::of_frame(self.options.frame_bytes_max),
            services: SERVICES.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn attach_plugin(
        &mut self,
        link: LinkId,
        grant: &super::ClientGrant,
        params: &rpc::ConnectParams,
    ) -> Result<InstanceKey, Error> {
        if !grant.scopes.is_admin() {
            return Err(Error::new(
                Code::Unauthorized,
                "a plugin that is started by hand needs a token with the admin scope",
            ));
        }
        let plugin = params
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.pointer("/plugin/id"))
            .and_then(|id| id.as_str())
            .or(params.name.as_deref())
            .unwrap_or_default();
        let key = InstanceKey::new(plugin, params.instance.as_deref().unwrap_or("default"));
        let Some(instance) = self.instances.get(&key) else {
            return Err(Error::new(
                Code::NotFound,
                format!(
                    "expected an instance of the config, found {key}; add it under plugins.{plugin}"
                ),
            ));
        };
        if instance.link.is_some() {
            return Err(Error::new(
                Code::InstanceBusy,
                format!("{key} has a link already; stop that one first"),
            ));
        }
        let peer = self
            .peers
            .get_mut(&link)
            .expect("frames come from known links");
        peer.role = Role::Instance(key.clone());
        peer.source = key.to_string().into();
        self.bind(link, &key);
        Ok(key)
    }

    pub(crate) fn connect_timed_out(&mut self, link: LinkId) {
        let waiting = self
            .peers
            .get(&link)
            .is_some_and(|peer| matches!(peer.role, Role::Unknown) && peer.phase == Phase::Opening);
        if waiting {
            self.close(link);
        }
    }
}

fn client_name(grant: &super::ClientGrant, asked: Option<&str>) -> Result<Arc<str>, Error> {
    if let Some(name) = &grant.name {
        return match asked {
            Some(asked) if asked != &**name => Err(Error::new(
                Code::Unauthorized,
                format!("this token is for client {name:?}, found {asked:?}"),
            )),
            _ => Ok(name.clone()),
        };
    }
    let name = asked.unwrap_or("owner");
    if !id::is_client_name(name) {
        return Err(Error::new(
            Code::InvalidArguments,
            format!(
                "expected a client name like \"support\" (lower case, at most 64), found {name:?}"
            ),
        ));
    }
    Ok(name.into())
}

/// The policy asked for, the rest as by default.
pub(crate) fn policy(asked: Option<&rpc::RetryPolicy>) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    if let Some(asked) = asked {
        policy.failures_max = asked.failures_max.unwrap_or(policy.failures_max);
        policy.age_max_ms = asked.age_max_ms.unwrap_or(policy.age_max_ms);
        policy.lease_ms = asked.lease_ms.unwrap_or(policy.lease_ms);
        if let Some(backoff) = &asked.backoff_ms {
            policy.backoff_ms.clone_from(backoff);
        }
        if asked.on_expired == Some(rpc::OnExpired::Drop) {
            policy.on_expired = crate::router::OnExpired::Drop;
        }
    }
    policy.bounded()
}
