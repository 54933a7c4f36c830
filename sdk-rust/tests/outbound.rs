//! Outbound adapters against the real broker in memory: receipts, retries, rates, deaths, parts.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trunkline::testing::{KillAt, TestBroker};
use trunkline::{
    Code, Context, Error, Event, Failure, Json, On, Outbound, OutboundMessage, Plugin, Receipt,
    Reject, Result, Retry, State,
};

const DELIVERY: &str = "plugin.delivery.sms.*";

/// A provider: what it was asked to send, and what it answers.
#[derive(Clone, Default)]
struct Provider {
    taken: Arc<Mutex<Vec<(String, String)>>>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

#[derive(Clone, Debug)]
enum Answer {
    Status(u16, Option<u64>),
    /// It took it, and its answer was lost.
    Silence,
    Raise,
}

impl Provider {
    fn answering(answers: &[Answer]) -> Self {
        let answers = answers.iter().rev().cloned().collect();
        Self {
            answers: Arc::new(Mutex::new(answers)),
            ..Self::default()
        }
    }

    /// Sends; the id it gives is the number of the message.
    fn send(&self, key: &str, text: &str) -> Result<String> {
        let answer = self
            .answers
            .lock()
            .expect("no test panics with the lock")
            .pop();
        let failed = |class: &str, status: Option<u16>, after: Option<u64>| {
            let mut error = Error::new(Code::HttpError, "POST /messages failed")
                .detail(json!({ "class": class, "status": status }));
            error.retry_after_ms = after;
            Failure::from(error)
        };
        match answer {
            Some(Answer::Status(status, after)) => {
                return Err(failed("answered", Some(status), after));
            }
            Some(Answer::Raise) => return Err(Failure::new("a bug")),
            _ => {}
        }
        let mut taken = self.taken.lock().expect("no test panics with the lock");
        taken.push((key.to_owned(), text.to_owned()));
        if matches!(answer, Some(Answer::Silence)) {
            return Err(failed("ambiguous", None, None));
        }
        Ok(format!("SM{}", taken.len()))
    }

    fn taken(&self) -> Vec<String> {
        let taken = self.taken.lock().expect("no test panics with the lock");
        taken.iter().map(|(_, text)| text.clone()).collect()
    }

    fn keys(&self) -> Vec<String> {
        let taken = self.taken.lock().expect("no test panics with the lock");
        taken.iter().map(|(key, _)| key.clone()).collect()
    }

    fn outbound(&self) -> Outbound {
        let provider = self.clone();
        Outbound::new("sms", move |message: OutboundMessage, ctx: Context| {
            let sent = provider.send(&ctx.idempotency_key(), &message.text.unwrap_or_default());
            async move { sent }
        })
    }

