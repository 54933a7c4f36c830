//! Opens everything in order, and ends it in the opposite order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{Notify, broadcast, mpsc, watch};
use trunkline_contract::error::Error;
use trunkline_contract::grant::Scopes;
use trunkline_contract::rpc::admin::{
    ConfigReloadResult, PluginsUpgradeParams, PluginsUpgradeResult,
};

use crate::blob_files::{BlobPaths, DirFiles};
use crate::clock::{Clock, SystemClock, SystemRandom};
use crate::config::{BrokerConfig, Config, Sources, StoreKind};
use crate::core::{ClientGrant, CoreOptions, Tokens};
use crate::gateway::auth::Token;
use crate::gateway::metrics::Insight;
use crate::gateway::{self, BindError, Bound, Server};
use crate::instance::InstanceKey;
use crate::runtime::{Broker, RuntimeOptions, Timing};
use crate::store::memory::{MemoryOptions, MemoryStore};
use crate::store::sqlite::{LockError, OpenError, SqliteOptions, SqliteStore};
use crate::store::{Failed, Store};
use crate::supervisor::{Logs, OwnServers, Setup, StateReport, Supervisor};

use super::control::Control;
use super::shared::Shared;
use super::{bridge, disk, exporter, listener, package, token};

/// Exit status when the config has errors (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;
/// Exit status when the store stopped (`EX_SOFTWARE`).
pub const EXIT_FAILED: u8 = 70;
/// Exit status when another daemon holds the store (`EX_TEMPFAIL`).
pub const EXIT_HELD: u8 = 75;

/// Name of the file in the data directory that holds the address of HTTP.
pub const HTTP_FILE: &str = "http.addr";

/// Directory in the data directory for the sockets of plugins' own HTTP servers.
const SERVERS_DIR: &str = "http";

/// Signals of instances waiting for the supervisor.
const SIGNALS_MAX: usize = 4096;
/// Control requests waiting.
const CONTROL_MAX: usize = 256;
/// Changes of instances' states that a watcher may lag behind.
const STATES_MAX: usize = 4096;

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
    /// HTTP cannot be served.
    #[error(transparent)]
    Http(#[from] BindError),
}

impl StartError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let Self::Store(OpenError::Lock(LockError::Held { pid, .. })) = self else {
            return None;
        };
        let end = pid.map_or_else(String::new, |pid| format!(", or kill {pid}"));
        Some(format!(
            "end the daemon that has it (Ctrl-C where it runs{end}), or give this one a broker.data_dir of its own"
        ))
    }

    /// The exit status that says it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(OpenError::Lock(LockError::Held { .. })) => EXIT_HELD,
            Self::Refused(_) | Self::Http(_) => EXIT_CONFIG,
            _ => EXIT_FAILED,
        }
    }
}

