//! Assemblers against the real broker in memory: parts in, one event out, whatever dies in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use trunkline::testing::{KillAt, TestBroker};
use trunkline::{
    Assemble, Context, Event, Failure, On, Part, Plugin, Reject, Result, Webhook, WebhookRequest,
};

const INBOUND: &str = "plugin.inbound.sms.default";

async fn hook(request: WebhookRequest) -> Result<Part> {
    let sms: Value = request.json()?;
    let text = |name: &str| sms[name].as_str().unwrap_or_default().to_owned();
    let mut part = Part::new(text("from"), trunkline::Bytes::encode(&sms["text"])?);
    part.group = sms["ref"].as_str().map(str::to_owned);
    part.seq = sms["part"].as_u64();
    part.total = sms["parts"].as_u64();
    part.is_final = sms["final"].as_bool().unwrap_or(false);
    Ok(part)
}

async fn whole(parts: Vec<Part<String>>, ctx: Context) -> Result<Event> {
    let assembly = ctx.assembly().expect("an assembler is told");
    let gap = if assembly.missing.is_empty() {
        ""
    } else {
        "…"
    };
    let texts: Vec<_> = parts.iter().map(|part| part.data.as_str()).collect();
    Ok(Event::inbound(json!({
        "text": texts.join(gap), "conversation": { "id": parts[0].session }, "why": assembly.reason,
    })))
}

fn plugin() -> Plugin {
    plugin_of(Assemble::new("sms", whole).silence("30s").max_age("10m"))
}

fn plugin_of(assemble: Assemble) -> Plugin {
    let webhook = Webhook::new("sms", hook)
        .verify("github")
        .secret("{config.secret}");
    Plugin::new("sms")
        .webhook(webhook.options(trunkline::WebhookOptions {
            session: Some("/from".to_owned()),
            ..Default::default()
        }))
        .assemble(assemble)
}

async fn broker(plugin: Plugin) -> TestBroker {
    TestBroker::start(plugin)
        .config(json!({ "secret": "s" }))
        .await
}

async fn send(broker: &TestBroker, sms: Value) {
    let session = sms["from"].as_str().unwrap_or_default().to_owned();
    broker.webhook("sms").session(session).json(sms).await;
    broker.settle().await;
}

fn sms(number: u64, text: &str) -> Value {
    json!({ "from": "+49", "ref": "r1", "part": number, "parts": 3, "text": text })
}

/// Proves P6a, Rust part: the parts of a message become one event, in order, once.
#[tokio::test]
async fn parts_in_any_order_become_one_event() {
    let broker = broker(plugin()).await;
    for (number, text) in [(3, "c"), (1, "a"), (1, "again"), (2, "b")] {
        send(&broker, sms(number, text)).await;
    }
    let expected = json!({ "text": "abc", "why": "complete" });
    let event = broker.expect_published(INBOUND, expected, "1s").await;
    assert_eq!(event.session_id.as_deref(), Some("+49"));
    // What comes late is no part of another whole.
    send(&broker, sms(2, "late")).await;
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "20m")
        .await;
}

/// Proves P6a, silence part: without a last part the silence ends it; conversations do not wait for each other.
#[tokio::test]
async fn silence_ends_a_whole_and_conversations_are_apart() {
    let broker = broker(plugin()).await;
    send(&broker, json!({ "from": "+1", "text": "hel" })).await;
    broker.advance("20s").await;
    send(&broker, json!({ "from": "+2", "text": "other" })).await;
    send(&broker, json!({ "from": "+1", "text": "lo" })).await;
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "29s")
        .await;
    broker
        .expect_published(INBOUND, json!({ "text": "hello", "why": "silence" }), "2s")
        .await;
    broker
        .expect_published(INBOUND, json!({ "text": "other" }), "2s")
        .await;
    // The next part of the session begins anew.
    send(
        &broker,
        json!({ "from": "+1", "text": "new", "final": true }),
    )
    .await;
    broker
        .expect_published(INBOUND, json!({ "text": "new", "why": "final" }), "1s")
        .await;
}

/// Proves P6b, Rust part: buffers and timers survive the death of the broker and of the plugin.
#[tokio::test]
async fn what_was_collected_survives_a_kill() {
    let broker = broker(plugin()).await;
    send(&broker, sms(1, "a")).await;
    broker.restart().await;
    send(&broker, sms(3, "c")).await;
    broker.kill(KillAt::BeforeCommit);
    send(&broker, sms(2, "b")).await;
    broker
        .expect_published(INBOUND, json!({ "text": "abc" }), "1m")
        .await;
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "20m")
        .await;
    send(&broker, json!({ "from": "+5", "text": "alone" })).await;
    broker.restart().await;
    broker
        .expect_published(INBOUND, json!({ "text": "alone", "why": "silence" }), "1m")
        .await;
}

