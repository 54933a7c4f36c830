//! Accompanies one process from its launch to its last words.
//!
//! One task per process; it knows no policy and tells the engine what happens, in order: started,
//! then spawned and later exited, or not spawned. What is checked before is told by a task of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::exit::{ExitReport, Tail};
use super::launcher::LaunchFailure;
use super::links::Connection;
use super::logs::{Cutter, Logs, Stream};
use super::reap::Process;
use super::spawn::Child;
use crate::instance::InstanceKey;

/// The most a launcher says about its failure, in bytes.
const FAILURE_BYTES_MAX: u64 = 64 * 1024;
/// What is read at once, in bytes.
const READ_BYTES: usize = 32 * 1024;
/// What is still read after the process has ended: more than a pipe holds, and bounded, because
/// somebody else may go on writing.
const LAST_BYTES_MAX: usize = 256 * 1024;

/// What happened to a process.
#[derive(Debug)]
pub(super) enum News {
    /// The package that it is started from was checked: by which check, and why it may not be started.
    Checked(u64, Option<LaunchFailure>),
    /// There is a process that can be signalled; the plugin may not run yet.
    Started(Arc<Process>),
    /// The plugin's program runs.
    Spawned(Connection),
    /// The program could not be run, and nothing is left of the process.
    NotSpawned(LaunchFailure),
    /// The process is reaped.
    Exited(ExitReport),
    /// Its link should have been read to its end by now.
    LinkIsLate,
}

/// Tells the engine about one process.
pub(super) struct Teller {
    /// Its seat.
    pub(super) key: InstanceKey,
    pub(super) news: mpsc::Sender<(InstanceKey, News)>,
    pub(super) logs: Logs,
}

impl Teller {
    pub(super) async fn tell(&self, news: News) {
        if self.news.send((self.key.clone(), news)).await.is_err() {
            tracing::debug!(instance = %self.key, "Supervisor ended before its process.");
        }
    }

    /// Accompanies the process that a start gives.
    pub(super) async fn accompany(self, start: impl Future<Output = Result<Child, LaunchFailure>>) {
        let child = match start.await {
            Ok(child) => child,
            Err(failure) => return self.not_spawned(failure).await,
        };
        let process = match Process::new(child.pid, child.pidfd, child.guard) {
            Ok(process) => Arc::new(process),
            Err(error) => {
                let failure = LaunchFailure::new("watch", "process", &error);
                return self.not_spawned(failure).await;
            }
        };
        self.tell(News::Started(process.clone())).await;
        let (ended, has_ended) = watch::channel(false);
        let tail = Arc::new(Mutex::new(Tail::default()));
        let stdout = child
            .stdout
            .map(|pipe| self.read(pipe, Stream::Stdout, None, has_ended.clone()));
        let stderr = self.read(child.stderr, Stream::Stderr, Some(tail.clone()), has_ended);

        let failure = launch_failure(child.control).await;
        let has_failed = failure.is_some();
        if !has_failed {
            self.tell(News::Spawned(child.connection)).await;
        }
        let end = process.ended().await;
        // The readers take what the pipes still hold, and no more: a grandchild may have them.
        ended.send_replace(true);
        for reader in stdout.into_iter().chain([stderr]) {
            if let Err(error) = reader.await {
                tracing::error!(instance = %self.key, %error, "Log reader failed.");
            }
        }
        if let Some(failure) = failure {
            return self.not_spawned(failure).await;
        }
        let (code, signal) = match end {
            Ok(end) => (end.code, end.signal),
            Err(error) => {
                tracing::error!(instance = %self.key, %error, "Process cannot be waited for.");
                (None, None)
            }
        };
        let tail = tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .text(self.logs.redactor());
        let exit = ExitReport::new(code, signal, tail);
        let level = if exit.is_clean() { "info" } else { "warn" };
        let name = self.key.of_seat();
        self.logs.settle(&name);
        self.logs
            .line(&name, Stream::Supervisor, level, &exit.to_string());
        self.tell(News::Exited(exit)).await;
    }

    /// Notes that there is no process.
    pub(super) fn log_not_spawned(&self, failure: &LaunchFailure) {
        self.logs.line(
            &self.key.of_seat(),
            Stream::Supervisor,
            "error",
            &failure.to_string(),
        );
    }

    async fn not_spawned(&self, failure: LaunchFailure) {
        self.log_not_spawned(&failure);
        self.tell(News::NotSpawned(failure)).await;
    }

    /// Reads one stream into the log until it ends, or the process has ended and it is empty.
    fn read(
        &self,
        pipe: OwnedFd,
        stream: Stream,
        tail: Option<Arc<Mutex<Tail>>>,
        has_ended: watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let reader = Reader {
            key: self.key.of_seat(),
            logs: self.logs.clone(),
            stream,
            tail,
            cutter: Cutter::default(),
        };
        tokio::spawn(reader.run(pipe, has_ended))
    }
}

/// Waits until the launcher has become the plugin (none) or has said why not.
async fn launch_failure(control: std::os::unix::net::UnixStream) -> Option<LaunchFailure> {
    let mut said = Vec::new();
    let control = tokio::net::UnixStream::from_std(control).ok()?;
    let read = control.take(FAILURE_BYTES_MAX).read_to_end(&mut said).await;
    // A launcher that was killed says nothing: its exit tells.
    if said.is_empty() || read.is_err() {
        return None;
    }
    Some(serde_json::from_slice(&said).unwrap_or_else(|error| {
        LaunchFailure::new("understand", "the launcher", &io::Error::other(error))
    }))
}

struct Reader {
    key: InstanceKey,
    logs: Logs,
    stream: Stream,
    tail: Option<Arc<Mutex<Tail>>>,
    cutter: Cutter,
}

impl Reader {
    async fn run(mut self, pipe: OwnedFd, mut has_ended: watch::Receiver<bool>) {
        let result = match pipe::Receiver::from_owned_fd(pipe) {
            Ok(pipe) => self.drain(&pipe, &mut has_ended).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(instance = %self.key, %error, "Process output is not readable.");
        }
        let Self {
            key,
            logs,
            stream,
            cutter,
            ..
        } = &mut self;
        cutter.finish(|line| logs.line(key, *stream, "info", line));
    }

    async fn drain(
        &mut self,
        pipe: &pipe::Receiver,
        has_ended: &mut watch::Receiver<bool>,
    ) -> io::Result<()> {
        loop {
            let is_last = tokio::select! {
                ready = pipe.readable() => {
                    ready?;
                    false
                }
                _ = has_ended.wait_for(|ended| *ended) => true,
            };
            let bytes_max = if is_last { LAST_BYTES_MAX } else { READ_BYTES };
            // Held only while there is something to read: most processes are silent.
            let mut buffer = vec![0; READ_BYTES];
            let mut read = 0;
            while read < bytes_max {
                match pipe.try_read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => {
                        read += count;
                        self.take(&buffer[..count]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some(tail) = &self.tail {
            tail.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(bytes);
        }
        let Self {
            key,
            logs,
            stream,
            cutter,
            ..
        } = self;
        cutter.push(bytes, |line| logs.line(key, *stream, "info", line));
    }
}
