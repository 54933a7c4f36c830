//! The small handle that everything outside the core thread calls.

use std::sync::Arc;
use std::thread;

use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use trunkline_contract::error::{Code, Error};

use crate::blob_files::{BlobPaths, DirFiles};
use crate::clock::{Clock, Random};
use crate::core::{
    AuditRecord, ConfigAnswer, ControlRequest, Core, CoreOptions, InstanceSignal, LinkKind,
    LogLine, Span,
};
use crate::instance::InstanceKey;
use crate::router::LinkId;
use crate::store::{Failed, Store};

use super::core_thread::{self, Message};
use super::io::Connection;

/// Messages waiting for the core thread; beyond, senders wait.
const MESSAGES_MAX: usize = 1024;
/// Signals, control requests and log lines waiting to be taken.
const EVENTS_MAX: usize = 4096;

/// Whose clock moves the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Timers fire as time passes.
    Real,
    /// Timers fire when [`Broker::tick`] is called.
    Virtual,
}

/// What a broker is made of.
pub struct RuntimeOptions {
    /// The store; its reader is opened from it.
    pub store: Box<dyn Store>,
    /// Where the files of blobs are.
    pub blobs: DirFiles,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Who moves it.
    pub timing: Timing,
    /// Chance for the core.
    pub random: Box<dyn Random>,
    /// Chance for the router.
    pub router_random: Box<dyn Random>,
    /// The rest.
    pub core: CoreOptions,
}

/// What comes out of the core thread for the rest of the daemon.
#[derive(Debug)]
pub enum BrokerEvents {
    /// Something happened to an instance's link.
    Signal(InstanceKey, InstanceSignal),
    /// What a running plugin made of the config of this revision.
    ConfigAnswered(InstanceKey, u64, ConfigAnswer),
    /// A request for the control plane.
    Control(ControlRequest),
    /// A line for an instance's log.
    Log(LogLine),
    /// A span has ended.
    Span(Box<Span>),
    /// What an operator did.
    Audit(AuditRecord),
    /// The store stopped: nothing may be acknowledged any more, exit 70.
    Failed(Failed),
}

/// A handle to a running broker. Cheap to clone; usable from any thread.
#[derive(Debug, Clone)]
pub struct Broker {
    messages: mpsc::Sender<Message>,
    blobs: Arc<BlobPaths>,
}

impl Broker {
    /// Opens the store and starts the threads.
    ///
    /// # Errors
    /// [`Failed`] when the store cannot be read or a thread cannot be started.
    pub fn start(
        options: RuntimeOptions,
    ) -> Result<(Self, mpsc::Receiver<BrokerEvents>, thread::JoinHandle<()>), Failed> {
        let (messages, inbox) = mpsc::channel(MESSAGES_MAX);
        let (events, outbox) = mpsc::channel(EVENTS_MAX);
        let broker = Self {
            messages: messages.clone(),
            blobs: Arc::new(options.blobs.paths().clone()),
        };
        let thread = core_thread::start(options, messages, inbox, events)?;
        Ok((broker, outbox, thread))
    }

    /// Names the files of blobs.
    pub fn blob_paths(&self) -> &BlobPaths {
        &self.blobs
    }

    /// Gives the broker a link.
    ///
    /// # Errors
    /// `unavailable` when the broker has ended.
    ///
    /// # Cancel safety
    /// Cancelled before it is done, the connection is dropped.
    pub async fn attach(&self, connection: Connection, kind: LinkKind) -> Result<(), Error> {
        self.send(Message::Attach(connection, kind)).await
    }

    /// Runs `work` on the core, in turn with everything else, and gives back what it returns.
    ///
    /// # Errors
    /// `unavailable` when the broker has ended.
    ///
    /// # Cancel safety
    /// Cancelled, `work` may still run; its result is dropped.
    pub async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (done, result) = oneshot::channel();
        let run = Box::new(move |core: &mut Core| {
            if done.send(work(core)).is_err() {
                tracing::trace!("Nobody waits for this result.");
            }
        });
        self.send(Message::Run(run)).await?;
        result.await.map_err(|_| ended())
    }

    /// Runs `work` on the core without waiting for it; when the queue is full, it is refused.
    ///
    /// # Errors
    /// `unavailable` when the broker has ended or is too far behind.
    pub fn post(&self, work: impl FnOnce(&mut Core) + Send + 'static) -> Result<(), Error> {
        self.messages
            .try_send(Message::Run(Box::new(work)))
            .map_err(|_| ended())
    }

    /// Answers a request that was passed to the control plane.
    ///
    /// # Errors
    /// `unavailable` when the broker has ended.
    pub async fn respond(
        &self,
        link: LinkId,
        id: Option<Box<RawValue>>,
        answer: Result<Box<RawValue>, Error>,
    ) -> Result<(), Error> {
        self.with(move |core| core.respond(link, id.as_deref(), answer))
            .await
    }

    /// Does what is due by a virtual clock, and waits until nothing is on its way to the store.
    ///
    /// # Errors
    /// `unavailable` when the broker has ended.
    pub async fn tick(&self) -> Result<(), Error> {
        let (done, ticked) = oneshot::channel();
        self.send(Message::Tick(done)).await?;
        ticked.await.map_err(|_| ended())
    }

    /// Makes positions durable and ends the threads. Links are closed.
    ///
    /// # Errors
    /// `unavailable` when the broker has ended already.
    pub async fn stop(&self) -> Result<(), Error> {
        let (done, stopped) = oneshot::channel();
        self.send(Message::Stop(done)).await?;
        stopped.await.map_err(|_| ended())
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        self.messages.send(message).await.map_err(|_| ended())
    }
}

fn ended() -> Error {
    Error::new(Code::Unavailable, "the broker has ended")
}
