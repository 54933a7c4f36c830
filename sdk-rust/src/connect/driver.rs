//! Drives one connection's machine: its clock, its sockets, its handler, its lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::IfLock;
use trunkline_patterns::connection::{End, Input, Machine, Output, Socket, Status};

use super::conn::{COMMANDS_MAX, Command, Connection};
use super::declare::{Connect, Form};
use super::form::{Received, encode};
use super::frame::{Handled, Work, cursor_key, hex};
use super::socket::{Handle, Heard, Say};
use super::store::{Prepared, store};
use crate::context::InstanceContext;
use crate::credential::{LOCK_TTL, LOCK_WAIT, lock_name};
use crate::hub::Stop;
use crate::link::Link;
use crate::lock::Lock;
use crate::outcome::{Failure, Fatal};
use crate::pace::Pace;
use crate::payload::Bytes;
use crate::report::Report;

/// The wait after the broker could not be asked.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long sockets may take to say goodbye at the end.
const GOODBYE: Duration = Duration::from_millis(1_500);
/// What sockets tell and nobody looked at yet.
const HEARD_MAX: usize = 64;

/// Everything that one connection needs.
pub(super) struct Keeper {
    pub(super) connect: Arc<Connect>,
    pub(super) connection: Arc<Connection>,
    pub(super) ctx: InstanceContext,
    pub(super) link: Arc<Link>,
    pub(super) stop: Arc<Stop>,
}

/// When to try again, where an error says it, in ms.
pub(super) fn retry_after(failure: &Failure) -> Option<u64> {
    failure.is::<Error>()?.retry_after_ms
}

/// Keeps a connection until it is stopped, or fails for good.
pub(super) async fn keep(keeper: Keeper) {
    let options = keeper.connect.options.clone();
    let mut machine = Machine::new(options);
    let pace = Arc::new(Pace::new(keeper.ctx.hub()));
    loop {
        let (lock, cursor) = tokio::select! {
            () = keeper.stop.wait() => break,
            begun = keeper.begin() => begun,
        };
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (tell, heard) = mpsc::channel(HEARD_MAX);
        keeper.connection.set_cursor(cursor.as_deref());
        keeper.connection.begin(sender);
        let mut driver = Driver {
            keeper: &keeper,
            if_lock: IfLock {
                name: keeper.lock_name().unwrap_or_default(),
                token: lock.token(),
            },
            machine,
            pace: pace.clone(),
            nonce: hex(&crate::clock::random::<8>()),
            sockets: BTreeMap::new(),
            closing: Vec::new(),
            tell,
            sends: FxHashMap::default(),
            last_send: 0,
            running: None,
            prepared: Arc::default(),
            ended: None,
        };
        let ended = driver.run(&lock, heard, commands, cursor).await;
        keeper.connection.end();
        for task in std::mem::take(&mut driver.closing) {
            // What does not say goodbye in time is cut off.
            drop(tokio::time::timeout(GOODBYE, task).await);
        }
        machine = driver.machine;
        if lock.is_lost() || ended == End::LockLost {
            drop(lock);
        } else if let Err(error) = lock.release().await {
            tracing::debug!(%error, "The lock of a connection was not given back.");
        }
        if ended != End::LockLost {
            break;
        }
    }
    keeper.connection.end();
}

impl Keeper {
    /// Names the lock by what there may be one connection for, without showing it.
    fn lock_name(&self) -> Result<String, Error> {
        let credential = self.connect.credential_of(&self.ctx)?;
        Ok(lock_name("connect", &self.connect.kind, &credential))
    }

