//! Promise: a feed is polled without code by the real daemon, and its server is treated as it asks: validators go
//! back to the letter, `Retry-After` is waited for, a feed that moved or is gone is followed or left alone. What is
//! new becomes an event once, whoever is killed, and an operator sees and steers it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the suite measures waits, and runs the operator's commands"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trunkline_tests::daemon::{Daemon, Setup, built_from};
use trunkline_tests::http;
use trunkline_tests::pages;
use trunkline_tests::scenario::is_long;
use trunkline_tests::supervised::log;

const ANSWER: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
const BUILD: &str = "cargo daemon";
const MODIFIED: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

/// One request, as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    etag: Option<String>,
    modified: Option<String>,
    at: Instant,
}

#[derive(Default)]
struct Site {
    items: Vec<String>,
    version: u32,
    /// The feed is at `/moved` for good.
    is_moved: bool,
    /// How often it says that it has had enough.
    too_many: u32,
    is_gone: bool,
    /// No answer is given until it is taken away.
    is_held: bool,
    seen: Vec<Seen>,
    open: usize,
    open_most: usize,
}

/// A feed's server that remembers how it was asked.
struct Server {
    site: Mutex<Site>,
    changed: Condvar,
}

impl Server {
    fn start(items: &[&str]) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/feed", listener.local_addr().unwrap());
        let site = Site {
            items: items.iter().map(|&item| item.to_owned()).collect(),
            version: 1,
            ..Site::default()
        };
        let server = Arc::new(Self {
            site: Mutex::new(site),
            changed: Condvar::new(),
        });
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (server, stream) = (serving.clone(), stream.unwrap());
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    while server.answer(&stream, &mut reader).is_some() {}
                });
            }
        });
        (server, url)
    }

    fn answer(&self, mut stream: &TcpStream, reader: &mut BufReader<TcpStream>) -> Option<()> {
        let seen = read_request(reader)?;
        let mut site = self.site.lock().unwrap();
        site.open += 1;
        site.open_most = site.open_most.max(site.open);
        site.seen.push(seen.clone());
        self.changed.notify_all();
        while site.is_held {
            site = self.changed.wait(site).unwrap();
        }
        let etag = format!("W/\"v{}\"", site.version);
        let is_known =
            seen.etag.as_ref() == Some(&etag) && seen.modified.as_deref() == Some(MODIFIED);
        let (head, body) = if site.is_gone {
            ("410 Gone\r\n".to_owned(), String::new())
        } else if site.too_many > 0 {
            site.too_many -= 1;
            (
                "429 Too Many Requests\r\nretry-after: 3\r\n".to_owned(),
                String::new(),
            )
        } else if site.is_moved && seen.path == "/feed" {
            (
                "301 Moved Permanently\r\nlocation: /moved\r\n".to_owned(),
                String::new(),
            )
        } else if is_known {
            ("304 Not Modified\r\n".to_owned(), String::new())
        } else {
            let item = |title: &String| {
                format!("<item><guid>id-{title}</guid><title>{title}</title></item>")
            };
            let items: String = site.items.iter().rev().map(item).collect();
            let body = format!("<rss version=\"2.0\"><channel>{items}</channel></rss>");
            (
                format!("200 OK\r\netag: {etag}\r\nlast-modified: {MODIFIED}\r\n"),
                body,
            )
        };
        site.open -= 1;
        drop(site);
        let answer = format!(
            "HTTP/1.1 {head}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).ok()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Site) -> T) -> T {
        let done = change(&mut self.site.lock().unwrap());
        self.changed.notify_all();
        done
    }

    fn add(&self, title: &str) {
        self.change(|site| {
            site.items.push(title.to_owned());
            site.version += 1;
        });
    }

    fn requests(&self) -> Vec<Seen> {
        self.site.lock().unwrap().seen.clone()
    }

    /// Makes sure that it is asked no more often for this time.
    fn stays_at(&self, requests: usize, time: Duration) {
        let site = self.site.lock().unwrap();
        let is_so = |site: &mut Site| site.seen.len() == requests;
        let (site, waited) = self.changed.wait_timeout_while(site, time, is_so).unwrap();
        assert!(
            waited.timed_out(),
            "expected {requests} requests, found {:?}",
            site.seen
        );
    }

    /// Waits until it was asked so often.
    fn wait_for(&self, requests: usize) -> Vec<Seen> {
        let site = self.site.lock().unwrap();
        let is_less = |site: &mut Site| site.seen.len() < requests;
        let (site, waited) = self
            .changed
            .wait_timeout_while(site, PATIENCE, is_less)
            .unwrap();
        assert!(
            !waited.timed_out(),
            "expected {requests} requests, found {:?}",
            site.seen
        );
        site.seen.clone()
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut seen = Seen {
        path,
        etag: None,
        modified: None,
        at: Instant::now(),
    };
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            return Some(seen);
        };
        match name.to_ascii_lowercase().as_str() {
            "if-none-match" => seen.etag = Some(value.to_owned()),
            "if-modified-since" => seen.modified = Some(value.to_owned()),
            _ => {}
        }
    }
}

