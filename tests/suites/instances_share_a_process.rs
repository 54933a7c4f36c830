//! "The same plugin code, for hundreds of light instances in one process": a real daemon and plugins of each
//! language. One instance's failure, wait, restart, end or new config does not touch its neighbours, and the end of
//! the process loses nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "it runs the operator's commands")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trunkline_tests::bench::sdk::cost;
use trunkline_tests::daemon::{Daemon, Setup};
use trunkline_tests::driver::CLIENT;
use trunkline_tests::sdk::Language;
use trunkline_tests::wire::{Incoming, Peer, Subscribe};

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(10);
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A daemon whose plugin serves its instances in one process.
struct Rig {
    _home: tempfile::TempDir,
    setup: Setup,
    daemon: Daemon,
    /// Hears replies and states.
    ears: Peer,
    client: Peer,
    /// The last state of each instance.
    states: BTreeMap<String, String>,
    replies: Vec<Value>,
    sent: u64,
}

fn config(marks: &[(&str, &str)]) -> String {
    let mut text = "plugin_dirs = [\"plugins\"]\n".to_owned();
    for (name, mark) in marks {
        text += &format!("[[plugins.guest]]\ninstance = {name:?}\nmark = {mark:?}\n");
    }
    text
}

impl Rig {
    fn start(language: Language, isolation: &str, marks: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let command = language.subject("shared", home.path());
        let dir = home.path().join("plugins/guest");
        std::fs::create_dir_all(&dir).unwrap();
        let manifest = format!(
            "[plugin]\nid = \"guest\"\nversion = \"0.1.0\"\ncommand = {}\n{isolation}\n\
             [[channels]]\nkind = \"guest\"\n\
             [supervisor]\nstop_timeout = \"6s\"\n\
             [config.mark]\ntype = \"string\"\nrequired = true\n",
            json!(command)
        );
        std::fs::write(dir.join("plugin.toml"), manifest).unwrap();
        let setup = Setup::new(home.path(), &home.path().join("data"), &config(marks));
        let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let mut ears = setup.connect("ears").unwrap();
        let filters = ["plugin.lifecycle.guest.>", "plugin.inbound.guest.>"];
        let subscribe = Subscribe {
            name: "all".into(),
            filters: filters.map(Into::into).to_vec(),
            group: None,
            credit: 256,
            retry: None,
        };
        ears.subscribe(&subscribe).unwrap();
        let client = setup.connect(CLIENT).unwrap();
        let mut rig = Self {
            _home: home,
            setup,
            daemon,
            ears,
            client,
            states: BTreeMap::new(),
            replies: Vec::new(),
            sent: 0,
        };
        for instance in rig.instances() {
            let name = instance["instance"].as_str().unwrap().to_owned();
            let state = instance["state"].as_str().unwrap().to_owned();
            rig.states.insert(name, state);
        }
        rig
    }

    fn instances(&mut self) -> Vec<Value> {
        let status = self.client.call("admin.status", &json!({}), ANSWER);
        status.unwrap()["instances"].as_array().unwrap().clone()
    }

    fn pid_of(&mut self, name: &str) -> u64 {
        let all = self.instances();
        let one = all.iter().find(|one| one["instance"] == name).unwrap();
        one["pid"].as_u64().unwrap_or_else(|| panic!("{one}"))
    }

    /// Hears one thing more.
    fn hear(&mut self, waiting_for: &str) {
        let Some(found) = self.ears.next(PATIENCE).unwrap() else {
            let logs = self.daemon.stderr();
            panic!(
                "nothing comes while {waiting_for}: {:?}\n{logs}",
                self.states
            );
        };
        let Incoming::Delivery(delivery) = found else {
            return;
        };
        let id = delivery.handing.as_ref().unwrap().id.clone();
        self.ears.ack(&id).unwrap();
        self.ears.flush().unwrap();
        let payload: Value = serde_json::from_str(&delivery.payload).unwrap();
        let name = delivery.topic.rsplit('.').next().unwrap().to_owned();
        if delivery.topic.starts_with("plugin.lifecycle") {
            let state = payload["state"].as_str().unwrap().to_owned();
            self.states.insert(name, state);
        } else {
            assert_eq!(payload["instance"], json!(name), "it speaks for itself");
            self.replies.push(payload);
        }
    }

