//! "The plugin runs its own HTTP server on a socket the daemon hands it, behind the daemon's proxy": a real daemon
//! and plugins of each language. What is said on the wire is looked at, not what a library makes of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_tests::daemon::{Daemon, Setup};
use trunkline_tests::driver::CLIENT;
use trunkline_tests::pages;
use trunkline_tests::sdk::Language;
use trunkline_tests::supervised::install;
use trunkline_tests::wire::{Incoming, Peer, Subscribe};

#[path = "a_plugin_serves_its_own_http/http.rs"]
mod http;
use http::{Connection, Head, PATIENCE};

const BOARD: &str = include_str!("a_plugin_serves_its_own_http/board.py");
const GRANT: &str = "\n[grants.board]\nhttp_server = true\n";
const ASK: &str = "\n[capabilities]\nhttp_server = true\n";
const ROOT: &str = "/plugins/board/main";

/// A daemon with one instance that has a server of its own.
struct Rig {
    home: tempfile::TempDir,
    setup: Setup,
    _daemon: Daemon,
    address: String,
    lifecycle: Peer,
}

impl Rig {
    /// Starts it with `command`; `more` is further TOML of the manifest.
    fn start(home: tempfile::TempDir, command: &[String], more: &str, grant: &str) -> Self {
        let config = install(home.path(), "board", command, &[]) + grant;
        let manifest = home.path().join("plugins/board/plugin.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        std::fs::write(&manifest, text + more).unwrap();
        let setup = Setup::new(home.path(), &home.path().join("data"), &config);
        let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let address = std::fs::read_to_string(setup.data.join("http.addr")).unwrap();
        let address = address.trim().strip_prefix("http://").unwrap().to_owned();
        let mut lifecycle = setup.connect("lifecycle").unwrap();
        let subscribe = Subscribe {
            name: "states".into(),
            filters: vec!["plugin.lifecycle.board.main".into()],
            group: None,
            credit: 256,
            retry: None,
        };
        lifecycle.subscribe(&subscribe).unwrap();
        Self {
            home,
            setup,
            _daemon: daemon,
            address,
            lifecycle,
        }
    }

    fn board(more: &str) -> Self {
        Self::board_with(more, "")
    }

    /// `http` is a table of the daemon's config.
    fn board_with(more: &str, http: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let script = home.path().join("board.py");
        std::fs::write(&script, BOARD).unwrap();
        let command = ["python3".to_owned(), script.display().to_string()];
        let mut rig = Self::start(
            home,
            &command,
            &format!("{ASK}{more}"),
            &format!("{GRANT}{http}"),
        );
        rig.wait_for("ready");
        rig
    }

    fn dir(&self) -> std::path::PathBuf {
        self.home.path().join("plugins/board")
    }

    /// Waits for this state of the instance; gives what is said of it.
    fn wait_for(&mut self, state: &str) -> Value {
        loop {
            let found = self.lifecycle.next(PATIENCE).unwrap();
            let Some(found) = found else {
                panic!("expected the state {state}, nothing came");
            };
            let Incoming::Delivery(delivery) = found else {
                continue;
            };
            let id = delivery.handing.as_ref().map(|handing| handing.id.clone());
            self.lifecycle.ack(&id.unwrap()).unwrap();
            self.lifecycle.flush().unwrap();
            let payload: Value = serde_json::from_str(&delivery.payload).unwrap();
            if payload["state"] == state {
                return payload;
            }
        }
    }

    /// The file of its socket: its name and which file of that name it is.
    fn socket(&self) -> (std::ffi::OsString, u64) {
        use std::os::unix::fs::DirEntryExt;
        let mut files = std::fs::read_dir(self.setup.data.join("http")).unwrap();
        let file = files.next().unwrap().unwrap();
        (file.file_name(), file.ino())
    }

    fn admin(&self, method: &str) {
        let which = json!({"plugin": "board", "instance": "main"});
        let mut peer = self.setup.connect(CLIENT).unwrap();
        peer.call(method, &which, PATIENCE).unwrap();
    }

    fn open(&self) -> Connection {
        Connection::open(&self.address)
    }

    fn get(&self, path: &str, headers: &[&str]) -> (Head, Value) {
        let mut connection = self.open();
        connection.ask(&format!("GET {path}"), headers);
        connection.answer()
    }

    fn post(&self, path: &str) {
        let mut connection = self.open();
        connection.ask(&format!("POST {ROOT}{path}"), &["Content-Length: 0"]);
        assert_eq!(connection.answer().0.status, 200);
    }
}

fn check_refusal(answer: &(Head, Value), status: u16, code: &str) {
    let (head, body) = answer;
    assert_eq!(
        (head.status, &body["error"]["code"]),
        (status, &json!(code)),
        "{body}"
    );
}

fn check_forwarding(rig: &Rig) {
    let path = format!("{ROOT}/a%2Fb//c?x=1&token=2");
    let (head, body) = rig.get(
        &path,
        &[
            "Origin: https://elsewhere.example",
            "Connection: keep-alive, X-Mine",
            "X-Mine: 1",
            "X-Forwarded-For: 1.2.3.4",
            "X-Forwarded-Prefix: /lies",
            "Forwarded: for=1.2.3.4",
            "Cookie: a=b",
        ],
    );
    assert_eq!(head.status, 200);
    assert_eq!(body["path"], "/a%2Fb//c?x=1&token=2");
    let headers = &body["headers"];
    assert_eq!(headers["host"], "localhost");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-prefix"], ROOT);
    assert_eq!(headers["origin"], "https://elsewhere.example");
    assert_eq!(headers["cookie"], "a=b");
    assert_eq!(headers["x-request-id"], head.get("x-request-id").unwrap());
    for gone in ["x-mine", "forwarded"] {
        assert!(headers[gone].is_null(), "{gone}: {headers}");
    }
    // The way back: what the server says of caching stays, what is about its connection does not.
    assert_eq!(head.get("cache-control"), Some("max-age=60"));
    assert_eq!(head.get("x-hop"), None);
}

fn check_paths(rig: &Rig) {
    let (head, _) = rig.get(&format!("{ROOT}?x=1"), &[]);
    assert_eq!(
        (head.status, head.get("location")),
        (308, Some("main/?x=1"))
    );
    for path in ["/..", "/../../v1/tools", "/%2e%2e/x", "/a/./b"] {
        let answer = rig.get(&format!("{ROOT}{path}"), &[]);
        check_refusal(&answer, 400, "invalid_arguments");
    }
    for path in [
        "/plugins/board/other/",
        "/plugins/nobody/main/",
        "/plugins/board",
    ] {
        check_refusal(&rig.get(path, &[]), 404, "not_found");
    }
    let answer = rig.get(&format!("{ROOT}/"), &["Host: evil.example"]);
    check_refusal(&answer, 421, "invalid_arguments");
}

fn check_tokens(rig: &Rig) {
    let token = rig.setup.token();
    let authorization = |value: &str| {
        let header = format!("Authorization: {value}");
        let (_, body) = rig.get(&format!("{ROOT}/"), &[&header]);
        body["headers"]["authorization"].clone()
    };
    assert_eq!(
        authorization("Bearer of-the-plugin"),
        "Bearer of-the-plugin"
    );
    assert_eq!(authorization("Basic YTpi"), "Basic YTpi");
    assert_eq!(authorization(&format!("Bearer {token}")), Value::Null);
}

/// Proves P2g: requests reach the plugin's own server under its prefix as they are, with the headers that a proxy
/// adds and without those that it takes away; no path leads out of the prefix, a foreign Host is refused, and no
/// token of the daemon is handed over.
#[test]
fn requests_reach_the_plugin_as_they_are_and_nothing_else_does() {
    let rig = Rig::board("");
    check_forwarding(&rig);
    check_paths(&rig);
    check_tokens(&rig);
}

fn check_download(rig: &Rig) {
    let mut reader = rig.open();
    reader.ask(&format!("GET {ROOT}/stream"), &[]);
    assert_eq!(reader.head().status, 200);
    assert_eq!(reader.chunk(), "first");
    rig.post("/go");
    assert_eq!(reader.chunk(), "second");
    assert_eq!(reader.chunk(), "");
}

fn check_echo(rig: &Rig) {
    let mut writer = rig.open();
    writer.ask(
        &format!("POST {ROOT}/echo"),
        &["Transfer-Encoding: chunked"],
    );
    writer.write("3\r\none\r\n");
    assert_eq!(writer.head().status, 200);
    assert_eq!(writer.chunk(), "one");
    writer.write("3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(writer.chunk(), "two");
    assert_eq!(writer.chunk(), "");
}

fn check_back_pressure(rig: &Rig) {
    const TOTAL: usize = 64 << 20;
    const HELD_MAX: usize = 24 << 20;
    let mut writer = rig.open();
    let length = format!("Content-Length: {TOTAL}");
    writer.ask(&format!("POST {ROOT}/slow"), &[&length]);
    let stream = writer.stream.get_mut();
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let piece = vec![b'x'; 1 << 16];
    let mut written = 0;
    let stalled = loop {
        match stream.write(&piece) {
            Ok(count) => written += count,
            Err(error) => break error,
        }
        assert!(
            written <= HELD_MAX,
            "nobody reads, and {written} bytes are taken"
        );
    };
    assert_eq!(stalled.kind(), ErrorKind::WouldBlock, "{stalled}");
    rig.post("/go");
    let stream = writer.stream.get_mut();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    while written < TOTAL {
        let piece = &piece[..piece.len().min(TOTAL - written)];
        stream.write_all(piece).unwrap();
        written += piece.len();
    }
    assert_eq!(writer.answer().1["bytes"], TOTAL);
}

/// Proves P2g: behind proxies the server is told who asked, as the nearest proxy that is trusted says it, and how;
/// what the asker claims itself, or a stranger in the proxy's place, is not believed.
#[test]
fn who_asked_through_trusted_proxies_is_told_and_no_claim_is() {
    let http = "\n[http]\nlisten = \"127.0.0.1:0\"\nbehind_proxy = true\n\
                trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n";
    let rig = Rig::board_with("", http);
    let path = format!("{ROOT}/");
    let table: [(&[&str], &str, &str); 8] = [
        (&[], "127.0.0.1", "http"),
        (&["X-Forwarded-Proto: https"], "127.0.0.1", "https"),
        (
            &["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: http"],
            "9.9.9.9",
            "http",
        ),
        // What stands before the address that the outermost proxy saw, the asker wrote.
        (
            &["X-Forwarded-For: 1.2.3.4, 9.9.9.9, 10.0.0.7"],
            "9.9.9.9",
            "http",
        ),
        (
            &[
                "X-Forwarded-For: 1.2.3.4",
                "X-Forwarded-For: 9.9.9.9:4711, 10.0.0.7",
            ],
            "9.9.9.9",
            "http",
        ),
        (
            &["X-Forwarded-For: 1.2.3.4, [2001:db8::1]:80"],
            "2001:db8::1",
            "http",
        ),
        // Nobody knows who that was; whoever is named before it may be made up.
        (
            &["X-Forwarded-For: 1.2.3.4, unknown, 10.0.0.7"],
            "10.0.0.7",
            "http",
        ),
        (
            &[
                "X-Forwarded-For: 10.1.1.1, 10.0.0.7",
                "Forwarded: for=1.2.3.4",
                "X-Real-IP: 1.2.3.4",
            ],
            "10.1.1.1",
            "http",
        ),
    ];
    for (headers, address, proto) in table {
        let (head, body) = rig.get(&path, headers);
        assert_eq!(head.status, 200, "{headers:?}: {body}");
        let told = &body["headers"];
        assert_eq!(
            (&told["x-forwarded-for"], &told["x-forwarded-proto"]),
            (&json!(address), &json!(proto)),
            "{headers:?}: {told}"
        );
        assert!(
            told["x-real-ip"].is_null() && told["forwarded"].is_null(),
            "{told}"
        );
    }
    let mut stranger = Connection::open_from("127.0.0.2", &rig.address);
    stranger.ask(&format!("GET {path}"), &["X-Forwarded-For: 9.9.9.9"]);
    check_refusal(&stranger.answer(), 403, "unauthorized");
}

/// Proves P2g: whoever stops in the midst of a body is answered 408 and blamed for it, the server is not.
#[test]
fn a_body_that_stops_halfway_is_given_up() {
    let http = "\n[http]\nlisten = \"127.0.0.1:0\"\nbody_timeout = \"300ms\"\n";
    let rig = Rig::board_with("", http);
    let mut slow = rig.open();
    slow.ask(&format!("POST {ROOT}/slow"), &["Content-Length: 100"]);
    slow.write("half");
    check_refusal(&slow.answer(), 408, "timed_out");
    assert_eq!(rig.get(&format!("{ROOT}/"), &[]).0.status, 200);
}

/// Proves P2g: bodies are streamed both ways, piece by piece, and whoever sends waits for whoever reads.
#[test]
fn bodies_are_streamed_both_ways_with_back_pressure() {
    let rig = Rig::board("");
    check_download(&rig);
    check_echo(&rig);
    check_back_pressure(&rig);
}

/// A text message as a browser sends it.
fn frame(text: &str) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x81, 0x80 | text.len() as u8];
    frame.extend(mask);
    let masked = text.bytes().enumerate().map(|(i, byte)| byte ^ mask[i % 4]);
    frame.extend(masked);
    frame
}

