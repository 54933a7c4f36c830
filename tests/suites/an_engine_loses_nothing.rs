//! Promise: whoever is killed at whatever step of an engine, nothing is lost and nothing is said twice; a call
//! outside is repeated only where the provider takes its key once, is asked for where it can be asked, and is
//! else `unknown`, stated.
//!
//! A step is a frame between plugin and daemon, or what a service outside hears, does or answers. Each is struck
//! once; in the long form (`cargo fault-long`) twenty times, with the death a moment later.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "it waits for real processes")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_tests::daemon::{Setup, built};
use trunkline_tests::outside::Outside;
use trunkline_tests::random::Random;
use trunkline_tests::scenario::is_long;
use trunkline_tests::steps::{PATIENCE, Victim, World};
use trunkline_tests::supervised::{install, log};
use trunkline_tests::wire::Delivery;

const OUTBOUND: &str = "plugin.outbound.engine.main";
const INBOUND: &str = "plugin.inbound.engine.main";
const DELIVERY: &str = "plugin.delivery.engine.main";
/// More steps than any message has.
const STEPS_MAX: u32 = 60;

/// One engine, one victim, and what is known in the end.
struct Run {
    engine: &'static str,
    victim: Victim,
    world: World,
    outside: Arc<Outside>,
    /// Where somebody died, and how often.
    struck: BTreeMap<String, u32>,
    names: Vec<String>,
    /// The messages that nobody died at.
    spared: BTreeSet<String>,
    _home: tempfile::TempDir,
}

impl Run {
    fn start(engine: &'static str, victim: Victim) -> Self {
        let home = tempfile::tempdir().unwrap();
        let program = built("engine_plugin", "cargo build -p trunkline-tests --bins");
        let command = [program.display().to_string()];
        let config = install(home.path(), "engine", &command, &[]) + "enabled = false\n";
        let setup = Setup::new(home.path(), &home.path().join("data"), &config);
        let mut outside = None;
        let world = World::start(setup, program, victim, |steps| {
            let (played, [http, line]) = Outside::start(steps, engine == "outbound_idempotent");
            outside = Some(played);
            let variables = [("ENGINE", engine), ("OUTSIDE", &http), ("LINE", &line)];
            let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
            owned.to_vec()
        });
        Self {
            engine,
            victim,
            world,
            outside: outside.unwrap(),
            struck: BTreeMap::new(),
            names: Vec::new(),
            spared: BTreeSet::new(),
            _home: home,
        }
    }

    /// Kills at each step of a message's way: `begin` sends it on that way, `is_end` sees it come out.
    fn every_step(
        &mut self,
        random: &mut Random,
        begin: impl Fn(&mut World, &Outside, &str),
        is_end: impl Fn(&Delivery, &str) -> bool,
    ) {
        let rounds = if is_long() { 20 } else { 1 };
        // The first one finds a plugin that is at work.
        self.message(0, None, &begin, &is_end);
        for _ in 0..rounds {
            for at in 1..=STEPS_MAX {
                let after = is_long().then(|| Duration::from_micros(random.below(4_000)));
                let Some(name) = self.message(at, after, &begin, &is_end) else {
                    break;
                };
                *self.struck.entry(name).or_default() += 1;
            }
        }
        let (engine, victim) = (self.engine, self.victim);
        eprintln!("{engine}, {victim:?} killed at {:?}", self.struck);
    }

