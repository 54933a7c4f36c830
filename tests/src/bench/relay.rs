//! The raw relay: the same four socket hops as client → daemon → plugin → daemon → client, without parsing.
//!
//! Two more processes of this program: one passes lines on both ways, one sends each line back. Lines have the
//! size of a delivery, reads and writes are as large as what is there.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};

/// Hidden argument of the process in the middle; the descriptors follow.
pub const RELAY: &str = "__relay";
/// Hidden argument of the process at the end.
pub const BOUNCE: &str = "__bounce";

/// Bytes per line, newline included: about those of a `broker.event` with a small payload.
pub const LINE_BYTES: usize = 512;

/// Both processes and this side's end.
pub struct Relay {
    stream: UnixStream,
    children: Vec<Child>,
}

impl Relay {
    /// Starts both processes.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start() -> anyhow::Result<Self> {
        let (client, left) = UnixStream::pair()?;
        let (right, plugin) = UnixStream::pair()?;
        let relay = child(&[RELAY], &[&left, &right])?;
        let bounce = child(&[BOUNCE], &[&plugin])?;
        Ok(Self {
            stream: client,
            children: vec![relay, bounce],
        })
    }

    /// One line there and back, again and again. p50 in microseconds.
    ///
    /// # Errors
    /// When a process died.
    pub fn round_trips(&mut self, count: usize) -> anyhow::Result<f64> {
        let line = line();
        let mut buffer = vec![0u8; LINE_BYTES];
        let mut latencies: Vec<Duration> = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            self.stream.write_all(&line)?;
            self.stream.read_exact(&mut buffer)?;
            latencies.push(start.elapsed());
        }
        Ok(super::rig::p50_us(&mut latencies))
    }

    /// Round trips per second with `window` lines in flight.
    ///
    /// # Errors
    /// When a process died.
    pub fn throughput(&mut self, count: usize, window: usize) -> anyhow::Result<f64> {
        let lines = line().repeat(window);
        let mut buffer = vec![0u8; 1 << 16];
        let (mut sent, mut back_bytes) = (0usize, 0usize);
        let start = Instant::now();
        while back_bytes < count * LINE_BYTES {
            let room = (window - (sent - back_bytes / LINE_BYTES)).min(count - sent);
            self.stream.write_all(&lines[..room * LINE_BYTES])?;
            sent += room;
            let read = self.stream.read(&mut buffer)?;
            ensure!(read > 0, "the relay ended");
            back_bytes += read;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.stream.shutdown(std::net::Shutdown::Both).is_err() {
            eprintln!("the relay was gone already");
        }
        for child in &mut self.children {
            if child.wait().is_err() {
                eprintln!("the relay was reaped already");
            }
        }
    }
}

fn line() -> Vec<u8> {
    let mut line = vec![b'x'; LINE_BYTES];
    line[LINE_BYTES - 1] = b'\n';
    line
}

/// Starts this program with inherited descriptors, named by number after the arguments.
fn child(arguments: &[&str], streams: &[&UnixStream]) -> anyhow::Result<Child> {
    for stream in streams {
        fcntl_setfd(stream, FdFlags::empty())?;
    }
    let numbers = streams.iter().map(|stream| stream.as_raw_fd().to_string());
    let child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .args(numbers)
        .spawn()?;
    for stream in streams {
        fcntl_setfd(stream, FdFlags::CLOEXEC)?;
    }
    Ok(child)
}

#[expect(unsafe_code, reason = "an inherited descriptor has no owner yet")]
fn inherited(number: &str) -> anyhow::Result<UnixStream> {
    let number = number.parse()?;
    // SAFETY: the parent passed this descriptor to this process alone, and it is taken once.
    Ok(UnixStream::from(unsafe { OwnedFd::from_raw_fd(number) }))
}

/// The process in the middle: bytes from either side go to the other.
///
/// # Errors
/// When a socket fails.
pub fn run_relay(descriptors: &[String]) -> anyhow::Result<()> {
    let mut left = inherited(&descriptors[0])?;
    let mut right = inherited(&descriptors[1])?;
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let (from_left, from_right) = {
            let mut fds = [
                PollFd::new(&left, PollFlags::IN),
                PollFd::new(&right, PollFlags::IN),
            ];
            poll(&mut fds, None)?;
            (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
        };
        if from_left && !pass(&mut left, &mut right, &mut buffer)? {
            return Ok(());
        }
        if from_right && !pass(&mut right, &mut left, &mut buffer)? {
            return Ok(());
        }
    }
}

fn pass(from: &mut UnixStream, to: &mut UnixStream, buffer: &mut [u8]) -> anyhow::Result<bool> {
    let count = from.read(buffer)?;
    to.write_all(&buffer[..count])?;
    Ok(count > 0)
}

/// The process at the end: what comes goes back.
///
/// # Errors
/// When the socket fails.
pub fn run_bounce(descriptors: &[String]) -> anyhow::Result<()> {
    let mut stream = inherited(&descriptors[0])?;
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}
