//! Standard input, also where whoever started the command has made it non-blocking for itself, as Node does with a pipe.

use std::io::{self, BufRead, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};

/// Opens standard input for reading line by line.
pub(crate) fn input() -> impl BufRead {
    io::BufReader::new(Patient(io::stdin().lock()))
}

/// Waits where there is nothing to read yet.
struct Patient<R>(R);

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => readable(self.0.as_fd())?,
                read => return read,
            }
        }
    }
}

fn readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_pipe_that_does_not_block_is_waited_for() {
        let (theirs, mut ours) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let reader = std::thread::spawn(move || {
            let mut lines = io::BufReader::new(Patient(theirs)).lines();
            let first = lines.next().unwrap().unwrap();
            (first, lines.next().is_none())
        });
        ours.write_all(b"hi ").unwrap();
        ours.write_all(b"there\n").unwrap();
        drop(ours);
        assert_eq!(reader.join().unwrap(), ("hi there".to_owned(), true));
    }
}