    /// Takes the lock, and reads the cursor.
    async fn begin(&self) -> (Lock, Option<String>) {
        let kind = &self.connect.kind;
        let mut is_told = false;
        loop {
            match self.try_begin().await {
                Ok(begun) => {
                    if is_told {
                        self.ctx.ready();
                    }
                    return begun;
                }
                Err(error) if error.code == Code::LockHeld => {
                    if !std::mem::replace(&mut is_told, true) {
                        let text = format!("{kind}: another process has this connection");
                        self.ctx.log().field("kind", kind.as_str()).info(&text);
                        self.ctx.degraded(text);
                    }
                }
                Err(error) => {
                    tracing::warn!(kind, %error, "A connection cannot be begun yet.");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    async fn try_begin(&self) -> Result<(Lock, Option<String>), Error> {
        // Asked at once first, so that who waits can say so.
        let name = self.lock_name()?;
        let lock = match self.ctx.lock(&name).ttl(LOCK_TTL).await {
            Ok(lock) => lock,
            Err(error) if error.code == Code::LockHeld => {
                let text = format!("{}: another process has this connection", self.connect.kind);
                self.ctx.degraded(text);
                self.ctx.lock(&name).ttl(LOCK_TTL).wait(LOCK_WAIT).await?
            }
            Err(error) => return Err(error),
        };
        let cursor = self.ctx.kv().entry(&cursor_key(&self.connect.kind)).await?;
        let cursor = cursor.map(|entry| entry.value.as_str().to_owned());
        Ok((lock, cursor))
    }
}

/// A task that ends with its owner.
struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is at work ends with one of these.
enum Done {
    Handled(Box<Handled>),
    Stored(Result<(), trunkline_patterns::connection::CommitFault>),
}

struct Driver<'a> {
    keeper: &'a Keeper,
    if_lock: IfLock,
    machine: Machine<Arc<Received>>,
    pace: Arc<Pace>,
    /// Tells this life's frames from another's.
    nonce: String,
    sockets: BTreeMap<Socket, Handle>,
    closing: Vec<JoinHandle<()>>,
    tell: mpsc::Sender<(Socket, Heard)>,
    sends: FxHashMap<u64, (Bytes, oneshot::Sender<Result<(), Error>>)>,
    last_send: u64,
    running: Option<(Owned, oneshot::Receiver<Done>)>,
    prepared: Arc<Prepared>,
    ended: Option<End>,
}

impl Driver<'_> {
    async fn run(
        &mut self,
        lock: &Lock,
        mut heard: mpsc::Receiver<(Socket, Heard)>,
        mut commands: mpsc::Receiver<Command>,
        cursor: Option<String>,
    ) -> End {
        self.step(Input::Start { cursor });
        let mut is_stopping = false;
        loop {
            if let Some(ended) = self.ended.take() {
                for (_, socket) in std::mem::take(&mut self.sockets) {
                    self.closing.extend(socket.close());
                }
                return ended;
            }
            let (wake, pace) = (self.machine.wake_ms(), self.pace.clone());
            tokio::select! {
                biased;
                () = self.keeper.stop.wait(), if !is_stopping => {
                    is_stopping = true;
                    self.step(Input::Stop);
                }
                () = lock.lost() => self.step(Input::LockLost),
                done = done(&mut self.running), if self.running.is_some() => self.done(done),
                Some((socket, heard)) = heard.recv() => self.heard(socket, heard),
                Some(command) = commands.recv() => self.command(command),
                () = pace.until(wake) => self.step(Input::Tick),
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.pace.now_ms()
    }

    fn step(&mut self, input: Input<Arc<Received>>) {
        let mut out = Vec::new();
        let now_ms = self.now_ms();
        self.machine
            .step(now_ms, &mut crate::clock::unit, input, &mut out);
        for output in out {
            self.perform(output);
        }
    }

    fn heard(&mut self, socket: Socket, heard: Heard) {
        match heard {
            Heard::Opened => {
                let handle = self.sockets.get(&socket);
                if let Some(protocol) = handle.and_then(Handle::protocol) {
                    self.machine
                        .set_idle_ms(self.keeper.connect.idle_ms(protocol));
                }
                self.step(Input::Opened(socket));
                if let Some(heartbeat) = self.keeper.connect.heartbeat.clone() {
                    self.step(Input::Beat(socket, heartbeat));
                }
            }
            Heard::Frame(received) => self.step(Input::Frame(socket, Arc::new(received))),
            Heard::Alive => self.step(Input::Alive(socket)),
            Heard::Retry(ms) => self.step(Input::Retry(socket, ms)),
            Heard::Sent => self.step(Input::Sent(socket)),
            Heard::Closed { code, reason } => {
                self.step(Input::Closed {
                    socket,
                    code,
                    reason,
                });
                self.forget(socket);
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Send {
                socket,
                frame,
                done,
            } => {
                self.last_send += 1;
                let id = self.last_send;
                self.sends.insert(id, (frame, done));
                self.step(Input::Send { id, socket });
            }
            Command::Beat { socket, heartbeat } => {
                let newest = self.sockets.keys().next_back().copied();
                if let Some(socket) = socket.or(newest) {
                    self.step(Input::Beat(socket, heartbeat));
                }
            }
        }
    }

    fn done(&mut self, done: Option<Done>) {
        self.running = None;
        match done {
            Some(Done::Handled(handled)) => {
                self.prepared = Arc::new(handled.prepared);
                self.step(Input::Handled(handled.verdict));
            }
            Some(Done::Stored(result)) => {
                self.step(Input::Stored(result));
                self.keeper.connection.set_cursor(self.machine.cursor());
            }
            None => {
                tracing::error!("The task of a frame ended without a word.");
                self.step(Input::Handled(
                    trunkline_patterns::connection::Verdict::Failed {
                        after_ms: None,
                        is_counted: true,
                        is_gone: false,
                    },
                ));
            }
        }
    }

    fn forget(&mut self, socket: Socket) {
        if let Some(socket) = self.sockets.remove(&socket) {
            self.closing.retain(|task| !task.is_finished());
            self.closing.extend(socket.close());
        }
    }

    fn say(&self, socket: Socket, say: Say) {
        if let Some(handle) = self.sockets.get(&socket)
            && !handle.say(say)
        {
            tracing::warn!(
                kind = self.keeper.connect.kind,
                "A connection does not take what is sent."
            );
        }
    }

    /// Writes a frame that is not an author's `send`.
    fn write(&self, socket: Socket, frame: &Bytes) {
        let Some(handle) = self.sockets.get(&socket) else {
            return;
        };
        match encode(handle.form(), frame) {
            Ok(bytes) => self.say(socket, Say::Frame(bytes, None)),
            Err(error) => {
                let kind = &self.keeper.connect.kind;
                tracing::error!(kind, %error, "A frame cannot be written.");
            }
        }
    }

    fn perform(&mut self, output: Output<Arc<Received>>) {
        match output {
            Output::Open(socket) => {
                let keeper = self.keeper;
                let cursor = self.machine.cursor().map(str::to_owned);
                let (connect, ctx) = (keeper.connect.clone(), keeper.ctx.clone());
                let (tell, pace) = (self.tell.clone(), self.pace.clone());
                let handle = Handle::open(connect, ctx, socket, cursor, tell, pace);
                self.sockets.insert(socket, handle);
            }
            Output::Close {
                socket,
                code,
                reason,
            } => self.say(socket, Say::Close(code, reason)),
            Output::Drop(socket) => self.forget(socket),
            Output::Probe(socket) => self.say(socket, Say::Ping),
            Output::Room(socket) => {
                if let Some(handle) = self.sockets.get(&socket) {
                    handle.room();
                }
            }
            Output::Send(socket, id) => self.send(socket, id),
            Output::Refuse(id, again_ms) => {
                if let Some((_, done)) = self.sends.remove(&id) {
                    let mut error = Error::new(Code::Unavailable, "the connection is down");
                    error.retry_after_ms = Some(again_ms);
                    // Who waited may be gone.
                    drop(done.send(Err(error)));
                }
            }
            Output::Beat(socket, frame) => {
                if let Ok(frame) = Bytes::encode(&frame) {
                    self.write(socket, &frame);
                }
            }
            Output::Hand {
                socket,
                number,
                frame,
                ..
            } => self.hand(socket, number, frame),
            Output::Store(_, what) => {
                let (link, prepared) = (self.keeper.link.clone(), self.prepared.clone());
                let kind = self.keeper.connect.kind.clone();
                self.spawn(async move { Done::Stored(store(link, kind, prepared, what).await) });
            }
            Output::Ack(socket, _) => {
                if let Some(ack) = self.prepared.ack.clone() {
                    self.write(socket, &ack);
                }
            }
            Output::Status(status) => self.status(status),
            Output::Ended(end) => self.ended = Some(end),
        }
    }

    fn send(&mut self, socket: Socket, id: u64) {
        let Some((frame, done)) = self.sends.remove(&id) else {
            return;
        };
        let handle = self.sockets.get(&socket);
        let form = handle.map_or(Form::Json, Handle::form);
        match encode(form, &frame) {
            Ok(bytes) => {
                let is_taken =
                    handle.is_some_and(|handle| handle.say(Say::Frame(bytes, Some(done))));
                if !is_taken {
                    self.step(Input::Sent(socket));
                }
            }
            Err(error) => {
                drop(done.send(Err(error)));
                self.step(Input::Sent(socket));
            }
        }
    }

    fn hand(&mut self, socket: Socket, number: u64, received: Arc<Received>) {
        let work = Work {
            connect: self.keeper.connect.clone(),
            ctx: self.keeper.ctx.clone(),
            link: self.keeper.link.clone(),
            if_lock: self.if_lock.clone(),
            socket,
            name: format!("{}-{number}", self.nonce),
            received,
        };
        self.spawn(async move { Done::Handled(Box::new(work.handle().await)) });
    }

    fn spawn(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        let (sender, done) = oneshot::channel();
        let task = tokio::spawn(async move {
            // Nobody waits for it any more once the connection ended.
            drop(sender.send(work.await));
        });
        self.running = Some((Owned(task), done));
    }

    fn status(&self, status: Status) {
        let (kind, ctx) = (&self.keeper.connect.kind, &self.keeper.ctx);
        let log = ctx.log().field("kind", kind.as_str());
        match status {
            Status::Connecting { attempt } => {
                let text = format!("{kind}: connecting, attempt {attempt}");
                log.field("attempt", attempt).info(&text);
                if attempt > 1 {
                    ctx.trying(text, attempt, None);
                }
            }
            Status::Connected => {
                log.info(format!("{kind}: connected"));
                ctx.ready();
            }
            Status::Disconnected {
                reason,
                attempt,
                next_try_ms,
            } => {
                let wait_ms = next_try_ms.saturating_sub(self.now_ms());
                let text = format!("{kind}: disconnected: {reason}");
                log.field("attempt", attempt)
                    .field("next_try_ms", wait_ms)
                    .field("reason", reason)
                    .warning(&text);
                ctx.trying(text, attempt, Some(wait_ms));
            }
            Status::Fatal { code, reason } => {
                let text = format!("{kind}: the server refused for good with {code}: {reason}");
                log.field("code", code).error(&text);
                if let Some(report) = Report::of(&Fatal::new(text).into()) {
                    ctx.instance_core().report(&report);
                }
            }
        }
    }
}

async fn done(running: &mut Option<(Owned, oneshot::Receiver<Done>)>) -> Option<Done> {
    match running {
        Some((_, done)) => done.await.ok(),
        None => std::future::pending().await,
    }
}
