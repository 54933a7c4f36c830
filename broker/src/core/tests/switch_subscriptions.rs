//! What versions of a plugin that replace one another subscribe to: nothing waits where nobody looks, and nothing that the
//! one may have to handle again is passed over by the other.

use serde_json::{Value, json};
use trunkline_contract::topic::Filter;

use super::driver::Broker;
use super::switch::{
    TOPIC, ack, activate, deactivate, hello, numbers, publish, setup, signals, taken,
};
use crate::core::{ExitSummary, LinkKind};
use crate::instance::InstanceKey;
use crate::router::LinkId;

/// A handshake that declares one subscription to the topic.
fn declares(name: &str) -> Value {
    let mut hello = hello("mail");
    hello["subscriptions"] = json!([{ "name": name, "filters": [TOPIC] }]);
    hello
}

/// Starts a successor that says this in its handshake, and has it activated, not yet ready.
fn proving(broker: &mut Broker, key: &InstanceKey, old: LinkId, hello: &Value) -> LinkId {
    let seat = broker.core.instances[key].seat.clone();
    let in_force = setup(broker, key);
    broker.core.prepare_switch(in_force).unwrap();
    let new = broker.attach(LinkKind::Spawned(seat.other_seat()));
    broker.reply_to(new, "initialize", hello);
    signals(broker);
    deactivate(broker, &seat, old);
    broker.core.activate(&seat.other_seat());
    broker.run();
    broker.reply_to(new, "instance.activate", &json!({}));
    new
}

fn fails(broker: &mut Broker, key: &InstanceKey, old: LinkId, new: LinkId) {
    let seat = broker.core.instances[key].seat.clone();
    broker.detach(new);
    broker.core.exited(&seat, &ExitSummary::default());
    broker.core.end_switch(key, false).unwrap();
    broker.run();
    activate(broker, &seat.other_seat(), old);
}

fn names(broker: &Broker, key: &InstanceKey) -> Vec<String> {
    let owner = crate::router::Owner::Instance(key.clone());
    let subs = broker.core.router.of_owner(&owner).into_iter();
    subs.map(|sub| broker.core.router.get(sub).unwrap().name().to_owned())
        .collect()
}

/// Proves LN19: what a version has declared that failed is served by the one that goes on, also after its next start.
#[test]
fn what_a_failed_version_declared_is_served_by_the_one_that_stays() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let old = broker.plugin("mail/a");
    let key = InstanceKey::parse("mail/a");
    let new = proving(&mut broker, &key, old, &declares("fast"));
    publish(&mut broker, app, 1);
    assert!(taken(&mut broker, new).is_empty(), "it is not ready");
    fails(&mut broker, &key, old, new);
    let held = taken(&mut broker, old);
    assert_eq!(numbers(&held), [1]);
    ack(&mut broker, old, &held[0].1);
    broker.detach(old);
    broker.core.exited(&key, &ExitSummary::default());
    publish(&mut broker, app, 2);
    let again = broker.attach(LinkKind::Spawned(key.clone()));
    broker.reply_to(again, "initialize", &hello("mail"));
    activate(&mut broker, &key, again);
    assert_eq!(numbers(&taken(&mut broker, again)), [2]);
}

/// Proves L10: a subscription that the next version declares under another name goes on where the old one was, and the old
/// one is gone.
#[test]
fn a_subscription_that_is_declared_under_another_name_goes_on() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let key = broker.configure("mail/a");
    let old = broker.attach(LinkKind::Spawned(key.clone()));
    broker.reply_to(old, "initialize", &declares("fast"));
    activate(&mut broker, &key, old);
    publish(&mut broker, app, 1);
    assert_eq!(numbers(&taken(&mut broker, old)), [1]);
    let new = proving(&mut broker, &key, old, &declares("slow"));
    publish(&mut broker, app, 2);
    broker
        .call(new, "instance.status", &json!({ "state": "ready" }))
        .unwrap();
    broker.core.end_switch(&key, true).unwrap();
    broker.run();
    let first = taken(&mut broker, new);
    assert_eq!(numbers(&first), [1]);
    ack(&mut broker, new, &first[0].1);
    assert_eq!(numbers(&taken(&mut broker, new)), [2]);
    assert_eq!(
        names(&broker, &key),
        ["instance.mail.a", "instance.mail.a.slow"]
    );
}

/// An instance that may receive `agent.x` and `agent.y`, and a client that publishes there.
fn two_topics(broker: &mut Broker) -> (LinkId, InstanceKey) {
    let app = broker.admin();
    let key = broker.configure("mail/a");
    let mut wider = setup(broker, &key);
    for topic in ["agent.x", "agent.y"] {
        wider.grants.receive.push(Filter::parse(topic).unwrap());
    }
    broker.core.configure(wider).unwrap();
    (app, key)
}

/// A handshake that declares these subscriptions, each to some of the two topics.
fn declares_all(wanted: &[(&str, &[&str])]) -> Value {
    let mut hello = hello("mail");
    let declared = wanted
        .iter()
        .map(|(name, filters)| json!({ "name": name, "filters": filters }));
    hello["subscriptions"] = declared.collect();
    hello
}

