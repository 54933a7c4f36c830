//! Webhooks: durable before they are answered, once, and answered by their plugin where it is asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_contract::error::Code;
use trunkline_contract::webhook::{Scheme, Webhook};

use crate::core::{HookAnswer, HookReply, HookRequest, LinkKind};
use crate::router::LinkId;

use super::driver::Broker;

type Answers = Arc<Mutex<Vec<HookAnswer>>>;

fn webhook(respond: Option<Duration>) -> Webhook {
    Webhook {
        respond,
        ..Webhook::new("echo", Scheme::Github, "{config.key}")
    }
}

fn broker(webhooks: Vec<Webhook>) -> Broker {
    let mut broker = Broker::new();
    broker.webhooks = webhooks;
    broker.secrets = [("key".to_owned(), "a secret".to_owned())].into();
    broker
}

fn send(broker: &mut Broker, id: Option<&str>, body: &str) -> Answers {
    let answers = Answers::default();
    let taken = answers.clone();
    let reply = HookReply::new(move |answer| taken.lock().unwrap().push(answer));
    let (endpoint, _) = broker.core.webhook("echo", None, None).unwrap();
    let request = HookRequest {
        id: id.map(str::to_owned),
        method: "POST".into(),
        path: "/hooks/echo".into(),
        headers: vec![("x-github-event".into(), "issues".into())],
        body: Some(body.into()),
        session: Some("42".into()),
        ..HookRequest::default()
    };
    broker.core.hook(&endpoint, &request, reply);
    answers
}

fn only(answers: &Answers) -> HookAnswer {
    let answers = answers.lock().unwrap();
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers[0].clone()
}

fn stored(id: &str, is_duplicate: bool) -> HookAnswer {
    HookAnswer::Stored {
        id: id.to_owned(),
        is_duplicate,
    }
}

/// The params of the one event that a link was handed.
fn delivered(broker: &mut Broker, link: LinkId) -> Value {
    let events = broker.take(link, "broker.event");
    assert_eq!(events.len(), 1, "{events:?}");
    events[0].clone()
}

/// Proves P2c: a webhook is answered only once its event is durable.
#[test]
fn a_request_is_answered_once_it_is_durable_and_not_before() {
    let mut broker = broker(vec![webhook(None)]);
    let link = broker.plugin("echo/default");
    broker.hold_batches = true;
    let answers = send(&mut broker, Some("d-1"), r#"{"n":12345678901234567890123}"#);
    broker.run();
    assert!(answers.lock().unwrap().is_empty());
    broker.release_batch();
    assert_eq!(only(&answers), stored("d-1", false));
    let event = &delivered(&mut broker, link)["event"];
    assert_eq!(event["topic"], "plugin.hook.echo.default");
    assert_eq!(event["source"], "hook:echo/default");
    assert_eq!(
        (&event["id"], &event["session_id"]),
        (&json!("d-1"), &json!("42"))
    );
    let expected = json!({
        "id": "d-1", "method": "POST", "path": "/hooks/echo", "query": "",
        "headers": {"x-github-event": "issues"}, "body": r#"{"n":12345678901234567890123}"#,
    });
    assert_eq!(event["payload"], expected);
}

/// Proves P2b: a provider's repeat, also after a restart and with another body, is stored once.
#[test]
fn a_repeat_is_a_duplicate_also_in_the_next_life() {
    let mut broker = broker(vec![webhook(None)]);
    broker.plugin("echo/default");
    let first = send(&mut broker, Some("d-1"), "one");
    let second = send(&mut broker, Some("d-1"), "two");
    broker.run();
    assert_eq!(only(&first), stored("d-1", false));
    assert_eq!(only(&second), stored("d-1", true));
    broker.restart();
    broker.configure("echo/default");
    let third = send(&mut broker, Some("d-1"), "one");
    let without = [send(&mut broker, None, "x"), send(&mut broker, None, "x")];
    broker.run();
    assert_eq!(only(&third), stored("d-1", true));
    for answers in without {
        let HookAnswer::Stored { is_duplicate, .. } = only(&answers) else {
            panic!("it is stored")
        };
        assert!(
            !is_duplicate,
            "without an id nothing is known to be the same"
        );
    }
}

/// Proves P2f: a plugin answers a webhook with the commit that settles it, within its time.
#[test]
fn a_commit_answers_the_webhook_that_waits_for_it() {
    let mut broker = broker(vec![webhook(Some(Duration::from_secs(3)))]);
    let link = broker.plugin("echo/default");
    let answers = send(&mut broker, Some("d-1"), "x");
    broker.run();
    assert!(answers.lock().unwrap().is_empty());
    let delivery = delivered(&mut broker, link)["delivery"]["id"].clone();
    let respond = json!({"status": 201, "headers": {"content-type": "text/plain"}, "body": "hi"});
    let commit = json!({"ack": [delivery], "respond": respond});
    let answer = broker.call(link, "broker.commit", &commit).unwrap();
    assert_eq!(answer["responded"], true);
    let HookAnswer::Respond(found) = only(&answers) else {
        panic!("the plugin's own answer")
    };
    assert_eq!((found.status, found.body.as_deref()), (201, Some("hi")));
}

#[test]
fn a_respond_that_nobody_waits_for_loses_no_commit() {
    let mut broker = broker(vec![webhook(Some(Duration::from_secs(3)))]);
    let link = broker.plugin("echo/default");
    let answers = send(&mut broker, Some("d-1"), "x");
    broker.run();
    let delivery = delivered(&mut broker, link)["delivery"]["id"].clone();
    broker.advance(3_000);
    let accepted = HookAnswer::Accepted { id: "d-1".into() };
    assert_eq!(only(&answers), accepted);
    let event = json!({"topic": "plugin.inbound.echo", "event": {"payload": 1}});
    let commit = json!({"ack": [delivery], "events": [event], "respond": {"status": 200}});
    let answer = broker.call(link, "broker.commit", &commit).unwrap();
    assert_eq!(answer["responded"], false);
    assert!(answer["events"][0]["seq"].is_u64());
    let wrong = json!({"respond": {"status": 42}});
    let refused = broker.call(link, "broker.commit", &wrong).unwrap_err();
    assert_eq!(refused["data"]["code"], "invalid_arguments");
}

#[test]
fn a_delivery_that_is_settled_without_a_word_is_answered_at_once() {
    let mut broker = broker(vec![webhook(Some(Duration::from_secs(30)))]);
    let link = broker.plugin("echo/default");
    let answers = send(&mut broker, Some("d-1"), "x");
    broker.run();
    let delivery = delivered(&mut broker, link)["delivery"]["id"].clone();
    broker
        .call(link, "broker.ack", &json!({"deliveries": [delivery]}))
        .unwrap();
    assert_eq!(only(&answers), stored("d-1", false));
    // One that is under way when the broker stops is durable, and says so.
    let answers = send(&mut broker, Some("d-2"), "x");
    broker.run();
    broker.core.drain();
    let accepted = HookAnswer::Accepted { id: "d-2".into() };
    assert_eq!(only(&answers), accepted);
    let refused = only(&send(&mut broker, Some("d-3"), "x"));
    let HookAnswer::Refused(error) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.code, Code::Draining);
}

