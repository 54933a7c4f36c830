//! A fake owner of the links, and the scripts that talk to it.
//!
//! A script writes `standby`, `ready`, `progress`, `retry_later <ms>` or `fatal`, one per line; it
//! reads `activate`, `shutdown`, `pause` and `resume`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use trunkline_broker::clock::SystemClock;
use trunkline_broker::instance::InstanceKey;
use trunkline_broker::supervisor::{
    Connection, ExitReport, LaunchSpec, Links, LogLimits, Logs, Redactor, Setup, Signal, State,
    StateReport, Status, Supervisor,
};

/// No wait of a test is longer; it is no sleep, only the end of a hopeless wait.
const HOPELESS: Duration = Duration::from_secs(40);

/// A shell plugin: gets ready, then runs until its link says otherwise.
pub(crate) const READY_SH: &str = r"
echo standby >&3
read -r word <&3
echo ready >&3
";

/// After [`READY_SH`]: waits for the shutdown and ends.
pub(crate) const WAIT_SH: &str = r#"
while read -r word <&3; do [ "$word" = shutdown ] && exit 0; done
"#;

/// A Python plugin gets ready with this.
pub(crate) const READY_PY: &str = r#"
import os, socket, sys
link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"])).makefile("rw")
def say(word):
    link.write(word + "\n")
    link.flush()
say("standby")
link.readline()
say("ready")
"#;

/// One thing that was told about an instance.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) at: std::time::Instant,
    pub(crate) key: InstanceKey,
    pub(crate) report: StateReport,
}

/// The fake owner of the links.
pub(crate) struct FakeLinks {
    runtime: tokio::runtime::Handle,
    signals: mpsc::Sender<(InstanceKey, Signal)>,
    writers: Mutex<HashMap<InstanceKey, mpsc::Sender<String>>>,
    told: watch::Sender<Vec<Told>>,
    /// How many lines the scripts have written, and how many had been read at each exit.
    pub(crate) lines: Arc<AtomicUsize>,
    pub(crate) lines_at_exits: Mutex<Vec<usize>>,
    /// Exits of these instances are blamed on a suspect event.
    pub(crate) suspects: Mutex<Vec<InstanceKey>>,
    /// Instances that were opened in a shared process.
    pub(crate) opened: Mutex<Vec<InstanceKey>>,
    /// Those of them that never get ready,
    pub(crate) mute: Mutex<Vec<InstanceKey>>,
    /// and those that cannot be closed.
    pub(crate) deaf: Mutex<Vec<InstanceKey>>,
}

impl FakeLinks {
    fn send(&self, key: &InstanceKey, word: &str) {
        if let Some(writer) = self.writers.lock().unwrap().get(key) {
            // The process may have ended.
            let _best_effort = writer.try_send(format!("{word}\n"));
        }
    }

    /// Ends the link of an instance that shares a process.
    pub(crate) fn hang_up(&self, key: &InstanceKey) {
        let mut opened = self.opened.lock().unwrap();
        if let Some(at) = opened.iter().position(|other| other == key) {
            opened.remove(at);
            self.signal(key, Signal::LinkClosed);
        }
    }

    pub(crate) fn signal(&self, key: &InstanceKey, signal: Signal) {
        self.signals
            .try_send((key.clone(), signal))
            .expect("the supervisor keeps up");
    }
}

async fn converse(
    key: InstanceKey,
    reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    mut words: mpsc::Receiver<String>,
    signals: mpsc::Sender<(InstanceKey, Signal)>,
    count: Arc<AtomicUsize>,
) {
    let mut lines = BufReader::new(reader).lines();
    loop {
        let signal = tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => {
                    count.fetch_add(1, Ordering::SeqCst);
                    signal_of(&line)
                }
                _ => break,
            },
            Some(word) = words.recv() => {
                if writer.write_all(word.as_bytes()).await.is_err() { break }
                continue;
            }
        };
        if signals.send((key.clone(), signal)).await.is_err() {
            return;
        }
    }
    let _best_effort = signals.send((key, Signal::LinkClosed)).await;
}