    fn message(
        &mut self,
        at: u32,
        after: Option<Duration>,
        begin: impl Fn(&mut World, &Outside, &str),
        is_end: impl Fn(&Delivery, &str) -> bool,
    ) -> Option<String> {
        let name = format!("{}m", self.names.len());
        self.names.push(name.clone());
        let outside = Arc::clone(&self.outside);
        let begin = |world: &mut World| begin(world, &outside, &name);
        let (waiter, _) = self.outside.waiter();
        // A step that is never reached is one at which nobody dies.
        let at = if at == 0 { u32::MAX } else { at };
        let is_end = |seen: &Delivery| is_end(seen, &name);
        let struck = self.world.strike(at, after, begin, is_end);
        if struck.is_none() || struck.as_deref() == Some("broker.event") {
            self.spared.insert(name);
        }
        // The next one finds a plugin that waits for it.
        let is_first = self.names.len() == 1;
        let (asks, asks_again) = match self.engine {
            "poll" => (true, true),
            "connection" => (true, is_first || struck.is_some()),
            _ => (false, false),
        };
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let (now, is_idle) = self.outside.waiter();
            if (!asks || is_idle) && (!asks_again || now != waiter) {
                return struck;
            }
            self.world.see();
        }
        panic!("{} does not ask again after {struck:?}", self.engine);
    }

    fn assert_struck(&self, names: &[&str]) {
        for name in names {
            let is_there = self.struck.contains_key(*name);
            assert!(
                is_there,
                "{}: nobody died at {name:?}: {:?}",
                self.engine, self.struck
            );
        }
    }

    fn log(&self) -> Vec<Value> {
        log(&self.world.setup).unwrap()
    }

    /// Each message came in once, in order.
    fn assert_inbound(&self, texts: impl Iterator<Item = String>) {
        let events = self.log();
        let inbound = events.iter().filter(|event| event["topic"] == INBOUND);
        let found: Vec<_> = inbound
            .map(|event| event["payload"]["text"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            found,
            texts.collect::<Vec<_>>(),
            "{} {:?}",
            self.engine,
            self.victim
        );
    }
}

fn is_inbound(seen: &Delivery, text: &str) -> bool {
    let payload: Value = serde_json::from_str(&seen.payload).unwrap();
    seen.topic == INBOUND && payload["text"] == text
}

/// A receipt of the message after which no other comes.
fn is_final(seen: &Delivery, session: &str) -> bool {
    let payload: Value = serde_json::from_str(&seen.payload).unwrap();
    seen.topic == DELIVERY
        && seen.session.as_deref() == Some(session)
        && payload["state"] != "queued"
}

/// Does it with both victims at once.
fn both(test: &str, engines: &[&'static str], run: impl Fn(&'static str, Victim, Random) + Sync) {
    let (_, mut random) = Random::from_environment(test);
    thread::scope(|scope| {
        for &engine in engines {
            for victim in [Victim::Plugin, Victim::Daemon] {
                let (run, random) = (&run, random.split());
                scope.spawn(move || run(engine, victim, random));
            }
        }
    });
}

/// What is promised of each message; gives how many are unknown.
fn check_sent(run: &Run) -> usize {
    let what = format!("{} {:?}", run.engine, run.victim);
    let mut states: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in run.log().iter().filter(|event| event["topic"] == DELIVERY) {
        let session = event["session_id"].as_str().unwrap().to_owned();
        let state = event["payload"]["state"].as_str().unwrap().to_owned();
        states.entry(session).or_default().push(state);
    }
    let mut unknown = 0;
    for name in &run.names {
        let ends = states.get(name).into_iter().flatten();
        let ends: Vec<_> = ends
            .into_iter()
            .filter(|state| *state != "queued")
            .collect();
        assert_eq!(ends.len(), 1, "{what}: {name}: {ends:?}");
        let all = run.outside.taken();
        let taken: Vec<_> = all.iter().filter(|taken| taken.text == *name).collect();
        match ends[0].as_str() {
            "sent" => assert_eq!(taken.len(), 1, "{what}: {name} is sent: {taken:?}"),
            "unknown" if run.engine == "outbound" => {
                let is_spared = run.spared.contains(name) && !is_long();
                assert!(!is_spared, "{what}: {name} is unknown, and nobody died");
                unknown += 1;
                assert!(taken.len() <= 1, "{what}: {name} is unknown: {taken:?}");
            }
            state => panic!("{what}: {name} is {state}: {taken:?}"),
        }
    }
    unknown
}

