//! Another package for what runs: looked at through a lock that is not written yet, recorded once every instance
//! serves from it, and left alone when one does not.

use std::path::PathBuf;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::admin::PluginsUpgradeParams;

use crate::config::{Config, InstanceSpec, Shown};
use crate::install::{Installed, Packages};
use crate::runtime::Broker;
use crate::supervisor::Supervisor;

use super::shared::Shared;

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

    /// Puts those that were replaced back to what they were; gives why, and whether that was done.
    pub(super) async fn go_back(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        old: &Config,
        done: &[(InstanceSpec, InstanceSpec)],
        mut error: Error,
    ) -> Error {
        for (before, after) in done.iter().rev() {
            let key = before.key();
            let launch = self.launch_spec(&self.config(), after);
            let back = self.upgrade_one(broker, supervisor, old, before, &launch);
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
