//! A directory with a config and plugins, a daemon on it, and commands run there as an operator runs them.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long anything may take on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// Signals that the tests send.
pub(crate) mod signal {
    pub(crate) use rustix::process::Signal;
    /// Read the config again.
    pub(crate) const HUP: Signal = Signal::HUP;
}

/// A temporary directory with a config.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Reads stdout as one JSON value.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Writes a plugin on the bare wire: what it does when it becomes ready, and with each event. The event's code
/// stands inside `elif method == 'broker.event':`; without any, it echoes.
pub(crate) fn plugin(id: &str, at_ready: &str, at_event: &str) -> String {
    let echo = "            event = params['event']
            inbound = {'topic': params['topic'].replace('outbound', 'inbound'), 'event': {
                'id': id + ':' + event['id'], 'session_id': event.get('session_id'),
                'payload': event['payload'], 'correlation_id': event['id']}}
            send(id=event['id'], method='broker.commit', params={
                'events': [inbound], 'ack': [params['delivery']['id']]})
";
    let at_event = if at_event.is_empty() { echo } else { at_event };
    format!(
        "import json, os, socket, sys
id = '{id}'
link = socket.socket(fileno=int(os.environ['TRUNKLINE_LINK_FD']))
frames = link.makefile('rwb')
def send(**frame):
    frames.write(json.dumps({{'jsonrpc': '2.0', **frame}}).encode() + b'\\n')
    frames.flush()
for line in frames:
    try:
        frame = json.loads(line)
    except ValueError:
        send(id=None, error={{'code': -32700, 'message': 'not JSON', 'data': {{'code': 'invalid_frame'}}}})
        continue
    method, params = frame.get('method'), frame.get('params') or {{}}
    if method == 'initialize':
        send(id=frame['id'], result={{'manifest': {{'plugin': {{'id': id, 'version': '0.1.0'}}}},
            'protocol': 'trunkline/1.0', 'accepts': {{'events': 64, 'bytes': 1048576}}}})
    elif method == 'instance.activate':
        send(id=frame['id'], result={{}})
{at_ready}        send(method='instance.status', params={{'state': 'ready'}})
    elif method == 'broker.event':
        if 'delivery' in params:
{at_event}    elif method == 'broker.gap':
        send(method='broker.ack', params={{'deliveries': [params['delivery']['id']]}})
    elif method == 'shutdown':
        send(id=frame['id'], result={{'ok': True}})
        break
    elif method == 'ping':
        send(id=frame['id'], result={{'loop_lag_ms': 0, 'in_flight': 0}})
    elif method in ('instance.pause', 'instance.resume', 'instance.deactivate', 'config.update'):
        send(id=frame['id'], result={{}})
    elif method is not None and 'id' in frame:
        send(id=frame['id'], error={{'code': -32601, 'message': 'no ' + method,
            'data': {{'code': 'not_implemented', 'retryable': False}}}})
"
    )
}

impl Home {
    /// Makes one with a config.
    pub(crate) fn new(config: &str) -> Self {
        let home = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        home.write("trunkline.toml", config);
        home
    }

    /// Makes one with instances of a plugin that echoes.
    pub(crate) fn with_echo(instances: &[&str]) -> Self {
        let tables = instances
            .iter()
            .map(|name| format!("[[plugins.echo]]\ninstance = \"{name}\"\n"));
        let home = Self::new(&tables.collect::<String>());
        home.echo();
        home
    }

    /// Adds the plugin that echoes.
    pub(crate) fn echo(&self) {
        self.plugin("echo", &plugin("echo", "", ""));
        let manifest = self.path().join("plugins/echo/plugin.toml");
        let mut text = std::fs::read_to_string(&manifest).unwrap();
        text.push_str("\n[config.greeting]\ntype = \"string\"\n");
        std::fs::write(manifest, text).unwrap();
    }

