//! The host's own thread: one small runtime on which the core works, and the inbox through which
//! the host language reaches it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use trunkline_contract::error::{Code, Error};

use super::handles::Handles;
use super::outcome::Completion;
use super::queue::{HostMsg, Queue, Wake};
use super::turn::{self, Said};
use super::{beat, calls, logs, scope, tells};
use crate::hub::Stop;
use crate::payload::Bytes;

/// Calls that may wait for their answers; beyond, they are refused.
const CALLS_MAX: usize = 64 * 1024;

/// Is the core as a host language sees it; a clone is the same one.
///
/// It has a thread of its own. Cancel safety: a call that is cancelled may or may not have happened.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    wake: Wake,
    queue: Queue,
    inbox: Mutex<Inbox>,
    arrived: Notify,
    handles: Handles,
    runtime: tokio::runtime::Handle,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    quit: Stop,
    calls: AtomicUsize,
    pub(super) serving: AtomicUsize,
    idle: Notify,
    pub(super) blocked_ms: AtomicU64,
    is_closed: AtomicBool,
    pid: u32,
}

#[derive(Default)]
struct Inbox {
    items: Vec<Item>,
    is_woken: bool,
}

enum Item {
    Complete(Vec<Completion>),
    Call {
        op: u64,
        target: u64,
        name: String,
        args: Bytes,
    },
    CallText {
        op: u64,
        target: u64,
        name: String,
        args: String,
    },
    Turn(String),
    Cancel(u64),
    Answered(u64),
}

