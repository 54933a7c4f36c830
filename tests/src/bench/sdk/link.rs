//! One plugin process and the broker's side of its link: started, greeted, ready.
//!
//! The link is a socket pair whose number is in `TRUNKLINE_LINK_FD`, or standard input and output for a foreign
//! SDK. Reading and writing never block: a plugin that is slow to read is no reason not to read from it.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

use super::contestant::{Contestant, Form};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes asked for at once.
const READ_BYTES: usize = 1 << 18;

/// A running plugin.
pub struct Plugin {
    child: Child,
    reader: std::fs::File,
    writer: std::fs::File,
    /// What arrived and is not handled yet.
    input: Vec<u8>,
    /// What is to be written.
    pub output: Vec<u8>,
    written: usize,
    chunk: Vec<u8>,
    /// Bytes of the input that hold no newline.
    searched: usize,
    /// The subscription that the plugin declared; none for a foreign SDK.
    pub subscription: Option<String>,
    /// Most events in flight that it accepts.
    pub credit: usize,
    /// From the start of the process to ready.
    pub start: Duration,
}

impl Plugin {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or says something unexpected.
    pub fn start(contestant: &Contestant, form: Form) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let mut command = contestant.command(form);
        let (child, reader, writer) = if contestant.is_foreign {
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let stdin = child.stdin.take().context("piped above")?;
            let stdout = child.stdout.take().context("piped above")?;
            (child, OwnedFd::from(stdout), OwnedFd::from(stdin))
        } else {
            let (ours, theirs) = UnixStream::pair()?;
            let child = with_link(&mut command, &theirs)?;
            (
                child,
                ours.as_fd().try_clone_to_owned()?,
                OwnedFd::from(ours),
            )
        };
        ioctl_fionbio(&reader, true)?;
        ioctl_fionbio(&writer, true)?;
        let mut plugin = Self {
            child,
            reader: reader.into(),
            writer: writer.into(),
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            chunk: vec![0; READ_BYTES],
            searched: 0,
            subscription: None,
            credit: 256,
            start: Duration::ZERO,
        };
        plugin
            .greet(contestant.is_foreign)
            .with_context(|| format!("the handshake of {}", contestant.name))?;
        plugin.start = begin.elapsed();
        Ok(plugin)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn greet(&mut self, is_foreign: bool) -> anyhow::Result<()> {
        let state_dir = std::env::temp_dir();
        let answer = self.ask(
            1,
            "initialize",
            json!({
                "protocol": { "name": "trunkline", "min": "1.0", "max": "1.0" },
                "host": { "name": "trunkline", "version": env!("CARGO_PKG_VERSION") },
                "nexo_version": "0.1.5", "plugin": "echo", "instance": "default",
                "config": {}, "secrets": {}, "state_dir": state_dir,
                "limits": { "frame_bytes_max": 1 << 20, "event_bytes_max": (1 << 20) - 16384 },
                "services": ["kv", "lock", "log"],
            }),
        )?;
        if is_foreign {
            return Ok(());
        }
        ensure!(
            answer["protocol"] == "trunkline/1.0",
            "expected trunkline/1.0, found {answer}"
        );
        let own = match answer["subscriptions"][0]["name"].as_str() {
            Some(name) => format!(".{name}"),
            None => String::new(),
        };
        self.subscription = Some(format!("instance.echo.default{own}"));
        if let Some(events) = answer["accepts"]["events"].as_u64() {
            self.credit = events as usize;
        }
        self.ask(2, "instance.activate", json!({ "generation": 1 }))?;
        loop {
            let message = self.next_message()?;
            if message["method"] == "instance.status" {
                ensure!(
                    message["params"]["state"] == "ready",
                    "expected ready, found {message}"
                );
                return Ok(());
            }
        }
    }

    /// Asks and waits for the answer, as slow as it likes: not for measuring.
    ///
    /// # Errors
    /// When the plugin refuses, or ends.
    pub fn ask(&mut self, id: u64, method: &str, params: Value) -> anyhow::Result<Value> {
        let frame = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.output.extend_from_slice(frame.to_string().as_bytes());
        self.output.push(b'\n');
        loop {
            let mut message = self.next_message()?;
            if message["method"].is_null() && message["id"] == id {
                ensure!(
                    message["error"].is_null(),
                    "{method} was refused: {message}"
                );
                return Ok(message["result"].take());
            }
        }
    }

