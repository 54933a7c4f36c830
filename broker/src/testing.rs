//! The broker that tests run against: the real core on the memory store, with a clock that moves only
//! when told. No processes, no network, and no disk but for the files of
//! blobs, in a temporary directory.
//!
//! ```
//! use trunkline_broker::testing::TestBroker;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let broker = TestBroker::start(1).expect("memory has room");
//! let link = broker.dial().await.expect("a socket pair");
//! broker.advance(1_000).await.expect("the broker runs");
//! # drop(link);
//! # });
//! ```

mod provider;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::grant::Scopes;

use crate::blob_files::{BlobPaths, DirFiles};
use crate::clock::{Clock, SeededRandom, VirtualClock};
use crate::core::{
    ClientGrant, CoreOptions, ExitSummary, HookAnswer, HookReply, HookRequest, InstanceSetup,
    InstanceSignal, LinkKind, LogLine, Retention, Tokens,
};
use crate::instance::InstanceKey;
use crate::runtime::{Broker, BrokerEvents, Connection, RuntimeOptions, Timing};
use crate::store::Failed;
use crate::store::memory::{MemoryOptions, MemoryStore};

/// The token that opens every door of a test broker.
pub const TOKEN: &str = "test-token-that-opens-every-door-of-a-test-broker";
/// Wall-clock start of a test broker: 2026-01-01T00:00:00Z.
pub const START_MS: i64 = 1_767_225_600_000;
/// What the addresses of its webhooks begin with.
pub const HOOKS_URL: &str = "https://hooks.example.com/hooks";

/// The clock moves at most so far at once: what is over its limits is looked for at least so often.
const STEP_MS: u64 = 3_600_000;

/// A broker in memory.
pub struct TestBroker {
    broker: Broker,
    store: MemoryStore,
    dir: Arc<TempDir>,
    clock: Arc<VirtualClock>,
    seed: u64,
    log: Arc<Mutex<Vec<LogLine>>>,
    signals: Arc<Mutex<Vec<(InstanceKey, InstanceSignal)>>>,
}

impl std::fmt::Debug for TestBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestBroker")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl TestBroker {
    /// Starts an empty broker; the seed decides jitter and ids. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Failed`] when a thread cannot be started.
    pub fn start(seed: u64) -> Result<Self, Failed> {
        let store = MemoryStore::new(MemoryOptions::default());
        let dir = TempDir::make().map_err(no_directory)?;
        Self::open(
            store,
            Arc::new(dir),
            Arc::new(VirtualClock::new(START_MS)),
            seed,
        )
    }

    /// Ends this life and begins the next on the same store and clock. Links are gone, as after a crash;
    /// instances must be configured again.
    ///
    /// # Errors
    /// [`Failed`] when the store cannot be read or a thread cannot be started.
    pub async fn restart(self) -> Result<Self, Failed> {
        if let Err(error) = self.stop().await {
            tracing::debug!(%error, "It had ended already.");
        }
        Self::open(
            self.store.again(),
            self.dir,
            self.clock,
            self.seed.wrapping_add(1),
        )
    }

    fn open(
        store: MemoryStore,
        dir: Arc<TempDir>,
        clock: Arc<VirtualClock>,
        seed: u64,
    ) -> Result<Self, Failed> {
        let blobs = DirFiles::open(BlobPaths::new(&dir.0)).map_err(no_directory)?;
        let (broker, events, _thread) = Broker::start(RuntimeOptions {
            store: Box::new(store.again()),
            blobs,
            clock: clock.clone(),
            timing: Timing::Virtual,
            random: Box::new(SeededRandom(seed)),
            router_random: Box::new(SeededRandom(!seed)),
            core: options(),
        })?;
        let log = Arc::default();
        let signals = Arc::default();
        tokio::spawn(supervise(
            broker.clone(),
            events,
            Arc::clone(&log),
            Arc::clone(&signals),
        ));
        Ok(Self {
            broker,
            store,
            dir,
            clock,
            seed,
            log,
            signals,
        })
    }

    /// The handle to the core.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Its clock.
    pub fn clock(&self) -> &Arc<VirtualClock> {
        &self.clock
    }

    /// Opens a link as somebody who dials in; the first frame must be `connect` with [`TOKEN`].
    ///
    /// # Errors
    /// When no socket pair can be made, or the broker has ended.
    pub async fn dial(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        self.broker
            .attach(Connection::Socket(ours), LinkKind::Attached)
            .await
            .map_err(io::Error::other)?;
        Ok(theirs)
    }

    /// Configures an instance.
    ///
    /// # Errors
    /// As [`crate::core::Core::configure`].
    pub async fn configure(&self, setup: InstanceSetup) -> Result<(), Error> {
        self.broker.with(|core| core.configure(setup)).await?
    }

    /// Opens a link as the process of an instance; `initialize` follows, then activation.
    ///
    /// # Errors
    /// When no socket pair can be made, or the broker has ended.
    pub async fn spawn(&self, key: &InstanceKey) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        self.broker
            .attach(Connection::Socket(ours), LinkKind::Spawned(key.clone()))
            .await
            .map_err(io::Error::other)?;
        Ok(theirs)
    }

    /// Says that the process of an instance ended: what it held is suspect unless the end was clean.
    ///
    /// # Errors
    /// `unavailable` when the broker has ended.
    pub async fn exited(&self, key: &InstanceKey, summary: ExitSummary) -> Result<(), Error> {
        let key = key.clone();
        self.broker
            .with(move |core| core.exited(&key, &summary))
            .await
    }

    /// Sends a provider's request to a webhook, signed with the secret of its config, and gives its answer:
    /// as the gateway does, once it is durable.
    ///
    /// # Errors
    /// `not_found` where nobody has such a webhook; `unauthorized` where the test signed it, and not as
    /// the webhook wants it; `unavailable` when the broker has ended.
    pub async fn webhook(
        &self,
        kind: &str,
        instance: &str,
        name: Option<&str>,
        request: HookRequest,
    ) -> Result<HookAnswer, Error> {
        let (kind, instance) = (kind.to_owned(), instance.to_owned());
        let name = name.map(str::to_owned);
        let (done, answered) = tokio::sync::oneshot::channel();
        let reply = HookReply::new(move |answer| {
            if done.send(answer).is_err() {
                tracing::debug!("A webhook's sender did not wait for the answer.");
            }
        });
        let sent = self.broker.with(move |core| {
            let (endpoint, now) = core.webhook(&kind, Some(&instance), name.as_deref())?;
            let secret = core.webhook_secret(&endpoint).unwrap_or_default();
            let base = core.hooks_url().unwrap_or_else(|| HOOKS_URL.to_owned());
            let now_ms = now.wall_ms.max(0) as u64;
            let request = provider::provided(&endpoint, &base, &secret, request, now_ms)?;
            core.hook(&endpoint, &request, reply);
            Ok(())
        });
        sent.await??;
        let ended = |_| Error::new(Code::Unavailable, "the broker has ended");
        answered.await.map_err(ended)
    }

    /// Moves the clock and lets everything happen that is due, until nothing is on its way to the store.
    ///
    /// # Errors
    /// `unavailable` when the broker has ended.
    pub async fn advance(&self, ms: u64) -> Result<(), Error> {
        // In steps, so that what becomes due sees the time at which it is due.
        let mut left = ms;
        while left > 0 {
            let now_ms = self.clock.now().mono_ms;
            let due = self.broker.with(|core| core.next_event_ms()).await?;
            let step = due.map_or(left, |at| at.saturating_sub(now_ms).clamp(1, left));
            let step = step.min(STEP_MS);
            self.clock.advance(step);
            left -= step;
            self.broker.tick().await?;
        }
        self.settle().await
    }

    /// Waits until everything that was sent is applied and durable; the clock stands still.
    ///
    /// # Errors
    /// `unavailable` when the broker has ended.
    pub async fn settle(&self) -> Result<(), Error> {
        self.broker.tick().await
    }

    /// What instances logged over their links, and what the broker logged of them.
    pub fn log(&self) -> Vec<LogLine> {
        self.log.lock().expect("no panic while held").clone()
    }

    /// What happened to the links of instances.
    pub fn signals(&self) -> Vec<(InstanceKey, InstanceSignal)> {
        self.signals.lock().expect("no panic while held").clone()
    }

    /// Ends the broker; what was acknowledged is in its store.
    ///
    /// # Errors
    /// `unavailable` when it has ended already.
    pub async fn stop(&self) -> Result<(), Error> {
        self.broker.stop().await
    }
}

