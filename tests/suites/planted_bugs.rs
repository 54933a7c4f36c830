//! A suite that never failed proves nothing: here a daemon with a planted mistake must be caught.
//!
//! The daemon is built with the feature `planted-bugs` under a name of its own, see [`BUILD`]; without
//! `TRUNKLINE_PLANT` it is an honest one, and that must be clean.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use trunkline_tests::checker::{Report, Rule};
use trunkline_tests::daemon::{Setup, built};
use trunkline_tests::driver::Plan;
use trunkline_tests::powercut::PowerCutDisk;
use trunkline_tests::random::Random;
use trunkline_tests::scenario::Scenario;
use trunkline_tests::skip::has_root;

use std::path::Path;
use std::time::Duration;

/// How the daemon with the plants is built.
const BUILD: &str = "cargo planted";
/// A broken broker need not be waited for long.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

fn planted(home: &Path, data: &Path, plant: &str) -> Setup {
    let mut setup = Setup::new(home, data, "");
    setup.program = built("trunkline-planted", BUILD);
    if !plant.is_empty() {
        setup
            .variables
            .push(("TRUNKLINE_PLANT".into(), plant.into()));
    }
    setup
}

/// Runs the load with kills of the daemon.
fn with_kills(plant: &str) -> Report {
    with_kills_that_drain(plant, Some(DRAIN_LIMIT))
}

/// The same, with as much time to drain: a bug that is to be found may keep it from that for good.
fn with_kills_that_drain(plant: &str, limit: Option<Duration>) -> Report {
    let (seed, mut random) = Random::from_environment(plant);
    let home = tempfile::tempdir().unwrap();
    let setup = planted(home.path(), &home.path().join("data"), plant);
    let mut plan = Plan {
        repeat_percent: 10,
        ..Plan::default()
    };
    for subscription in &mut plan.subscriptions {
        subscription.habits.stale_ack = 80;
    }
    let mut run = Scenario::begin(home.path(), setup, &plan, seed, &mut random);
    if let Some(limit) = limit {
        run.drain_limit = limit;
    }
    for _ in 0..3 {
        run.progress(random.between(300..800));
        run.crash();
        run.restart();
    }
    run.progress(300);
    run.finish()
}

/// Runs the load with power cuts.
fn with_cuts(plant: &str) -> Report {
    let (seed, mut random) = Random::from_environment(plant);
    let home = tempfile::tempdir().unwrap();
    let mut disk = PowerCutDisk::create(256 << 20).unwrap();
    let setup = planted(home.path(), &disk.path().join("data"), plant);
    let mut run = Scenario::begin(home.path(), setup, &Plan::default(), seed, &mut random);
    if !plant.is_empty() {
        run.drain_limit = DRAIN_LIMIT;
    }
    for _ in 0..4 {
        run.progress(random.between(300..800));
        run.cut(|| disk.cut().unwrap());
        disk.remount().unwrap();
        run.restart();
    }
    run.progress(300);
    run.finish()
}

fn caught(report: &Report, rules: &[Rule]) {
    eprintln!("{report}");
    assert!(
        rules.iter().any(|rule| report.broke(*rule)),
        "{rules:?} did not fire: {report}"
    );
}

/// Proves: acking before the sync is caught, and only a power cut can catch it.
#[test]
fn acking_before_the_sync_is_caught_by_the_power_cut_alone() {
    if !has_root("planted_bugs") {
        return;
    }
    with_kills_that_drain("ack_before_fsync", None).assert_clean();
    caught(
        &with_cuts("ack_before_fsync"),
        &[Rule::C1, Rule::C7, Rule::C11],
    );
}

#[test]
fn a_broker_that_forgets_known_ids_is_caught() {
    caught(&with_kills("no_dedupe"), &[Rule::C7, Rule::C10]);
}

#[test]
fn a_broker_that_hands_out_two_of_a_session_is_caught() {
    caught(&with_kills("session_lock_off"), &[Rule::C4]);
}

#[test]
fn a_broker_that_hides_repeats_is_caught() {
    caught(&with_kills("redelivered_flag_off"), &[Rule::C5]);
}

#[test]
fn a_broker_that_takes_settlements_of_old_deliveries_is_caught() {
    caught(&with_kills("epoch_check_off"), &[Rule::C13]);
}

#[test]
fn the_same_daemon_without_a_plant_is_clean() {
    with_kills_that_drain("", None).assert_clean();
}
