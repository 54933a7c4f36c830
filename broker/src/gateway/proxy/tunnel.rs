//! What follows a WebSocket's handshake: bytes both ways, until one side ends.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::OwnedSemaphorePermit;

use super::connect::KeptOpen;
use crate::gateway::server::Held;
use crate::gateway::state::Gateway;

/// Both ends, once their heads are through, with what they need as long as they last.
pub(super) struct Tunnel {
    pub(super) asker: OnUpgrade,
    pub(super) server: OnUpgrade,
    pub(super) held: (KeptOpen, OwnedSemaphorePermit, Option<Held>),
}

impl Tunnel {
    /// Carries bytes until one side is done, or the daemon ends; it may take what the plugin says at its own
    /// end, since that comes first.
    pub(super) fn start(self, gateway: Arc<Gateway>) {
        tokio::spawn(async move {
            let _counted = gateway.count();
            tokio::select! {
                () = self.carry() => {}
                () = gateway.ended() => {}
            }
        });
    }

    async fn carry(self) {
        let Self {
            asker,
            server,
            held: _held,
        } = self;
        let ends = futures_util::future::try_join(asker, server).await;
        let (asker, server) = match ends {
            Ok(ends) => ends,
            Err(error) => return tracing::debug!(%error, "No WebSocket came of it."),
        };
        let (mut asker, mut server) = (TokioIo::new(asker), TokioIo::new(server));
        if let Err(error) = copy_bidirectional(&mut asker, &mut server).await {
            tracing::debug!(%error, "WebSocket of a plugin's server ended.");
        }
    }
}
