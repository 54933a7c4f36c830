//! Process links: how instances are opened in a process that they share, and by whom.

use serde_json::{Value, json};

use super::driver::Broker;
use crate::core::{InstanceSignal, LinkKind};
use crate::instance::InstanceKey;
use crate::router::LinkId;

const ADDRESS: &str = "/run/trunkline.sock";

/// A broker with two instances of a plugin, and the process link of their process, which is up.
fn broker() -> (Broker, LinkId, InstanceKey, InstanceKey) {
    let mut broker = Broker::new();
    broker.core.set_link_address(ADDRESS.to_owned());
    let keys = ["mail/a", "mail/b"].map(|name| broker.configure(name));
    let process = InstanceKey::process_of("mail");
    let link = broker.attach(LinkKind::Process(process.clone()));
    assert!(broker.signals.is_empty(), "it has not said anything yet");
    broker.reply_to(link, "ping", &json!({}));
    assert_eq!(broker.signals, [(process, InstanceSignal::Standby)]);
    broker.signals.clear();
    let [a, b] = keys;
    (broker, link, a, b)
}

/// Opens an instance; gives the token.
fn open(broker: &mut Broker, link: LinkId, key: &InstanceKey) -> String {
    broker.core.open_instance(key);
    broker.run();
    let asked = broker.take(link, "instance.open");
    let [asked] = &asked[..] else {
        panic!("expected one request, found {asked:?}");
    };
    assert_eq!(
        (&asked["plugin"], &asked["instance"]),
        (&json!(&*key.plugin), &json!(&*key.instance))
    );
    assert_eq!(asked["address"], ADDRESS);
    asked["token"].as_str().unwrap().to_owned()
}

fn connect(broker: &mut Broker, token: &str, instance: &str) -> (LinkId, Result<Value, Value>) {
    let link = broker.attach(LinkKind::Attached);
    let params = json!({
        "role": "plugin", "token": token, "instance": instance,
        "manifest": { "plugin": { "id": "mail", "version": "1.2.3" } },
        "protocol": { "name": "trunkline", "min": "1.0", "max": "1.0" },
    });
    let answer = broker.call(link, "connect", &params);
    (link, answer)
}

/// Proves P8a: an instance that is opened gets a link of its own by a token for it alone, and goes through the same
/// handshake as one with a process of its own.
#[test]
fn an_opened_instance_goes_through_the_same_handshake() {
    let (mut broker, process, a, b) = broker();
    let token = open(&mut broker, process, &a);
    let (link, answer) = connect(&mut broker, &token, "a");
    assert_eq!(answer.unwrap()["source"], "mail/a");
    let hello = json!({
        "manifest": { "plugin": { "id": "mail", "version": "1.2.3" } }, "protocol": "trunkline/1.0",
    });
    broker.reply_to(link, "initialize", &hello);
    let standby = (a.clone(), InstanceSignal::Standby);
    assert_eq!(broker.signals, [standby], "the supervisor leads it");
    broker.signals.clear();

    let other = open(&mut broker, process, &b);
    assert_ne!(other, token);
    let (second, answer) = connect(&mut broker, &other, "b");
    assert_eq!(answer.unwrap()["source"], "mail/b");

    // The end of one link is told of that instance alone.
    broker.detach(second);
    assert_eq!(broker.signals, [(b, InstanceSignal::LinkClosed)]);
    assert!(!broker.closed.contains(&link) && !broker.closed.contains(&process));
}

/// Proves P8a: a token opens one instance, once, and only until the instance is closed or its process is gone.
#[test]
fn a_token_is_for_one_instance_and_one_use() {
    let (mut broker, process, a, b) = broker();
    let token = open(&mut broker, process, &a);
    let (_, wrong) = connect(&mut broker, &token, "b");
    assert!(wrong.is_err(), "it is for another instance");
    let (_, used) = connect(&mut broker, &token, "a");
    assert!(used.is_err(), "it was shown already");

    let old = open(&mut broker, process, &a);
    let new = open(&mut broker, process, &a);
    assert!(
        connect(&mut broker, &old, "a").1.is_err(),
        "a newer one is out"
    );
    assert!(connect(&mut broker, &new, "a").1.is_ok());

    let closed = open(&mut broker, process, &b);
    broker.core.close_instance(&b, 100, "disabled");
    broker.run();
    assert!(
        connect(&mut broker, &closed, "b").1.is_err(),
        "it was closed"
    );

    let late = open(&mut broker, process, &b);
    broker.detach(process);
    assert!(
        connect(&mut broker, &late, "b").1.is_err(),
        "its process is gone"
    );
    assert!(connect(&mut broker, "made up", "b").1.is_err());
}

/// Proves P8a: every close is answered, with what the instance failed with, and also when the process is gone first.
#[test]
fn every_close_is_answered() {
    let (mut broker, process, a, b) = broker();
    broker.core.close_instance(&a, 100, "restart");
    broker.run();
    broker.reply_to(process, "instance.close", &json!({ "error": "it fell" }));
    let fell = InstanceSignal::Closed(Some("it fell".to_owned()));
    assert_eq!(broker.signals, [(a.clone(), fell)]);
    broker.signals.clear();

    broker.core.close_instance(&b, 100, "restart");
    broker.run();
    broker.detach(process);
    let gone = (InstanceKey::process_of("mail"), InstanceSignal::LinkClosed);
    let closed = |key: &InstanceKey| (key.clone(), InstanceSignal::Closed(None));
    assert_eq!(broker.signals, [gone, closed(&b)], "the reason comes first");
    broker.signals.clear();
    broker.core.close_instance(&a, 100, "restart");
    broker.run();
    assert_eq!(broker.signals, [closed(&a)]);
}

/// Proves P8a: a process link opens and closes, and nothing else: it publishes nothing, reads nothing, and is shut
/// like a plugin.
#[test]
fn a_process_link_is_nobody() {
    let (mut broker, process, a, _) = broker();
    let publish = json!({ "topic": "agent.a", "event": { "payload": {} } });
    for (method, params) in [
        ("broker.publish", publish),
        ("kv.get", json!({ "key": "x" })),
        ("admin.status", json!({})),
        ("connect", json!({})),
    ] {
        broker.refusal(process, method, &params);
    }
    broker.call(process, "ping", &json!({})).unwrap();
    let log = json!({ "level": "info", "message": "hello" });
    broker.call(process, "log", &log).unwrap();
    assert_eq!(
        broker.logs.pop().unwrap().key,
        InstanceKey::process_of("mail")
    );

    open(&mut broker, process, &a);
    broker.signals.clear();
    let key = InstanceKey::process_of("mail");
    broker.core.shutdown(&key, 100, "restart");
    broker.run();
    broker.reply_to(process, "shutdown", &json!({ "ok": true }));
    assert_eq!(broker.signals, [(key, InstanceSignal::Drained)]);
}