fn signal_of(line: &str) -> Signal {
    let (word, number) = line.split_once(' ').unwrap_or((line, ""));
    let state = match word {
        "standby" => return Signal::Standby,
        "progress" => return Signal::Progress,
        "ready" => Status::Ready,
        "retry_later" => Status::RetryLater,
        "fatal" => Status::Fatal,
        word => panic!("a script said {word}"),
    };
    Signal::Status {
        state,
        reason: None,
        retry_after_ms: number.parse().ok(),
    }
}

impl Links for FakeLinks {
    fn attach(&self, key: &InstanceKey, connection: Connection) {
        let (writer, words) = mpsc::channel(16);
        self.writers.lock().unwrap().insert(key.clone(), writer);
        let (key, signals) = (key.clone(), self.signals.clone());
        let count = self.lines.clone();
        let _guard = self.runtime.enter();
        match connection {
            Connection::Socket(socket) => {
                let socket = tokio::net::UnixStream::from_std(socket).unwrap();
                let (reader, writer) = socket.into_split();
                tokio::spawn(converse(key, reader, writer, words, signals, count));
            }
            Connection::Stdio { stdin, stdout } => {
                let reader = pipe::Receiver::from_owned_fd(stdout).unwrap();
                let writer = pipe::Sender::from_owned_fd(stdin).unwrap();
                tokio::spawn(converse(key, reader, writer, words, signals, count));
            }
        }
    }

    fn open(&self, key: &InstanceKey) {
        self.opened.lock().unwrap().push(key.clone());
        self.signal(key, Signal::Standby);
    }

    fn close(&self, key: &InstanceKey, _timeout_ms: u64, _reason: &str) {
        if !self.deaf.lock().unwrap().contains(key) {
            self.hang_up(key);
            self.signal(key, Signal::Closed { error: None });
        }
    }

    fn activate(&self, key: &InstanceKey) {
        let is_opened = self.opened.lock().unwrap().contains(key);
        if is_opened && !self.mute.lock().unwrap().contains(key) {
            self.signal(key, Signal::ready());
        }
        self.send(key, "activate");
    }

    fn deactivate(&self, _key: &InstanceKey, _timeout_ms: u64, _reason: &str) {}

    fn pause(&self, key: &InstanceKey) {
        self.send(key, "pause");
    }

    fn resume(&self, key: &InstanceKey) {
        self.send(key, "resume");
    }

    fn shutdown(&self, key: &InstanceKey, _timeout_ms: u64, _reason: &str) {
        self.send(key, "shutdown");
        self.signal(key, Signal::Drained);
        self.hang_up(key);
    }

    fn exited(&self, key: &InstanceKey, _exit: &ExitReport) {
        self.writers.lock().unwrap().remove(key);
        let lines = self.lines.load(Ordering::SeqCst);
        self.lines_at_exits.lock().unwrap().push(lines);
        let suspect = self.suspects.lock().unwrap().contains(key);
        self.signal(key, Signal::Blamed { suspect });
    }

    fn state(&self, key: &InstanceKey, report: &StateReport) {
        #[expect(
            clippy::disallowed_methods,
            reason = "measures how long real processes take"
        )]
        let at = std::time::Instant::now();
        let told = Told {
            at,
            key: key.clone(),
            report: report.clone(),
        };
        self.told.send_modify(|all| all.push(told));
    }
}

/// A supervisor, what it was told, and a directory for its plugins.
pub(crate) struct World {
    pub(crate) supervisor: Supervisor,
    pub(crate) links: Arc<FakeLinks>,
    pub(crate) logs: Logs,
    pub(crate) root: PathBuf,
    told: watch::Receiver<Vec<Told>>,
    _directory: Option<tempfile::TempDir>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(adapt: impl FnOnce(&mut Setup)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        Self {
            _directory: Some(directory),
            ..Self::at(root, LogLimits::default(), adapt)
        }
    }

