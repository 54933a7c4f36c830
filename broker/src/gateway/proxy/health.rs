//! Asks the plugins' own servers whether they work; where one does not, its instance is degraded.
//!
//! Only a server whose manifest names a path is asked, and only while its instance serves. A single miss is
//! nothing: a server may be busy.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{HOST, HeaderValue, USER_AGENT};
use axum::http::{Request, StatusCode, Uri};
use tokio::task::JoinHandle;
use trunkline_contract::manifest::OwnServer;

use super::connect::Connection;
use crate::instance::InstanceKey;
use crate::runtime::Broker;
use crate::supervisor::{KnownServer, OwnServers, ServerAddress};

/// Misses in a row that make an instance degraded.
const MISSES_MAX: u32 = 2;

/// Ends what asks one server when it is dropped.
struct Asker {
    settings: OwnServer,
    address: Option<ServerAddress>,
    task: JoinHandle<()>,
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks every server that is to be asked, until the broker ends.
pub(crate) async fn watch(servers: Arc<OwnServers>, broker: Broker) {
    let mut changes = servers.changes();
    let mut askers: HashMap<InstanceKey, Asker> = HashMap::new();
    loop {
        let probed: HashMap<InstanceKey, KnownServer> = servers.probed().into_iter().collect();
        askers.retain(|key, asker| {
            let known = probed.get(key);
            known.is_some_and(|known| {
                known.settings == asker.settings && known.address == asker.address
            })
        });
        for (key, known) in probed {
            askers
                .entry(key)
                .or_insert_with_key(|key| start(key.clone(), known, broker.clone()));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn start(key: InstanceKey, known: KnownServer, broker: Broker) -> Asker {
    let KnownServer {
        settings, address, ..
    } = known;
    let task = tokio::spawn(ask_on(key, settings.clone(), address.clone(), broker));
    Asker {
        settings,
        address,
        task,
    }
}

async fn ask_on(
    key: InstanceKey,
    settings: OwnServer,
    address: Option<ServerAddress>,
    broker: Broker,
) {
    let (Some(path), Some(address)) = (settings.health.as_deref(), address) else {
        return;
    };
    let mut misses = 0;
    loop {
        let asked = tokio::time::timeout(settings.health_timeout, ask(&address, path)).await;
        let fault = match asked {
            Ok(Ok(status)) if status.is_success() => None,
            Ok(Ok(status)) => Some(format!("its HTTP server answers {path} with {status}")),
            Ok(Err(error)) => Some(format!("its HTTP server fails at {path}: {error}")),
            Err(_) => {
                let limit = settings.health_timeout;
                Some(format!(
                    "its HTTP server has no answer at {path} in {limit:?}"
                ))
            }
        };
        misses = if fault.is_some() { misses + 1 } else { 0 };
        if misses == 0 || misses >= MISSES_MAX {
            let key = key.clone();
            let told = broker.with(move |core| core.own_server(&key, fault)).await;
            if told.is_err() {
                return;
            }
        }
        tokio::time::sleep(settings.health_interval).await;
    }
}

async fn ask(address: &ServerAddress, path: &str) -> io::Result<StatusCode> {
    let uri: Uri = path.parse().map_err(io::Error::other)?;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(USER_AGENT, HeaderValue::from_static("trunkline"));
    let connection = Connection::open(address).await?;
    let (answer, _held) = connection.send(request).await.map_err(io::Error::other)?;
    Ok(answer.status())
}
