//! Starts the program as the daemon would, and ends it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use trunkline_contract::manifest::RestartPolicy as After;

use super::link::Link;
use super::subject::{INSTANCE, Subject};
use crate::cli::failure::Failure;
use crate::clock::SystemClock;
use crate::instance::InstanceKey;
use crate::supervisor::logs::LogLine;
use crate::supervisor::{
    Connection, ExitReport, Incident, LaunchSpec, Links, LogLimits, Logs, OwnServers,
    RestartPolicy, Setup, Signal, StateReport, Supervisor, Timeouts, Transport,
};

/// What happens at once before somebody looks; a process has a handful of news.
const NEWS_MAX: usize = 256;
/// The scenario judges times, so the supervisor never interferes.
const NEVER_MS: u64 = 24 * 3_600_000;
/// How long a process that is not wanted any more may take to end.
const KILL_GRACE_MS: u64 = 300;

/// What happened to the process.
pub(super) enum News {
    Attached(Connection),
    Exited(ExitReport),
    NotStarted(String),
}

struct Ears(mpsc::Sender<News>);

impl Ears {
    fn tell(&self, news: News) {
        // Full only if the scenario ended: then nobody wants to know.
        let _best_effort = self.0.try_send(news);
    }
}

impl Links for Ears {
    fn attach(&self, _key: &InstanceKey, connection: Connection) {
        self.tell(News::Attached(connection));
    }
    fn open(&self, _key: &InstanceKey) {}
    fn close(&self, _key: &InstanceKey, _timeout_ms: u64, _reason: &str) {}
    fn activate(&self, _key: &InstanceKey) {}
    fn deactivate(&self, _key: &InstanceKey, _timeout_ms: u64, _reason: &str) {}
    fn pause(&self, _key: &InstanceKey) {}
    fn resume(&self, _key: &InstanceKey) {}
    fn shutdown(&self, _key: &InstanceKey, _timeout_ms: u64, _reason: &str) {}
    fn exited(&self, _key: &InstanceKey, exit: &ExitReport) {
        self.tell(News::Exited(exit.clone()));
    }
    fn state(&self, _key: &InstanceKey, report: &StateReport) {
        if report.incident == Some(Incident::NotStarted) {
            self.tell(News::NotStarted(report.reason.clone().unwrap_or_default()));
        }
    }
}

/// One program under a supervisor, one process at a time.
pub(super) struct Bench {
    pub(super) subject: Subject,
    supervisor: Supervisor,
    news: mpsc::Receiver<News>,
    /// Kept, so that the supervisor does not think its links are gone.
    _signals: mpsc::Sender<(InstanceKey, Signal)>,
    key: InstanceKey,
    is_running: bool,
    is_configured: bool,
    home: Home,
}

/// A directory of its own for the program, removed at the end.
struct Home(std::path::PathBuf);

impl Home {
    fn make() -> Result<Self, Failure> {
        let random = getrandom::u64()
            .map_err(|error| Failure::new("internal", 70, format!("no randomness: {error}")))?;
        let dir = std::env::temp_dir().join(format!("trunkline-check-{random:016x}"));
        std::fs::create_dir_all(&dir)
            .map_err(|error| Failure::new("internal", 70, format!("{}: {error}", dir.display())))?;
        Ok(Self(dir))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}

impl Bench {
    /// Sets everything up; nothing runs yet.
    pub(super) fn new(subject: Subject) -> Result<Self, Failure> {
        let internal = |error: std::io::Error| Failure::new("internal", 70, error.to_string());
        let home = Home::make()?;
        let clock = Arc::new(SystemClock::new());
        let redact = crate::config::SecretRedactor::default();
        let logs = Logs::start(
            home.0.join("logs"),
            LogLimits::default(),
            Arc::new(move |text: &str| std::borrow::Cow::Owned(redact.redact(text).into_owned())),
            clock.clone(),
        )
        .map_err(internal)?;
        let (ears, news) = mpsc::channel(NEWS_MAX);
        let (signals, heard) = mpsc::channel(NEWS_MAX);
        let launcher = std::env::current_exe().map_err(internal)?;
        let mut setup = Setup::new(Arc::new(Ears(ears)), heard, launcher, clock, logs);
        setup.adopts_orphans = true;
        setup.servers = Arc::new(OwnServers::new(home.0.join("http")));
        let supervisor = Supervisor::start(setup).map_err(internal)?;
        let key = InstanceKey::new(subject.id(), INSTANCE);
        Ok(Self {
            subject,
            supervisor,
            news,
            _signals: signals,
            key,
            is_running: false,
            is_configured: false,
            home,
        })
    }

