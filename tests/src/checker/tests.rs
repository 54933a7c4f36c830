//! One hand-made history per broken promise, and good ones in which no rule may fire.

mod delivery;
mod end;

use super::story::{SUB, Story};
use super::*;
use crate::history::Record;

#[test]
fn a_plain_run_is_clean() {
    let mut story = Story::new();
    for n in 1..=50_u64 {
        let (id, delivery) = (format!("e{n}"), format!("d{n}"));
        let session = format!("s{}", n % 3);
        story.publish(&id, &session, n * 2);
        story
            .dlv(1, &id, &session, &delivery, 1)
            .ack(&id, &delivery);
    }
    let report = story.check();
    report.assert_clean();
    assert_eq!(
        (report.acked, report.deliveries, report.redeliveries),
        (50, 50, 0)
    );
}

#[test]
fn a_run_with_every_honest_fault_is_clean() {
    let mut story = Story::new();
    // An ack that was lost with the broker: the event comes again, and so does the one behind it.
    story
        .publish("e1", "s", 1)
        .publish("e2", "s", 2)
        .invoke("e3", "s");
    story
        .dlv(1, "e1", "s", "d1", 1)
        .ack_sent("e1", "d1")
        .dlv(1, "e2", "s", "d2", 1);
    story
        .crash(1)
        .unknown("e3")
        .invoke("e3", "s")
        .ok("e3", 3, true)
        .attach(2, 2);
    story.dlv(2, "e1", "s", "d3", 2).ack("e1", "d3");
    story
        .dlv(2, "e2", "s", "d4", 2)
        .nak("e2", "d4")
        .dlv(2, "e2", "s", "d5", 3);
    // A stale ack is answered as stale and counts for nothing.
    story.ack_sent("e2", "d4");
    story.add(Record::AckStale {
        sub: SUB.into(),
        delivery: "d4".into(),
        id: "e2".into(),
    });
    story.ack("e2", "d5");
    // A subscriber that is killed with an event in its hands.
    story
        .dlv(2, "e3", "s", "d6", 1)
        .add(Record::Kill { pid: 102 })
        .attach(3, 2);
    story.dlv(3, "e3", "s", "d7", 2).ack("e3", "d7");
    // A delivery of the former life that is read late.
    story
        .publish("e4", "t", 4)
        .crash(2)
        .dlv(3, "e4", "t", "d8", 1)
        .attach(4, 3);
    story.dlv(4, "e4", "t", "d9", 2).ack("e4", "d9");
    // Dead by too many failures: the session goes on.
    story
        .publish("e5", "t", 5)
        .publish("e6", "t", 6)
        .dlv(4, "e5", "t", "d10", 1);
    story
        .nak("e5", "d10")
        .dlv(4, "e6", "t", "d11", 1)
        .ack("e6", "d11");
    story.dead("e5", "delivery_limit");
    // An old lease that ran out by itself.
    story.publish("e7", "t", 7).dlv(4, "e7", "t", "d12", 1);
    story.at += 31_000;
    story.dlv(4, "e7", "t", "d13", 2).ack("e7", "d13");
    for (seq, id) in ["e1", "e2", "e3", "e4", "e5", "e6", "e7"]
        .iter()
        .enumerate()
    {
        story.add(Record::Log {
            seq: seq as u64 + 1,
            id: (*id).into(),
        });
    }
    story.add(Record::LogEnd).holds();
}

#[test]
fn a_report_names_the_first_violations_and_counts_the_rest() {
    let mut story = Story::new();
    for n in 1..=30 {
        story.publish(&format!("e{n}"), "s", n);
    }
    let text = story.check().to_string();
    assert!(
        text.contains("C1 broken 30 times: no acked event is lost"),
        "{text}"
    );
    assert!(
        text.contains("e1 (1) was acked and never came to client.ops.all"),
        "{text}"
    );
    assert!(!text.contains("e21 (21)"), "{text}");
}

#[test]
fn a_long_history_is_checked_in_linear_time() {
    let count = |n: u64| {
        let mut story = Story::new();
        for n in 1..=n {
            let (id, delivery) = (format!("e{n}"), format!("d{n}"));
            let session = format!("s{}", n % 16);
            story
                .publish(&id, &session, n)
                .dlv(1, &id, &session, &delivery, 1)
                .ack(&id, &delivery);
        }
        let begun = std::time::Instant::now();
        story.check().assert_clean();
        begun.elapsed()
    };
    count(1_000);
    let (small, large) = (count(5_000), count(50_000));
    assert!(
        large < small * 40 + std::time::Duration::from_millis(500),
        "{small:?}, {large:?}"
    );
}

#[test]
fn filters_match_as_the_contract_says() {
    for (filter, topic, expected) in [
        ("a.b", "a.b", true),
        ("a.*", "a.b", true),
        ("a.*", "a.b.c", false),
        ("a.>", "a.b.c", true),
        ("a.>", "a", false),
        (">", "a", true),
        ("a.b", "a", false),
        ("*.b.>", "a.b.c.d", true),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter} on {topic}");
    }
}
