//! `ctx.http()` against real servers on this machine.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::context::InstanceContext;
use crate::http::{ANSWER_BYTES_MAX, Answer, Asked, Later, Missed, Network, Outside};
use crate::hub::{Hub, Role};
use crate::instance::InstanceCore;
use crate::{Code, Error, Json};

/// What a server does with one request.
enum Act {
    /// Sends these bytes and closes.
    Say(Vec<u8>),
    /// Sends these bytes, then as many more.
    Flood(Vec<u8>, usize),
    /// Breaks the connection with a reset.
    Reset,
    /// Takes the request and never answers.
    Hang,
}

fn say(head: &str, body: &str) -> Act {
    let length = body.len();
    let text =
        format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    Act::Say(text.into_bytes())
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Reads one request, head and body.
async fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap_or(0);
        bytes.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if count == 0 {
                return text;
            }
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().ok())?
        });
        if count == 0 || body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

/// Starts a server that does this, one request after the other; the last thing again and again.
async fn server(acts: Vec<Act>) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let noted = seen.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        for index in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let request = read(&mut stream).await;
            noted
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(request);
            match &acts[acts.len().min(index + 1) - 1] {
                Act::Say(bytes) => {
                    stream.write_all(bytes).await.ok();
                    stream.shutdown().await.ok();
                }
                Act::Flood(head, count) => {
                    stream.write_all(head).await.ok();
                    // The client hangs up in the middle.
                    stream.write_all(&vec![b'x'; *count]).await.ok();
                }
                Act::Reset => {
                    #[expect(deprecated, reason = "a zero linger does not block, it resets")]
                    stream.set_linger(Some(Duration::ZERO)).unwrap();
                }
                Act::Hang => held.push(stream),
            }
        }
    });
    (address, seen)
}

/// The network, whose waits take no time but count.
struct Hasty {
    network: Network,
    waits: Arc<Mutex<Vec<u64>>>,
}

impl Outside for Hasty {
    fn send(&self, asked: Asked) -> Later<'_, Result<Answer, Missed>> {
        self.network.send(asked)
    }

    fn wait(&self, wait: Duration) -> Later<'_, ()> {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.push(wait.as_millis() as u64);
        Box::pin(std::future::ready(()))
    }

    fn mono_ms(&self) -> u64 {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.iter().sum()
    }

    fn wall_ms(&self) -> u64 {
        0
    }
}

fn hasty(config: Json) -> (InstanceContext, Arc<Mutex<Vec<u64>>>) {
    let hub = Hub::new(Role::Plugin);
    let waits = Arc::<Mutex<Vec<u64>>>::default();
    let network = Network::new().unwrap();
    hub.set_outside(Arc::new(Hasty {
        network,
        waits: waits.clone(),
    }));
    let core = InstanceCore::new(hub);
    core.set_config(config);
    (InstanceContext::new(core), waits)
}

fn ctx() -> InstanceContext {
    hasty(json!({ "key": "sk-very-secret", "sid": "AC/9" })).0
}

