//! Promise: each gate before a webhook answers with its own status, and no sender, slow or many, takes the daemon's
//! memory or keeps others out.

#![expect(
    clippy::disallowed_methods,
    reason = "the suite measures how long an answer takes"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_tests::daemon::Daemon;
use trunkline_tests::webhooks::{Answered, Site, read, signed};
use trunkline_tests::wire::{Incoming, Peer, Subscribe};

const PATIENCE: Duration = Duration::from_secs(30);

const MORE: &str = "\n[[webhooks]]\nkind = \"shop\"\nname = \"strict\"\nverify = \"github\"\n\
    secret = \"{config.key}\"\ncontent_types = [\"application/json\"]\nbody_bytes_max = 1000\n\
    [[webhooks]]\nkind = \"shop\"\nname = \"meta\"\nverify = \"meta\"\nsecret = \"{config.key}\"\n\
    verify_token = \"{config.key}\"\n";
const STRICT: &str = "/hooks/shop/main/strict";

fn json(id: &str, body: &[u8]) -> Vec<(String, String)> {
    let mut headers = signed(id, body);
    headers.push(("content-type".into(), "application/json".into()));
    headers
}

fn borrowed(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect()
}

/// Proves P2d: 404, 405 with `Allow`, 411, 413 before and while the body is read, 415, 429 with `Retry-After`.
/// Proves P2a: 401 for another signature and for none, 400 for what is none.
/// Proves P2e: Meta's GET is answered when it brings its word.
/// Proves P2f: the path names kind, instance and webhook; a kind's only instance may be left out.
#[test]
fn each_gate_has_its_status() {
    let home = tempfile::tempdir().unwrap();
    let site = Site::new(home.path(), MORE, &[], "");
    let _daemon = site.setup.start().unwrap();
    let provider = site.provider();
    let body = b"{\"n\":1}";
    let good = json("one", body);
    let send = |method: &str, path: &str, headers: &[(String, String)], body: &[u8]| {
        provider
            .send(method, path, &borrowed(headers), body)
            .unwrap()
    };
    let changed = |name: &str, value: &str| {
        let mut headers = good.clone();
        headers.retain(|(found, _)| found != name);
        headers.push((name.to_owned(), value.to_owned()));
        headers
    };
    assert_eq!(send("POST", STRICT, &good, body).status, 200);
    for path in ["/hooks/shop", "/hooks/shop/main"] {
        let answer = send("POST", path, &json(path, body), body);
        assert_eq!(answer.status, 200, "{path}");
    }
    for path in [
        "/hooks/other",
        "/hooks/shop/other",
        "/hooks/shop/main/other",
        "/hooks/shop/main/strict/x",
        "/hooks/",
    ] {
        assert_eq!(send("POST", path, &good, body).status, 404, "{path}");
    }
    let wrong_method = send("DELETE", STRICT, &good, b"");
    assert_eq!(
        (wrong_method.status, wrong_method.header("allow")),
        (405, Some("POST"))
    );
    let meta = send("DELETE", "/hooks/shop/main/meta", &good, b"");
    assert_eq!(meta.header("allow"), Some("POST, GET"));
    assert_eq!(
        send("POST", STRICT, &changed("content-type", "text/plain"), body).status,
        415
    );
    assert_eq!(
        send(
            "POST",
            STRICT,
            &changed("x-hub-signature-256", "sha256=00"),
            body
        )
        .status,
        401
    );
    assert_eq!(
        send(
            "POST",
            STRICT,
            &changed("x-hub-signature-256", "sha256=zz"),
            body
        )
        .status,
        400
    );
    assert_eq!(
        send("POST", STRICT, &json("x", b"other")[2..], body).status,
        401,
        "no signature"
    );
    assert_eq!(
        send("POST", STRICT, &json("x", b"other"), body).status,
        401,
        "another body"
    );

    let head =
        format!("POST {STRICT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    let raw = |rest: &str| provider.raw(format!("{head}{rest}").as_bytes()).unwrap();
    assert_eq!(raw("connection: close\r\n\r\n").status, 411);
    // Refused by what it announces: nothing of the body is sent.
    assert_eq!(raw("content-length: 1001\r\n\r\n").status, 413);
    assert_eq!(raw("content-length: 99999999999\r\n\r\n").status, 413);
    let chunk = format!("200\r\n{}\r\n", "x".repeat(512));
    let chunks = format!("transfer-encoding: chunked\r\n\r\n{chunk}{chunk}");
    assert_eq!(raw(&chunks).status, 413, "more than announced nowhere");
    let default = provider
        .raw(b"POST /hooks/shop HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1048576\r\n\r\n");
    assert_eq!(default.unwrap().status, 413, "what no event holds");

    let get = "/hooks/shop/main/meta?hub.mode=subscribe&hub.challenge=42&hub.verify_token=";
    let word = "the+secret+of+the+provider";
    let answer = send("GET", &format!("{get}{word}"), &[], b"");
    assert_eq!((answer.status, &*answer.body), (200, &b"42"[..]));
    assert_eq!(send("GET", &format!("{get}guess"), &[], b"").status, 401);
}

/// Proves P2d: a source over its rate is 429 and told when to come again; another webhook has a rate of its own.
#[test]
fn a_source_over_its_rate_is_told_when_to_come_again() {
    let home = tempfile::tempdir().unwrap();
    let more = "[http]\nlisten = \"127.0.0.1:0\"\nhooks_per_source_per_second = 1\n";
    let site = Site::new(home.path(), MORE, &[], more);
    let _daemon = site.setup.start().unwrap();
    let provider = site.provider();
    let answers: Vec<Answered> = (0..20)
        .map(|number| {
            provider
                .post("/hooks/shop", &format!("n-{number}"), b"{}")
                .unwrap()
        })
        .collect();
    let limited: Vec<&Answered> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert!(limited.len() >= 10, "{answers:?}");
    assert!(
        answers
            .iter()
            .all(|answer| [200, 429].contains(&answer.status))
    );
    for answer in limited {
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=2).contains(&seconds));
    }
    assert_eq!(
        provider
            .post("/hooks/shop/main", "other", b"{}")
            .unwrap()
            .status,
        200
    );
}