    /// Finds by its key what was sent.
    fn find(&self, key: &str) -> Option<String> {
        let at = self.keys().iter().position(|taken| taken == key)?;
        Some(format!("SM{}", at + 1))
    }
}

async fn start(outbound: Outbound) -> TestBroker {
    TestBroker::start(Plugin::new("sms").outbound(outbound)).await
}

const MANIFEST: &str = r#"
[plugin]
id = "sms"
version = "0.1.0"
command = ["./sms"]

[[channels]]
kind = "sms"
features = { text_chars_max = 10, edits = "none" }
"#;

/// What the agent learns, in order, until nothing more comes.
async fn receipts(broker: &TestBroker, count: usize) -> Vec<Value> {
    let mut all = Vec::new();
    for _ in 0..count {
        let event: Event = broker.expect_published(DELIVERY, json!({}), "20m").await;
        all.push(event.payload.json().expect("a receipt"));
    }
    broker.expect_nothing(DELIVERY, json!({}), "1m").await;
    all
}

/// Proves P7a: `sent` with the provider's id, after the provider took it, and nothing else.
#[tokio::test]
async fn a_message_is_sent_once_and_its_receipt_has_the_providers_id() {
    let provider = Provider::default();
    let broker = start(provider.outbound().rate("100/s")).await;
    let sending = broker.send("sms", "hi").to("+49").await.expect("durable");
    let receipt = broker.expect_published(DELIVERY, json!({}), "1s").await;
    assert_eq!(receipt.correlation_id.as_deref(), Some(sending.id()));
    assert_eq!(receipt.session_id.as_deref(), Some("+49"));
    let payload: Value = receipt.payload.json().expect("a receipt");
    assert_eq!(payload, json!({ "state": "sent", "provider_id": "SM1" }));
    assert_eq!(provider.taken(), ["hi"]);
    broker.expect_nothing(DELIVERY, json!({}), "10m").await;
}

/// Proves P7b: 429 waits as told and does not count; 5xx backs off; another 4xx is final.
#[tokio::test]
async fn each_answer_of_the_provider_has_its_retry() {
    let wait = Answer::Status(429, Some(3_000));
    let provider = Provider::answering(&[wait, Answer::Status(500, None)]);
    let broker = start(provider.outbound().rate("100/s")).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    let queued = json!({ "state": "queued" });
    broker.expect_published(DELIVERY, &queued, "1s").await;
    let sent = json!({ "state": "sent" });
    broker.expect_nothing(DELIVERY, &sent, "2900ms").await;
    broker.expect_published(DELIVERY, &sent, "10s").await;
    assert_eq!(provider.taken(), ["hi"]);

    let provider = Provider::answering(&[Answer::Status(404, None)]);
    let broker = start(provider.outbound().rate("100/s")).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    let failed = &receipts(&broker, 1).await[0];
    assert_eq!(failed["state"], "failed");
    assert_eq!(failed["error"]["code"], "delivery_failed");
    assert_eq!(failed["error"]["class"], "rejected");
    assert_eq!(failed["error"]["retryable"], false);
    let letters = broker.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].code.as_deref(), Some("delivery_failed"));
}

/// Proves P7b, cap: after the last try it is a dead letter, and its sender is told so.
#[tokio::test]
async fn who_fails_too_often_is_given_up_and_said_to_be() {
    let down = Answer::Status(503, None);
    let provider = Provider::answering(&vec![down; 20]);
    let broker = start(provider.outbound().rate("100/s")).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    let all = receipts(&broker, 2).await;
    assert_eq!(all[0], json!({ "state": "queued" }));
    assert_eq!(all[1]["state"], "failed");
    assert_eq!(all[1]["error"]["class"], "unreachable");
    assert_eq!(all[1]["error"]["retryable"], true);
    assert_eq!(
        provider
            .answers
            .lock()
            .expect("no test panics with the lock")
            .len(),
        14,
        "six tries"
    );
    let letters = broker.dead_letters().await;
    assert_eq!(letters[0].reason.as_str(), "delivery_limit");
}

/// Proves P7b, rates: no more than the rate goes out, per target and in all, in order.
#[tokio::test]
async fn rates_hold_and_a_conversation_stays_in_order() {
    let provider = Provider::default();
    let broker = start(provider.outbound().rate("2/m").rate_per_target("1/m")).await;
    for text in ["a1", "a2", "a3"] {
        broker.send("sms", text).to("a").await.expect("durable");
    }
    broker.send("sms", "b1").to("b").await.expect("durable");
    broker.send("sms", "c1").to("c").await.expect("durable");
    broker.settle().await;
    assert_eq!(provider.taken().len(), 2, "{:?}", provider.taken());
    broker.advance("58s").await;
    assert_eq!(provider.taken().len(), 2, "{:?}", provider.taken());
    broker.advance("3s").await;
    assert_eq!(provider.taken().len(), 4, "{:?}", provider.taken());
    broker.advance("5m").await;
    let taken = provider.taken();
    assert_eq!(taken.len(), 5, "{taken:?}");
    let of_a: Vec<_> = taken.iter().filter(|text| text.starts_with('a')).collect();
    assert_eq!(of_a, ["a1", "a2", "a3"]);
    assert!(
        broker.dead_letters().await.is_empty(),
        "waiting is no failure"
    );
}

