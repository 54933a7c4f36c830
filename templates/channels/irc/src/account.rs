//! One account: it connects again and again, publishes what came in, and says how it is.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use trunkline::{Error, InstanceContext, Json, NeedsAuth, Result};
use trunkline_patterns::backoff::Backoff;

use crate::clock;
use crate::config::Config;
use crate::connection::{Ended, Outgoing, Wiring, serve};
use crate::inbound::Inbound;
use crate::journal::{Journal, Record};
use crate::session::End;

/// Waits between two connections.
const RECONNECT: Backoff = Backoff::new(500, 2.0, 60_000);
/// Waits between two publishes of a line that the broker refused for now.
const REPUBLISH: Backoff = Backoff::new(100, 2.0, 10_000);
/// Lines that wait for their publish; a full queue stops the reading.
const INBOUND_MAX: usize = 256;
/// Messages that wait for the connection; a full queue makes the handlers wait.
const OUTGOING_MAX: usize = 64;
/// How long a start waits for the first connection.
const FIRST_LIMIT: Duration = Duration::from_secs(20);

/// The account of this process.
#[derive(Default)]
pub(crate) struct Account {
    running: Mutex<Option<Running>>,
}

/// What an activation keeps going.
struct Running {
    outgoing: mpsc::Sender<Outgoing>,
    tasks: [JoinHandle<()>; 2],
}

impl Account {
    /// Connects, and keeps connected until the instance stops.
    ///
    /// A server that cannot be reached is no failure: it is tried again.
    ///
    /// # Errors
    /// The config, or a password that the server refuses.
    pub(crate) async fn start(&self, ctx: InstanceContext) -> Result<()> {
        let config: Config = ctx.config()?;
        let (inbound, arrived) = mpsc::channel(INBOUND_MAX);
        let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
        let (say, first) = oneshot::channel();
        let keeper = Keeper {
            journal: Journal::open(config.journal.as_deref())?,
            ctx: ctx.clone(),
            config: config.clone(),
            inbound,
            outgoing: queue,
            first: Some(say),
        };
        let publisher = Publisher {
            journal: Journal::open(config.journal.as_deref())?,
            ctx,
            arrived,
        };
        let tasks = [
            tokio::spawn(keeper.keep()),
            tokio::spawn(publisher.publish()),
        ];
        *self.running() = Some(Running { outgoing, tasks });
        match tokio::time::timeout(FIRST_LIMIT, first).await {
            Ok(Ok(Err(End::Password(text)))) => Err(NeedsAuth::new(text).into()),
            // Not there yet: the keeper goes on and reports what it finds.
            _ => Ok(()),
        }
    }

    /// Waits until the connection was left; the instance's stop is what ends it.
    pub(crate) async fn stop(&self) {
        let running = self.running().take();
        for task in running.into_iter().flat_map(|running| running.tasks) {
            // A task that panicked has said so, and is over too.
            task.await.ok();
        }
    }

    /// Where messages that go out are put; `None` before the start.
    pub(crate) fn outgoing(&self) -> Option<mpsc::Sender<Outgoing>> {
        Some(self.running().as_ref()?.outgoing.clone())
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the account connected.
struct Keeper {
    ctx: InstanceContext,
    config: Config,
    journal: Journal,
    inbound: mpsc::Sender<Inbound>,
    outgoing: mpsc::Receiver<Outgoing>,
    /// Who waits for the end of the first attempt.
    first: Option<oneshot::Sender<Result<(), End>>>,
}

impl Keeper {
    async fn keep(mut self) {
        let mut failures = 0;
        loop {
            let (ctx, first, failed) = (&self.ctx, &mut self.first, &mut failures);
            let wiring = Wiring {
                ctx,
                config: &self.config,
                journal: &self.journal,
                inbound: &self.inbound,
                outgoing: &mut self.outgoing,
            };
            let ended = serve(wiring, || {
                *failed = 0;
                match first.take() {
                    // The start reports by itself that the instance is ready.
                    Some(first) => drop(first.send(Ok(()))),
                    None => ctx.ready(),
                }
            });
            let Ended::Lost(end) = ended.await else {
                return;
            };
            failures += 1;
            let wait_ms = RECONNECT.full_jitter_ms(failures, clock::unit());
            self.report(end, wait_ms).await;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                () = self.ctx.stopped() => return,
            }
        }
    }

    /// Says what is wrong: to the start that waits, or to the broker.
    async fn report(&mut self, end: End, wait_ms: u64) {
        let log = self.ctx.log().field("wait_ms", wait_ms);
        match &end {
            End::Lost(text) => log.warning(format!("The connection is lost: {text}.")),
            End::Password(text) => log.error(format!("The password is refused: {text}.")),
        }
        if let Some(first) = self.first.take() {
            // A start that was given up leaves nobody to tell.
            first.send(Err(end)).ok();
            return;
        }
        match end {
            End::Lost(text) => self.ctx.degraded(text),
            End::Password(reason) => {
                let status = Status {
                    state: "needs_auth",
                    reason,
                };
                let report = self.ctx.request::<Json>("instance.status", &status);
                if let Err(error) = report.await {
                    self.ctx.degraded(error.to_string());
                }
            }
        }
    }
}

/// Says that the instance cannot work.
#[derive(Serialize)]
struct Status {
    state: &'static str,
    reason: String,
}

/// Publishes what came in, one after the other.
struct Publisher {
    ctx: InstanceContext,
    journal: Journal,
    arrived: mpsc::Receiver<Inbound>,
}

impl Publisher {
    async fn publish(mut self) {
        while let Some(inbound) = self.arrived.recv().await {
            if let Err(error) = self.publish_one(&inbound).await {
                let log = self.ctx.log().field("id", inbound.id.as_str());
                log.error(format!("A line was not published: {error}."));
            }
        }
    }

    /// Publishes until the broker has it or refuses it for good; its id stays the same.
    async fn publish_one(&self, inbound: &Inbound) -> Result<(), Error> {
        let topic = format!("plugin.inbound.irc.{}", self.ctx.instance());
        let mut failures = 0;
        loop {
            let publish = self.ctx.publish(topic.as_str(), &inbound.payload);
            let answer = publish
                .id(inbound.id.as_str())
                .session(inbound.session_id.as_str());
            let Err(error) = answer.await else {
                return self.journal.write(&Record::Counted { id: &inbound.id });
            };
            if !error.code.retryable() || self.ctx.is_stopped() {
                return Err(error);
            }
            failures += 1;
            let planned_ms = REPUBLISH.full_jitter_ms(failures, clock::unit());
            let wait_ms = error.retry_after_ms.unwrap_or(planned_ms);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                () = self.ctx.stopped() => return Err(error),
            }
        }
    }
}
