//! How the rest of the daemon uses the supervisor.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::engine::{Act, Command, Engine, Parts};
use super::links::{Links, Signal};
use super::logs::Logs;
use super::own_server::OwnServers;
use super::reap;
use super::spawn::{Environment, Spawner};
use super::spec::LaunchSpec;
use super::state::StateReport;
use crate::clock::{Clock, Random, SystemRandom};
use crate::install::Checker;
use crate::instance::InstanceKey;

/// Commands that wait for the engine; more wait in their callers.
const COMMANDS_MAX: usize = 64;
/// News that wait for the engine; more wait in the tasks of their processes.
const NEWS_MAX: usize = 1_024;

/// What a supervisor is started with.
pub struct Setup {
    /// Who owns the links.
    pub links: Arc<dyn Links>,
    /// What that owner says; bounded by the owner.
    pub signals: mpsc::Receiver<(InstanceKey, Signal)>,
    /// The program with the launch command: the daemon itself.
    pub launcher: PathBuf,
    /// Where time comes from; it must advance by itself.
    pub clock: Arc<dyn Clock>,
    /// What spreads the waits.
    pub random: Box<dyn Random>,
    /// Where the processes' output goes.
    pub logs: Logs,
    /// The daemon's environment, of which a spec names what is granted.
    pub environment: Environment,
    /// Who checks packages before processes are started from them.
    pub checker: Checker,
    /// Where the sockets of the instances' own HTTP servers are made.
    pub servers: Arc<OwnServers>,
    /// True in the daemon: grandchildren whose parents ended become its children, are reaped as
    /// they end, and are killed by a drain. Then every child that the supervisor did not start
    /// counts as such a grandchild.
    pub adopts_orphans: bool,
}

impl Setup {
    /// Sets up a supervisor with the system's randomness and environment.
    pub fn new(
        links: Arc<dyn Links>,
        signals: mpsc::Receiver<(InstanceKey, Signal)>,
        launcher: PathBuf,
        clock: Arc<dyn Clock>,
        logs: Logs,
    ) -> Self {
        Self {
            links,
            signals,
            launcher,
            checker: Checker::new(clock.clone()),
            clock,
            random: Box::new(SystemRandom::default()),
            logs,
            environment: Arc::new(|name| std::env::var(name).ok()),
            servers: Arc::default(),
            adopts_orphans: false,
        }
    }
}

/// Why the supervisor did not do what was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// No such instance is configured.
    #[error("no instance {0} is configured")]
    Unknown(InstanceKey),
    /// The instance is switched off.
    #[error("instance {0} is disabled; enable it first")]
    Disabled(InstanceKey),
    /// Two specs name the same instance.
    #[error("instance {0} is configured twice")]
    Twice(InstanceKey),
    /// Its process is being replaced.
    #[error("{0} is being replaced already; try again when that has ended")]
    Switching(InstanceKey),
    /// It has no process of its own.
    #[error(
        "{0} shares a process with the other instances of its plugin: they are replaced together"
    )]
    Shared(InstanceKey),
    /// The new process did not become ready; the old one goes on.
    #[error("the new process is not ready: {reason}")]
    NotReady {
        /// Why.
        reason: String,
        /// The last it wrote to stderr.
        tail: String,
    },
    /// The operator disabled, restarted or paused it while its process was being replaced; the old one does what that says.
    #[error("the replacement was given up: the operator acted on {0} meanwhile")]
    GivenUp(InstanceKey),
    /// The daemon is shutting down.
    #[error("the daemon is draining")]
    Draining,
    /// The supervisor has ended.
    #[error("the supervisor has ended")]
    Ended,
}

/// What an apply changed; every other instance was not touched.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// New instances.
    pub started: Vec<InstanceKey>,
    /// Instances that are no longer configured.
    pub stopped: Vec<InstanceKey>,
    /// Instances with another spec than before.
    pub changed: Vec<InstanceKey>,
    /// Instances with the same spec as before.
    pub untouched: Vec<InstanceKey>,
}

/// One instance and its state.
#[derive(Clone, PartialEq, Debug)]
pub struct Listed {
    /// Which instance.
    pub key: InstanceKey,
    /// How it is.
    pub report: StateReport,
}

/// The handle of a running supervisor; clones share it. When the last one is dropped, the
/// supervisor ends and takes its processes with it, without asking them.
#[derive(Clone)]
pub struct Supervisor {
    commands: mpsc::Sender<Command>,
    logs: Logs,
}

