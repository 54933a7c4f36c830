//! What differs between two configs: what a live reload has to do, instance by instance.

use serde_json::Value;

use super::types::{Config, InstanceSpec};

/// Lists what a reload has to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Instances that are new, as `plugin/instance`.
    pub added: Vec<String>,
    /// Instances that are gone.
    pub removed: Vec<String>,
    /// Instances that changed; those not named stay untouched.
    pub changed: Vec<InstanceChange>,
    /// Names of clients that are new, gone or changed: their links are judged anew.
    pub clients: Vec<String>,
    /// Settings that changed, by path.
    pub settings: Vec<&'static str>,
}

impl Changes {
    /// Tells whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Lists the changed settings that need a new start of the daemon.
    pub fn needs_daemon_restart(&self) -> Vec<&'static str> {
        let live = ["broker.log_level", "broker.drain_timeout", "plugin_dirs"];
        self.settings
            .iter()
            .copied()
            .filter(|path| !live.contains(path))
            .collect()
    }
}

/// Says in what an instance changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceChange {
    /// `plugin/instance`.
    pub key: String,
    /// It was enabled (`Some(true)`) or disabled (`Some(false)`).
    pub enabled: Option<bool>,
    /// Its config or a secret changed: `config.update`, or a restart.
    pub config: bool,
    /// Only keys that the manifest calls `hot` changed: no restart even without a handler.
    pub is_hot: bool,
    /// Its grants changed: they count from now on, without a restart.
    pub grants: bool,
    /// What its process is made of changed (manifest, directory, limits, restart policy): a new
    /// process is needed.
    pub process: bool,
}

/// Compares two configs.
pub fn diff(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes::default();
    for spec in &new.instances {
        match old.instance(&spec.plugin, &spec.instance) {
            None => changes.added.push(spec.key()),
            Some(before) => changes.changed.extend(compare(before, spec)),
        }
    }
    for spec in &old.instances {
        if new.instance(&spec.plugin, &spec.instance).is_none() {
            changes.removed.push(spec.key());
        }
    }
    for client in &new.clients {
        if !old.clients.contains(client) {
            changes.clients.push(client.name.clone());
        }
    }
    for client in &old.clients {
        if !new.clients.iter().any(|other| other.name == client.name) {
            changes.clients.push(client.name.clone());
        }
    }
    for path in super::SETTINGS.iter().map(|setting| setting.path) {
        let value = |config: &Config| config.settings.get(path).cloned().unwrap_or(Value::Null);
        if value(old) != value(new) {
            changes.settings.push(path);
        }
    }
    changes
}

fn compare(old: &InstanceSpec, new: &InstanceSpec) -> Option<InstanceChange> {
    if old == new {
        return None;
    }
    let (before, after) = (old.checked(), new.checked());
    let config = before != after;
    let process = old.manifest != new.manifest
        || old.dir != new.dir
        || old.package != new.package
        || old.limits != new.limits
        || old.restart != new.restart
        || old.restart_degraded_after != new.restart_degraded_after
        || old.transport != new.transport
        || old.own_server != new.own_server
        || old.unfit != new.unfit;
    Some(InstanceChange {
        key: new.key(),
        enabled: (old.enabled != new.enabled).then_some(new.enabled),
        config,
        is_hot: config && !process && new.manifest.config.is_hot_change(&before, &after),
        grants: old.grants != new.grants,
        process,
    })
}
