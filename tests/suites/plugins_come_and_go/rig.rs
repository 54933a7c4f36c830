//! A daemon with a plugin that is none of anybody's business, the operator's commands, and packages to try them with.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trunkline_tests::daemon::{Daemon, Setup, program};
use trunkline_tests::wire::{Incoming, Peer, Subscribe};

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const PLUGIN: &str = r#"
import hashlib, json, os, socket, sys
import helper
VERSION, MODE = "@version@", "@mode@"
link = socket.socket(fileno=int(os.environ["TRUNKLINE_LINK_FD"]))
link.set_inheritable(False)
number = 0
def send(**message):
    link.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
def gate():
    with open(os.path.join(os.environ["HOME"], "gate")) as pipe:
        pipe.read()
if MODE == "crash:" + os.environ["TRUNKLINE_INSTANCE"]:
    raise NameError("name 'Rply' is not defined")
for line in link.makefile("rb"):
    message = json.loads(line)
    method, request, params = message.get("method"), message.get("id"), message.get("params")
    if str(method) in MODE.split(":"):
        gate()
    if method == "initialize":
        send(id=request, result={"manifest": {"plugin": {"id": params["plugin"], "version": VERSION}},
                                 "protocol": "trunkline/1.0", "accepts": {"events": 8, "bytes": 1 << 20}})
    elif method == "broker.event":
        event, delivery = params["event"], params["delivery"]["id"]
        number += 1
        kind, where = params["topic"].rsplit(".", 2)[1:]
        key = hashlib.sha256(event["id"].encode()).hexdigest()
        said = {"number": event["payload"]["number"], "version": VERSION}
        send(id=1000 + number, method="broker.commit", params={"ack": [delivery], "events": [
            {"topic": "plugin.inbound.%s.%s" % (kind, where), "on_conflict": "keep_first",
             "event": {"id": key, "session_id": "s", "payload": said}}]})
        if "state" in event["payload"]:
            send(method="instance.status", params=event["payload"]["state"])
        if "exit" in event["payload"]:
            sys.exit(event["payload"]["exit"])
    elif method == "ping":
        send(id=request, result={"loop_lag_ms": 0, "in_flight": 0})
    elif method is not None and request is not None:
        send(id=request, result={"ok": True})
        if method == "instance.activate":
            is_out = MODE == "login:" + os.environ["TRUNKLINE_INSTANCE"]
            send(method="instance.status", params={"state": "needs_auth" if is_out else "ready"})
        if method == "shutdown":
            sys.exit(0)
"#;

pub(crate) fn write_plugin(dir: &Path, id: &str, version: &str, mode: &str) {
    std::fs::create_dir_all(dir).unwrap();
    let source = PLUGIN.replace("@version@", version).replace("@mode@", mode);
    std::fs::write(dir.join("main.py"), source).unwrap();
    std::fs::write(dir.join("helper.py"), "HELP = 1\n").unwrap();
    let manifest = format!(
        "[plugin]\nid = \"{id}\"\nversion = \"{version}\"\ncommand = [\"python3\", \"main.py\"]\n\
         [[channels]]\nkind = \"{id}\"\n\
         [supervisor]\nstart_timeout = \"5s\"\nstop_timeout = \"8s\"\n"
    );
    std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
}

/// What a command said, and how it ended.
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn refused(self, code: &str, word: &str) -> Self {
        let is_it = self.status != 0 && self.stderr.contains(&format!("error: {code}: "));
        assert!(
            is_it && self.stderr.contains(word),
            "{code}, {word}: {}",
            self.stderr
        );
        self
    }
}

pub(crate) struct Rig {
    pub(crate) home: tempfile::TempDir,
    pub(crate) setup: Setup,
    pub(crate) daemon: Daemon,
    pub(crate) client: Peer,
    ears: Peer,
    sent: u64,
    /// The process of the plugin that is none of anybody's business.
    neighbour: Value,
}

