//! One TCP connection to the server, from the first byte to the last.
//!
//! It moves lines between the socket, the [`Session`], the queue of messages that go out and the
//! queue of messages that came in. A full queue inwards stops the reading, so the server waits.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use trunkline::InstanceContext;

use crate::config::Config;
use crate::inbound::Inbound;
use crate::journal::{Journal, Record};
use crate::line::{self, Lines};
use crate::pace::Pace;
use crate::session::{Action, End, Session};
use crate::watchdog::{Verdict, Watchdog};

/// How long opening the connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long the server may leave a write standing.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Messages under way at the server at a time; further ones wait in the queue.
const UNANSWERED_MAX: usize = 32;
/// How much one read asks for.
const READ_BYTES: usize = 4 * 1024;

/// A message that is to go out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Id of its event.
    pub(crate) id: String,
    /// Number of the attempt.
    pub(crate) attempt: u32,
    /// The broker says that it may have been sent before.
    pub(crate) is_redelivery: bool,
    /// Channel or nickname.
    pub(crate) target: String,
    /// What to say.
    pub(crate) text: String,
    /// Told when the server took it, or why it did not; dropped when the connection ended.
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The instance stops.
    Stopped,
    /// It is lost, or was given up.
    Lost(End),
}

/// What a connection works with.
pub(crate) struct Wiring<'a> {
    pub(crate) ctx: &'a InstanceContext,
    pub(crate) config: &'a Config,
    pub(crate) journal: &'a Journal,
    pub(crate) inbound: &'a mpsc::Sender<Inbound>,
    pub(crate) outgoing: &'a mut mpsc::Receiver<Outgoing>,
}

/// Serves one connection; `settled` is called when messages may go out.
pub(crate) async fn serve(wiring: Wiring<'_>, settled: impl FnMut()) -> Ended {
    let Config { server, port, .. } = wiring.config;
    let opening = timeout(CONNECT_LIMIT, TcpStream::connect((server.as_str(), *port)));
    let opened = tokio::select! {
        () = wiring.ctx.stopped() => return Ended::Stopped,
        opened = opening => opened,
    };
    let stream = match opened {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return lost(format!("{server}:{port} cannot be reached: {error}")),
        Err(_) => return lost(format!("{server}:{port} does not answer")),
    };
    if let Err(error) = stream.set_nodelay(true) {
        return lost(error.to_string());
    }
    let (mut read, write) = stream.into_split();
    let (session, lines) = Session::open(wiring.config.clone());
    let mut connection = Connection {
        pace: Pace::new(wiring.config.line_interval),
        watchdog: Watchdog::new(Instant::now()),
        wiring,
        settled,
        session,
        write,
        lines: VecDeque::new(),
        waiting: HashMap::new(),
        sent_count: 0,
    };
    match connection.run(&mut read, lines).await {
        Ok(()) => Ended::Stopped,
        Err(end) => Ended::Lost(end),
    }
}

fn lost(why: String) -> Ended {
    Ended::Lost(End::Lost(why))
}

/// The state of a connection.
struct Connection<'a, F> {
    wiring: Wiring<'a>,
    settled: F,
    session: Session,
    write: OwnedWriteHalf,
    pace: Pace,
    watchdog: Watchdog,
    /// Lines of the message that is going out.
    lines: VecDeque<String>,
    /// Who waits for the server to take a message, by its number.
    waiting: HashMap<u64, Outgoing>,
    sent_count: u64,
}

