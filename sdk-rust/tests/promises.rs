//! Promises to plugins that no engine keeps alone, against the real broker in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use trunkline::testing::{KillAt, TestBroker};
use trunkline::{
    Assemble, Batch, Code, Connect, Context, Event, Failure, Json, On, Outbound, Part, Plugin,
    Result, Retry,
};

const INBOUND: &str = "plugin.inbound.chat.*";
const PATIENCE: Duration = Duration::from_secs(20);

/// Says what came in, under the provider's id.
async fn came(message: Json) -> Event {
    let id = message["id"].as_str().unwrap_or_default().to_owned();
    Event::inbound(message).id(id)
}

async fn nothing(_: Json) -> Result<()> {
    Ok(())
}

/// Proves H6: what a provider says again under its id is one event for 72 h, also after a restart of everything, and
/// nobody else's id is in the way.
#[tokio::test]
async fn an_id_of_the_provider_is_one_event_per_instance() {
    let plugin = Plugin::new("chat")
        .on(On::new("agent.said", came).name("said"))
        .outbound(Outbound::new("chat", nothing));
    let broker = TestBroker::start(plugin).instances(["a", "b"]).await;
    let text = json!({ "id": "update-917", "text": "hi" });
    broker.publish("agent.said", &text).await.expect("durable");
    // Each of the two instances has it once.
    for instance in ["a", "b"] {
        let topic = format!("plugin.inbound.chat.{instance}");
        broker.expect_published(&topic, &text, "10s").await;
    }
    broker.restart().await;
    for _ in 0..2 {
        broker.publish("agent.said", &text).await.expect("durable");
        broker.expect_nothing(INBOUND, json!({}), "1m").await;
    }
    // It is known for its time and no longer.
    broker.advance("71h").await;
    broker.publish("agent.said", &text).await.expect("durable");
    broker.expect_nothing(INBOUND, json!({}), "1m").await;
    broker.advance("1h").await;
    broker.publish("agent.said", &text).await.expect("durable");
    for instance in ["a", "b"] {
        let topic = format!("plugin.inbound.chat.{instance}");
        broker.expect_published(&topic, &text, "10s").await;
    }
    assert!(broker.dead_letters().await.is_empty());
}

async fn frame(line: String) -> Event {
    Event::inbound(json!({ "text": line }))
}

/// Accepts a connection.
async fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
    let (stream, _) = accepted.expect("a connection in time").expect("accepted");
    BufReader::new(stream)
}

async fn line_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    (listener, url)
}

/// Proves P5c: of two instances with one credential one is connected, and the other one waits, and says so.
#[tokio::test]
async fn a_credential_has_one_connection() {
    let (listener, url) = line_server().await;
    let connect = Connect::new("chat", url, frame)
        .credential("one account")
        .backoff("5ms", "20ms");
    let broker = TestBroker::start(Plugin::new("chat").connect(connect))
        .instances(["a", "b"])
        .await;
    let mut first = accept(&listener).await;
    let second = tokio::time::timeout(Duration::from_millis(300), listener.accept()).await;
    assert!(second.is_err(), "a second connection of one credential");
    first.write_all(b"hi\n").await.expect("written");
    broker
        .expect_published(INBOUND, json!({ "text": "hi" }), "1s")
        .await;
    // The one that has it connects again; the other one does not get in between.
    drop(first);
    let _again = accept(&listener).await;
    let second = tokio::time::timeout(Duration::from_millis(300), listener.accept()).await;
    assert!(second.is_err(), "a second connection of one credential");
}

async fn say(message: Json, ctx: Context) -> Result<()> {
    let text = message["text"].as_str().unwrap_or_default();
    Ok(ctx.conn().send(text).await?)
}

