//! Takes lines from everywhere, hands them to the disk and to followers.
//!
//! Taking a line never waits: one thread writes all files, from a bounded queue.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{broadcast, oneshot};

use super::file::{LogFile, last_lines};
use super::limiter::Limiter;
use super::line::{LogLine, Redactor, Stream, instant, redact_members};
use crate::clock::Clock;
use crate::instance::InstanceKey;

/// Lines waiting for the disk; more are suppressed.
const QUEUE_LINES_MAX: usize = 8_192;
/// Bytes waiting for the disk; more are suppressed.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Lines a follower may lag behind.
const FOLLOW_LINES_MAX: usize = 256;
/// Files kept open at the same time.
const OPEN_FILES_MAX: usize = 128;
/// How often the thread looks whether a count of suppressed lines is owed.
const IDLE: Duration = Duration::from_millis(500);

/// How much is logged and kept, per instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLimits {
    /// Lines per second, on average.
    pub lines_per_second: u64,
    /// Lines at once.
    pub lines_burst: u64,
    /// Bytes per second, on average.
    pub bytes_per_second: u64,
    /// Bytes at once.
    pub bytes_burst: u64,
    /// Bytes in one file.
    pub file_bytes: u64,
    /// Files.
    pub files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            lines_per_second: 1_000,
            lines_burst: 4_000,
            bytes_per_second: 1 << 20,
            bytes_burst: 4 << 20,
            file_bytes: 10 << 20,
            files: 5,
        }
    }
}

/// The logs of all instances; clones share them.
#[derive(Clone)]
pub struct Logs {
    shared: Arc<Shared>,
}

struct Shared {
    limits: LogLimits,
    redact: Redactor,
    clock: Arc<dyn Clock>,
    queue: SyncSender<Job>,
    queued_bytes: Arc<AtomicUsize>,
    instances: Mutex<HashMap<InstanceKey, Instance>>,
}

struct Instance {
    limiter: Limiter,
    followers: Option<broadcast::Sender<Arc<LogLine>>>,
}

enum Job {
    Line(InstanceKey, Vec<u8>),
    Last {
        key: InstanceKey,
        count: usize,
        reply: oneshot::Sender<io::Result<Vec<LogLine>>>,
    },
}

