//! What handlers share.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::ports::Ports;
use super::server::Bound;
use crate::config::HttpConfig;
use crate::runtime::Broker;

/// What handlers share.
#[derive(Debug)]
pub struct Gateway {
    /// The handle to the core.
    pub broker: Broker,
    /// The clients of the core, one for each token.
    pub ports: Ports,
    /// The settings.
    pub config: HttpConfig,
    /// Largest frame on a link.
    pub frame_bytes_max: usize,
    /// Where it listens.
    pub bound: Bound,
    /// True once the daemon stops: streams end.
    stopping: watch::Receiver<bool>,
    /// Begins every request's id, so that ids of two lives differ.
    life: u32,
    requests: AtomicU64,
}

impl Gateway {
    pub(super) fn new(
        broker: Broker,
        config: HttpConfig,
        frame_bytes_max: usize,
        bound: Bound,
        stopping: watch::Receiver<bool>,
        life: u32,
    ) -> Self {
        Self {
            ports: Ports::new(broker.clone()),
            broker,
            config,
            frame_bytes_max,
            bound,
            stopping,
            life,
            requests: AtomicU64::new(1),
        }
    }

    /// Makes an id for a request.
    pub(super) fn next_request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-{number}", self.life)
    }

    /// Returns once the daemon stops.
    ///
    /// # Cancel safety
    /// May be cancelled and called again.
    pub async fn stopping(&self) {
        let mut stopping = self.stopping.clone();
        if stopping.wait_for(|stopping| *stopping).await.is_err() {
            tracing::trace!("The server is gone.");
        }
    }
}
