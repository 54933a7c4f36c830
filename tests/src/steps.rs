//! Somebody dies at a step: a daemon and a plugin with a wire between them that the test reads, and a counter
//! of everything that happens on it and outside.
//!
//! The plugin runs by itself, attached through a socket of the test; each frame is a step, before it is handed
//! on, and so is whatever the services outside say is one. At the step that a test armed, the victim is
//! killed and the frame is lost with it; or the frame is handed on, and the victim dies a moment later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{Daemon, Setup};
use crate::wire::{Delivery, Incoming, Peer, Subscribe, WireError};

/// How long anything may take until a run is given up.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// How long to wait for an event before looking at something else.
const LOOK: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_secs(10);
/// Frames of the plugin's start, and of links in general: no engine's steps.
const IGNORED: [&str; 8] = [
    "connect",
    "initialize",
    "instance.activate",
    "instance.status",
    "instance.log",
    "log.write",
    "ping",
    "broker.credit",
];

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Victim {
    Plugin,
    Daemon,
}

#[derive(Debug, Default)]
struct State {
    /// How many steps until somebody dies, and how long after the step.
    armed: Option<(u32, Option<Duration>)>,
    struck: Option<String>,
    last: Option<Instant>,
    is_up: bool,
    is_dead: bool,
    kills: u32,
}

/// Counts steps, and kills.
#[derive(Debug)]
pub struct Steps {
    victim: Victim,
    state: Mutex<State>,
    changed: Condvar,
    daemon: Mutex<Option<Daemon>>,
    plugin: Mutex<Option<Child>>,
}

impl Steps {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with it")
    }

    /// Tells of a step; says whether somebody died there, so that what follows does not happen.
    pub fn pass(self: &Arc<Self>, name: &str) -> bool {
        let mut state = self.state();
        state.last = Some(Instant::now());
        let after = match &mut state.armed {
            Some((1, after)) => *after,
            Some((left, _)) => {
                *left -= 1;
                return false;
            }
            None => return false,
        };
        state.armed = None;
        state.struck = Some(name.to_owned());
        drop(state);
        let Some(after) = after else {
            self.kill();
            return true;
        };
        let steps = Arc::clone(self);
        thread::spawn(move || {
            thread::park_timeout(after);
            steps.kill();
        });
        false
    }

    fn kill(&self) {
        match self.victim {
            Victim::Plugin => self.end_plugin(),
            Victim::Daemon => {
                let daemon = self.daemon.lock().expect("no thread panics with it").take();
                daemon.expect("it runs").kill();
            }
        }
        let mut state = self.state();
        state.is_dead = true;
        state.kills += 1;
        state.is_up &= self.victim != Victim::Daemon;
        self.changed.notify_all();
    }

    fn end_plugin(&self) {
        let mut plugin = self.plugin.lock().expect("no thread panics with it");
        if let Some(mut child) = plugin.take() {
            // It may have ended by itself; waiting tells either way.
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Waits until nothing has happened for a while.
    fn quiet(&self, during: Duration) {
        let mut state = self.state();
        loop {
            let since = state.last.map_or(during, |last| last.elapsed());
            let Some(left) = during.checked_sub(since).filter(|left| !left.is_zero()) else {
                return;
            };
            let (after, _) = self
                .changed
                .wait_timeout(state, left)
                .expect("no thread panics with it");
            state = after;
        }
    }

    fn wait_up(&self) {
        let state = self.state();
        let waits = |state: &mut State| !state.is_up;
        drop(self.changed.wait_timeout_while(state, PATIENCE, waits));
    }
}

/// Hands frames on, in one direction.
fn pump(steps: &Arc<Steps>, from: &UnixStream, to: &UnixStream, asked: &Mutex<Asked>, way: Way) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            break;
        }
        let name = asked
            .lock()
            .expect("no thread panics with it")
            .name(way, &line);
        if name.is_some_and(|name| steps.pass(&name)) {
            break;
        }
        let mut to = to;
        if to.write_all(&line).is_err() {
            break;
        }
    }
    // The other end may be gone already.
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToDaemon,
    ToPlugin,
}