impl Host {
    /// Starts the core's thread.
    ///
    /// # Errors
    /// [`Code::Internal`] when the machine has no room for a thread.
    pub fn start(wake: Wake) -> Result<Self, Error> {
        let failed = |error: std::io::Error| {
            Error::new(Code::Internal, format!("the core cannot start: {error}"))
        };
        crate::panic::install();
        logs::install();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let host = Self {
            inner: Arc::new(Inner {
                wake,
                queue: Queue::default(),
                inbox: Mutex::default(),
                arrived: Notify::new(),
                handles: Handles::default(),
                runtime: runtime.handle().clone(),
                thread: Mutex::default(),
                quit: Stop::default(),
                calls: AtomicUsize::new(0),
                serving: AtomicUsize::new(0),
                idle: Notify::new(),
                blocked_ms: AtomicU64::new(beat::limit_ms()),
                is_closed: AtomicBool::new(false),
                pid: std::process::id(),
            }),
        };
        logs::follow(&host);
        let core = host.clone();
        let run = move || {
            runtime.block_on(async {
                tokio::spawn(beat::watch(core.clone()));
                tokio::select! {
                    () = core.read_inbox() => {}
                    () = core.inner.quit.wait() => {}
                }
            });
            drop(core);
            // A task that hangs must not keep the process.
            runtime.shutdown_timeout(Duration::from_millis(100));
        };
        let thread = std::thread::Builder::new().name("trunkline".into());
        let thread = thread.spawn(run).map_err(failed)?;
        *lock(&host.inner.thread) = Some(thread);
        Ok(host)
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(super) fn weak(&self) -> std::sync::Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    pub(super) fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(super) fn handles(&self) -> &Handles {
        &self.inner.handles
    }

    pub(super) fn push(&self, message: HostMsg) {
        if self.inner.queue.push(message) {
            (self.inner.wake)();
        }
    }

    pub(super) fn push_blocking(&self, message: HostMsg) {
        self.inner.queue.push_blocking(message);
    }

    pub(super) fn lag_ms(&self) -> u64 {
        self.inner.queue.lag_ms()
    }

    /// A child of `fork` has no core: its thread stayed with the parent.
    fn check(&self) -> Result<(), Error> {
        if self.inner.pid != std::process::id() {
            let text = "the core was started before this process was forked; \
                        hint: use the start method `spawn`, or start it in the child";
            return Err(Error::new(Code::Internal, text));
        }
        if self.inner.is_closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        Ok(())
    }

    /// Gives what waits, oldest first, at most `most`. When more is left, the host is woken again.
    pub fn take(&self, most: usize) -> Vec<HostMsg> {
        self.take_within(most, usize::MAX)
    }

    /// Gives what waits as [`Host::take`] does, but no more once it holds this many bytes of JSON.
    pub fn take_within(&self, most: usize, bytes: usize) -> Vec<HostMsg> {
        let (taken, is_left) = self.inner.queue.take(most, bytes);
        if is_left {
            (self.inner.wake)();
        }
        taken
    }

    /// Waits for events of handlers that block, at most `most`; none when the core is closed.
    pub fn take_blocking(&self, most: usize) -> Vec<HostMsg> {
        self.inner.queue.take_blocking(most)
    }

    /// Takes what was decided. A ticket that is not known any more is ignored: it was cancelled.
    pub fn complete(&self, completions: Vec<Completion>) {
        self.send(Item::Complete(completions), true);
    }

    /// Asks for something by name; the answer comes as [`HostMsg::Reply`] with this number.
    pub fn call(&self, op: u64, target: u64, name: &str, args: Bytes) {
        match self.check().and_then(|()| self.count_call()) {
            Ok(()) => {
                let name = name.to_owned();
                let item = Item::Call {
                    op,
                    target,
                    name,
                    args,
                };
                self.send(item, true);
            }
            Err(error) => self.push(HostMsg::Reply {
                op,
                result: Err(error),
            }),
        }
    }

    fn count_call(&self) -> Result<(), Error> {
        if self.inner.calls.fetch_add(1, Ordering::Relaxed) < CALLS_MAX {
            return Ok(());
        }
        self.uncount_call();
        let text = format!("{CALLS_MAX} calls wait for their answers; hint: await them");
        Err(Error::new(Code::RateLimited, text))
    }

    fn uncount_call(&self) {
        self.inner.calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// Runs a task on the core's thread; it may be begun from any thread.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.runtime.spawn(task);
    }

    /// Gives the answer to a call that no task waits for.
    pub(super) fn answer(&self, op: u64, result: Result<Bytes, Error>) {
        self.inner.calls.fetch_sub(1, Ordering::Relaxed);
        self.push(HostMsg::Reply { op, result });
    }

    /// Does the same with the next [`Host::complete`] or [`Host::flush`]: one crossing for all that a
    /// turn of the host's loop asks for.
    ///
    /// The arguments are a text that nobody looked at yet; it is read on the core's thread.
    pub fn call_text_later(&self, op: u64, target: u64, name: &str, args: String) {
        match self.check().and_then(|()| self.count_call()) {
            Ok(()) => {
                let name = name.to_owned();
                let item = Item::CallText {
                    op,
                    target,
                    name,
                    args,
                };
                self.send(item, false);
            }
            Err(error) => self.push(HostMsg::Reply {
                op,
                result: Err(error),
            }),
        }
    }

    /// Sends what was asked for later.
    pub fn flush(&self) {
        let mut inbox = lock(&self.inner.inbox);
        let must_wake = !inbox.items.is_empty() && !std::mem::replace(&mut inbox.is_woken, true);
        drop(inbox);
        if must_wake {
            self.inner.arrived.notify_one();
        }
    }

    /// Takes all that a turn of the host's loop has to say, in the form that `turn.rs` describes: a
    /// line of text for each decision and call. It is read on the core's thread.
    pub fn turn(&self, text: String) {
        self.send(Item::Turn(text), true);
    }

    /// Does what [`Host::call`] does, for a thread that can wait.
    pub fn call_blocking(&self, target: u64, name: &str, args: Bytes) -> Result<Bytes, Error> {
        self.check()?;
        let (sender, answer) = std::sync::mpsc::sync_channel(1);
        let (host, name) = (self.clone(), name.to_owned());
        self.inner.runtime.spawn(async move {
            let result = calls::perform(&host, target, &name, &args).await;
            // Nobody listens when the thread was ended.
            drop(sender.send(result));
        });
        answer.recv().unwrap_or_else(|_| Err(closed()))
    }

    /// Asks for what needs no waiting.
    pub fn tell(&self, target: u64, name: &str, args: Bytes) -> Result<Bytes, Error> {
        self.check()?;
        let _in_runtime = self.inner.runtime.enter();
        tells::perform(self, target, name, &args)
    }

    /// Gives up a call: no answer will come.
    pub fn cancel(&self, op: u64) {
        self.send(Item::Cancel(op), true);
    }

    /// Stops what is served, waits for that at most `grace`, and ends the core's thread.
    pub fn close(&self, grace: Duration) {
        if self.inner.pid != std::process::id() {
            return;
        }
        let was_closed = self.inner.is_closed.swap(true, Ordering::AcqRel);
        if !was_closed {
            let _in_runtime = self.inner.runtime.enter();
            self.inner.handles.stop();
            let (sender, idle) = std::sync::mpsc::sync_channel(1);
            let host = self.clone();
            self.inner.runtime.spawn(async move {
                host.idle().await;
                if sender.send(()).is_err() {
                    tracing::debug!("What was served ended after its grace.");
                }
            });
            if idle.recv_timeout(grace).is_err() {
                tracing::warn!("What was served did not end within its grace.");
            }
        }
        self.inner.queue.close();
        self.inner.quit.set();
        let thread = lock(&self.inner.thread).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("The core's thread panicked.");
        }
        self.inner.handles.clear();
    }

