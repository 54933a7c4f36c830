//! A small blocking client of the daemon's socket.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use trunkline_contract::error::Error;
use trunkline_contract::frame::{Decoder, Frame};
use trunkline_contract::rpc::{self, Message, method};

use super::args::ConfigArgs;
use super::failure::Failure;
use crate::clock::{Clock, SystemClock};
use crate::config::{DiskFiles, locate};
use crate::daemon::TOKEN_FILE;

/// How long an answer may take.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The largest frame any daemon may be configured to send.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Where the daemon of a directory without a config listens.
const DEV_SOCKET: &str = ".trunkline/trunkline.sock";
/// What the client calls itself.
const NAME: &str = "cli";

/// Where the daemon is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The daemon's socket, if not that of the config.
    #[arg(long, env = "TRUNKLINE_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The file with the token, if not that of the config's data directory.
    #[arg(long, env = "TRUNKLINE_TOKEN_FILE", value_name = "PATH")]
    pub(crate) token_file: Option<PathBuf>,
}

impl ConnectArgs {
    /// Finds the socket and the token's file.
    pub(crate) fn find(&self) -> Result<(PathBuf, PathBuf), Failure> {
        if let (Some(socket), Some(token)) = (&self.socket, &self.token_file) {
            return Ok((socket.clone(), token.clone()));
        }
        let located = locate(&self.config.sources()?, &DiskFiles);
        match (located, &self.socket) {
            (Ok(found), socket) => Ok((
                socket.clone().unwrap_or(found.socket),
                self.token_file
                    .clone()
                    .unwrap_or(found.data_dir.join(TOKEN_FILE)),
            )),
            // The token usually lies beside the socket.
            (Err(_), Some(socket)) => Ok((socket.clone(), socket.with_file_name(TOKEN_FILE))),
            // Of `trunkline dev` in a directory without a config.
            (Err(_), None) if Path::new(DEV_SOCKET).exists() => {
                let socket = PathBuf::from(DEV_SOCKET);
                Ok((socket.clone(), socket.with_file_name(TOKEN_FILE)))
            }
            (Err(diagnostic), None) => Err(Failure::no_daemon(format!(
                "no daemon can be found: {}: {}",
                diagnostic.place(),
                diagnostic.message
            ))
            .hint("give --config, or --socket and --token-file")),
        }
    }
}

/// What the daemon said without being asked.
#[derive(Debug)]
pub(crate) struct Notification {
    pub(crate) method: String,
    pub(crate) params: Box<RawValue>,
}

impl Notification {
    /// Reads its parameters.
    pub(crate) fn params<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(self.params.get())
            .map_err(|error| not_understood(&format!("the parameters of {}: {error}", self.method)))
    }
}

/// What waits at most for one thing from the daemon.
pub(crate) enum Wait {
    /// So long.
    Until(Duration),
    /// As long as there is a daemon.
    Forever,
}

/// One link to the daemon.
pub(crate) struct Client {
    stream: UnixStream,
    decoder: Decoder,
    next_id: u64,
    heard: VecDeque<Notification>,
    clock: SystemClock,
}

enum Incoming {
    Notification(Notification),
    Response(u64, Result<Box<RawValue>, Error>),
    Other,
}

impl Client {
    /// Connects with the token.
    pub(crate) fn connect(args: &ConnectArgs) -> Result<Self, Failure> {
        Self::connect_as(args, NAME)
    }

    /// The same under another name.
    pub(crate) fn connect_as(args: &ConnectArgs, name: &str) -> Result<Self, Failure> {
        let (socket, token_file) = args.find()?;
        let stream = UnixStream::connect(&socket).map_err(|error| no_daemon(&socket, &error))?;
        let token = std::fs::read_to_string(&token_file).map_err(|error| {
            Failure::new(
                "unauthorized",
                super::failure::EXIT_NO_DAEMON,
                format!(
                    "the token in {} cannot be read: {error}",
                    token_file.display()
                ),
            )
            .hint("give its path with --token-file; only the daemon's user may read it")
        })?;
        let mut client = Self::on(stream);
        let params = rpc::ConnectParams {
            role: rpc::Role::Client,
            token: Some(token.trim().to_owned()),
            name: Some(name.to_owned()),
            manifest: None,
            instance: None,
            protocol: rpc::ProtocolRange::ours(),
        };
        let _result: rpc::ConnectResult = client.call(method::CONNECT, &params)?;
        Ok(client)
    }