/// Proves P6b: with too many conversations the one that waits longest comes out at once, as it is, also after a restart,
/// and none is dropped.
#[tokio::test]
async fn the_conversation_that_waits_longest_gives_way_and_loses_nothing() {
    let assemble = Assemble::new("sms", whole).silence("30s").max_age("10m");
    let broker = broker(plugin_of(assemble.wholes_max(2))).await;
    let part = |from: &str, text: &str| json!({ "from": from, "text": text });
    for (from, text) in [("+1", "a"), ("+2", "b"), ("+1", "a")] {
        send(&broker, part(from, text)).await;
        broker.advance("1s").await;
    }
    send(&broker, part("+3", "c")).await;
    let evicted = |text: &str| json!({ "text": text, "why": "evicted" });
    broker.expect_published(INBOUND, evicted("b"), "1s").await;
    broker.restart().await;
    send(&broker, part("+4", "d")).await;
    broker.expect_published(INBOUND, evicted("aa"), "1s").await;
    for text in ["c", "d"] {
        let silent = json!({ "text": text, "why": "silence" });
        broker.expect_published(INBOUND, silent, "31s").await;
    }
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "20m")
        .await;
    assert!(broker.dead_letters().await.is_empty());
}

/// Proves P6a: a conversation whose whole is being handled holds up no other.
#[tokio::test]
async fn conversations_are_handled_side_by_side() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let opens = gate.clone();
    let slow = move |parts: Vec<Part<String>>, ctx: Context| {
        let gate = gate.clone();
        async move {
            if parts[0].session == "+1" {
                gate.notified().await;
            }
            whole(parts, ctx).await
        }
    };
    let broker = broker(plugin_of(Assemble::new("sms", slow))).await;
    for from in ["+1", "+2"] {
        let last = json!({ "from": from, "text": from, "final": true });
        send(&broker, last).await;
    }
    broker
        .expect_published(INBOUND, json!({ "text": "+2" }), "1s")
        .await;
    broker
        .expect_nothing(INBOUND, json!({ "text": "+1" }), "1s")
        .await;
    opens.notify_one();
    broker
        .expect_published(INBOUND, json!({ "text": "+1" }), "1s")
        .await;
}

/// Proves P6a: two groups of one session are two wholes; each ends in its own time, the one that fell silent first first.
#[tokio::test]
async fn two_groups_of_a_session_are_two_wholes_and_end_in_order() {
    let broker = broker(plugin()).await;
    let of = |group: &str, number: u64, text: &str| json!({ "from": "+49", "ref": group, "part": number, "text": text });
    send(&broker, of("r1", 2, "b")).await;
    broker.advance("1s").await;
    send(&broker, of("r2", 2, "y")).await;
    broker.advance("1s").await;
    send(&broker, of("r2", 1, "x")).await;
    broker.advance("1s").await;
    send(&broker, of("r1", 1, "a")).await;
    for text in ["xy", "ab"] {
        let next = broker.expect_published(INBOUND, json!({}), "31s").await;
        let found: Value = next.payload.json().expect("an event");
        assert_eq!(found["text"], text);
        assert_eq!(next.session_id.as_deref(), Some("+49"));
    }
}

/// Proves P6a: a whole ends at its bytes, whatever else would come.
#[tokio::test]
async fn a_whole_ends_at_its_bytes() {
    let assemble = Assemble::new("sms", whole).max_bytes(400);
    let broker = broker(plugin_of(assemble)).await;
    let text = "x".repeat(200);
    send(&broker, json!({ "from": "+1", "text": text })).await;
    broker.expect_nothing(INBOUND, json!({}), "1s").await;
    send(&broker, json!({ "from": "+1", "text": text })).await;
    let all = json!({ "text": format!("{text}{text}"), "why": "max_bytes" });
    broker.expect_published(INBOUND, all, "1s").await;
}

#[tokio::test]
async fn a_function_that_fails_is_asked_again_and_in_the_end_its_parts_are_a_dead_letter() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let fails = move |_: Vec<Part<String>>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Err::<(), _>(Failure::new("no")) }
    };
    let brings = |payload: Value| async move { Part::new("s", payload["text"].clone()).last() };
    let plugin = Plugin::new("sms")
        .on(On::new("agent.part", brings).name("brings"))
        .assemble(Assemble::new("sms", fails));
    let broker = broker(plugin).await;
    broker
        .publish("agent.part", json!({ "text": "x" }))
        .await
        .expect("durable");
    broker.advance("25m").await;
    assert_eq!(asked.load(Ordering::SeqCst), 6);
    let dead = broker.dead_letters().await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(format!("{dead:?}").contains("assembler sms/"), "{dead:?}");
    broker.advance("11m").await;
    assert_eq!(asked.load(Ordering::SeqCst), 6, "it is over");
}

#[tokio::test]
async fn options_out_of_range_are_refused_before_anything_starts() {
    async fn none(_: Vec<Part<String>>) -> Result<()> {
        Err(Reject::new("never").into())
    }
    let refused = |assemble: Assemble| {
        let plugin = Plugin::new("sms").assemble(assemble);
        plugin.check().expect_err("refused").message
    };
    let parts = refused(Assemble::new("sms", none).max_parts(500));
    assert!(
        parts.contains("1 to 200") && parts.contains("500"),
        "{parts}"
    );
    let age = refused(Assemble::new("sms", none).silence("1m").max_age("1s"));
    assert!(age.contains("max_age"), "{age}");
}
