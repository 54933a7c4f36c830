//! Opens everything in order, and ends it in the opposite order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, mpsc};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::grant::Scopes;
use trunkline_contract::rpc;

use crate::clock::{Clock, SystemClock, SystemRandom};
use crate::config::{Config, DiskFiles, Sources, StoreKind, diff, load};
use crate::core::{ClientGrant, CoreOptions};
use crate::router::LinkId;
use crate::runtime::{Broker, RuntimeOptions, Timing};
use crate::store::memory::{MemoryOptions, MemoryStore};
use crate::store::sqlite::{LockError, OpenError, SqliteOptions, SqliteStore};
use crate::store::{Failed, Store};
use crate::supervisor::{Logs, Setup, Supervisor};

use super::control::Control;
use super::{bridge, listener, token};

/// Exit status when the config has errors (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;
/// Exit status when the store stopped (`EX_SOFTWARE`).
pub const EXIT_FAILED: u8 = 70;
/// Exit status when another daemon holds the store (`EX_TEMPFAIL`).
pub const EXIT_HELD: u8 = 75;

/// Signals of instances waiting for the supervisor.
const SIGNALS_MAX: usize = 4096;
/// Control requests waiting.
const CONTROL_MAX: usize = 256;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// A file or socket cannot be made.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The core refused an instance.
    #[error(transparent)]
    Refused(#[from] Error),
}

impl StartError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The exit status that says it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(OpenError::Lock(LockError::Held { .. })) => EXIT_HELD,
            Self::Refused(_) => EXIT_CONFIG,
            _ => EXIT_FAILED,
        }
    }
}

/// What the control plane and the daemon share.
pub(super) struct Shared {
    config: Mutex<Config>,
    sources: Sources,
    followers: Mutex<FxHashMap<LinkId, Vec<Arc<Notify>>>>,
}

/// A running daemon.
pub struct Daemon {
    broker: Broker,
    supervisor: Supervisor,
    shared: Arc<Shared>,
    core_thread: JoinHandle<()>,
    failed: tokio::task::JoinHandle<Option<Failed>>,
    shutdown: Arc<Notify>,
    socket: PathBuf,
}

impl Daemon {
    /// Starts a daemon; `launcher` is this program, which starts plugins as `__launch`.
    ///
    /// # Errors
    /// [`StartError`] with an exit status of its own.
    pub async fn start(
        config: Config,
        sources: Sources,
        launcher: PathBuf,
    ) -> Result<Self, StartError> {
        let data_dir = config.broker.data_dir.clone();
        std::fs::create_dir_all(&data_dir).map_err(StartError::io(format!(
            "cannot make {}",
            data_dir.display()
        )))?;
        let store = open_store(&config, &data_dir)?;
        let token = token::read_or_make(&data_dir)
            .map_err(StartError::io("cannot read or make the owner's token"))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let core = core_options(&config, &token, &*clock)?;
        let (broker, events, core_thread) = Broker::start(RuntimeOptions {
            store,
            clock: clock.clone(),
            timing: Timing::Real,
            random: Box::new(SystemRandom),
            router_random: Box::new(SystemRandom),
            core,
        })?;
        let redactor = config.redactor();
        let logs = Logs::start(
            data_dir.join("logs"),
            config.log_limits(),
            Arc::new(move |text| redactor.redact(text)),
            clock.clone(),
        )
        .map_err(StartError::io("cannot start the log writer"))?;
        let (signals, heard) = mpsc::channel(SIGNALS_MAX);
        let (control, requests) = mpsc::channel(CONTROL_MAX);
        let failed = tokio::spawn(bridge::pass_events(events, signals, control, logs.clone()));
        let links = bridge::CoreLinks::start(broker.clone());
        let mut setup = Setup::new(links, heard, launcher, clock, logs);
        setup.adopts_orphans = true;
        let supervisor =
            Supervisor::start(setup).map_err(StartError::io("cannot start the supervisor"))?;
        let shutdown = Arc::new(Notify::new());
        let socket = config.broker.socket.clone();
        let shared = Arc::new(Shared {
            config: Mutex::new(config.clone()),
            sources,
            followers: Mutex::new(FxHashMap::default()),
        });
        let daemon = Self {
            broker: broker.clone(),
            supervisor: supervisor.clone(),
            shared: shared.clone(),
            core_thread,
            failed,
            shutdown: shutdown.clone(),
            socket: socket.clone(),
        };
        daemon.configure(&config).await?;
        let listener = listener::bind(&socket).map_err(StartError::io(format!(
            "cannot listen on {}",
            socket.display()
        )))?;
        tokio::spawn(listener::accept(listener, broker.clone()));
        tokio::spawn(
            Control {
                broker,
                supervisor,
                shared,
                shutdown,
            }
            .run(requests),
        );
        daemon.launch(&config).await?;
        Ok(daemon)
    }

