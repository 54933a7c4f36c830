//! Starts processes, on one thread that lives as long as the daemon.
//!
//! A process is killed by the system when the *thread* that started it ends, so no worker thread
//! of a runtime may start one. The thread does nothing else; it waits for no process.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags};
use tokio::sync::oneshot;

use super::guard::{Guard, RUN_VARIABLE};
use super::launcher::{Inherited, LAUNCH_COMMAND, LaunchFailure, Order, send_order};
use super::links::{Connection, Transport};
use super::own_server::OwnServers;
use super::reap;
use super::spec::LaunchSpec;
use crate::install::InstallError;

/// Starts waiting for the thread; more are refused.
const STARTS_MAX: usize = 1_024;
/// How long a launcher may take to read its order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(2);
/// Where programs are looked up when the daemon has no `PATH` itself.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What every process gets from the daemon's environment.
const ORDINARY_NAMES: [&str; 4] = ["PATH", "LANG", "LC_ALL", "TZ"];

/// Reads one variable of the daemon's environment.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A process whose launcher runs; the plugin may not run yet.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// Is told when the process is reaped.
    pub(super) guard: Arc<Guard>,
    /// Says why the launch failed, or just ends.
    pub(super) control: UnixStream,
    pub(super) connection: Connection,
    /// The read ends of what is logged; stdout only where it is not the link.
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: OwnedFd,
}

struct Job {
    spec: Arc<LaunchSpec>,
    reply: oneshot::Sender<Result<Child, LaunchFailure>>,
}

/// The thread that starts processes; they die with it.
#[derive(Debug, Clone)]
pub(super) struct Spawner {
    jobs: SyncSender<Job>,
}

impl Spawner {
    /// Starts the thread; `launcher` is the program that has the launch command.
    pub(super) fn start(
        launcher: PathBuf,
        environment: Environment,
        servers: Arc<OwnServers>,
    ) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(STARTS_MAX);
        std::thread::Builder::new()
            .name("spawn".to_owned())
            .spawn(move || {
                let guard = Arc::new(Guard::start(&launcher));
                for job in queue {
                    let child = spawn(&launcher, &job.spec, &environment, &guard, &servers);
                    // Nobody waits any more: the child is dropped, and ends with its control socket.
                    let _best_effort = job.reply.send(child);
                }
            })?;
        Ok(Self { jobs })
    }

    /// Asks for a process; the answer comes when its launcher runs.
    pub(super) fn spawn(
        &self,
        spec: Arc<LaunchSpec>,
    ) -> oneshot::Receiver<Result<Child, LaunchFailure>> {
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.jobs.try_send(Job { spec, reply }) {
            let (job, text) = match error {
                TrySendError::Full(job) => (job, "too many starts at the same time"),
                TrySendError::Disconnected(job) => (job, "the spawning thread is gone"),
            };
            let failure = LaunchFailure::new("start", &job.spec.dir, &io::Error::other(text));
            let _best_effort = job.reply.send(Err(failure));
        }
        answer
    }
}

/// Starts a process.
pub(super) async fn start(spawner: Spawner, spec: Arc<LaunchSpec>) -> Result<Child, LaunchFailure> {
    let gone = || LaunchFailure::new("start", "process", &io::Error::other("shutting down"));
    spawner.spawn(spec).await.unwrap_or_else(|_| Err(gone()))
}

/// Says why a package that was checked may not be started.
pub(super) fn refusal(spec: &LaunchSpec, error: &InstallError) -> LaunchFailure {
    if let InstallError::Io { path, source } = error {
        return LaunchFailure::new("check", path, source);
    }
    let hint = error.hint().map(|hint| format!("; hint: {hint}"));
    let words = format!("{error}{}", hint.unwrap_or_default());
    LaunchFailure::refused(&spec.dir, words)
}

fn spawn(
    launcher: &Path,
    spec: &LaunchSpec,
    environment: &Environment,
    guard: &Arc<Guard>,
    servers: &OwnServers,
) -> Result<Child, LaunchFailure> {
    std::fs::create_dir_all(&spec.state_dir)
        .map_err(|error| LaunchFailure::new("create directory", &spec.state_dir, &error))?;
    let http = servers
        .open(&spec.key, spec.own_server.as_ref())
        .map_err(|error| LaunchFailure::new("make", "socket of its HTTP server", &error))?;
    let fail = |error: io::Error| LaunchFailure::new("start", launcher, &error);
    let plumbing = Plumbing::new(spec.transport).map_err(fail)?;
    let (control, their_control) = UnixStream::pair().map_err(fail)?;
    control
        .set_write_timeout(Some(ORDER_TIMEOUT))
        .map_err(fail)?;

    #[expect(clippy::disallowed_methods, reason = "this is where processes start")]
    let mut command = Command::new(launcher);
    command
        .arg(LAUNCH_COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(their_control)))
        .stdout(Stdio::from(plumbing.their_stdout))
        .stderr(Stdio::from(plumbing.their_stderr));
    let (pid, pidfd) = reap::register(|| {
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        // Taken before anybody can reap it, so the number cannot belong to another process yet.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok((pid, pidfd))
    })
    .map_err(fail)?;
    // The parent's copies of the child's ends, or the pipes would never end.
    drop(command);
    // Before the launcher gets its order, and so before the plugin can start anything.
    guard.opened(pid);

    let mut environment = granted(spec, environment);
    environment.push((RUN_VARIABLE.to_owned(), guard.run().to_owned()));
    let order = Order {
        parent: rustix::process::getpid().as_raw_nonzero().get(),
        command: spec.command.clone(),
        dir: spec.dir.clone(),
        environment,
        transport: spec.transport,
        limits: spec.limits,
    };
    // A launcher that cannot read it ends, and its end is reported like any other.
    let inherited = Inherited {
        link: plumbing.their_link,
        http,
    };
    if let Err(error) = send_order(&control, &order, inherited) {
        tracing::warn!(instance = %spec.key, %error, "Launcher did not take its order.");
        let _best_effort = control.shutdown(std::net::Shutdown::Write);
    }
    control.set_nonblocking(true).map_err(fail)?;
    Ok(Child {
        pid,
        pidfd,
        guard: guard.clone(),
        control,
        connection: plumbing.connection,
        stdout: plumbing.stdout,
        stderr: plumbing.stderr,
    })
}

