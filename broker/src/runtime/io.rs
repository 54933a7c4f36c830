//! The two kinds of byte stream a link runs on.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// A stream as it is handed to the core thread: the broker's end, not yet registered anywhere.
#[derive(Debug)]
pub enum Connection {
    /// A Unix socket (inherited pair or dialled in).
    Socket(StdUnixStream),
    /// A child's stdin and stdout.
    Stdio {
        /// We write here.
        stdin: OwnedFd,
        /// We read here.
        stdout: OwnedFd,
    },
}

/// A stream registered with the core thread's reactor.
#[derive(Debug)]
pub(crate) enum LinkIo {
    Socket(UnixStream),
    Stdio {
        write: pipe::Sender,
        read: pipe::Receiver,
    },
}

impl LinkIo {
    pub(crate) fn open(connection: Connection) -> io::Result<Self> {
        Ok(match connection {
            Connection::Socket(stream) => {
                stream.set_nonblocking(true)?;
                Self::Socket(UnixStream::from_std(stream)?)
            }
            Connection::Stdio { stdin, stdout } => Self::Stdio {
                write: pipe::Sender::from_owned_fd(stdin)?,
                read: pipe::Receiver::from_owned_fd(stdout)?,
            },
        })
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Socket(stream) => stream.ready(Interest::READABLE).await.map(|_| ()),
            Self::Stdio { read, .. } => read.readable().await,
        }
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Socket(stream) => stream.writable().await,
            Self::Stdio { write, .. } => write.writable().await,
        }
    }

    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.try_read(buffer),
            Self::Stdio { read, .. } => read.try_read(buffer),
        }
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.try_write(bytes),
            Self::Stdio { write, .. } => write.try_write(bytes),
        }
    }
}
