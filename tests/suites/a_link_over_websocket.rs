//! "A link over WebSocket does what one over a socket does": clients of the three SDKs against the real daemon's
//! `/v1/link`, which is killed and started again under one of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use trunkline::{Client, Failure, Json, On, Start};
use trunkline_tests::daemon::Setup;
use trunkline_tests::sdk::Language;

/// A port that was free a moment ago: a daemon that starts again must have the same.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Proves LN44: a client over WebSocket connects again after the daemon was killed, and its durable subscription goes
/// on with what was published before and after.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_websocket_survives_the_death_of_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let setup = Setup::new(&dir.path().join("home"), &dir.path().join("data"), &http);
    let daemon = setup.start().unwrap();
    let (seen, mut events) = tokio::sync::mpsc::channel(64);
    let handler = move |payload: Json| {
        let seen = seen.clone();
        async move {
            seen.send(payload["n"].as_u64()).await?;
            Ok::<(), Failure>(())
        }
    };
    let on = On::new("agent.work", handler)
        .name("work")
        .start(Start::Earliest);
    let worker = Client::new("worker")
        .url(format!("ws://127.0.0.1:{port}/v1/link"))
        .token(setup.token())
        .on(on);
    let worker = worker.connect().await.unwrap();
    worker
        .publish("agent.work", json!({ "n": 1 }))
        .await
        .unwrap();
    assert_eq!(events.recv().await, Some(Some(1)));
    daemon.kill();
    let publishing = tokio::spawn({
        let worker = worker.clone();
        async move { worker.publish("agent.work", json!({ "n": 2 })).await }
    });
    let _daemon = setup.start().unwrap();
    publishing.await.unwrap().unwrap();
    let second = async { while events.recv().await != Some(Some(2)) {} };
    tokio::time::timeout(Duration::from_secs(30), second)
        .await
        .unwrap();
    worker.close().await;
}

/// Proves LN44 in Python and Node: with nothing but `TRUNKLINE_URL` and `TRUNKLINE_TOKEN` a client publishes and reads;
/// a wrong token is refused as such.
#[test]
fn a_client_of_each_sdk_connects_over_websocket() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let setup = Setup::new(&dir.path().join("home"), &dir.path().join("data"), &http);
    let _daemon = setup.start().unwrap();
    for language in [Language::Python, Language::Node] {
        for (token, expected) in [
            (setup.token(), "read 7"),
            ("wrong".to_owned(), "unauthorized"),
        ] {
            let mut command = language.command("websocket", dir.path());
            command.env("TRUNKLINE_URL", format!("ws://127.0.0.1:{port}/v1/link"));
            command.env("TRUNKLINE_TOKEN", token);
            let done = command.output().unwrap();
            let said = String::from_utf8_lossy(&done.stdout);
            let complained = String::from_utf8_lossy(&done.stderr);
            assert_eq!(said.trim(), expected, "{}: {complained}", language.name());
        }
    }
}
