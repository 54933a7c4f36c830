//! Plugins and agents against the real broker in memory, through the public API alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use trunkline::testing::{Fault, KillAt, TestBroker};
use trunkline::{
    Client, Code, Context, Event, Failure, InboundMessage, Json, On, Outbound, Plugin, Reject,
    Reply, Result, Retry, Start, State,
};

async fn echo(payload: Json) -> Result<Reply> {
    Ok(Reply::new(payload))
}

fn plugin() -> Plugin {
    Plugin::new("echo").outbound(Outbound::new("echo", echo))
}

/// Proves LN52, Rust part: a broker in memory, a fake clock and faults, inside cargo test.
#[tokio::test]
async fn a_message_is_sent_answered_and_has_its_receipt() {
    let broker = TestBroker::start(plugin()).await;
    let sending = broker.send("echo", "hi").to("me").await.expect("durable");
    let reply =
        broker.expect_published("plugin.inbound.echo.default", json!({ "text": "hi" }), "1s");
    let reply = reply.await;
    assert_eq!(reply.source, "echo/default");
    assert_eq!(reply.session_id.as_deref(), Some("me"));
    assert_eq!(reply.correlation_id.as_deref(), Some(sending.id()));
    assert_eq!(
        sending.until(State::Sent).await.expect("sent").state,
        State::Sent
    );
    broker
        .expect_published("plugin.delivery.echo.*", json!({ "state": "sent" }), "1s")
        .await;
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "10m")
        .await;
}