/// Two instances that ask as one account.
fn setup_of_two(home: &Path, url: &str) -> Setup {
    let setup = setup(home, url);
    let manifest = home.join("plugins").join("news").join("plugin.toml");
    let mut text = fs::read_to_string(&manifest).unwrap();
    text.push_str("credential = \"one account\"\n");
    fs::write(&manifest, text).unwrap();
    let instance =
        |name: &str| format!("[[plugins.news]]\ninstance = {name:?}\nurl = \"{url}?of={name}\"\n");
    let config = format!(
        "plugin_dirs = [\"plugins\"]\n{}{}",
        instance("main"),
        instance("other")
    );
    Setup::new(home, &setup.data, &config)
}

fn setup(home: &Path, url: &str) -> Setup {
    built_from(
        "trunkline-pollers",
        BUILD,
        &["sdk-rust/src", "patterns/src"],
    );
    let dir = home.join("plugins").join("news");
    fs::create_dir_all(&dir).unwrap();
    // The server of this test is on this machine, which a guard forbids unless that is said.
    let manifest = "[plugin]\nid = \"news\"\nversion = \"0.1.0\"\n[[channels]]\nkind = \"rss\"\n\
        [config.url]\ntype = \"string\"\nrequired = true\n\
        [[pollers]]\nkind = \"rss\"\nfeed = \"{config.url}\"\nevery = \"1h\"\nprivate_network = true\n";
    fs::write(dir.join("plugin.toml"), manifest).unwrap();
    let config = format!(
        "plugin_dirs = [\"plugins\"]\n[[plugins.news]]\ninstance = \"main\"\nurl = {url:?}\n"
    );
    Setup::new(home, &home.join("data"), &config)
}

/// Runs `trunkline pollers …` as an operator does.
fn pollers(setup: &Setup, args: &[&str]) -> (bool, Value) {
    let output = Command::new(&setup.program)
        .arg("pollers")
        .args(args)
        .args(["--json", "--socket"])
        .arg(setup.socket())
        .arg("--token-file")
        .arg(setup.data.join("token"))
        .output()
        .unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.success(), said)
}

fn done(setup: &Setup, args: &[&str]) -> Value {
    let (is_done, said) = pollers(setup, args);
    assert!(is_done, "{args:?}: {said}");
    said
}

fn refused(setup: &Setup, args: &[&str], why: &str) {
    let (is_done, said) = pollers(setup, args);
    let text = said["text"].as_str().unwrap();
    assert!(
        !is_done && text.contains(why),
        "{args:?}: expected {why:?}, found {said}"
    );
}

fn state(setup: &Setup) -> Value {
    done(setup, &["list"])["pollers"][0]["state"].clone()
}

fn texts(setup: &Setup) -> Vec<String> {
    let events = log(setup).unwrap();
    let inbound = events.iter().filter(|event| {
        let topic = event["topic"].as_str().unwrap();
        topic.starts_with("plugin.inbound.rss.")
    });
    inbound
        .map(|event| event["payload"]["text"].as_str().unwrap().to_owned())
        .collect()
}

/// Starts the daemon; a poller is there once its process was there for the first time.
fn start(setup: &Setup) -> Daemon {
    let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let until = Instant::now() + PATIENCE;
    while done(setup, &["list"])["pollers"][0].is_null() {
        assert!(
            Instant::now() < until,
            "expected a poller, found {}",
            instance(setup)
        );
    }
    daemon
}

