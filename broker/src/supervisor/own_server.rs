//! The sockets that plugins' own HTTP servers listen on.
//!
//! One per instance whose plugin asks for it and is granted it. It is made at the first start, handed to each
//! process of the instance, and kept open between them: who connects while there is none waits in its
//! backlog. It is closed when the instance is removed, disabled or stopped for good.
//!
//! A unix socket is the rule: it needs no free port, and nobody but the daemon's user can go around the
//! daemon. A port of 127.0.0.1 is there for servers that know nothing else; every user of the machine, and
//! with DNS rebinding any web page, can reach that one without the daemon's checks.
//!
//! | what | where |
//! |---|---|
//! | unix socket | `<dir>/<16 hex digits of the SHA-256 of plugin/instance>` |
//! | as its server sees it | the same with `.new`, which no longer exists |
//!
//! It is bound under the second name and then renamed. A server that removes "its" file when it ends, as
//! some do, cannot cut off those that wait.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};
use trunkline_contract::manifest::{HttpSocket, OwnServer};

use super::state::{State, StateReport};
use crate::instance::InstanceKey;

/// Connections that wait for a plugin to accept them; the kernel may allow fewer. Another is refused.
const BACKLOG: i32 = 1024;
/// Connections of the gateway to one instance's server at the same time; another is refused.
pub const CONNECTIONS_MAX: usize = 512;
/// Longest path that the address of a unix socket can hold.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where a server of a plugin is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A port of 127.0.0.1.
    Tcp(SocketAddr),
}

/// What is known of one instance's own HTTP server.
#[derive(Debug, Clone)]
pub struct KnownServer {
    /// What its manifest says.
    pub settings: OwnServer,
    /// How the instance is.
    pub state: State,
    /// How long until its next start, where it waits for one.
    pub retry_in_ms: Option<u64>,
    /// Where it is reached; none before its first start and after its end.
    pub address: Option<ServerAddress>,
    /// How many may be connected to it.
    pub connections: Arc<Semaphore>,
}

/// A socket that is held open.
#[derive(Debug)]
struct Socket {
    listener: OwnedFd,
    kind: HttpSocket,
    address: ServerAddress,
    /// Removed with it.
    path: Option<PathBuf>,
    /// What the address goes through.
    _dir: Option<Arc<OwnedFd>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "The socket of an HTTP server was gone already.");
        }
    }
}

#[derive(Debug)]
struct Entry {
    known: KnownServer,
    socket: Option<Socket>,
}

/// The servers of all instances; the supervisor fills it, the gateway reads it.
#[derive(Debug)]
pub struct OwnServers {
    dir: PathBuf,
    entries: Mutex<HashMap<InstanceKey, Entry>>,
    changes: watch::Sender<()>,
}

impl Default for OwnServers {
    /// Makes sockets in the system's directory for what does not last.
    fn default() -> Self {
        Self::new(std::env::temp_dir().join(format!("trunkline-{}", std::process::id())))
    }
}

