//! "The same plugin behaves the same in Rust, Python and Node": whole conversations, frame by frame, against
//! the real core. The format is described in `contract/vectors/transcripts/README.md`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use trunkline_broker::core::InstanceSetup;
use trunkline_broker::instance::InstanceKey;
use trunkline_broker::router::RetryPolicy;
use trunkline_broker::testing::{TOKEN, TestBroker};
use trunkline_contract::grant::Grants;
use trunkline_contract::topic::Filter;

/// How long a frame may take; nothing here waits for anything but other threads.
const PATIENCE: Duration = Duration::from_secs(20);

struct Link {
    read: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

struct Player {
    broker: TestBroker,
    links: BTreeMap<String, Link>,
    bound: BTreeMap<String, Value>,
    instance: Option<InstanceKey>,
    place: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../contract/vectors/transcripts")
}

async fn play(name: &str) {
    let path = folder().join(name);
    let text = std::fs::read_to_string(&path).expect("the transcript is there");
    let broker = TestBroker::start(7).expect("a broker in memory");
    let mut player = Player {
        broker,
        links: BTreeMap::new(),
        bound: BTreeMap::from([("TOKEN".to_owned(), Value::from(TOKEN))]),
        instance: None,
        place: String::new(),
    };
    for (number, line) in text.lines().enumerate() {
        player.place = format!("{name}:{}", number + 1);
        let step: Value = serde_json::from_str(line).expect("one JSON object per line");
        player.step(&step).await;
    }
}

impl Player {
    async fn step(&mut self, step: &Value) {
        if let Some(setup) = step.get("setup") {
            self.configure(setup).await;
        } else if let Some(name) = step["open"].as_str() {
            self.open(name).await;
        } else if let Some(ms) = step["advance_ms"].as_u64() {
            self.broker.advance(ms).await.expect("the broker lives");
        } else if step.get("shutdown").is_some() {
            let key = self.instance.clone().expect("set up before");
            let shutdown = move |core: &mut trunkline_broker::core::Core| {
                core.shutdown(&key, 5_000, "the transcript ends");
            };
            self.broker
                .broker()
                .with(shutdown)
                .await
                .expect("the broker lives");
        } else {
            self.exchange(step).await;
        }
    }

    async fn exchange(&mut self, step: &Value) {
        let name = step["on"].as_str().expect("names a link").to_owned();
        if let Some(expected) = step.get("broker") {
            let found = self.next(&name).await.expect("the link is open");
            let found: Value = serde_json::from_str(&found).expect("frames are JSON");
            self.check(expected, &found, &found);
        } else if let Some(frame) = step.get("peer") {
            let frame = self.filled(frame);
            self.send(&name, format!("{frame}\n").as_bytes()).await;
        } else if let Some(bytes) = step["bytes"].as_str() {
            self.send(&name, bytes.as_bytes()).await;
        } else if step.get("closed").is_some() {
            assert_eq!(
                self.next(&name).await,
                None,
                "{}: the link is closed",
                self.place
            );
        } else {
            panic!("{}: unknown step {step}", self.place);
        }
    }

    async fn configure(&mut self, setup: &Value) {
        let key = InstanceKey::new(
            setup["plugin"].as_str().expect("a plugin"),
            setup["instance"].as_str().expect("an instance"),
        );
        let kinds: Vec<String> = setup["kinds"]
            .as_array()
            .expect("kinds")
            .iter()
            .map(|kind| kind.as_str().expect("a kind").to_owned())
            .collect();
        let filter = |text: String| Filter::parse(&text).expect("a literal filter");
        let grants = Grants {
            publish: kinds
                .iter()
                .flat_map(|kind| {
                    ["inbound", "delivery"]
                        .map(|class| filter(format!("plugin.{class}.{kind}.{}", key.instance)))
                })
                .collect(),
            receive: kinds
                .iter()
                .map(|kind| filter(format!("plugin.outbound.{kind}.{}", key.instance)))
                .collect(),
            call: Vec::new(),
        };
        self.instance = Some(key.clone());
        let setup = InstanceSetup {
            key,
            version: "0.1.0".into(),
            kinds,
            features: BTreeMap::new(),
            grants,
            tools: Vec::new(),
            webhooks: Vec::new(),
            config: Map::new(),
            secrets: BTreeMap::new(),
            state_dir: None,
            retry: RetryPolicy::default(),
            legacy: setup["legacy"] == true,
            ping_interval_ms: 0,
        };
        self.broker
            .configure(setup)
            .await
            .expect("the instance is accepted");
    }