/// Proves P5d: what is said in the gap waits for the connection and keeps its order, and a stop leaves cleanly.
#[tokio::test]
async fn what_is_said_in_the_gap_waits_and_a_stop_says_goodbye() {
    let (listener, url) = line_server().await;
    let connect = Connect::new("chat", url, frame).backoff("5ms", "20ms");
    let plugin = Plugin::new("chat")
        .connect(connect)
        .outbound(Outbound::new("chat", say));
    let broker = TestBroker::start(plugin).await;
    let mut stream = accept(&listener).await;
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    stream.get_mut().shutdown().await.expect("closed");
    for text in ["one", "two"] {
        broker.send("chat", text).to("c").await.expect("durable");
    }
    let delivery = "plugin.delivery.chat.*";
    let failed = json!({ "state": "failed" });
    broker.expect_nothing(delivery, &failed, "100ms").await;
    let address = ("127.0.0.1", port);
    let listener = TcpListener::bind(address).await.expect("the port again");
    let mut stream = accept(&listener).await;
    broker.advance("10s").await;
    for expected in ["one", "two"] {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_line(&mut line)).await;
        read.expect("in time").expect("read");
        assert_eq!(line.trim(), expected);
        let sent = json!({ "state": "sent" });
        broker.expect_published(delivery, sent, "10s").await;
    }
    drop(broker);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    ended
        .expect("it is closed in time")
        .expect("read to its end");
    assert!(rest.is_empty(), "nothing is said after the end");
}

const MANIFEST: &str = r#"
[plugin]
id = "chat"
version = "0.1.0"
command = ["./chat"]

[[channels]]
kind = "chat"
features = { reactions = "none", deletes = "none", files = { media_types = ["image/*"], bytes_max = 1000 } }
"#;

/// Proves LN28: every form of a standard message reaches the channel as it was said, also what only the channel
/// knows; what the channel cannot do has an explicit receipt, and is neither dropped nor sent without it.
/// Proves LN30: what is refused is refused as `not_supported`, by what the channel declares.
#[tokio::test]
async fn a_message_reaches_the_channel_whole_or_is_refused_with_a_receipt() {
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = seen.clone();
    let take = move |message: Json| {
        kept.lock().expect("no thread panics").push(message);
        async { Ok("id") as Result<&str> }
    };
    let plugin = Plugin::new("chat").outbound(Outbound::new("chat", take));
    let broker = TestBroker::start(plugin).manifest(MANIFEST).await;
    let conversation = json!({ "id": "c", "kind": "group", "thread_id": "t" });
    let image = json!({ "type": "image", "url": "https://x.example/a.png", "media_type": "image/png", "bytes": 10 });
    let whole = json!({
        "id": "m1", "text": "hi", "conversation": conversation, "reply_to": "m0", "edit_of": "m9",
        "sender": { "id": "u", "name": "U", "is_bot": true },
        "parts": [
            image, { "type": "quote", "text": "q", "message_id": "m0" },
            { "type": "mention", "user": { "id": "u2" } },
            { "type": "location", "latitude": 52.5, "longitude": 13.4 },
            { "type": "chat.card", "alt_text": "a card", "chat.buttons": [1, 2] },
        ],
        "chat.silent": true,
    });
    let delivery = "plugin.delivery.chat.*";
    broker.send("chat", &whole).await.expect("durable");
    let sent = json!({ "state": "sent" });
    broker.expect_published(delivery, sent, "1s").await;
    assert_eq!(*seen.lock().expect("no thread panics"), [whole]);

    let large = json!({ "type": "image", "url": "https://x.example/b.png", "media_type": "image/png", "bytes": 5000 });
    let video =
        json!({ "type": "video", "url": "https://x.example/c.mp4", "media_type": "video/mp4" });
    for refused in [
        json!({ "conversation": conversation, "reaction": { "target": "m0", "key": "+1", "op": "add" } }),
        json!({ "conversation": conversation, "deleted": "m0" }),
        json!({ "conversation": conversation, "text": "x", "parts": [large] }),
        json!({ "conversation": conversation, "text": "x", "parts": [video] }),
    ] {
        broker.send("chat", &refused).await.expect("durable");
        let failed = json!({ "state": "failed" });
        let receipt = broker.expect_published(delivery, failed, "1s").await;
        let payload: Value = receipt.payload.json().expect("a receipt");
        assert_eq!(payload["error"]["class"], "not_supported", "{refused}");
        assert_eq!(payload["error"]["code"], "not_implemented", "{refused}");
    }
    assert_eq!(seen.lock().expect("no thread panics").len(), 1);
}