fn instance(setup: &Setup) -> Value {
    let mut peer = setup.connect("operator").unwrap();
    let status = peer.call("admin.status", &json!({}), ANSWER).unwrap();
    status["instances"][0].clone()
}

/// Proves P4b: validators go back to the letter, also after `kill -9` of the daemon, and 304 is nothing new.
/// Proves P4d: 429 waits as long as `Retry-After` says, also for an operator; 301 is followed for good, 410 pauses.
/// Proves P4e: a feed without code, list, show, run, dry run, pause, resume and reset.
#[test]
fn a_feed_is_polled_as_its_server_asks() {
    let home = tempfile::tempdir().unwrap();
    let (server, url) = Server::start(&["a", "b"]);
    let setup = setup(home.path(), &url);
    let mut daemon = start(&setup);

    let dry = done(&setup, &["run", "news", "--dry-run"]);
    let found: Vec<&str> = dry["found"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect();
    assert_eq!(found, ["id-a", "id-b"]);
    assert!(texts(&setup).is_empty(), "a dry run hands nothing over");
    done(&setup, &["run", "news/main", "rss"]);
    assert_eq!(texts(&setup), ["a", "b"]);
    done(&setup, &["run", "news"]);
    daemon.kill();
    daemon = start(&setup);
    done(&setup, &["run", "news"]);
    let asked = server.requests();
    let etags: Vec<_> = asked.iter().map(|seen| seen.etag.as_deref()).collect();
    assert_eq!(etags, [None, None, Some("W/\"v1\""), Some("W/\"v1\"")]);
    assert_eq!(asked[3].modified.as_deref(), Some(MODIFIED));
    assert_eq!(texts(&setup), ["a", "b"], "304 is nothing new");

    server.add("c");
    server.change(|site| site.is_moved = true);
    done(&setup, &["run", "news"]);
    done(&setup, &["run", "news"]);
    let asked = server.requests();
    let paths: Vec<_> = asked[4..].iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/feed", "/moved", "/moved"]);
    assert_eq!(texts(&setup), ["a", "b", "c"]);

    server.change(|site| site.too_many = 1);
    let before = server.requests().len();
    pollers(&setup, &["run", "news"]);
    pollers(&setup, &["run", "news"]);
    let asked = server.wait_for(before + 2);
    let waited = asked[before + 1].at - asked[before].at;
    assert!(
        waited >= Duration::from_millis(2_900),
        "asked again after {waited:?}"
    );

    done(&setup, &["pause", "news", "--reason", "a holiday"]);
    let before = server.requests().len();
    refused(&setup, &["run", "news"], "a holiday");
    assert_eq!(state(&setup)["paused"]["reason"], "a holiday");
    assert_eq!(server.requests().len(), before);
    done(&setup, &["resume", "news"]);
    server.wait_for(before + 1);
    refused(&setup, &["resume", "news"], "one that runs");
    done(&setup, &["reset", "news"]);
    server.wait_for(before + 2);
    done(&setup, &["run", "news"]);
    assert_eq!(texts(&setup), ["a", "b", "c", "a", "b", "c"]);

    server.change(|site| site.is_gone = true);
    // It moved, so the address that was written is asked once more before it is given up.
    let (is_done, _) = pollers(&setup, &["run", "news"]);
    assert!(!is_done);
    assert_eq!(state(&setup)["paused"], Value::Null);
    let (is_done, _) = pollers(&setup, &["run", "news"]);
    assert!(!is_done);
    assert_eq!(state(&setup)["paused"]["by_engine"], true);
    let shown = done(&setup, &["show", "news"]);
    assert!(
        shown["state"]["last_error"]["text"]
            .as_str()
            .unwrap()
            .contains("410"),
        "{shown}"
    );
    drop(daemon);
}

/// Proves P4c: one asks at a time: an operator's run waits for the tick at hand, a process that was killed is followed
/// by one that takes its tick over, and another daemon is not let in.
#[test]
fn one_asks_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let (server, url) = Server::start(&["a"]);
    let setup = setup(home.path(), &url);
    let _daemon = start(&setup);
    server.change(|site| site.is_held = true);
    thread::scope(|scope| {
        let runs: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| pollers(&setup, &["run", "news", "--wait", "1"])))
            .collect();
        server.wait_for(1);
        for run in runs {
            // None of them has an answer yet.
            assert!(run.join().is_err());
        }
    });
    assert_eq!(server.requests().len(), 1);
    assert!(
        setup.start_within(ANSWER).is_err(),
        "two daemons with one store"
    );
    let pid = instance(&setup)["pid"].as_u64().unwrap();
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    server.wait_for(2);
    server.change(|site| {
        // The one that was killed hears no answer any more.
        site.open_most = 1;
        site.is_held = false;
    });
    done(&setup, &["run", "news"]);
    assert_eq!(texts(&setup), ["a"]);
    assert_eq!(server.change(|site| site.open_most), 1);
}

