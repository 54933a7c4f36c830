//! The client against a scripted daemon.

use serde_json::{Value, json};
use trunkline_contract::error::Error;

use super::peer::{Event, Listener, Peer};
use crate::{
    Batch, Client, Code, Event as Envelope, InboundMessage, On, Reply, Result, Start, State,
};

fn on_runtime<T: Send + 'static>(
    work: impl AsyncFnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(work())
    })
}

fn subscribed(peer: &mut Peer) -> Value {
    let frame = peer.recv();
    assert_eq!(frame["method"], "broker.subscribe", "{frame}");
    let name = format!(
        "client.ops.{}",
        frame["params"]["name"].as_str().expect("a name")
    );
    peer.answer(
        &frame,
        &json!({ "subscription": name, "cursor": 0, "head": 0, "created": true }),
    );
    frame["params"].clone()
}

const PUBLISHED: &str = r#"{ "seq": 7, "duplicate": false, "matched": 2 }"#;

fn published() -> Value {
    serde_json::from_str(PUBLISHED).expect("JSON")
}

#[test]
fn many_publishes_are_in_flight_on_one_link_and_each_gets_its_answer() {
    let listener = Listener::new();
    let path = listener.path.clone();
    let client = on_runtime(async move || {
        let client = Client::new("ops")
            .socket(path)
            .connect()
            .await
            .expect("connected");
        let publishes: Vec<_> = (0..100)
            .map(|n| tokio::spawn(client.publish("agent.n", n).session("s").into_future()))
            .collect();
        let mut seqs = Vec::new();
        for publish in publishes {
            seqs.push(publish.await.expect("no panic").expect("published").seq);
        }
        let refused = client.publish("agent.n", 0).await.expect_err("refused");
        client.close().await;
        (seqs, refused)
    });
    let mut peer = listener.accept();
    let frames: Vec<_> = (0..100).map(|_| peer.recv()).collect();
    for frame in frames.iter().rev() {
        assert!(frame["params"]["event"]["id"].is_string());
        let seq = &frame["params"]["event"]["payload"];
        peer.answer(
            frame,
            &json!({ "seq": seq, "duplicate": false, "matched": 0 }),
        );
    }
    let last = peer.recv();
    peer.refuse(
        &last,
        &Error::new(Code::StorageFull, "92 %").retry_after(500),
    );
    let (seqs, refused) = client.join().expect("no panic");
    assert_eq!(seqs, (0..100).map(Some).collect::<Vec<_>>());
    assert_eq!(
        (refused.code, refused.retry_after_ms),
        (Code::StorageFull, Some(500))
    );
}

#[test]
fn a_client_reconnects_subscribes_again_and_publishes_again_with_the_same_id() {
    async fn answer(message: InboundMessage) -> Result<Reply> {
        Ok(Reply::new(format!(
            "you said {}",
            message.text.unwrap_or_default()
        )))
    }
    let listener = Listener::new();
    let path = listener.path.clone();
    let client = on_runtime(async move || {
        let client = Client::new("ops")
            .socket(path)
            .on(On::new("plugin.inbound.>", answer)
                .group("ops")
                .start(Start::Earliest))
            .connect()
            .await
            .expect("connected");
        let published = client
            .publish("agent.n", 1)
            .await
            .expect("published in the end");
        let mut events = client
            .subscribe(["agent.>"])
            .name("all")
            .await
            .expect("subscribed");
        let delivery = events.next().await.expect("an event");
        delivery.ack();
        client.close().await;
        published
    });
    let mut peer = listener.accept();
    let subscription = subscribed(&mut peer);
    assert_eq!(subscription["name"], "answer");
    assert_eq!(
        (&subscription["group"], &subscription["start"]),
        (&json!("ops"), &json!("earliest"))
    );
    let lost = peer.expect("broker.publish");
    drop(peer);
    let mut peer = listener.accept();
    assert_eq!(subscribed(&mut peer), subscription);
    let again = peer.expect_and_answer("broker.publish", &published());
    assert_eq!(again, lost);
    subscribed(&mut peer);
    peer.event(&Event {
        id: "m1",
        topic: "plugin.inbound.chat.main",
        session: Some("s"),
        payload: json!({ "text": "hi", "conversation": { "id": "c" } }),
        subscription: Some("client.ops.answer"),
        attempt: 1,
        lease_ms: 30_000,
    });
    let commit = peer.expect_and_answer("broker.commit", &json!({ "events": [published()] }));
    let reply = &commit["events"][0];
    assert_eq!(reply["topic"], "plugin.outbound.chat.main");
    assert_eq!(reply["event"]["payload"]["text"], "you said hi");
    peer.event(&Event {
        id: "m2",
        topic: "agent.x",
        session: None,
        payload: json!(1),
        subscription: Some("client.ops.all"),
        attempt: 1,
        lease_ms: 30_000,
    });
    // The subscription is left in order before the acks of that turn are written.
    let left = peer.recv();
    assert_eq!(left["method"], "broker.ack", "{left}");
    assert_eq!(left["params"]["deliveries"], json!(["d-m2"]));
    peer.recv_end();
    assert_eq!(client.join().expect("no panic").matched, 2);
}