    /// Makes every instance known to the core, so that what is published to it waits for it.
    async fn configure(&self, config: &Config) -> Result<(), StartError> {
        let setups: Vec<_> = config
            .instances
            .iter()
            .map(|spec| config.instance_setup(spec))
            .collect();
        self.broker
            .with(move |core| {
                setups
                    .into_iter()
                    .try_for_each(|setup| core.configure(setup))
            })
            .await??;
        Ok(())
    }

    async fn launch(&self, config: &Config) -> Result<(), StartError> {
        apply(&self.supervisor, config).await?;
        Ok(())
    }

    /// The handle to the core.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Notified when somebody asks for the end over the admin link.
    pub fn shutdown_notice(&self) -> Arc<Notify> {
        self.shutdown.clone()
    }

    /// Waits for the store to fail. Never returns while everything is well.
    ///
    /// # Cancel safety
    /// May be cancelled and called again.
    pub async fn failed(&mut self) -> Failed {
        match (&mut self.failed).await {
            Ok(Some(failed)) => failed,
            Ok(None) => Failed {
                reason: "the core thread ended".into(),
            },
            Err(error) => Failed {
                reason: format!("the core's events ended: {error}"),
            },
        }
    }

    /// Drains every instance, makes everything durable and ends.
    pub async fn stop(self, timeout_ms: u64) {
        if let Err(error) = self.broker.with(|core| core.drain()).await {
            tracing::warn!(%error, "The core ended before the drain.");
        }
        match self.supervisor.drain(timeout_ms).await {
            Ok(left) if left.is_empty() => {}
            Ok(left) => tracing::error!(?left, "Processes that no signal can end are left."),
            Err(error) => tracing::warn!(%error, "The supervisor ended before the drain."),
        }
        if let Err(error) = self.broker.stop().await {
            tracing::warn!(%error, "The core ended before it was told.");
        }
        drop((self.supervisor, self.broker));
        if self.core_thread.join().is_err() {
            tracing::error!("The core thread panicked.");
        }
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::debug!(%error, "The socket was gone already.");
        }
    }

    /// The instances of the config, with what is started for each.
    pub fn instances(&self) -> Vec<String> {
        let config = self.shared.config.lock().expect("no panic while held");
        config.instances.iter().map(|spec| spec.key()).collect()
    }
}

async fn apply(supervisor: &Supervisor, config: &Config) -> Result<(), Error> {
    let specs = config
        .instances
        .iter()
        .map(|spec| config.launch_spec(spec))
        .collect();
    supervisor
        .apply(specs)
        .await
        .map(|_| ())
        .map_err(|error| Error::new(Code::Unavailable, error.to_string()))
}

fn open_store(config: &Config, data_dir: &Path) -> Result<Box<dyn Store>, StartError> {
    let dedupe = config.dedupe_window();
    Ok(match config.store.kind {
        StoreKind::Sqlite => Box::new(SqliteStore::open_dir(
            data_dir,
            SqliteOptions {
                dedupe,
                ..SqliteOptions::default()
            },
        )?),
        StoreKind::Memory => Box::new(MemoryStore::new(MemoryOptions {
            dedupe,
            ..MemoryOptions::default()
        })),
    })
}