/// Proves P4c: of two instances that ask as one account one asks at a time; the lease of a long tick is kept, one that is
/// killed takes its own again and is waited for, and an operator's run takes the same lease and commits the cursor.
#[test]
fn an_account_is_asked_by_one_instance_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let (server, url) = Server::start(&["a"]);
    let setup = setup_of_two(home.path(), &url);
    let _daemon = start(&setup);
    let until = Instant::now() + PATIENCE;
    while done(&setup, &["list"])["pollers"].as_array().unwrap().len() < 2 {
        assert!(Instant::now() < until, "expected two pollers");
    }
    server.change(|site| site.is_held = true);
    let asks = |of: &'static str| {
        let setup = &setup;
        move || pollers(setup, &["run", of])
    };
    thread::scope(|scope| {
        let main = scope.spawn(asks("news/main"));
        server.wait_for(1);
        if is_long() {
            // A lease that is not renewed would be over.
            server.stays_at(1, Duration::from_secs(33));
        }
        let other = scope.spawn(asks("news/other"));
        server.stays_at(1, Duration::from_secs(2));
        let pid = instance(&setup)["pid"].as_u64().unwrap();
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        server.wait_for(2);
        server.change(|site| {
            // The one that was killed hears no answer any more.
            site.open_most = 1;
            site.is_held = false;
        });
        for run in [main, other] {
            let (is_done, said) = run.join().unwrap();
            assert!(is_done, "{said}");
        }
    });
    let asked = server.requests();
    let paths: Vec<_> = asked.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/feed?of=main", "/feed?of=main", "/feed?of=other"]);
    assert_eq!(server.change(|site| site.open_most), 1);
    assert_eq!(texts(&setup), ["a", "a"], "once of each instance");
    for of in ["news/main", "news/other"] {
        done(&setup, &["run", of]);
    }
    let known = server.requests()[3..]
        .iter()
        .all(|seen| seen.etag.is_some());
    assert!(known, "an operator's run committed what it learned");
}

/// A second plugin, with a poller that asks too often or one that does not.
fn write_second(home: &Path, url: &str, every: &str) {
    let dir = home.join("plugins").join("second");
    fs::create_dir_all(&dir).unwrap();
    let manifest = format!(
        "[plugin]\nid = \"second\"\nversion = \"0.1.0\"\n[[channels]]\nkind = \"atom\"\n\
         [[pollers]]\nkind = \"atom\"\nfeed = \"{url}?second\"\nevery = \"{every}\"\nprivate_network = true\n"
    );
    fs::write(dir.join("plugin.toml"), manifest).unwrap();
}

/// The state of an instance, once it is this one.
fn until(setup: &Setup, key: &str, state: &str) -> Value {
    let mut peer = setup.connect("operator").unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let status = peer.call("admin.status", &json!({}), ANSWER).unwrap();
        let mut all = status["instances"].as_array().unwrap().iter();
        let found = all
            .find(|one| format!("{}/{}", one["plugin"], one["instance"]).replace('"', "") == key);
        if found.is_some_and(|one| one["state"] == state) {
            return found.unwrap().clone();
        }
        assert!(
            Instant::now() < until,
            "expected {key} {state}, found {status}"
        );
    }
}

