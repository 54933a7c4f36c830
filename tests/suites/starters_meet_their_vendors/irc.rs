//! IRC: a real server, two bots in two channels, and a person in both.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use trunkline_tests::skip::skip;

use super::server::Server;
use super::site::Site;

const PATIENCE: Duration = Duration::from_secs(30);

/// A person with a client of bare lines.
struct Person(BufReader<TcpStream>);

impl Person {
    fn join(port: u16) -> Self {
        let until = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::yield_now();
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut person = Self(BufReader::new(stream));
        person.tell("NICK ada\r\nUSER ada 0 * :ada\r\nJOIN #one,#two");
        person.hear("366 ada #two");
        person
    }

    fn tell(&mut self, line: &str) {
        let stream = self.0.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    fn hear(&mut self, wanted: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line).unwrap();
            assert!(read > 0, "the server ended before {wanted:?}");
            if let Some(token) = line.strip_prefix("PING ") {
                let pong = format!("PONG {}", token.trim_end());
                self.tell(&pong);
            }
            if line.contains(wanted) {
                return line.trim_end().to_owned();
            }
        }
    }
}

/// Proves X1 (live, IRC): the scaffold's two bots receive and send on a real server, each in its own channel, and stop
/// cleanly, with a goodbye.
#[test]
fn two_bots_talk_in_two_channels_of_a_real_server() {
    let home = tempfile::tempdir().unwrap();
    let mut server = match Server::prepare(home.path()) {
        Ok(server) => server,
        Err(error) => return skip("starters_irc", &error.to_string()),
    };
    server.start();
    let port = server.human_port;
    let mut person = Person::join(port);
    let account = |name: &str| {
        format!("server = \"tcp://127.0.0.1:{port}\"\nnick = \"bot-{name}\"\nroom = \"#{name}\"\n")
    };
    let accounts = [("one", account("one")), ("two", account("two"))];
    let mut site = Site::start("irc", &accounts, &[]);
    let mut joined = [person.hear("JOIN :#"), person.hear("JOIN :#")];
    joined.sort();
    assert!(
        joined[0].starts_with(":bot-one!") && joined[0].ends_with("#one"),
        "{joined:?}"
    );
    assert!(
        joined[1].starts_with(":bot-two!") && joined[1].ends_with("#two"),
        "{joined:?}"
    );

    person.tell("PRIVMSG #one :hi: one");
    let came = site.expect_inbound("one", "hi: one");
    assert_eq!(came.payload["sender"]["id"], "ada");
    person.tell("PRIVMSG bot-two :between us");
    let came = site.expect_inbound("two", "between us");
    assert_eq!(came.payload["conversation"]["id"], "ada");
    // To whom it goes is known by the session.
    let id = site.send(None, came.session.as_deref(), "ada", "yes\nAda");
    site.expect_receipt("two", &id, "sent");
    person.hear(":bot-two!");
    assert!(person.hear("PRIVMSG ada").ends_with(":Ada"));
    site.deliver("one", "#one", "hello");
    assert!(person.hear("PRIVMSG #one").starts_with(":bot-one!"));
    let id = site.send(Some("one"), None, "#one\r\nQUIT", "hello");
    site.expect_receipt("one", &id, "failed");
    assert_eq!(site.inbound("one"), ["hi: one"]);
    assert_eq!(site.inbound("two"), ["between us"]);
    site.stop();
    person.hear(":bot-");
}