/// Proves P2d: senders that say little and slowly are ended after their time, and keep nobody out.
#[test]
fn slow_senders_keep_nobody_out() {
    let home = tempfile::tempdir().unwrap();
    let more = "[http]\nlisten = \"127.0.0.1:0\"\nheader_timeout = \"2s\"\nbody_timeout = \"2s\"\n";
    let site = Site::new(home.path(), "", &[], more);
    let _daemon = site.setup.start().unwrap();
    let provider = site.provider();
    let begin = |text: &str| {
        let mut stream = provider.connect().unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let heads: Vec<TcpStream> = (0..100)
        .map(|_| begin("POST /hooks/shop HTTP/1.1\r\nhost: local"))
        .collect();
    let body =
        "POST /hooks/shop HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900000\r\n\r\n{\"n\":";
    let bodies: Vec<TcpStream> = (0..90).map(|_| begin(body)).collect();
    let started = Instant::now();
    let answer = provider.post("/hooks/shop", "quick", b"{}").unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    for stream in bodies {
        let answer = read(&mut BufReader::new(stream)).unwrap();
        assert_eq!(answer.status, 408);
    }
    for mut stream in heads {
        let mut rest = Vec::new();
        // Closed, with or without a word.
        stream.read_to_end(&mut rest).ok();
    }
}

/// Proves P2d: a hundred thousand sources take no more memory than a few do.
#[test]
fn a_flood_of_sources_takes_no_memory() {
    const SOURCES: u32 = 100_000;
    const CONNECTIONS: u32 = 4;
    const TOGETHER: u32 = 100;
    let home = tempfile::tempdir().unwrap();
    let more = "[http]\nlisten = \"127.0.0.1:0\"\nbehind_proxy = true\n";
    let site = Site::new(home.path(), "", &[], more);
    let daemon = site.setup.start().unwrap();
    let provider = site.provider();
    let flood = |from: u32, to: u32| {
        let stream = provider.connect().unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        for first in (from..to).step_by(TOGETHER as usize) {
            let mut requests = String::new();
            for source in first..(first + TOGETHER).min(to) {
                let [a, b, c, d] = (source + 0x1400_0000).to_be_bytes();
                requests.push_str(&format!(
                    "POST /hooks/shop HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: {a}.{b}.{c}.{d}\r\n\
                     content-length: 2\r\n\r\n{{}}"
                ));
            }
            stream.write_all(requests.as_bytes()).unwrap();
            for _ in first..(first + TOGETHER).min(to) {
                assert_eq!(read(&mut answers).unwrap().status, 401);
            }
        }
    };
    flood(0, 2_000);
    let before = daemon.resident_bytes();
    let share = SOURCES / CONNECTIONS;
    let begin = Instant::now();
    thread::scope(|scope| {
        for part in 0..CONNECTIONS {
            let from = 10_000 + part * share;
            scope.spawn(move || flood(from, from + share));
        }
    });
    let grown = daemon.resident_bytes().saturating_sub(before);
    eprintln!(
        "{SOURCES} sources in {:?}: {} KiB more",
        begin.elapsed(),
        grown / 1024
    );
    assert!(grown <= 10 << 20, "{grown} bytes");
    let answer = provider.send(
        "POST",
        "/hooks/shop",
        &borrowed(&signed("after", b"{}")),
        b"{}",
    );
    assert_eq!(answer.unwrap().status, 200);
}

const EXTRA: &str = "/hooks/shop/main/extra";

/// A shop that declares webhooks in its handshake, as a file says.
struct Declaring {
    home: tempfile::TempDir,
    site: Site,
    lifecycle: Peer,
    _daemon: Daemon,
}

impl Declaring {
    fn start(declares: &Value) -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("declares.json");
        let file = file.to_str().unwrap();
        std::fs::write(file, declares.to_string()).unwrap();
        let site = Site::new(home.path(), "", &[("declares", file)], "");
        let daemon = site.setup.start().unwrap();
        let lifecycle = watch(&site);
        Self {
            home,
            site,
            lifecycle,
            _daemon: daemon,
        }
    }

    /// Kills the daemon and starts it again.
    fn restart(self) -> Self {
        let Self {
            home,
            site,
            _daemon: daemon,
            ..
        } = self;
        daemon.kill();
        let daemon = site.setup.start().unwrap();
        let lifecycle = watch(&site);
        Self {
            home,
            site,
            lifecycle,
            _daemon: daemon,
        }
    }

    fn declare(&self, declares: &Value) {
        let file = self.home.path().join("declares.json");
        std::fs::write(file, declares.to_string()).unwrap();
    }

    fn admin(&self, method: &str) {
        let which = json!({"plugin": "shop", "instance": "main"});
        let mut peer = self.site.setup.connect("operator").unwrap();
        peer.call(method, &which, PATIENCE).unwrap();
    }

    /// Waits for this state of the instance; gives what is said of it.
    fn wait_for(&mut self, state: &str) -> Value {
        loop {
            let found = self.lifecycle.next(PATIENCE).unwrap();
            let Incoming::Delivery(delivery) = found.unwrap_or_else(|| panic!("no {state} came"))
            else {
                continue;
            };
            let ack = json!({"deliveries": [delivery.handing.unwrap().id]});
            self.lifecycle.call("broker.ack", &ack, PATIENCE).unwrap();
            let payload: Value = serde_json::from_str(&delivery.payload).unwrap();
            if payload["state"] == state {
                return payload;
            }
        }
    }

    fn post(&self, path: &str, id: &str) -> u16 {
        self.site.provider().post(path, id, b"{}").unwrap().status
    }
}