/// What was asked, so that an answer has a name.
#[derive(Debug, Default)]
struct Asked(BTreeMap<(Way, u64), String>);

impl Asked {
    fn name(&mut self, way: Way, line: &[u8]) -> Option<String> {
        let frame: Value = serde_json::from_slice(line).ok()?;
        let id = frame["id"].as_u64();
        let Some(method) = frame["method"].as_str() else {
            let back = match way {
                Way::ToDaemon => Way::ToPlugin,
                Way::ToPlugin => Way::ToDaemon,
            };
            let method = self.0.remove(&(back, id?))?;
            return is_step(&method).then(|| format!("answer to {method}"));
        };
        if let Some(id) = id {
            self.0.insert((way, id), method.to_owned());
        }
        is_step(method).then(|| method.to_owned())
    }
}

fn is_step(method: &str) -> bool {
    !IGNORED.contains(&method)
}

/// A daemon, a plugin, the wire between them, and a watcher of what comes out.
#[derive(Debug)]
pub struct World {
    /// Where the steps are told.
    pub steps: Arc<Steps>,
    /// How the daemon is started.
    pub setup: Setup,
    home: PathBuf,
    program: PathBuf,
    variables: Vec<(String, String)>,
    watcher: Option<Peer>,
    seen: BTreeSet<String>,
}