    fn on(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: Decoder::new(FRAME_BYTES_MAX),
            next_id: 1,
            heard: VecDeque::new(),
            clock: SystemClock::new(),
        }
    }

    /// Asks and waits for the answer; what is heard meanwhile is kept.
    pub(crate) fn call<P: Serialize, R: DeserializeOwned>(
        &mut self,
        method: &str,
        params: &P,
    ) -> Result<R, Failure> {
        self.call_within(ANSWER_LIMIT, method, params)
    }

    /// The same with another limit.
    pub(crate) fn call_within<P: Serialize, R: DeserializeOwned>(
        &mut self,
        limit: Duration,
        method: &str,
        params: &P,
    ) -> Result<R, Failure> {
        self.ask(Some(limit), method, params)
    }

    /// The same of what the daemon itself limits: for as long as it is there.
    pub(crate) fn call_to_the_end<P: Serialize, R: DeserializeOwned>(
        &mut self,
        method: &str,
        params: &P,
    ) -> Result<R, Failure> {
        self.ask(None, method, params)
    }

    fn ask<P: Serialize, R: DeserializeOwned>(
        &mut self,
        limit: Option<Duration>,
        method: &str,
        params: &P,
    ) -> Result<R, Failure> {
        let id = self.next_id;
        self.next_id += 1;
        let mut frame = Vec::new();
        rpc::write_request(&mut frame, id, method, params);
        self.stream.write_all(&frame).map_err(|e| lost(&e))?;
        let deadline_ms = limit.map(|limit| self.deadline_ms(limit));
        loop {
            match self.next(deadline_ms)? {
                None => {
                    let limit = limit.unwrap_or_default();
                    let text = format!("{method} was not answered within {limit:?}");
                    return Err(Failure::new("timed_out", 75, text)
                        .hint("the daemon is alive but far behind; trunkline doctor"));
                }
                Some(Incoming::Response(found, answer)) if found == id => {
                    let result = answer?;
                    return serde_json::from_str(result.get())
                        .map_err(|error| not_understood(&format!("{method}: {error}")));
                }
                Some(Incoming::Notification(heard)) => self.heard.push_back(heard),
                Some(Incoming::Response(..) | Incoming::Other) => {}
            }
        }
    }

    /// Waits for what the daemon says next by itself; none when the wait is over.
    pub(crate) fn hear(&mut self, wait: &Wait) -> Result<Option<Notification>, Failure> {
        if let Some(heard) = self.heard.pop_front() {
            return Ok(Some(heard));
        }
        let deadline_ms = match wait {
            Wait::Until(limit) => Some(self.deadline_ms(*limit)),
            Wait::Forever => None,
        };
        loop {
            match self.next(deadline_ms)? {
                None => return Ok(None),
                Some(Incoming::Notification(heard)) => return Ok(Some(heard)),
                Some(_) => {}
            }
        }
    }

    /// What was heard while waiting for an answer.
    pub(crate) fn heard(&mut self) -> impl Iterator<Item = Notification> + '_ {
        self.heard.drain(..)
    }

    fn deadline_ms(&self, limit: Duration) -> u64 {
        self.clock.now().mono_ms + limit.as_millis() as u64
    }

    fn next(&mut self, deadline_ms: Option<u64>) -> Result<Option<Incoming>, Failure> {
        loop {
            match self.decoder.next_frame() {
                Some(Frame::Complete(frame)) => return Ok(Some(incoming(frame))),
                Some(Frame::TooLarge { bytes, limit }) => {
                    return Err(not_understood(&format!(
                        "expected a frame of at most {limit} bytes, found {bytes}"
                    )));
                }
                None => {}
            }
            let left = match deadline_ms {
                None => None,
                Some(at_ms) => match at_ms.saturating_sub(self.clock.now().mono_ms) {
                    0 => return Ok(None),
                    left_ms => Some(Duration::from_millis(left_ms)),
                },
            };
            self.stream.set_read_timeout(left).map_err(|e| lost(&e))?;
            match self.stream.read(self.decoder.spare(64 * 1024)) {
                Ok(0) => return Err(lost(&io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.decoder.filled(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(None),
                    _ => return Err(lost(&error)),
                },
            }
        }
    }
}

fn incoming(frame: &[u8]) -> Incoming {
    match rpc::parse(frame) {
        Ok(Message::Notification { method, params }) => Incoming::Notification(Notification {
            method: method.into_owned(),
            params: params.unwrap_or(RawValue::NULL).to_owned(),
        }),
        Ok(Message::Response { id, result }) => match id.get().parse() {
            Ok(id) => Incoming::Response(
                id,
                result
                    .map(ToOwned::to_owned)
                    .map_err(|error| Error::from_rpc(&error)),
            ),
            Err(_) => Incoming::Other,
        },
        Ok(Message::Request { .. }) | Err(_) => Incoming::Other,
    }
}

fn no_daemon(socket: &Path, error: &io::Error) -> Failure {
    let text = match error.kind() {
        io::ErrorKind::NotFound => format!("no daemon runs: there is no {}", socket.display()),
        io::ErrorKind::ConnectionRefused => {
            format!("no daemon runs: nobody listens on {}", socket.display())
        }
        _ => format!("{} cannot be reached: {error}", socket.display()),
    };
    Failure::no_daemon(text).hint("trunkline up")
}

fn lost(error: &io::Error) -> Failure {
    Failure::no_daemon(format!("the daemon went away: {error}"))
        .hint("if you did not end it, see what it wrote to stderr")
}

fn not_understood(text: &str) -> Failure {
    Failure::new("protocol_violation", 76, text.to_owned())
        .hint("the daemon and this program are of different versions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_before_an_answer_is_kept() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = Client::on(ours);
        theirs
            .write_all(
                b"{\"jsonrpc\":\"2.0\",\"method\":\"admin.event\",\"params\":{\"n\":1}}\n\
                  {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n",
            )
            .unwrap();
        let _: rpc::Empty = client.call("ping", &rpc::Empty {}).unwrap();
        let heard = client.hear(&Wait::Until(Duration::ZERO)).unwrap().unwrap();
        assert_eq!(heard.params.get(), "{\"n\":1}");
        assert!(client.hear(&Wait::Until(Duration::ZERO)).unwrap().is_none());
        drop(theirs);
        let failure = client.hear(&Wait::Forever).unwrap_err();
        assert_eq!(failure.exit(), super::super::failure::EXIT_NO_DAEMON);
    }
}