async fn keeps(_: Json, ctx: Context) -> Result<()> {
    let kv = ctx.kv();
    // A key of the instance, of the plugin and of the workspace are three.
    kv.put("k", json!({ "of": "instance" })).await?;
    kv.plugin().put("k", "of the plugin").await?;
    assert_eq!(
        kv.plugin().get::<String>("k").await?.expect("there"),
        "of the plugin"
    );
    assert_eq!(
        kv.get::<Json>("k").await?.expect("there"),
        json!({ "of": "instance" })
    );
    // What is missing is nothing, not an error.
    assert_eq!(kv.get::<Json>("never").await?, None);
    // A change that depends on the revision is refused when somebody else was there before.
    let entry = kv.entry("k").await?.expect("there");
    kv.put("k", 2).if_revision(entry.revision).await?;
    let late = kv.put("k", 3).if_revision(entry.revision).await;
    assert_eq!(late.expect_err("refused").code, Code::RevisionConflict);
    kv.update("n", |n: Option<u64>| n.unwrap_or(0) + 1).await?;
    kv.put("short", "s").ttl("30s").await?;
    // Over the limit of a value nothing is written.
    let large = "x".repeat(300 << 10);
    assert!(kv.put("large", &large).await.is_err());
    assert_eq!(kv.get::<Json>("large").await?, None);
    Ok(())
}

/// Stores what may be stored, and is told at once what may not.
async fn stores(_: Json, ctx: Context) -> Result<()> {
    let kv = ctx.kv();
    let missing = kv.require::<Json>("never").await.expect_err("absent");
    assert_eq!(missing.code, Code::NotFound);
    // Several keys in one commit, or none of them.
    let both = Batch::new([]).put("a/1", 1).put("a/2", json!({ "n": 2 }));
    assert_eq!(ctx.emit(both).await?.revisions.len(), 2);
    let refused = Batch::new([]).put("a/3", 3).put("a/1", 9).if_revision(0);
    let refused = ctx.emit(refused).await.expect_err("there is one");
    assert_eq!(refused.code, Code::RevisionConflict);
    let found: BTreeMap<String, Json> = kv.get_many(["a/1", "a/2", "a/3"]).await?;
    let all = BTreeMap::from([("a/1".into(), json!(1)), ("a/2".into(), json!({ "n": 2 }))]);
    assert_eq!(found, all);
    assert_eq!(kv.require::<u64>("a/1").await?, 1);
    kv.put_bytes("raw", [0, 159, 255]).await?;
    assert_eq!(kv.get_bytes("raw").await?, Some(vec![0, 159, 255]));
    assert_eq!(kv.get_bytes("never").await?, None);
    let wrong = kv.get_bytes("a/1").await.expect_err("a number");
    assert_eq!(wrong.code, Code::InvalidPayload);
    // A value over its limit, and a frame over its own, are refused before anything is written.
    for bytes in [300 << 10, 2 << 20] {
        let large = "x".repeat(bytes);
        let refused = kv.put("large", &large).await.expect_err("too large");
        assert_eq!(refused.code, Code::QuotaExceeded, "{refused}");
        let batch = Batch::new([]).put("small", 1).put("large", &large);
        let refused = ctx.emit(batch).await.expect_err("too large").code;
        assert!(
            matches!(refused, Code::QuotaExceeded | Code::FrameTooLarge),
            "{refused:?}"
        );
    }
    let refused = ctx.publish("agent.large", "x".repeat(2 << 20)).await;
    assert_eq!(refused.expect_err("too large").code, Code::FrameTooLarge);
    assert!(kv.get_many::<Json>(["small", "large"]).await?.is_empty());
    ctx.publish("agent.stored", json!({})).await?;
    Ok(())
}

