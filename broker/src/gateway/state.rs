//! What handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, mpsc, watch};

use super::hooks::Rates;
use super::limits::HOOK_BODIES_KIB_MAX;
use super::metrics::Insight;
use super::ports::Ports;
use super::server::Bound;
use crate::config::{HttpConfig, McpNames};
use crate::runtime::Broker;
use crate::supervisor::OwnServers;

/// How far the server is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    /// Requests are taken.
    Serving,
    /// No more connections; streams end, links go on while instances drain.
    Stopping,
    /// Everything ends.
    Over,
}

/// What handlers share.
#[derive(Debug)]
pub struct Gateway {
    /// The handle to the core.
    pub broker: Broker,
    /// The clients of the core, one for each token.
    pub ports: Arc<Ports>,
    /// The plugins' own HTTP servers.
    pub servers: Arc<OwnServers>,
    /// Names that the operator gives to tools for MCP clients.
    pub mcp_names: watch::Receiver<Arc<McpNames>>,
    /// The settings.
    pub config: HttpConfig,
    /// Largest frame on a link.
    pub frame_bytes_max: usize,
    /// What is counted here, and what the daemon around it knows.
    pub insight: Insight,
    /// Where it listens.
    pub bound: Bound,
    /// The rates of webhooks' sources.
    pub(super) hook_rates: Rates,
    /// Room for the bodies of webhooks, in KiB.
    pub(super) hook_bodies: Arc<Semaphore>,
    life: watch::Receiver<Life>,
    /// Held by what outlives its connection.
    alive: mpsc::Sender<()>,
    /// Begins every request's id, so that ids of two lives differ.
    boot: u32,
    requests: AtomicU64,
}

impl Gateway {
    #[expect(clippy::too_many_arguments, reason = "the parts of one value")]
    pub(super) fn new(
        broker: Broker,
        servers: Arc<OwnServers>,
        config: HttpConfig,
        mcp_names: watch::Receiver<Arc<McpNames>>,
        frame_bytes_max: usize,
        bound: Bound,
        insight: Insight,
        life: watch::Receiver<Life>,
        alive: mpsc::Sender<()>,
        boot: u32,
    ) -> Self {
        Self {
            ports: Arc::new(Ports::new(broker.clone())),
            hook_rates: Rates::new(config.hooks_per_source_per_second, config.hooks_per_second),
            hook_bodies: Arc::new(Semaphore::new(HOOK_BODIES_KIB_MAX)),
            broker,
            servers,
            mcp_names,
            config,
            frame_bytes_max,
            bound,
            insight,
            life,
            alive,
            boot,
            requests: AtomicU64::new(1),
        }
    }

    /// Makes an id for a request.
    pub(super) fn next_request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-{number}", self.boot)
    }

    /// Returns once the daemon stops.
    ///
    /// # Cancel safety
    /// May be cancelled and called again.
    pub async fn stopping(&self) {
        self.reaches(Life::Stopping).await;
    }

    /// Returns once nothing more can be done for a peer.
    ///
    /// # Cancel safety
    /// May be cancelled and called again.
    pub async fn ended(&self) {
        self.reaches(Life::Over).await;
    }

    async fn reaches(&self, at_least: Life) {
        let mut life = self.life.clone();
        if life.wait_for(|life| *life >= at_least).await.is_err() {
            tracing::trace!("The server is gone.");
        }
    }

    /// Counts something that outlives its connection, as long as it is held: the end waits for it.
    pub(super) fn count(&self) -> mpsc::Sender<()> {
        self.alive.clone()
    }
}