    /// Adds a plugin whose kind is its id.
    pub(crate) fn plugin(&self, id: &str, program: &str) {
        self.write(
            &format!("plugins/{id}/plugin.toml"),
            &format!(
                "[plugin]\nid = \"{id}\"\nversion = \"0.1.0\"\ncommand = [\"python3\", \"main.py\"]\n\n\
                 [[channels]]\nkind = \"{id}\"\n"
            ),
        );
        self.write(&format!("plugins/{id}/main.py"), program);
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "the program under test")]
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        command
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TRUNKLINE_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a command to its end; paths below here read `<home>`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| self.with_placeholders(&String::from_utf8_lossy(bytes));
        Ran {
            status: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    fn with_placeholders(&self, text: &str) -> String {
        let real = self.path().canonicalize().unwrap();
        text.replace(&real.display().to_string(), "<home>")
            .replace(&self.path().display().to_string(), "<home>")
    }

    /// Starts a command that goes on.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        Running::new(self.command(arguments))
    }

    /// Runs a command again and again until its answer is as wanted; each run waits for the daemon.
    pub(crate) fn until(&self, arguments: &[&str], is_wanted: impl Fn(&Ran) -> bool) -> Ran {
        for _ in 0..2_000 {
            let ran = self.run(arguments);
            if is_wanted(&ran) {
                return ran;
            }
        }
        panic!(
            "{arguments:?} never answered as wanted: {:?}",
            self.run(arguments)
        );
    }

    /// Follows a command until it wrote all of some texts; gives its lines.
    pub(crate) fn follow_until(&self, arguments: &[&str], texts: &[&str]) -> Vec<String> {
        let mut running = self.spawn(arguments);
        for text in texts {
            running.wait_for(text);
        }
        running.kill();
        running.lines()
    }

    /// Starts the daemon and waits until it serves.
    pub(crate) fn up(&self) -> Up {
        self.up_from(self.path())
    }

    /// Starts the daemon in another directory.
    pub(crate) fn up_from(&self, dir: &Path) -> Up {
        let config = self.path().join("trunkline.toml").display().to_string();
        let mut command = self.command(&["up", "--config", &config]);
        if !std::fs::read_to_string(&config).unwrap().contains("[http]") {
            // Tests run side by side.
            command.args(["--set", "http.listen=127.0.0.1:0"]);
        }
        command.current_dir(dir);
        let mut child = command.spawn().unwrap();
        let stderr = Lines::read(child.stderr.take().unwrap());
        let (ready, is_ready) = sync_channel(1);
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line == "ready" {
                    let _best_effort = ready.try_send(());
                }
            }
        });
        let up = Up { child, stderr };
        wait_ready(&is_ready, &up.stderr);
        up
    }
}

fn wait_ready(is_ready: &Receiver<()>, stderr: &Lines) {
    match is_ready.recv_timeout(LIMIT) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            panic!("the daemon is not ready: {:?}", stderr.all());
        }
    }
}

/// Lines, and whether they have ended.
type Heard = (Vec<String>, bool);

/// Lines that a process writes, and a way to wait for one.
#[derive(Clone, Default)]
struct Lines {
    shared: Arc<(Mutex<Heard>, Condvar)>,
}

impl Lines {
    fn read(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let (lock, heard) = &*writer.shared;
                lock.lock().unwrap().0.push(line);
                heard.notify_all();
            }
            let (lock, heard) = &*writer.shared;
            lock.lock().unwrap().1 = true;
            heard.notify_all();
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().0.clone()
    }

    /// Waits until `count` lines contain a text.
    fn wait_for(&self, text: &str, count: usize) {
        let (lock, heard) = &*self.shared;
        let is_missing = |state: &mut Heard| {
            let found = state.0.iter().filter(|line| line.contains(text)).count();
            found < count && !state.1
        };
        let (mut state, _) = heard
            .wait_timeout_while(lock.lock().unwrap(), LIMIT, is_missing)
            .unwrap();
        let found = state.0.iter().filter(|line| line.contains(text)).count();
        assert!(found >= count, "{text:?} did not come: {:?}", state.0);
        state.0.shrink_to_fit();
    }
}

/// A command that goes on.
pub(crate) struct Running {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Running {
    fn new(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = Lines::read(child.stdout.take().unwrap());
        let stderr = Lines::read(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Waits for a line on stdout.
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.stdout.wait_for(text, 1);
    }

    /// What it wrote to stdout.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Waits for its end.
    pub(crate) fn finish(&mut self) -> Ran {
        let status = self.child.wait().unwrap();
        Ran {
            status: status.code().unwrap_or(-1),
            stdout: self.stdout.ended().join("\n"),
            stderr: self.stderr.ended().join("\n"),
        }
    }

    /// Ends it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Lines {
    /// Everything, once the pipe has ended.
    fn ended(&self) -> Vec<String> {
        let (lock, heard) = &*self.shared;
        let (state, _) = heard
            .wait_timeout_while(lock.lock().unwrap(), LIMIT, |state| !state.1)
            .unwrap();
        state.0.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _best_effort = self.child.kill();
        let _best_effort = self.child.wait();
    }
}

/// A running daemon.
pub(crate) struct Up {
    child: Child,
    stderr: Lines,
}

impl Up {
    /// Waits for a line on stderr.
    pub(crate) fn wait_for(&self, text: &str) {
        self.stderr.wait_for(text, 1);
    }

    /// Waits for a second line with the same text.
    pub(crate) fn wait_for_again(&self, text: &str) {
        self.stderr.wait_for(text, 2);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: signal::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and gives its exit status.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal(signal::Signal::TERM);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _best_effort = self.child.kill();
        let _best_effort = self.child.wait();
    }
}

/// Waits until a process is gone.
pub(crate) fn wait_until_gone(pid: i64) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let pid = Pid::from_raw(pid as i32).unwrap();
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    let limit = Timespec {
        tv_sec: LIMIT.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::new(&process, PollFlags::IN)];
    let ready = poll(&mut polled, Some(&limit)).unwrap();
    assert!(ready > 0, "process {pid:?} was left behind");
}