/// A running daemon.
pub struct Daemon {
    broker: Broker,
    supervisor: Supervisor,
    servers: Arc<OwnServers>,
    shared: Arc<Shared>,
    core_thread: JoinHandle<()>,
    failed: tokio::task::JoinHandle<Option<Failed>>,
    shutdown: Arc<Notify>,
    states: Option<broadcast::Receiver<(InstanceKey, StateReport)>>,
    socket: PathBuf,
    http: Option<Server>,
    http_file: PathBuf,
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
        make_private(&data_dir).map_err(StartError::io(format!(
            "cannot make {}",
            data_dir.display()
        )))?;
        let store = open_store(&config, &data_dir)?;
        let token = token::read_or_make(&data_dir)
            .map_err(StartError::io("cannot read or make the owner's token"))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let core = core_options(&config, &token, &*clock)?;
        let blobs = DirFiles::open(BlobPaths::new(&data_dir))
            .map_err(StartError::io("cannot make the directories of blobs"))?;
        let (broker, events, core_thread) = Broker::start(RuntimeOptions {
            store,
            blobs,
            clock: clock.clone(),
            timing: Timing::Real,
            random: Box::new(SystemRandom::default()),
            router_random: Box::new(SystemRandom::default()),
            core,
        })?;
        let shared = Arc::new(Shared::new(config.clone(), sources, token.clone()));
        let redactor = shared.redactor();
        let logs = Logs::start(
            data_dir.join("logs"),
            config.log_limits(),
            redactor,
            clock.clone(),
        )
        .map_err(StartError::io("cannot start the log writer"))?;
        let (signals, heard) = mpsc::channel(SIGNALS_MAX);
        let (control, requests) = mpsc::channel(CONTROL_MAX);
        let spans = exporter::start(&config.broker, &broker);
        let passing = bridge::pass_events(
            events,
            signals,
            control,
            logs.clone(),
            spans,
            shared.offers.clone(),
        );
        let failed = tokio::spawn(passing);
        let (told, states) = broadcast::channel(STATES_MAX);
        let links = bridge::CoreLinks::start(broker.clone(), told);
        let mut setup = Setup::new(links, heard, launcher, clock, logs.clone());
        setup.adopts_orphans = true;
        let servers = Arc::new(OwnServers::new(data_dir.join(SERVERS_DIR)));
        setup.servers = servers.clone();
        let checker = setup.checker.clone();
        tokio::spawn(gateway::proxy::watch(servers.clone(), broker.clone()));
        let supervisor =
            Supervisor::start(setup).map_err(StartError::io("cannot start the supervisor"))?;
        let shutdown = Arc::new(Notify::new());
        let socket = config.broker.socket.clone();
        let http_file = data_dir.join(HTTP_FILE);
        let mut daemon = Self {
            broker: broker.clone(),
            supervisor: supervisor.clone(),
            servers,
            shared: shared.clone(),
            core_thread,
            failed,
            shutdown: shutdown.clone(),
            states: Some(states),
            socket: socket.clone(),
            http: None,
            http_file,
        };
        daemon.configure(&config).await?;
        daemon.open_links_on(&socket).await?;
        let listener = listener::bind(&socket).map_err(StartError::io(format!(
            "cannot listen on {}",
            socket.display()
        )))?;
        let insight = Insight::new(logs, Token::new(token));
        daemon.serve_http(&config, insight).await?;
        tokio::spawn(listener::accept(listener, broker.clone()));
        if config.store.kind == StoreKind::Sqlite {
            tokio::spawn(disk::watch(data_dir, broker.clone()));
        }
        package::tidy_leftovers(&config).await;
        daemon
            .shared
            .apply(&daemon.broker, &daemon.supervisor, &config)
            .await?;
        // Whoever asks for something before has to wait: this config would be applied after what they ask for.
        let control = Control {
            broker,
            supervisor,
            shared,
            checker,
            shutdown,
        };
        tokio::spawn(control.run(requests));
        Ok(daemon)
    }

    /// Binds before any plugin starts, so that a port in use costs nothing.
    async fn serve_http(&mut self, config: &Config, insight: Insight) -> Result<(), StartError> {
        if let Err(error) = std::fs::remove_file(&self.http_file)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(StartError::io(format!(
                "cannot remove {}",
                self.http_file.display()
            ))(error));
        }
        let Some(listener) = gateway::bind(&config.http).await? else {
            return Ok(());
        };
        let address = listener.bound.to_string();
        std::fs::write(&self.http_file, format!("{address}\n")).map_err(StartError::io(
            format!("cannot write {}", self.http_file.display()),
        ))?;
        let base = config.http.public_url.clone().or_else(|| {
            let address = listener.bound.address();
            address.map(|_| listener.bound.to_string())
        });
        self.broker
            .with(move |core| {
                core.set_http(address);
                if let Some(base) = base {
                    core.set_hooks_url(format!("{base}/hooks"));
                }
            })
            .await?;
        let mut life = [0; 4];
        getrandom::fill(&mut life)
            .map_err(io::Error::other)
            .map_err(StartError::io("no randomness"))?;
        self.http = Some(Server::start(
            listener,
            self.broker.clone(),
            self.servers.clone(),
            config.http.clone(),
            self.shared.mcp_names(),
            config.limits.frame_bytes_max,
            u32::from_le_bytes(life),
            insight,
        ));
        Ok(())
    }

    /// Where HTTP is answered, if it is.
    pub fn http(&self) -> Option<&Bound> {
        self.http.as_ref().map(Server::bound)
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

    /// Says where instances of shared processes begin their links.
    async fn open_links_on(&self, socket: &Path) -> Result<(), StartError> {
        let path = std::path::absolute(socket)
            .map_err(StartError::io(format!("cannot name {}", socket.display())))?;
        let address = path.display().to_string();
        self.broker
            .with(move |core| core.set_link_address(address))
            .await?;
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
        if let Some(http) = &self.http {
            http.begin_stop();
        }
        match self.supervisor.drain(timeout_ms).await {
            Ok(left) if left.is_empty() => {}
            Ok(left) => tracing::error!(?left, "Processes that no signal can end are left."),
            Err(error) => tracing::warn!(%error, "The supervisor ended before the drain."),
        }
        if let Some(http) = self.http {
            http.stop().await;
            if let Err(error) = std::fs::remove_file(&self.http_file) {
                tracing::debug!(%error, "The file with the address was gone already.");
            }
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

    /// The changes of instances' states since the start; given once.
    pub fn take_states(&mut self) -> Option<broadcast::Receiver<(InstanceKey, StateReport)>> {
        self.states.take()
    }

    /// Gives the config in force.
    pub fn config(&self) -> Config {
        self.shared.config()
    }

    /// The same for those who outlive a borrow of the daemon, as often as they ask.
    pub fn in_force(&self) -> impl Fn() -> Config + Clone + Send + 'static {
        let shared = self.shared.clone();
        move || shared.config()
    }

    /// Follows what a reload may change of the daemon itself.
    pub fn settings(&self) -> watch::Receiver<BrokerConfig> {
        self.shared.settings()
    }

    /// Reads the config again; a bad one changes nothing. Only what differs is touched.
    ///
    /// # Errors
    /// `config_invalid`, with everything that is wrong.
    pub fn reload(
        &self,
    ) -> impl Future<Output = Result<ConfigReloadResult, Error>> + Send + 'static {
        let shared = self.shared.clone();
        let (broker, supervisor) = (self.broker.clone(), self.supervisor.clone());
        async move { shared.reload(&broker, &supervisor).await }
    }

    /// Reads the manifests of instances again and replaces their processes, each with a way back.
    ///
    /// # Errors
    /// `config_invalid` with everything that is wrong, `unavailable` when the old process stays.
    pub async fn upgrade(
        &self,
        target: &PluginsUpgradeParams,
    ) -> Result<PluginsUpgradeResult, Error> {
        let shared = &self.shared;
        shared.upgrade(&self.broker, &self.supervisor, target).await
    }

    /// The processes of a plugin that run now.
    pub async fn pids(&self, plugin: &str) -> Vec<u32> {
        let listed = self.supervisor.list().await.unwrap_or_default();
        let own = listed.into_iter().filter(|one| *one.key.plugin == *plugin);
        let mut pids: Vec<u32> = own.filter_map(|one| one.report.pid).collect();
        // Instances may share one.
        pids.sort_unstable();
        pids.dedup();
        pids
    }
}

/// Makes the data directory for its owner alone; one that is there already keeps its mode.
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
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
        tokens: tokens(config, token)?,
        source_events_per_second: config.limits.source_events_per_second,
    })
}

/// Who may attach: the clients of the config, and the owner.
pub(super) fn tokens(config: &Config, token: &str) -> Result<Tokens, Error> {
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
    Ok(tokens)
}
