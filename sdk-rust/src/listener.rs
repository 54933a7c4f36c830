//! The socket of a plugin's own HTTP server: made by the daemon, inherited, and open across restarts.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use trunkline_contract::error::{Code, Error};

/// The variable that names the descriptor.
const VARIABLE: &str = "TRUNKLINE_HTTP_FD";

/// Listens for what the daemon passes on to a plugin's own HTTP server.
///
/// It blocks; for an asynchronous server say `set_nonblocking(true)` first.
///
/// ```no_run
/// # fn start(ctx: trunkline::InstanceContext) -> trunkline::Result<()> {
/// match ctx.listener()? {
///     trunkline::Listener::Unix(listener) => drop(listener.accept()?),
///     trunkline::Listener::Tcp(listener) => drop(listener.accept()?),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum Listener {
    /// A unix socket: the rule.
    Unix(UnixListener),
    /// A port of 127.0.0.1, where the manifest says `socket = "tcp"`.
    Tcp(TcpListener),
}

impl Listener {
    /// Makes accepting wait, or not.
    ///
    /// # Errors
    /// The system's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Unix(listener) => listener.set_nonblocking(nonblocking),
            Self::Tcp(listener) => listener.set_nonblocking(nonblocking),
        }
    }

    /// Names what it listens on.
    #[cfg(feature = "host")]
    pub(crate) fn family(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tcp(_) => "tcp",
        }
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        match listener {
            Listener::Unix(listener) => listener.into(),
            Listener::Tcp(listener) => listener.into(),
        }
    }
}

/// Gives a listener of its own to whoever asks; the inherited one stays, for the next.
pub(crate) fn inherited() -> Result<Listener, Error> {
    let Ok(number) = std::env::var(VARIABLE) else {
        return Err(Error::new(
            Code::NotFound,
            "expected a listening socket, found none: the daemon hands one over where plugin.toml has \
             [capabilities] http_server = true and trunkline.toml has [grants.<plugin>] http_server = true",
        ));
    };
    listener(&number).map_err(|error| {
        let text =
            format!("expected {VARIABLE} to name a listening socket, found {number:?}: {error}");
        Error::new(Code::LinkLost, text)
    })
}

#[expect(
    unsafe_code,
    reason = "an inherited descriptor is only known by its number"
)]
fn listener(number: &str) -> io::Result<Listener> {
    let invalid = |text: &'static str| io::Error::new(io::ErrorKind::InvalidInput, text);
    let number: i32 = number.parse().map_err(|_| invalid("not a number"))?;
    if number <= 2 || !std::path::Path::new(&format!("/proc/self/fd/{number}")).exists() {
        return Err(invalid("not open"));
    }
    // SAFETY: the descriptor is open. The launcher made it for this alone and nothing here closes it, so it
    // stays open while it is borrowed.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    if !rustix::net::sockopt::socket_acceptconn(fd)? {
        return Err(invalid("not listening"));
    }
    // A child of the plugin has no business with it.
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    let own = fd.as_fd().try_clone_to_owned()?;
    let domain = rustix::net::sockopt::socket_domain(&own)?;
    Ok(if domain == rustix::net::AddressFamily::UNIX {
        Listener::Unix(own.into())
    } else {
        Listener::Tcp(own.into())
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_listening_socket_is_given_as_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(dir.path().join("s")).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = |fd: i32| listener(&fd.to_string());
        for _ in 0..2 {
            assert!(matches!(number(unix.as_raw_fd()), Ok(Listener::Unix(_))));
            assert!(matches!(number(tcp.as_raw_fd()), Ok(Listener::Tcp(_))));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        for wrong in ["", "x", "1", "99999", &file.as_raw_fd().to_string()] {
            assert!(listener(wrong).is_err(), "{wrong}");
        }
    }
}
