//! Another package for what runs: looked at through a lock that is not written yet, recorded once every instance
//! serves from it, and left alone when one does not.

use std::path::PathBuf;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::admin::{PluginsUpgradeParams, PluginsUpgradeResult};

use crate::config::{Config, InstanceSpec, Shown};
use crate::install::{Installed, Packages};
use crate::instance::InstanceKey;
use crate::runtime::Broker;
use crate::supervisor::Supervisor;

use super::shared::Shared;
use super::together::{Pairs, serving};
use super::upgrade::{upgraded, with_done};

/// A package that was placed and is to be the installed one.
pub(super) struct Placed {
    packages: Packages,
    id: String,
    installed: Installed,
    /// The lock as it would be.
    pub(super) lock: Shown,
}

impl Placed {
    /// Notes it in the lock.
    pub(super) async fn record(self) -> Result<(), Error> {
        on_disk(move || self.packages.record(&self.id, &self.installed)).await
    }
}

impl Shared {
    /// Finds the package that an upgrade names, and checks it.
    pub(super) async fn placed(
        &self,
        target: &PluginsUpgradeParams,
    ) -> Result<Option<Placed>, Error> {
        let Some(directory) = target.package.clone() else {
            return Ok(None);
        };
        if target.instance.is_some() {
            let text = "expected a plugin, found an instance: they all run from one package";
            return Err(Error::new(Code::InvalidArguments, text));
        }
        if directory.starts_with('.') || directory.contains('/') {
            let text = format!("expected the name of a directory, found {directory:?}");
            return Err(Error::new(Code::InvalidArguments, text));
        }
        let id = target.plugin.clone();
        if !trunkline_contract::id::is_plugin_id(&id) {
            let text = format!("expected a plugin's id, found {id:?}");
            return Err(Error::new(Code::InvalidArguments, text));
        }
        let packages = Packages::new(self.config().broker.data_dir);
        let placed = on_disk(move || {
            let installed = packages.placed(&id, &directory)?;
            let (path, text) = packages.lock_with(&id, &installed)?;
            Ok(Placed {
                packages,
                id,
                installed,
                lock: Shown { path, text },
            })
        });
        placed.await.map(Some)
    }

    /// Replaces instances one by one with what is in a package, which is recorded once all of them are; otherwise those that
    /// were replaced go back. One that neither served nor started before, such as an account that needs a login, does not have
    /// to serve now either: it takes the package, its process ends first, and it keeps nobody from it.
    pub(super) async fn replace_each_from(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        package: Placed,
        (old, read): (&Config, &Config),
        pairs: &Pairs,
    ) -> Result<PluginsUpgradeResult, Error> {
        let served = serving(supervisor, pairs).await?;
        let mut instances = Vec::new();
        for (before, after) in pairs {
            let how = self.replace_from(broker, supervisor, read, (before, after), &served);
            match how.await {
                Ok(how) => instances.push(upgraded(before, after, how)),
                Err(error) => {
                    let error = with_done(error, &before.key(), &[]);
                    let done = &pairs[..instances.len()];
                    let back = self.go_back(broker, supervisor, old, (done, &served), error);
                    return Err(back.await);
                }
            }
        }
        if let Err(error) = package.record().await {
            let back = self.go_back(broker, supervisor, old, (pairs, &served), error);
            return Err(back.await);
        }
        Ok(PluginsUpgradeResult { instances })
    }

    async fn replace_from(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        read: &Config,
        (before, after): (&InstanceSpec, &InstanceSpec),
        served: &[InstanceKey],
    ) -> Result<&'static str, Error> {
        let key = before.instance_key();
        let name = key.clone();
        let is_off = broker.with(move |core| core.is_disabled(&name)).await?;
        if !served.contains(&key) && !is_off && self.is_enabled(&key) {
            self.renew(broker, supervisor, read, after).await?;
            return Ok("stopped_first");
        }
        let launch = self.launch_spec(&self.config(), before);
        self.upgrade_one(broker, supervisor, read, after, &launch)
            .await
    }

    /// Puts those that were replaced back to what they were; gives why, and whether that was done.
    async fn go_back(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        old: &Config,
        (done, served): (&Pairs, &[InstanceKey]),
        mut error: Error,
    ) -> Error {
        for (before, after) in done.iter().rev() {
            let key = before.key();
            let back = self.replace_from(broker, supervisor, old, (after, before), served);
            let word = match back.await {
                Ok(_) => format!("; {key} is back at {}", before.manifest.version),
                Err(why) => format!("; {key} could not be put back: {}", why.message),
            };
            error.message.push_str(&word);
        }
        error
    }
}

/// Removes what commands that were killed left of the installed packages; only before anything runs from them. What cannot
/// be removed keeps no daemon from starting.
pub(super) async fn tidy_leftovers(config: &Config) {
    let packages = Packages::new(&config.broker.data_dir);
    let used: Vec<PathBuf> = config.instances.iter().map(|one| one.dir.clone()).collect();
    match on_disk(move || packages.tidy_leftovers(&used)).await {
        Ok(removed) if removed.is_empty() => {}
        Ok(removed) => tracing::info!(?removed, "Removed files of packages that nothing names."),
        Err(error) => tracing::warn!(%error, "Old files of packages stay for now."),
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::install::InstallError> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_error()),
        Err(error) => Err(Error::new(Code::Internal, error.to_string())),
    }
}