impl Rig {
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        write_plugin(
            &home.path().join("plugins/neighbour"),
            "neighbour",
            "1.0.0",
            "good",
        );
        let setup = Setup::new(home.path(), &home.path().join("data"), &config(""));
        let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let ears = listen(&setup);
        let client = setup.connect("client").unwrap();
        let mut rig = Self {
            home,
            setup,
            daemon,
            client,
            ears,
            sent: 0,
            neighbour: Value::Null,
        };
        rig.ask("neighbour", "a");
        rig.neighbour = rig.instance("neighbour", "a")["pid"].clone();
        rig
    }

    /// Ends the daemon, and starts it again.
    pub(crate) fn start_again(&mut self) {
        self.daemon.terminate();
        assert!(self.daemon.wait(PATIENCE).is_some(), "it does not end");
        self.daemon = self.setup.start().unwrap_or_else(|error| panic!("{error}"));
        self.client = self.setup.connect("client").unwrap();
        self.ears = listen(&self.setup);
        self.ask("neighbour", "a");
        self.neighbour = self.instance("neighbour", "a")["pid"].clone();
    }

    /// The same, with something that is done on a link before it is ready.
    pub(crate) fn start_again_while(&mut self, meanwhile: impl FnOnce(&mut Peer)) {
        self.daemon.terminate();
        assert!(self.daemon.wait(PATIENCE).is_some(), "it does not end");
        let setup = &self.setup;
        let (daemon, client) = std::thread::scope(|scope| {
            let starting = scope.spawn(|| setup.start());
            let began = Instant::now();
            let mut client = loop {
                match setup.connect("client") {
                    Ok(client) => break client,
                    Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
                }
            };
            meanwhile(&mut client);
            (starting.join().unwrap(), client)
        });
        self.daemon = daemon.unwrap_or_else(|error| panic!("{error}"));
        self.client = client;
        self.ears = listen(&self.setup);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn source(&self, version: &str, mode: &str) -> PathBuf {
        let dir = self.path(&format!("source-{version}-{}", mode.replace(':', "-")));
        write_plugin(&dir, "guest", version, mode);
        dir
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Said {
        cli(self.home.path(), args)
    }

    pub(crate) fn configure(&mut self, more: &str) {
        let file = self.path("trunkline.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let at = text.find("\n[http]").unwrap();
        std::fs::write(&file, format!("{}{}", config(more), &text[at..])).unwrap();
    }

    pub(crate) fn reload(&mut self) {
        let done = self
            .client
            .call("admin.config.reload", &json!({}), PATIENCE);
        done.unwrap_or_else(|error| panic!("{error}\n{}", self.daemon.stderr()));
    }

    pub(crate) fn tell(&mut self, kind: &str, instance: &str, more: Value) -> u64 {
        self.sent += 1;
        let mut payload = json!({ "number": self.sent });
        payload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let id = format!("order-{}", self.sent);
        let event = json!({ "id": id, "session_id": "s", "payload": payload });
        let topic = format!("plugin.outbound.{kind}.{instance}");
        let params = json!({ "topic": topic, "event": event });
        self.client
            .call("broker.publish", &params, PATIENCE)
            .unwrap();
        self.sent
    }

    /// Waits for the answer to an event; gives the version that gave it.
    pub(crate) fn hear(&mut self, number: u64) -> String {
        loop {
            let Some(found) = self.ears.next(PATIENCE).unwrap() else {
                panic!("{number} was not answered\n{}", self.daemon.stderr());
            };
            let Incoming::Delivery(delivery) = found else {
                continue;
            };
            let id = delivery.handing.as_ref().unwrap().id.clone();
            self.ears.ack(&id).unwrap();
            self.ears.flush().unwrap();
            let said: Value = serde_json::from_str(&delivery.payload).unwrap();
            if said["number"] == number {
                return said["version"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Publishes an event, waits for its answer and gives the version that gave it.
    pub(crate) fn ask(&mut self, kind: &str, instance: &str) -> String {
        let number = self.tell(kind, instance, json!({}));
        self.hear(number)
    }

    pub(crate) fn instance(&mut self, plugin: &str, name: &str) -> Value {
        let status = self.client.call("admin.status", &json!({}), PATIENCE);
        let status = status.unwrap();
        let all = status["instances"].as_array().unwrap().clone();
        let is_it = |one: &Value| one["plugin"] == plugin && one["instance"] == name;
        all.into_iter().find(is_it).unwrap_or(Value::Null)
    }

    /// Asks until an instance is in a state.
    pub(crate) fn until(&mut self, name: &str, state: &str) -> Value {
        let began = Instant::now();
        loop {
            let one = self.instance("guest", name);
            if one["state"] == state {
                return one;
            }
            let log = self.daemon.stderr();
            assert!(began.elapsed() < PATIENCE, "not {state}: {one}\n{log}");
        }
    }

    pub(crate) fn listed(&mut self, plugin: &str) -> Value {
        let listed = self.client.call("admin.plugins.list", &json!({}), PATIENCE);
        let listed = listed.unwrap()["plugins"].as_array().unwrap().clone();
        listed
            .into_iter()
            .find(|one| one["id"] == plugin)
            .unwrap_or(Value::Null)
    }

    pub(crate) fn locked(&self) -> Value {
        let text = std::fs::read_to_string(self.path("data/packages.lock")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["packages"].clone()
    }

    pub(crate) fn directories(&self) -> Vec<String> {
        let dir = self.path("data/packages/guest");
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Changes a byte of the installed package.
    pub(crate) fn change_a_byte(&mut self) {
        let listed = self.listed("guest");
        let helper = Path::new(listed["path"].as_str().unwrap()).join("helper.py");
        std::fs::set_permissions(&helper, Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&helper, "HELP = 2\n").unwrap();
        std::fs::set_permissions(&helper, Permissions::from_mode(0o444)).unwrap();
    }

    /// Changes a byte of the installed package, and ends the process.
    pub(crate) fn tamper(&mut self) {
        self.change_a_byte();
        let pid = self.instance("guest", "a")["pid"].as_i64().unwrap();
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    }

    /// The pipe at which an instance waits.
    pub(crate) fn make_gate(&self, name: &str) -> PathBuf {
        let dir = self.path(&format!("data/state/guest/{name}"));
        std::fs::create_dir_all(&dir).unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(rustix::fs::CWD, dir.join("gate"), FileType::Fifo, mode, 0).unwrap();
        dir.join("gate")
    }

    /// The other plugin has the process it had, and answers.
    pub(crate) fn check_neighbour(&mut self) {
        assert_eq!(self.ask("neighbour", "a"), "1.0.0");
        let one = self.instance("neighbour", "a");
        assert_eq!(one["pid"], self.neighbour, "{one}");
        assert_eq!(
            (&one["restarts"], &one["generation"]),
            (&json!(0), &json!(1)),
            "{one}"
        );
    }
}

/// Hears what plugins publish.
pub(crate) fn listen(setup: &Setup) -> Peer {
    let mut ears = setup.connect("ears").unwrap();
    let subscribe = Subscribe {
        name: "all".into(),
        filters: vec!["plugin.inbound.>".into()],
        group: None,
        credit: 256,
        retry: None,
    };
    ears.subscribe(&subscribe).unwrap();
    ears
}

pub(crate) fn config(more: &str) -> String {
    format!("plugin_dirs = [\"plugins\"]\n[[plugins.neighbour]]\ninstance = \"a\"\n{more}\n")
}

pub(crate) fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).current_dir(home).stdin(Stdio::null());
    command
        .env_remove("TRUNKLINE_SOCKET")
        .env_remove("TRUNKLINE_CONFIG");
    command
}

pub(crate) fn cli(home: &Path, args: &[&str]) -> Said {
    let output = command(home, args).output().unwrap();
    Said {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