/// Proves LN33: a missing key is a typed error where it must be there; several puts are one commit; bytes are values;
/// the quota is checked before a write, and what the link cannot carry is refused at once.
/// Proves P6c: several keys are read by one call.
#[tokio::test]
async fn a_store_says_what_is_missing_and_what_is_too_much() {
    let plugin = Plugin::new("chat").on(On::new("agent.store", stores));
    let broker = TestBroker::start(plugin).await;
    let stored = broker.publish("agent.store", json!({}));
    stored.await.expect("durable");
    broker
        .expect_published("agent.stored", json!({}), "1s")
        .await;
}

async fn looks(_: Json, ctx: Context) -> Result<Event> {
    let kv = ctx.kv();
    let names: Vec<_> = kv
        .list("")
        .await?
        .into_iter()
        .map(|entry| entry.key)
        .collect();
    let n: Option<u64> = kv.get("n").await?;
    Ok(Event::inbound(json!({ "names": names, "n": n })))
}

/// Proves LN33: state in scopes, with a time to live, compare-and-set and limits; what is missing is said as missing;
/// it is there after a restart.
/// Proves P6c: keys have a time to live and change by compare-and-set, and a limit is checked before a write.
#[tokio::test]
async fn keys_have_scopes_revisions_a_time_to_live_and_limits() {
    let plugin = Plugin::new("chat")
        .on(On::new("agent.keep", keeps).name("keep"))
        .on(On::new("agent.look", looks).name("look"))
        .outbound(Outbound::new("chat", nothing));
    let broker = TestBroker::start(plugin).await;
    broker
        .publish("agent.keep", json!({}))
        .await
        .expect("durable");
    broker.settle().await;
    broker.restart().await;
    broker
        .publish("agent.look", json!({}))
        .await
        .expect("durable");
    let all = json!({ "names": ["k", "n", "short"], "n": 1 });
    broker.expect_published(INBOUND, all, "1s").await;
    broker.advance("31s").await;
    broker
        .publish("agent.look", json!({}))
        .await
        .expect("durable");
    let rest = json!({ "names": ["k", "n"], "n": 1 });
    broker.expect_published(INBOUND, rest, "1s").await;
    assert!(broker.dead_letters().await.is_empty());
}

async fn piece(message: Json) -> Result<Part> {
    let (seq, of) = (message["seq"].as_u64(), message["of"].as_u64());
    let mut part = Part::of("c", &message)?.group("album");
    (part.seq, part.total) = (seq, of);
    Ok(part)
}

async fn album(parts: Vec<Part<Json>>) -> Event {
    let media: Vec<_> = parts.iter().map(|part| part.data["part"].clone()).collect();
    let first = &parts[0].data;
    Event::inbound(json!({
        "text": first["text"], "reply_to": first["reply_to"], "parts": media, "conversation": { "id": "c" },
    }))
}

/// Proves P6b, media part: pictures, mentions and what is answered are in the whole as they were in its parts.
#[tokio::test]
async fn a_whole_keeps_media_mentions_and_what_it_answers() {
    let plugin = Plugin::new("chat")
        .on(On::new("agent.piece", piece).name("piece"))
        .assemble(Assemble::new("chat", album));
    let broker = TestBroker::start(plugin).await;
    let picture =
        json!({ "type": "image", "url": "https://x.example/a.png", "media_type": "image/png" });
    let mention = json!({ "type": "mention", "user": { "id": "u" } });
    for (seq, part) in [(2, &mention), (1, &picture)] {
        let text = (seq == 1).then_some("look");
        let answers = (seq == 1).then_some("m0");
        let piece = json!({ "seq": seq, "of": 2, "part": part, "text": text, "reply_to": answers });
        broker.publish("agent.piece", piece).await.expect("durable");
    }
    let whole = json!({ "text": "look", "reply_to": "m0", "parts": [picture, mention] });
    broker.expect_published(INBOUND, whole, "1s").await;
}

async fn asks_twice(_: Json, ctx: Context) -> Result<Event> {
    let api = ctx.http().at("https://api.example.com");
    for _ in 0..2 {
        api.get("/left").await?;
    }
    Ok(Event::inbound(json!({ "asked": 2 })))
}

