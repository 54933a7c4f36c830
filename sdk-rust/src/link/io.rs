//! The byte stream under a link: a socket, or the two pipes of `stdio`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use rustix::net::SendFlags;

/// A non-blocking byte stream in both directions.
#[derive(Debug)]
pub(crate) enum Stream {
    /// A Unix socket.
    Socket(UnixStream),
    /// A pipe each way.
    Pipes {
        /// Where frames come from.
        read: OwnedFd,
        /// Where frames go.
        write: OwnedFd,
    },
}

impl Stream {
    pub(crate) fn socket(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::Socket(socket))
    }

    pub(crate) fn pipes(read: OwnedFd, write: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&read, true)?;
        rustix::io::ioctl_fionbio(&write, true)?;
        Ok(Self::Pipes { read, write })
    }

    pub(crate) fn read_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(socket) => socket.as_fd(),
            Self::Pipes { read, .. } => read.as_fd(),
        }
    }

    pub(crate) fn write_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(socket) => socket.as_fd(),
            Self::Pipes { write, .. } => write.as_fd(),
        }
    }

    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(self.read_fd(), &mut *into) {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let done = match self {
                // Without the flag a vanished broker would kill a host that left SIGPIPE alone.
                Self::Socket(socket) => rustix::net::send(socket, bytes, SendFlags::NOSIGNAL),
                Self::Pipes { write, .. } => rustix::io::write(write, bytes),
            };
            match done {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Says whether there is something to read now, the end included.
    pub(crate) fn is_readable(&self) -> bool {
        let fd = self.read_fd();
        let mut polled = [PollFd::new(&fd, PollFlags::IN)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Ends the stream in both directions; the other side sees its end.
    pub(crate) fn shut(&self) {
        if let Self::Socket(socket) = self
            && let Err(error) = socket.shutdown(std::net::Shutdown::Both)
        {
            tracing::trace!(%error, "The socket was closed already.");
        }
    }
}
