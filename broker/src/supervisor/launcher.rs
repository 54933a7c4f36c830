//! The process between the daemon and a plugin: `trunkline __launch`.
//!
//! The daemon has many threads, and between fork and exec such a process may do almost nothing.
//! So it starts itself again, single-threaded, and this program grants what is granted, takes away
//! the rest and becomes the plugin. It decides nothing: the order says everything.
//!
//! | descriptor | on entry | after exec, `fd` | after exec, `stdio` |
//! |---|---|---|---|
//! | 0 | control socket: order in, failure out | `/dev/null` | link, read |
//! | 1 | pipe | log | link, write |
//! | 2 | pipe | log | log |
//! | 3 | closed | link, read and write | closed |
//! | 4 | closed | listening socket of its HTTP server, if granted | the same |
//!
//! The order is a 4-byte little-endian length and JSON; the descriptors for the link and for the listening
//! socket come with the length. The control socket closes by itself when the exec succeeds: then the daemon knows.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::io::FdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use super::guard::{GUARD_COMMAND, guard};
use super::links::Transport;
use super::spec::Limits;

/// The hidden command that becomes a plugin.
pub(super) const LAUNCH_COMMAND: &str = "__launch";

/// The largest order, in bytes; more is refused.
const ORDER_BYTES_MAX: usize = 1 << 20;
/// The exit code of a launcher that could not become the plugin, as shells use it.
const EXIT_NOT_LAUNCHED: u8 = 127;
/// The lowest number the control socket is moved to, to keep 3 free for the link.
const CONTROL_FD_MIN: i32 = 10;

/// What the launcher is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The daemon's process id; with another parent the daemon is dead already.
    pub(super) parent: i32,
    pub(super) command: Vec<String>,
    pub(super) dir: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    pub(super) transport: Transport,
    pub(super) limits: Limits,
}

/// Why a program could not be started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.text())]
pub struct LaunchFailure {
    /// What was tried, as a verb with its object's kind.
    pub step: String,
    /// On what.
    pub path: String,
    /// The system's words.
    pub error: String,
    /// The system's number, where there is one.
    pub errno: Option<i32>,
    /// True: another try would end the same way.
    #[serde(default)]
    pub is_final: bool,
}

impl LaunchFailure {
    pub(super) fn new(step: &str, path: impl AsRef<Path>, error: &io::Error) -> Self {
        Self {
            step: step.to_owned(),
            path: path.as_ref().display().to_string(),
            error: error.to_string(),
            errno: error.raw_os_error(),
            is_final: false,
        }
    }

    /// What may not be started: with these words, and not tried again.
    pub(super) fn refused(dir: &Path, words: String) -> Self {
        Self {
            step: "start".to_owned(),
            path: dir.display().to_string(),
            error: words,
            errno: None,
            is_final: true,
        }
    }

    fn text(&self) -> String {
        if self.is_final {
            return self.error.clone();
        }
        format!("cannot {} `{}`: {}", self.step, self.path, self.error)
    }
}

/// What a process inherits beside its standard streams.
#[derive(Debug)]
pub(super) struct Inherited {
    /// Its end of the link.
    pub(super) link: OwnedFd,
    /// What its own HTTP server listens on.
    pub(super) http: Option<OwnedFd>,
}

