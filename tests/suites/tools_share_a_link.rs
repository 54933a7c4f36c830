//! SPEC: "Neither side may block the other", also with tools: large results beside pings, many calls at once. A
//! real daemon, a real plugin.

#![expect(clippy::disallowed_methods, reason = "this measures")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline::{Client, ToolStep};
use trunkline_tests::daemon::{Daemon, Setup};

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// What the large tool streams.
const LARGE_BYTES: usize = 8 << 20;
/// Calls at once.
const CALLS: usize = 200;

struct Rig {
    // Ended before its directory is removed.
    daemon: Daemon,
    setup: Setup,
    _home: tempfile::TempDir,
}

impl Rig {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let plugin = home.path().join("plugins/crowd");
        std::fs::create_dir_all(&plugin).expect("a directory");
        let manifest = format!(
            "[plugin]\nid = \"crowd\"\nversion = \"0.1.0\"\ncommand = [{:?}]\n",
            env!("CARGO_BIN_EXE_tool_plugin")
        );
        std::fs::write(plugin.join("plugin.toml"), manifest).expect("a file");
        let config = "plugin_dirs = [\"plugins\"]\n[[plugins.crowd]]\n";
        let setup = Setup::new(home.path(), &home.path().join("data"), config);
        let daemon = setup.start().expect("the daemon starts");
        Self {
            daemon,
            setup,
            _home: home,
        }
    }

    async fn client(&self) -> Client {
        let client = Client::new("caller")
            .socket(self.setup.socket())
            .token(self.setup.token());
        let client = client.connect().await.expect("connected");
        // The plugin may still be starting.
        let begin = Instant::now();
        loop {
            match client.call_tool::<Value>("crowd.quick", json!({})).await {
                Ok(_) => return client,
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Proves LN4: an 8 MB result of a tool, sent as chunks, holds up neither a ping on the same link nor a call of
/// the same plugin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_result_holds_up_no_ping() {
    let rig = Rig::start();
    let client = rig.client().await;
    // What waits for the stream takes as long as that, each time; what others do to the machine passes.
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let (slowest, whole) = beside_a_stream(&client).await;
        rounds.push((slowest, whole));
        if slowest < whole / 2 {
            drop(rig.daemon);
            return;
        }
    }
    panic!("one took as long as the whole stream (slowest, whole): {rounds:?}");
}

/// Asks beside a large result until that is there: the slowest answer, and how long the whole took.
async fn beside_a_stream(client: &Client) -> (Duration, Duration) {
    let mut call = client
        .call_tool::<Value>("crowd.large", json!({ "bytes": LARGE_BYTES }))
        .timeout("1m");
    let start = Instant::now();
    let reading = tokio::spawn(async move {
        let mut bytes = 0;
        while let Some(step) = call.next().await {
            if let ToolStep::Chunk(data) = step {
                bytes += data.json::<String>().expect("a text").len();
            }
        }
        call.await.expect("the end of the stream");
        (bytes, start.elapsed())
    });
    let (mut pings, mut slowest) = (0, Duration::ZERO);
    while !reading.is_finished() {
        let begin = Instant::now();
        let _: Value = client.request("ping", &json!({})).await.expect("a pong");
        slowest = slowest.max(begin.elapsed());
        let begin = Instant::now();
        let _: Value = client
            .call_tool("crowd.quick", json!({}))
            .await
            .expect("an answer");
        slowest = slowest.max(begin.elapsed());
        pings += 1;
    }
    let (bytes, whole) = reading.await.expect("it ended");
    assert_eq!(bytes, LARGE_BYTES);
    println!("{pings} pings and calls beside 8 MB in {whole:?}, the slowest {slowest:?}");
    assert!(
        pings > 0,
        "nothing was asked while the result was on its way"
    );
    (slowest, whole)
}

/// Two hundred calls of one plugin at once: where it declares that many, all of them run together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_calls_run_at_once_as_are_declared() {
    let rig = Rig::start();
    let client = rig.client().await;
    for output in call_many(&client, "crowd.meet").await {
        assert_eq!(output["calls"], CALLS);
    }
    drop(rig.daemon);
}

/// Two hundred calls at once of a tool that takes sixteen: the others wait their turn, and none is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_concurrency_wait_their_turn() {
    let rig = Rig::start();
    let client = rig.client().await;
    for output in call_many(&client, "crowd.crowd").await {
        let most = output["most"].as_u64().expect("a number");
        assert!((1..=16).contains(&most), "{most} ran at once");
    }
    drop(rig.daemon);
}

/// Makes every call, and gives what each gave.
async fn call_many(client: &Client, tool: &str) -> Vec<Value> {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let call = client
            .call_tool::<Value>(tool, json!({ "calls": CALLS }))
            .timeout("1m");
        calls.spawn(call.into_future());
    }
    let mut outputs = Vec::new();
    while let Some(output) = calls.join_next().await {
        outputs.push(output.expect("no panic").expect("a result"));
    }
    assert_eq!(outputs.len(), CALLS);
    outputs
}