impl OwnServers {
    /// Makes sockets in this directory, which is made when it is needed, for this user alone.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            entries: Mutex::default(),
            changes: watch::channel(()).0,
        }
    }

    /// Gives what is known of an instance's server; none if it has none.
    pub fn find(&self, key: &InstanceKey) -> Option<KnownServer> {
        self.entries().get(key).map(|entry| entry.known.clone())
    }

    /// Lists the instances that serve and have a path to be asked for their health.
    pub fn probed(&self) -> Vec<(InstanceKey, KnownServer)> {
        let entries = self.entries();
        let is_probed = |known: &KnownServer| {
            known.settings.health.is_some()
                && known.address.is_some()
                && matches!(known.state, State::Ready | State::Degraded)
        };
        entries
            .iter()
            .filter(|(_, entry)| is_probed(&entry.known))
            .map(|(key, entry)| (key.clone(), entry.known.clone()))
            .collect()
    }

    /// Follows changes: after each, what [`Self::probed`] gives may be something else.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Gives the listening socket for a process that is about to start; makes it if there is none.
    pub(super) fn open(
        &self,
        key: &InstanceKey,
        settings: Option<&OwnServer>,
    ) -> io::Result<Option<OwnedFd>> {
        let Some(settings) = settings else {
            self.forget(key);
            return Ok(None);
        };
        let mut entries = self.entries();
        let entry = entries
            .entry(key.clone())
            .or_insert_with(|| Entry::new(settings));
        entry.known.settings = settings.clone();
        if entry
            .socket
            .as_ref()
            .is_none_or(|socket| socket.kind != settings.socket)
        {
            // The old one first: both have one path.
            entry.socket = None;
            let socket = match settings.socket {
                HttpSocket::Unix => self.unix(key)?,
                HttpSocket::Tcp => tcp()?,
            };
            entry.known.address = Some(socket.address.clone());
            entry.socket = Some(socket);
        }
        let socket = entry.socket.as_ref().expect("it was made above");
        // An earlier process may have made it non-blocking, which all who share it see.
        let flags = rustix::fs::fcntl_getfl(&socket.listener)?;
        rustix::fs::fcntl_setfl(&socket.listener, flags.difference(OFlags::NONBLOCK))?;
        let listener = socket.listener.as_fd().try_clone_to_owned()?;
        drop(entries);
        self.changes.send_replace(());
        Ok(Some(listener))
    }

    /// Notes how an instance is; its socket goes with its last process.
    pub(super) fn report(
        &self,
        key: &InstanceKey,
        settings: Option<&OwnServer>,
        report: &StateReport,
    ) {
        let Some(settings) = settings else {
            return self.forget(key);
        };
        let mut entries = self.entries();
        let entry = entries
            .entry(key.clone())
            .or_insert_with(|| Entry::new(settings));
        entry.known.state = report.state;
        entry.known.retry_in_ms = report.retry_in_ms;
        if matches!(report.state, State::Disabled | State::Stopped) {
            entry.known.address = None;
            entry.socket = None;
        }
        drop(entries);
        self.changes.send_replace(());
    }

    /// Closes the socket of an instance that is gone, or has no server any more.
    pub(super) fn forget(&self, key: &InstanceKey) {
        if self.entries().remove(key).is_some() {
            self.changes.send_replace(());
        }
    }

    fn unix(&self, key: &InstanceKey) -> io::Result<Socket> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let name = file_name(key);
        let fresh_name = format!("{name}.new");
        let path = self.dir.join(&name);
        let fresh_path = self.dir.join(&fresh_name);
        let is_long = fresh_path.as_os_str().len() > SOCKET_PATH_BYTES_MAX;
        // Through a descriptor of the directory every path is short enough.
        let dir = is_long.then(|| open_dir(&self.dir)).transpose()?;
        let reach = |name: &str| match &dir {
            Some(dir) => PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())),
            None => self.dir.join(name),
        };
        match std::fs::remove_file(&fresh_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // What is bound gets the mode of the socket.
        rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&listener, &SocketAddrUnix::new(reach(&fresh_name))?)?;
        rustix::net::listen(&listener, BACKLOG)?;
        std::fs::rename(&fresh_path, &path)?;
        Ok(Socket {
            listener,
            kind: HttpSocket::Unix,
            address: ServerAddress::Unix(reach(&name)),
            path: Some(path),
            _dir: dir.map(Arc::new),
        })
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<InstanceKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(settings: &OwnServer) -> Self {
        Self {
            known: KnownServer {
                settings: settings.clone(),
                state: State::Starting,
                retry_in_ms: None,
                address: None,
                connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            },
            socket: None,
        }
    }
}

