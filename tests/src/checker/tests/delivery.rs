//! Rules about single deliveries and their settlements.

use crate::checker::Rule;
use crate::checker::story::{SUB, Story, dlv};
use crate::history::{Dlv, Record};

/// Proves C2: what nobody published is found.
#[test]
fn c2_fires_when_nobody_published_it() {
    Story::new().dlv(1, "ghost", "s", "d1", 1).breaks(Rule::C2);
}

#[test]
fn c2_fires_when_the_payload_or_the_session_was_changed() {
    let mut story = Story::new();
    story.publish("e1", "s", 1);
    story
        .dlv_as(Dlv {
            hash: 2,
            ..dlv(1, "e1", "s", "d1", 1)
        })
        .ack("e1", "d1")
        .breaks(Rule::C2);
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "t", "d1", 1)
        .ack("e1", "d1")
        .breaks(Rule::C2);
}

/// Proves C3: an event that comes after a later one of its session is found.
#[test]
fn c3_fires_when_first_deliveries_are_out_of_order() {
    let mut story = Story::new();
    story.publish("e1", "s", 1).publish("e2", "s", 2);
    story.dlv(1, "e2", "s", "d1", 1).ack("e2", "d1");
    story
        .dlv(1, "e1", "s", "d2", 1)
        .ack("e1", "d2")
        .breaks(Rule::C3);
}

/// Proves C4: two of one session in flight are found.
#[test]
fn c4_fires_when_two_of_a_session_are_in_flight() {
    let mut story = Story::new();
    story.publish("e1", "s", 1).publish("e2", "s", 2);
    story.dlv(1, "e1", "s", "d1", 1).dlv(1, "e2", "s", "d2", 1);
    story.ack("e1", "d1").ack("e2", "d2").breaks(Rule::C4);
}

#[test]
fn c4_fires_when_an_event_is_handed_out_twice_at_once() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .dlv(1, "e1", "s", "d2", 2);
    story.ack("e1", "d2").breaks(Rule::C4);
}

#[test]
fn c4_fires_when_a_waiting_event_is_overtaken() {
    let mut story = Story::new();
    story.publish("e1", "s", 1).publish("e2", "s", 2);
    story
        .dlv(1, "e1", "s", "d1", 1)
        .nak("e1", "d1")
        .dlv(1, "e2", "s", "d2", 1)
        .ack("e2", "d2");
    story
        .dlv(1, "e1", "s", "d3", 2)
        .ack("e1", "d3")
        .breaks(Rule::C4);
}

#[test]
fn c4_fires_when_an_unsettled_event_is_overtaken_after_a_crash() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .publish("e2", "s", 2)
        .dlv(1, "e1", "s", "d1", 1)
        .crash(1);
    story
        .attach(2, 2)
        .dlv(2, "e2", "s", "d2", 1)
        .ack("e2", "d2");
    story
        .dlv(2, "e1", "s", "d3", 2)
        .ack("e1", "d3")
        .breaks(Rule::C4);
}

#[test]
fn c4_is_silent_about_other_sessions_and_events_without_one() {
    let mut story = Story::new();
    story.publish("e1", "s", 1).publish("e2", "t", 2);
    story.dlv(1, "e1", "s", "d1", 1).dlv(1, "e2", "t", "d2", 1);
    for id in ["n1", "n2"] {
        story.add(Record::PubInvoke {
            id: id.into(),
            source: "p".into(),
            topic: "a.b".into(),
            session: None,
            hash: 1,
        });
    }
    story.dlv_as(Dlv {
        session: None,
        ..dlv(1, "n1", "", "d3", 1)
    });
    story.dlv_as(Dlv {
        session: None,
        ..dlv(1, "n2", "", "d4", 1)
    });
    story
        .ack("e2", "d2")
        .ack("e1", "d1")
        .ack("n1", "d3")
        .ack("n2", "d4")
        .holds();
}

/// Proves C5: a repeat that does not say so is found.
#[test]
fn c5_fires_when_a_repeat_is_not_marked() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .crash(1)
        .attach(2, 2);
    story
        .dlv(2, "e1", "s", "d2", 1)
        .ack("e1", "d2")
        .breaks(Rule::C5);
}

#[test]
fn c5_fires_when_the_attempt_does_not_rise() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .nak("e1", "d1");
    story.dlv(1, "e1", "s", "d2", 2).nak("e1", "d2");
    story
        .dlv(1, "e1", "s", "d3", 2)
        .ack("e1", "d3")
        .breaks(Rule::C5);
}