/// Proves P2g: WebSocket upgrades pass, both ways, and end with either side.
#[test]
fn a_websocket_passes_both_ways() {
    let rig = Rig::board("");
    let mut socket = rig.open();
    let headers = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    socket.ask(&format!("GET {ROOT}/ws"), &headers);
    let head = socket.head();
    assert_eq!(head.status, 101, "{head:?}");
    let accept = head.get("sec-websocket-accept");
    assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(head.get("upgrade"), Some("websocket"));
    for text in ["hello", "again"] {
        socket.write(frame(text));
        let echoed = socket.exactly(2 + text.len());
        assert_eq!(&echoed[..2], [0x81, text.len() as u8]);
        assert_eq!(&echoed[2..], text.as_bytes());
    }
    socket.write([0x88, 0x80, 0, 0, 0, 0]);
    assert_eq!(socket.exactly(2), [0x88, 0]);
    socket.stream.get_mut().shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut socket.stream, &mut rest).unwrap();
    assert!(rest.is_empty());
    // Asked for without an upgrade, it is an ordinary request.
    assert_eq!(
        rig.get(&format!("{ROOT}/"), &["Upgrade: h2c"]).0.status,
        200
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a pipe with a name is made by a program"
)]
fn make_gate(path: &Path) {
    let status = std::process::Command::new("mkfifo").arg(path).status();
    assert!(status.unwrap().success());
}

