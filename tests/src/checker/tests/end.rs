//! Rules about what was published, what the log holds, and how the run ended.

use crate::checker::story::{SUB, Story, dlv};
use crate::checker::{Options, Rule, check};
use crate::history::{Dlv, Record};

/// Proves C1: an acked event that never comes is found.
#[test]
fn c1_fires_when_an_acked_event_never_comes() {
    Story::new().publish("e1", "s", 1).breaks(Rule::C1);
}

#[test]
fn c1_fires_when_an_acked_event_is_missing_from_the_log() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .ack("e1", "d1");
    story.add(Record::LogEnd).breaks(Rule::C1);
}

#[test]
fn c1_fires_when_a_rejected_event_is_no_dead_letter() {
    let story = || {
        let mut story = Story::new();
        story.publish("e1", "s", 1).dlv(1, "e1", "s", "d1", 1);
        let (sub, delivery, id) = (SUB.into(), "d1".into(), "e1".into());
        story.add(Record::Reject { sub, delivery, id });
        story.at += 1_000;
        story
            .add(Record::FaultEnd)
            .add(Record::DrainEnd { unsettled: 0 });
        story
            .add(Record::Log {
                seq: 1,
                id: "e1".into(),
            })
            .add(Record::LogEnd);
        story
    };
    story().breaks(Rule::C1);
    story().dead("e1", "rejected").holds();
}

#[test]
fn c1_is_silent_about_dead_letters_gaps_other_topics_and_what_came_before() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dead("e1", "rejected")
        .publish("e2", "s", 2);
    story.add(Record::Gap {
        sub: SUB.into(),
        from: 2,
        to: 5,
    });
    story.add(Record::PubInvoke {
        id: "e3".into(),
        source: "p".into(),
        topic: "b.b".into(),
        session: None,
        hash: 1,
    });
    story.ok("e3", 7, false);
    story.add(Record::Sub {
        sub: "later".into(),
        filters: vec![">".into()],
        from_seq: 7,
    });
    story.holds();
}

/// Proves C7: one id with two numbers is found.
#[test]
fn c7_fires_when_an_id_is_acked_with_two_numbers() {
    let mut story = Story::new();
    story.publish("e1", "s", 1).unknown("e1").ok("e1", 2, true);
    story
        .dlv(1, "e1", "s", "d1", 1)
        .ack("e1", "d1")
        .breaks(Rule::C7);
}

#[test]
fn c7_fires_when_a_known_id_is_stored_again() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .invoke("e1", "s")
        .ok("e1", 1, false);
    story
        .dlv(1, "e1", "s", "d1", 1)
        .ack("e1", "d1")
        .breaks(Rule::C7);
}

#[test]
fn c7_fires_when_two_events_share_a_number() {
    let mut story = Story::new();
    story.publish("e1", "s", 1).publish("e2", "t", 1);
    story.dlv(1, "e1", "s", "d1", 1).ack("e1", "d1");
    story
        .dlv(1, "e2", "t", "d2", 1)
        .ack("e2", "d2")
        .breaks(Rule::C7);
}

/// Proves C10: an unanswered publish that was stored twice is found.
#[test]
fn c10_fires_when_an_unanswered_publish_appears_twice() {
    let mut story = Story::new();
    story
        .invoke("e1", "s")
        .crash(1)
        .unknown("e1")
        .invoke("e1", "s")
        .ok("e1", 2, false);
    story
        .attach(2, 2)
        .dlv(2, "e1", "s", "d1", 1)
        .ack_sent("e1", "d1");
    story
        .dlv(2, "e1", "s", "d2", 1)
        .ack("e1", "d2")
        .breaks(Rule::C10);
}

#[test]
fn c10_fires_when_the_log_holds_an_unanswered_publish_twice() {
    let mut story = Story::new();
    story.invoke("e1", "s").unknown("e1");
    story.add(Record::Log {
        seq: 1,
        id: "e1".into(),
    });
    story.add(Record::Log {
        seq: 2,
        id: "e1".into(),
    });
    story.add(Record::LogEnd).breaks(Rule::C10);
}

#[test]
fn c10_is_silent_when_it_appears_never_or_once() {
    let mut story = Story::new();
    story
        .invoke("e1", "s")
        .unknown("e1")
        .invoke("e2", "t")
        .unknown("e2");
    story.dlv(1, "e2", "t", "d1", 1).ack("e2", "d1").holds();
}

/// Proves C11: a delivery of what was not durable is found, by a mark, by the repeat, by the log.
#[test]
fn c11_fires_when_a_delivery_is_above_the_durable_mark() {
    let mut story = Story::new();
    story.publish("e1", "s", 5).add(Record::Mark { seq: 4 });
    story.dlv_as(Dlv {
        seq: Some(5),
        ..dlv(1, "e1", "s", "d1", 1)
    });
    story.ack("e1", "d1").breaks(Rule::C11);
}

#[test]
fn c11_fires_when_a_cut_erases_what_was_delivered() {
    let mut story = Story::new();
    story
        .invoke("e1", "s")
        .dlv(1, "e1", "s", "d1", 1)
        .add(Record::Cut { life: 1 });
    story
        .unknown("e1")
        .invoke("e1", "s")
        .ok("e1", 1, false)
        .attach(2, 2);
    story
        .dlv(2, "e1", "s", "d2", 2)
        .ack("e1", "d2")
        .breaks(Rule::C11);
}

#[test]
fn c11_fires_when_the_log_does_not_hold_what_was_delivered() {
    let mut story = Story::new();
    story
        .invoke("e1", "s")
        .unknown("e1")
        .dlv(1, "e1", "s", "d1", 1)
        .ack("e1", "d1");
    story.add(Record::LogEnd).breaks(Rule::C11);
}

/// Proves C12: a drain that does not end, or ends late, is found.
#[test]
fn c12_fires_when_the_drain_is_late_or_leaves_something() {
    let mut story = Story::new();
    story.add(Record::FaultEnd);
    story.at += 60_001;
    story
        .add(Record::DrainEnd { unsettled: 0 })
        .breaks(Rule::C12);

    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .ack("e1", "d1");
    story
        .add(Record::DrainEnd { unsettled: 1 })
        .breaks(Rule::C12);

    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .nak("e1", "d1")
        .breaks(Rule::C12);
}

#[test]
fn c12_fires_when_the_drain_never_ends() {
    let story = Story::new();
    let report = check(&story.lines, Options::default());
    assert!(report.broke(Rule::C12), "{report}");
    check(
        &story.lines,
        Options {
            drained: false,
            ..Options::default()
        },
    )
    .assert_clean();
}