    fn until(&mut self, name: &str, state: &str) {
        while self.states.get(name).is_none_or(|found| found != state) {
            self.hear(&format!("{name} is to be {state}"));
        }
    }

    /// Sends an order; gives its number.
    fn order(&mut self, name: &str, what: &str) -> u64 {
        self.sent += 1;
        let event = json!({
            "topic": format!("plugin.outbound.guest.{name}"),
            "event": { "payload": { "do": what, "number": self.sent } },
        });
        self.client.call("broker.publish", &event, ANSWER).unwrap();
        self.sent
    }

    /// Gives the reply to an order.
    fn reply(&mut self, number: u64) -> Value {
        loop {
            let found = self.replies.iter().find(|reply| reply["number"] == number);
            if let Some(found) = found {
                return found.clone();
            }
            self.hear(&format!("order {number} is to be answered"));
        }
    }

    fn ask(&mut self, name: &str) -> Value {
        let number = self.order(name, "tell");
        self.reply(number)
    }

    fn admin(&mut self, method: &str, name: &str) {
        let which = json!({"plugin": "guest", "instance": name});
        self.client.call(method, &which, ANSWER).unwrap();
    }

    /// What an instance's log says of marks, by the operator's command.
    fn marks_in_log(&self, name: &str) -> Vec<String> {
        let mut command = Command::new(&self.setup.program);
        command.args(["logs", &format!("guest/{name}"), "-n", "1000", "--json"]);
        command.arg("--config");
        command.arg(self.setup.home.join("trunkline.toml"));
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let text = String::from_utf8(ran.stdout).unwrap();
        let mut marks = Vec::new();
        for line in text.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["instance"], name, "{record}");
            let said = record["line"].as_str().unwrap();
            marks.extend(said.strip_prefix("my mark is ").map(str::to_owned));
        }
        marks
    }

    fn reload(&mut self, marks: &[(&str, &str)]) {
        Setup::new(&self.setup.home, &self.setup.data, &config(marks));
        let result = self.client.call("admin.config.reload", &json!({}), ANSWER);
        result.unwrap();
    }
}