    /// The directory that the program is told to keep its state in.
    pub(super) fn state_dir(&self) -> std::path::PathBuf {
        self.home.0.join("state")
    }

    fn spec(&self) -> LaunchSpec {
        let subject = &self.subject;
        let manifest = subject.manifest.as_ref();
        let variables = manifest.map(|manifest| &manifest.env);
        let own_server = manifest
            .filter(|manifest| manifest.capabilities.http_server)
            .map(|manifest| manifest.own_server.clone());
        LaunchSpec {
            transport: if subject.is_stdio {
                Transport::Stdio
            } else {
                Transport::Fd
            },
            variables: variables.cloned().unwrap_or_default(),
            own_server,
            timeouts: Timeouts {
                start_ms: NEVER_MS,
                stop_ms: 1,
                kill_grace_ms: KILL_GRACE_MS,
            },
            restart: RestartPolicy {
                after: After::Never,
                ..RestartPolicy::default()
            },
            ..LaunchSpec::new(
                self.key.clone(),
                subject.command.clone(),
                subject.dir.clone(),
                self.state_dir(),
            )
        }
    }

    /// Starts a new process; one that still runs is ended first.
    pub(super) async fn start(&mut self) -> Result<Link, String> {
        let said = |error: crate::supervisor::SupervisorError| error.to_string();
        if self.is_configured {
            self.end().await;
            self.supervisor.enable(&self.key).await.map_err(said)?;
        } else {
            self.supervisor
                .apply(vec![self.spec()])
                .await
                .map_err(said)?;
            self.is_configured = true;
        }
        loop {
            match tokio::time::timeout(self.subject.limit, self.news.recv()).await {
                Ok(Some(News::Attached(connection))) => {
                    self.is_running = true;
                    return Link::new(connection).map_err(|error| error.to_string());
                }
                Ok(Some(News::NotStarted(reason))) => return Err(reason),
                Ok(Some(News::Exited(_))) => {}
                Ok(None) => return Err("the supervisor ended".to_owned()),
                Err(_) => return Err("no process came in time".to_owned()),
            }
        }
    }

    /// Waits for the end of the process.
    pub(super) async fn exit(&mut self, limit: Duration) -> Option<ExitReport> {
        let wait = async {
            loop {
                match self.news.recv().await {
                    Some(News::Exited(exit)) => return Some(exit),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        let exit = tokio::time::timeout(limit, wait).await.ok().flatten();
        if exit.is_some() {
            self.is_running = false;
        }
        exit
    }

    /// Ends the process, by force if need be.
    pub(super) async fn end(&mut self) {
        if self.supervisor.disable(&self.key).await.is_err() {
            return;
        }
        if self.is_running {
            let limit = Duration::from_millis(10 * KILL_GRACE_MS);
            let _ended = self.exit(limit).await;
        }
    }

    /// What it wrote last to stdout and stderr.
    pub(super) async fn last_words(&self, count: usize) -> Vec<LogLine> {
        let lines = self.supervisor.logs().last(&self.key, count).await;
        lines.unwrap_or_default()
    }

    /// Ends everything.
    pub(super) async fn close(mut self) {
        self.end().await;
        let _left = self.supervisor.drain(10 * KILL_GRACE_MS).await;
    }
}
