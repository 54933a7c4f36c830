//! Connections of a plugin to servers that the test plays, on the test's clock.

use std::sync::Mutex;

use serde_json::json;
use trunkline::testing::{KillAt, TestBroker};
use trunkline::{
    Batch, Connect, Context, Event, Fatal, InstanceContext, Json, Outbound, Plugin, Result, Retry,
};

const GATEWAY: &str = "wss://gateway.example.com/v1";

async fn frame(f: Json, ctx: Context) -> Result<Option<Batch>> {
    Ok(match f["op"].as_str().unwrap_or_default() {
        "message" => Some(
            Batch::new([Event::inbound(json!({ "text": f["text"] }))])
                .cursor(&f["seq"])
                .ack(json!({ "op": "ack", "seq": f["seq"] })),
        ),
        "reconnect" => return Err(Retry::after("0s").because("the server asked").into()),
        "hello" => {
            let beat = json!({ "op": "beat", "seq": "{cursor}" });
            ctx.conn()
                .heartbeat("30s", beat, json!({ "op": "beat_ack" }));
            let login = json!({ "op": "login", "resume": ctx.conn().cursor::<u64>() });
            ctx.conn().send(login).await?;
            None
        }
        _ => None,
    })
}

async fn say(message: Json, ctx: Context) -> Result<()> {
    ctx.conn()
        .send(json!({ "op": "say", "text": message["text"] }))
        .await?;
    Ok(())
}

fn plugin() -> Plugin {
    let connect = Connect::new("chat", GATEWAY, frame)
        .header("authorization", "Bearer {config.token}")
        .subprotocol("chat.v2")
        .fatal(&[4004]);
    Plugin::new("chat")
        .connect(connect)
        .outbound(Outbound::new("chat", say))
}

async fn started() -> TestBroker {
    TestBroker::start(plugin())
        .config(json!({ "token": "t" }))
        .await
}

fn message(seq: u64) -> Json {
    json!({ "op": "message", "seq": seq, "text": format!("m{seq}") })
}

/// Proves P5b, Rust part, on a played socket: the cursor is resumed from, and the ack follows the
/// commit.
#[tokio::test]
async fn a_test_plays_a_gateway_without_a_network() {
    let broker = started().await;
    let gateway = broker.socket("wss://gateway.example.com");
    let conn = gateway.accept("5s").await;
    assert_eq!(conn.url(), GATEWAY);
    assert_eq!(conn.headers()["authorization"], "Bearer t");
    assert_eq!(conn.headers()["sec-websocket-protocol"], "chat.v2");
    conn.send(json!({ "op": "hello" }));
    let login = conn.expect(json!({ "op": "login" }), "1s").await;
    assert_eq!(login["resume"], Json::Null);
    conn.send(message(7));
    conn.expect(json!({ "op": "ack", "seq": 7 }), "1s").await;
    broker
        .expect_published("plugin.inbound.chat.*", json!({ "text": "m7" }), "1s")
        .await;
    let sending = broker.send("chat", "hi").to("c1").await.expect("durable");
    conn.expect(json!({ "op": "say", "text": "hi" }), "1s")
        .await;
    let sent = broker
        .expect_published("plugin.delivery.chat.*", json!({ "state": "sent" }), "1s")
        .await;
    assert_eq!(sent.correlation_id.as_deref(), Some(sending.id()));

    conn.close(1006, "gone");
    let again = gateway.accept("2s").await;
    again.send(json!({ "op": "hello" }));
    again.expect_where(|frame| frame["resume"] == 7, "1s").await;
}