/// What has to hold in every language.
fn neighbours(language: Language) {
    let marks = [("a", "red"), ("b", "green"), ("c", "blue"), ("d", "broken")];
    let mut rig = Rig::start(language, "isolation = \"shared\"", &marks);
    for name in NAMES {
        rig.until(name, "ready");
    }
    // One that cannot start keeps nobody else from it.
    rig.until("d", "backing_off");

    // One process; own config, own state, own kv, own topics.
    let first: Vec<Value> = NAMES.map(|name| rig.ask(name)).to_vec();
    for (reply, (name, mark)) in first.iter().zip(marks) {
        assert_eq!(reply["instance"], name);
        assert_eq!((&reply["mark"], &reply["count"]), (&json!(mark), &json!(1)));
        assert_eq!(reply["pid"], first[0]["pid"], "they share a process");
        assert_eq!(reply["pid"], rig.pid_of(name), "and the status says so");
    }
    let lives: BTreeSet<u64> = first.iter().map(|r| r["life"].as_u64().unwrap()).collect();
    assert_eq!(lives.len(), 3, "each has a state of its own");
    for (name, mark) in NAMES.into_iter().zip(marks.map(|(_, mark)| mark)) {
        assert_eq!(rig.marks_in_log(name), [mark], "each has a log of its own");
    }

    // One raises again and again, one waits: the third does not notice.
    for _ in 0..5 {
        rig.order("a", "raise");
    }
    let stuck = rig.order("b", "wait");
    for count in 2..40 {
        let reply = rig.ask("c");
        assert_eq!(
            (&reply["count"], &reply["mark"]),
            (&json!(count), &json!("blue"))
        );
    }

    // One is restarted, and then only its own state is new.
    rig.admin("admin.plugins.restart", "a");
    rig.until("a", "draining");
    rig.until("a", "ready");
    let (a, c) = (rig.ask("a"), rig.ask("c"));
    assert_ne!(a["life"], first[0]["life"], "it is another life");
    assert_eq!(a["pid"], first[0]["pid"], "in the same process");
    assert_eq!(c["life"], first[2]["life"], "the neighbour's goes on");

    // The one that waits is switched off, and its event stays.
    rig.admin("admin.plugins.disable", "b");
    rig.until("b", "disabled");
    assert_eq!(rig.ask("c")["life"], first[2]["life"]);
    rig.admin("admin.plugins.enable", "b");
    rig.until("b", "ready");
    assert_eq!(rig.ask("c")["life"], first[2]["life"]);
    assert!(!rig.replies.iter().any(|reply| reply["number"] == stuck));

    // A new config is that of one instance.
    let marks = [
        ("a", "red"),
        ("b", "green"),
        ("c", "black"),
        ("d", "broken"),
    ];
    rig.reload(&marks);
    rig.until("c", "draining");
    rig.until("c", "ready");
    assert_eq!(rig.ask("c")["mark"], "black");
    assert_eq!(rig.ask("a")["life"], a["life"]);
    assert_eq!(rig.pid_of("a"), first[0]["pid"].as_u64().unwrap());

    // What is removed goes, what is added comes, in the same process.
    rig.reload(&[("a", "red"), ("c", "black"), ("e", "white")]);
    rig.until("e", "ready");
    let e = rig.ask("e");
    assert_eq!((&e["mark"], &e["pid"]), (&json!("white"), &first[0]["pid"]));
    assert_eq!(rig.ask("a")["life"], a["life"]);
}

/// The process is killed while all of its instances work.
fn killed(language: Language) {
    let marks = NAMES.map(|name| (name, name));
    let mut rig = Rig::start(language, "isolation = \"shared\"", &marks);
    for name in NAMES {
        rig.until(name, "ready");
    }
    let pid = rig.pid_of("a");
    let mut orders = Vec::new();
    for round in 0..60 {
        if round == 30 {
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
        }
        for name in NAMES {
            orders.push((rig.order(name, "tell"), name));
        }
    }
    for (number, name) in orders {
        let reply = rig.reply(number);
        assert_eq!(
            (&reply["instance"], &reply["mark"]),
            (&json!(name), &json!(name))
        );
    }
    for name in NAMES {
        rig.until(name, "ready");
        assert_ne!(rig.pid_of(name), pid, "another process");
        assert_eq!(rig.pid_of(name), rig.pid_of("a"), "the same for all");
    }
    let numbers: BTreeSet<u64> = rig
        .replies
        .iter()
        .map(|r| r["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers.len(), rig.replies.len(), "no reply is stored twice");
}

/// Many light accounts in one process: what they cost it, and what they lose.
fn light(language: Language) {
    const ROUNDS: u64 = 3;
    const ONE_MORE_BYTES_MAX: u64 = 1 << 20;
    let names: Vec<String> = (0..50).map(|number| format!("n{number}")).collect();
    let marks: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &**name)).collect();
    let mut costs = Vec::new();
    for marks in [&marks[..2], &marks[..]] {
        let mut rig = Rig::start(language, "isolation = \"shared\"", marks);
        for (name, _) in marks {
            rig.until(name, "ready");
        }
        let mut orders = Vec::new();
        for _ in 1..=ROUNDS {
            for (name, _) in marks {
                orders.push((rig.order(name, "tell"), *name));
            }
        }
        let pid = rig.pid_of(marks[0].0);
        for one in rig.instances() {
            assert_eq!(one["restarts"], 0, "it was opened once: {one}");
        }
        // Without a session an account's orders may be handled beside one another: each is counted once.
        let mut counted: BTreeSet<(&str, u64)> = BTreeSet::new();
        for (number, name) in orders {
            let reply = rig.reply(number);
            let expected = json!([name, name, pid]);
            let found = json!([reply["instance"], reply["mark"], reply["pid"]]);
            assert_eq!(found, expected, "by its own account, in the one process");
            let count = reply["count"].as_u64().unwrap();
            assert!((1..=ROUNDS).contains(&count), "{reply}");
            assert!(counted.insert((name, count)), "counted twice: {reply}");
        }
        let sent = marks.len() as u64 * ROUNDS;
        assert_eq!(rig.replies.len() as u64, sent, "each once");
        let pid = u32::try_from(pid).unwrap();
        let (_, threads) = cost::descriptors_and_threads(pid).unwrap();
        costs.push((threads, cost::proportional_bytes(pid).unwrap()));
    }
    let [few, many] = costs[..] else { panic!() };
    eprintln!(
        "{}: threads and bytes with 2: {few:?}, with 50: {many:?}",
        language.name()
    );
    assert_eq!(many.0, few.0, "no account has a thread");
    let one_more = many.1.saturating_sub(few.1) / 48;
    assert!(
        one_more <= ONE_MORE_BYTES_MAX,
        "an account costs {one_more} bytes"
    );
}

