//! Accepts connections, bounds them, speaks TLS, and ends them in order.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::guard::Peer;
use super::limits::{ACCEPT_PAUSE_MS, HEADERS_MAX, STOP_TIMEOUT_MS, SWEEP_MS, WRITE_STALL_MS};
use super::metrics::Insight;
use super::routes;
use super::stall::Stalling;
use super::state::{Gateway, Life};
use crate::config::{HttpConfig, Listen, McpNames, Network, TlsFiles};
use crate::runtime::Broker;
use crate::supervisor::OwnServers;

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// An address; its port is the real one.
    Tcp {
        /// The address.
        address: SocketAddr,
        /// It speaks TLS.
        is_tls: bool,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Bound {
    /// Gives the address of the network.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { address, .. } => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp {
                address,
                is_tls: false,
            } => write!(f, "http://{address}"),
            Self::Tcp {
                address,
                is_tls: true,
            } => write!(f, "https://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody else has the address.
    #[error(
        "cannot listen on {address}: it is in use\n\nhint: end the other program, or set http.listen to \
         another port, to \"127.0.0.1:0\" or to \"off\""
    )]
    InUse {
        /// The address.
        address: String,
    },
    /// The system refused it.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("{path}: {problem}")]
    Tls {
        /// Which file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket that is bound and not served yet.
pub struct Listener {
    socket: Socket,
    tls: Option<TlsAcceptor>,
    /// Where it listens.
    pub bound: Bound,
}

/// Binds what the settings say; none when they say `off`.
///
/// # Errors
/// [`BindError`], with what to do about it.
pub async fn bind(config: &HttpConfig) -> Result<Option<Listener>, BindError> {
    let tls = config.tls.as_ref().map(acceptor).transpose()?;
    let (socket, bound) = match &config.listen {
        Listen::Off => return Ok(None),
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await;
            let listener = listener.map_err(|source| refused(address.to_string(), source))?;
            let local = listener.local_addr();
            let address = local.map_err(|source| refused(address.to_string(), source))?;
            let bound = Bound::Tcp {
                address,
                is_tls: tls.is_some(),
            };
            (Socket::Tcp(listener), bound)
        }
        Listen::Unix(path) => {
            let listener = crate::daemon::bind_socket(path);
            let listener =
                listener.map_err(|source| refused(path.display().to_string(), source))?;
            (Socket::Unix(listener), Bound::Unix(path.clone()))
        }
    };
    Ok(Some(Listener { socket, tls, bound }))
}

fn refused(address: String, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Refused { address, source },
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, BindError> {
    let wrong = |path: &Path, problem: String| BindError::Tls {
        path: path.display().to_string(),
        problem,
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&files.cert, format!("no certificate in PEM: {error}")))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| wrong(&files.key, format!("no private key in PEM: {error}")))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&files.cert, format!("does not fit its key: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    life: watch::Sender<Life>,
    ended: mpsc::Receiver<()>,
    task: tokio::task::JoinHandle<()>,
    bound: Bound,
}

impl Server {
    /// Serves a socket.
    #[expect(clippy::too_many_arguments, reason = "the parts of one value")]
    pub fn start(
        listener: Listener,
        broker: Broker,
        servers: Arc<OwnServers>,
        config: HttpConfig,
        mcp_names: watch::Receiver<Arc<McpNames>>,
        frame_bytes_max: usize,
        life: u32,
        insight: Insight,
    ) -> Self {
        let (told, life_is) = watch::channel(Life::Serving);
        let (alive, ended) = mpsc::channel(1);
        let bound = listener.bound.clone();
        let gateway = Arc::new(Gateway::new(
            broker,
            servers,
            config,
            mcp_names,
            frame_bytes_max,
            bound.clone(),
            insight,
            life_is.clone(),
            alive,
            life,
        ));
        let task = tokio::spawn(accept(listener, gateway, life_is));
        Self {
            life: told,
            ended,
            task,
            bound,
        }
    }

    /// Gives where it listens.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Takes no more connections and ends streams; requests under way are answered.
    pub fn begin_stop(&self) {
        self.life.send_replace(Life::Stopping);
    }