/// Sends an order and what the process inherits over the control socket.
pub(super) fn send_order(
    mut control: &UnixStream,
    order: &Order,
    inherited: Inherited,
) -> io::Result<()> {
    let json = serde_json::to_vec(order)?;
    if json.len() > ORDER_BYTES_MAX {
        let text = format!(
            "the order has {} bytes, at most {ORDER_BYTES_MAX}",
            json.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let ends: Vec<_> = [Some(&inherited.link), inherited.http.as_ref()]
        .into_iter()
        .flatten()
        .map(AsFd::as_fd)
        .collect();
    ancillary.push(SendAncillaryMessage::ScmRights(&ends));
    let length = (json.len() as u32).to_le_bytes();
    let head = [io::IoSlice::new(&length)];
    rustix::net::sendmsg(control, &head, &mut ancillary, SendFlags::NOSIGNAL)?;
    control.write_all(&json)
}

/// Runs the command that the daemon starts itself with, if this process is such a one.
///
/// Call it first in `main`, while the process has one thread and has opened nothing.
pub fn hidden_command() -> Option<ExitCode> {
    let command = std::env::args_os().nth(1)?;
    if command == LAUNCH_COMMAND {
        Some(launch())
    } else if command == GUARD_COMMAND {
        close_inherited();
        Some(guard())
    } else {
        None
    }
}

/// Becomes the plugin that the order on standard input describes.
///
/// Returns only when that failed; the daemon has been told why.
fn launch() -> ExitCode {
    close_inherited();
    let control = match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), CONTROL_FD_MIN) {
        Ok(control) => UnixStream::from(control),
        Err(_) => return ExitCode::from(EXIT_NOT_LAUNCHED),
    };
    let failure = match receive_order(&control) {
        Ok((order, inherited)) => become_plugin(&order, inherited),
        Err(error) => LaunchFailure::new("read", "the order", &error),
    };
    // Told as well as possible: without a daemon to read it nobody misses it.
    if let Ok(json) = serde_json::to_vec(&failure) {
        let _best_effort = (&control).write_all(&json);
    }
    ExitCode::from(EXIT_NOT_LAUNCHED)
}

/// Closes whatever the daemon's other parts left open for children.
fn close_inherited() {
    #[expect(unsafe_code, reason = "no safe wrapper closes a range of descriptors")]
    // SAFETY: this is the first thing a single-threaded process does; it has opened nothing, so
    // no value owns a descriptor above 2.
    let _best_effort = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

fn receive_order(mut control: &UnixStream) -> io::Result<(Order, Inherited)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut length = [0_u8; 4];
    let mut head = [io::IoSliceMut::new(&mut length)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(control, &mut head, &mut ancillary, flags)?;
    let mut ends = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(ends) => Some(ends),
            _ => None,
        })
        .flatten();
    let (link, http) = (ends.next(), ends.next());
    let length = u32::from_le_bytes(length) as usize;
    let (Some(link), 4, ..=ORDER_BYTES_MAX) = (link, received.bytes, length) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "expected a length and a link",
        ));
    };
    let mut json = vec![0; length];
    control.read_exact(&mut json)?;
    Ok((serde_json::from_slice(&json)?, Inherited { link, http }))
}

