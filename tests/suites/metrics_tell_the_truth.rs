//! "Every number agrees with what was done": a daemon, a plugin that is told what to do, and a scrape.
//!
//! `promtool` is Debian's; it is fetched, never installed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "the suite measures its patience")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_tests::daemon::{Daemon, Setup};
use trunkline_tests::driver::CLIENT;
use trunkline_tests::http;
use trunkline_tests::supervised::install;
use trunkline_tests::tool::{fetched_tool, profile_dir};
use trunkline_tests::wire::{Delivery, Incoming, Peer, Subscribe};

const PATIENCE: Duration = Duration::from_secs(30);
const OUTBOUND: &str = "plugin.outbound.metered.main";
/// An event of this size is over the limit of an event, in a frame that is within the limit of a frame.
const TOO_LARGE: usize = (1 << 20) - 400;

struct Rig {
    setup: Setup,
    _daemon: Daemon,
    ops: Peer,
    receipts: Peer,
    lifecycle: Peer,
    address: String,
    sent: usize,
}

impl Rig {
    fn start(home: &Path, more: &str) -> Self {
        let program = profile_dir().unwrap().join("metered_plugin");
        let command = [program.display().to_string()];
        let config = install(home, "metered", &command, &[]) + more;
        let setup = Setup::new(home, &home.join("data"), &config);
        let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let mut receipts = setup.connect("receipts").unwrap();
        subscribe(&mut receipts, "plugin.delivery.metered.main");
        let mut lifecycle = setup.connect("lifecycle").unwrap();
        subscribe(&mut lifecycle, "plugin.lifecycle.metered.main");
        let mut rig = Self {
            address: http::address(&setup.data).unwrap(),
            ops: setup.connect(CLIENT).unwrap(),
            receipts,
            lifecycle,
            _daemon: daemon,
            setup,
            sent: 0,
        };
        rig.wait_until("ready");
        rig
    }

    fn wait_until(&mut self, state: &str) {
        loop {
            let event: Value = serde_json::from_str(&next(&mut self.lifecycle).payload).unwrap();
            if event["state"] == state {
                return;
            }
        }
    }

    /// Orders something of the plugin and waits for the receipts that end in this state.
    fn order(&mut self, payload: &Value, count: usize, ends: &str) {
        for _ in 0..count {
            self.sent += 1;
            let id = format!("order-{}", self.sent);
            let payload = payload.to_string();
            self.ops
                .publish(OUTBOUND, &id, Some(&id), &payload)
                .unwrap();
        }
        self.ops.flush().unwrap();
        let mut left = count;
        while left > 0 {
            let receipt: Value = serde_json::from_str(&next(&mut self.receipts).payload).unwrap();
            left -= usize::from(receipt["state"] == ends);
        }
    }

    fn get(&self, path: &str, token: Option<&str>) -> http::Answer {
        http::get(&self.address, path, token).unwrap()
    }

    fn scrape(&self) -> Scraped {
        let answer = self.get("/metrics", Some(&self.setup.token()));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let media_type = answer.header("content-type").unwrap();
        assert!(media_type.starts_with("text/plain; version=0.0.4"));
        Scraped::of(answer.body)
    }
}

/// What a scrape gave, each sample under its name and labels as they are written.
struct Scraped {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Scraped {
    fn of(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        let samples = samples.collect();
        Self { text, samples }
    }

    fn get(&self, sample: &str) -> f64 {
        let found = self.samples.get(sample);
        *found.unwrap_or_else(|| panic!("no {sample} in\n{}", self.text))
    }

    fn count(&self, sample: &str) -> u64 {
        self.get(sample) as u64
    }