/// Proves LN58: fifty light accounts share one process of Rust; none has a thread, none loses an event.
#[test]
fn fifty_light_accounts_share_a_process_of_rust() {
    light(Language::Rust);
}

/// Proves LN58: the same in one process of Python.
#[test]
fn fifty_light_accounts_share_a_process_of_python() {
    light(Language::Python);
}

/// Proves LN58: the same in one process of Node.
#[test]
fn fifty_light_accounts_share_a_process_of_node() {
    light(Language::Node);
}

/// Proves P8a: with `isolation = "shared"` the same Rust code serves all instances in one process; one instance's
/// exception, wait, failing start, restart, disable, config change and removal does not touch its neighbours. Each has its
/// own config, kv and log.
#[test]
fn neighbours_in_rust_do_not_touch_each_other() {
    neighbours(Language::Rust);
}

/// Proves P8a: the same for a plugin in Python, without a line of it in the plugin.
#[test]
fn neighbours_in_python_do_not_touch_each_other() {
    neighbours(Language::Python);
}

/// Proves P8a: the same for a plugin in JavaScript.
#[test]
fn neighbours_in_node_do_not_touch_each_other() {
    neighbours(Language::Node);
}

/// Proves P8a: when the shared process is killed, all instances come back in a new one and no acked event is lost.
#[test]
fn a_killed_process_of_rust_instances_loses_nothing() {
    killed(Language::Rust);
}

/// Proves P8a: the same for Python.
#[test]
fn a_killed_process_of_python_instances_loses_nothing() {
    killed(Language::Python);
}

/// Proves P8a: the same for JavaScript.
#[test]
fn a_killed_process_of_node_instances_loses_nothing() {
    killed(Language::Node);
}

/// Proves P8a: the same code, with the default isolation, has a process for each instance.
#[test]
fn without_a_word_each_instance_has_a_process() {
    let marks = NAMES.map(|name| (name, name));
    let mut rig = Rig::start(Language::Rust, "", &marks);
    for name in NAMES {
        rig.until(name, "ready");
    }
    let pids: BTreeSet<u64> = NAMES.map(|name| rig.pid_of(name)).into_iter().collect();
    assert_eq!(pids.len(), 3);
    for name in NAMES {
        assert_eq!(rig.ask(name)["pid"], rig.pid_of(name));
        assert_eq!(rig.marks_in_log(name), [name]);
    }
}
