//! A scaffold of `trunkline new` with two accounts under a real daemon, and what is seen of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline_patterns::connection::answers;
use trunkline_tests::daemon::{Daemon, Setup, program};
use trunkline_tests::sdk::{link_modules, python};
use trunkline_tests::supervised::log;
use trunkline_tests::tool::target_dir;
use trunkline_tests::wire::{Incoming, Peer, Subscribe};

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(10);
/// Nobody waits for a long poll, which takes 25 s, or for a server that says nothing.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Writes the JavaScript of a file of TypeScript; the types are checked where scaffolds are.
const TRANSPILE: &str = r#"
const [typescript, from, to] = process.argv.slice(1);
const ts = require(typescript);
const { readFileSync, writeFileSync } = require("node:fs");
const compilerOptions = { target: "es2022", module: "esnext", verbatimModuleSyntax: true };
writeFileSync(to, ts.transpileModule(readFileSync(from, "utf8"), { compilerOptions }).outputText);
"#;

/// An event that was seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) topic: String,
    pub(crate) session: Option<String>,
    /// Of a receipt: the event that was sent.
    about: Option<String>,
    pub(crate) payload: Value,
}

/// The plugin, its daemon, and the events of it.
pub(crate) struct Site {
    _home: TempDir,
    kind: &'static str,
    pub(crate) setup: Setup,
    daemon: Option<Daemon>,
    peer: Option<Peer>,
    seen: Vec<Seen>,
    last_sent: u64,
}

impl Site {
    /// Makes the starter of a channel, and starts it: `accounts` are instances, each with its settings as TOML;
    /// `secrets` are variables of the environment.
    pub(crate) fn start(
        kind: &'static str,
        accounts: &[(&str, String)],
        secrets: &[(&str, &str)],
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let name = format!("my-{kind}");
        scaffold(home.path(), kind, &name);
        let mut config = String::new();
        for (instance, settings) in accounts {
            config += &format!(
                "[[plugins.{name}]]\ninstance = {instance:?}\npath = \"plugin\"\n{settings}\n"
            );
        }
        let mut setup = Setup::new(home.path(), &home.path().join("data"), &config);
        let venv = python().parent().map(Path::to_owned).unwrap_or_default();
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", venv.display());
        setup.variables.push(("PATH".to_owned(), path));
        for (name, value) in secrets {
            let pair = ((*name).to_owned(), (*value).to_owned());
            setup.variables.push(pair);
        }
        let mut site = Self {
            _home: home,
            kind,
            setup,
            daemon: None,
            peer: None,
            seen: Vec::new(),
            last_sent: 0,
        };
        site.start_again();
        for (instance, _) in accounts {
            site.expect_state(instance, "ready");
        }
        site
    }

    /// Starts the daemon, which is not running.
    pub(crate) fn start_again(&mut self) {
        let daemon = self.setup.start().unwrap_or_else(|error| panic!("{error}"));
        self.daemon = Some(daemon);
        let mut peer = self.setup.connect("watch").unwrap();
        let subscribe = Subscribe {
            name: "all".into(),
            filters: vec!["plugin.>".into()],
            group: None,
            credit: 256,
            retry: None,
        };
        peer.subscribe(&subscribe).unwrap();
        self.peer = Some(peer);
    }

    /// Kills the daemon, and with it the plugin.
    pub(crate) fn kill(&mut self) {
        self.peer = None;
        self.daemon.take().unwrap().kill();
    }

    /// Waits for an event on a topic whose payload has at least this.
    pub(crate) fn expect(&mut self, topic: &str, payload: &Value) -> Seen {
        let fits = |seen: &Seen| seen.topic == topic && answers(&seen.payload, payload);
        self.expect_what(&format!("{payload} on {topic}"), fits)
    }

    fn expect_what(&mut self, what: &str, fits: impl Fn(&Seen) -> bool) -> Seen {
        let until = Instant::now() + PATIENCE;
        let mut looked = 0;
        loop {
            let fitting = self.seen[looked..].iter().find(|seen| fits(seen));
            if let Some(found) = fitting {
                return found.clone();
            }
            looked = self.seen.len();
            let left = until.saturating_duration_since(Instant::now());
            let peer = self.peer.as_mut().unwrap();
            match peer.next(left).unwrap() {
                Some(Incoming::Delivery(delivery)) => {
                    // What is ephemeral is not settled.
                    if let Some(handing) = &delivery.handing {
                        peer.ack(&handing.id).unwrap();
                        peer.flush().unwrap();
                    }
                    self.seen.push(Seen {
                        topic: delivery.topic,
                        session: delivery.session,
                        about: delivery.correlation_id,
                        payload: serde_json::from_str(&delivery.payload).unwrap(),
                    });
                }
                Some(_) => {}
                None => {
                    let said = self.daemon.as_ref().map(Daemon::stderr);
                    panic!(
                        "expected {what}, found {:#?}\n{}",
                        self.seen,
                        said.unwrap_or_default()
                    );
                }
            }
        }
    }

