//! Schedules under clocks that skip, repeat, jump and stop.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600_000;

fn ms(text: &str) -> i64 {
    trunkline_contract::envelope::parse_rfc3339(text).unwrap()
}

fn next(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::cron(cron, Some(zone)).unwrap();
    let mut at = ms(after);
    (0..count)
        .map(|_| {
            at = schedule.next_after(at).unwrap();
            trunkline_contract::envelope::rfc3339(at).replace(":00.000Z", "Z")
        })
        .collect()
}

/// Proves P4a: a time that the clocks skip is due once, right after the gap.
#[test]
fn a_gap_is_due_once() {
    let found = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 3);
    assert_eq!(
        found,
        [
            "2026-03-29T01:00Z",
            "2026-03-30T00:30Z",
            "2026-03-31T00:30Z"
        ]
    );
    let found = next("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", 2);
    assert_eq!(found, ["2026-03-08T07:00Z", "2026-03-09T06:30Z"]);
    // Half an hour, on the other side of the world.
    let found = next(
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T00:00:00Z",
        2,
    );
    assert_eq!(found, ["2026-10-03T15:30Z", "2026-10-04T15:15Z"]);
}

/// Proves P4a: a time that the clocks repeat is due once.
#[test]
fn an_overlap_is_due_once() {
    let found = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 3);
    assert_eq!(
        found,
        [
            "2026-10-25T00:30Z",
            "2026-10-26T01:30Z",
            "2026-10-27T01:30Z"
        ]
    );
    let found = next("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2);
    assert_eq!(found, ["2026-11-01T05:30Z", "2026-11-02T06:30Z"]);
}

#[test]
fn what_follows_the_time_that_passes_is_not_held_up_by_the_clocks() {
    let found = next("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 4);
    let all = [
        "2026-10-25T00:30Z",
        "2026-10-25T01:00Z",
        "2026-10-25T01:30Z",
        "2026-10-25T02:00Z",
    ];
    assert_eq!(found, all);
    let found = next("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 2);
    assert_eq!(found, ["2026-03-29T01:00Z", "2026-03-29T01:30Z"]);
}

#[test]
fn names_last_days_nearest_weekdays_and_seconds_are_understood() {
    let from = "2026-01-31T12:00:00Z";
    assert_eq!(next("0 9 L * *", "UTC", from, 1), ["2026-02-28T09:00Z"]);
    assert_eq!(next("0 9 15W * *", "UTC", from, 2)[1], "2026-03-16T09:00Z");
    assert_eq!(next("0 9 * * FRI#2", "UTC", from, 1), ["2026-02-13T09:00Z"]);
    assert_eq!(
        next("0 9 * mar SUNL", "UTC", from, 1),
        ["2026-03-29T09:00Z"]
    );
    assert_eq!(next("@hourly", "UTC", from, 1), ["2026-01-31T13:00Z"]);
    let seconds = next("*/20 * * * * *", "UTC", from, 2);
    assert_eq!(seconds[0], "2026-01-31T12:00:20.000Z");
}

#[test]
fn what_is_no_schedule_is_refused_with_what_was_expected() {
    let error =
        |cron: &str, zone: Option<&str>| Schedule::cron(cron, zone).unwrap_err().to_string();
    assert!(error("* * *", None).starts_with("expected a cron expression of 5 or 6 fields"));
    assert!(error("61 * * * *", None).contains("found \"61 * * * *\""));
    assert!(error("0 0 1 1 * * 2030", None).starts_with("expected a cron expression of 5 or 6"));
    assert!(error(&"*".repeat(1000), None).contains("longer than 256 bytes"));
    assert_eq!(
        error("0 0 30 2 *", None),
        "expected a cron expression that is due some day, found \"0 0 30 2 *\""
    );
    assert_eq!(
        error("@daily", Some("Europe/Berlon")),
        "expected an IANA time zone such as \"Europe/Berlin\", found \"Europe/Berlon\""
    );
    assert_eq!(
        Schedule::every(999, 0).unwrap_err().to_string(),
        "expected an interval of 1000 ms to 864000000000 ms, found 999 ms"
    );
}

/// Proves P4a: missed runs are skipped, made up for once, or one by one within a bound.
#[test]
fn the_policy_decides_what_becomes_of_missed_runs() {
    let hourly = Schedule::cron("@hourly", None).unwrap();
    let due = Due::new(HOUR);
    let late = 4 * HOUR + 60_000;
    let now = |misfire| due_now(&hourly, due, late, misfire).unwrap();
    assert_eq!(
        now(Misfire::Skip),
        Due {
            at_ms: 5 * HOUR,
            missed: 4
        }
    );
    assert_eq!(
        now(Misfire::Once),
        Due {
            at_ms: 4 * HOUR,
            missed: 3
        }
    );
    assert_eq!(now(Misfire::All), due);
    let then = |misfire| due_then(&hourly, HOUR, late, misfire).unwrap();
    assert_eq!(
        then(Misfire::Skip),
        Due {
            at_ms: 5 * HOUR,
            missed: 3
        }
    );
    assert_eq!(
        then(Misfire::Once),
        Due {
            at_ms: 4 * HOUR,
            missed: 2
        }
    );
    assert_eq!(then(Misfire::All), Due::new(2 * HOUR));
    let year = 9000 * HOUR;
    let all = due_now(&hourly, due, year, Misfire::All).unwrap();
    assert_eq!(all.at_ms, year - 99 * HOUR);
    assert_eq!(all.missed, MISSED_MAX - BACKLOG_MAX);
    let once = Schedule::at(HOUR);
    assert_eq!(due_now(&once, due, late, Misfire::Once), Some(due));
    assert_eq!(due_now(&once, due, late, Misfire::Skip), None);
    assert_eq!(due_then(&once, HOUR, late, Misfire::All), None);
}

#[test]
fn a_clock_that_was_set_back_repeats_nothing_unless_it_was_set_back_by_far() {
    let hourly = Schedule::cron("@hourly", None).unwrap();
    let last = 100 * HOUR;
    let then = |now| due_then(&hourly, last, now, Misfire::Once).unwrap().at_ms;
    assert_eq!(then(last - 60_000), 101 * HOUR);
    assert_eq!(then(last - 50 * HOUR), 51 * HOUR);
    let minutes = Schedule::every(60_000, 0).unwrap();
    let far = due_now(&minutes, Due::new(100 * HOUR), HOUR, Misfire::Once).unwrap();
    assert_eq!(far.at_ms, HOUR + 60_000);
}

/// Every expression in every zone, read once.
static CRONS: LazyLock<Vec<Schedule>> = LazyLock::new(|| {
    let crons = [
        "* * * * *",
        "*/7 * * * *",
        "30 2 * * *",
        "0 0 1 * *",
        "*/15 8-18 * * MON-FRI",
        "15,45 */3 * * *",
        "@daily",
        "30 1 * * SUN",
    ];
    let zones = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "America/Sao_Paulo",
    ];
    let pairs = crons
        .iter()
        .flat_map(|cron| zones.iter().map(move |zone| (cron, zone)));
    pairs
        .map(|(cron, zone)| Schedule::cron(cron, Some(zone)).unwrap())
        .collect()
});

fn any_schedule() -> impl Strategy<Value = Schedule> {
    prop_oneof![
        prop::sample::select(&**CRONS),
        (1_000_u64..100_000_000, 0..HOUR)
            .prop_map(|(every, anchor)| Schedule::every(every, anchor).unwrap()),
    ]
}

/// One step of a life: time passes, the process is down meanwhile or the clock is set.
#[derive(Debug, Clone)]
enum Step {
    Passes(i64),
    Runs(i64),
    Jumps(i64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3 * HOUR).prop_map(Step::Passes),
        2 => (0..5 * HOUR).prop_map(Step::Runs),
        1 => (-30 * HOUR..60 * HOUR).prop_map(Step::Jumps),
    ]
}