fn start(broker: &mut Broker, key: &InstanceKey, hello: &Value) -> LinkId {
    let link = broker.attach(LinkKind::Spawned(key.clone()));
    broker.reply_to(link, "initialize", hello);
    activate(broker, key, link);
    link
}

fn say(broker: &mut Broker, app: LinkId, topic: &str, n: u64) {
    let event = json!({ "id": format!("{topic}{n}"), "payload": n });
    broker.publish(app, topic, &event).unwrap();
}

/// Proves LN19: what waits in a subscription that the next version has merged into another one is not lost, nor is it when
/// that is taken apart again.
#[test]
fn subscriptions_may_be_merged_and_split() {
    const APART: &[(&str, &[&str])] = &[("a", &["agent.x"]), ("b", &["agent.y"])];
    const TOGETHER: &[(&str, &[&str])] = &[("b", &["agent.x", "agent.y"])];
    for (before, after) in [(APART, TOGETHER), (TOGETHER, APART)] {
        let mut broker = Broker::new();
        let (app, key) = two_topics(&mut broker);
        let old = start(&mut broker, &key, &declares_all(before));
        say(&mut broker, app, "agent.x", 1);
        say(&mut broker, app, "agent.y", 2);
        let held = taken(&mut broker, old);
        assert_eq!(numbers(&held), [1, 2]);
        ack(&mut broker, old, &held[1].1);
        broker.detach(old);
        let clean = ExitSummary {
            clean: true,
            ..ExitSummary::default()
        };
        broker.core.exited(&key, &clean);
        say(&mut broker, app, "agent.x", 3);
        say(&mut broker, app, "agent.y", 4);
        let new = start(&mut broker, &key, &declares_all(after));
        let mut came = numbers(&taken(&mut broker, new));
        came.sort_unstable();
        came.dedup();
        assert!([1, 3, 4].iter().all(|n| came.contains(n)), "{came:?}");
    }
}

/// Proves LN19: what an instance may receive no longer does not reach it by a subscription that it does not declare any more.
#[test]
fn an_old_subscription_gives_nothing_that_is_granted_no_longer() {
    let mut broker = Broker::new();
    let (app, key) = two_topics(&mut broker);
    let old = start(&mut broker, &key, &declares_all(&[("a", &["agent.x"])]));
    broker.detach(old);
    broker.core.exited(&key, &ExitSummary::default());
    let mut narrower = setup(&broker, &key);
    narrower
        .grants
        .receive
        .retain(|filter| filter.as_str() != "agent.x");
    broker.core.configure(narrower).unwrap();
    say(&mut broker, app, "agent.x", 1);
    say(&mut broker, app, "agent.y", 2);
    let new = start(&mut broker, &key, &hello("mail"));
    assert_eq!(numbers(&taken(&mut broker, new)), [2]);
}

/// Proves LN19: what the old version may receive and the new one may not waits while the new one proves itself, and is
/// nobody's business once it has.
#[test]
fn nothing_is_passed_over_while_there_is_a_way_back() {
    for is_good in [false, true] {
        let mut broker = Broker::new();
        let app = broker.admin();
        let old = broker.plugin("mail/a");
        let key = InstanceKey::parse("mail/a");
        let mut other = setup(&broker, &key);
        let agent = Filter::parse("agent.new").unwrap();
        other.grants.receive = vec![agent.clone()];
        broker.core.prepare_switch(other).unwrap();
        let new = broker.attach(LinkKind::Spawned(key.other_seat()));
        broker.reply_to(new, "initialize", &hello("mail"));
        signals(&mut broker);
        deactivate(&mut broker, &key, old);
        broker.core.activate(&key.other_seat());
        broker.run();
        broker.reply_to(new, "instance.activate", &json!({}));
        if is_good {
            let ready = json!({ "state": "ready" });
            broker.call(new, "instance.status", &ready).unwrap();
            publish(&mut broker, app, 1);
            assert!(taken(&mut broker, new).is_empty());
            broker.core.end_switch(&key, true).unwrap();
            publish(&mut broker, app, 2);
            assert!(taken(&mut broker, new).is_empty());
            continue;
        }
        publish(&mut broker, app, 1);
        let event = json!({ "id": "other", "payload": 7 });
        broker.publish(app, "agent.new", &event).unwrap();
        fails(&mut broker, &key, old, new);
        assert!(numbers(&taken(&mut broker, old)).contains(&1));
    }
}

/// Proves LN18: a process that goes back to standby is handed nothing, whatever it says of itself meanwhile.
#[test]
fn who_goes_back_to_standby_is_not_served_for_what_it_says() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let link = broker.plugin("mail/a");
    let key = InstanceKey::parse("mail/a");
    broker.core.deactivate(&key, 1_000, "replaced");
    broker.run();
    let degraded = json!({ "state": "degraded", "reason": "the connection is closed" });
    broker.call(link, "instance.status", &degraded).unwrap();
    publish(&mut broker, app, 1);
    assert!(taken(&mut broker, link).is_empty());
    broker.reply_to(link, "instance.deactivate", &json!({}));
    broker.call(link, "instance.status", &degraded).unwrap();
    assert!(taken(&mut broker, link).is_empty());
    activate(&mut broker, &key, link);
    assert_eq!(numbers(&taken(&mut broker, link)), [1]);
}
