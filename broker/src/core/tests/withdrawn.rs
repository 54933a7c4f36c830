//! What waits for an instance when it may no longer receive it, for each way in which that happens.

use serde_json::{Value, json};
use trunkline_contract::topic::Filter;

use super::driver::{Broker, options};
use super::switch::{ack, activate, deactivate, hello, numbers, setup, signals, taken};
use crate::core::{ExitSummary, LinkKind, Retention};
use crate::instance::InstanceKey;
use crate::router::LinkId;
use crate::store::memory::MemoryOptions;

const HOUR_MS: u64 = 3_600_000;
pub(super) const TOPICS: [&str; 2] = ["agent.x", "agent.y"];

fn filters(topics: &[&str]) -> Vec<Filter> {
    topics
        .iter()
        .map(|topic| Filter::parse(topic).unwrap())
        .collect()
}

/// An instance that may receive two topics, and an operator.
pub(super) fn two_topics(retention: Retention) -> (Broker, LinkId, InstanceKey) {
    let mut options = options();
    options.retention = retention;
    let mut broker = Broker::with(options, MemoryOptions::default(), 3);
    broker.granted = filters(&TOPICS);
    let app = broker.admin();
    let key = broker.configure("mail/a");
    (broker, app, key)
}

/// The operator lets it receive only these beside its own.
pub(super) fn grant(broker: &mut Broker, key: &InstanceKey, topics: &[&str]) {
    let mut narrower = setup(broker, key);
    let is_own = |filter: &Filter| !filter.as_str().starts_with("agent.");
    narrower.grants.receive.retain(is_own);
    narrower.grants.receive.extend(filters(topics));
    broker.core.configure(narrower).unwrap();
    broker.run();
}

pub(super) fn start(broker: &mut Broker, key: &InstanceKey, hello: &Value) -> LinkId {
    let link = broker.attach(LinkKind::Spawned(key.clone()));
    broker.reply_to(link, "initialize", hello);
    activate(broker, key, link);
    link
}

pub(super) fn stop(broker: &mut Broker, key: &InstanceKey, link: LinkId) {
    broker.detach(link);
    let clean = ExitSummary {
        clean: true,
        ..ExitSummary::default()
    };
    broker.core.exited(key, &clean);
    broker.run();
    signals(broker);
}

pub(super) fn say(broker: &mut Broker, app: LinkId, topic: &str, n: u64) {
    let event = json!({ "id": format!("{topic}{n}"), "payload": n });
    broker.publish(app, topic, &event).unwrap();
}