fn reload(setup: &Setup) -> Result<(), String> {
    let output = Command::new(&setup.program)
        .args(["config", "reload", "--socket"])
        .arg(setup.socket())
        .arg("--token-file")
        .arg(setup.data.join("token"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(said)
    }
}

/// Proves P4d: a poller that cannot be followed refuses its own plugin's instance, with its name as the reason; the others
/// start and poll. It starts once it is put right, and no reload stops what runs for such a poller.
/// Proves O1: the metrics count the ticks of pollers.
#[test]
fn a_bad_poller_keeps_no_other_from_its_feed() {
    let home = tempfile::tempdir().unwrap();
    let (server, url) = Server::start(&["a"]);
    let first = setup(home.path(), &url);
    write_second(home.path(), &url, "5s");
    let config = format!(
        "plugin_dirs = [\"plugins\"]\n[[plugins.news]]\ninstance = \"main\"\nurl = {url:?}\n\
         [[plugins.second]]\ninstance = \"main\"\n"
    );
    let setup = Setup::new(home.path(), &first.data, &config);
    let _daemon = start(&setup);
    let failed = until(&setup, "second/main", "failed");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.starts_with("config_invalid: "), "{failed}");
    assert!(
        reason.contains("poll \"atom\": expected at least 10s"),
        "{failed}"
    );
    until(&setup, "news/main", "ready");
    done(&setup, &["run", "news"]);
    assert_eq!(texts(&setup), ["a"]);
    let address = http::address(&setup.data).unwrap();
    let scraped = http::get(&address, "/metrics", Some(&setup.token())).unwrap();
    let fired = |plugin: &str| {
        let sample = format!(
            "trunkline_timers_fired_total{{engine=\"poll\",instance=\"main\",plugin=\"{plugin}\"}} "
        );
        let mut lines = scraped.body.lines();
        let count = lines.find_map(|line| line.strip_prefix(&sample));
        count.map_or(0, |count| count.parse().unwrap())
    };
    assert!(fired("news") >= 1, "{}", scraped.body);
    assert_eq!(fired("second"), 0);
    let asked = server.requests();
    assert!(asked.iter().all(|seen| seen.path == "/feed"), "{asked:?}");

    write_second(home.path(), &url, "1h");
    reload(&setup).unwrap();
    until(&setup, "second/main", "ready");
    write_second(home.path(), &url, "5s");
    let refused = reload(&setup).unwrap_err();
    assert!(refused.contains("poll \"atom\""), "{refused}");
    until(&setup, "second/main", "ready");
}

/// Proves P4e: a reload takes an address that was changed.
#[test]
fn a_reload_asks_the_new_address() {
    let home = tempfile::tempdir().unwrap();
    let (server, url) = Server::start(&["a"]);
    let setup = setup(home.path(), &url);
    let _daemon = start(&setup);
    let config = home.path().join("trunkline.toml");
    let text = fs::read_to_string(&config).unwrap();
    let before = instance(&setup)["pid"].clone();
    fs::write(&config, text.replace(&url, &format!("{url}?new"))).unwrap();
    let output = Command::new(&setup.program)
        .args(["pollers", "reload", "--socket"])
        .arg(setup.socket())
        .arg("--token-file")
        .arg(setup.data.join("token"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let until = Instant::now() + PATIENCE;
    while instance(&setup)["state"] != "ready" || instance(&setup)["pid"] == before {
        assert!(Instant::now() < until, "{}", instance(&setup));
    }
    done(&setup, &["run", "news"]);
    assert_eq!(server.requests()[0].path, "/feed?new");
}

/// Proves P4e: the manifest of the page is two pollers without code, and its commands steer them.
#[test]
fn the_page_on_pollers_shows_what_works() {
    let home = tempfile::tempdir().unwrap();
    let (server, url) = Server::start(&["a", "b"]);
    let setup = setup(home.path(), &url);
    let blocks = pages::of("docs/patterns/poller.md");
    let manifest = blocks
        .iter()
        .find(|block| block.language == "toml")
        .unwrap();
    // The server of this test is on this machine.
    let feed = "feed = \"{config.url}\"";
    assert!(manifest.text.contains(feed), "{manifest}");
    let manifest = manifest
        .text
        .replacen(feed, &format!("private_network = true\n{feed}"), 1);
    fs::write(home.path().join("plugins/news/plugin.toml"), manifest).unwrap();
    let _daemon = start(&setup);
    pages::follow("docs/patterns/poller.md", home.path(), &[]);
    // The dry run told of them, the other brought them; what a reset brings again may be there already.
    assert_eq!(texts(&setup)[..2], ["a", "b"]);
    assert!(server.requests().len() >= 2);
}
