//! The core thread: links, timers and messages around one [`Core`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::thread;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::Clock;
use crate::core::{
    BatchToken, BlobAnswer, BlobRequest, Core, LinkKind, Output, ReadAnswer, ReadRequest,
};
use crate::router::LinkId;
use crate::store::{Batch, CommitError, Failed, Receipt};

use super::blob_threads::{self, BlobThreads};
use super::broker::{BrokerEvents, RuntimeOptions, Timing};
use super::io::{Connection, LinkIo};
use super::link::Link;
use super::store_threads::{self, StoreThreads};

/// How long a stop waits for the last batch: a full disk may refuse it for ever.
const STOP_TIMEOUT_MS: u64 = 5_000;
/// Reads waiting for the store's reader; beyond, links are paused.
const READS_WAITING_MAX: usize = 1024;
/// Pieces of work on the files of blobs that wait; beyond, links are paused.
const BLOB_WORK_WAITING_MAX: usize = 1024;
/// Messages handled before links get their turn.
const MESSAGES_PER_TURN: usize = 64;

/// What reaches the core thread from others.
pub(crate) enum Message {
    Attach(Connection, LinkKind),
    Run(Box<dyn FnOnce(&mut Core) + Send>),
    /// The results of a batch, and how many microseconds the store took.
    BatchDone(BatchToken, Vec<Result<Receipt, CommitError>>, u64),
    ReadDone(Box<ReadAnswer>),
    BlobDone(Box<BlobAnswer>),
    Failed(Failed),
    Tick(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// Everything on the core thread.
pub(crate) struct Hub {
    pub(crate) core: RefCell<Core>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) links: RefCell<FxHashMap<LinkId, Rc<Link>>>,
    /// Woken when staged commits are on their way: paused links go on.
    pub(crate) room: Notify,
    turn: Notify,
    store: StoreThreads,
    events: mpsc::Sender<BrokerEvents>,
    /// What the store's threads or the rest of the daemon could not take yet.
    reads: RefCell<VecDeque<ReadRequest>>,
    blobs: BlobThreads,
    blob_work: RefCell<VecDeque<BlobRequest>>,
    blob_work_under_way: Cell<usize>,
    events_waiting: RefCell<VecDeque<BrokerEvents>>,
    batch_waiting: RefCell<Option<(BatchToken, Batch)>>,
    quiet: RefCell<Vec<oneshot::Sender<()>>>,
    reads_under_way: Cell<usize>,
    stopping: RefCell<Option<oneshot::Sender<()>>>,
    stop_by_ms: Cell<u64>,
}

/// Opens the core on its own thread.
pub(crate) fn start(
    options: RuntimeOptions,
    messages: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
    events: mpsc::Sender<BrokerEvents>,
) -> Result<thread::JoinHandle<()>, Failed> {
    let (opened, result) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name("core".into())
        .spawn(move || run(options, messages, inbox, events, &opened))
        .map_err(|error| Failed {
            reason: format!("the core thread cannot start: {error}"),
        })?;
    match result.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(failed)) => Err(failed),
        Err(_) => Err(Failed {
            reason: "the core thread ended while it started".into(),
        }),
    }
}

fn run(
    options: RuntimeOptions,
    messages: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
    events: mpsc::Sender<BrokerEvents>,
    opened: &std::sync::mpsc::SyncSender<Result<(), Failed>>,
) {
    let timing = options.timing;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let parts = runtime
        .map_err(|error| Failed {
            reason: format!("no event loop: {error}"),
        })
        .and_then(|runtime| Ok((runtime, open(options, messages, events)?)));
    let told = match &parts {
        Ok(_) => opened.send(Ok(())),
        Err(failed) => opened.send(Err(failed.clone())),
    };
    let (Ok((runtime, (hub, writer))), Ok(())) = (parts, told) else {
        return;
    };
    let hub = Rc::new(hub);
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, hub.clone().work(inbox, timing));
    hub.links.borrow_mut().clear();
    drop(local);
    drop(runtime);
    match Rc::try_unwrap(hub) {
        Ok(hub) => {
            let Hub {
                store, stopping, ..
            } = hub;
            drop(store);
            if writer.join().is_err() {
                tracing::error!("The store's writer panicked.");
            }
            if let Some(stopped) = stopping.into_inner()
                && stopped.send(()).is_err()
            {
                tracing::debug!("Nobody waits for the end.");
            }
        }
        Err(_) => tracing::error!("A link outlived its broker."),
    }
}