fn watch(site: &Site) -> Peer {
    let mut peer = site.setup.connect("lifecycle").unwrap();
    let subscribe = Subscribe {
        name: "states".into(),
        filters: vec!["plugin.lifecycle.shop.main".into()],
        group: None,
        credit: 256,
        retry: None,
    };
    peer.subscribe(&subscribe).unwrap();
    peer
}

fn extra() -> Value {
    let webhook =
        json!({"kind": "shop", "name": "extra", "verify": "github", "secret": "{config.key}"});
    json!({"webhooks": [webhook]})
}

/// Proves P2f: what a plugin declares in its handshake is a webhook like one of its manifest; it holds while the
/// plugin is down, over a kill of the daemon, and until the plugin's next handshake leaves it out.
#[test]
fn a_webhook_declared_in_the_handshake_is_taken_until_the_next_one() {
    let mut shop = Declaring::start(&extra());
    shop.wait_for("ready");
    assert_eq!(shop.post(EXTRA, "one"), 200);
    let provider = shop.site.provider();
    let mut headers = signed("two", b"{}");
    assert_eq!(
        provider
            .send("POST", EXTRA, &borrowed(&headers), b"{\"forged\":1}")
            .unwrap()
            .status,
        401
    );
    headers.clear();
    assert_eq!(
        provider.send("POST", EXTRA, &[], b"{}").unwrap().status,
        401
    );
    let is_noted = |noted: &[Value], id: &str| noted.iter().any(|note| note["id"] == id);
    assert!(
        shop.site
            .wait_noted(PATIENCE, |noted| is_noted(noted, "extra:one"))
    );
    let noted = shop.site.noted();
    let note = noted.iter().find(|note| note["id"] == "extra:one").unwrap();
    assert_eq!(note["topic"], "plugin.hook.shop.main");
    assert_eq!(note["payload"]["name"], "extra");

    shop.admin("admin.plugins.disable");
    shop.wait_for("disabled");
    assert_eq!(shop.post(EXTRA, "while-down"), 200);
    let mut shop = shop.restart();
    assert_eq!(shop.post(EXTRA, "while-down-and-after"), 200);
    // What it no longer declares is gone once it says so, and not before.
    shop.declare(&json!({}));
    assert_eq!(shop.post(EXTRA, "not-yet"), 200);
    shop.admin("admin.plugins.enable");
    shop.wait_for("starting");
    shop.wait_for("ready");
    assert_eq!(shop.post(EXTRA, "gone"), 404);
    assert_eq!(shop.post("/hooks/shop/main", "manifest"), 200);
    for id in [
        "extra:while-down",
        "extra:while-down-and-after",
        "extra:not-yet",
        "manifest",
    ] {
        assert!(
            shop.site.wait_noted(PATIENCE, |noted| is_noted(noted, id)),
            "{id}"
        );
    }
    assert!(!is_noted(&shop.site.noted(), "extra:gone"));
    let shop = shop.restart();
    assert_eq!(shop.post(EXTRA, "still-gone"), 404);
}