    async fn open(&mut self, name: &str) {
        let stream = if name == "plugin" {
            let key = self.instance.clone().expect("set up before");
            self.broker.spawn(&key).await
        } else {
            self.broker.dial().await
        };
        let stream = stream.expect("a link");
        stream.set_nonblocking(true).expect("a socket");
        let (read, write) = UnixStream::from_std(stream).expect("a socket").into_split();
        let link = Link {
            read: BufReader::new(read).lines(),
            write,
        };
        self.links.insert(name.to_owned(), link);
    }

    async fn next(&mut self, name: &str) -> Option<String> {
        let link = self.links.get_mut(name).expect("opened before");
        let line = tokio::time::timeout(PATIENCE, link.read.next_line()).await;
        line.unwrap_or_else(|_| panic!("{}: nothing came on {name}", self.place))
            .expect("readable")
    }

    async fn send(&mut self, name: &str, bytes: &[u8]) {
        let link = self.links.get_mut(name).expect("opened before");
        link.write.write_all(bytes).await.expect("the link is open");
    }

    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => match text.strip_prefix('$').and_then(|n| self.bound.get(n)) {
                Some(bound) => bound.clone(),
                None => value.clone(),
            },
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), self.filled(value)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    fn check(&mut self, expected: &Value, found: &Value, frame: &Value) {
        match expected {
            Value::String(text) if text == "$_" => {}
            Value::String(text) if text.starts_with('$') => {
                let bound = self
                    .bound
                    .entry(text[1..].to_owned())
                    .or_insert_with(|| found.clone());
                assert_eq!(bound, found, "{}: {text} differs in {frame}", self.place);
            }
            Value::Object(members) => {
                let others = found.as_object().cloned().unwrap_or_default();
                let names: Vec<_> = members.keys().collect();
                for name in others.keys() {
                    assert!(
                        names.contains(&name),
                        "{}: unexpected {name} in {frame}",
                        self.place
                    );
                }
                for (name, value) in members {
                    let other = others.get(name).unwrap_or_else(|| {
                        panic!("{}: expected {name} in {frame}", self.place);
                    });
                    self.check(value, other, frame);
                }
            }
            Value::Array(items) => {
                let others = found.as_array().cloned().unwrap_or_default();
                assert_eq!(items.len(), others.len(), "{}: {frame}", self.place);
                for (item, other) in items.iter().zip(&others) {
                    self.check(item, other, frame);
                }
            }
            other => assert_eq!(other, found, "{}: {frame}", self.place),
        }
    }
}

/// Proves P1: an echo, frame by frame, as every SDK must do it; W2 (id and timestamp are kept), W4 (an
/// integer beyond 2^53 goes through unchanged), LN10 (a repeat of an id is recognised).
#[tokio::test]
async fn an_echo_goes_all_the_way() {
    play("echo.jsonl").await;
}

/// Proves W7: bad frames are answered with null ids and the link goes on; LN44: what is unknown is an error,
/// never an empty success; Q4: a publish that nobody wants says so.
#[tokio::test]
async fn faults_have_the_same_answers_everywhere() {
    play("faults.jsonl").await;
}

/// Proves W1: nexo's own Python echo template completes initialize, event, publish and shutdown; the broker
/// fills in the id and the timestamp that it leaves out.
#[tokio::test]
async fn the_foreign_python_template_runs_unmodified() {
    play("foreign_python.jsonl").await;
}

/// Proves W1 for nexo's TypeScript echo template.
#[tokio::test]
async fn the_foreign_typescript_template_runs_unmodified() {
    play("foreign_typescript.jsonl").await;
}

/// Proves W1 for nexo's Rust echo template, which names topics without an instance and ids and times itself.
#[tokio::test]
async fn the_foreign_rust_template_runs_unmodified() {
    play("foreign_rust.jsonl").await;
}

/// A transcript that nothing plays proves nothing.
#[test]
fn every_transcript_is_played() {
    let source = include_str!("golden_transcripts.rs");
    for entry in std::fs::read_dir(folder()).expect("the folder is there") {
        let path = entry.expect("readable").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("plain names");
        let is_transcript = path.extension().is_some_and(|end| end == "jsonl");
        let played = !is_transcript || source.contains(&format!("play(\"{name}\")"));
        assert!(played, "{name} is not played by any test");
    }
}