impl Supervisor {
    /// Starts the supervisor's task and its spawning thread; needs a tokio runtime.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let Setup {
            links,
            signals,
            launcher,
            clock,
            random,
            logs,
            environment,
            checker,
            servers,
            adopts_orphans,
        } = setup;
        if adopts_orphans {
            tokio::spawn(reap::adopt_orphans()?);
        }
        let spawner = Spawner::start(launcher, environment, servers.clone())?;
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let own_logs = logs.clone();
        let parts = Parts {
            links,
            clock,
            random,
            logs,
            spawner,
            checker,
            news,
            servers,
            adopts_orphans,
        };
        tokio::spawn(Engine::new(parts).run(asked, signals, heard));
        Ok(Self {
            commands,
            logs: own_logs,
        })
    }

    /// Makes these the configured instances: starts new ones, ends the others, replaces the
    /// processes of those that changed; all at the same time. Returns once that is under way.
    pub async fn apply(&self, specs: Vec<LaunchSpec>) -> Result<Applied, SupervisorError> {
        self.ask(|reply| Command::Apply { specs, reply }).await?
    }

    /// Replaces the process of an instance, or starts one at once; forgets its exits.
    pub async fn restart(&self, key: &InstanceKey) -> Result<(), SupervisorError> {
        self.act(key, Act::Restart).await
    }

    /// Replaces the process of an instance with one of this spec, which takes over once it is ready;
    /// returns when the old one has ended.
    ///
    /// # Errors
    /// [`SupervisorError::NotReady`] when the old one stays.
    pub async fn switch(&self, spec: LaunchSpec) -> Result<(), SupervisorError> {
        let spec = Box::new(spec);
        self.ask(|reply| Command::Switch { spec, reply }).await?
    }

    /// Replaces the process that the instances of a plugin share, with all of them: it ends first.
    pub async fn restart_process(&self, plugin: &str) -> Result<(), SupervisorError> {
        self.act(&InstanceKey::process_of(plugin), Act::Restart)
            .await
    }

    /// Starts those of these instances that failed before, and waits until all of them serve, and the process that they
    /// share, after that was replaced. One that is switched off is not waited for. `there` has the most of them that were
    /// seen to serve.
    ///
    /// # Errors
    /// [`SupervisorError::NotReady`] when one of them, or their process, ended or gave up before.
    pub async fn arrive(
        &self,
        meant: Vec<InstanceKey>,
        there: watch::Sender<usize>,
    ) -> Result<(), SupervisorError> {
        let command = |reply| Command::Arrive {
            meant,
            there,
            reply,
        };
        self.ask(command).await?
    }

    /// Starts an instance that was disabled.
    pub async fn enable(&self, key: &InstanceKey) -> Result<(), SupervisorError> {
        self.act(key, Act::Enable).await
    }

    /// Ends an instance and keeps it from being started.
    pub async fn disable(&self, key: &InstanceKey) -> Result<(), SupervisorError> {
        self.act(key, Act::Disable).await
    }

    /// Gives an instance nothing new until it is resumed, across restarts of its process.
    pub async fn pause(&self, key: &InstanceKey) -> Result<(), SupervisorError> {
        self.act(key, Act::Pause).await
    }

    /// Undoes a pause.
    pub async fn resume(&self, key: &InstanceKey) -> Result<(), SupervisorError> {
        self.act(key, Act::Resume).await
    }

    /// Lists all instances, by name.
    pub async fn list(&self) -> Result<Vec<Listed>, SupervisorError> {
        self.ask(|reply| Command::List { reply }).await
    }

    /// Ends all instances at the same time, within the timeout: asked first, then SIGTERM, then
    /// SIGKILL to their groups. Afterwards nothing can be started any more.
    ///
    /// Returns the instances that still have a process, which no signal can end.
    pub async fn drain(&self, timeout_ms: u64) -> Result<Vec<InstanceKey>, SupervisorError> {
        self.ask(|reply| Command::Drain { timeout_ms, reply }).await
    }

    /// Returns the logs of all instances.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    async fn act(&self, key: &InstanceKey, act: Act) -> Result<(), SupervisorError> {
        self.ask(|reply| Command::Act {
            key: key.clone(),
            act,
            reply,
        })
        .await?
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, SupervisorError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| SupervisorError::Ended)?;
        answer.await.map_err(|_| SupervisorError::Ended)
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}
