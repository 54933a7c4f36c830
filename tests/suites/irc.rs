//! Promise: on a real network too no line that counts is lost and no repeat goes unmarked. A line of a human
//! counts from the ack of its publish; an answer is settled when the server has taken it.
//!
//! A real `ngircd`, two accounts of the plugin, an agent that echoes, and a human with a client of other people.
//! It needs `cargo daemon` and `cargo channels`. The short form runs in every check;
//! `TRUNKLINE_LONG=1` or `cargo fault-long` runs the long one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the suite measures time and starts real processes; it is no part of the daemon"
)]

#[path = "irc/human.rs"]
mod human;
#[path = "irc/rig.rs"]
mod rig;
#[path = "irc/server.rs"]
mod server;
#[path = "irc/states.rs"]
mod states;
#[path = "irc/verdict.rs"]
mod verdict;

use std::path::Path;

use rig::{BOTS, Rig, Victim};
use trunkline_tests::random::Random;
use trunkline_tests::scenario::is_long;
use trunkline_tests::skip::skip;

fn start(home: &Path, test: &str) -> Option<Rig> {
    Rig::start(home)
        .inspect_err(|error| skip(test, &error.to_string()))
        .ok()
}

/// Proves: a line reaches the agent through each account, and its answer the human.
#[test]
fn a_line_makes_the_round_trip() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut rig) = start(home.path(), "irc_round_trip") else {
        return;
    };
    let (_, mut random) = Random::from_environment("irc round trip");
    rig.progress(1, &mut random);
    for bot in BOTS {
        rig.wait_answered(bot, &format!("#{bot}"));
        rig.wait_answered(bot, bot);
    }
    let text = format!("echo: {}", rig.say("#lobby"));
    for bot in BOTS {
        rig.wait_seen(bot, &text);
    }
    let outcome = rig.finish();
    eprintln!("{outcome}");
    outcome.assert_clean();
}

/// Proves: whoever is killed and whenever, no counted line is lost, and what is sent again was marked.
#[test]
fn kills_lose_no_counted_line_and_repeat_nothing_unmarked() {
    let (_, mut random) = Random::from_environment("irc kills");
    let home = tempfile::tempdir().unwrap();
    let Some(mut rig) = start(home.path(), "irc_kills") else {
        return;
    };
    // Everybody is killed once, in any order; then who chance wants.
    let mut once = Victim::ALL.to_vec();
    for _ in 0..if is_long() { 50 } else { 5 } {
        rig.progress(random.between(1..12), &mut random);
        rig.burst(&mut random);
        let victim = if once.is_empty() {
            rig.choose(&mut random)
        } else {
            once.swap_remove(random.below(once.len() as u64) as usize)
        };
        rig.kill(victim);
        if random.chance(20) {
            let another = rig.choose(&mut random);
            rig.kill(another);
        }
    }
    let outcome = rig.finish();
    eprintln!("{outcome}");
    outcome.assert_clean();
}