fn live(schedule: &Schedule, misfire: Misfire, steps: &[Step]) {
    let mut now = ms("2026-03-28T00:00:00Z");
    let mut due = Due::new(schedule.next_after(now).unwrap());
    let mut met = 0_u32;
    for step in steps {
        match step {
            Step::Passes(by) | Step::Runs(by) | Step::Jumps(by) => now += by,
        }
        let decided = due_now(schedule, due, now, misfire).expect("it repeats for ever");
        assert!(decided.missed <= MISSED_MAX);
        if decided.at_ms > now {
            // Nothing that was due is forgotten, except by the policy that forgets.
            assert!(
                due.at_ms > now || misfire == Misfire::Skip,
                "{due:?} {decided:?}"
            );
            due = decided;
            continue;
        }
        match misfire {
            Misfire::Once => assert_eq!(
                Some(decided.at_ms),
                schedule.last_until(now).max(Some(due.at_ms))
            ),
            Misfire::Skip => assert!(now - decided.at_ms <= GRACE_MS),
            Misfire::All => assert!(decided.at_ms >= due.at_ms),
        }
        met += 1;
        if let Step::Runs(by) = step {
            now += by;
        }
        let last = decided.at_ms;
        due = due_then(schedule, last, now, misfire).expect("it repeats for ever");
        assert!(due.at_ms > last, "{last} again: {due:?}");
        assert!(misfire != Misfire::Skip || due.at_ms >= now);
    }
    assert!(met <= steps.len() as u32);
}

/// Proves P4a: whatever the clock does, nothing is due twice, nothing is lost but what the policy skips, and
/// what is next is in reach.
#[test]
fn ten_thousand_lives_under_jumping_clocks() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let misfire = prop::sample::select(vec![Misfire::Skip, Misfire::Once, Misfire::All]);
    let life = (
        any_schedule(),
        misfire,
        prop::collection::vec(any_step(), 1..12),
    );
    runner
        .run(&life, |(schedule, misfire, steps)| {
            live(&schedule, misfire, &steps);
            Ok(())
        })
        .unwrap();
}