    /// Waits until a ping is answered, also with an error.
    ///
    /// # Errors
    /// When the plugin ends.
    pub fn ping(&mut self) -> anyhow::Result<()> {
        self.output.extend_from_slice(
            b"{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\",\"params\":{}}\n",
        );
        while self.next_message()?["id"] != 9 {}
        Ok(())
    }

    fn next_message(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                // A foreign SDK may print to standard output before it speaks.
                match serde_json::from_slice(&line) {
                    Ok(message) => return Ok(message),
                    Err(_) => continue,
                }
            }
            self.turn(|_, _| Ok(()), false)?;
        }
    }

    /// Writes what it can, waits for something to read or room to write, and gives each line to `each`, which may
    /// add to the output. With `take` off the lines stay.
    ///
    /// # Errors
    /// When the plugin ends or `each` fails.
    pub fn turn(
        &mut self,
        mut each: impl FnMut(&[u8], &mut Vec<u8>) -> anyhow::Result<()>,
        take: bool,
    ) -> anyhow::Result<()> {
        self.write()?;
        let mut read = self.read()?;
        if read == 0 {
            self.wait()?;
            read = self.read()?;
            self.write()?;
        }
        if !take || read == 0 {
            return Ok(());
        }
        let mut from = 0;
        let mut search = self.searched;
        while let Some(found) = memchr::memchr(b'\n', &self.input[search..]) {
            let end = search + found;
            each(&self.input[from..end], &mut self.output)?;
            from = end + 1;
            search = from;
        }
        self.input.drain(..from);
        self.searched = self.input.len();
        Ok(())
    }

    fn read(&mut self) -> anyhow::Result<usize> {
        match self.reader.read(&mut self.chunk) {
            Ok(0) => bail!("the plugin ended its link"),
            Ok(count) => {
                self.input.extend_from_slice(&self.chunk[..count]);
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        while self.written < self.output.len() {
            match self.writer.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    fn wait(&self) -> anyhow::Result<()> {
        let mut fds = vec![PollFd::new(&self.reader, PollFlags::IN)];
        if !self.output.is_empty() {
            fds.push(PollFd::new(&self.writer, PollFlags::OUT));
        }
        ensure!(
            poll(&mut fds, Some(&patience()))? > 0,
            "the plugin said nothing for {PATIENCE:?}"
        );
        Ok(())
    }

    /// Ends it as the broker does, and waits for its end.
    ///
    /// # Errors
    /// When it does not answer, or ends with another status than 0.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.ask(
            3,
            "shutdown",
            json!({ "reason": "done", "timeout_ms": 5000 }),
        )?;
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let ended = pidfd_open(pid.context("its process id")?, PidfdFlags::empty())?;
        let mut fds = [PollFd::new(&ended, PollFlags::IN)];
        ensure!(
            poll(&mut fds, Some(&patience()))? > 0,
            "the plugin did not end within {PATIENCE:?} of its answer to shutdown"
        );
        let status = self.child.wait()?;
        ensure!(status.success(), "expected status 0, found {status}");
        Ok(())
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let ended = self.child.kill().is_ok() && self.child.wait().is_ok();
            if !ended {
                eprintln!("the plugin {} did not end", self.child.id());
            }
        }
    }
}

fn patience() -> Timespec {
    Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    }
}

/// Starts the command with its end of the link.
fn with_link(command: &mut Command, theirs: &UnixStream) -> anyhow::Result<Child> {
    fcntl_setfd(theirs, FdFlags::empty())?;
    let child = command
        .env("TRUNKLINE_LINK_FD", theirs.as_raw_fd().to_string())
        .env("TRUNKLINE_PLUGIN", "echo")
        .env("TRUNKLINE_INSTANCE", "default")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    fcntl_setfd(theirs, FdFlags::CLOEXEC)?;
    Ok(child?)
}