/// Proves P5b, Rust part, on a played socket: silence is found within two intervals of the
/// heartbeat, and not before the first.
#[tokio::test]
async fn a_stalled_connection_is_found_on_the_clock_of_the_test() {
    let broker = started().await;
    let gateway = broker.socket(GATEWAY);
    let conn = gateway.accept("5s").await;
    conn.send(json!({ "op": "hello" }));
    conn.expect(json!({ "op": "login" }), "1s").await;
    for _ in 0..4 {
        conn.expect(json!({ "op": "beat" }), "31s").await;
        conn.send(json!({ "op": "beat_ack" }));
    }
    conn.stall();
    broker.advance("25s").await;
    broker.send("chat", "hi").to("c1").await.expect("durable");
    conn.expect(json!({ "op": "say" }), "1s").await;
    let again = gateway.accept("62s").await;
    again.send(json!({ "op": "hello" }));
    again.expect(json!({ "op": "login" }), "1s").await;
    conn.expect_closed("10s").await;
}

#[tokio::test]
async fn a_quiet_server_is_asked_for_a_sign_of_life_and_a_dead_one_is_left() {
    let broker = started().await;
    let gateway = broker.socket(GATEWAY);
    let conn = gateway.accept("5s").await;
    broker.advance("5m").await;
    conn.send(message(1));
    conn.expect(json!({ "op": "ack" }), "1s").await;
    conn.stall();
    gateway.accept("62s").await;
}

/// Proves P5a, Rust part, on a played socket: the new one is up before the old one closes, and a
/// fatal code is not tried again.
#[tokio::test]
async fn a_refresh_overlaps_and_a_fatal_code_ends_it() {
    let broker = started().await;
    let gateway = broker.socket(GATEWAY);
    let old = gateway.accept("5s").await;
    old.send(message(1));
    old.send(json!({ "op": "reconnect" }));
    let new = gateway.accept("5s").await;
    old.expect(json!({ "op": "ack", "seq": 1 }), "1s").await;
    assert_eq!(old.expect_closed("5s").await.0, Some(4000));
    new.send(message(2));
    new.expect(json!({ "op": "ack", "seq": 2 }), "1s").await;
    new.close(4004, "bad token");
    broker.advance("5m").await;
    let missed = tokio::spawn(async move {
        gateway_is_left(&broker).await;
    });
    let missed = missed.await.expect_err("nobody connects again");
    let text = text_of(missed);
    assert!(
        text.contains("expected a connection to wss://gateway.example.com/v1 within 1s")
            && text.contains("the plugin does not try to connect"),
        "{text}"
    );
}

async fn gateway_is_left(broker: &TestBroker) {
    broker.socket(GATEWAY).accept("1s").await;
}

fn text_of(error: tokio::task::JoinError) -> String {
    let panic = error.into_panic();
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "no text".to_owned())
}

#[tokio::test]
async fn a_connection_that_nobody_plays_fails_the_test() {
    let broker = started().await;
    let missed = tokio::spawn(async move {
        broker.socket("wss://other.example.com").accept("1s").await;
    });
    let text = text_of(missed.await.expect_err("nobody plays it"));
    assert!(
        text.contains("the plugin connects to wss://gateway.example.com/v1, which nobody plays")
            && text.contains("broker.socket(\"wss://gateway.example.com\")"),
        "{text}"
    );
}

async fn event(f: Json) -> Result<Event> {
    Ok(Event::inbound(
        json!({ "text": f["data"]["text"], "event": f["event"] }),
    ))
}

/// Proves P5c, Rust part, on a played stream: the next request names the last event.
#[tokio::test]
async fn an_event_stream_is_played_with_its_ids() {
    let connect = Connect::new("chat", "https://api.example.com/events", event);
    let broker = TestBroker::start(Plugin::new("chat").connect(connect)).await;
    let stream = broker.socket("https://api.example.com/events");
    let conn = stream.accept("5s").await;
    assert!(!conn.headers().contains_key("last-event-id"));
    let data = json!({ "text": "a" });
    conn.send(json!({ "event": "add", "id": "41", "data": data, "retry": 250 }));
    broker
        .expect_published(
            "plugin.inbound.chat.*",
            json!({ "text": "a", "event": "add" }),
            "1s",
        )
        .await;
    // Data alone has no id: the last one stays.
    conn.send(json!({ "text": "b" }));
    broker
        .expect_published(
            "plugin.inbound.chat.*",
            json!({ "text": "b", "event": "message" }),
            "1s",
        )
        .await;
    conn.close(0, "");
    broker.advance("200ms").await;
    let again = stream.accept("1s").await;
    assert_eq!(again.headers()["last-event-id"], "41");
}