fn open(
    options: RuntimeOptions,
    messages: mpsc::Sender<Message>,
    events: mpsc::Sender<BrokerEvents>,
) -> Result<(Hub, thread::JoinHandle<()>), Failed> {
    let RuntimeOptions {
        store,
        blobs,
        clock,
        random,
        router_random,
        core,
        ..
    } = options;
    let mut reader = store.reader()?;
    let core = Core::open(core, &mut *reader, clock.now(), random, router_random)?;
    let blobs = blob_threads::start([Box::new(blobs.clone()), Box::new(blobs)], messages.clone())
        .map_err(|error| Failed {
        reason: format!("the threads of the blobs cannot start: {error}"),
    })?;
    let (store, writer) =
        store_threads::start(store, reader, clock.clone(), messages).map_err(|error| Failed {
            reason: format!("the store's threads cannot start: {error}"),
        })?;
    let hub = Hub {
        core: RefCell::new(core),
        clock,
        links: RefCell::new(FxHashMap::default()),
        room: Notify::new(),
        turn: Notify::new(),
        store,
        events,
        reads: RefCell::new(VecDeque::new()),
        blobs,
        blob_work: RefCell::new(VecDeque::new()),
        blob_work_under_way: Cell::new(0),
        events_waiting: RefCell::new(VecDeque::new()),
        batch_waiting: RefCell::new(None),
        quiet: RefCell::new(Vec::new()),
        reads_under_way: Cell::new(0),
        stopping: RefCell::new(None),
        stop_by_ms: Cell::new(u64::MAX),
    };
    Ok((hub, writer))
}

impl Hub {
    /// Asks for a turn once everything that is ready now was applied.
    pub(crate) fn kick(&self) {
        self.turn.notify_one();
    }

    async fn work(self: Rc<Self>, mut inbox: mpsc::Receiver<Message>, timing: Timing) {
        self.kick();
        loop {
            let deadline = self
                .core
                .borrow()
                .next_deadline_ms()
                .filter(|_| timing == Timing::Real);
            let wait_ms = deadline.map(|at| at.saturating_sub(self.clock.now().mono_ms));
            tokio::select! {
                () = self.turn.notified() => {}
                message = inbox.recv() => {
                    let Some(message) = message else { return };
                    self.core.borrow_mut().set_now(self.clock.now());
                    self.handle(message);
                    for _ in 1..MESSAGES_PER_TURN {
                        let Ok(message) = inbox.try_recv() else { break };
                        self.handle(message);
                    }
                }
                () = sleep(wait_ms) => {}
            }
            {
                let mut core = self.core.borrow_mut();
                core.set_now(self.clock.now());
                if timing == Timing::Real {
                    core.tick();
                }
            }
            self.take_turn();
            if self.is_stopped() {
                return;
            }
        }
    }

    fn handle(self: &Rc<Self>, message: Message) {
        match message {
            Message::Attach(connection, kind) => match LinkIo::open(connection) {
                Ok(io) => Link::start(self, io, kind),
                Err(error) => tracing::warn!(%error, "Link cannot be opened."),
            },
            Message::Run(work) => work(&mut self.core.borrow_mut()),
            Message::BatchDone(token, results, took_us) => {
                let mut core = self.core.borrow_mut();
                core.synced(took_us);
                core.batch_done(token, results);
            }
            Message::ReadDone(answer) => {
                self.reads_under_way.set(self.reads_under_way.get() - 1);
                self.core.borrow_mut().read_done(*answer);
            }
            Message::BlobDone(answer) => {
                self.blob_work_under_way
                    .set(self.blob_work_under_way.get() - 1);
                self.core.borrow_mut().blob_done(*answer);
            }
            Message::Failed(failed) => {
                self.events_waiting
                    .borrow_mut()
                    .push_back(BrokerEvents::Failed(failed));
            }
            Message::Tick(done) => {
                let mut core = self.core.borrow_mut();
                core.tick();
                self.quiet.borrow_mut().push(done);
            }
            Message::Stop(done) => {
                let mut core = self.core.borrow_mut();
                core.stop_serving_all();
                core.flush_positions();
                self.stop_by_ms
                    .set(self.clock.now().mono_ms + STOP_TIMEOUT_MS);
                *self.stopping.borrow_mut() = Some(done);
            }
        }
    }

    /// Lets the core act and carries out what it wants, until nothing more follows.
    fn take_turn(self: &Rc<Self>) {
        loop {
            let mut flush = Vec::new();
            let outputs = {
                let mut core = self.core.borrow_mut();
                core.settle_down();
                core.drain_steps();
                core.take_outputs()
            };
            let idle = outputs.is_empty();
            for output in outputs {
                self.carry_out(output, &mut flush);
            }
            self.give_batch();
            for link in flush {
                let link = self.links.borrow().get(&link).cloned();
                if let Some(link) = link {
                    self.flush(&link);
                }
            }
            if idle {
                break;
            }
        }
        self.give_reads();
        self.give_blob_work();
        self.give_events();
        self.tell_quiet();
    }

