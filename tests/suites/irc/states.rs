//! How an account says how it is, against a server of a few lines that does what no real one does on demand.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use trunkline_tests::daemon::{Daemon, Setup};
use trunkline_tests::wire::{Incoming, Peer, Subscribe};

use super::rig::install_manifest;

/// How long anything may take.
const LIMIT: Duration = Duration::from_mins(1);

/// An account that was accepted.
struct Accepted {
    reader: BufReader<TcpStream>,
}

impl Accepted {
    /// Accepts the account and reads on until it has introduced itself.
    fn next(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let reader = BufReader::new(stream);
        let mut accepted = Self { reader };
        assert_eq!(accepted.read_until("NICK"), "NICK probe");
        accepted.read_until("USER");
        accepted
    }

    /// Reads lines until one begins with `word`.
    fn read_until(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let count = self.reader.read_line(&mut line).unwrap();
            assert!(count > 0, "expected {word}, found the end");
            if line.starts_with(word) {
                return line.trim_end().to_owned();
            }
        }
    }

    fn say(&mut self, line: &str) {
        write!(self.reader.get_mut(), "{line}\r\n").unwrap();
    }
}

/// A daemon with one account, and what it says of it.
struct Watched {
    daemon: Daemon,
    peer: Peer,
}

impl Watched {
    fn start(home: &Path, listener: &TcpListener) -> Self {
        install_manifest(home);
        let port = listener.local_addr().unwrap().port();
        let config = format!(
            "plugin_dirs = [\"plugins\"]\n[[plugins.irc]]\ninstance = \"probe\"\nserver = \"127.0.0.1\"\n\
             port = {port}\nnick = \"probe\"\n"
        );
        let setup = Setup::new(home, &home.join("data"), &config);
        let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let mut peer = setup.connect("harness").unwrap();
        let subscribe = Subscribe {
            name: "states".into(),
            filters: vec!["plugin.lifecycle.irc.probe".into()],
            group: None,
            credit: 64,
            retry: None,
        };
        peer.subscribe(&subscribe).unwrap();
        Self { daemon, peer }
    }

    /// Waits until the account is said to be in `state`; gives the reason.
    fn wait_for(&mut self, state: &str) -> String {
        let until = Instant::now() + LIMIT;
        let mut states = Vec::new();
        while Instant::now() < until {
            let Some(Incoming::Delivery(delivery)) = self.peer.next(LIMIT).unwrap() else {
                continue;
            };
            self.peer.ack(&delivery.handing.unwrap().id).unwrap();
            let payload: Value = serde_json::from_str(&delivery.payload).unwrap();
            if payload["state"] == state {
                return payload["reason"].as_str().unwrap_or_default().to_owned();
            }
            states.push(payload["state"].clone());
        }
        panic!("expected {state}, found {states:?}");
    }
}

/// Proves: a lost connection is degraded and comes back by itself, a refused password needs a person.
#[test]
fn an_account_says_how_it_is() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut watched = Watched::start(home.path(), &listener);
    let mut first = Accepted::next(&listener);
    first.say(":s 001 probe :Welcome");
    watched.wait_for("ready");
    drop(first);
    let reason = watched.wait_for("degraded");
    assert!(reason.contains("hung up"), "{reason}");
    let mut second = Accepted::next(&listener);
    second.say(":s 001 probe :Welcome");
    watched.wait_for("ready");
    second.say("ERROR :Closing Link: too much of it");
    let reason = watched.wait_for("degraded");
    assert!(reason.contains("too much of it"), "{reason}");
    let mut third = Accepted::next(&listener);
    third.say(":s 464 probe :Password incorrect");
    let reason = watched.wait_for("needs_auth");
    assert!(reason.contains("Password incorrect"), "{reason}");
}

/// Proves: an account that is stopped says so to its server.
#[test]
fn a_stop_says_quit() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut watched = Watched::start(home.path(), &listener);
    let mut accepted = Accepted::next(&listener);
    accepted.say(":s 001 probe :Welcome");
    watched.wait_for("ready");
    watched.daemon.terminate();
    assert_eq!(accepted.read_until("QUIT"), "QUIT :stopped");
}