async fn line(line: String, ctx: Context) -> Result<Option<Event>> {
    if let Some(token) = line.strip_prefix("PING ") {
        ctx.conn().send(format!("PONG {token}")).await?;
        return Ok(None);
    }
    Ok(Some(Event::inbound(json!({ "text": line }))))
}

#[tokio::test]
async fn lines_are_played_with_their_greeting() {
    let connect =
        Connect::new("irc", "tls://irc.example.com:6697", line).greeting("NICK {config.nick}");
    let broker = TestBroker::start(Plugin::new("irc").connect(connect))
        .config(json!({ "nick": "bot" }))
        .await;
    let conn = broker
        .socket("tls://irc.example.com:6697")
        .accept("5s")
        .await;
    conn.expect("NICK bot", "1s").await;
    conn.send("PING 7");
    conn.expect("PONG 7", "1s").await;
    conn.send("hi");
    broker
        .expect_published("plugin.inbound.irc.*", json!({ "text": "hi" }), "1s")
        .await;
}

/// Proves P5c, Rust part, on played sockets: of two instances with one credential one is connected
/// at a time.
#[tokio::test]
async fn two_instances_of_one_credential_take_turns() {
    let connect = Connect::new("chat", GATEWAY, frame)
        .credential("{config.token}")
        .fatal(&[4004]);
    let broker = TestBroker::start(Plugin::new("chat").connect(connect))
        .config(json!({ "token": "t" }))
        .instances(["a", "b"])
        .await;
    let gateway = broker.socket(GATEWAY);
    let conn = gateway.accept("5s").await;
    broker.advance("1m").await;
    conn.send(message(1));
    conn.expect(json!({ "op": "ack", "seq": 1 }), "1s").await;
    conn.close(4004, "bad token");
    let conn = gateway.accept("2s").await;
    conn.send(json!({ "op": "hello" }));
    conn.expect(json!({ "op": "login" }), "1s").await;
}

/// The instances that were started, one entry for each start.
static STARTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

async fn start_once(ctx: InstanceContext) -> Result<()> {
    let mut starts = STARTS.lock().expect("no test panics with the lock");
    let is_again = starts.iter().any(|one| one == ctx.instance());
    starts.push(ctx.instance().to_owned());
    if is_again {
        return Err(Fatal::new("it does not come back").into());
    }
    Ok(())
}

/// Proves P5c: when the process that has a credential's connection is killed, the other one takes
/// over once the lock has run out, not before, and goes on where its own cursor is.
#[tokio::test]
async fn another_process_takes_over_when_the_first_is_killed() {
    let connect = Connect::new("chat", GATEWAY, frame).credential("{config.token}");
    let plugin = Plugin::new("chat")
        .on_start(start_once)
        .connect(connect)
        .outbound(Outbound::new("chat", say));
    let broker = TestBroker::start(plugin)
        .config(json!({ "token": "t" }))
        .instances(["a", "b"])
        .await;
    let gateway = broker.socket(GATEWAY);
    let first = gateway.accept("5s").await;
    first.send(message(1));
    let found = broker
        .expect_published("plugin.inbound.chat.*", json!({ "text": "m1" }), "1s")
        .await;
    let holder = found.topic.rsplit('.').next().expect("its instance");
    let other = if holder == "a" { "b" } else { "a" };
    broker.advance("2m").await;

    broker.kill(KillAt::InHandler);
    let killer = broker.send("chat", "hi").to("c1").instance(holder);
    killer.await.expect("durable");
    broker.settle().await;
    let (_, reason) = first.expect_closed("0s").await;
    assert_eq!(reason, "dropped by the plugin", "it says no goodbye");
    // The lock outlives its holder by 20 s at least, and by 30 s at most.
    assert!(gateway.try_accept("19s").await.is_none(), "not before");
    let second = gateway.accept("12s").await;
    let starts = STARTS.lock().expect("no test panics with the lock").clone();
    assert_eq!(starts.len(), 3, "it was killed: {starts:?}");
    second.send(message(2));
    broker
        .expect_published(
            &format!("plugin.inbound.chat.{other}"),
            json!({ "text": "m2" }),
            "1s",
        )
        .await;
}