/// Proves P7c: with `kill -9` of plugin and daemon at every step, no message is lost and none is sent twice: with a
/// key that the provider takes once, or with a provider that can be asked, all are sent; else some are
/// `unknown`, stated, and never called for again.
#[test]
fn a_message_is_sent_once_or_unknown_whoever_is_killed_at_any_step() {
    let engines = ["outbound", "outbound_idempotent", "outbound_reconcile"];
    both(
        "kill -9 at each step of outbound",
        &engines,
        |engine, victim, mut random| {
            let mut run = Run::start(engine, victim);
            let begin = |world: &mut World, _: &Outside, name: &str| {
                let message = json!({ "text": name, "conversation": { "id": name } });
                world.publish(OUTBOUND, &format!("id-{name}"), name, &message);
            };
            run.every_step(&mut random, begin, is_final);
            run.assert_struck(&[
                "broker.event",
                "broker.commit",
                "answer to broker.commit",
                "send heard",
                "send done",
                "send answered",
            ]);
            let unknown = check_sent(&run);
            let is_blind = engine == "outbound";
            assert_eq!(unknown > 0, is_blind, "{engine}: {unknown} unknown");
        },
    );
}

/// Proves P4b: with `kill -9` of plugin and daemon at every step, each item of a source is one event, and the cursor
/// moves with it.
#[test]
fn an_item_of_a_source_is_one_event_whoever_is_killed_at_any_step() {
    both(
        "kill -9 at each step of a poller",
        &["poll", "list"],
        |engine, victim, mut random| {
            let mut run = Run::start(engine, victim);
            let begin = |_: &mut World, outside: &Outside, name: &str| outside.add(name);
            run.every_step(&mut random, begin, is_inbound);
            run.assert_struck(&["broker.commit", "answer to broker.commit"]);
            run.assert_struck(&[if engine == "poll" {
                "updates answered"
            } else {
                "list answered"
            }]);
            run.assert_inbound(run.names.iter().cloned());
        },
    );
}

/// Proves P5b: with `kill -9` of plugin and daemon at every step, each message of a connection is one event, in
/// order, and the server gets its ack after the event is durable.
#[test]
fn a_message_of_a_connection_is_one_event_whoever_is_killed_at_any_step() {
    both(
        "kill -9 at each step of a connection",
        &["connection"],
        |engine, victim, mut random| {
            let mut run = Run::start(engine, victim);
            let begin = |_: &mut World, outside: &Outside, name: &str| outside.add(name);
            run.every_step(&mut random, begin, is_inbound);
            run.assert_struck(&["line says", "broker.commit", "answer to broker.commit"]);
            run.assert_struck(&["line hears the ack"]);
            run.assert_inbound(run.names.iter().cloned());
        },
    );
}

/// Proves P6b: with `kill -9` of plugin and daemon at every step, the parts of a whole are kept, and each whole is
/// made once, of all of its parts in order.
#[test]
fn a_whole_is_made_once_of_all_its_parts_whoever_is_killed_at_any_step() {
    both(
        "kill -9 at each step of an assembler",
        &["assembler"],
        |engine, victim, mut random| {
            let mut run = Run::start(engine, victim);
            let begin = |world: &mut World, _: &Outside, name: &str| {
                // The second one comes first.
                for seq in [2, 1] {
                    let text = format!("{name}{seq} ");
                    let part = json!({ "text": text, "seq": seq, "of": 2 });
                    world.publish(OUTBOUND, &format!("id-{text}"), name, &part);
                }
            };
            let whole = |name: &str| format!("{name}1 {name}2 ");
            run.every_step(&mut random, begin, |seen, name| {
                is_inbound(seen, &whole(name))
            });
            run.assert_struck(&["broker.event", "broker.commit", "answer to broker.commit"]);
            run.assert_inbound(run.names.iter().map(|name| whole(name)));
            let ids: BTreeSet<_> = run
                .log()
                .iter()
                .map(|event| event["id"].to_string())
                .collect();
            assert_eq!(ids.len(), run.log().len(), "an id is one event");
        },
    );
}
