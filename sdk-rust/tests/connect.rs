//! Connections of a plugin against real sockets and the real broker in memory, through the public API alone.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use trunkline::testing::TestBroker;
use trunkline::{Batch, Connect, Context, Event, Json, Outbound, Plugin, Reject, Result, Retry};

type Socket = WebSocketStream<TcpStream>;

const PATIENCE: Duration = Duration::from_secs(20);

async fn frame(f: Json, ctx: Context) -> Result<Option<Batch>> {
    Ok(match f["op"].as_str().unwrap_or_default() {
        "message" => Some(
            Batch::new([Event::inbound(json!({ "text": f["text"] }))])
                .cursor(&f["seq"])
                .ack(json!({ "op": "ack", "seq": f["seq"] })),
        ),
        "reconnect" => return Err(Retry::after("0s").because("the server asked").into()),
        "invalid" => Some(Batch::default().cursor(Json::Null).again("10ms")),
        "poison" => return Err(Reject::new("nobody can read this").into()),
        "hello" => {
            let every = f["every"].as_str().unwrap_or("30s");
            let beat = json!({ "op": "beat", "seq": "{cursor}" });
            ctx.conn()
                .heartbeat(every, beat, json!({ "op": "beat_ack" }));
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

struct Gateway(TcpListener);

impl Gateway {
    async fn new() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        (Self(listener), format!("ws://127.0.0.1:{port}/v1"))
    }

    /// Waits for a connection, and for its login; gives what it wants to resume from.
    async fn accept(&self, every: &str) -> (Socket, Value) {
        let accepted = tokio::time::timeout(PATIENCE, self.0.accept()).await;
        let (stream, _) = accepted.expect("a connection in time").expect("accepted");
        let mut socket = tokio_tungstenite::accept_async(stream)
            .await
            .expect("a handshake");
        tell(&mut socket, &json!({ "op": "hello", "every": every })).await;
        let login = hear(&mut socket, "login").await;
        (socket, login["resume"].clone())
    }
}

async fn tell(socket: &mut Socket, frame: &Value) {
    let sent = socket.send(Message::text(frame.to_string())).await;
    sent.expect("sent");
}

fn message(seq: u64) -> Value {
    json!({ "op": "message", "seq": seq, "text": format!("m{seq}") })
}

/// Waits for a frame of this kind; the others are left out.
async fn hear(socket: &mut Socket, op: &str) -> Value {
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next()).await;
        let next = next.expect("a frame in time").expect("open").expect("read");
        if let Message::Text(text) = next {
            let frame: Value = serde_json::from_str(&text).expect("JSON");
            if frame["op"] == op {
                return frame;
            }
        }
    }
}

fn plugin(url: &str) -> Plugin {
    let connect = Connect::new("chat", url, frame)
        .backoff("5ms", "20ms")
        .fatal(&[4004]);
    Plugin::new("chat")
        .connect(connect)
        .outbound(Outbound::new("chat", say))
}

async fn published(broker: &TestBroker, text: &str) -> trunkline::Event<trunkline::Bytes> {
    broker
        .expect_published("plugin.inbound.chat.*", json!({ "text": text }), "1s")
        .await
}

/// Proves P5b, Rust part: the resume token is committed with the events, the ack follows them, and what
/// the server says again is one event.
#[tokio::test]
async fn a_connection_resumes_where_the_events_are_durable() {
    let (gateway, url) = Gateway::new().await;
    let broker = TestBroker::start(plugin(&url)).await;
    let (mut socket, resume) = gateway.accept("30s").await;
    assert_eq!(resume, Value::Null);
    tell(&mut socket, &message(1)).await;
    assert_eq!(hear(&mut socket, "ack").await["seq"], 1);
    published(&broker, "m1").await;
    drop(socket);
    let (mut socket, resume) = gateway.accept("30s").await;
    assert_eq!(resume, 1);
    tell(&mut socket, &message(1)).await;
    tell(&mut socket, &message(2)).await;
    hear(&mut socket, "ack").await;
    assert_eq!(hear(&mut socket, "ack").await["seq"], 2);
    published(&broker, "m2").await;
    broker
        .expect_nothing("plugin.inbound.chat.*", json!({ "text": "m1" }), "100ms")
        .await;
}

/// Proves P5a, Rust part: the new socket is up before the old one closes.
#[tokio::test]
async fn in_a_refresh_both_live_until_the_new_one_is_there() {
    let (gateway, url) = Gateway::new().await;
    let broker = TestBroker::start(plugin(&url)).await;
    let (mut old, _) = gateway.accept("30s").await;
    tell(&mut old, &message(1)).await;
    tell(&mut old, &json!({ "op": "reconnect" })).await;
    hear(&mut old, "ack").await;
    let (mut new, resume) = gateway.accept("30s").await;
    assert_eq!(resume, 1);
    let closed = tokio::time::timeout(PATIENCE, old.next()).await;
    assert!(
        matches!(closed, Ok(Some(Ok(Message::Close(_))))),
        "{closed:?}"
    );
    tell(&mut new, &message(2)).await;
    hear(&mut new, "ack").await;
    published(&broker, "m2").await;
}

/// Proves P5b, Rust part: a connection that is silently dead is found by its heartbeat.
#[tokio::test]
async fn a_silent_death_is_found_by_the_heartbeat() {
    let (gateway, url) = Gateway::new().await;
    let _broker = TestBroker::start(plugin(&url)).await;
    let (mut stalled, _) = gateway.accept("100ms").await;
    let beat = hear(&mut stalled, "beat").await;
    assert_eq!(beat, json!({ "op": "beat", "seq": null }));
    // It says nothing more, and does not close.
    let (_socket, _) = gateway.accept("30s").await;
}

/// Proves P5d, Rust part: what is sent outside in the gap waits, and is not counted as failed.
#[tokio::test]
async fn an_outbound_event_waits_for_the_connection() {
    let (gateway, url) = Gateway::new().await;
    let broker = TestBroker::start(plugin(&url)).await;
    let (socket, _) = gateway.accept("30s").await;
    drop(gateway);
    drop(socket);
    let sending = broker.send("chat", "hi").to("c1").await.expect("durable");
    broker
        .expect_nothing(
            "plugin.delivery.chat.*",
            json!({ "state": "failed" }),
            "200ms",
        )
        .await;
    let port: u16 = url
        .split(['/', ':'])
        .find_map(|part| part.parse().ok())
        .expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .expect("the port again");
    let gateway = Gateway(listener);
    let (mut socket, _) = gateway.accept("30s").await;
    // The event comes again on the broker's clock.
    broker.advance("3s").await;
    let said = hear(&mut socket, "say").await;
    assert_eq!(said["text"], "hi");
    let sent = broker
        .expect_published("plugin.delivery.chat.*", json!({ "state": "sent" }), "1s")
        .await;
    assert_eq!(sent.correlation_id.as_deref(), Some(sending.id()));
}

/// Proves P5a, Rust part: a fatal close code ends the attempts.
#[tokio::test]
async fn a_fatal_code_is_not_tried_again() {
    let (gateway, url) = Gateway::new().await;
    let _broker = TestBroker::start(plugin(&url)).await;
    let (mut socket, _) = gateway.accept("30s").await;
    let frame = CloseFrame {
        code: 4004.into(),
        reason: "bad token".into(),
    };
    socket.close(Some(frame)).await.expect("closed");
    let again = tokio::time::timeout(Duration::from_millis(500), gateway.0.accept()).await;
    assert!(again.is_err(), "nobody connects again");
}

#[tokio::test]
async fn a_refused_frame_becomes_a_dead_letter_and_the_next_is_handled() {
    let (gateway, url) = Gateway::new().await;
    let broker = TestBroker::start(plugin(&url)).await;
    let (mut socket, _) = gateway.accept("30s").await;
    tell(&mut socket, &json!({ "op": "poison" })).await;
    let sent = socket.send(Message::text("no json")).await;
    sent.expect("sent");
    tell(&mut socket, &message(1)).await;
    hear(&mut socket, "ack").await;
    published(&broker, "m1").await;
    let dead = broker.dead_letters().await;
    assert_eq!(dead.len(), 2, "{dead:?}");
}

async fn event(f: Json) -> Result<Event> {
    Ok(Event::inbound(json!({ "text": f["data"]["text"] })))
}

/// Proves P5c, Rust part: the cursor of an event stream is its `Last-Event-ID`.
#[tokio::test]
async fn an_event_stream_resumes_after_its_last_event() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let connect = Connect::new("chat", format!("http://127.0.0.1:{port}/events"), event)
        .backoff("5ms", "20ms")
        .header("authorization", "Bearer {config.token}");
    let plugin = Plugin::new("chat").connect(connect);
    let broker = TestBroker::start(plugin)
        .config(json!({ "token": "t" }))
        .await;
    for (seq, last) in [(1, None), (2, Some("1")), (3, Some("2"))] {
        let (mut stream, _) = tokio::time::timeout(PATIENCE, listener.accept())
            .await
            .expect("in time")
            .expect("accepted");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a request"));
        }
        let head = String::from_utf8(head).expect("text").to_lowercase();
        assert!(head.contains("authorization: bearer t\r\n"), "{head}");
        let found = head
            .lines()
            .find_map(|line| line.strip_prefix("last-event-id: "));
        assert_eq!(found, last);
        // Who asks for what follows has what came before, durably.
        if let Some(last) = last {
            published(&broker, &format!("e{last}")).await;
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hi\nretry: 1\nid: {seq}\ndata: {{\"text\": \"e{seq}\"}}\n\n"
        );
        stream.write_all(answer.as_bytes()).await.expect("written");
    }
}

async fn line(line: String, ctx: Context) -> Result<Option<Event>> {
    if let Some(token) = line.strip_prefix("PING ") {
        ctx.conn().send(format!("PONG {token}")).await?;
        return Ok(None);
    }
    Ok(Some(Event::inbound(json!({ "text": line }))))
}

#[tokio::test]
async fn lines_are_frames_and_two_equal_ones_are_two_events() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let connect = Connect::new("chat", format!("tcp://127.0.0.1:{port}"), line);
    let broker = TestBroker::start(Plugin::new("chat").connect(connect)).await;
    let (stream, _) = tokio::time::timeout(PATIENCE, listener.accept())
        .await
        .expect("in time")
        .expect("accepted");
    let mut stream = BufReader::new(stream);
    stream
        .write_all(b"PING 7\r\nhi\r\nhi\nPING 8\r\n")
        .await
        .expect("written");
    for expected in ["PONG 7\r\n", "PONG 8\r\n"] {
        let mut answer = String::new();
        stream.read_line(&mut answer).await.expect("an answer");
        assert_eq!(answer, expected);
    }
    published(&broker, "hi").await;
    published(&broker, "hi").await;
}