impl Logs {
    /// Starts the writing thread; files go below `directory`.
    pub fn start(
        directory: PathBuf,
        limits: LogLimits,
        redact: Redactor,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE_LINES_MAX);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            limits: limits.clone(),
            redact,
            clock,
            queue,
            queued_bytes: queued_bytes.clone(),
            instances: Mutex::new(HashMap::new()),
        });
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || {
                let mut writer = Writer {
                    directory,
                    limits,
                    queued_bytes,
                    files: HashMap::new(),
                    is_failing: false,
                };
                writer.run(&jobs, &weak);
            })?;
        Ok(Self { shared })
    }

    /// Returns what replaces secrets here.
    pub fn redactor(&self) -> &Redactor {
        &self.shared.redact
    }

    /// Tells how many lines of each instance were left out since the daemon started, by name.
    pub fn suppressed(&self) -> Vec<(InstanceKey, u64)> {
        let instances = self.shared.instances();
        let counts = instances.iter();
        let mut counts: Vec<_> = counts
            .map(|(key, instance)| (key.clone(), instance.limiter.suppressed_total()))
            .collect();
        drop(instances);
        counts.sort();
        counts
    }

    /// Logs what an instance says over its link.
    pub fn record(
        &self,
        key: &InstanceKey,
        level: &str,
        message: &str,
        fields: Map<String, Value>,
    ) {
        self.shared.log(key, Stream::Log, level, message, fields);
    }

    /// Logs what the broker has to say about an instance.
    pub fn remark(
        &self,
        key: &InstanceKey,
        level: &str,
        message: &str,
        fields: Map<String, Value>,
    ) {
        let stream = Stream::Supervisor;
        self.shared.log(key, stream, level, message, fields);
    }

    /// Logs a line that a process wrote, or that the supervisor has to say about it.
    pub(in crate::supervisor) fn line(
        &self,
        key: &InstanceKey,
        stream: Stream,
        level: &str,
        line: &str,
    ) {
        self.shared.log(key, stream, level, line, Map::new());
    }

    /// Writes the count of suppressed lines now, as the end of a process does.
    pub(in crate::supervisor) fn settle(&self, key: &InstanceKey) {
        let mut instances = self.shared.instances();
        if let Some(instance) = instances.get_mut(key) {
            let suppressed = instance.limiter.take_suppressed();
            self.shared.write_count(key, instance, suppressed);
        }
    }

    /// Reads the last lines of an instance, oldest first.
    pub async fn last(&self, key: &InstanceKey, count: usize) -> io::Result<Vec<LogLine>> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Last {
            key: key.clone(),
            count: count.min(10_000),
            reply,
        };
        let queue = self.shared.queue.clone();
        let gone = || io::Error::other("the thread that writes logs is gone");
        // The queue may be full for a moment, and then the answer must come after what is in it.
        tokio::task::spawn_blocking(move || queue.send(job))
            .await
            .map_err(io::Error::other)?
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Follows what an instance logs from now on.
    pub fn follow(&self, key: &InstanceKey) -> Follower {
        let mut instances = self.shared.instances();
        let instance = self.shared.instance(&mut instances, key);
        let followers = instance
            .followers
            .get_or_insert_with(|| broadcast::channel(FOLLOW_LINES_MAX).0);
        Follower {
            lines: followers.subscribe(),
        }
    }

    /// Forgets an instance that was removed; its files stay.
    pub(in crate::supervisor) fn forget(&self, key: &InstanceKey) {
        self.shared.instances().remove(key);
    }
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs")
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn instances(&self) -> MutexGuard<'_, HashMap<InstanceKey, Instance>> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn instance<'a>(
        &self,
        instances: &'a mut HashMap<InstanceKey, Instance>,
        key: &InstanceKey,
    ) -> &'a mut Instance {
        let new = || Instance {
            limiter: Limiter::new(&self.limits, self.clock.now().mono_ms),
            followers: None,
        };
        instances.entry(key.clone()).or_insert_with(new)
    }

    fn log(
        &self,
        key: &InstanceKey,
        stream: Stream,
        level: &str,
        text: &str,
        fields: Map<String, Value>,
    ) {
        let now_ms = self.clock.now().mono_ms;
        let mut instances = self.instances();
        let instance = self.instance(&mut instances, key);
        if !instance
            .limiter
            .admits(&self.limits, now_ms, text.len() + 1)
        {
            return;
        }
        let suppressed = instance.limiter.take_suppressed();
        self.write_count(key, instance, suppressed);
        let fields = redact_members(fields, &self.redact);
        let line = self.stamped(stream, level, (self.redact)(text).into_owned(), fields);
        self.write(key, instance, line);
    }

    fn stamped(
        &self,
        stream: Stream,
        level: &str,
        line: String,
        fields: Map<String, Value>,
    ) -> LogLine {
        let at = instant(self.clock.now().wall_ms);
        LogLine {
            at,
            stream,
            level: level.to_owned(),
            line,
            fields,
        }
    }

    fn write_count(&self, key: &InstanceKey, instance: &mut Instance, suppressed: u64) {
        if suppressed > 0 {
            let text = format!("suppressed {suppressed} lines: more than this instance may log");
            let fields = Map::from_iter([("suppressed".to_owned(), suppressed.into())]);
            let line = self.stamped(Stream::Supervisor, "warn", text, fields);
            self.write(key, instance, line);
        }
    }

    fn write(&self, key: &InstanceKey, instance: &mut Instance, line: LogLine) {
        let Ok(mut bytes) = serde_json::to_vec(&line) else {
            return;
        };
        bytes.push(b'\n');
        let size = bytes.len();
        let queued = self.queued_bytes.fetch_add(size, Ordering::Relaxed);
        if queued > QUEUE_BYTES_MAX || self.queue.try_send(Job::Line(key.clone(), bytes)).is_err() {
            self.queued_bytes.fetch_sub(size, Ordering::Relaxed);
            instance.limiter.lost();
            return;
        }
        if let Some(followers) = &instance.followers
            && followers.send(Arc::new(line)).is_err()
        {
            instance.followers = None;
        }
    }

    /// Writes the counts that are owed for instances that have fallen silent.
    fn settle_silent(&self) {
        let now_ms = self.clock.now().mono_ms;
        for (key, instance) in &mut *self.instances() {
            if instance.limiter.owes_a_count(&self.limits, now_ms) {
                let suppressed = instance.limiter.take_suppressed();
                self.write_count(key, instance, suppressed);
            }
        }
    }
}

/// Follows one instance's log.
#[derive(Debug)]
pub struct Follower {
    lines: broadcast::Receiver<Arc<LogLine>>,
}

/// What a follower sees.
#[derive(Clone, PartialEq, Debug)]
pub enum Followed {
    /// A line.
    Line(Arc<LogLine>),
    /// The follower was too slow and missed this many lines.
    Skipped(u64),
}

