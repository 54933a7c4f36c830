//! What the control plane and the daemon share: the config as it is now, and who follows logs.
//!
//! What changes it is in `reload` and `upgrade`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, watch};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc;
use trunkline_contract::toml::Diagnostic;

use crate::config::{
    BrokerConfig, Config, DiskFiles, Files, InstanceSpec, McpNames, Sources, load,
};
use crate::instance::InstanceKey;
use crate::router::LinkId;
use crate::runtime::Broker;
use crate::supervisor::{LaunchSpec, Redactor, Supervisor};

use super::reload::Offers;

/// What the control plane and the daemon share.
pub(super) struct Shared {
    pub(super) config: Mutex<Config>,
    sources: Sources,
    pub(super) token: String,
    pub(super) redactor: Arc<RwLock<crate::config::SecretRedactor>>,
    pub(super) settings: watch::Sender<BrokerConfig>,
    pub(super) mcp_names: watch::Sender<Arc<McpNames>>,
    /// How often each instance got a configuration that needs a new process.
    pub(super) epochs: Mutex<FxHashMap<String, u64>>,
    /// Counts the configurations that instances are given while they run.
    pub(super) revision: AtomicU64,
    pub(super) offers: Arc<Offers>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    /// Held while packages and manifests of running instances are replaced.
    upgrading: tokio::sync::Mutex<()>,
    followers: Mutex<FxHashMap<LinkId, Vec<Arc<Notify>>>>,
}

impl Shared {
    pub(super) fn new(config: Config, sources: Sources, token: String) -> Self {
        Self {
            redactor: Arc::new(RwLock::new(config.redactor())),
            settings: watch::channel(config.broker.clone()).0,
            mcp_names: watch::channel(Arc::new(config.mcp_names.clone())).0,
            config: Mutex::new(config),
            sources,
            token,
            epochs: Mutex::default(),
            revision: AtomicU64::new(1),
            offers: Arc::default(),
            reloading: tokio::sync::Mutex::default(),
            upgrading: tokio::sync::Mutex::default(),
            followers: Mutex::default(),
        }
    }