impl World {
    /// Starts them; `variables` are the plugin's. The steps are told by `outside` too.
    ///
    /// # Panics
    /// When the daemon does not start.
    pub fn start(
        setup: Setup,
        program: PathBuf,
        victim: Victim,
        outside: impl FnOnce(&Arc<Steps>) -> Vec<(String, String)>,
    ) -> Self {
        let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let steps = Arc::new(Steps {
            victim,
            state: Mutex::new(State {
                is_up: true,
                ..State::default()
            }),
            changed: Condvar::new(),
            daemon: Mutex::new(Some(daemon)),
            plugin: Mutex::new(None),
        });
        let variables = outside(&steps);
        let home = setup.home.clone();
        let listener = UnixListener::bind(home.join("wire.sock")).expect("the home can be written");
        let (proxied, socket) = (Arc::clone(&steps), setup.socket());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                proxied.wait_up();
                let Ok(daemon) = UnixStream::connect(&socket) else {
                    continue;
                };
                let asked = Arc::new(Mutex::new(Asked::default()));
                let clone = |stream: &UnixStream| stream.try_clone().expect("a descriptor is free");
                for (from, to, way) in [
                    (clone(&stream), clone(&daemon), Way::ToDaemon),
                    (daemon, stream, Way::ToPlugin),
                ] {
                    let (steps, asked) = (Arc::clone(&proxied), Arc::clone(&asked));
                    thread::spawn(move || pump(&steps, &from, &to, &asked, way));
                }
            }
        });
        let mut world = Self {
            steps,
            setup,
            home,
            program,
            variables,
            watcher: None,
            seen: BTreeSet::new(),
        };
        world.mend();
        world
    }

    /// Starts again who is dead.
    fn mend(&mut self) {
        let is_dead = std::mem::take(&mut self.steps.state().is_dead);
        if is_dead && self.steps.victim == Victim::Daemon {
            let daemon = self.setup.start().unwrap_or_else(|error| panic!("{error}"));
            *self.steps.daemon.lock().expect("no thread panics with it") = Some(daemon);
            self.steps.state().is_up = true;
            self.steps.changed.notify_all();
            self.watcher = None;
        }
        let mut plugin = self.steps.plugin.lock().expect("no thread panics with it");
        let has_ended = match plugin.as_mut() {
            Some(child) => child.try_wait().is_ok_and(|ended| ended.is_some()),
            None => true,
        };
        if has_ended {
            let log = File::options()
                .create(true)
                .append(true)
                .open(self.home.join("plugin.log"))
                .expect("the home can be written");
            let child = Command::new(&self.program)
                .envs(self.variables.iter().cloned())
                .env("TRUNKLINE_SOCKET", self.home.join("wire.sock"))
                .env("TRUNKLINE_TOKEN", self.setup.token())
                .env("TRUNKLINE_INSTANCE", "main")
                .current_dir(&self.home)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn();
            *plugin = Some(child.expect("the plugin can be started"));
        }
    }

    fn watch(&mut self) -> Result<&mut Peer, WireError> {
        if self.watcher.is_none() {
            let mut peer = self.setup.connect("watcher")?;
            peer.subscribe(&Subscribe {
                name: "out".into(),
                filters: vec!["plugin.inbound.>".into(), "plugin.delivery.>".into()],
                group: None,
                credit: 256,
                retry: None,
            })?;
            self.watcher = Some(peer);
        }
        Ok(self.watcher.as_mut().expect("just made"))
    }

    fn look(&mut self, limit: Duration) -> Result<Option<Delivery>, WireError> {
        let peer = self.watch()?;
        let Some(Incoming::Delivery(delivery)) = peer.next(limit)? else {
            return Ok(None);
        };
        if let Some(handing) = &delivery.handing {
            peer.ack(&handing.id)?;
            peer.flush()?;
        }
        let is_new = self.seen.insert(delivery.event_id.clone());
        Ok(Some(delivery).filter(|_| is_new))
    }

    /// Starts again who is dead, and gives what came out, if anything did.
    pub fn see(&mut self) -> Option<Delivery> {
        self.mend();
        self.look(LOOK).unwrap_or_else(|_| {
            self.watcher = None;
            None
        })
    }

    /// Publishes an event, again and again until it is durable.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub fn publish(&mut self, topic: &str, id: &str, session: &str, payload: &Value) {
        let event = json!({ "id": id, "session_id": session, "payload": payload });
        let params = json!({ "topic": topic, "event": event });
        let until = Instant::now() + PATIENCE;
        loop {
            self.mend();
            let connected = self.setup.connect("sender");
            match connected.and_then(|mut peer| peer.call("broker.publish", &params, ANSWER)) {
                Ok(_) => return,
                Err(WireError::Refused { code, message }) => panic!("{code}: {message}"),
                Err(error) => assert!(Instant::now() < until, "not published: {error}"),
            }
        }
    }

    /// Does `begin`, waits for what ends it, and lets the victim die at step `at` from there; says at which it
    /// died. There may be fewer steps.
    ///
    /// # Panics
    /// When the end does not come.
    pub fn strike(
        &mut self,
        at: u32,
        after: Option<Duration>,
        begin: impl FnOnce(&mut Self),
        is_end: impl Fn(&Delivery) -> bool,
    ) -> Option<String> {
        self.steps.quiet(LOOK);
        let kills = {
            let mut state = self.steps.state();
            state.struck = None;
            state.armed = Some((at, after));
            state.kills
        };
        begin(self);
        let until = Instant::now() + PATIENCE;
        loop {
            if self.see().is_some_and(|delivery| is_end(&delivery)) {
                break;
            }
            if Instant::now() > until {
                let struck = self.steps.state().struck.clone();
                let log = std::fs::read_to_string(self.home.join("plugin.log")).unwrap_or_default();
                let lines: Vec<_> = log.lines().rev().take(20).collect();
                let log = lines.join("\n");
                panic!("nothing came out; step {at} was {struck:?}; the plugin:\n{log}");
            }
        }
        // What follows the end is a step too.
        self.steps.quiet(2 * LOOK);
        let struck = {
            let mut state = self.steps.state();
            state.armed = None;
            state.struck.take()
        };
        if struck.is_some() {
            let state = self.steps.state();
            let lives = |state: &mut State| state.kills == kills;
            drop(
                self.steps
                    .changed
                    .wait_timeout_while(state, PATIENCE, lives),
            );
            self.mend();
        }
        struck
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.steps.end_plugin();
        drop(self.steps.daemon.lock().map(|mut daemon| daemon.take()));
    }
}
