//! The Unix socket on which clients and plugins started by hand attach.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::net::UnixListener;

use crate::core::LinkKind;
use crate::runtime::{Broker, Connection};

/// Opens the socket; a stale one of a daemon that is gone is replaced.
///
/// # Errors
/// When the path cannot be bound.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Accepts until the broker has ended.
pub(super) async fn accept(listener: UnixListener, broker: Broker) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream.into_std(),
            Err(error) => {
                // Out of descriptors, for instance: others will be closed, so the next try may succeed.
                tracing::warn!(%error, "Link not accepted.");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "Link cannot be handed over.");
                continue;
            }
        };
        if broker
            .attach(Connection::Socket(stream), LinkKind::Attached)
            .await
            .is_err()
        {
            return;
        }
    }
}