fn core_options(config: &Config, token: &str, clock: &dyn Clock) -> Result<CoreOptions, Error> {
    let mut tokens = config.tokens();
    let owner = Scopes::parse(&[
        "read:>",
        "publish:>",
        "call:>",
        "kv:",
        "lock:",
        "blob",
        "admin",
    ])?;
    tokens.add(
        token,
        ClientGrant {
            name: None,
            scopes: Arc::new(owner),
        },
    );
    Ok(CoreOptions {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at_ms: clock.now().wall_ms,
        frame_bytes_max: config.limits.frame_bytes_max,
        store_kind: match config.store.kind {
            StoreKind::Sqlite => "sqlite",
            StoreKind::Memory => "memory",
        },
        retention: config.retention(),
        tokens,
        source_events_per_second: config.limits.source_events_per_second,
    })
}

impl Shared {
    /// The plugins of the config with the state of their instances.
    pub(super) fn plugins(
        &self,
        statuses: Vec<rpc::admin::InstanceStatus>,
    ) -> Vec<rpc::admin::PluginStatus> {
        let config = self.config.lock().expect("no panic while held");
        let mut plugins: BTreeMap<String, rpc::admin::PluginStatus> = BTreeMap::new();
        for spec in &config.instances {
            plugins
                .entry(spec.plugin.clone())
                .or_insert_with(|| rpc::admin::PluginStatus {
                    id: spec.plugin.clone(),
                    version: spec.manifest.version.clone(),
                    path: Some(spec.dir.display().to_string()),
                    kinds: spec
                        .manifest
                        .channels
                        .iter()
                        .map(|c| c.kind.clone())
                        .collect(),
                    instances: Vec::new(),
                });
        }
        for status in statuses {
            if let Some(plugin) = plugins.get_mut(&status.plugin) {
                plugin.instances.push(status);
            }
        }
        plugins.into_values().collect()
    }

    /// Reads the config again; a bad one changes nothing. Only what differs is touched.
    pub(super) async fn reload(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
    ) -> Result<rpc::admin::ConfigReloadResult, Error> {
        let new = load(&self.sources, &DiskFiles)
            .into_result()
            .map_err(|diagnostics| {
                let text: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
                Error::new(
                    Code::ConfigInvalid,
                    format!("the old config stays: {}", text.join("; ")),
                )
            })?;
        let new = new.0;
        let old = self.config.lock().expect("no panic while held").clone();
        let changes = diff(&old, &new);
        if let Some(path) = changes.needs_daemon_restart().first() {
            return Err(Error::new(
                Code::ConfigInvalid,
                format!(
                    "the old config stays: {path} changed, and that needs a new start of the daemon"
                ),
            ));
        }
        let mut told: Vec<String> = Vec::new();
        told.extend(changes.added.iter().map(|key| format!("{key} added")));
        told.extend(changes.removed.iter().map(|key| format!("{key} removed")));
        told.extend(
            changes
                .changed
                .iter()
                .map(|change| format!("{} changed", change.key)),
        );
        let setups: Vec<_> = new
            .instances
            .iter()
            .map(|spec| new.instance_setup(spec))
            .collect();
        let removed: Vec<_> = changes
            .removed
            .iter()
            .map(|key| crate::instance::InstanceKey::parse(key))
            .collect();
        broker
            .with(move |core| {
                setups
                    .into_iter()
                    .try_for_each(|setup| core.configure(setup))
            })
            .await??;
        apply(supervisor, &new).await?;
        broker
            .with(move |core| removed.iter().for_each(|key| core.remove(key, true)))
            .await?;
        *self.config.lock().expect("no panic while held") = new;
        Ok(rpc::admin::ConfigReloadResult { changes: told })
    }

    /// Notes that a link follows logs; the answer ends it.
    pub(super) fn follow(&self, link: LinkId) -> Arc<Notify> {
        let end = Arc::new(Notify::new());
        let mut followers = self.followers.lock().expect("no panic while held");
        followers.entry(link).or_default().push(end.clone());
        end
    }

    /// Ends everything a link follows.
    pub(super) fn end_followers(&self, link: LinkId) {
        let mut followers = self.followers.lock().expect("no panic while held");
        for end in followers.remove(&link).unwrap_or_default() {
            end.notify_one();
        }
    }
}
