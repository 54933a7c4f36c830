//! Promise: the engine for connections speaks with a real server of lines, `ngircd`, that waits for its client to
//! speak first and slows down who floods it: lines come in as events, what goes out keeps its rate and order, also
//! after `kill -9`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the suite measures how fast lines come, and starts a real server"
)]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trunkline_tests::daemon::{Setup, built};
use trunkline_tests::skip::skip;
use trunkline_tests::supervised::{install, log};
use trunkline_tests::tool::fetched_tool;

const PATIENCE: Duration = Duration::from_mins(1);
const ANSWER: Duration = Duration::from_secs(10);
/// Ports are chosen, released and taken: somebody else may be faster.
const TRIES: usize = 5;
/// How many messages are sent at once.
const BURST: usize = 8;

/// A real server on a port of this machine.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts it where it can be fetched.
    fn start(dir: &Path) -> std::io::Result<Self> {
        let tool = fetched_tool("ngircd", "ngircd")?;
        for _ in 0..TRIES {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let config = dir.join("ngircd.conf");
            let text = format!(
                "[Global]\nName = irc.trunkline.test\nInfo = A server of tests\nListen = 127.0.0.1\n\
                 Ports = {port}\nMotdPhrase = hello\nAdminInfo1 = tests\n\
                 [Limits]\nMaxNickLength = 32\n[Options]\nPAM = no\nIdent = no\nDNS = no\n"
            );
            fs::write(&config, text)?;
            let mut child = tool
                .command()
                .args(["-n", "-f"])
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            let until = Instant::now() + ANSWER;
            while Instant::now() < until && child.try_wait()?.is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() && child.try_wait()?.is_none() {
                    return Ok(Self { child, port });
                }
                std::thread::yield_now();
            }
            child.kill().ok();
            child.wait()?;
        }
        Err(std::io::Error::new(
            ErrorKind::AddrInUse,
            "no free port was found",
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Somebody in the room, with a client of bare lines.
struct Human {
    reader: BufReader<TcpStream>,
}

impl Human {
    fn join(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut human = Self {
            reader: BufReader::new(stream),
        };
        human.tell("NICK alice");
        human.tell("USER alice 0 * :alice");
        human.tell("JOIN #lobby");
        human.hear(" JOIN ");
        human
    }

    fn tell(&self, line: &str) {
        let mut stream = self.reader.get_ref();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// Waits for a line with this in it.
    fn hear(&mut self, wanted: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.reader.read_line(&mut line);
            assert!(
                read.unwrap() > 0,
                "the server ended while {wanted:?} was waited for"
            );
            if let Some(token) = line.strip_prefix("PING ") {
                self.tell(&format!("PONG {}", token.trim_end()));
            }
            if line.contains(wanted) {
                return line.trim_end().to_owned();
            }
        }
    }
}

fn wait_for_text(setup: &Setup, text: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let events = log(setup).unwrap();
        let is_it = |event: &&Value| {
            event["topic"] == "plugin.inbound.lines.main" && event["payload"]["text"] == text
        };
        let found: Vec<_> = events.iter().filter(is_it).collect();
        if let [event] = found[..] {
            assert_eq!(event["payload"]["sender"]["id"], "alice");
            return;
        }
        assert!(
            Instant::now() < until,
            "expected {text:?} once, found {found:?}"
        );
    }
}

fn pid_of_the_plugin(setup: &Setup) -> Pid {
    let mut peer = setup.connect("operator").unwrap();
    let status = peer.call("admin.status", &json!({}), ANSWER).unwrap();
    let pid = status["instances"][0]["pid"].as_u64().unwrap();
    Pid::from_raw(pid as i32).unwrap()
}

/// Proves P5a, P7b: a server of lines that waits for its client, and its limit on floods: the bot speaks first, its
/// lines go out in order at its own rate, and after `kill -9` it is back in the room.
#[test]
fn a_bot_of_engines_lives_on_a_real_server_of_lines() {
    let home = tempfile::tempdir().unwrap();
    let server = match Server::start(home.path()) {
        Ok(server) => server,
        Err(error) => return skip("lines_of_a_real_server", &error.to_string()),
    };
    let mut human = Human::join(server.port);
    let plugin = built("lines_plugin", "cargo build -p trunkline-tests --bins");
    let command = [plugin.display().to_string()];
    let keys = [
        ("server", format!("127.0.0.1:{}", server.port)),
        ("nick", "bot".to_owned()),
    ];
    let config = install(home.path(), "lines", &command, &keys);
    let setup = Setup::new(home.path(), &home.path().join("data"), &config);
    let _daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    human.hear(":bot!");
    human.tell("PRIVMSG #lobby :hello bot");
    wait_for_text(&setup, "hello bot");

    // Far more at once than the server takes from one client in a second.
    let mut agent = setup.connect("agent").unwrap();
    for number in 0..BURST {
        let event = json!({
            "id": format!("say-{number}"), "session_id": "#lobby",
            "payload": { "text": format!("line {number}"), "conversation": { "id": "#lobby" } },
        });
        let params = json!({ "topic": "plugin.outbound.lines", "event": event });
        agent.call("broker.publish", &params, ANSWER).unwrap();
    }
    let mut came = Vec::new();
    for number in 0..BURST {
        let line = human.hear("PRIVMSG #lobby :line");
        came.push(Instant::now());
        assert!(line.ends_with(&format!(":line {number}")), "{line}");
    }
    // Two in a second, and as many at once as that rate allows.
    let took = came[BURST - 1] - came[0];
    assert!(
        took > Duration::from_millis(1_500),
        "{took:?} for {BURST} lines"
    );

    kill_process(pid_of_the_plugin(&setup), Signal::KILL).unwrap();
    human.hear(" QUIT ");
    human.hear(" JOIN ");
    human.tell("PRIVMSG #lobby :still there?");
    wait_for_text(&setup, "still there?");
}