    fn carry_out(self: &Rc<Self>, output: Output, flush: &mut Vec<LinkId>) {
        match output {
            Output::Flush(link) => {
                self.core.borrow_mut().flushing(link);
                flush.push(link);
            }
            Output::Close(link) => {
                let link = self.links.borrow().get(&link).cloned();
                if let Some(link) = link {
                    link.close(self);
                }
            }
            Output::Resume(link) => {
                if let Some(link) = self.links.borrow().get(&link) {
                    link.resume.notify_one();
                }
            }
            Output::Read(request) => self.reads.borrow_mut().push_back(request),
            Output::Blob(request) => self.blob_work.borrow_mut().push_back(request),
            Output::Signal(key, signal) => {
                self.events_waiting
                    .borrow_mut()
                    .push_back(BrokerEvents::Signal(key, signal));
            }
            Output::ConfigAnswered(key, revision, answer) => {
                self.events_waiting
                    .borrow_mut()
                    .push_back(BrokerEvents::ConfigAnswered(key, revision, answer));
            }
            Output::Control(request) => {
                self.events_waiting
                    .borrow_mut()
                    .push_back(BrokerEvents::Control(request));
            }
            Output::Audit(record) => {
                self.events_waiting
                    .borrow_mut()
                    .push_back(BrokerEvents::Audit(record));
            }
            Output::Log(line) => {
                self.events_waiting
                    .borrow_mut()
                    .push_back(BrokerEvents::Log(line));
            }
            Output::Span(span) => {
                self.events_waiting
                    .borrow_mut()
                    .push_back(BrokerEvents::Span(span));
            }
        }
    }

    /// Writes to one link what it takes now.
    pub(crate) fn flush(&self, link: &Rc<Link>) {
        let mut core = self.core.borrow_mut();
        if let Some(outbox) = core.outbox(link.id) {
            link.flush(outbox);
            core.wrote(link.id);
        }
    }

    fn give_batch(&self) {
        let mut waiting = self.batch_waiting.borrow_mut();
        if waiting.is_none() {
            *waiting = self.core.borrow_mut().take_batch();
            if waiting.is_some() {
                self.room.notify_waiters();
            }
        }
        if let Some(batch) = waiting.take() {
            match self.store.batches.try_send(batch) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(batch)) => *waiting = Some(batch),
            }
        }
    }

    /// Says whether links must be paused until the store's reader, or the files, have caught up.
    pub(crate) fn has_many_reads(&self) -> bool {
        self.reads.borrow().len() >= READS_WAITING_MAX
            || self.blob_work.borrow().len() >= BLOB_WORK_WAITING_MAX
    }

    /// Hands out work on files, in order for each of the two threads.
    fn give_blob_work(&self) {
        let mut work = self.blob_work.borrow_mut();
        let were_many = work.len() >= BLOB_WORK_WAITING_MAX;
        let mut full = [false; 2];
        for request in std::mem::take(&mut *work) {
            let is_long = request.is_long();
            let thread = if is_long {
                &self.blobs.long
            } else {
                &self.blobs.quick
            };
            if full[usize::from(is_long)] {
                work.push_back(request);
                continue;
            }
            match thread.try_send(request) {
                Ok(()) => self
                    .blob_work_under_way
                    .set(self.blob_work_under_way.get() + 1),
                Err(TrySendError::Full(request)) => {
                    full[usize::from(is_long)] = true;
                    work.push_back(request);
                }
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        if were_many && work.len() < BLOB_WORK_WAITING_MAX {
            self.room.notify_waiters();
        }
    }

    fn give_reads(&self) {
        let mut reads = self.reads.borrow_mut();
        let were_many = reads.len() >= READS_WAITING_MAX;
        while let Some(request) = reads.pop_front() {
            match self.store.reads.try_send(request) {
                Ok(()) => self.reads_under_way.set(self.reads_under_way.get() + 1),
                Err(TrySendError::Full(request)) => {
                    reads.push_front(request);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        if were_many && reads.len() < READS_WAITING_MAX {
            self.room.notify_waiters();
        }
    }

    fn give_events(&self) {
        let mut waiting = self.events_waiting.borrow_mut();
        while let Some(event) = waiting.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    waiting.push_front(event);
                    // Log lines are the only ones that may come in any number; the oldest go first.
                    if waiting.len() > 4 * super::store_threads::READS_MAX {
                        let may_go = |event: &BrokerEvents| {
                            matches!(event, BrokerEvents::Log(_) | BrokerEvents::Span(_))
                        };
                        waiting.retain(|event| !may_go(event));
                    }
                    self.turn.notify_one();
                    break;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => break,
            }
        }
    }

    fn is_busy(&self) -> bool {
        !self.core.borrow().is_quiet()
            || self.reads_under_way.get() > 0
            || self.blob_work_under_way.get() > 0
            || !self.blob_work.borrow().is_empty()
            || !self.reads.borrow().is_empty()
    }

    fn tell_quiet(&self) {
        if self.quiet.borrow().is_empty() {
            return;
        }
        // Positions wait for a ride; whoever waits for quiet does not.
        self.core.borrow_mut().flush_positions();
        self.give_batch();
        if self.is_busy() {
            return;
        }
        for done in self.quiet.borrow_mut().drain(..) {
            if done.send(()).is_err() {
                tracing::trace!("Nobody waits for quiet.");
            }
        }
    }

    fn is_stopped(&self) -> bool {
        if self.stopping.borrow().is_none() {
            return false;
        }
        self.give_batch();
        // What is not durable by then was not acknowledged either.
        self.core.borrow().is_quiet() || self.clock.now().mono_ms >= self.stop_by_ms.get()
    }
}

async fn sleep(wait_ms: Option<u64>) {
    match wait_ms {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}