    /// Counts one more that is served, until it is dropped.
    pub(super) fn serving(&self) -> Serving {
        self.inner.serving.fetch_add(1, Ordering::AcqRel);
        Serving(self.clone())
    }

    /// Waits until nothing is served.
    async fn idle(&self) {
        loop {
            let idle = self.inner.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.inner.serving.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    fn send(&self, item: Item, is_urgent: bool) {
        let mut inbox = lock(&self.inner.inbox);
        inbox.items.push(item);
        let must_wake = is_urgent && !std::mem::replace(&mut inbox.is_woken, true);
        drop(inbox);
        if must_wake {
            self.inner.arrived.notify_one();
        }
    }

    async fn read_inbox(&self) {
        let mut calls: FxHashMap<u64, AbortHandle> = FxHashMap::default();
        loop {
            let items = {
                let mut inbox = lock(&self.inner.inbox);
                inbox.is_woken = false;
                std::mem::take(&mut inbox.items)
            };
            if items.is_empty() {
                self.inner.arrived.notified().await;
                continue;
            }
            for item in items {
                self.take_item(item, &mut calls);
            }
            // What was decided is settled, and written, before more is read.
            tokio::task::yield_now().await;
        }
    }

    fn take_item(&self, item: Item, calls: &mut FxHashMap<u64, AbortHandle>) {
        match item {
            Item::Complete(completions) => {
                for Completion { ticket, decision } in completions {
                    self.handles().decide(ticket, decision);
                }
            }
            Item::CallText {
                op,
                target,
                name,
                args,
            } => match Bytes::from_json(args) {
                Ok(args) => {
                    let item = Item::Call {
                        op,
                        target,
                        name,
                        args,
                    };
                    self.take_item(item, calls);
                }
                Err(error) => self.answer(op, Err(error)),
            },
            Item::Call {
                op,
                target,
                name,
                args,
            } => {
                if name != "publish" || !scope::publish_at_once(self, op, target, args.as_str()) {
                    self.begin_call(op, target, name, args, calls);
                }
            }
            Item::Turn(text) => {
                for said in turn::lines(&text) {
                    match said {
                        Ok(said) => self.take_said(said, calls),
                        Err(error) => {
                            tracing::error!(%error, "A line of the host could not be read.");
                        }
                    }
                }
            }
            Item::Answered(op) => {
                if calls.remove(&op).is_some() {
                    self.inner.calls.fetch_sub(1, Ordering::Relaxed);
                }
            }
            Item::Cancel(op) => {
                if let Some(task) = calls.remove(&op) {
                    task.abort();
                    self.inner.calls.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn take_said(&self, said: Said<'_>, calls: &mut FxHashMap<u64, AbortHandle>) {
        match said {
            Said::Decision { ticket, decision } => self.handles().decide(ticket, decision),
            Said::Call {
                op,
                target,
                name,
                args,
            } => {
                let begun = args.and_then(|args| {
                    self.count_call()?;
                    if name == "publish" && scope::publish_at_once(self, op, target, &args) {
                        return Ok(());
                    }
                    let args = Bytes::from_json(args).inspect_err(|_| self.uncount_call())?;
                    self.begin_call(op, target, name.to_owned(), args, calls);
                    Ok(())
                });
                if let Err(error) = begun {
                    self.push(HostMsg::Reply {
                        op,
                        result: Err(error),
                    });
                }
            }
        }
    }

    fn begin_call(
        &self,
        op: u64,
        target: u64,
        name: String,
        args: Bytes,
        calls: &mut FxHashMap<u64, AbortHandle>,
    ) {
        let host = self.clone();
        let task = tokio::spawn(async move {
            let result = calls::perform(&host, target, &name, &args).await;
            host.push(HostMsg::Reply { op, result });
            host.send(Item::Answered(op), true);
        });
        calls.insert(op, task.abort_handle());
    }
}

/// Something that is served.
pub(super) struct Serving(Host);

impl Drop for Serving {
    fn drop(&mut self) {
        let inner = &self.0.inner;
        if inner.serving.fetch_sub(1, Ordering::AcqRel) == 1 {
            inner.idle.notify_waiters();
        }
    }
}

fn closed() -> Error {
    Error::new(Code::LinkLost, "the core is closed")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("open", &self.handles().open())
            .finish_non_exhaustive()
    }
}