/// Numbers of the dead letters, each of which says why.
pub(super) fn dead(broker: &mut Broker, app: LinkId) -> Vec<u64> {
    broker.advance(20);
    let page = broker.call(app, "admin.dlq.list", &json!({})).unwrap();
    let letters = page["letters"].as_array().unwrap().clone();
    let mut numbers: Vec<u64> = letters
        .iter()
        .map(|letter| {
            assert_eq!(letter["reason"], "removed", "{letter}");
            assert_eq!(letter["code"], "topic_not_granted", "{letter}");
            let id = json!({ "id": letter["id"] });
            let shown = broker.call(app, "admin.dlq.show", &id).unwrap();
            shown["event"]["payload"].as_u64().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

pub(super) fn declares(wanted: &[(&str, &[&str])]) -> Value {
    let mut hello = hello("mail");
    let declared = wanted
        .iter()
        .map(|(name, filters)| json!({ "name": name, "filters": filters }));
    hello["subscriptions"] = declared.collect();
    hello
}

pub(super) fn names(broker: &Broker, key: &InstanceKey) -> Vec<String> {
    let owner = crate::router::Owner::Instance(key.clone());
    let subs = broker.core.router.of_owner(&owner).into_iter();
    subs.map(|sub| broker.core.router.get(sub).unwrap().name().to_owned())
        .collect()
}

/// Proves LN10: fewer grants while the instance is down, and while it runs.
#[test]
fn what_is_granted_no_longer_is_a_dead_letter() {
    for is_running in [false, true] {
        let (mut broker, app, key) = two_topics(Retention::default());
        let mut link = start(&mut broker, &key, &hello("mail"));
        let none = json!({ "events": 0, "bytes": 0 });
        broker.notify(link, "broker.credit", &none);
        if !is_running {
            stop(&mut broker, &key, link);
        }
        say(&mut broker, app, "agent.x", 1);
        say(&mut broker, app, "agent.y", 2);
        say(&mut broker, app, "agent.x", 3);
        grant(&mut broker, &key, &["agent.y"]);
        if is_running {
            let some = json!({ "events": 10, "bytes": 100_000 });
            broker.notify(link, "broker.credit", &some);
        } else {
            assert!(dead(&mut broker, app).is_empty(), "nobody is served yet");
            link = start(&mut broker, &key, &hello("mail"));
        }
        assert_eq!(numbers(&taken(&mut broker, link)), [2]);
        assert_eq!(dead(&mut broker, app), [1, 3]);
        broker.restart();
        let app = broker.admin();
        assert_eq!(dead(&mut broker, app), [1, 3]);
    }
}

/// Proves LN10: what may be held is counted with what was withdrawn, so that a look for what is held too long passes
/// nothing of it, and retention leaves it.
#[test]
fn what_waits_to_be_filed_is_held() {
    let (mut broker, app, key) = two_topics(Retention {
        events_age_ms: HOUR_MS,
        hold_age_ms: 100 * HOUR_MS,
        ..Retention::default()
    });
    for n in 0..20 {
        say(&mut broker, app, "agent.x", n);
    }
    grant(&mut broker, &key, &["agent.y"]);
    for _ in 0..3 {
        broker.advance(HOUR_MS);
        say(&mut broker, app, "agent.z", 0);
    }
    broker.restart();
    broker.granted = filters(&["agent.y"]);
    broker.configure("mail/a");
    broker.advance(2 * HOUR_MS);
    let app = broker.admin();
    assert!(dead(&mut broker, app).is_empty());
    start(&mut broker, &key, &hello("mail"));
    assert_eq!(dead(&mut broker, app), (0..20).collect::<Vec<_>>());
    broker.advance(3 * HOUR_MS);
    let status = broker.call(app, "admin.status", &json!({})).unwrap();
    assert_eq!(status["subscriptions"][0]["pending"], 0);
}

/// Proves O7: what is known, waits and is selected no longer is held as long as anything else, and not for ever; and what
/// may be held is found at once, and not by reading the whole log each time.
#[test]
fn what_is_known_and_selected_no_longer_is_not_held_for_ever() {
    let (mut broker, app, key) = two_topics(Retention {
        events_age_ms: HOUR_MS,
        hold_age_ms: 100 * HOUR_MS,
        ..Retention::default()
    });
    let link = start(&mut broker, &key, &hello("mail"));
    for n in 0..5 {
        say(&mut broker, app, "agent.x", n);
    }
    let held = taken(&mut broker, link);
    ack(&mut broker, link, &held[4].1);
    broker.advance(20);
    stop(&mut broker, &key, link);
    // What waits is known by its number alone.
    broker.restart();
    broker.granted = filters(&["agent.y"]);
    broker.configure("mail/a");
    let main = main_of(&broker);
    let oldest = |broker: &Broker| broker.core.router.get(main).unwrap().oldest_unsettled();
    let before = oldest(&broker);
    broker.advance(99 * HOUR_MS);
    assert_eq!(oldest(&broker), before);
    broker.advance(2 * HOUR_MS);
    assert!(
        oldest(&broker) > broker.core.router.head(),
        "beyond its hold"
    );
    let app = broker.admin();
    let link = start(&mut broker, &key, &hello("mail"));
    assert!(dead(&mut broker, app).is_empty());
    let gaps = broker.take(link, "broker.gap");
    assert_eq!(gaps[0]["count"], 4, "{gaps:?}");
}

/// A look for what is held that began before a seek, and is answered after, does not pass over what that opened.
#[test]
fn a_look_for_what_is_held_passes_nothing_that_a_seek_opened() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let ask = json!({ "name": "s", "filters": ["agent.y"] });
    broker.call(app, "broker.subscribe", &ask).unwrap();
    say(&mut broker, app, "agent.y", 1);
    let held = taken(&mut broker, app);
    ack(&mut broker, app, &held[0].1);
    let leave = json!({ "subscription": "s" });
    broker.call(app, "broker.unsubscribe", &leave).unwrap();
    for n in 0..5 {
        say(&mut broker, app, "agent.z", n);
    }
    broker.hold_reads = true;
    broker.advance(2_000);
    let back = json!({ "subscription": "s", "to": "earliest" });
    broker.call(app, "broker.seek", &back).unwrap();
    broker.hold_reads = false;
    broker.release_reads();
    broker.advance(5_000);
    broker.call(app, "broker.subscribe", &ask).unwrap();
    assert_eq!(numbers(&taken(&mut broker, app)), [1]);
}

/// A look for what is held that began before the filters went, and is answered after.
#[test]
fn a_look_for_what_is_held_that_is_late_passes_nothing() {
    let (mut broker, app, key) = two_topics(Retention::default());
    say(&mut broker, app, "agent.x", 1);
    grant(&mut broker, &key, &["agent.y"]);
    broker.hold_reads = true;
    broker.advance(2_000);
    grant(&mut broker, &key, &[]);
    broker.hold_reads = false;
    broker.release_reads();
    broker.advance(5_000);
    start(&mut broker, &key, &hello("mail"));
    assert_eq!(dead(&mut broker, app), [1]);
}

/// Proves LN10: a subscription that is declared goes on with what waits in the main one. It comes once, and is no
/// dead letter there.
#[test]
fn what_a_declared_subscription_goes_on_with_comes_once() {
    for is_loaded in [false, true] {
        let (mut broker, app, key) = two_topics(Retention::default());
        if is_loaded {
            let link = start(&mut broker, &key, &hello("mail"));
            say(&mut broker, app, "agent.x", 1);
            say(&mut broker, app, "agent.y", 2);
            assert_eq!(taken(&mut broker, link).len(), 2);
            stop(&mut broker, &key, link);
        } else {
            say(&mut broker, app, "agent.x", 1);
            say(&mut broker, app, "agent.y", 2);
        }
        let link = start(&mut broker, &key, &declares(&[("own", &["agent.x"])]));
        let mut came = numbers(&taken(&mut broker, link));
        came.sort_unstable();
        assert_eq!(came, [1, 2]);
        assert!(dead(&mut broker, app).is_empty());
    }
}

/// Proves LN10: what only an old subscription selected is a dead letter once another goes on with the rest; then the
/// old one is gone.
#[test]
fn a_subscription_that_is_left_ends_when_it_is_empty() {
    let (mut broker, app, key) = two_topics(Retention::default());
    let link = start(&mut broker, &key, &declares(&[("old", &TOPICS)]));
    stop(&mut broker, &key, link);
    say(&mut broker, app, "agent.x", 1);
    say(&mut broker, app, "agent.y", 2);
    grant(&mut broker, &key, &["agent.y"]);
    let link = start(&mut broker, &key, &declares(&[("new", &["agent.y"])]));
    assert_eq!(numbers(&taken(&mut broker, link)), [2]);
    assert_eq!(dead(&mut broker, app), [1]);
    assert_eq!(
        names(&broker, &key),
        ["instance.mail.a", "instance.mail.a.new"]
    );
}

/// Proves LN10: a subscription that is declared with fewer filters, while the instance may receive the rest still.
#[test]
fn what_is_declared_no_longer_and_still_granted_comes_once() {
    let (mut broker, app, key) = two_topics(Retention::default());
    let link = start(&mut broker, &key, &declares(&[("own", &TOPICS)]));
    say(&mut broker, app, "agent.x", 0);
    assert_eq!(numbers(&taken(&mut broker, link)), [0]);
    stop(&mut broker, &key, link);
    say(&mut broker, app, "agent.x", 1);
    say(&mut broker, app, "agent.y", 2);
    let link = start(&mut broker, &key, &declares(&[("own", &["agent.y"])]));
    let mut came = numbers(&taken(&mut broker, link));
    came.sort_unstable();
    assert_eq!(came, [0, 1, 2], "by the one or the other");
    assert!(dead(&mut broker, app).is_empty());
    say(&mut broker, app, "agent.x", 3);
    assert_eq!(numbers(&taken(&mut broker, link)), [3], "by the main one");
}

/// Proves LN10: the grants of a running instance count for what it has declared as well.
#[test]
fn a_declared_subscription_gives_nothing_that_is_granted_no_longer() {
    let (mut broker, app, key) = two_topics(Retention::default());
    let link = start(&mut broker, &key, &declares(&[("own", &["agent.x"])]));
    say(&mut broker, app, "agent.x", 1);
    let held = taken(&mut broker, link);
    assert_eq!(numbers(&held), [1]);
    let none = json!({ "events": 0, "bytes": 0 });
    broker.notify(link, "broker.credit", &none);
    say(&mut broker, app, "agent.x", 2);
    grant(&mut broker, &key, &["agent.y"]);
    say(&mut broker, app, "agent.x", 3);
    assert_eq!(dead(&mut broker, app), [2]);
    // What it had in hand it may settle.
    let ack = json!({ "deliveries": [held[0].1] });
    let settled = broker.call(link, "broker.ack", &ack).unwrap();
    assert_eq!(settled["stale"], json!([]));
    assert_eq!(dead(&mut broker, app), [2]);
    assert_eq!(names(&broker, &key), ["instance.mail.a"]);
}

/// Proves LN10: a grant that is taken away and given back before anybody was served: what waits comes as if it had stayed.
#[test]
fn what_is_granted_again_in_time_comes() {
    let (mut broker, app, key) = two_topics(Retention::default());
    let own = declares(&[("own", &["agent.x"])]);
    let link = start(&mut broker, &key, &own);
    say(&mut broker, app, "agent.x", 1);
    assert_eq!(numbers(&taken(&mut broker, link)), [1]);
    grant(&mut broker, &key, &["agent.y"]);
    stop(&mut broker, &key, link);
    grant(&mut broker, &key, &TOPICS);
    let link = start(&mut broker, &key, &own);
    assert_eq!(numbers(&taken(&mut broker, link)), [1]);
    assert!(dead(&mut broker, app).is_empty());
    let own = "instance.mail.a.own".to_owned();
    assert!(names(&broker, &key).contains(&own));
    say(&mut broker, app, "agent.x", 2);
    assert_eq!(numbers(&taken(&mut broker, link)), [2]);
}

/// Proves LN10: a subscription that is declared wider goes back for what waits elsewhere, and keeps what it has not
/// settled itself, however much older that is.
#[test]
fn what_goes_back_keeps_what_is_older() {
    for is_restarted in [false, true] {
        let (mut broker, mut app, key) = two_topics(Retention::default());
        let link = start(&mut broker, &key, &declares(&[("own", &["agent.x"])]));
        say(&mut broker, app, "agent.x", 1);
        say(&mut broker, app, "agent.y", 2);
        assert_eq!(taken(&mut broker, link).len(), 2);
        stop(&mut broker, &key, link);
        if is_restarted {
            broker.restart();
            broker.granted = filters(&TOPICS);
            broker.configure("mail/a");
            app = broker.admin();
        }
        let link = start(&mut broker, &key, &declares(&[("own", &TOPICS)]));
        let mut came = numbers(&taken(&mut broker, link));
        came.sort_unstable();
        came.dedup();
        assert_eq!(came, [1, 2]);
        assert!(dead(&mut broker, app).is_empty());
    }
}

/// Proves LN19: what a version has left of the one before ends once it stays, where its own go on with it: nothing comes
/// twice from then on.
#[test]
fn what_is_left_of_the_version_before_ends_with_it() {
    let (mut broker, app, key) = two_topics(Retention::default());
    let old = start(&mut broker, &key, &declares(&[("old", &TOPICS)]));
    let mut narrower = setup(&broker, &key);
    narrower.grants.receive = filters(&["agent.y"]);
    broker.core.prepare_switch(narrower).unwrap();
    let new = broker.attach(LinkKind::Spawned(key.other_seat()));
    broker.reply_to(new, "initialize", &declares(&[("new", &["agent.y"])]));
    signals(&mut broker);
    deactivate(&mut broker, &key, old);
    broker.core.activate(&key.other_seat());
    broker.run();
    broker.reply_to(new, "instance.activate", &json!({}));
    let ready = json!({ "state": "ready" });
    broker.call(new, "instance.status", &ready).unwrap();
    broker.core.end_switch(&key, true).unwrap();
    broker.run();
    say(&mut broker, app, "agent.y", 1);
    assert_eq!(numbers(&taken(&mut broker, new)), [1]);
    assert_eq!(
        names(&broker, &key),
        ["instance.mail.a", "instance.mail.a.new"]
    );
}

/// Proves LN10: a tool that its plugin declares no more; while it is only being started it is still its own.
#[test]
fn calls_of_a_tool_that_is_gone_are_dead_letters() {
    for stays in [false, true] {
        let (mut broker, _, key) = two_topics(Retention::default());
        let mut with_tool = hello("mail");
        with_tool["declares"] = json!({ "tools": [{ "name": "search", "description": "d",
            "input_schema": { "type": "object" } }] });
        let link = start(&mut broker, &key, &with_tool);
        stop(&mut broker, &key, link);
        let topic = "plugin.tool.mail.search";
        let filters = broker.core.router.get(main_of(&broker)).unwrap().filters();
        assert!(filters.iter().any(|filter| filter.matches(topic)));
        let app = broker.admin();
        say(&mut broker, app, topic, 1);
        // The daemon starts again: until the handshake it knows of no such tool.
        broker.restart();
        let app = broker.admin();
        broker.configure("mail/a");
        let hello = if stays { with_tool } else { hello("mail") };
        start(&mut broker, &key, &hello);
        assert_eq!(dead(&mut broker, app).is_empty(), stays);
    }
}

fn main_of(broker: &Broker) -> crate::router::SubId {
    broker.core.router.find("instance.mail.a").unwrap()
}

/// Proves LN19: a version that may receive less: what waits is a dead letter once it is ready, and the old one's if it
/// fails.
#[test]
fn a_version_that_receives_less_files_nothing_before_it_is_ready() {
    for is_good in [false, true] {
        let (mut broker, app, key) = two_topics(Retention::default());
        let old = start(&mut broker, &key, &hello("mail"));
        let mut narrower = setup(&broker, &key);
        narrower.grants.receive = filters(&["agent.y"]);
        broker.core.prepare_switch(narrower).unwrap();
        let new = broker.attach(LinkKind::Spawned(key.other_seat()));
        broker.reply_to(new, "initialize", &hello("mail"));
        signals(&mut broker);
        deactivate(&mut broker, &key, old);
        say(&mut broker, app, "agent.x", 1);
        say(&mut broker, app, "agent.y", 2);
        broker.core.activate(&key.other_seat());
        broker.run();
        broker.reply_to(new, "instance.activate", &json!({}));
        assert!(dead(&mut broker, app).is_empty());
        if is_good {
            let ready = json!({ "state": "ready" });
            broker.call(new, "instance.status", &ready).unwrap();
            broker.core.end_switch(&key, true).unwrap();
            broker.run();
            assert_eq!(numbers(&taken(&mut broker, new)), [2]);
            assert_eq!(dead(&mut broker, app), [1]);
        } else {
            broker.detach(new);
            broker
                .core
                .exited(&key.other_seat(), &ExitSummary::default());
            broker.core.end_switch(&key, false).unwrap();
            broker.run();
            activate(&mut broker, &key, old);
            assert_eq!(numbers(&taken(&mut broker, old)), [1, 2]);
            assert!(dead(&mut broker, app).is_empty());
        }
    }
}

/// A client that selects less: what waited is a dead letter, and cannot be replayed until it is selected again.
#[test]
fn what_is_selected_no_longer_is_not_replayed() {
    let (mut broker, app, _) = two_topics(Retention::default());
    let both = json!({ "name": "s", "filters": TOPICS, "credit": { "events": 0, "bytes": 0 } });
    broker.call(app, "broker.subscribe", &both).unwrap();
    say(&mut broker, app, "agent.x", 1);
    say(&mut broker, app, "agent.y", 2);
    let one = json!({ "name": "s", "filters": ["agent.y"] });
    broker.call(app, "broker.subscribe", &one).unwrap();
    assert_eq!(numbers(&taken(&mut broker, app)), [2]);
    assert_eq!(dead(&mut broker, app), [1]);
    let page = broker.call(app, "admin.dlq.list", &json!({})).unwrap();
    let id = json!({ "id": page["letters"][0]["id"] });
    assert_eq!(
        broker.refusal(app, "admin.dlq.replay", &id),
        "topic_not_granted"
    );
    let both = json!({ "name": "s", "filters": TOPICS });
    broker.call(app, "broker.subscribe", &both).unwrap();
    broker.call(app, "admin.dlq.replay", &id).unwrap();
    assert_eq!(numbers(&taken(&mut broker, app)), [1]);
}