    /// Waits for the connections to end, for a while.
    pub async fn stop(mut self) {
        self.life.send_replace(Life::Over);
        if self.task.await.is_err() {
            tracing::error!("The HTTP server panicked.");
        }
        // Links say goodbye.
        let limit = Duration::from_millis(STOP_TIMEOUT_MS);
        if tokio::time::timeout(limit, self.ended.recv())
            .await
            .is_err()
        {
            tracing::debug!("Links were cut.");
        }
        if let Bound::Unix(path) = &self.bound
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "The socket was gone already.");
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn accept(listener: Listener, gateway: Arc<Gateway>, mut life: watch::Receiver<Life>) {
    let Listener { socket, tls, .. } = listener;
    let config = &gateway.config;
    let connections = Arc::new(Semaphore::new(config.connections_max));
    let sources = Sources::new(config.connections_per_source_max);
    let builder = builder(config);
    let handshake = config.header_timeout;
    let router = routes::router(gateway.clone());
    let mut tasks = JoinSet::new();
    let mut sweep = tokio::time::interval(Duration::from_millis(SWEEP_MS));
    loop {
        let accepted = tokio::select! {
            _ = sweep.tick() => {
                gateway.ports.sweep();
                continue;
            }
            accepted = next(&socket, &connections) => accepted,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            _ = life.wait_for(|life| *life >= Life::Stopping) => break,
        };
        let (stream, address, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "Connection not accepted.");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        let counted = address.filter(|address| !is_proxy(config, *address));
        let Some(slot) = sources.take(counted) else {
            tracing::debug!(?address, "Too many connections of one address.");
            continue;
        };
        let (tls, builder, router) = (tls.clone(), builder.clone(), router.clone());
        let life = life.clone();
        tasks.spawn(async move {
            let held = Held(Arc::new((permit, slot)));
            let stalled = Duration::from_millis(WRITE_STALL_MS);
            let stream = Stalling::new(stream, stalled);
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => match tokio::time::timeout(handshake, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "No TLS.");
                        return;
                    }
                    Err(_) => return,
                },
            };
            serve(stream, Peer(address), held, &builder, router, life).await;
        });
    }
    drop(socket);
    let all = async { while tasks.join_next().await.is_some() {} };
    let limit = Duration::from_millis(STOP_TIMEOUT_MS);
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::debug!("Connections were cut.");
    }
}

type Accepted = (Box<dyn Stream>, Option<IpAddr>, OwnedSemaphorePermit);

async fn next(socket: &Socket, connections: &Arc<Semaphore>) -> io::Result<Accepted> {
    let permit = connections
        .clone()
        .acquire_owned()
        .await
        .expect("nobody closes it");
    Ok(match socket {
        Socket::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            (Box::new(stream), Some(address.ip().to_canonical()), permit)
        }
        Socket::Unix(listener) => (Box::new(listener.accept().await?.0), None, permit),
    })
}

/// Says whether an address speaks for many.
fn is_proxy(config: &HttpConfig, address: IpAddr) -> bool {
    let networks: &[Network] = &config.trusted_proxies;
    config.behind_proxy && networks.iter().any(|network| network.contains(address))
}

fn builder(config: &HttpConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(config.header_bytes_max)
        .max_headers(HEADERS_MAX);
    builder
}

async fn serve(
    stream: Box<dyn Stream>,
    peer: Peer,
    held: Held,
    builder: &http1::Builder,
    router: Router,
    mut life: watch::Receiver<Life>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(held.clone());
        router.call(request)
    });
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let stop = async {
        let stop = life.wait_for(|life| *life >= Life::Stopping).await;
        stop.map(|_| ())
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stop => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "Connection ended.");
    }
}

/// Counts the connections of each address.
#[derive(Clone)]
struct Sources {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    max: usize,
}

/// The place of a connection among those that may be open; a link keeps it beyond the upgrade.
#[derive(Clone)]
pub(super) struct Held(
    #[expect(dead_code, reason = "held, not read")] Arc<(OwnedSemaphorePermit, Slot)>,
);

/// One connection of an address, given back when dropped.
struct Slot {
    sources: Sources,
    address: Option<IpAddr>,
}

impl Sources {
    fn new(max: usize) -> Self {
        Self {
            counts: Arc::default(),
            max,
        }
    }

    fn take(&self, address: Option<IpAddr>) -> Option<Slot> {
        if let Some(address) = address {
            let mut counts = self.counts.lock().expect("no panic while held");
            let count = counts.entry(address).or_default();
            if *count >= self.max {
                return None;
            }
            *count += 1;
        }
        Some(Slot {
            sources: self.clone(),
            address,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut counts = self.sources.counts.lock().expect("no panic while held");
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_share_of_connections() {
        let sources = Sources::new(1);
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().ok());
        let held = sources.take(one).unwrap();
        assert!(sources.take(one).is_none());
        assert!(sources.take(two).is_some());
        assert!(sources.take(None).is_some() && sources.take(None).is_some());
        drop(held);
        assert!(sources.take(one).is_some());
        assert!(sources.counts.lock().unwrap().is_empty());
    }
}