/// Proves P7c: a death between the call and its record is `unknown`, and never a second call.
#[tokio::test]
async fn a_death_after_the_call_is_unknown_and_not_a_second_message() {
    for at in [KillAt::BeforeCommit, KillAt::InHandler] {
        let provider = Provider::default();
        let broker = start(provider.outbound().rate("100/s")).await;
        broker.kill(at);
        broker.send("sms", "hi").to("+49").await.expect("durable");
        let all = receipts(&broker, 1).await;
        assert_eq!(all[0]["state"], "unknown", "{at:?}");
        assert!(provider.taken().len() <= 1, "{at:?}");
    }
    // What is known to be durable is not unknown.
    let provider = Provider::default();
    let broker = start(provider.outbound().rate("100/s")).await;
    broker.kill(KillAt::AfterCommit);
    broker.send("sms", "hi").to("+49").await.expect("durable");
    assert_eq!(receipts(&broker, 1).await[0]["state"], "sent");
    assert_eq!(provider.taken(), ["hi"]);
}

/// Proves P7c, idempotent: it is sent again with the same key.
#[tokio::test]
async fn an_idempotent_call_is_made_again_with_the_same_key() {
    let provider = Provider::default();
    let broker = start(provider.outbound().idempotent()).await;
    broker.kill(KillAt::BeforeCommit);
    broker.send("sms", "hi").to("+49").await.expect("durable");
    assert_eq!(receipts(&broker, 1).await[0]["state"], "sent");
    let keys = provider.keys();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

/// Proves P7c, reconcile: the provider is asked, and what it has is not sent again.
#[tokio::test]
async fn the_provider_is_asked_what_became_of_a_call() {
    for at in [KillAt::BeforeCommit, KillAt::InHandler] {
        let provider = Provider::default();
        let asked = provider.clone();
        let ask = move |_: Json, ctx: Context| {
            let found = asked.find(&ctx.idempotency_key());
            async move { found }
        };
        let broker = start(provider.outbound().reconcile(ask)).await;
        broker.kill(at);
        broker.send("sms", "hi").to("+49").await.expect("durable");
        let all = receipts(&broker, 1).await;
        assert_eq!(all[0], json!({ "state": "sent", "provider_id": "SM1" }));
        assert_eq!(provider.taken(), ["hi"], "{at:?}");
    }
}

/// Proves P7c, no answer: a provider that took it and did not answer is not called again.
#[tokio::test]
async fn an_answer_that_was_lost_is_unknown() {
    let provider = Provider::answering(&[Answer::Silence]);
    let broker = start(provider.outbound().rate("100/s")).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    let all = receipts(&broker, 1).await;
    assert_eq!(all[0]["state"], "unknown");
    assert_eq!(all[0]["error"]["code"], "delivery_unknown");
    assert_eq!(provider.taken(), ["hi"]);
}

#[tokio::test]
async fn a_call_that_takes_too_long_may_have_happened() {
    let send = |_: Json| async { std::future::pending::<Result<String>>().await };
    let outbound = Outbound::new("sms", send).rate("100/s").timeout("50ms");
    let broker = start(outbound).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    let receipt = broker.expect_published(DELIVERY, json!({ "state": "unknown" }), "20m");
    let payload: Value = receipt.await.payload.json().expect("a receipt");
    assert_eq!(payload["error"]["class"], "timed_out");
}

#[tokio::test]
async fn a_bug_is_tried_again_and_a_reject_is_not() {
    let provider = Provider::answering(&[Answer::Raise]);
    let broker = start(provider.outbound().rate("100/s")).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    let all = receipts(&broker, 2).await;
    assert_eq!(all[1], json!({ "state": "sent", "provider_id": "SM1" }));

    let send = |_: Json| async { Err::<(), _>(Reject::new("no such number").code("gone").into()) };
    let send = move |payload: Json| async move { send(payload).await as Result<()> };
    let broker = start(Outbound::new("sms", send).rate("100/s")).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    let all = receipts(&broker, 1).await;
    assert_eq!(all[0]["error"]["code"], "gone");
    assert_eq!(broker.dead_letters().await.len(), 1);
}

#[tokio::test]
async fn a_handler_may_ask_to_be_called_later() {
    let send = |_: Json, ctx: Context| async move {
        match ctx.delivery().expect("durable").attempt {
            1 => Err(Failure::from(
                Retry::after("3m").because("busy").uncounted(),
            )),
            _ => Ok("SM1".to_owned()),
        }
    };
    let broker = start(Outbound::new("sms", send).rate("100/s")).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    let sent = json!({ "state": "sent" });
    broker.expect_nothing(DELIVERY, &sent, "2m").await;
    broker.expect_published(DELIVERY, &sent, "2m").await;
}

/// Proves P7e, text: a text over the declared limit goes out in parts, each with its own receipt.
#[tokio::test]
async fn a_long_text_is_split_and_each_part_has_its_receipt() {
    for is_guarded in [true, false] {
        let provider = Provider::default();
        let mut outbound = provider.outbound();
        if is_guarded {
            outbound = outbound.rate("100/s");
        }
        let plugin = Plugin::new("sms").outbound(outbound);
        let broker = TestBroker::start(plugin).manifest(MANIFEST).await;
        let text = "one two. three four five";
        broker.send("sms", text).to("+49").await.expect("durable");
        let all = receipts(&broker, 3).await;
        for (index, receipt) in all.iter().enumerate() {
            let part = json!({ "n": index + 1, "of": 3 });
            let id = format!("SM{}", index + 1);
            let sent = json!({ "state": "sent", "provider_id": id, "part": part });
            assert_eq!(*receipt, sent);
        }
        assert_eq!(provider.taken(), ["one two.", "three four", "five"]);
        let keys = provider.keys();
        assert!(
            keys[0].ends_with("#1") && keys[2].ends_with("#3"),
            "{keys:?}"
        );
    }
}

/// Proves P7d, parts: what failed and what was sent is said part by part.
#[tokio::test]
async fn a_part_that_fails_is_said_and_the_ones_behind_it_are_not_sent() {
    let provider = Provider::answering(&[Answer::Status(400, None)]);
    // The first part is let through: answers are taken from the end.
    let first = provider.clone();
    let send = move |message: OutboundMessage, ctx: Context| {
        let text = message.text.unwrap_or_default();
        let sent = if ctx.split().n == 1 {
            Ok("SM1".to_owned())
        } else {
            first.send(&ctx.idempotency_key(), &text)
        };
        async move { sent }
    };
    let plugin = Plugin::new("sms").outbound(Outbound::new("sms", send).rate("100/s"));
    let broker = TestBroker::start(plugin).manifest(MANIFEST).await;
    broker
        .send("sms", "one two. three four five")
        .to("+49")
        .await
        .expect("durable");
    let all = receipts(&broker, 3).await;
    let states: Vec<_> = all.iter().map(|receipt| receipt["state"].clone()).collect();
    assert_eq!(states, ["sent", "failed", "failed"]);
    assert_eq!(all[1]["part"], json!({ "n": 2, "of": 3 }));
    assert_eq!(all[1]["error"]["class"], "rejected");
    assert_eq!(all[2]["error"]["class"], "earlier_part");
    assert_eq!(broker.dead_letters().await.len(), 1);
    assert!(provider.taken().is_empty());
}

/// Proves P7c, parts: after a death only the part that was under way is unknown or sent again.
#[tokio::test]
async fn a_death_between_parts_repeats_none_that_was_sent() {
    let provider = Provider::answering(&[]);
    let slow = provider.clone();
    let send = move |message: OutboundMessage, ctx: Context| {
        let text = message.text.unwrap_or_default();
        let sent = slow.send(&ctx.idempotency_key(), &text);
        async move {
            if ctx.split().n == 2 && !ctx.delivery().expect("durable").redelivered {
                return Err(Failure::from(Retry::after("1s").uncounted()));
            }
            sent
        }
    };
    let plugin = Plugin::new("sms").outbound(Outbound::new("sms", send).idempotent());
    let broker = TestBroker::start(plugin).manifest(MANIFEST).await;
    broker
        .send("sms", "one two. three four five")
        .to("+49")
        .await
        .expect("durable");
    let all = receipts(&broker, 4).await;
    let of = |n: usize| {
        all.iter()
            .filter(|receipt| receipt["part"]["n"] == n)
            .count()
    };
    assert_eq!([of(1), of(2), of(3)], [1, 2, 1], "{all:?}");
    let taken = provider.taken();
    assert_eq!(taken.iter().filter(|text| *text == "one two.").count(), 1);
}

/// Proves LN30: what the channel declares it cannot do fails with a typed receipt, and is not tried.
#[tokio::test]
async fn what_the_channel_cannot_do_is_said_and_not_tried() {
    let provider = Provider::default();
    let plugin = Plugin::new("sms").outbound(provider.outbound());
    let broker = TestBroker::start(plugin).manifest(MANIFEST).await;
    let edit = json!({ "text": "x", "edit_of": "SM0" });
    broker.send("sms", edit).to("+49").await.expect("durable");
    let all = receipts(&broker, 1).await;
    assert_eq!(all[0]["state"], "failed");
    assert_eq!(all[0]["error"]["code"], "not_implemented");
    assert_eq!(all[0]["error"]["class"], "not_supported");
    assert!(provider.taken().is_empty());
}

async fn status(event: Json) -> Result<Receipt> {
    let state = match event["status"].as_str() {
        Some("delivered") => State::Delivered,
        _ => State::Read,
    };
    Ok(Receipt::new(state).provider_id(event["id"].as_str().unwrap_or_default()))
}

async fn message(event: Json) -> Event {
    Event::inbound(event).kind("sms")
}

fn listening(provider: &Provider) -> Plugin {
    Plugin::new("sms")
        .outbound(provider.outbound().rate("100/s"))
        .on(On::new("agent.status", status).name("status"))
        .on(On::new("agent.message", message).name("message"))
}

/// Proves P7a, later states: a receipt from another handler finds its message by the provider's id, also `read`, which comes last.
#[tokio::test]
async fn a_later_receipt_finds_its_message() {
    let provider = Provider::default();
    let broker = TestBroker::start(listening(&provider)).await;
    let sending = broker.send("sms", "hi").to("+49").await.expect("durable");
    broker
        .expect_published(DELIVERY, json!({ "state": "sent" }), "1s")
        .await;
    for state in ["delivered", "delivered", "read"] {
        let report = json!({ "id": "SM1", "status": state });
        broker
            .publish("agent.status", report)
            .await
            .expect("durable");
        let receipt = broker.expect_published(DELIVERY, json!({}), "1s").await;
        assert_eq!(receipt.correlation_id.as_deref(), Some(sending.id()));
        assert_eq!(receipt.session_id.as_deref(), Some("+49"));
        let payload: Value = receipt.payload.json().expect("a receipt");
        assert_eq!(payload, json!({ "state": state, "provider_id": "SM1" }));
        // It is kept in the store: another process knows it too.
        broker.restart().await;
    }
}

#[tokio::test]
async fn a_receipt_that_comes_before_the_answer_waits_for_its_message() {
    let provider = Provider::default();
    let broker = TestBroker::start(listening(&provider)).await;
    let report = json!({ "id": "SM1", "status": "delivered" });
    broker
        .publish("agent.status", &report)
        .await
        .expect("durable");
    broker.settle().await;
    let sending = broker.send("sms", "hi").to("+49").await.expect("durable");
    let delivered = json!({ "state": "delivered" });
    let receipt = broker.expect_published(DELIVERY, delivered, "10s").await;
    assert_eq!(receipt.correlation_id.as_deref(), Some(sending.id()));
    // One whose message never comes is dropped.
    let report = json!({ "id": "SM9", "status": "delivered" });
    broker
        .publish("agent.status", &report)
        .await
        .expect("durable");
    broker
        .expect_nothing(DELIVERY, json!({ "provider_id": "SM9" }), "20m")
        .await;
    assert!(broker.dead_letters().await.is_empty());
}

/// Proves H5: what the instance sent itself does not come in as a message.
#[tokio::test]
async fn an_echo_of_an_own_message_does_not_come_in() {
    let provider = Provider::default();
    let broker = TestBroker::start(listening(&provider)).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    broker
        .expect_published(DELIVERY, json!({ "state": "sent" }), "1s")
        .await;
    for id in ["SM1", "IN1"] {
        let came = json!({ "id": id, "text": "hi", "conversation": { "id": "+49" } });
        broker
            .publish("agent.message", came)
            .await
            .expect("durable");
    }
    let inbound = "plugin.inbound.sms.*";
    broker
        .expect_published(inbound, json!({ "id": "IN1" }), "1s")
        .await;
    broker.expect_nothing(inbound, json!({}), "1m").await;
}

/// Proves H5 over a restart: what an earlier life of plugin and broker sent does not come in either, as long as it
/// is kept.
#[tokio::test]
async fn an_echo_is_known_to_the_next_life() {
    let provider = Provider::default();
    let broker = TestBroker::start(listening(&provider)).await;
    let inbound = "plugin.inbound.sms.*";
    let echo = json!({ "id": "SM1", "text": "hi", "conversation": { "id": "+49" } });
    broker.send("sms", "hi").to("+49").await.expect("durable");
    broker
        .expect_published(DELIVERY, json!({ "state": "sent" }), "1s")
        .await;
    // The process dies, then everything does.
    broker.kill(KillAt::InHandler);
    broker
        .publish("agent.message", &echo)
        .await
        .expect("durable");
    broker.expect_nothing(inbound, json!({}), "1m").await;
    broker.restart().await;
    broker
        .publish("agent.message", &echo)
        .await
        .expect("durable");
    broker.expect_nothing(inbound, json!({}), "1m").await;
    // What nobody keeps any more is a message like others.
    broker.advance("72h").await;
    broker.restart().await;
    broker
        .publish("agent.message", &echo)
        .await
        .expect("durable");
    broker
        .expect_published(inbound, json!({ "id": "SM1" }), "1s")
        .await;
}

#[tokio::test]
async fn options_that_say_nothing_are_refused() {
    async fn send(_: Json) -> Result<()> {
        Ok(())
    }
    for (outbound, text) in [
        (Outbound::new("sms", send).rate("fast"), "30/s"),
        (
            Outbound::new("sms", send).idempotent().settle_manually(),
            "by hand",
        ),
    ] {
        let plugin = Plugin::new("sms").outbound(outbound);
        let error = trunkline::serve(plugin).await.expect_err("refused");
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// Proves LN11: who sent it is told also of what no plugin ever got.
#[tokio::test]
async fn the_broker_says_what_became_of_an_event_that_expired() {
    let send = |_: Json, ctx: Context| async move {
        match ctx.delivery().expect("durable").attempt {
            1 => Err(Failure::from(Retry::after("3m").uncounted())),
            _ => Ok("SM1".to_owned()),
        }
    };
    let broker = start(Outbound::new("sms", send)).await;
    broker.send("sms", "first").to("a").await.expect("durable");
    let queued = json!({ "state": "queued" });
    let queued = broker.expect_published(DELIVERY, queued, "1s").await;
    // The broker's clock is not this process's.
    let now = queued.timestamp;
    let topic = "plugin.outbound.sms.default";
    let late = json!({
        "id": "late", "session_id": "a", "payload": { "text": "late" }, "expires_at": now,
    });
    let publish = json!({ "topic": topic, "event": late });
    let published = broker.client().request::<Json>("broker.publish", &publish);
    published.await.expect("durable");
    let failed = json!({ "state": "failed" });
    let receipt = broker.expect_published(DELIVERY, &failed, "5m").await;
    assert_eq!(receipt.correlation_id.as_deref(), Some("late"));
    assert_eq!(receipt.session_id.as_deref(), Some("a"));
    let payload: Value = receipt.payload.json().expect("a receipt");
    assert_eq!(payload["error"]["class"], "expired");
}

/// Proves P8a: each instance has a rate of its own.
#[tokio::test]
async fn the_rate_of_one_instance_holds_up_no_other() {
    let provider = Provider::default();
    let plugin = Plugin::new("sms").outbound(provider.outbound().rate("1/m"));
    let broker = TestBroker::start(plugin).instances(["a", "b"]).await;
    for instance in ["a", "b", "a"] {
        let sending = broker.send("sms", instance).to("+49").instance(instance);
        sending.await.expect("durable");
    }
    broker.settle().await;
    let mut taken = provider.taken();
    taken.sort();
    assert_eq!(taken, ["a", "b"]);
    broker.advance("61s").await;
    assert_eq!(provider.taken().len(), 3);
}

/// Proves P7d, media: they go with the last part, as one; where that fails, what was sent is said, and a replay sends
/// nothing of it again.
#[tokio::test]
async fn media_that_fail_are_said_and_no_text_is_sent_again() {
    let provider = Provider::default();
    let is_down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let media: Arc<Mutex<Vec<(u32, usize)>>> = Arc::default();
    let (taken, down, seen) = (provider.clone(), is_down.clone(), media.clone());
    let send = move |message: OutboundMessage, ctx: Context| {
        let parts = message.parts.as_ref().map_or(0, Vec::len);
        let mut seen = seen.lock().expect("no test panics with the lock");
        seen.push((ctx.split().n, parts));
        let sent = if parts > 0 && down.load(std::sync::atomic::Ordering::SeqCst) {
            Err(Reject::new("the second file is refused").into())
        } else {
            taken.send(&ctx.idempotency_key(), &message.text.unwrap_or_default())
        };
        async move { sent }
    };
    let plugin = Plugin::new("sms").outbound(Outbound::new("sms", send).rate("100/s"));
    let broker = TestBroker::start(plugin).manifest(MANIFEST).await;
    let image = |name: &str| {
        let url = format!("https://x.example/{name}.png");
        json!({ "type": "image", "url": url, "media_type": "image/png" })
    };
    let message = json!({ "text": "one two. three four", "parts": [image("a"), image("b")] });
    broker
        .send("sms", message)
        .to("+49")
        .await
        .expect("durable");
    let all = receipts(&broker, 2).await;
    let part = |n: u32| json!({ "n": n, "of": 2 });
    assert_eq!(
        all[0],
        json!({ "state": "sent", "provider_id": "SM1", "part": part(1) })
    );
    assert_eq!(all[1]["state"], "failed");
    assert_eq!(all[1]["part"], part(2));
    assert_eq!(provider.taken(), ["one two."]);

    is_down.store(false, std::sync::atomic::Ordering::SeqCst);
    let letters = broker.dead_letters().await;
    let replay = json!({ "id": letters[0].id });
    let replayed = broker.client().request::<Json>("admin.dlq.replay", &replay);
    replayed.await.expect("put back");
    let all = receipts(&broker, 1).await;
    assert_eq!(
        all[0],
        json!({ "state": "sent", "provider_id": "SM2", "part": part(2) })
    );
    assert_eq!(provider.taken(), ["one two.", "three four"]);
    let seen = media.lock().expect("no test panics with the lock");
    assert_eq!(*seen, [(1, 0), (2, 2), (2, 2)]);
}
