//! One hand-made history per broken promise, and good ones in which no rule may fire.

use super::story::{SUB, Story, dlv};
use super::*;
use crate::history::{Dlv, Record};

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
