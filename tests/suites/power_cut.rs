//! Promise: an acked event survives a power cut.
//!
//! The store lies on ext4 behind a loop device; its power is cut under the load, with everything that was not
//! synced. Ten cuts in every check, a hundred and more in the long form. Needs root.

use trunkline_tests::daemon::Setup;
use trunkline_tests::driver::Plan;
use trunkline_tests::powercut::PowerCutDisk;
use trunkline_tests::random::Random;
use trunkline_tests::scenario::{Scenario, is_long};
use trunkline_tests::skip::has_root;

const DISK_BYTES: u64 = 256 << 20;

/// Proves: no acked event is lost at a power cut, and nothing was delivered that the cut erased.
#[test]
fn a_power_cut_loses_nothing_that_was_acked() {
    if !has_root("power_cut") {
        return;
    }
    let cuts = if is_long() { 120 } else { 10 };
    let (seed, mut random) = Random::from_environment("power cut");
    let home = tempfile::tempdir().unwrap();
    let mut disk = PowerCutDisk::create(DISK_BYTES).unwrap();
    let setup = Setup::new(home.path(), &disk.path().join("data"), "");
    let mut run = Scenario::begin(home.path(), setup, &Plan::default(), seed, &mut random);
    for _ in 0..cuts {
        run.progress(random.between(1..600));
        run.cut(|| disk.cut().unwrap());
        disk.remount().unwrap();
        run.restart();
    }
    run.progress(300);
    let report = run.finish();
    eprintln!("{report}");
    report.assert_clean();
    assert!(report.faults >= cuts);
}

/// Proves: also the first seconds of a new store survive, with its directory entries.
#[test]
fn a_power_cut_right_after_the_first_ack_keeps_it() {
    if !has_root("power_cut") {
        return;
    }
    let stores = if is_long() { 20 } else { 2 };
    let (seed, mut random) = Random::from_environment("power cut of a new store");
    for _ in 0..stores {
        let home = tempfile::tempdir().unwrap();
        let mut disk = PowerCutDisk::create(DISK_BYTES).unwrap();
        let setup = Setup::new(home.path(), &disk.path().join("data"), "");
        let mut run = Scenario::begin(home.path(), setup, &Plan::default(), seed, &mut random);
        run.progress(1);
        run.cut(|| disk.cut().unwrap());
        disk.remount().unwrap();
        run.restart();
        run.progress(20);
        run.finish().assert_clean();
    }
}