#[test]
fn a_dropped_delivery_comes_again_and_a_commit_is_all_or_nothing() {
    let listener = Listener::new();
    let path = listener.path.clone();
    let client = on_runtime(async move || {
        let client = Client::new("ops")
            .socket(path)
            .connect()
            .await
            .expect("connected");
        let mut events = client
            .subscribe(["agent.>"])
            .name("all")
            .credit(1)
            .await
            .expect("made");
        drop(events.next().await.expect("an event"));
        let batch = Batch::new([Envelope::new("agent.a", "", 1)])
            .put("k", "v")
            .ttl("1m");
        let committed = client.commit(batch).await.expect("committed");
        client.close().await;
        committed
    });
    let mut peer = listener.accept();
    assert_eq!(subscribed(&mut peer)["credit"]["events"], 1);
    peer.event(&Event {
        id: "m1",
        topic: "agent.x",
        session: None,
        payload: json!(1),
        subscription: Some("client.ops.all"),
        attempt: 1,
        lease_ms: 30_000,
    });
    let nak = peer.expect("broker.nak");
    assert_eq!(nak["error"]["type"], "dropped");
    let result = json!({ "events": [published()], "kv": [{ "revision": 9 }] });
    let commit = peer.expect_and_answer("broker.commit", &result);
    let kv = &commit["kv"][0];
    assert_eq!(
        (&kv["scope"], &kv["ttl_ms"]),
        (&json!("client"), &json!(60_000))
    );
    let committed = client.join().expect("no panic");
    assert_eq!(
        (committed.events[0].seq, committed.revisions),
        (Some(7), vec![9])
    );
}

#[test]
fn a_sending_waits_for_its_own_receipt() {
    let listener = Listener::new();
    let path = listener.path.clone();
    let client = on_runtime(async move || {
        let client = Client::new("ops")
            .socket(path)
            .connect()
            .await
            .expect("connected");
        let sending = client.send("sms", "hi").to("+49").await.expect("durable");
        let receipt = sending
            .until(State::Sent)
            .timeout("10s")
            .await
            .expect("sent");
        let failed = sending.until(State::Read).await.expect_err("failed");
        client.close().await;
        (receipt, failed)
    });
    let mut peer = listener.accept();
    let sent = peer.expect_and_answer("broker.publish", &published());
    assert_eq!(sent["topic"], "plugin.outbound.sms");
    let payload = json!({ "text": "hi", "conversation": { "id": "+49" } });
    assert_eq!(
        (&sent["event"]["payload"], &sent["event"]["session_id"]),
        (&payload, &json!("+49"))
    );
    let id = sent["event"]["id"].as_str().expect("an id").to_owned();
    for (state, provider_id) in [("delivered", json!("SM1")), ("failed", json!(null))] {
        let subscription = subscribed(&mut peer);
        assert_eq!(subscription["start"], json!({ "seq": 7 }));
        let name = format!(
            "client.ops.{}",
            subscription["name"].as_str().expect("a name")
        );
        for (n, correlation) in ["other", &id].into_iter().enumerate() {
            let params = json!({
                "topic": "plugin.delivery.sms.main",
                "event": { "id": format!("r{n}"), "correlation_id": correlation,
                           "payload": { "state": state, "provider_id": provider_id } },
                "delivery": { "id": format!("d{n}"), "attempt": 1, "lease_ms": 30_000,
                              "subscription": name },
            });
            peer.send(&json!({ "jsonrpc": "2.0", "method": "broker.event", "params": params }));
        }
        loop {
            let frame = peer.recv();
            if frame["method"] == "broker.unsubscribe" {
                assert_eq!(frame["params"]["delete"], true);
                peer.answer(&frame, &json!({}));
                break;
            }
            assert_eq!(frame["method"], "broker.ack", "{frame}");
        }
    }
    let (receipt, failed) = client.join().expect("no panic");
    assert_eq!(receipt.provider_id.as_deref(), Some("SM1"));
    assert_eq!(failed.code, Code::DeliveryFailed);
}