/// Proves P2g: the socket outlives the process: who asks while the plugin restarts waits, and is answered by the
/// next process.
#[test]
fn a_request_waits_while_the_plugin_restarts() {
    let mut rig = Rig::board("");
    let before = rig.get(&format!("{ROOT}/"), &[]).1["pid"].clone();
    let gate = rig.dir().join("gate");
    make_gate(&gate);
    rig.admin("admin.plugins.restart");
    rig.wait_for("starting");
    let mut waiting = rig.open();
    waiting.ask(&format!("GET {ROOT}/"), &[]);
    let stream = waiting.stream.get_mut();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let early = stream.peek(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Opened and closed: the process goes on.
    drop(std::fs::OpenOptions::new().write(true).open(&gate).unwrap());
    let (head, body) = waiting.answer();
    assert_eq!(head.status, 200, "{body}");
    assert_ne!(body["pid"], before);
    std::fs::remove_file(gate).unwrap();
}

/// Proves P2g: the socket is the same before and after an upgrade, so who asks between the two processes waits too.
#[test]
fn a_request_waits_while_the_plugin_is_replaced() {
    let mut rig = Rig::board("");
    let before = rig.get(&format!("{ROOT}/"), &[]).1["pid"].clone();
    let socket = rig.socket();
    let gate = rig.dir().join("gate");
    make_gate(&gate);
    let mut operator = rig.setup.connect("operator").unwrap();
    let upgrade = std::thread::spawn(move || {
        let which = json!({"plugin": "board", "instance": "main"});
        operator.call("admin.plugins.upgrade", &which, PATIENCE)
    });
    rig.wait_for("stopped");
    let mut waiting = rig.open();
    waiting.ask(&format!("GET {ROOT}/"), &[]);
    rig.wait_for("starting");
    assert_eq!(rig.socket(), socket, "it was never closed");
    drop(std::fs::OpenOptions::new().write(true).open(&gate).unwrap());
    let (head, body) = waiting.answer();
    assert_eq!(head.status, 200, "{body}");
    assert_ne!(body["pid"], before);
    upgrade.join().unwrap().unwrap();
    assert_eq!(rig.socket(), socket);
    // Switched off instead, nothing is left of it.
    rig.admin("admin.plugins.disable");
    rig.wait_for("disabled");
    let left = std::fs::read_dir(rig.setup.data.join("http")).unwrap();
    assert_eq!(left.count(), 0);
    std::fs::remove_file(gate).unwrap();
}

/// Proves P2g: a server that dies is a 502 for whoever it was answering and none for who comes next; one that
/// does not answer a 504; one that is switched off a 503 that says when to come again.
#[test]
fn what_does_not_serve_is_said_to_whoever_asks() {
    let mut rig = Rig::board("\n[http]\ntimeout = \"1s\"\n");
    check_refusal(&rig.get(&format!("{ROOT}/hang"), &[]), 504, "timed_out");
    check_refusal(&rig.get(&format!("{ROOT}/die"), &[]), 502, "http_error");
    rig.wait_for("ready");
    assert_eq!(rig.get(&format!("{ROOT}/"), &[]).0.status, 200);

    rig.admin("admin.plugins.disable");
    rig.wait_for("disabled");
    let refused = rig.get(&format!("{ROOT}/"), &[]);
    check_refusal(&refused, 503, "unavailable");
    assert!(refused.0.get("retry-after").is_some());
    let left = std::fs::read_dir(rig.setup.data.join("http")).unwrap();
    assert_eq!(left.count(), 0, "its socket is closed and gone");
    rig.admin("admin.plugins.enable");
    rig.wait_for("ready");
    assert_eq!(rig.get(&format!("{ROOT}/"), &[]).0.status, 200);
}

/// Proves P2g: a server that fails its health probe makes the instance degraded, with the reason, until it works.
#[test]
fn a_server_that_fails_its_health_probe_is_degraded() {
    let mut rig = Rig::board("\n[http]\nhealth = \"/healthz\"\nhealth_interval = \"100ms\"\n");
    rig.post("/sick");
    let degraded = rig.wait_for("degraded");
    let reason = degraded["reason"].as_str().unwrap();
    assert!(reason.contains("/healthz with 500"), "{reason}");
    assert_eq!(rig.get(&format!("{ROOT}/"), &[]).0.status, 200, "it serves");
    rig.post("/well");
    rig.wait_for("ready");
}

/// Proves P2g: a server that needs a port gets one of loopback, behind the same prefix.
#[test]
fn a_plugin_that_needs_a_port_gets_one() {
    let rig = Rig::board("\n[http]\nsocket = \"tcp\"\n");
    let (head, body) = rig.get(&format!("{ROOT}/x"), &[]);
    assert_eq!((head.status, &body["path"]), (200, &json!("/x")));
}

fn an_sdk_gives_the_socket(language: Language) {
    let home = tempfile::tempdir().unwrap();
    let subject = home.path().join("subject");
    std::fs::create_dir_all(&subject).unwrap();
    let command = language.subject("own_server", &subject);
    let mut rig = Rig::start(home, &command, ASK, GRANT);
    rig.wait_for("ready");
    let (head, body) = rig.get(&format!("{ROOT}/"), &[]);
    assert_eq!(
        (head.status, &body["language"]),
        (200, &json!(language.name()))
    );

    let home = tempfile::tempdir().unwrap();
    let subject = home.path().join("subject");
    std::fs::create_dir_all(&subject).unwrap();
    let command = language.subject("own_server", &subject);
    let mut rig = Rig::start(home, &command, ASK, "");
    let degraded = rig.wait_for("degraded");
    let reason = degraded["reason"].as_str().unwrap();
    assert!(reason.starts_with("not_found: "), "{reason}");
    assert!(reason.contains("http_server = true"), "{reason}");
    check_refusal(&rig.get(&format!("{ROOT}/"), &[]), 404, "not_found");
}

/// Proves P2g (Rust): `ctx.listener()` is the socket, or an error that says what to add.
#[test]
fn an_sdk_in_rust_gives_the_socket_or_says_what_to_add() {
    an_sdk_gives_the_socket(Language::Rust);
}

/// Proves P2g (Python): `ctx.listener()` is the socket, or an error that says what to add.
#[test]
fn an_sdk_in_python_gives_the_socket_or_says_what_to_add() {
    an_sdk_gives_the_socket(Language::Python);
}

/// Proves P2g (Node): `ctx.listener()` is the socket, or an error that says what to add.
#[test]
fn an_sdk_in_node_gives_the_socket_or_says_what_to_add() {
    an_sdk_gives_the_socket(Language::Node);
}

/// Proves P2g: what the page shows in each language is what serves here.
#[test]
fn the_page_shows_what_serves() {
    let mut count = 0;
    for block in pages::of("docs/own-server.md") {
        let (source, comment) = match &*block.language {
            "python" => (include_str!("../sdk/own_server.py"), "#"),
            "ts" => (include_str!("../sdk/own_server.mjs"), "//"),
            "rust" => (include_str!("../src/bin/own_server_plugin.rs"), "//"),
            _ => continue,
        };
        let code = block.text.split(comment).next().unwrap().trim();
        assert!(!code.is_empty() && source.contains(code), "{block}");
        count += 1;
    }
    assert_eq!(count, 3);
}