    /// Waits for something that people said to an account.
    pub(crate) fn expect_inbound(&mut self, instance: &str, text: &str) -> Seen {
        let topic = format!("plugin.inbound.{}.{instance}", self.kind);
        self.expect(&topic, &json!({ "text": text }))
    }

    /// Waits for a state of an account; gives the reason.
    pub(crate) fn expect_state(&mut self, instance: &str, state: &str) -> Seen {
        let topic = format!("plugin.lifecycle.my-{}.{instance}", self.kind);
        self.expect(&topic, &json!({ "state": state }))
    }

    /// Sends a message by an account, or where its session belongs; gives the event's id.
    pub(crate) fn send(
        &mut self,
        instance: Option<&str>,
        session: Option<&str>,
        to: &str,
        text: &str,
    ) -> String {
        self.last_sent += 1;
        let id = format!("sent-{}", self.last_sent);
        let mut topic = format!("plugin.outbound.{}", self.kind);
        if let Some(instance) = instance {
            topic = format!("{topic}.{instance}");
        }
        let payload = json!({ "text": text, "conversation": { "id": to } });
        let event = json!({ "id": id, "session_id": session, "payload": payload });
        let mut peer = self.setup.connect("agent").unwrap();
        let params = json!({ "topic": topic, "event": event });
        peer.call("broker.publish", &params, ANSWER).unwrap();
        id
    }

    /// Waits for the receipt of what was sent.
    pub(crate) fn expect_receipt(&mut self, instance: &str, id: &str, state: &str) -> Seen {
        let topic = format!("plugin.delivery.{}.{instance}", self.kind);
        let what = format!("{state} of {id} on {topic}");
        self.expect_what(&what, |seen| {
            let is_it = seen.topic == topic && seen.about.as_deref() == Some(id);
            is_it && seen.payload["state"] == state
        })
    }

    /// Sends a message by an account and waits until the vendor took it; gives the vendor's name of it.
    pub(crate) fn deliver(&mut self, instance: &str, to: &str, text: &str) -> Value {
        let id = self.send(Some(instance), None, to, text);
        let receipt = self.expect_receipt(instance, &id, "sent");
        receipt.payload["provider_id"].clone()
    }

    /// What came in by an account, all of it, in order.
    pub(crate) fn inbound(&self, instance: &str) -> Vec<String> {
        let topic = format!("plugin.inbound.{}.{instance}", self.kind);
        let events = log(&self.setup).unwrap();
        let inbound = events.iter().filter(|event| event["topic"] == *topic);
        inbound
            .map(|event| event["payload"]["text"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Stops the daemon as an operator does; everything has to end well.
    pub(crate) fn stop(mut self) {
        self.peer = None;
        let mut daemon = self.daemon.take().unwrap();
        daemon.terminate();
        let status = daemon.wait(STOP_LIMIT);
        let is_clean = status.is_some_and(|status| status.success());
        let said = daemon.stderr();
        assert!(is_clean, "expected a clean stop, found {status:?}\n{said}");
        assert!(!said.contains("Traceback"), "{said}");
    }
}

/// Writes a starter into `plugin`, ready to run.
fn scaffold(home: &Path, kind: &str, name: &str) {
    let dir = home.join("plugin");
    let mut command = Command::new(program());
    command
        .args(["new", name, "--channel", kind, "--yes", "--dir"])
        .arg(&dir);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    if !dir.join("package.json").exists() {
        return;
    }
    link_modules(&dir);
    fs::create_dir_all(dir.join("dist")).unwrap();
    let mut command = Command::new("node");
    command.args(["-e", TRANSPILE]).arg(typescript());
    command
        .arg(dir.join("src/bot.ts"))
        .arg(dir.join("dist/bot.js"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Where the compiler of TypeScript is that the checks of the Node package install.
fn typescript() -> PathBuf {
    let tools = std::env::var_os("TRUNKLINE_NODE_TOOLS").map(PathBuf::from);
    let tools = tools.unwrap_or_else(|| target_dir().unwrap().join("node-tools"));
    let found = tools.join("node_modules/typescript");
    assert!(
        found.exists(),
        "expected {}, found none; run `sdk-node/check.sh`",
        found.display()
    );
    found
}
