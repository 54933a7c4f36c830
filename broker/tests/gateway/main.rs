//! Promise: HTTP gives what the socket gives, to whom the token says, and to nobody else.
//!
//! Each test starts a real `trunkline up` and speaks bytes to it. Nothing sleeps.

mod link;
#[path = "../operator/mod.rs"]
mod operator;
mod tls;
mod tools;
mod web;

use std::io::Write;
use std::net::TcpListener;

use operator::{Home, Up};
use serde_json::{Value, json};
use web::{Web, read_answer, until_closed};

const AGENT: &str = "agent-token-0123456789abcdef";
const HOLDER: &str = "holder-token-0123456789abcdef";
const JSON: &str = "application/json";

const CLIENT: &str = r#"
[[clients]]
name = "agent"
token = { file = "agent" }
scopes = ["read:agent.>", "publish:agent.>", "kv:", "call:pay.*"]
"#;

fn config(http: &str) -> String {
    format!("[http]\nlisten = \"127.0.0.1:0\"\n{http}\n{CLIENT}")
}

fn daemon(http: &str) -> (Home, Up, Web) {
    let home = Home::new(&config(http));
    home.write("agent", AGENT);
    let up = home.up();
    let web = Web::of(&home);
    (home, up, web)
}

fn publish(web: &Web, number: u64) -> u64 {
    let answer = web.post(
        AGENT,
        "/v1/publish",
        &json!({"topic": "agent.done", "payload": number}),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["seq"].as_u64().expect("a number")
}

/// Request line, headers, body, status, code.
type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str, u16, &'a str);

/// Proves S4: what a foreign page, a stranger or a client without the scope sends is refused, each with its
/// status, its code and the id of the request; nothing answers with a CORS header.
/// Proves LN60: authentication is always on.
#[test]
fn what_may_not_be_is_refused_in_one_form() {
    let (_home, up, web) = daemon("body_bytes_max = 2048\norigins = [\"https://console.example\"]");
    let bearer = format!("Bearer {AGENT}");
    let agent = ("Authorization", bearer.as_str());
    let json_type = ("Content-Type", JSON);
    let body = r#"{"topic":"agent.done"}"#;
    let huge = format!(
        r#"{{"topic":"agent.done","payload":"{}"}}"#,
        "x".repeat(4096)
    );
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    #[rustfmt::skip]
    let table: Vec<Row<'_>> = vec![
        ("GET /healthz", vec![("Host", "evil.example")], "", 421, "invalid_arguments"),
        ("GET /healthz", vec![("Host", "127.0.0.1.evil.example")], "", 421, "invalid_arguments"),
        ("GET /healthz", vec![("Host", "10.1.2.3")], "", 421, "invalid_arguments"),
        ("POST /v1/publish", vec![("Host", "evil.example"), agent, json_type], body, 421, "invalid_arguments"),
        ("GET /healthz", vec![("Origin", "http://evil.example")], "", 403, "unauthorized"),
        ("GET /healthz", vec![("Origin", "null")], "", 403, "unauthorized"),
        ("POST /v1/publish", vec![("Origin", "https://console.example.evil"), agent, json_type], body, 403, "unauthorized"),
        ("GET /v1/link", vec![("Origin", "http://evil.example"), upgrade[0], upgrade[1]], "", 403, "unauthorized"),
        ("GET /v1/link", vec![], "", 426, "invalid_arguments"),
        ("POST /v1/publish", vec![json_type], body, 401, "unauthorized"),
        ("POST /v1/publish", vec![("Authorization", "Bearer wrong"), json_type], body, 401, "unauthorized"),
        ("POST /v1/publish", vec![("Authorization", "Basic YTpi"), json_type], body, 401, "unauthorized"),
        ("POST /v1/publish", vec![agent, form], body, 415, "invalid_arguments"),
        ("POST /v1/publish", vec![agent, ("Content-Type", "text/plain")], body, 415, "invalid_arguments"),
        ("POST /v1/publish", vec![agent], body, 415, "invalid_arguments"),
        ("POST /v1/publish", vec![agent, json_type], "{", 400, "invalid_arguments"),
        ("POST /v1/publish", vec![agent, json_type], r#"{"topic":"agent.done","tpoic":1}"#, 400, "invalid_arguments"),
        ("POST /v1/publish", vec![agent, json_type], r#"{"topic":"agent..done"}"#, 400, "invalid_topic"),
        ("POST /v1/publish", vec![agent, json_type], r#"{"topic":"other.done"}"#, 403, "topic_not_granted"),
        ("POST /v1/publish", vec![agent, json_type], r#"{"topic":"broker.audit.dlq"}"#, 403, "topic_not_granted"),
        ("POST /v1/publish", vec![agent, json_type], &huge, 413, "frame_too_large"),
        ("GET /v1/events?token=abc", vec![agent], "", 400, "invalid_arguments"),
        ("GET /v1/events?access_token=abc", vec![], "", 400, "invalid_arguments"),
        ("GET /v1/events?filter=plugin.inbound.sms.a", vec![agent], "", 403, "topic_not_granted"),
        ("GET /v1/events?colour=red", vec![agent], "", 400, "invalid_arguments"),
        ("GET /v1/events", vec![agent, ("Last-Event-ID", "x")], "", 400, "invalid_arguments"),
        ("GET /v1/instances", vec![agent], "", 403, "unauthorized"),
        ("GET /v1/instances", vec![], "", 401, "unauthorized"),
        ("POST /v1/dead-letters/discard", vec![agent, json_type], r#"{"all":true}"#, 403, "unauthorized"),
        ("POST /v1/config/reload", vec![agent], "", 403, "unauthorized"),
        ("GET /v1/kv/client/none", vec![agent], "", 404, "not_found"),
        ("GET /v1/kv/instance/none", vec![agent], "", 400, "invalid_arguments"),
        ("GET /nowhere", vec![agent], "", 404, "not_found"),
        ("DELETE /v1/publish", vec![agent], "", 405, "invalid_arguments"),
        ("OPTIONS /v1/publish", vec![("Origin", "https://console.example")], "", 405, "invalid_arguments"),
    ];
    for (line, headers, body, status, code) in &table {
        let answer = web.send(line, headers, body);
        let row = format!("{line} {headers:?}: {answer:?}");
        assert_eq!(answer.status, *status, "{row}");
        assert_eq!(answer.code(), *code, "{row}");
        let id = answer.json()["error"]["request_id"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(answer.header("x-request-id"), Some(id.as_str()), "{row}");
        assert!(
            !answer
                .headers
                .iter()
                .any(|(name, _)| name.starts_with("access-control")),
            "{row}"
        );
        assert_eq!(
            answer.header("www-authenticate").is_some(),
            *status == 401,
            "{row}"
        );
        assert_eq!(answer.header("allow").is_some(), *status == 405, "{row}");
        assert!(!answer.body.contains(AGENT), "{row}");
    }
    for (line, headers) in [
        ("GET /healthz", vec![("Host", "localhost")]),
        ("GET /healthz", vec![("Host", "127.0.0.1")]),
        ("GET /healthz", vec![("Origin", "https://console.example")]),
        ("GET /v1/openapi.json", vec![]),
    ] {
        assert_eq!(
            web.send(line, &headers, "").status,
            200,
            "{line} {headers:?}"
        );
    }
    assert_eq!(up.stop(), 0);
}

#[test]
fn strangers_learn_whether_it_is_ready_and_not_what_is_there() {
    let (_home, up, web) = daemon("");
    let stranger = web.send("GET /readyz", &[], "");
    assert_eq!(
        (stranger.status, stranger.json()["durability"].clone()),
        (200, Value::Null)
    );
    assert_eq!(web.get(AGENT, "/readyz").json()["durability"], "fsync");
    assert_eq!(web.get("wrong", "/readyz").status, 401);
    assert_eq!(up.stop(), 0);
}

/// Proves W7 over HTTP: what was answered is stored, a repeat says so, and each event is seen once and in
/// order by a reader that was cut off and goes on with `Last-Event-ID`.
#[test]
fn a_reader_that_was_cut_off_goes_on_exactly() {
    let (_home, up, web) = daemon("");
    let seqs: Vec<u64> = (0..5).map(|number| publish(&web, number)).collect();
    let again = json!({"topic": "agent.done", "id": "same", "payload": 1});
    let first = web.post(AGENT, "/v1/publish", &again).json();
    let repeat = web.post(AGENT, "/v1/publish", &again).json();
    assert_eq!(
        (&first["seq"], &repeat["duplicate"]),
        (&repeat["seq"], &json!(true))
    );
    let bearer = format!("Bearer {AGENT}");
    let agent = ("Authorization", bearer.as_str());
    let mut stream = web.follow("GET /v1/events?start=earliest", &[agent], "");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let event = stream.next().unwrap();
        assert_eq!(event.data["topic"], "agent.done");
        seen.push(event.id);
    }
    drop(stream);
    let last = seen.last().unwrap().clone();
    // What the query says is where the first reader began; the header goes before it.
    let mut stream = web.follow(
        "GET /v1/events?start=earliest",
        &[agent, ("Last-Event-ID", &last)],
        "",
    );
    for _ in 0..4 {
        seen.push(stream.next().unwrap().id);
    }
    let live = publish(&web, 99);
    seen.push(stream.next().unwrap().id);
    let mut expected: Vec<String> = seqs.iter().map(u64::to_string).collect();
    expected.extend([first["seq"].to_string(), live.to_string()]);
    assert_eq!(seen, expected);
    let as_cloud = format!("GET /v1/events?format=cloudevents&start={live}&limit=1");
    let mut stream = web.follow(&as_cloud, &[agent], "");
    let event = stream.next().unwrap().data;
    assert_eq!(
        (&event["type"], &event["source"]),
        (&json!("agent.done"), &json!("/client/agent"))
    );
    assert_eq!(
        (&event["specversion"], &event["data"]),
        (&json!("1.0"), &json!(99))
    );
    assert_eq!(stream.next(), None, "the limit ends it");
    assert_eq!(up.stop(), 0);
}

/// Proves W7 over HTTP: a reader whose place is kept no more is told so before anything else, also when what is
/// older was held and is still there, and after a restart; one who missed nothing is told nothing.
#[test]
fn a_reader_that_comes_too_late_is_told_what_it_missed() {
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[store.retention.events]\nbytes = \"1MiB\"\n{CLIENT}\n\
         [[clients]]\nname = \"holder\"\ntoken = {{ file = \"holder\" }}\nscopes = [\"read:agent.kept\"]\n"
    );
    let home = Home::new(&text);
    home.write("agent", AGENT);
    home.write("holder", HOLDER);
    let up = home.up();
    let web = Web::of(&home);
    hold(&web, "agent.kept");
    let kept = web.post(AGENT, "/v1/publish", &json!({"topic": "agent.kept"}));
    let kept = kept.json()["seq"].as_u64().unwrap();
    let seen = publish(&web, 1);
    let bearer = format!("Bearer {AGENT}");
    let first_after = |web: &Web, seq: u64| {
        let last = seq.to_string();
        let headers = [("Authorization", bearer.as_str()), ("Last-Event-ID", &last)];
        let mut stream = web.follow("GET /v1/events?limit=1", &headers, "");
        stream.next().unwrap()
    };
    assert_eq!(first_after(&web, kept).id, seen.to_string());
    let big = json!({"topic": "agent.done", "payload": "x".repeat(200 << 10)});
    // Retention works by the clock; each round gives it more to do.
    let gap = loop {
        let posted = web.post(AGENT, "/v1/publish", &big);
        assert_eq!(posted.status, 200, "{posted:?}");
        let first = first_after(&web, seen);
        if first.name == "gap" {
            break first.data;
        }
    };
    assert_eq!(gap["after"], seen);
    assert!(gap["first"].as_u64().unwrap() > seen + 1, "{gap}");
    let mut stream = web.follow(
        "GET /v1/events?start=earliest&limit=1",
        &[("Authorization", &bearer)],
        "",
    );
    assert_eq!(stream.next().unwrap().id, kept.to_string(), "it is held");
    assert_eq!(up.stop(), 0);

    let up = home.up();
    let web = Web::of(&home);
    assert_eq!(first_after(&web, seen).name, "gap");
    let newest = publish(&web, 2);
    let next = publish(&web, 3);
    assert_eq!(first_after(&web, newest).id, next.to_string());
    assert_eq!(up.stop(), 0);
}

/// Subscribes and goes away: from here on events of the topic are held.
fn hold(web: &Web, topic: &str) {
    let mut socket = link::open(web, HOLDER);
    let subscribe = json!({"name": "late", "filters": [topic]});
    link::ask(&mut socket, 2, "broker.subscribe", &subscribe);
    let answer = link::hear(&mut socket);
    assert!(answer["result"].is_object(), "{answer}");
}

#[test]
fn cloud_events_come_in_in_every_mode() {
    let (_home, up, web) = daemon("");
    let event = |id: &str| {
        json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "agent.done",
        "subject": "s1", "correlationid": "c1", "data": {"n": 1}})
    };
    let one = web.put(
        AGENT,
        "POST /v1/publish",
        "application/cloudevents+json",
        &event("a").to_string(),
    );
    assert_eq!(one.status, 200, "{one:?}");
    let batch = json!([event("b"), event("c")]).to_string();
    let many = web.put(
        AGENT,
        "POST /v1/publish",
        "application/cloudevents-batch+json",
        &batch,
    );
    assert_eq!(
        many.json()["events"].as_array().unwrap().len(),
        2,
        "{many:?}"
    );
    let bearer = format!("Bearer {AGENT}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("ce-specversion", "1.0"),
        ("ce-id", "d"),
        ("ce-source", "/shop"),
        ("ce-type", "agent.done"),
        ("ce-subject", "K%C3%B6ln"),
        ("Content-Type", "text/plain"),
    ];
    assert_eq!(web.send("POST /v1/publish", &headers, "hello").status, 200);
    let mut bad = headers;
    bad[5].1 = "%C0%A0";
    assert_eq!(web.send("POST /v1/publish", &bad, "hello").status, 400);
    let batch = json!([event("e"), {"specversion": "1.0"}]).to_string();
    let refused = web.put(
        AGENT,
        "POST /v1/publish",
        "application/cloudevents-batch+json",
        &batch,
    );
    assert_eq!(
        (refused.status, &refused.json()["error"]["index"]),
        (400, &json!(1))
    );
    let mut stream = web.follow(
        "GET /v1/events?start=earliest&limit=4",
        &[("Authorization", &bearer)],
        "",
    );
    let events: Vec<Value> = std::iter::from_fn(|| stream.next())
        .map(|event| event.data)
        .collect();
    let ids: Vec<&Value> = events.iter().map(|event| &event["event"]["id"]).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    let first = &events[0]["event"];
    assert_eq!(
        (&first["session_id"], &first["correlation_id"]),
        (&json!("s1"), &json!("c1"))
    );
    assert_eq!(first["metadata"]["claimed_source"], "/shop");
    let last = &events[3]["event"];
    assert_eq!(
        (&last["session_id"], &last["payload"]),
        (&json!("K\u{f6}ln"), &json!("aGVsbG8="))
    );
    assert_eq!(up.stop(), 0);
}

#[test]
fn keys_are_kept_with_their_revisions() {
    let (_home, up, web) = daemon("");
    let put = |query: &str, value: &str| {
        web.put(
            AGENT,
            &format!("PUT /v1/kv/workspace/a%2Fb{query}"),
            JSON,
            value,
        )
    };
    let first = put("?if_revision=0", "123456789012345678901234567890");
    let revision = first.json()["revision"].as_u64().unwrap();
    assert_eq!(put("?if_revision=0", "1").status, 409);
    let got = web.get(AGENT, "/v1/kv/workspace/a%2Fb");
    assert!(
        got.body.contains("123456789012345678901234567890"),
        "{got:?}"
    );
    let next = put(&format!("?if_revision={revision}"), "null");
    assert_eq!(next.status, 200);
    let list = web
        .get(AGENT, "/v1/kv/workspace?prefix=a&values=true")
        .json();
    assert_eq!(list["entries"][0]["key"], "a/b");
    let bearer = format!("Bearer {AGENT}");
    let gone = web.send(
        "DELETE /v1/kv/workspace/a%2Fb",
        &[("Authorization", &bearer)],
        "",
    );
    assert_eq!(gone.status, 200);
    assert_eq!(web.get(AGENT, "/v1/kv/workspace/a%2Fb").status, 404);
    assert_eq!(up.stop(), 0);
}

/// What the document says of a body holds: `5.0` is a whole number, and what is no fault of the form is a 409.
#[test]
fn a_blob_that_cannot_be_kept_is_a_conflict() {
    let (_home, up, web) = daemon("");
    let owner = web.owner.clone();
    let announce = |body: &Value| web.post(&owner, "/v1/blobs", body);
    let placed = announce(&json!({"bytes": 5.0, "sha256": "a".repeat(64)}));
    assert_eq!(placed.status, 201, "{placed:?}");
    let upload = placed.json()["upload"].as_str().unwrap().to_owned();
    let path = format!("/v1/blobs/uploads/{upload}/finish");
    for (sha256, status, code) in [
        ("b".repeat(64), 409, "invalid_arguments"),
        ("b".repeat(63), 400, "invalid_arguments"),
    ] {
        let answer = web.post(&owner, &path, &json!({"sha256": sha256}));
        assert_eq!(
            (answer.status, &*answer.code()),
            (status, code),
            "{answer:?}"
        );
    }
    for (bytes, status, code) in [
        (json!(1_u64 << 50), 409, "quota_exceeded"),
        (json!(1_u64 << 53), 400, "invalid_arguments"),
        (json!(5.5), 400, "invalid_arguments"),
    ] {
        let answer = announce(&json!({ "bytes": bytes }));
        assert_eq!(
            (answer.status, &*answer.code()),
            (status, code),
            "{answer:?}"
        );
    }
    assert_eq!(up.stop(), 0);
}

/// Proves S4: what an operator does is recorded with who, what and how it ended, and shown to operators alone.
#[test]
fn what_an_operator_does_is_recorded() {
    let (_home, up, web) = daemon("");
    let refused = web.post(
        &web.owner,
        "/v1/dead-letters/replay",
        &json!({"id": "none"}),
    );
    assert_eq!(refused.status, 400, "{refused:?}");
    let done = web.post(
        &web.owner,
        "/v1/dead-letters/discard",
        &json!({"all": true}),
    );
    assert_eq!(done.status, 200, "{done:?}");
    let bearer = format!("Bearer {}", web.owner);
    let headers = [("Authorization", bearer.as_str())];
    let line = "GET /v1/events?filter=broker.audit.%3E&start=earliest&limit=2";
    let mut stream = web.follow(line, &headers, "");
    let records: Vec<Value> = std::iter::from_fn(|| stream.next())
        .map(|event| event.data["event"]["payload"].clone())
        .collect();
    assert_eq!(records[0]["who"], "client:owner");
    assert_eq!(
        (&records[0]["act"], &records[0]["result"]),
        (&json!("dlq.replay"), &json!("invalid_arguments"))
    );
    assert_eq!(records[0]["what"]["id"], "none");
    assert_eq!(
        (&records[1]["act"], &records[1]["result"]),
        (&json!("dlq.discard"), &json!("ok"))
    );
    let stranger = web.get(AGENT, "/v1/events?filter=broker.audit.%3E");
    assert_eq!(stranger.status, 403);
    up.wait_for("act=\"dlq.discard\"");
    assert_eq!(up.stop(), 0);
}

#[test]
fn slow_and_numerous_connections_are_bounded() {
    let (_home, up, web) = daemon(
        "header_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nconnections_per_source_max = 3",
    );
    let mut slow = web.dial();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc")
        .unwrap();
    assert!(
        !until_closed(&mut slow).contains("200"),
        "the head never came"
    );
    let mut slow = web.dial();
    let head = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {AGENT}\r\nContent-Type: \
         {JSON}\r\nContent-Length: 100\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(&mut std::io::BufReader::new(slow.try_clone().unwrap()));
    assert_eq!((answer.status, answer.code().as_str()), (408, "timed_out"));
    let mut slow = web.dial();
    slow.write_all(
        format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: {}\r\n\r\n",
            "x".repeat(64 << 10)
        )
        .as_bytes(),
    )
    .unwrap();
    assert!(until_closed(&mut slow).contains("431"));
    let bearer = format!("Bearer {AGENT}");
    let headers = [("Authorization", bearer.as_str())];
    let held: Vec<_> = (0..3)
        .map(|_| web.follow("GET /v1/events", &headers, ""))
        .collect();
    let mut another = web.dial();
    assert_eq!(until_closed(&mut another), "", "one address has three");
    drop(held);
    assert_eq!(up.stop(), 0);
}

/// Proves LN60: loopback by default, and no token on an open network without TLS.
#[test]
fn a_listener_that_is_not_safe_or_not_free_is_refused_with_what_to_do() {
    let home = Home::new("[http]\nlisten = \"0.0.0.0:0\"\n");
    let ran = home.run(&["config", "check"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.stdout.contains("insecure_listen") && ran.stdout.contains("tls_cert"),
        "{ran:?}"
    );
    home.write(
        "trunkline.toml",
        "[http]\nlisten = \"0.0.0.0:0\"\nbehind_proxy = true\n",
    );
    assert_eq!(home.run(&["config", "check"]).status, 0);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    home.write(
        "trunkline.toml",
        &format!("[http]\nlisten = \"{address}\"\n"),
    );
    let ran = home.run(&["up"]);
    assert_eq!(ran.status, 78, "{ran:?}");
    assert!(
        ran.stderr.contains("in use") && ran.stderr.contains("http.listen"),
        "{ran:?}"
    );
    let default = home.run(&["config", "explain"]).stdout;
    home.write("trunkline.toml", "");
    let explained = home.run(&["config", "explain"]).stdout;
    assert!(explained.contains("127.0.0.1:7711"), "{default}");
}

#[test]
fn http_is_served_on_a_unix_socket_or_not_at_all() {
    let home = Home::new("[http]\nlisten = \"unix:<data_dir>/http.sock\"\n");
    let up = home.up();
    let path = home.path().join(".trunkline/http.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let answer = read_answer(&mut std::io::BufReader::new(stream));
    assert_eq!(answer.status, 200);
    assert!(home.run(&["status"]).stdout.contains("http    unix:"));
    assert_eq!(up.stop(), 0);
    assert!(!path.exists());
    home.write("trunkline.toml", "[http]\nlisten = \"off\"\n");
    let up = home.up();
    assert!(!home.path().join(".trunkline/http.addr").exists());
    assert_eq!(up.stop(), 0);
}