/// Proves P5c: a process that slept through its lock, so that the other one is connected by now, makes nothing durable of
/// what it still hears, and closes its connection.
#[tokio::test]
async fn a_connection_whose_lock_is_lost_commits_nothing() {
    let connect = Connect::new("chat", GATEWAY, frame).credential("{config.token}");
    let broker = TestBroker::start(Plugin::new("chat").connect(connect))
        .config(json!({ "token": "t" }))
        .instances(["a", "b"])
        .await;
    let gateway = broker.socket(GATEWAY);
    let first = gateway.accept("5s").await;
    first.send(message(1));
    let inbound = "plugin.inbound.chat.*";
    let m1 = broker
        .expect_published(inbound, json!({ "text": "m1" }), "1s")
        .await;
    broker.sleep_through_locks(true);
    let second = gateway.accept("40s").await;
    first.send(message(2));
    first.expect_closed("1s").await;
    broker.sleep_through_locks(false);
    broker
        .expect_nothing(inbound, json!({ "text": "m2" }), "1s")
        .await;
    second.send(message(3));
    let m3 = broker
        .expect_published(inbound, json!({ "text": "m3" }), "1s")
        .await;
    assert_ne!(m1.topic, m3.topic, "it is the other's");
}

async fn address(ctx: InstanceContext) -> Result<String> {
    let opened = ctx.http().post("https://chat.example.com/open").await?;
    Ok(opened.json::<Json>()?["url"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

#[tokio::test]
async fn a_connection_that_asks_for_its_address_is_answered_by_the_test_afterwards() {
    let connect = Connect::at("chat", address, frame);
    let broker = TestBroker::start(Plugin::new("chat").connect(connect)).await;
    // What it asked has no answer yet.
    broker.settle().await;
    let answer = broker.http("https://chat.example.com").on("POST", "/open");
    let asked = answer.reply(200).json(json!({ "url": GATEWAY }));
    broker.socket(GATEWAY).accept("1s").await;
    assert_eq!(asked.requests().len(), 1);
}

/// Proves P5d: an orderly stop closes the connection with the code that ends the session, and where there is something to
/// go on from, with the one that keeps it.
#[tokio::test]
async fn a_stop_says_goodbye_and_keeps_the_session_it_can_go_on_with() {
    let broker = started().await;
    let gateway = broker.socket(GATEWAY);
    let conn = gateway.accept("5s").await;
    conn.send(json!({ "op": "hello" }));
    conn.expect(json!({ "op": "login" }), "1s").await;
    broker.stop_in_order().await;
    let leaving = |code: u16| (Some(code), "leaving".to_owned());
    assert_eq!(conn.expect_closed("1s").await, leaving(1000));

    let conn = gateway.accept("5s").await;
    conn.send(message(7));
    conn.expect(json!({ "op": "ack", "seq": 7 }), "1s").await;
    broker.stop_in_order().await;
    assert_eq!(conn.expect_closed("1s").await, leaving(4000));
    let again = gateway.accept("5s").await;
    again.send(json!({ "op": "hello" }));
    again.expect_where(|frame| frame["resume"] == 7, "1s").await;
}