#[test]
fn c5_is_silent_when_a_crash_lowers_the_attempt_to_two() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .nak("e1", "d1");
    story
        .dlv(1, "e1", "s", "d2", 2)
        .nak("e1", "d2")
        .dlv(1, "e1", "s", "d3", 3)
        .crash(1);
    story
        .attach(2, 2)
        .dlv(2, "e1", "s", "d4", 2)
        .ack("e1", "d4")
        .holds();
}

/// Proves C6: a delivery after a durable ack is found.
#[test]
fn c6_fires_when_an_acked_event_comes_again() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .ack("e1", "d1");
    story
        .dlv(1, "e1", "s", "d2", 2)
        .ack("e1", "d2")
        .breaks(Rule::C6);
}

#[test]
fn c6_fires_when_a_crash_forgets_an_ack_that_had_time_to_be_durable() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .ack("e1", "d1");
    story.at += 250;
    story
        .crash(1)
        .attach(2, 2)
        .dlv(2, "e1", "s", "d2", 2)
        .ack("e1", "d2")
        .breaks(Rule::C6);
}

#[test]
fn c6_is_silent_when_a_crash_forgets_an_ack_just_answered_even_by_a_stopped_broker() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .ack("e1", "d1")
        .add(Record::Stop);
    story.at += 5_000;
    story
        .crash(1)
        .attach(2, 2)
        .dlv(2, "e1", "s", "d2", 2)
        .ack("e1", "d2")
        .holds();
}

#[test]
fn c6_is_silent_about_seek_and_replay() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .ack("e1", "d1");
    story.dlv_as(Dlv {
        replay_of: Some("x".into()),
        ..dlv(1, "e1", "s", "d2", 1)
    });
    story.ack("e1", "d2").add(Record::Seek { sub: SUB.into() });
    story.dlv(1, "e1", "s", "d3", 1).ack("e1", "d3").holds();
}

/// Proves C8: endless attempts are found.
#[test]
fn c8_fires_when_attempts_pass_the_limit() {
    let mut story = Story::new();
    story.publish("e1", "s", 1);
    for attempt in 1..=7 {
        let delivery = format!("d{attempt}");
        story.dlv(1, "e1", "s", &delivery, attempt);
        if attempt < 7 {
            story.nak("e1", &delivery);
        } else {
            story.ack("e1", &delivery);
        }
    }
    story.breaks(Rule::C8);
}

#[test]
fn c8_is_silent_about_attempts_given_back_without_a_failure() {
    let mut story = Story::new();
    story.publish("e1", "s", 1);
    for attempt in 1..=9 {
        let delivery = format!("d{attempt}");
        story.dlv(1, "e1", "s", &delivery, attempt);
        let (sub, id) = (SUB.into(), "e1".into());
        story.add(Record::Nak {
            counted: false,
            sub,
            delivery,
            id,
        });
    }
    story.dlv(1, "e1", "s", "d10", 10).ack("e1", "d10").holds();
}

#[test]
fn c8_fires_when_a_dead_letter_has_no_reason() {
    Story::new()
        .publish("e1", "s", 1)
        .dead("e1", "")
        .breaks(Rule::C8);
}

/// Proves C9: more in flight than asked for is found.
#[test]
fn c9_fires_when_in_flight_passes_the_credit() {
    let mut story = Story::new();
    for n in 1..=9 {
        let (id, session, delivery) = (format!("e{n}"), format!("s{n}"), format!("d{n}"));
        story
            .publish(&id, &session, n)
            .dlv(1, &id, &session, &delivery, 1);
    }
    for n in 1..=9 {
        story.ack(&format!("e{n}"), &format!("d{n}"));
    }
    story.breaks(Rule::C9);
}

#[test]
fn c9_is_silent_when_the_credit_is_used_again_and_again() {
    let mut story = Story::new();
    for n in 1..=8 {
        let (id, session, delivery) = (format!("e{n}"), format!("s{n}"), format!("d{n}"));
        story
            .publish(&id, &session, n)
            .dlv(1, &id, &session, &delivery, 1);
    }
    story
        .ack("e1", "d1")
        .publish("e9", "s9", 9)
        .dlv(1, "e9", "s9", "d9", 1);
    for n in 2..=9 {
        story.ack(&format!("e{n}"), &format!("d{n}"));
    }
    story.holds();
}

/// Proves C13: a settlement of an older delivery that counts is found.
#[test]
fn c13_fires_when_the_ack_of_an_older_delivery_counts() {
    let mut story = Story::new();
    story
        .publish("e1", "s", 1)
        .dlv(1, "e1", "s", "d1", 1)
        .nak("e1", "d1");
    story
        .dlv(1, "e1", "s", "d2", 2)
        .ack("e1", "d1")
        .ack("e1", "d2")
        .breaks(Rule::C13);
}
