//! Another manifest or package for instances that share a process: for all of them at once, and the old process ends before
//! the new one starts.
//!
//! With a package the old files are still there. Then what served or started before has to serve, at the first attempt, or
//! the old process is started again from the old files. Without one the files of the directory are already others, and
//! there is nothing to go back to.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::admin::PluginsUpgradeResult;

use crate::config::{Config, InstanceSpec};
use crate::instance::InstanceKey;
use crate::line::with_more;
use crate::runtime::Broker;
use crate::supervisor::{State, Supervisor, SupervisorError, TRIAL_MS_MAX};

use super::package::Placed;
use super::shared::Shared;
use super::upgrade::{not_ready, supervisor_error, upgraded};

/// Each instance as it is and as it is to be.
pub(super) type Pairs = [(InstanceSpec, InstanceSpec)];

impl Shared {
    /// Replaces the process with one from another package, which is recorded once what served before serves again;
    /// otherwise the old process is put back.
    pub(super) async fn replace_all_from(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        package: Placed,
        (old, read): (&Config, &Config),
        pairs: &Pairs,
    ) -> Result<PluginsUpgradeResult, Error> {
        let served = serving(supervisor, pairs).await?;
        let replaced = self.replace_and_arrive(broker, supervisor, read, pairs, &served);
        let result = match replaced.await {
            Ok(replaced) => package.record().await.map(|()| replaced),
            Err(error) => Err(error),
        };
        let error = match result {
            // The daemon ends, and whichever process it is ends too.
            Err(error) if error.code != Code::Draining => error,
            result => return result,
        };
        let turn =
            |(before, after): &(_, _)| (InstanceSpec::clone(after), InstanceSpec::clone(before));
        let turned: Vec<(InstanceSpec, InstanceSpec)> = pairs.iter().map(turn).collect();
        let back = self.replace_and_arrive(broker, supervisor, old, &turned, &served);
        Err(with_back(error, pairs, back.await))
    }

    async fn replace_and_arrive(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        read: &Config,
        pairs: &Pairs,
        served: &[InstanceKey],
    ) -> Result<PluginsUpgradeResult, Error> {
        let replaced = self.replace_all(broker, supervisor, read, pairs).await?;
        let starts = pairs.iter().map(|(_, after)| {
            let timeouts = self.launch_spec(read, after).timeouts;
            timeouts.start_ms
        });
        let limit_ms = starts.fold(TRIAL_MS_MAX, u64::max);
        match arrived(supervisor, served, limit_ms).await {
            Ok(()) => Ok(replaced),
            Err(SupervisorError::NotReady { reason, tail }) => {
                let spec = pairs.first().map(|(_, after)| after);
                Err(not_ready(
                    spec.map_or(Path::new("."), |spec| &spec.dir),
                    &reason,
                    &tail,
                ))
            }
            Err(error) => Err(supervisor_error(&error)),
        }
    }

    /// Replaces the process, with all of its instances; returns once that is under way.
    pub(super) async fn replace_all(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
        read: &Config,
        pairs: &Pairs,
    ) -> Result<PluginsUpgradeResult, Error> {
        let mut instances = Vec::new();
        let mut is_new_process = false;
        for (before, after) in pairs {
            let new = self.with_instance(after, read);
            self.redact_also(after);
            let setup = new.instance_setup(after);
            broker.with(move |core| core.configure(setup)).await??;
            is_new_process |= before.manifest.version != after.manifest.version;
            is_new_process |= before.package != after.package;
            self.put_in_force(new);
            instances.push(upgraded(before, after, "shared"));
        }
        self.apply(broker, supervisor, &self.config()).await?;
        let plugin = pairs.first().map(|(before, _)| before.plugin.as_str());
        if let Some(plugin) = plugin.filter(|_| !is_new_process) {
            match supervisor.restart_process(plugin).await {
                // Without an instance that is wanted there is no process.
                Ok(()) | Err(SupervisorError::Unknown(_) | SupervisorError::Disabled(_)) => {}
                Err(error) => return Err(supervisor_error(&error)),
            }
        }
        Ok(PluginsUpgradeResult { instances })
    }
}

/// Waits until all of these serve, as long as there is one more of them after `limit_ms` at most: a process opens a few at a
/// time.
async fn arrived(
    supervisor: &Supervisor,
    meant: &[InstanceKey],
    limit_ms: u64,
) -> Result<(), SupervisorError> {
    let (there, mut seen) = watch::channel(0);
    let mut arriving = pin!(supervisor.arrive(meant.to_vec(), there));
    loop {
        let more = tokio::time::timeout(Duration::from_millis(limit_ms), seen.changed());
        tokio::select! {
            biased;
            arrived = &mut arriving => return arrived,
            more = more => match more {
                Ok(Ok(())) => {}
                // Nobody counts any more: it is decided.
                Ok(Err(_)) => return arriving.await,
                Err(_) => break,
            },
        }
    }
    let count = *seen.borrow();
    let all = meant.len();
    Err(SupervisorError::NotReady {
        reason: format!("{count} of {all} serve, and no further one in {limit_ms} ms"),
        tail: String::new(),
    })
}

/// Those of the instances that have to serve afterwards: all that serve, or are on their way to.
///
/// One that waits for a login, failed or was switched off before says nothing about what replaces it, and keeps nobody
/// from that; so where all are such, nothing has to serve, and the package is taken. One whose start is under way may be
/// about to serve: without it, what is broken for all would be taken whenever they all happen to start.
pub(super) async fn serving(
    supervisor: &Supervisor,
    pairs: &Pairs,
) -> Result<Vec<InstanceKey>, Error> {
    let listed = supervisor.list().await;
    let listed = listed.map_err(|error| supervisor_error(&error))?;
    let such = listed
        .into_iter()
        .filter(|one| has_to_serve(one.report.state));
    let is_meant = |key: &InstanceKey| pairs.iter().any(|(one, _)| one.instance_key() == *key);
    Ok(such.map(|one| one.key).filter(is_meant).collect())
}

fn has_to_serve(state: State) -> bool {
    match state {
        State::Starting
        | State::Standby
        | State::Ready
        | State::Degraded
        | State::Paused
        | State::Draining => true,
        State::NeedsAuth | State::BackingOff | State::Stopped | State::Failed | State::Disabled => {
            false
        }
    }
}

/// Refuses to replace one instance of a shared process.
pub(super) fn not_alone(spec: &InstanceSpec) -> Error {
    let text = format!(
        "{} shares a process with the other instances of its plugin; \
         hint: trunkline plugins upgrade {}",
        spec.key(),
        spec.plugin
    );
    Error::new(Code::InvalidArguments, text)
}

/// Says that a process was not replaced, and whether the old one is back.
fn with_back(mut error: Error, pairs: &Pairs, back: Result<PluginsUpgradeResult, Error>) -> Error {
    let old = pairs.first().map(|(before, _)| before);
    let version = old.map_or("", |old| &old.manifest.version);
    let back = match back {
        Ok(_) => format!("the old process is back, at {version}"),
        Err(why) => format!("the old process could not be put back: {}", why.message),
    };
    let text = with_more(&error.message, &format!("; {back}"));
    error.message = format!("the process was not replaced: {text}");
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_has_to_arrive() {
        for state in [
            State::Starting,
            State::Standby,
            State::Draining,
            State::Ready,
        ] {
            assert!(has_to_serve(state), "{state:?}");
        }
        for state in [
            State::NeedsAuth,
            State::BackingOff,
            State::Failed,
            State::Stopped,
        ] {
            assert!(!has_to_serve(state), "{state:?}");
        }
    }
}