fn become_plugin(order: &Order, inherited: Inherited) -> LaunchFailure {
    match try_become_plugin(order, inherited) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn try_become_plugin(
    order: &Order,
    Inherited { link, http }: Inherited,
) -> Result<std::convert::Infallible, LaunchFailure> {
    let fail = |step: &'static str, path: &'static str| {
        move |errno: rustix::io::Errno| LaunchFailure::new(step, path, &errno.into())
    };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(fail("set", "parent death signal"))?;
    // The daemon may have died before the line above: then no signal ever comes.
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent != Some(order.parent) {
        let error = io::Error::other("the daemon is gone");
        return Err(LaunchFailure::new(
            "start under",
            order.parent.to_string(),
            &error,
        ));
    }
    rustix::process::setsid().map_err(fail("open", "new session"))?;

    let mut environment = order.environment.clone();
    match order.transport {
        Transport::Stdio => {
            rustix::stdio::dup2_stdin(&link).map_err(fail("connect", "standard input"))?;
        }
        Transport::Fd => {
            let null = std::fs::File::open("/dev/null")
                .map_err(|error| LaunchFailure::new("open", "/dev/null", &error))?;
            rustix::stdio::dup2_stdin(&null).map_err(fail("connect", "standard input"))?;
            rustix::io::fcntl_setfd(&link, FdFlags::empty()).map_err(fail("keep open", "link"))?;
            environment.push(("TRUNKLINE_LINK_FD".to_owned(), link.as_raw_fd().to_string()));
        }
    }
    if let Some(http) = &http {
        rustix::io::fcntl_setfd(http, FdFlags::empty())
            .map_err(fail("keep open", "listening socket"))?;
        environment.push(("TRUNKLINE_HTTP_FD".to_owned(), http.as_raw_fd().to_string()));
    }
    std::env::set_current_dir(&order.dir)
        .map_err(|error| LaunchFailure::new("enter directory", &order.dir, &error))?;
    let program = find_program(order)?;
    set_limits(&order.limits)?;
    rustix::thread::set_no_new_privs(true).map_err(fail("set", "no new privileges"))?;

    #[expect(clippy::disallowed_methods, reason = "this is the launcher")]
    let mut command = std::process::Command::new(&program);
    command
        .args(&order.command[1..])
        .env_clear()
        .envs(environment);
    let error = command.exec();
    let mut failure = LaunchFailure::new("execute", &program, &error);
    if error.kind() == io::ErrorKind::NotFound && program.exists() {
        failure
            .error
            .push_str("; the file exists: is the interpreter in its first line missing?");
    }
    Err(failure)
}

fn set_limits(limits: &Limits) -> Result<(), LaunchFailure> {
    let all = [
        (Resource::Core, Some(0), "core size"),
        (Resource::Nofile, Some(limits.open_files), "open files"),
        (Resource::Fsize, Some(limits.file_bytes), "file size"),
        (Resource::Data, limits.memory_bytes, "memory"),
    ];
    for (resource, limit, name) in all {
        let Some(wanted) = limit else { continue };
        // Only root may raise a hard limit: where it is lower than wanted, it stays.
        let hard = rustix::process::getrlimit(resource).maximum;
        let limit = hard.map_or(wanted, |hard| hard.min(wanted));
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        rustix::process::setrlimit(resource, limit)
            .map_err(|errno| LaunchFailure::new("limit", name, &errno.into()))?;
    }
    Ok(())
}

/// Finds the program: relative to the plugin's directory with a slash, in `PATH` without.
fn find_program(order: &Order) -> Result<PathBuf, LaunchFailure> {
    let Some(program) = order.command.first().filter(|program| !program.is_empty()) else {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "the command is empty");
        return Err(LaunchFailure::new("execute", "", &error));
    };
    if program.contains('/') {
        return Ok(order.dir.join(program));
    }
    let paths = order.environment.iter().find(|(name, _)| name == "PATH");
    let paths = paths.map_or("", |(_, paths)| paths.as_str());
    std::env::split_paths(OsStr::new(paths))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|path| path.is_file() && is_executable(path))
        .ok_or_else(|| {
            let error = io::Error::new(
                io::ErrorKind::NotFound,
                format!("not found in PATH ({paths}); write ./{program} for a file of the plugin"),
            );
            LaunchFailure::new("execute", program, &error)
        })
}

fn is_executable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(program: &str, paths: &str) -> Order {
        Order {
            parent: 0,
            command: vec![program.to_owned()],
            dir: PathBuf::from("/plugins/echo"),
            environment: vec![("PATH".to_owned(), paths.to_owned())],
            transport: Transport::Fd,
            limits: Limits::default(),
        }
    }

    #[test]
    fn a_program_with_a_slash_is_relative_to_the_plugin() {
        let found = find_program(&order("./bin/x", "")).unwrap();
        assert_eq!(found, Path::new("/plugins/echo/./bin/x"));
        assert_eq!(
            find_program(&order("/bin/sh", "")).unwrap(),
            Path::new("/bin/sh")
        );
    }

    #[test]
    fn a_program_without_a_slash_is_looked_up_and_its_absence_explained() {
        assert_eq!(
            find_program(&order("sh", "/nowhere:/bin")).unwrap(),
            Path::new("/bin/sh")
        );
        let failure = find_program(&order("no-such-program", "/bin")).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "cannot execute `no-such-program`: not found in PATH (/bin); \
             write ./no-such-program for a file of the plugin"
        );
    }

    #[test]
    fn an_order_travels_with_its_link() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (link, _other) = UnixStream::pair().unwrap();
        for http in [None, Some(link.try_clone().unwrap().into())] {
            let has_http = http.is_some();
            let link = link.try_clone().unwrap().into();
            send_order(&ours, &order("sh", "/bin"), Inherited { link, http }).unwrap();
            let (order, inherited) = receive_order(&theirs).unwrap();
            assert_eq!(order.command, ["sh"]);
            assert_eq!(inherited.http.is_some(), has_http);
        }
    }
}
