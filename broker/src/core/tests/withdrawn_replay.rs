//! Dead letters of what an instance may no longer receive, put back once it may again; and replays that wait when its
//! subscriptions become others.

use serde_json::{Value, json};

use super::driver::Broker;
use super::switch::{ack, hello, numbers, taken};
use super::withdrawn::{TOPICS, dead, declares, grant, names, say, start, stop, two_topics};
use crate::core::Retention;
use crate::router::LinkId;

fn letter(broker: &mut Broker, app: LinkId) -> Value {
    broker.advance(20);
    let page = broker.call(app, "admin.dlq.list", &json!({})).unwrap();
    json!({ "id": page["letters"][0]["id"] })
}

fn reject(broker: &mut Broker, link: LinkId, delivery: &Value) {
    let reject = json!({ "deliveries": [delivery] });
    broker.call(link, "broker.reject", &reject).unwrap();
    broker.advance(20);
}

/// What came: its number, and whether it is a replay.
fn came(broker: &mut Broker, link: LinkId) -> Vec<(u64, bool)> {
    let events = broker.take(link, "broker.event").into_iter();
    let mut came: Vec<(u64, bool)> = events
        .map(|event| {
            let number = event["event"]["payload"].as_u64().unwrap();
            (number, !event["event"]["metadata"]["replay_of"].is_null())
        })
        .collect();
    came.sort_unstable();
    came
}

/// Proves LN19: a package goes on to a version that may receive less and back again. What waited meanwhile is not passed
/// over: it is a dead letter, and comes when it is put back.
#[test]
fn what_a_version_that_went_back_could_not_receive_is_put_back() {
    let (mut broker, app, key) = two_topics(Retention::default());
    let link = start(&mut broker, &key, &hello("mail"));
    stop(&mut broker, &key, link);
    say(&mut broker, app, "agent.x", 1);
    say(&mut broker, app, "agent.y", 2);
    // One process for all: there is none in standby that would have to go on.
    grant(&mut broker, &key, &["agent.y"]);
    let link = start(&mut broker, &key, &hello("mail"));
    assert_eq!(numbers(&taken(&mut broker, link)), [2]);
    stop(&mut broker, &key, link);
    grant(&mut broker, &key, &TOPICS);
    let link = start(&mut broker, &key, &hello("mail"));
    assert_eq!(came(&mut broker, link), [(2, false)]);
    assert_eq!(dead(&mut broker, app), [1]);
    let id = letter(&mut broker, app);
    broker.call(app, "admin.dlq.replay", &id).unwrap();
    assert_eq!(came(&mut broker, link), [(1, true)]);
    assert!(dead(&mut broker, app).is_empty());
}

/// Proves Q5: the letters of a subscription that has ended go to the one of its name, or to the instance's main one, if
/// that selects them; else it is said why not.
#[test]
fn letters_of_a_subscription_that_has_ended_are_put_back() {
    for is_declared_again in [false, true] {
        let (mut broker, app, key) = two_topics(Retention::default());
        let own = declares(&[("own", &["agent.x"])]);
        let link = start(&mut broker, &key, &own);
        stop(&mut broker, &key, link);
        say(&mut broker, app, "agent.x", 1);
        grant(&mut broker, &key, &["agent.y"]);
        let link = start(&mut broker, &key, &hello("mail"));
        assert_eq!(dead(&mut broker, app), [1]);
        assert_eq!(names(&broker, &key), ["instance.mail.a"], "it has ended");
        let id = letter(&mut broker, app);
        let code = broker.refusal(app, "admin.dlq.replay", &id);
        assert_eq!(code, "topic_not_granted");
        stop(&mut broker, &key, link);
        grant(&mut broker, &key, &TOPICS);
        let hello = if is_declared_again {
            own
        } else {
            hello("mail")
        };
        let link = start(&mut broker, &key, &hello);
        broker.call(app, "admin.dlq.replay", &id).unwrap();
        assert_eq!(came(&mut broker, link), [(1, true)]);
        assert!(dead(&mut broker, app).is_empty());
    }
}

/// Proves Q5: a replay that waits in a subscription that another one goes on with is handed over: that one never reads it.
#[test]
fn a_replay_outlives_its_subscription() {
    let (mut broker, app, key) = two_topics(Retention::default());
    let link = start(&mut broker, &key, &declares(&[("own", &["agent.x"])]));
    say(&mut broker, app, "agent.x", 1);
    let held = taken(&mut broker, link);
    reject(&mut broker, link, &held[0].1);
    stop(&mut broker, &key, link);
    let id = letter(&mut broker, app);
    broker.call(app, "admin.dlq.replay", &id).unwrap();
    let link = start(&mut broker, &key, &declares(&[("new", &["agent.x"])]));
    let held = taken(&mut broker, link);
    assert_eq!(numbers(&held), [1]);
    ack(&mut broker, link, &held[0].1);
    broker.advance(20);
    assert_eq!(
        names(&broker, &key),
        ["instance.mail.a", "instance.mail.a.new"]
    );
}

/// Proves Q5: a replay is handed over by the subscription that it was asked of, also where another one selects its topic
/// and came by the event: that one may be done with it, and the log may have forgotten it.
#[test]
fn a_replay_is_not_left_to_another_subscription() {
    let (mut broker, app, key) = two_topics(Retention::default());
    let link = start(&mut broker, &key, &hello("mail"));
    say(&mut broker, app, "agent.x", 1);
    say(&mut broker, app, "agent.x", 2);
    let held = taken(&mut broker, link);
    reject(&mut broker, link, &held[1].1);
    stop(&mut broker, &key, link);
    let id = letter(&mut broker, app);
    broker.call(app, "admin.dlq.replay", &id).unwrap();
    let link = start(&mut broker, &key, &declares(&[("own", &["agent.x"])]));
    let came = came(&mut broker, link);
    assert!(came.contains(&(2, true)), "{came:?}");
    assert!(came.contains(&(1, false)), "{came:?}");
}

/// Proves LN10: what was put back and waits in a subscription that goes back for other events is a dead letter again, and
/// not forgotten.
#[test]
fn a_replay_survives_that_its_subscription_goes_back() {
    let (mut broker, app, key) = two_topics(Retention::default());
    let link = start(&mut broker, &key, &declares(&[("own", &["agent.x"])]));
    say(&mut broker, app, "agent.x", 1);
    let held = taken(&mut broker, link);
    reject(&mut broker, link, &json!(held[0].1));
    stop(&mut broker, &key, link);
    say(&mut broker, app, "agent.y", 2);
    say(&mut broker, app, "agent.z", 3);
    let id = letter(&mut broker, app);
    broker.call(app, "admin.dlq.replay", &id).unwrap();
    let link = start(&mut broker, &key, &declares(&[("own", &TOPICS)]));
    assert_eq!(came(&mut broker, link), [(2, false)]);
    let id = letter(&mut broker, app);
    broker.call(app, "admin.dlq.replay", &id).unwrap();
    assert_eq!(came(&mut broker, link), [(1, true)]);
}