impl<F: FnMut()> Connection<'_, F> {
    async fn run(
        &mut self,
        read: &mut (impl AsyncReadExt + Unpin),
        first: Vec<String>,
    ) -> Result<(), End> {
        self.say(&first).await?;
        let mut input = Lines::default();
        let mut piece = vec![0; READ_BYTES];
        loop {
            let may_take = self.session.is_settled()
                && self.lines.is_empty()
                && self.waiting.len() < UNANSWERED_MAX;
            let next_line = self.pace.next(Instant::now());
            tokio::select! {
                () = self.wiring.ctx.stopped() => return self.quit().await,
                count = read.read(&mut piece) => {
                    self.watchdog.heard(Instant::now());
                    match count {
                        Ok(0) => return Err(End::Lost("the server hung up".to_owned())),
                        Ok(count) => input.push(&piece[..count]),
                        Err(error) => return Err(End::Lost(format!("nothing can be read: {error}"))),
                    }
                    while let Some(message) = input.next() {
                        for action in self.session.take(&message) {
                            self.act(action).await?;
                        }
                    }
                }
                Some(outgoing) = self.wiring.outgoing.recv(), if may_take => {
                    self.begin(outgoing)?;
                }
                () = sleep_until(next_line), if !self.lines.is_empty() => {
                    self.next_line().await?;
                }
                () = sleep_until(self.watchdog.due()) => match self.watchdog.look(Instant::now()) {
                    Verdict::Ask => {
                        let lines = self.session.look_around();
                        self.say(&lines).await?;
                    }
                    Verdict::Dead => return Err(End::Lost("the server is silent".to_owned())),
                },
            }
        }
    }

    /// Begins to say a message; nobody may wait for it any more.
    fn begin(&mut self, outgoing: Outgoing) -> Result<(), End> {
        if outgoing.done.is_closed() {
            return Ok(());
        }
        let lines = line::privmsg(self.session.nick(), &outgoing.target, &outgoing.text);
        if lines.is_empty() {
            // A handler that gave up needs no answer.
            outgoing.done.send(Err("it holds no text".to_owned())).ok();
            return Ok(());
        }
        self.lines = lines.into();
        self.sent_count += 1;
        // Written down before the first byte: a kill in between leaves an attempt too many there,
        // never one too few.
        let attempt = Record::Attempt {
            id: &outgoing.id,
            attempt: outgoing.attempt,
            redelivered: outgoing.is_redelivery,
        };
        self.journal(&attempt)?;
        self.waiting.insert(self.sent_count, outgoing);
        Ok(())
    }

    /// Writes the next line of the message that is going out, and the question behind the last.
    async fn next_line(&mut self) -> Result<(), End> {
        let mut lines: Vec<_> = self.lines.pop_front().into_iter().collect();
        self.pace.count(Instant::now());
        if self.lines.is_empty()
            && let Some(outgoing) = self.waiting.get(&self.sent_count)
        {
            lines.push(self.session.ask_for(self.sent_count, &outgoing.target));
        }
        self.say(&lines).await
    }

    async fn act(&mut self, action: Action) -> Result<(), End> {
        match action {
            Action::Say(line) => self.say(&[line]).await?,
            Action::Publish(inbound) => tokio::select! {
                // The publisher ends with the instance only.
                sent = self.wiring.inbound.send(*inbound) => {
                    sent.map_err(|_| End::Lost("the instance ends".to_owned()))?;
                }
                () = self.wiring.ctx.stopped() => {}
            },
            Action::Settled => (self.settled)(),
            Action::Taken(number, verdict) => {
                if let Some(outgoing) = self.waiting.remove(&number) {
                    if verdict.is_ok() {
                        let (id, attempt) = (&outgoing.id, outgoing.attempt);
                        self.journal(&Record::Taken { id, attempt })?;
                    }
                    // A handler that gave up has given the delivery back already.
                    outgoing.done.send(verdict).ok();
                }
            }
            Action::Note(text) => self.wiring.ctx.log().warning(text),
            Action::End(end) => return Err(end),
        }
        Ok(())
    }

    fn journal(&self, record: &Record<'_>) -> Result<(), End> {
        let written = self.wiring.journal.write(record);
        written.map_err(|error| End::Lost(error.to_string()))
    }

    async fn say(&mut self, lines: &[String]) -> Result<(), End> {
        let mut bytes = Vec::new();
        for line in lines {
            // No line of ours is longer than the limit but a password or a name of the config.
            let line = &line[..line.floor_char_boundary(line::LINE_BYTES_MAX - 2)];
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        match timeout(WRITE_LIMIT, self.write.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Lost(format!("nothing can be written: {error}"))),
            Err(_) => Err(End::Lost("the server reads nothing".to_owned())),
        }
    }

    /// Leaves in order; the server may be gone already.
    async fn quit(&mut self) -> Result<(), End> {
        if self.say(&["QUIT :stopped".to_owned()]).await.is_ok() {
            self.write.shutdown().await.ok();
        }
        Ok(())
    }
}