    /// What blanks out the secrets of the config as it is at that time.
    pub(super) fn redactor(&self) -> Redactor {
        let redactor = self.redactor.clone();
        Arc::new(move |text: &str| -> Cow<'_, str> {
            redactor.read().expect("no panic while held").redact(text)
        })
    }

    pub(super) fn settings(&self) -> watch::Receiver<BrokerConfig> {
        self.settings.subscribe()
    }

    /// Follows the names that MCP clients see.
    pub(super) fn mcp_names(&self) -> watch::Receiver<Arc<McpNames>> {
        self.mcp_names.subscribe()
    }

    /// Says whether the config lets an instance run.
    pub(super) fn is_enabled(&self, key: &InstanceKey) -> bool {
        let config = self.config.lock().expect("no panic while held");
        config
            .instance(&key.plugin, &key.instance)
            .is_some_and(|spec| spec.enabled)
    }

    /// The plugins of the config with the state of their instances, and those that could be configured.
    pub(super) fn plugins(
        &self,
        statuses: Vec<rpc::admin::InstanceStatus>,
        available: Vec<rpc::admin::PluginStatus>,
    ) -> Vec<rpc::admin::PluginStatus> {
        let config = self.config.lock().expect("no panic while held");
        let mut available: BTreeMap<String, _> = available
            .into_iter()
            .map(|one| (one.id.clone(), one))
            .collect();
        let mut plugins: BTreeMap<String, rpc::admin::PluginStatus> = BTreeMap::new();
        for spec in &config.instances {
            plugins
                .entry(spec.plugin.clone())
                .or_insert_with(|| rpc::admin::PluginStatus {
                    id: spec.plugin.clone(),
                    version: spec.manifest.version.clone(),
                    path: Some(spec.dir.display().to_string()),
                    package: available.remove(&spec.plugin).and_then(|one| one.package),
                    kinds: spec.manifest.kinds().map(str::to_owned).collect(),
                    instances: Vec::new(),
                });
        }
        for mut status in statuses {
            let spec = config.instance(&status.plugin, &status.instance);
            status.path = spec.map(|spec| spec.dir.display().to_string());
            if spec.is_some_and(|spec| !spec.enabled) {
                status.desired = Some(rpc::admin::Desired::Disabled);
            }
            if let Some(plugin) = plugins.get_mut(&status.plugin) {
                plugin.instances.push(status);
            }
        }
        plugins.extend(available);
        plugins.into_values().collect()
    }

    /// Gives the supervisor the instances of a config; those that the operator switched off stay off.
    pub(super) async fn apply(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        config: &Config,
    ) -> Result<(), Error> {
        let mut specs: Vec<_> = config
            .instances
            .iter()
            .map(|spec| self.launch_spec(config, spec))
            .collect();
        let keys: Vec<InstanceKey> = specs.iter().map(|spec| spec.key.clone()).collect();
        let disabled: HashSet<InstanceKey> = broker
            .with(move |core| {
                keys.into_iter()
                    .filter(|key| core.is_disabled(key))
                    .collect()
            })
            .await?;
        for spec in &mut specs {
            spec.is_enabled &= !disabled.contains(&spec.key);
        }
        supervisor
            .apply(specs)
            .await
            .map(|_| ())
            .map_err(|error| Error::new(Code::Unavailable, error.to_string()))
    }

    /// The config in force.
    pub(super) fn config(&self) -> Config {
        self.config.lock().expect("no panic while held").clone()
    }

    /// The config in force, with one instance as it was read again.
    pub(super) fn with_instance(&self, spec: &InstanceSpec, read: &Config) -> Config {
        let mut config = self.config();
        let mut instances = config.instances.iter_mut();
        if let Some(one) = instances.find(|one| one.key() == spec.key()) {
            *one = spec.clone();
        }
        config.mcp_names = read.mcp_names.clone();
        config
    }

    /// Blanks out an instance's secrets beside those of the config in force.
    pub(super) fn redact_also(&self, spec: &InstanceSpec) {
        let mut config = self.config();
        config.instances.push(spec.clone());
        *self.redactor.write().expect("no panic while held") = config.redactor();
    }

    /// Makes this the config in force; the broker's own settings are the same.
    pub(super) fn put_in_force(&self, config: Config) {
        *self.redactor.write().expect("no panic while held") = config.redactor();
        self.mcp_names
            .send_replace(Arc::new(config.mcp_names.clone()));
        *self.config.lock().expect("no panic while held") = config;
    }

    /// Waits until nothing else changes the config.
    pub(super) async fn one_at_a_time(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.reloading.lock().await
    }

    /// Takes the right to replace what runs, unless another has it.
    pub(super) fn begin_upgrade(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Error> {
        self.upgrading.try_lock().map_err(|_| {
            let text = "another upgrade is under way; try again when it has ended";
            Error::new(Code::InstanceBusy, text)
        })
    }

    /// An instance as the supervisor sees it, if the operator did not switch it off.
    pub(super) fn launch_spec(&self, config: &Config, spec: &InstanceSpec) -> LaunchSpec {
        let mut launch = config.launch_spec(spec);
        let epochs = self.epochs.lock().expect("no panic while held");
        if let Some(epoch) = epochs.get(&launch.key.to_string()) {
            launch.revision = format!("{} {epoch}", launch.revision);
        }
        launch
    }

    /// Reads the config's files again.
    pub(super) fn read_again(&self) -> Result<Config, Error> {
        self.read_again_from(&DiskFiles)
    }

    /// The same, from other files.
    pub(super) fn read_again_from(&self, files: &dyn Files) -> Result<Config, Error> {
        let (config, _) = load(&self.sources, files)
            .into_result()
            .map_err(|diagnostics| stays_in_force(&diagnostics))?;
        // One that cannot run is left as it is; one that runs is not ended for it.
        let old = self.config();
        let was_fit = |spec: &&InstanceSpec| {
            let before = old.instance(&spec.plugin, &spec.instance);
            before.is_none_or(|before| before.unfit.is_empty())
        };
        let unfit = config.instances.iter().filter(was_fit);
        let unfit: Vec<Diagnostic> = unfit.flat_map(|spec| spec.unfit.to_vec()).collect();
        if !unfit.is_empty() {
            return Err(stays_in_force(&unfit));
        }
        Ok(config)
    }

    /// Notes that a link follows logs; the answer ends it.
    pub(super) fn follow(&self, link: LinkId) -> Arc<Notify> {
        let end = Arc::new(Notify::new());
        let mut followers = self.followers.lock().expect("no panic while held");
        followers.entry(link).or_default().push(end.clone());
        end
    }

    /// Notes that a link is gone, or follows nothing any more by itself.
    pub(super) fn followed(&self, link: LinkId, end: &Arc<Notify>) {
        let mut followers = self.followers.lock().expect("no panic while held");
        if let Some(ends) = followers.get_mut(&link) {
            ends.retain(|other| !Arc::ptr_eq(other, end));
            if ends.is_empty() {
                followers.remove(&link);
            }
        }
    }

    /// Ends everything a link follows.
    pub(super) fn end_followers(&self, link: LinkId) {
        let mut followers = self.followers.lock().expect("no panic while held");
        for end in followers.remove(&link).unwrap_or_default() {
            end.notify_one();
        }
    }
}

/// Says why what was read is not taken.
fn stays_in_force(diagnostics: &[Diagnostic]) -> Error {
    let mut lines: Vec<String> = Vec::new();
    for diagnostic in diagnostics.iter().filter(|one| one.is_error()) {
        let line = format!("\n  {diagnostic}");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let text = format!("the old config stays in force:{}", lines.concat());
    Error::new(Code::ConfigInvalid, text)
}