#[tokio::test]
async fn a_call_says_what_was_declared_and_what_was_asked() {
    let (address, seen) = server(vec![say("200 OK\r\nx-kind: a", r#"{"n":7}"#)]).await;
    let base = format!("{address}/v1/{{config.sid}}");
    let api = ctx()
        .http()
        .at(base)
        .bearer("{config.key}")
        .header("x-app", "t");
    let call = api
        .post("/items?a=1")
        .query(json!({ "b": "x y" }))
        .json(json!({ "c": [1] }));
    let answer = call.header("x-one", "{config.key}").await.unwrap();
    assert_eq!((answer.status(), answer.header("X-Kind")), (200, Some("a")));
    assert_eq!(answer.json::<Json>().unwrap(), json!({ "n": 7 }));
    let request = &seen.all()[0];
    assert!(
        request.starts_with("POST /v1/AC%2F9/items?a=1&b=x+y HTTP/1.1\r\n"),
        "{request}"
    );
    for line in [
        "authorization: Bearer sk-very-secret\r\n",
        "x-app: t\r\n",
        // What a call adds is never filled in.
        "x-one: {config.key}\r\n",
        "content-type: application/json\r\n",
        "user-agent: trunkline/",
    ] {
        assert!(request.contains(line), "{line} in {request}");
    }
    assert!(request.ends_with(r#"{"c":[1]}"#), "{request}");
}

#[tokio::test]
async fn forms_bytes_and_basic_credentials_are_sent() {
    let (address, seen) = server(vec![say("200 OK", "")]).await;
    let api = ctx().http().at(&address).basic("me", "{config.key}");
    api.post("/f")
        .form(json!({ "To": "+1", "n": 2 }))
        .await
        .unwrap();
    api.put("/b")
        .body([0u8, 255])
        .header("content-type", "image/x")
        .await
        .unwrap();
    api.request("purge", "").await.unwrap();
    let seen = seen.all();
    assert!(
        seen[0].contains("authorization: Basic bWU6c2stdmVyeS1zZWNyZXQ=\r\n"),
        "{}",
        seen[0]
    );
    assert!(seen[0].ends_with("To=%2B1&n=2"), "{}", seen[0]);
    assert!(seen[1].contains("content-type: image/x\r\n"), "{}", seen[1]);
    assert!(seen[2].starts_with("PURGE / HTTP/1.1"), "{}", seen[2]);
}

/// Proves: an answer of 400 and up is an error that says where and what, and keeps secrets.
#[tokio::test]
async fn an_error_says_everything_but_secrets() {
    let body = "no such item for sk-very-secret";
    let (address, _) = server(vec![say("404 Not Found", body)]).await;
    let api = ctx().http().at(format!("{address}/bot{{config.key}}"));
    let error = api.get("/item?token=abc").await.unwrap_err();
    assert_eq!(
        (error.status(), error.class(), error.code()),
        (Some(404), "answered", Code::HttpError)
    );
    assert_eq!(error.body(), Some("no such item for ***"));
    assert_eq!(error.url(), format!("{address}/bot{{config.key}}/item"));
    assert_eq!(
        error.to_string(),
        format!("http_error: GET {} was answered with 404", error.url())
    );
    assert!(!error.is_retryable());
    let whole = format!("{error:?} {:?}", error.as_error());
    assert!(
        !whole.contains("very-secret") && !whole.contains("abc"),
        "{whole}"
    );
}

#[tokio::test]
async fn a_get_is_tried_again_and_waits_as_told() {
    let (ctx, waits) = hasty(json!({}));
    let limited = "429 Too Many Requests\r\nretry-after: 7";
    let (address, seen) = server(vec![
        say("502 Bad Gateway", ""),
        Act::Reset,
        say(limited, ""),
        say("200 OK", "done"),
    ])
    .await;
    let answer = ctx.http().get(&address).await.unwrap();
    assert_eq!((answer.text().as_ref(), seen.all().len()), ("done", 4));
    let waits = waits.lock().unwrap().clone();
    assert!(
        (400..=600).contains(&waits[0]) && (800..=1_200).contains(&waits[1]),
        "{waits:?}"
    );
    assert_eq!(waits[2], 7_000);
}

#[tokio::test]
async fn tries_end_with_their_number_and_with_the_time() {
    let (ctx, waits) = hasty(json!({}));
    let (address, seen) = server(vec![say("500 Oops", "")]).await;
    let error = ctx.http().get(&address).await.unwrap_err();
    assert_eq!((error.status(), seen.all().len()), (Some(500), 5));
    assert_eq!(waits.lock().unwrap().len(), 4);
    let (ctx, waits) = hasty(json!({}));
    let (address, seen) = server(vec![say("503 Busy\r\nretry-after: 600", "")]).await;
    let error = ctx.http().get(&address).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_mins(10)));
    assert_eq!((seen.all().len(), waits.lock().unwrap().len()), (1, 0));
}

/// Proves: only what may happen twice is sent twice.
#[tokio::test]
async fn a_post_is_sent_once_unless_it_has_a_key() {
    let (address, seen) = server(vec![Act::Reset, Act::Reset, say("201 Made", "{}")]).await;
    let error = ctx()
        .http()
        .at(&address)
        .post("/")
        .json(json!({}))
        .await
        .unwrap_err();
    assert_eq!((error.class(), error.status()), ("ambiguous", None));
    assert_eq!(seen.all().len(), 1);
    let call = ctx().http().at(&address).post("/").json(json!({ "a": 1 }));
    let answer = call.idempotency_key("k|1").await.unwrap();
    assert_eq!(answer.status(), 201);
    let seen = seen.all();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[1], seen[2]);
    assert!(seen[2].contains("idempotency-key: k|1\r\n"), "{}", seen[2]);
}

#[tokio::test]
async fn who_cannot_connect_has_sent_nothing() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let error = ctx()
        .http()
        .post(format!("http://{gone}/"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), "not_sent", "{error}");
    assert!(error.is_retryable());
    // A server that speaks no TLS.
    let (address, _) = server(vec![say("400 Bad Request", "")]).await;
    let https = address.replace("http:", "https:");
    let error = ctx().http().post(https).json(json!({})).await.unwrap_err();
    assert_eq!(error.class(), "not_sent", "{error}");
}

#[tokio::test]
async fn a_server_that_takes_the_call_and_is_silent_leaves_it_open() {
    let (address, _) = server(vec![Act::Hang]).await;
    let call = ctx()
        .http()
        .at(&address)
        .post("/pay")
        .json(json!({}))
        .timeout("150ms");
    let error = call.await.unwrap_err();
    assert_eq!(
        (error.class(), error.status()),
        ("ambiguous", None),
        "{error}"
    );
    assert!(error.to_string().contains("no answer within 1"), "{error}");
    // The head came, the rest did not.
    let (address, _) = server(vec![Act::Flood(
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n".to_vec(),
        3,
    )])
    .await;
    let error = ctx()
        .http()
        .at(&address)
        .post("/")
        .timeout("2s")
        .await
        .unwrap_err();
    assert_eq!(
        (error.class(), error.status()),
        ("ambiguous", Some(200)),
        "{error}"
    );
}

#[tokio::test]
async fn packed_answers_are_unpacked_and_large_ones_refused() {
    let packed: &[u8] = &[
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 202, 207, 86, 178, 42, 41, 42, 77, 173, 5, 0,
        144, 95, 212, 167, 11, 0, 0, 0,
    ];
    let mut answer =
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n".to_vec();
    answer.extend_from_slice(packed);
    let (address, seen) = server(vec![Act::Say(answer)]).await;
    let answer = ctx().http().get(&address).await.unwrap();
    assert_eq!(answer.json::<Json>().unwrap(), json!({ "ok": true }));
    assert!(
        seen.all()[0].contains("accept-encoding: gzip"),
        "{}",
        seen.all()[0]
    );
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    let (address, seen) = server(vec![Act::Flood(head, ANSWER_BYTES_MAX + 1)]).await;
    let error = ctx().http().get(&address).await.unwrap_err();
    assert_eq!(
        (error.class(), error.status()),
        ("answered", Some(200)),
        "{error}"
    );
    assert_eq!(seen.all().len(), 1);
}

#[tokio::test]
async fn redirects_are_followed_to_an_end_and_credentials_stay_at_home() {
    let (other, other_seen) = server(vec![say("200 OK", "there")]).await;
    let moved = format!("301 Moved\r\nlocation: {other}/new");
    let (address, _) = server(vec![say(&moved, "")]).await;
    let api = ctx()
        .http()
        .at(&address)
        .bearer("{config.key}")
        .header("x-key", "{config.key}");
    let answer = api.get("/old").await.unwrap();
    assert_eq!(
        (answer.text().as_ref(), answer.moved_to()),
        ("there", Some(&*format!("{other}/new")))
    );
    assert!(
        !other_seen.all()[0].contains("secret"),
        "{}",
        other_seen.all()[0]
    );
    let (address, seen) = server(vec![say("302 Found\r\nlocation: /again", "")]).await;
    let error = ctx().http().get(&address).await.unwrap_err();
    assert!(
        error.to_string().contains("redirected more than 5 times"),
        "{error}"
    );
    assert_eq!((seen.all().len(), error.is_retryable()), (6, false));
}

/// Proves: a guarded call reaches nothing on this machine or in its network, by no spelling.
#[tokio::test]
async fn a_guarded_call_leaves_only_for_public_addresses() {
    let (address, seen) = server(vec![say("200 OK", "")]).await;
    let port = address.rsplit(':').next().unwrap();
    for host in [
        "127.0.0.1",
        "localhost",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ] {
        let guarded = ctx().http().at(format!("http://{host}:{port}")).guard();
        let error = guarded.get("/").await.unwrap_err();
        assert_eq!(
            (error.class(), error.is_retryable()),
            ("not_sent", false),
            "{host}: {error}"
        );
        assert!(
            error.to_string().contains("public address"),
            "{host}: {error}"
        );
    }
    assert!(seen.all().is_empty());
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_before_anything_is_sent() {
    let http = ctx().http();
    let refused = |error: crate::HttpError| (error.code(), error.as_error().message.clone());
    let at = http.at("https://a.example/v1");
    for (call, code) in [
        (at.get("/../x"), Code::InvalidArguments),
        (at.get("https://b.example/"), Code::InvalidArguments),
        (at.get("/").header("a b", "c"), Code::InvalidArguments),
        (at.get("/").header("a", "c\r\nd: e"), Code::InvalidArguments),
        (at.get("/").timeout("soon"), Code::InvalidArguments),
        (at.request("GET IT", "/"), Code::InvalidArguments),
        (at.post("/").form(json!([1])), Code::InvalidArguments),
        (http.get("ftp://a.example/"), Code::InvalidArguments),
        (http.get("/x"), Code::InvalidArguments),
        (
            http.at("https://u:p@a.example").get("/"),
            Code::InvalidArguments,
        ),
        (
            http.at("https://a.example/{config.none}").get("/"),
            Code::ConfigInvalid,
        ),
        (
            at.clone().bearer("{config.none}").get("/"),
            Code::ConfigInvalid,
        ),
        (at.clone().bearer("a\nb").get("/"), Code::ConfigInvalid),
    ] {
        let (found, text) = refused(call.await.unwrap_err());
        assert_eq!(found, code, "{text}");
    }
    assert!(
        Error::from(at.get("/../x").await.unwrap_err())
            .message
            .contains("leads out")
    );
}