#[test]
fn a_webhook_without_its_secret_is_closed_and_not_open() {
    let mut broker = broker(vec![webhook(None)]);
    broker.secrets.clear();
    broker.configure("echo/default");
    let found = |broker: &Broker| broker.core.webhook("echo", None, None).map(|_| ());
    assert_eq!(found(&broker).unwrap_err().code, Code::Unavailable);
    broker.secrets = [("key".to_owned(), "a secret".to_owned())].into();
    broker.configure("echo/default");
    assert!(found(&broker).is_ok());
    let named = |instance, name| broker.core.webhook("echo", instance, name).map(|_| ());
    assert!(named(Some("default"), None).is_ok());
    assert_eq!(named(Some("other"), None).unwrap_err().code, Code::NotFound);
    assert_eq!(named(None, Some("x")).unwrap_err().code, Code::NotFound);
}

/// Proves P2c, W1: what was stored before the plugin's first handshake waits for the subscription that the plugin then
/// declares for it.
#[test]
fn a_request_from_before_the_first_handshake_reaches_what_is_declared_for_it() {
    let mut broker = broker(vec![webhook(None)]);
    let key = broker.configure("echo/main");
    let answers = send(&mut broker, Some("d1"), "early");
    broker.run();
    assert_eq!(only(&answers), stored("d1", false));
    let link = broker.attach(LinkKind::Spawned(key.clone()));
    let hello = json!({
        "manifest": { "plugin": { "id": "echo", "version": "1.2.3" } },
        "server_version": "1.2.3", "protocol": "trunkline/1.0",
        "subscriptions": [{ "name": "hooked", "filters": ["plugin.hook.echo.main"] }],
    });
    broker.reply_to(link, "initialize", &hello);
    broker.core.activate(&key);
    broker.run();
    broker.reply_to(link, "instance.activate", &json!({}));
    let ready = json!({ "state": "ready" });
    broker.call(link, "instance.status", &ready).unwrap();
    broker.run();
    let mut came = broker.take(link, "broker.event");
    came.retain(|event| event["delivery"]["subscription"] == "instance.echo.main.hooked");
    assert_eq!(came.len(), 1, "{came:?}");
    assert_eq!(came[0]["event"]["id"], "d1");
}
