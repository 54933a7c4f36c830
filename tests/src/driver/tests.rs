//! Drivers and checker together: silent about an honest broker, loud about each dishonest one.

use std::time::Duration;

use super::fake::{Fake, Plant};
use super::*;
use crate::checker::{Options, Report, Rule, check_file};

/// Runs a small load with three crashes; returns the verdict.
fn run(plant: Plant, seed: u64) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let fake = Fake::listen(&socket, plant);
    let history = Arc::new(History::open(&dir.path().join("history.jsonl")).unwrap());
    let mut random = Random::new(seed);
    let mut plan = Plan {
        events_max: 400,
        repeat_percent: 10,
        ..Plan::default()
    };
    for subscription in &mut plan.subscriptions {
        subscription.habits.stale_ack = 80;
    }
    let mut load = Load::start(&plan, &mut random, &socket, "token", Arc::clone(&history));
    load.gate().open(1);
    for life in 1..4 {
        load.ledger()
            .wait_ticks(random.between(100..500), Duration::from_secs(5));
        history.record(Record::Crash { life });
        load.gate().close();
        fake.crash();
        history.record(Record::Restart { life: life + 1 });
        load.gate().open(life + 1);
    }
    load.finish_publishing();
    history.record(Record::FaultEnd);
    let limit = Duration::from_secs(if plant == Plant::None { 60 } else { 1 });
    let unsettled = load.drain(limit);
    history.record(Record::DrainEnd { unsettled });
    load.end();
    check_file(history.path(), Options::default()).unwrap()
}

#[test]
fn an_honest_broker_is_clean_whatever_the_load_does() {
    for seed in 1..=3 {
        let report = run(Plant::None, seed);
        eprintln!("{report}");
        report.assert_clean();
        assert!(report.acked > 300 && report.redeliveries > 10, "{report}");
    }
}

#[test]
fn each_dishonest_broker_is_caught_by_its_rule() {
    for (plant, rule) in [
        (Plant::NoDedupe, Rule::C7),
        (Plant::SessionLockOff, Rule::C4),
        (Plant::RedeliveredFlagOff, Rule::C5),
        (Plant::EpochCheckOff, Rule::C13),
        (Plant::ForgetsAcked, Rule::C1),
    ] {
        // A crash at a moment at which there is nothing to forget shows nothing.
        let reports = (7..10).map(|seed| run(plant, seed));
        let mut seen = Vec::new();
        let is_caught = reports
            .inspect(|report| seen.push(report.to_string()))
            .any(|report| report.broke(rule));
        assert!(is_caught, "{plant:?}: {seen:#?}");
    }
}