fn tcp() -> io::Result<Socket> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    rustix::net::listen(&listener, BACKLOG)?;
    let address = listener.local_addr()?;
    Ok(Socket {
        listener: listener.into(),
        kind: HttpSocket::Tcp,
        address: ServerAddress::Tcp(address),
        path: None,
        _dir: None,
    })
}

fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

/// Short whatever the names are, for a path of a socket is short.
fn file_name(key: &InstanceKey) -> String {
    let hash = Sha256::digest(key.to_string().as_bytes());
    hash[..8].iter().fold(String::new(), |mut name, byte| {
        write!(name, "{byte:02x}").expect("a string takes all");
        name
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn report(state: State) -> StateReport {
        StateReport {
            state,
            reason: None,
            since_ms: 0,
            pid: None,
            exits: 0,
            incident: None,
            exit: None,
            retry_in_ms: None,
        }
    }

    fn connect(servers: &OwnServers, key: &InstanceKey) -> io::Result<UnixStream> {
        let found = servers.find(key).and_then(|known| known.address);
        let Some(ServerAddress::Unix(path)) = found else {
            panic!("expected a unix socket, found {found:?}");
        };
        UnixStream::connect(path)
    }

    fn check_life(dir: &Path) {
        let servers = OwnServers::new(dir);
        let key = InstanceKey::new("board", "main");
        let settings = OwnServer::default();
        let first = servers.open(&key, Some(&settings)).unwrap().unwrap();
        drop(first);
        // Nobody accepts now, and still nobody is refused.
        let mut waiting = connect(&servers, &key).unwrap();
        waiting.write_all(b"hello").unwrap();
        let second: UnixListener = servers.open(&key, Some(&settings)).unwrap().unwrap().into();
        let (mut accepted, _) = second.accept().unwrap();
        let mut text = [0; 5];
        accepted.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello");

        let files = || std::fs::read_dir(dir).unwrap().count();
        assert_eq!(files(), 1);
        servers.report(&key, Some(&settings), &report(State::Disabled));
        assert_eq!(files(), 0);
        let known = servers.find(&key).unwrap();
        assert_eq!((known.state, known.address), (State::Disabled, None));
        servers.open(&key, Some(&settings)).unwrap();
        servers.forget(&key);
        assert_eq!(files(), 0);
        assert!(servers.find(&key).is_none());
    }

    #[test]
    fn a_socket_stays_open_between_two_processes_and_goes_with_its_instance() {
        let dir = tempfile::tempdir().unwrap();
        check_life(&dir.path().join("http"));
    }

    #[test]
    fn a_directory_may_have_a_long_name() {
        let dir = tempfile::tempdir().unwrap();
        check_life(&dir.path().join("d".repeat(150)));
    }

    #[test]
    fn a_daemon_that_was_killed_leaves_nothing_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let key = InstanceKey::new("board", "main");
        let settings = OwnServer::default();
        let killed = OwnServers::new(dir.path());
        killed.open(&key, Some(&settings)).unwrap();
        std::mem::forget(killed);
        let servers = OwnServers::new(dir.path());
        let listener = servers.open(&key, Some(&settings)).unwrap().unwrap();
        let listener = UnixListener::from(listener);
        connect(&servers, &key).unwrap();
        listener.accept().unwrap();
    }

    #[test]
    fn a_port_of_loopback_is_there_for_those_that_need_one() {
        let dir = tempfile::tempdir().unwrap();
        let servers = OwnServers::new(dir.path());
        let key = InstanceKey::new("board", "main");
        let settings = OwnServer {
            socket: HttpSocket::Tcp,
            ..OwnServer::default()
        };
        let listener = servers.open(&key, Some(&settings)).unwrap().unwrap();
        let listener = TcpListener::from(listener);
        let known = servers.find(&key).unwrap();
        let Some(ServerAddress::Tcp(address)) = known.address else {
            panic!("expected a port, found {known:?}");
        };
        assert!(address.ip().is_loopback());
        TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
    }
}
