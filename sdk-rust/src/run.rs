//! Running plugins and clients: which link, which signals, which exit code.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::FileType;
use tokio::signal::unix::{Signal, SignalKind, signal};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::FRAME_BYTES_MAX;
use trunkline_contract::rpc::method;
use trunkline_patterns::backoff::Backoff;

use crate::attach::Address;
use crate::client::Client;
use crate::hub::Stop;
use crate::instance::{Ended, Instance};
use crate::link::{Link, Stream};
use crate::plugin::Plugin;
use crate::shared;

/// Waits between two attempts to reconnect.
const RECONNECT: Backoff = Backoff::new(100, 2.0, 10_000);
const SPREAD: f64 = 0.2;

/// Is a plugin or a client, as [`run`] and [`serve`] take them.
pub struct Runnable(Kind);

enum Kind {
    Plugin(Box<Plugin>),
    Client(Box<Client>),
}

impl From<Plugin> for Runnable {
    fn from(plugin: Plugin) -> Self {
        Self(Kind::Plugin(Box::new(plugin)))
    }
}

impl From<Client> for Runnable {
    fn from(client: Client) -> Self {
        Self(Kind::Client(Box::new(client)))
    }
}

/// Runs a plugin or a client until it is told to stop; the whole `main`.
///
/// A plugin takes the link it was given (`TRUNKLINE_LINK_FD`, else stdio that is a pipe); started
/// by hand it attaches to the local daemon. SIGINT and SIGTERM stop it in order.
///
/// ```no_run
/// # use trunkline::{Json, Outbound, Plugin, Reply, Result};
/// # async fn echo(payload: Json) -> Result<Reply> { Ok(Reply::new(payload)) }
/// fn main() -> std::process::ExitCode {
///     trunkline::run(Plugin::new("echo").outbound(Outbound::new("echo", echo)))
/// }
/// ```
pub fn run(what: impl Into<Runnable>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(serve(what));
            // A handler that blocks a thread of its own must not keep the process.
            runtime.shutdown_timeout(Duration::from_millis(100));
            ended
        }
        Err(error) => Err(Error::new(Code::Internal, format!("no runtime: {error}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.code.exit_code().max(1))
        }
    }
}

/// Does the same as [`run`] on the tokio runtime that it is called on.
///
/// # Errors
/// What keeps it from starting, and what `on_stop` failed with.
pub async fn serve(what: impl Into<Runnable>) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    match what.into().0 {
        Kind::Plugin(plugin) => {
            let stop = Stop::default();
            let served = serve_plugin(*plugin, &stop);
            tokio::pin!(served);
            loop {
                tokio::select! {
                    ended = &mut served => return ended,
                    () = signals.stop() => stop.set(),
                }
            }
        }
        Kind::Client(client) => {
            let client = client.connect().await?;
            let ended = tokio::select! {
                () = signals.stop() => None,
                error = client.ended() => Some(error),
            };
            client.close().await;
            ended.map_or(Ok(()), Err)
        }
    }
}

fn complain(error: &Error) {
    let line = format!("error: {error}\n");
    if let Err(error) = std::io::stderr().write_all(line.as_bytes()) {
        tracing::debug!(%error, "There is no stderr to complain to.");
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let watch = |kind| {
            signal(kind).map_err(|error| {
                Error::new(
                    Code::Internal,
                    format!("signals cannot be watched: {error}"),
                )
            })
        };
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Serves a plugin on the link it was given, else attached, until it is told to stop.
pub(crate) async fn serve_plugin(plugin: Plugin, stop: &Stop) -> Result<(), Error> {
    let given = match given_link()? {
        Some(link) => {
            let mut first = tokio::select! {
                first = shared::first_requests(&link) => match first {
                    Ok(first) => first,
                    Err(error) if error.code == Code::LinkLost => return Ok(()),
                    Err(error) => return Err(error),
                },
                () = stop.wait() => return Ok(()),
            };
            let is_process = first.front().map(|first| &*first.method);
            if is_process == Some(method::INSTANCE_OPEN) {
                return shared::serve(link, plugin, first, stop).await;
            }
            first.pop_front().map(|first| (link, first))
        }
        None => None,
    };
    let instance = Instance::new(plugin)?;
    let ended = match given {
        Some((link, first)) => {
            let served = instance.serve_from(link, Some(first), None, stop.wait());
            served.await.map(drop)
        }
        None => attached(&instance, stop).await,
    };
    instance.over();
    ended
}

/// Serves an instance that the daemon did not start, on one link after the other.
async fn attached(instance: &Instance, stop: &Stop) -> Result<(), Error> {
    let address = Address::default();
    let name = std::env::var("TRUNKLINE_INSTANCE").ok();
    let mut failures = 0;
    let mut was_connected = false;
    loop {
        let opening = instance.introduction(address.token()?, name.clone());
        let error = match address.open().await {
            Ok(link) => match instance.serve(link, Some(&opening), stop.wait()).await? {
                Ended::Wanted => return Ok(()),
                Ended::Lost(error) => {
                    (was_connected, failures) = (true, 0);
                    error
                }
            },
            Err(error) if was_connected => error,
            Err(error) => return Err(error),
        };
        failures += 1;
        let wait_ms = RECONNECT.jittered_ms(failures, SPREAD, crate::clock::unit());
        tracing::warn!(%error, wait_ms, "The link to the broker was lost.");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            () = stop.wait() => return Ok(()),
        }
    }
}

/// Takes the link that the process was started with, if it was, and if nobody has it already.
fn given_link() -> Result<Option<Arc<Link>>, Error> {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    if IS_TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(None);
    }
    let stream = if let Ok(number) = std::env::var("TRUNKLINE_LINK_FD") {
        let fd = take_fd(&number)?;
        Stream::socket(UnixStream::from(fd))
    } else if is_pipe(std::io::stdin()) && is_pipe(std::io::stdout()) {
        stdio()
    } else {
        return Ok(None);
    };
    match stream {
        Ok(stream) => Ok(Some(Link::new(stream, FRAME_BYTES_MAX))),
        Err(error) => Err(Error::new(
            Code::LinkLost,
            format!("the link cannot be used: {error}"),
        )),
    }
}

/// Takes over the descriptor that the launcher names.
#[expect(
    unsafe_code,
    reason = "an inherited descriptor is only known by its number"
)]
fn take_fd(number: &str) -> Result<OwnedFd, Error> {
    let text = || format!("expected TRUNKLINE_LINK_FD to name a socket, found {number:?}");
    let refused = || Error::new(Code::LinkLost, text());
    let number: i32 = number.parse().map_err(|_| refused())?;
    if number <= 2 || !std::path::Path::new(&format!("/proc/self/fd/{number}")).exists() {
        return Err(refused());
    }
    // SAFETY: the descriptor is open, and the launcher made it for the link alone: nothing else in
    // this process owns it, and the link is taken once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(|_| refused())?;
    Ok(fd)
}

fn is_pipe(stream: impl AsFd + IsTerminal) -> bool {
    !stream.is_terminal()
        && rustix::fs::fstat(&stream).is_ok_and(|stat| {
            matches!(
                FileType::from_raw_mode(stat.st_mode),
                FileType::Fifo | FileType::Socket
            )
        })
}

/// Takes stdin and stdout for the link. What the program prints goes to stderr from here on, so
/// that no print of it, of a library, or of a child can get between the frames.
fn stdio() -> std::io::Result<Stream> {
    let read = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    let write = rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 3)?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(std::io::stderr())?;
    Stream::pipes(read, write)
}