#[test]
fn state_is_read_changed_and_watched() {
    let listener = Listener::new();
    let path = listener.path.clone();
    let client = on_runtime(async move || {
        let client = Client::new("ops")
            .socket(path)
            .connect()
            .await
            .expect("connected");
        let kv = client.kv();
        assert_eq!(kv.get::<u64>("n").await.expect("read"), None);
        let n = kv
            .update("n", |n: Option<u64>| n.unwrap_or(0) + 1)
            .ttl("7d")
            .await;
        let mut watch = kv.watch("a").await.expect("watched");
        let change = watch.next().await.expect("a change");
        client.close().await;
        (n.expect("changed"), change)
    });
    let mut peer = listener.accept();
    let absent = Error::new(Code::NotFound, "no such key");
    for _ in 0..2 {
        let get = peer.recv();
        assert_eq!(get["params"], json!({ "scope": "client", "key": "n" }));
        peer.refuse(&get, &absent);
    }
    // Somebody else writes in between; the change is made again on what they wrote.
    let put = peer.recv();
    assert_eq!(
        (&put["params"]["value"], &put["params"]["if_revision"]),
        (&json!(1), &json!(0))
    );
    peer.refuse(&put, &Error::new(Code::RevisionConflict, "changed"));
    peer.expect_and_answer("kv.get", &json!({ "value": 41, "revision": 5 }));
    let put = peer.expect_and_answer("kv.put", &json!({ "revision": 6 }));
    assert_eq!(
        (&put["value"], &put["if_revision"]),
        (&json!(42), &json!(5))
    );
    assert_eq!(put["ttl_ms"], 604_800_000);
    peer.expect_and_answer("kv.watch", &json!({ "watch": 3, "revision": 6 }));
    let change = json!({ "watch": 3, "op": "put", "key": "a1", "revision": 8, "value": null });
    peer.send(&json!({ "jsonrpc": "2.0", "method": "kv.change", "params": change }));
    let (n, change) = client.join().expect("no panic");
    assert_eq!(n, 42);
    assert_eq!((change.key.as_str(), change.revision), ("a1", 8));
    assert_eq!(change.value.expect("a value").as_str(), "null");
}

#[test]
fn a_lock_has_a_token_and_says_when_it_is_lost() {
    let listener = Listener::new();
    let path = listener.path.clone();
    let client = on_runtime(async move || {
        let client = Client::new("ops")
            .socket(path)
            .connect()
            .await
            .expect("connected");
        let held = client.lock("poller").await.expect_err("held by another");
        let lock = client
            .lock("poller")
            .ttl("30s")
            .wait("1s")
            .await
            .expect("taken");
        let token = lock.token();
        lock.lost().await;
        let lost = lock.release().await.expect_err("lost");
        client.close().await;
        (held.code, token, lost.code)
    });
    let mut peer = listener.accept();
    let acquire = peer.recv();
    assert_eq!(
        acquire["params"],
        json!({ "name": "poller", "ttl_ms": 30_000 })
    );
    peer.refuse(&acquire, &Error::new(Code::LockHeld, "held"));
    let acquire = peer.expect_and_answer("lock.acquire", &json!({ "token": 5 }));
    assert_eq!(acquire["wait_ms"], 1000);
    let lost = json!({ "name": "poller", "token": 5 });
    peer.send(&json!({ "jsonrpc": "2.0", "method": "lock.lost", "params": lost }));
    let codes = client.join().expect("no panic");
    assert_eq!(codes, (Code::LockHeld, 5, Code::LockLost));
}

#[test]
fn without_a_daemon_the_error_says_what_to_do() {
    let path = tempfile::tempdir()
        .expect("a directory")
        .path()
        .join("trunkline.sock");
    let error = on_runtime(async move || {
        Client::new("ops")
            .socket(path)
            .connect()
            .await
            .expect_err("nobody listens")
    });
    let error = error.join().expect("no panic");
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.message.contains("trunkline up"), "{error}");
}