/// A success that says that nothing is left holds up no call: only an answer that refuses does.
#[tokio::test]
async fn a_success_that_tells_of_limits_holds_up_no_call() {
    let plugin = Plugin::new("chat")
        .on(On::new("agent.ask", asks_twice).name("ask"))
        .outbound(Outbound::new("chat", nothing));
    let broker = TestBroker::start(plugin).await;
    let route = broker.http("https://api.example.com").on("GET", "/left");
    let route = route.reply(200).header("x-ratelimit-remaining", "0");
    let route = route.header("x-ratelimit-reset-after", "3600");
    broker
        .publish("agent.ask", json!({}))
        .await
        .expect("durable");
    broker
        .expect_published(INBOUND, json!({ "asked": 2 }), "1s")
        .await;
    assert_eq!(route.requests().len(), 2);
}

const DELIVERY: &str = "plugin.delivery.sms.*";

async fn start<Args: 'static>(send: impl trunkline::Handler<Args>) -> TestBroker {
    TestBroker::start(Plugin::new("sms").outbound(Outbound::new("sms", send))).await
}

/// Proves P7b, age: what is put off for longer than a day, however it is put off, is a dead letter, and its sender is
/// told; the provider is not called again.
#[tokio::test]
async fn who_is_put_off_for_a_day_is_given_up_and_said_to_be() {
    let calls = Arc::new(Mutex::new(0_u32));
    let counted = calls.clone();
    let send = move |_: Json| {
        *counted.lock().expect("no test panics with the lock") += 1;
        let later = Retry::after("7h").because("busy").uncounted();
        async move { Err::<(), _>(Failure::from(later)) }
    };
    let broker = start(send).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    broker.advance("23h").await;
    let made = *calls.lock().expect("no test panics with the lock");
    assert!(made >= 3, "{made}");
    assert!(broker.dead_letters().await.is_empty(), "it has its day");
    let failed = json!({ "state": "failed" });
    let receipt = broker.expect_published(DELIVERY, failed, "8h").await;
    let payload: Value = receipt.payload.json().expect("a receipt");
    assert_eq!(payload["error"]["class"], "too_old");
    let letters = broker.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason.as_str(), "too_old");
    let made = *calls.lock().expect("no test panics with the lock");
    let failed = json!({ "state": "failed" });
    broker.expect_nothing(DELIVERY, failed, "24h").await;
    assert_eq!(made, *calls.lock().expect("no test panics with the lock"));
}

/// Proves LN11: what killed its process twice, so that nobody knows whether it was sent, is `unknown`, once.
#[tokio::test]
async fn what_kills_its_process_twice_is_unknown() {
    let begun = Arc::new(tokio::sync::Semaphore::new(0));
    let (begins, goes_on) = (begun.clone(), Arc::new(tokio::sync::Notify::new()));
    let gate = goes_on.clone();
    let send = move |_: Json| {
        let (begins, gate) = (begins.clone(), gate.clone());
        async move {
            begins.add_permits(1);
            gate.notified().await;
            Ok("SM1") as Result<&str>
        }
    };
    let broker = start(send).await;
    let sending = broker.send("sms", "hi").to("+49").await.expect("durable");
    for _ in 0..2 {
        let calls = begun.acquire();
        let call = tokio::time::timeout(std::time::Duration::from_secs(20), calls).await;
        call.expect("it is called in time").expect("open").forget();
        broker.kill(KillAt::BeforeCommit);
        goes_on.notify_one();
        broker.advance("5s").await;
    }
    let receipt = broker.expect_published(DELIVERY, json!({}), "5m").await;
    assert_eq!(receipt.correlation_id.as_deref(), Some(sending.id()));
    let payload: Value = receipt.payload.json().expect("a receipt");
    assert_eq!(payload["state"], "unknown");
    assert_eq!(payload["error"]["class"], "crashed");
    assert_eq!(payload["error"]["code"], "delivery_unknown");
    broker.expect_nothing(DELIVERY, json!({}), "20m").await;
    assert_eq!(begun.available_permits(), 0, "nobody is called again");
    let letters = broker.dead_letters().await;
    assert_eq!(letters[0].reason.as_str(), "crashed");
}
