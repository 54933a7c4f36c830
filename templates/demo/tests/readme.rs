//! The documents are true: the README's first five minutes work, and what is linked is there.
#![expect(
    clippy::disallowed_methods,
    reason = "the test starts the daemon as a user does"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use trunkline::Client;

const README: &str = include_str!("../../../README.md");
const WIRE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/python");
const LIMIT: Duration = Duration::from_secs(30);

/// Gives the code blocks of this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let mut rest = README;
    let mut found = Vec::new();
    while let Some(at) = rest.find(&fence) {
        let block = &rest[at + fence.len()..];
        let end = block.find("```").expect("every block ends");
        found.push(&block[..end]);
        rest = &block[end + 3..];
    }
    found
}

/// A daemon that ends with the test.
struct Daemon(Child);

impl Daemon {
    fn start(home: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_trunkline-demo"))
            .args(["up", "--set", "http.listen=127.0.0.1:0"])
            .current_dir(home)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the daemon can be started");
        let stdout = child.stdout.take().expect("stdout is piped");
        let daemon = Self(child);
        let is_ready = BufReader::new(stdout)
            .lines()
            .any(|line| line.expect("text") == "ready");
        assert!(is_ready, "the daemon ended before it was ready");
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().expect("it is our own child");
        self.0.wait().expect("it was killed");
    }
}

#[tokio::test]
async fn the_first_five_minutes_of_the_readme_work_as_they_are_written() {
    let dir = TempDir::new().expect("a directory");
    let plugin = dir.path().join("plugins/echo-python");
    fs::create_dir_all(&plugin).expect("a directory");
    for name in ["plugin.toml", "echo.py"] {
        fs::copy(Path::new(WIRE).join(name), plugin.join(name)).expect("a copy");
    }
    let toml = blocks("toml");
    fs::write(dir.path().join("trunkline.toml"), toml[0]).expect("the config");
    let manifest = fs::read_to_string(plugin.join("plugin.toml")).expect("a manifest");
    assert_eq!(toml[1], manifest, "the README shows another manifest");

    let daemon = Daemon::start(dir.path());
    let client = Client::new("cli")
        .socket(dir.path().join(".trunkline/trunkline.sock"))
        .connect()
        .await
        .expect("a link");
    let mut back = client
        .subscribe(["plugin.inbound.>", "plugin.delivery.>"])
        .name("back")
        .await
        .expect("a subscription");
    client
        .publish("plugin.outbound.python", json!({ "text": "hello" }))
        .await
        .expect("an ack");
    let mut topics = Vec::new();
    for _ in 0..2 {
        let delivery = timeout(LIMIT, back.next())
            .await
            .expect("in time")
            .expect("a link");
        let payload: Value = delivery.payload().expect("JSON");
        if delivery.topic().starts_with("plugin.inbound.") {
            assert_eq!(payload["text"], "hello");
        } else {
            assert_eq!(payload["state"], "sent");
        }
        topics.push(delivery.topic().to_owned());
        delivery.ack();
    }
    topics.sort();
    let expected = [
        "plugin.delivery.python.default",
        "plugin.inbound.python.default",
    ];
    assert_eq!(topics, expected);
    client.close().await;
    drop(daemon);
}

/// Gives what stands between `open` and `close`.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| rest.split_once(close).map(|(inside, _)| inside))
}

#[test]
fn every_file_that_the_documents_name_exists() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "docs/glossary.md",
        "docs/operations.md",
        "docs/other-languages.md",
        "docs/quick-start-node.md",
        "docs/quick-start-python.md",
        "docs/quick-start-rust.md",
        "templates/README.md",
        "templates/wire/README.md",
        "patterns/README.md",
        "sdk-python/README.md",
        "sdk-node/README.md",
    ];
    for name in documents {
        let path = root.join(name);
        let text = fs::read_to_string(&path).expect("a document");
        let folder = path.parent().expect("a folder");
        for link in between(&text, "](", ')').filter(|link| !link.starts_with("http")) {
            assert!(folder.join(link).exists(), "{name} links to {link}");
        }
        for code in text.split('`').skip(1).step_by(2) {
            let top = code.split('/').next().unwrap_or_default();
            let is_source = ["broker", "contract", "sdk-rust", "tests", "templates"].contains(&top);
            if is_source && code.contains('.') && !code.contains(' ') {
                assert!(root.join(code).exists(), "{name} names {code}");
            }
        }
    }
}
