//! New manifests for running instances: read again, judged as a whole, and taken into force one instance at
//! a time, each with a way back.
//!
//! Instances that share a process are in `together`. The rest of the config stays as it is in force; `config.reload` is what changes that.

use std::path::Path;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::manifest::Isolation;
use trunkline_contract::rpc::admin::{
    PluginsUpgradeParams, PluginsUpgradeResult, UpgradedInstance,
};

use crate::config::{Config, InstanceSpec};
use crate::instance::not_configured;
use crate::line::{HINT, with_more};
use crate::runtime::Broker;
use crate::supervisor::cause::{cause, of_new_process, remedy};
use crate::supervisor::{LaunchSpec, Supervisor, SupervisorError};

use super::shared::Shared;
use super::together::not_alone;

impl Shared {
    /// Reads the manifests of the instances that are meant again, and replaces their processes; with a package,
    /// those that run from it, and all of them or none.
    pub(super) async fn upgrade(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        target: &PluginsUpgradeParams,
    ) -> Result<PluginsUpgradeResult, Error> {
        let _the_only_one = self.begin_upgrade()?;
        let _one_at_a_time = self.one_at_a_time().await;
        let old = self.config();
        let package = self.placed(target).await?;
        let read = match &package {
            Some(package) => self.read_again_from(&package.lock)?,
            None => self.read_again()?,
        };
        let is_meant = |spec: &&InstanceSpec| {
            let mut name = target.instance.iter();
            spec.plugin == target.plugin
                && name.all(|name| spec.instance == *name)
                && (package.is_none() || spec.package.is_some())
        };
        let meant: Vec<&InstanceSpec> = old.instances.iter().filter(is_meant).collect();
        if meant.is_empty() && package.is_none() {
            let name = [Some(&target.plugin), target.instance.as_ref()];
            let name: Vec<&str> = name.into_iter().flatten().map(String::as_str).collect();
            let known: Vec<String> = old.instances.iter().map(InstanceSpec::key).collect();
            return Err(not_configured(&name.join("/"), &known));
        }
        let mut pairs = Vec::new();
        for before in meant {
            let after = read.instance(&before.plugin, &before.instance);
            let after = after.ok_or_else(|| {
                let text = format!(
                    "{} is in the config no longer; hint: trunkline config reload",
                    before.key()
                );
                Error::new(Code::ConfigInvalid, text)
            })?;
            pairs.push((before.clone(), after.clone()));
        }
        let is_shared = |spec: &InstanceSpec| spec.manifest.isolation == Isolation::Shared;
        if pairs
            .iter()
            .any(|(before, after)| is_shared(before) || is_shared(after))
        {
            if target.instance.is_some() {
                return Err(not_alone(&pairs[0].0));
            }
            return match package {
                None => self.replace_all(broker, supervisor, &read, &pairs).await,
                Some(package) => {
                    let configs = (&old, &read);
                    self.replace_all_from(broker, supervisor, package, configs, &pairs)
                        .await
                }
            };
        }
        if let Some(package) = package {
            let all = self.replace_each_from(broker, supervisor, package, (&old, &read), &pairs);
            return all.await;
        }
        let mut instances = Vec::new();
        for (before, after) in &pairs {
            let launch = self.launch_spec(&self.config(), before);
            let how = self.upgrade_one(broker, supervisor, &read, after, &launch);
            match how.await {
                Ok(how) => instances.push(upgraded(before, after, how)),
                Err(error) => return Err(with_done(error, &before.key(), &instances)),
            }
        }
        Ok(PluginsUpgradeResult { instances })
    }

    pub(super) async fn upgrade_one(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        read: &Config,
        spec: &InstanceSpec,
        before: &LaunchSpec,
    ) -> Result<&'static str, Error> {
        let key = spec.instance_key();
        let name = key.clone();
        let is_off = broker.with(move |core| core.is_disabled(&name)).await?;
        if is_off || !spec.enabled || !self.is_enabled(&key) {
            self.renew(broker, supervisor, read, spec).await?;
            return Ok("not_running");
        }
        let new = self.with_instance(spec, read);
        // Before anything can log one of the new secrets; the old ones are in use still.
        self.redact_also(spec);
        let setup = new.instance_setup(spec);
        let launch = self.launch_spec(&new, spec);
        let has_overlap = launch.has_overlap() && before.has_overlap();
        broker
            .with(move |core| core.prepare_switch(setup))
            .await??;
        let result = supervisor.switch(launch).await;
        if let Err(error @ SupervisorError::Draining) = &result {
            // The daemon ends. Whichever of the two serves goes on with what it holds until it is told to stop.
            return Err(supervisor_error(error));
        }
        let (name, is_replaced) = (key.clone(), result.is_ok());
        broker
            .with(move |core| core.end_switch(&name, is_replaced))
            .await??;
        match result {
            Ok(()) => {
                self.put_in_force(new);
                Ok(if has_overlap {
                    "overlap"
                } else {
                    "stopped_first"
                })
            }
            Err(SupervisorError::NotReady { reason, tail }) => {
                Err(not_ready(&spec.dir, &of_new_process(&reason), &tail))
            }
            Err(error) => Err(supervisor_error(&error)),
        }
    }
}

impl Shared {
    /// Takes an instance as it was read again into force, without a way back: its process, if there is one, ends first.
    pub(super) async fn renew(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        read: &Config,
        spec: &InstanceSpec,
    ) -> Result<(), Error> {
        let new = self.with_instance(spec, read);
        self.redact_also(spec);
        let setup = new.instance_setup(spec);
        broker.with(move |core| core.configure(setup)).await??;
        self.apply(broker, supervisor, &new).await?;
        self.put_in_force(new);
        Ok(())
    }
}

pub(super) fn upgraded(before: &InstanceSpec, after: &InstanceSpec, how: &str) -> UpgradedInstance {
    UpgradedInstance {
        instance: after.instance.clone(),
        from: before.manifest.version.clone(),
        to: after.manifest.version.clone(),
        how: how.to_owned(),
    }
}

pub(super) fn not_ready(dir: &Path, reason: &str, tail: &str) -> Error {
    let mut text = reason.to_owned();
    if let Some(cause) = cause(tail, dir).filter(|cause| !reason.contains(cause.as_str())) {
        text = format!("{cause}; {text}");
    }
    if let Some(remedy) = remedy(tail, dir) {
        text = format!("{text}{HINT}{remedy}");
    }
    Error::new(Code::Unavailable, text).detail(serde_json::json!({ "stderr_tail": tail }))
}

/// Says of which instance an error is, and what is done already.
pub(super) fn with_done(mut error: Error, key: &str, done: &[UpgradedInstance]) -> Error {
    let done: Vec<&str> = done.iter().map(|one| one.instance.as_str()).collect();
    let rest = match done.as_slice() {
        [] => String::new(),
        done => format!("; replaced before: {}", done.join(", ")),
    };
    let text = with_more(&error.message, &rest);
    error.message = format!("{key} was not replaced: {text}");
    error
}

/// What the supervisor did not do, for whoever asked.
pub(super) fn supervisor_error(error: &SupervisorError) -> Error {
    let code = match error {
        SupervisorError::Unknown(_) => Code::NotFound,
        SupervisorError::Disabled(_) | SupervisorError::Shared(_) => Code::InvalidArguments,
        SupervisorError::Switching(_) => Code::InstanceBusy,
        SupervisorError::Draining => Code::Draining,
        _ => Code::Unavailable,
    };
    Error::new(code, error.to_string())
}