    /// A sample of the instance, with one more label or none.
    fn of_plugin(&self, name: &str, more: &str) -> u64 {
        let mut labels = vec!["instance=\"main\"", "plugin=\"metered\""];
        labels.extend(Some(more).filter(|more| !more.is_empty()));
        labels.sort_unstable();
        self.count(&format!("{name}{{{}}}", labels.join(",")))
    }
}

fn subscribe(peer: &mut Peer, filter: &str) {
    let subscribe = Subscribe {
        name: "seen".into(),
        filters: vec![filter.into()],
        group: None,
        credit: 256,
        retry: None,
    };
    peer.subscribe(&subscribe).unwrap();
}

fn next(peer: &mut Peer) -> Delivery {
    loop {
        match peer.next(PATIENCE).unwrap() {
            Some(Incoming::Delivery(delivery)) => {
                let id = delivery.handing.as_ref().map(|handing| handing.id.clone());
                peer.ack(&id.unwrap()).unwrap();
                peer.flush().unwrap();
                return delivery;
            }
            Some(_) => {}
            None => panic!("no delivery came"),
        }
    }
}

/// Runs Debian's `promtool check metrics`; it says everything that is wrong with a text, and fails.
fn promtool(text: &str) {
    let tool = fetched_tool("prometheus", "promtool").unwrap();
    let mut child = tool
        .command()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

/// Proves O1 (what exists) and LN56: what was published, delivered, rejected, repeated after a crash and refused
/// is what the metrics say, per plugin and instance; the text is clean under Debian's promtool.
#[test]
fn every_number_agrees_with_what_was_done() {
    let home = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(home.path(), "");
    let before = rig.scrape();
    promtool(&before.text);
    assert_eq!(before.of_plugin("trunkline_instance_restarts_total", ""), 0);

    rig.order(&json!({ "do": "nothing" }), 5, "sent");
    rig.order(&json!({ "do": "reject" }), 2, "failed");
    rig.order(&json!({ "do": "exit" }), 1, "sent");
    rig.order(&json!({ "do": "bring" }), 1, "sent");
    rig.wait_until("ready");
    // Whoever is not subscribed to is told so, and what is too large is refused with its name.
    let nobody = json!({ "topic": "agent.nobody", "event": { "payload": 1 } });
    let answer = rig.ops.call("broker.publish", &nobody, PATIENCE).unwrap();
    assert_eq!(answer["matched"], 0);
    let large = json!({ "topic": "agent.large", "event": { "payload": "x".repeat(TOO_LARGE) } });
    let error = rig
        .ops
        .call("broker.publish", &large, PATIENCE)
        .unwrap_err();
    assert!(error.to_string().contains("frame_too_large"), "{error}");

    let after = rig.scrape();
    promtool(&after.text);
    let plugin = |name: &str, more: &str| after.of_plugin(name, more);
    assert_eq!(plugin("trunkline_instance_up", ""), 1);
    assert_eq!(plugin("trunkline_instance_state", "state=\"ready\""), 1);
    assert_eq!(plugin("trunkline_instance_restarts_total", ""), 1);
    // Nine orders, and one of them twice.
    assert_eq!(plugin("trunkline_deliveries_total", ""), 10);
    assert_eq!(plugin("trunkline_redeliveries_total", ""), 1);
    let settled = |result: &str| {
        plugin(
            "trunkline_settlements_total",
            &format!("result=\"{result}\""),
        )
    };
    assert_eq!((settled("acked"), settled("rejected")), (7, 2));
    let dead = |reason: &str| {
        plugin(
            "trunkline_dead_letters_total",
            &format!("reason=\"{reason}\""),
        )
    };
    assert_eq!((dead("rejected"), dead("crashed")), (2, 0));
    assert_eq!(plugin("trunkline_dead_letters", ""), 2);
    assert_eq!(plugin("trunkline_events_in_flight", ""), 0);
    assert_eq!(plugin("trunkline_events_pending", ""), 0);
    assert_eq!(plugin("trunkline_handling_seconds_count", ""), 7);
    assert_eq!(
        plugin("trunkline_published_events_total", "class=\"inbound\""),
        1
    );
    assert!(plugin("trunkline_instance_resident_memory_bytes", "") > 1 << 20);

    let published = |result: &str| {
        let labels = format!("client=\"{CLIENT}\",result=\"{result}\"");
        after.count(&format!("trunkline_publishes_total{{{labels}}}"))
    };
    assert_eq!((published("stored"), published("frame_too_large")), (10, 1));
    let unmatched = format!("trunkline_published_unmatched_total{{client=\"{CLIENT}\"}}");
    assert_eq!(after.count(&unmatched), 1);
    let scrapes = "trunkline_http_requests_total{route=\"metrics\",status=\"200\"}";
    assert_eq!(after.count(scrapes), 1, "the one before is counted");
    let syncs = after.count("trunkline_store_sync_seconds_count");
    let batches = after.count("trunkline_store_batches_total");
    assert!(syncs > 0 && syncs <= batches, "{syncs} of {batches}");
    for (sample, value) in &before.samples {
        let name = sample.split('{').next().unwrap();
        let is_counter = name.ends_with("_total") || name.ends_with("_count");
        if is_counter && !name.contains("cpu_seconds") {
            assert!(after.get(sample) >= *value, "{sample} ran backwards");
        }
    }
}

/// Proves O1: calls of a tool are counted and timed, and the processor time of each process is told.
#[test]
fn calls_and_processor_time_are_told() {
    /// So many calls are made between two looks: what they cost is more than the kernel's clock tick some time.
    const CALLS: u64 = 200;
    let home = tempfile::tempdir().unwrap();
    let program = profile_dir().unwrap().join("tool_plugin");
    let command = [program.display().to_string()];
    let config = install(home.path(), "crowd", &command, &[]);
    let setup = Setup::new(home.path(), &home.path().join("data"), &config);
    let _daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let mut lifecycle = setup.connect("lifecycle").unwrap();
    subscribe(&mut lifecycle, "plugin.lifecycle.crowd.main");
    let is_ready = |event: &Value| event["state"] == "ready";
    while !is_ready(&serde_json::from_str(&next(&mut lifecycle).payload).unwrap()) {}
    let mut ops = setup.connect(CLIENT).unwrap();
    let address = http::address(&setup.data).unwrap();
    let cpu = "trunkline_instance_cpu_seconds_total{instance=\"main\",plugin=\"crowd\"}";
    let until = Instant::now() + PATIENCE;
    let mut made = 0;
    loop {
        for _ in 0..CALLS {
            made += 1;
            let call =
                json!({ "call_id": format!("c{made}"), "tool": "crowd.quick", "arguments": {} });
            ops.call("tool.call", &call, PATIENCE).unwrap();
        }
        let answer = http::get(&address, "/metrics", Some(&setup.token())).unwrap();
        let scraped = Scraped::of(answer.body);
        let timed = "trunkline_tool_call_seconds_count{plugin=\"crowd\",tool=\"quick\"}";
        assert_eq!(scraped.count(timed), made);
        if scraped.get(cpu) > 0.0 && scraped.get("process_cpu_seconds_total") > 0.0 {
            break;
        }
        assert!(Instant::now() < until, "{}", scraped.text);
    }
}

/// Proves O2: alive is not ready; ready is false while a required plugin does not serve, and says which; the
/// status tells of each account whether it runs, is connected, and what it brought last.
#[test]
fn readiness_follows_the_plugins_that_are_required() {
    let home = tempfile::tempdir().unwrap();
    let more = "[http]\nlisten = \"127.0.0.1:0\"\nrequired = [\"metered\"]\nmetrics = \"open\"\n";
    let mut rig = Rig::start(home.path(), more);
    let ready = |rig: &Rig| {
        let answer = rig.get("/readyz", Some(&rig.setup.token()));
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        (answer.status, body)
    };
    let (status, body) = ready(&rig);
    assert_eq!((status, &body["durability"]), (200, &json!("fsync")));
    rig.order(&json!({ "do": "bring" }), 1, "sent");
    let answer = rig.ops.call("admin.status", &json!({}), PATIENCE).unwrap();
    let instance = &answer["instances"][0];
    assert_eq!(
        (&instance["state"], &instance["link"]),
        (&json!("ready"), &json!("spawned"))
    );
    assert!(instance["last_inbound_at"].is_string() && instance.get("last_error").is_none());

    let which = json!({ "plugin": "metered" });
    rig.ops
        .call("admin.plugins.disable", &which, PATIENCE)
        .unwrap();
    rig.wait_until("disabled");
    let (status, body) = ready(&rig);
    assert_eq!((status, &body["because"]), (503, &json!(["instances"])));
    assert_eq!(body["instances"][0]["plugin"], "metered");
    assert_eq!(rig.get("/healthz", None).status, 200);
    // Who may read is a setting.
    assert_eq!(rig.get("/metrics", None).status, 200);
}

/// Proves S2 for `/metrics`: without a token, or with a wrong one, nothing is told.
#[test]
fn nobody_reads_the_metrics_without_a_token() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::start(home.path(), "");
    for token in [None, Some("nonsense")] {
        let answer = rig.get("/metrics", token);
        assert_eq!(answer.status, 401);
        assert!(!answer.body.contains("metered"));
    }
}

/// Proves O6: each instance has a log of its own, which is rotated, in which a flood is cut and counted, and
/// in which no secret stands.
#[test]
fn a_flooded_log_is_cut_rotated_and_holds_no_secret() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("secret"), "s3cret-of-the-owner").unwrap();
    let more = "[limits.logs]\nbytes = \"64KiB\"\nfiles = 2\n[[clients]]\nname = \"app\"\n\
                token = { file = \"secret\" }\nscopes = [\"read:agent.>\"]\n";
    let mut rig = Rig::start(home.path(), more);
    let text = "the token is s3cret-of-the-owner, at length: ".to_owned() + &"x".repeat(80);
    let write = json!({ "do": "write", "lines": 20_000, "text": text });
    rig.order(&write, 1, "sent");
    rig.order(&json!({ "do": "nothing" }), 1, "sent");
    let logs = rig.setup.data.join("logs");
    let files = files_below(&logs);
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains("s3cret-of-the-owner"), "{}", file.display());
        assert!(text.len() < 80 << 10, "{} bytes", text.len());
    }
    let suppressed = rig
        .scrape()
        .of_plugin("trunkline_instance_log_lines_suppressed_total", "");
    assert!(suppressed > 10_000, "{suppressed}");
}

/// The daemon's own log is one JSON object per line where that is asked for, whatever it has to say.
#[test]
fn the_log_of_the_daemon_is_one_json_object_per_line() {
    let home = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(home.path(), &home.path().join("data"), "");
    let json = ("TRUNKLINE_BROKER__LOG_FORMAT".into(), "json".into());
    let debug = ("TRUNKLINE_BROKER__LOG_LEVEL".into(), "debug".into());
    setup.variables.extend([json, debug]);
    let mut daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let address = http::address(&setup.data).unwrap();
    assert_eq!(http::get(&address, "/nothing", None).unwrap().status, 404);
    daemon.terminate();
    daemon.wait(PATIENCE).expect("it ends");
    let text = daemon.stderr();
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    assert!(records.iter().all(|record| record["timestamp"].is_string()));
    let refused = records.iter().find(|r| r["message"] == "Request refused.");
    let refused = refused.unwrap_or_else(|| panic!("no refusal in {text}"));
    assert!(refused["request_id"].is_string() && refused["path"] == "/nothing");
}

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