/// Proves P2f: an instance that leaves the configuration takes the webhooks of its handshake with it.
#[test]
fn a_webhook_declared_in_the_handshake_leaves_with_its_instance() {
    let mut shop = Declaring::start(&extra());
    shop.wait_for("ready");
    assert_eq!(shop.post(EXTRA, "one"), 200);
    let path = shop.home.path().join("trunkline.toml");
    let whole = std::fs::read_to_string(&path).unwrap();
    let at = whole.find("[[plugins.shop]]").unwrap();
    let end = at + whole[at..].find("\n[").map_or(whole.len() - at, |end| end);
    let without = format!("{}{}", &whole[..at], &whole[end..]);
    let setup = shop.site.setup.clone();
    let reload = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut peer = setup.connect("operator").unwrap();
        peer.call("admin.config.reload", &json!({}), PATIENCE)
            .unwrap();
    };
    reload(&without);
    assert_eq!(shop.post(EXTRA, "gone"), 404);
    assert_eq!(shop.post("/hooks/shop/main", "gone"), 404);
    shop.declare(&json!({}));
    reload(&whole);
    shop.wait_for("ready");
    assert_eq!(shop.post("/hooks/shop/main", "back"), 200);
    assert_eq!(shop.post(EXTRA, "no-more"), 404);
}

/// Proves P2f: a webhook that contradicts the manifest, or has a kind that is not there, is `declaration_conflict`,
/// and the plugin does not start with it.
#[test]
fn a_webhook_that_contradicts_the_manifest_keeps_the_plugin_from_starting() {
    let same = json!({"kind": "shop", "verify": "stripe", "secret": "{config.key}"});
    let foreign = json!({"kind": "other", "verify": "github", "secret": "{config.key}"});
    for webhook in [same, foreign] {
        let mut shop = Declaring::start(&json!({"webhooks": [webhook]}));
        let said = shop.wait_for("backing_off");
        let reason = said["reason"].as_str().unwrap();
        assert!(reason.contains("declaration_conflict"), "{said}");
    }
}