/// Returns everything the process will find in its environment, but the number of its link and
/// the name of this daemon's life.
fn granted(spec: &LaunchSpec, environment: &Environment) -> Vec<(String, String)> {
    let mut granted = Vec::new();
    for (name, value) in &spec.variables {
        let is_ours = name == "HOME" || name.starts_with("TRUNKLINE_");
        if !is_ours && !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0') {
            granted.push((name.clone(), value.clone()));
        }
    }
    let ordinary = ORDINARY_NAMES.into_iter().map(str::to_owned);
    for name in ordinary.chain(spec.environment.iter().cloned()) {
        let is_ours = name == "HOME" || name.starts_with("TRUNKLINE_");
        if is_ours || granted.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let value = environment(&name);
        let value = value.or_else(|| (name == "PATH").then(|| DEFAULT_PATH.to_owned()));
        // The system cannot carry such names and values.
        if let Some(value) = value.filter(|value| !value.contains('\0'))
            && !name.is_empty()
            && !name.contains(['=', '\0'])
        {
            granted.push((name, value));
        }
    }
    granted.push(("HOME".to_owned(), spec.state_dir.display().to_string()));
    granted.push(("TRUNKLINE_PLUGIN".to_owned(), spec.key.plugin.to_string()));
    if !spec.key.is_process() {
        let instance = spec.key.instance.to_string();
        granted.push(("TRUNKLINE_INSTANCE".to_owned(), instance));
    }
    granted
}

/// Both ends of everything between the daemon and one process.
struct Plumbing {
    connection: Connection,
    their_link: OwnedFd,
    their_stdout: OwnedFd,
    their_stderr: OwnedFd,
    stdout: Option<OwnedFd>,
    stderr: OwnedFd,
}

impl Plumbing {
    fn new(transport: Transport) -> io::Result<Self> {
        let (stderr, their_stderr) = pipe()?;
        set_nonblocking(&stderr)?;
        let (stdout, their_stdout) = pipe()?;
        set_nonblocking(&stdout)?;
        match transport {
            Transport::Fd => {
                let (ours, theirs) = UnixStream::pair()?;
                ours.set_nonblocking(true)?;
                Ok(Self {
                    connection: Connection::Socket(ours),
                    their_link: theirs.into(),
                    their_stdout,
                    their_stderr,
                    stdout: Some(stdout),
                    stderr,
                })
            }
            Transport::Stdio => {
                let (their_stdin, stdin) = pipe()?;
                set_nonblocking(&stdin)?;
                Ok(Self {
                    connection: Connection::Stdio { stdin, stdout },
                    their_link: their_stdin,
                    their_stdout,
                    their_stderr,
                    stdout: None,
                    stderr,
                })
            }
        }
    }
}

/// Makes a pipe whose ends no other child inherits.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Sets one end only: the process keeps blocking reads and writes.
pub(super) fn set_nonblocking(end: &impl std::os::fd::AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(end)?;
    Ok(rustix::fs::fcntl_setfl(end, flags | OFlags::NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::InstanceKey;

    /// Proves L4 (what is granted): only declared names and the ordinary ones are passed on.
    #[test]
    fn only_what_is_granted_is_in_the_environment() {
        let environment: Environment = Arc::new(|name| match name {
            "LANG" => Some("C.UTF-8".to_owned()),
            "TOKEN" | "OTHER_SECRET" | "TRUNKLINE_PLUGIN" | "HOME" => Some("secret".to_owned()),
            _ => None,
        });
        let key = InstanceKey::new("echo", "one");
        let mut spec = LaunchSpec::new(key, vec!["sh".to_owned()], "/plugins/echo", "/state");
        let wanted = ["TOKEN", "MISSING", "HOME", "TRUNKLINE_PLUGIN"];
        spec.environment = wanted.map(str::to_owned).to_vec();
        let set = [
            ("MODE", "quiet"),
            ("LANG", "de_AT.UTF-8"),
            ("TRUNKLINE_PLUGIN", "other"),
        ];
        spec.variables = set
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let granted = granted(&spec, &environment);
        let granted: Vec<String> = granted
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            granted,
            [
                "LANG=de_AT.UTF-8",
                "MODE=quiet",
                &format!("PATH={DEFAULT_PATH}"),
                "TOKEN=secret",
                "HOME=/state",
                "TRUNKLINE_PLUGIN=echo",
                "TRUNKLINE_INSTANCE=one",
            ]
        );
    }
}