impl Follower {
    /// Waits for what comes next; none once the instance was removed.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Followed> {
        match self.lines.recv().await {
            Ok(line) => Some(Followed::Line(line)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Followed::Skipped(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The thread's side: all files.
struct Writer {
    directory: PathBuf,
    limits: LogLimits,
    queued_bytes: Arc<AtomicUsize>,
    files: HashMap<InstanceKey, LogFile>,
    is_failing: bool,
}

impl Writer {
    fn run(&mut self, jobs: &Receiver<Job>, shared: &Weak<Shared>) {
        let mut is_flushed = true;
        loop {
            let job = match jobs.try_recv() {
                Ok(job) => job,
                Err(_) => {
                    if !std::mem::replace(&mut is_flushed, true) {
                        self.flush();
                    }
                    match jobs.recv_timeout(IDLE) {
                        Ok(job) => job,
                        Err(RecvTimeoutError::Timeout) => {
                            if let Some(shared) = shared.upgrade() {
                                shared.settle_silent();
                            }
                            continue;
                        }
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            };
            match job {
                Job::Line(key, line) => {
                    is_flushed = false;
                    self.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    let result = self.append(&key, &line);
                    self.note(&key, result);
                }
                Job::Last { key, count, reply } => {
                    self.flush();
                    let lines = last_lines(&self.directory, &key, count, self.limits.files);
                    // Whoever asked may have gone.
                    let _best_effort = reply.send(lines);
                }
            }
        }
    }

    fn append(&mut self, key: &InstanceKey, line: &[u8]) -> io::Result<()> {
        if !self.files.contains_key(key) {
            if self.files.len() >= OPEN_FILES_MAX {
                self.flush();
                self.files.clear();
            }
            let file = LogFile::open(Path::new(&self.directory), key)?;
            self.files.insert(key.clone(), file);
        }
        match self.files.get_mut(key) {
            Some(file) => file.append(line, self.limits.file_bytes, self.limits.files),
            None => Ok(()),
        }
    }

    fn flush(&mut self) {
        let results: Vec<_> = self
            .files
            .iter_mut()
            .map(|(key, file)| (key.clone(), file.flush()))
            .collect();
        for (key, result) in results {
            self.note(&key, result);
        }
    }

    /// Tells of the first failure of a row; the lines are lost, the daemon goes on.
    fn note(&mut self, key: &InstanceKey, result: io::Result<()>) {
        match result {
            Ok(()) => self.is_failing = false,
            Err(error) => {
                self.files.remove(key);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(instance = %key, %error, "Log file is not writable.");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::clock::VirtualClock;

    fn logs(limits: LogLimits) -> (Logs, Arc<VirtualClock>, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(VirtualClock::new(0));
        let redact: Redactor = Arc::new(|text: &str| Cow::Owned(text.replace("hunter2", "***")));
        let logs = Logs::start(directory.path().to_owned(), limits, redact, clock.clone()).unwrap();
        (logs, clock, directory)
    }

    #[tokio::test]
    async fn what_is_recorded_is_redacted_and_can_be_read_again() {
        let (logs, _clock, _directory) = logs(LogLimits::default());
        let key = InstanceKey::new("echo", "one");
        let fields = serde_json::json!({"token": ["hunter2"], "n": 1});
        logs.record(
            &key,
            "error",
            "password is hunter2",
            fields.as_object().unwrap().clone(),
        );
        let lines = logs.last(&key, 10).await.unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].line, "password is ***");
        assert_eq!(lines[0].level, "error");
        assert_eq!(lines[0].at, "1970-01-01T00:00:00.000Z");
        assert_eq!(
            Value::from(lines[0].fields.clone()),
            serde_json::json!({"token": ["***"], "n": 1})
        );
    }

    #[tokio::test]
    async fn a_flood_leaves_its_first_lines_and_a_count() {
        let limits = LogLimits {
            lines_burst: 100,
            lines_per_second: 10,
            ..LogLimits::default()
        };
        let (logs, clock, _directory) = logs(limits);
        let key = InstanceKey::new("echo", "one");
        for n in 0..100_000 {
            logs.line(&key, Stream::Stdout, "info", &format!("line {n}"));
        }
        clock.advance(60_000);
        logs.line(&key, Stream::Stdout, "info", "after");
        let lines = logs.last(&key, 1_000).await.unwrap();
        assert_eq!(lines.len(), 102);
        let suppressed = lines.iter().find_map(|line| line.fields.get("suppressed"));
        assert_eq!(suppressed, Some(&Value::from(99_900)));
        assert_eq!(lines.last().unwrap().line, "after");
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_how_much_it_missed() {
        let (logs, _clock, _directory) = logs(LogLimits::default());
        let key = InstanceKey::new("echo", "one");
        let mut follower = logs.follow(&key);
        for n in 0..FOLLOW_LINES_MAX + 44 {
            logs.line(&key, Stream::Stdout, "info", &n.to_string());
        }
        assert_eq!(follower.next().await, Some(Followed::Skipped(44)));
        let Some(Followed::Line(line)) = follower.next().await else {
            panic!("a line follows")
        };
        assert_eq!(line.line, "44");
        logs.forget(&key);
        for _ in 0..FOLLOW_LINES_MAX - 1 {
            assert!(matches!(follower.next().await, Some(Followed::Line(_))));
        }
        assert_eq!(follower.next().await, None);
    }
}