/// A directory for the files of blobs; the only thing of a test broker that is on a disk.
#[derive(Debug)]
struct TempDir(PathBuf);

impl TempDir {
    fn make() -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("trunkline-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, "A directory of a test broker is left.");
        }
    }
}

fn no_directory(error: io::Error) -> Failed {
    Failed {
        reason: format!("no directory for the files of blobs: {error}"),
    }
}

fn options() -> CoreOptions {
    let mut tokens = Tokens::default();
    let scopes = [
        "read:>",
        "publish:>",
        "call:>",
        "kv:",
        "lock:",
        "blob",
        "admin",
    ];
    let scopes = Scopes::parse(&scopes).expect("literal scopes");
    tokens.add(
        TOKEN,
        ClientGrant {
            name: None,
            scopes: Arc::new(scopes),
        },
    );
    CoreOptions {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at_ms: START_MS,
        frame_bytes_max: trunkline_contract::limits::FRAME_BYTES_MAX,
        store_kind: "memory",
        retention: Retention::default(),
        tokens,
        source_events_per_second: None,
    }
}

/// A supervisor without processes: standby is followed by activation, everything else is noted.
async fn supervise(
    broker: Broker,
    mut events: mpsc::Receiver<BrokerEvents>,
    log: Arc<Mutex<Vec<LogLine>>>,
    signals: Arc<Mutex<Vec<(InstanceKey, InstanceSignal)>>>,
) {
    while let Some(event) = events.recv().await {
        match event {
            BrokerEvents::Audit(_) | BrokerEvents::ConfigAnswered(..) => {}
            BrokerEvents::Signal(key, signal) => {
                let standby = signal == InstanceSignal::Standby;
                signals
                    .lock()
                    .expect("no panic while held")
                    .push((key.clone(), signal));
                if standby && broker.with(move |core| core.activate(&key)).await.is_err() {
                    return;
                }
            }
            BrokerEvents::Control(request) => {
                let error = Error::new(
                    trunkline_contract::error::Code::NotImplemented,
                    format!("a test broker has no processes: {}", request.method),
                );
                if broker
                    .respond(request.link, request.id, Err(error))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            BrokerEvents::Log(line) => log.lock().expect("no panic while held").push(line),
            BrokerEvents::Span(_) => {}
            BrokerEvents::Failed(_) => return,
        }
    }
}