    pub(crate) fn at(root: PathBuf, limits: LogLimits, adapt: impl FnOnce(&mut Setup)) -> Self {
        let (signals, heard) = mpsc::channel(4_096);
        let (told, all_told) = watch::channel(Vec::new());
        let links = Arc::new(FakeLinks {
            runtime: tokio::runtime::Handle::current(),
            signals,
            writers: Mutex::default(),
            told,
            lines: Arc::default(),
            lines_at_exits: Mutex::default(),
            suspects: Mutex::default(),
            opened: Mutex::default(),
            mute: Mutex::default(),
            deaf: Mutex::default(),
        });
        let clock = Arc::new(SystemClock::new());
        let redact: Redactor = Arc::new(|text: &str| Cow::Owned(text.replace("hunter2", "***")));
        let logs = Logs::start(root.join("logs"), limits, redact, clock.clone()).unwrap();
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_trunkline"));
        let mut setup = Setup::new(links.clone(), heard, launcher, clock, logs.clone());
        adapt(&mut setup);
        let supervisor = Supervisor::start(setup).unwrap();
        Self {
            supervisor,
            links,
            logs,
            root,
            told: all_told,
            _directory: None,
        }
    }

    /// Makes a plugin that runs `text` with the interpreter.
    pub(crate) fn plugin(&self, name: &str, interpreter: &str, text: &str) -> LaunchSpec {
        let dir = self.root.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("script"), text).unwrap();
        let command = [interpreter, "script"].map(str::to_owned).to_vec();
        let key = InstanceKey::new(name, "default");
        LaunchSpec::new(key, command, &dir, self.root.join("state").join(name))
    }

    pub(crate) fn sh(&self, name: &str, text: &str) -> LaunchSpec {
        self.plugin(name, "sh", text)
    }

    pub(crate) fn python(&self, name: &str, text: &str) -> LaunchSpec {
        let mut spec = self.plugin(name, "python3", text);
        // The shim that version managers put first in PATH needs an environment of its own.
        spec.command[0] = real_python();
        spec
    }

    pub(crate) async fn start(&self, spec: LaunchSpec) -> InstanceKey {
        let key = spec.key.clone();
        self.supervisor.apply(vec![spec]).await.unwrap();
        key
    }

    /// Waits until `count` reports were told that match, and returns the last of them.
    pub(crate) async fn nth(&self, count: usize, mut matches: impl FnMut(&Told) -> bool) -> Told {
        let mut told = self.told.clone();
        let mut found = None;
        let wait = told.wait_for(|all| {
            found = all
                .iter()
                .filter(|told| matches(told))
                .nth(count - 1)
                .cloned();
            found.is_some()
        });
        if let Ok(result) = tokio::time::timeout(HOPELESS, wait).await {
            result.expect("the links live as long as the world");
        } else {
            panic!("not told {count} times; told: {:#?}", self.told());
        }
        found.expect("the wait ended because it was found")
    }

    pub(crate) async fn until(&self, key: &InstanceKey, state: State) -> Told {
        self.nth(1, |told| told.key == *key && told.report.state == state)
            .await
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.borrow().clone()
    }

    pub(crate) async fn pid(&self, key: &InstanceKey) -> u32 {
        let listed = self.supervisor.list().await.unwrap();
        let listed = listed.iter().find(|listed| listed.key == *key).unwrap();
        listed.report.pid.unwrap()
    }
}

/// The end of a process that is no child of this one.
pub(crate) struct End(std::os::fd::OwnedFd);

impl End {
    /// None: it has ended, and nothing is left of it.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .ok()
            .map(Self)
    }

    pub(crate) fn wait(self) {
        use rustix::event::{PollFd, PollFlags, poll};
        let timeout = HOPELESS.try_into().unwrap();
        let ended = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)).unwrap();
        assert_eq!(ended, 1, "the process lives on");
    }
}

/// Returns true while the process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref()).unwrap_or_default()
}

/// Finds the interpreter itself.
pub(crate) fn real_python() -> String {
    static PATH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let find = || {
        #[expect(
            clippy::disallowed_methods,
            reason = "asks the machine, starts no plugin"
        )]
        let output = std::process::Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .expect("these tests need python3");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    PATH.get_or_init(find).clone()
}