#[tokio::test]
async fn a_retry_waits_as_long_as_it_asked_for_on_the_brokers_clock() {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = attempts.clone();
    let send = move |_: Json, ctx: Context| {
        let attempts = counted.clone();
        async move {
            attempts.fetch_add(1, Ordering::SeqCst);
            let delivery = ctx.delivery().expect("durable");
            assert_eq!(delivery.redelivered, delivery.attempt > 1);
            if delivery.attempt < 3 {
                return Err(Retry::after("3m").because("busy").into());
            }
            Ok::<_, Failure>("P1".to_owned())
        }
    };
    let broker = TestBroker::start(Plugin::new("sms").outbound(Outbound::new("sms", send))).await;
    broker.send("sms", "hi").to("+49").await.expect("durable");
    broker
        .expect_published("plugin.delivery.sms.*", json!({ "state": "queued" }), "1s")
        .await;
    broker
        .expect_nothing("plugin.delivery.sms.*", json!({ "state": "sent" }), "5m")
        .await;
    let sent = json!({ "state": "sent", "provider_id": "P1" });
    broker
        .expect_published("plugin.delivery.sms.*", sent, "2m")
        .await;
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_agent_answers_what_a_plugin_brings_in_and_the_plugin_sends_it() {
    async fn answer(message: InboundMessage) -> Result<Reply> {
        Ok(Reply::new(format!(
            "you said {}",
            message.text.unwrap_or_default()
        )))
    }
    async fn send(message: Json, ctx: Context) -> Result<String> {
        assert_eq!(message["conversation"]["id"], "c1");
        assert_eq!(ctx.kind(), Some("chat"));
        Ok("P1".to_owned())
    }
    async fn came_in(payload: Json) -> Result<Event> {
        Ok(Event::inbound(payload).kind("chat"))
    }
    let plugin = Plugin::new("chat")
        .outbound(Outbound::new("chat", send))
        .on(On::new("agent.fake", came_in).name("fake"));
    let broker = TestBroker::start(plugin).await;
    let agent = Client::new("support").on(On::new("plugin.inbound.>", answer)
        .group("support")
        .start(Start::Earliest));
    let agent = broker.attach(agent).await;
    let message = json!({ "text": "hi", "conversation": { "id": "c1" } });
    broker
        .publish("agent.fake", message)
        .await
        .expect("durable");
    let reply = broker
        .expect_published("plugin.outbound.chat.>", json!({}), "1s")
        .await;
    assert_eq!(reply.source, "client:support");
    let payload: Json = reply.payload.json().expect("JSON");
    assert_eq!(payload["text"], "you said hi");
    let sent = broker.expect_published("plugin.delivery.chat.>", json!({ "state": "sent" }), "1s");
    assert_eq!(sent.await.correlation_id, Some(reply.id));
    agent.close().await;
}

#[tokio::test]
async fn each_instance_gets_its_own_events_and_config() {
    async fn who(_: Json, ctx: Context) -> Result<Reply> {
        Ok(Reply::new(
            json!({ "me": ctx.instance(), "greeting": ctx.config::<Json>()?["hi"] }),
        ))
    }
    let broker = TestBroker::start(Plugin::new("echo").outbound(Outbound::new("echo", who)))
        .instances(["one", "two"])
        .config(json!({ "hi": { "$secret": "hi" } }))
        .secret("hi", "s3cret")
        .await;
    for name in ["one", "two"] {
        broker
            .send("echo", "x")
            .to("c")
            .instance(name)
            .await
            .expect("durable");
        let topic = format!("plugin.inbound.echo.{name}");
        let asked = json!({ "me": name, "greeting": "s3cret" });
        broker.expect_published(&topic, asked, "1s").await;
    }
    let unrouted = broker
        .send("echo", "x")
        .to("nobody")
        .await
        .expect_err("two could send it");
    assert_eq!(unrouted.code, Code::Unrouted);
}

#[tokio::test]
async fn a_plugin_that_dies_gets_its_event_again_and_says_it_once() {
    for at in [KillAt::InHandler, KillAt::BeforeCommit, KillAt::AfterCommit] {
        let broker = TestBroker::start(plugin()).await;
        broker.kill(at);
        broker.send("echo", "hi").to("me").await.expect("durable");
        broker
            .expect_published("plugin.inbound.echo.*", json!({ "text": "hi" }), "1m")
            .await;
        broker
            .expect_nothing("plugin.inbound.echo.*", json!({}), "10m")
            .await;
        broker
            .send("echo", "again")
            .to("me")
            .await
            .expect("durable");
        broker
            .expect_published("plugin.inbound.echo.*", json!({ "text": "again" }), "1m")
            .await;
    }
}

#[tokio::test]
async fn the_clock_waits_for_a_plugin_that_is_started_again() {
    // Real time passes and no task waits for anything, as on a machine that has much else to do.
    let start = |_| async {
        for _ in 0..50_000 {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    let broker = TestBroker::start(plugin().on_start(start)).await;
    broker.kill(KillAt::BeforeCommit);
    broker.send("echo", "hi").to("me").await.expect("durable");
    broker
        .expect_published("plugin.inbound.echo.*", json!({ "text": "hi" }), "1m")
        .await;
}

#[tokio::test]
async fn faults_of_the_link_cost_a_redelivery_and_lose_nothing() {
    for fault in [
        Fault::DropAck,
        Fault::Duplicate,
        Fault::LinkLost,
        Fault::StorageFull,
    ] {
        let seen = Arc::new(AtomicU32::new(0));
        let counted = seen.clone();
        let note = move |_: Json, ctx: Context| {
            let seen = counted.clone();
            async move {
                seen.fetch_add(1, Ordering::SeqCst);
                ctx.publish("agent.noted", 1).await?;
                Ok::<_, Failure>(())
            }
        };
        let plugin = Plugin::new("note").on(On::new("agent.note", note).name("note"));
        let broker = TestBroker::start(plugin).await;
        broker.fault(fault, 1);
        broker
            .publish("agent.note", "x")
            .session("s")
            .await
            .expect("durable");
        broker.expect_published("agent.noted", json!(1), "2m").await;
        broker.expect_nothing("agent.noted", json!(1), "2m").await;
        let twice = fault != Fault::LinkLost;
        assert_eq!(
            seen.load(Ordering::SeqCst),
            if twice { 2 } else { 1 },
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_restart_of_the_broker_loses_nothing_that_was_durable() {
    let broker = TestBroker::start(plugin()).await;
    broker
        .send("echo", "before")
        .to("me")
        .await
        .expect("durable");
    broker
        .expect_published("plugin.inbound.echo.*", json!({ "text": "before" }), "1s")
        .await;
    broker.restart().await;
    broker
        .send("echo", "after")
        .to("me")
        .await
        .expect("durable");
    broker
        .expect_published("plugin.inbound.echo.*", json!({ "text": "after" }), "1m")
        .await;
    broker
        .expect_nothing("plugin.inbound.echo.*", json!({}), "1m")
        .await;
}

#[tokio::test]
async fn a_publish_that_is_not_granted_is_refused_with_a_code() {
    async fn overreach(_: Json, ctx: Context) -> Result<()> {
        let refused = ctx
            .publish("plugin.inbound.other.default", 1)
            .await
            .expect_err("refused");
        assert_eq!(refused.code, Code::TopicNotGranted);
        ctx.publish("agent.refused", refused.code.as_str()).await?;
        Err(Reject::new("seen enough").into())
    }
    let plugin = Plugin::new("echo").outbound(Outbound::new("echo", overreach));
    let broker = TestBroker::start(plugin).await;
    broker.send("echo", "x").to("me").await.expect("durable");
    broker
        .expect_published("agent.refused", json!("topic_not_granted"), "1s")
        .await;
    broker
        .expect_published("plugin.delivery.echo.*", json!({ "state": "failed" }), "1s")
        .await;
}

#[tokio::test]
async fn an_ephemeral_event_is_answered_by_an_ephemeral_one() {
    let broker = TestBroker::start(plugin()).await;
    let topic = "plugin.outbound.echo.default";
    let published = broker
        .publish(topic, json!({ "n": 1 }))
        .ephemeral()
        .await
        .expect("taken");
    assert_eq!(published.seq, None);
    broker
        .expect_published("plugin.inbound.echo.*", json!({ "n": 1 }), "1s")
        .await;
    broker
        .expect_nothing("plugin.delivery.>", json!({}), "1m")
        .await;
}

#[tokio::test]
async fn an_event_that_is_read_by_hand_can_be_given_back_and_the_cursor_moved() {
    let broker = TestBroker::start(plugin()).await;
    let mut all = broker
        .client()
        .subscribe(["agent.>"])
        .name("by-hand")
        .await
        .expect("made");
    for n in 1..=3 {
        broker.publish("agent.n", n).await.expect("durable");
    }
    let first = all.next().await.expect("the first");
    assert_eq!(first.payload::<u32>().expect("a number"), 1);
    first.nak(&Retry::after("0s").uncounted()).expect("a time");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        broker.settle().await;
        let delivery = all.next().await.expect("another");
        seen.push(delivery.payload::<u32>().expect("a number"));
        delivery.ack();
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3]);
    all.seek(Start::Earliest).await.expect("moved");
    broker.settle().await;
    let again = all.next().await.expect("the first again");
    assert_eq!(again.payload::<u32>().expect("a number"), 1);
    again.ack();
    all.delete().await.expect("deleted");
}

#[tokio::test]
async fn what_can_never_be_handled_is_a_dead_letter_with_its_reason() {
    async fn refuse(_: Json) -> Result<()> {
        Err(Reject::new("no such user").code("gone").into())
    }
    async fn fail(_: Json) -> Result<()> {
        Err(Failure::new("it broke"))
    }
    let plugin = Plugin::new("echo")
        .on(On::new("agent.refuse", refuse).name("refuse"))
        .on(On::new("agent.fail", fail).name("fail"));
    let broker = TestBroker::start(plugin).await;
    broker.publish("agent.refuse", 1).await.expect("durable");
    broker.publish("agent.fail", 2).await.expect("durable");
    broker.advance("30m").await;
    let letters = broker.dead_letters().await;
    let of = |name: &str| {
        let full = format!("instance.echo.default.{name}");
        letters
            .iter()
            .find(|letter| letter.subscription == full)
            .expect("a dead letter")
    };
    assert_eq!(of("refuse").code.as_deref(), Some("gone"));
    let failed = of("fail");
    assert_eq!(failed.attempts, 6);
    assert_eq!(
        failed.last_error.as_ref().expect("an error").message,
        "it broke"
    );
}

#[tokio::test]
async fn a_lock_that_nobody_waits_for_any_more_is_given_back() {
    let broker = TestBroker::start(plugin()).await;
    let other = broker.attach(Client::new("other")).await;
    for _ in 0..20 {
        let holder = other.lock("one").await.expect("it is free");
        let client = broker.client().clone();
        let waiting = tokio::spawn(async move { client.lock("one").wait("1h").await.map(drop) });
        while broker
            .client()
            .request::<Json>("system.info", &json!({}))
            .await
            .is_err()
        {}
        waiting.abort();
        assert!(waiting.await.is_err());
        holder.release().await.expect("it is held");
        let lock = broker.client().lock("one").wait("1m").await;
        lock.expect("it is free")
            .release()
            .await
            .expect("it is held");
    }
}

const MANIFEST: &str = r#"
[plugin]
id = "greeter"
version = "0.1.0"
command = ["greeter"]

[[channels]]
kind = "echo"

[config.greeting]
type = "string"
default = "hello"

[config.name]
type = "string"
required = true

[config.style]
type = "object"

[config.style.fields.loud]
type = "boolean"
default = false

[config.style.fields.marks]
type = "integer"
default = 1
"#;

/// Proves LN52, Rust part: a test's config has the defaults of the manifest, as the daemon's has.
#[tokio::test]
async fn what_the_manifest_defaults_need_not_be_said_again() {
    async fn greet(_message: Json, ctx: Context) -> Result<Reply> {
        let config: Json = ctx.config()?;
        Ok(Reply::new(config))
    }
    let plugin = || Plugin::new("greeter").outbound(Outbound::new("echo", greet));
    for (given, wanted) in [
        (
            json!({ "name": "ada" }),
            json!({ "name": "ada", "greeting": "hello" }),
        ),
        (
            json!({ "name": "ada", "greeting": "hi", "style": { "loud": true } }),
            json!({ "name": "ada", "greeting": "hi", "style": { "loud": true, "marks": 1 } }),
        ),
    ] {
        let start = TestBroker::start(plugin()).manifest(MANIFEST);
        let broker = start.config(given).await;
        broker.send("echo", "?").to("me").await.expect("durable");
        broker
            .expect_published("plugin.inbound.echo.*", wanted, "1s")
            .await;
    }
}

/// Proves LN52, Rust part: the clock jumps from one thing that happens to the next; a year in which nothing does
/// is one step.
#[tokio::test]
async fn a_year_in_which_nothing_happens_is_over_at_once() {
    let broker = TestBroker::start(plugin()).await;
    broker.advance("365d").await;
    broker.send("echo", "hi").to("me").await.expect("durable");
    broker
        .expect_published("plugin.inbound.echo.*", json!({ "text": "hi" }), "1s")
        .await;
}

#[tokio::test]
async fn a_subscription_that_is_left_can_be_read_again_at_once() {
    let broker = TestBroker::start(plugin()).await;
    for n in 0..100_u32 {
        // Dropped at the end of the round: leaving it must not undo what the next round begins.
        let mut read = broker
            .client()
            .subscribe(["agent.>"])
            .name("by-turns")
            .await
            .expect("made, or there");
        broker.publish("agent.n", n).await.expect("durable");
        let delivery = read.next().await.expect("this round's");
        assert_eq!(delivery.payload::<u32>().expect("a number"), n);
        delivery.ack();
    }
}
