//! Standard payloads, and channels that declare what they can do, against the real broker in memory.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trunkline::message::{Choice, InboundMessage, OutboundMessage, Part, Poll, Reaction};
use trunkline::testing::TestBroker;
use trunkline::{
    Client, Event, Json, On, Outbound, Plugin, Receipt, Reject, Result, Schedule, Start, State,
    Timer, TimerEvent,
};

const DELIVERY: &str = "plugin.delivery.chat.*";
const OUTBOUND: &str = "plugin.outbound.chat.default";
const ALL: &str = "edits = \"full\", deletes = \"full\", reactions = \"full\", threads = \"full\", \
                   typing = \"full\", polls = \"full\", forwards = \"full\", cards = \"full\", \
                   files = { level = \"full\" }, receipts = \"full\"";

fn manifest(features: &str) -> String {
    format!(
        "[plugin]\nid = \"chat\"\nversion = \"0.1.0\"\ncommand = [\"./chat\"]\n\
         [[channels]]\nkind = \"chat\"\nfeatures = {{ {features} }}\n"
    )
}

/// What a handler saw, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<OutboundMessage>>>);

impl Seen {
    fn take(&self) -> Vec<OutboundMessage> {
        std::mem::take(&mut *self.0.lock().expect("no thread panics"))
    }

    fn only(&self) -> OutboundMessage {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn outbound(&self) -> Outbound {
        let seen = self.0.clone();
        Outbound::new("chat", move |message: OutboundMessage| {
            seen.lock().expect("no thread panics").push(message);
            async { "P1" }
        })
    }
}

async fn channel(features: &str) -> (TestBroker, Seen) {
    let seen = Seen::default();
    let plugin = Plugin::new("chat").outbound(seen.outbound());
    let broker = TestBroker::start(plugin).manifest(manifest(features)).await;
    (broker, seen)
}

fn poll() -> Poll {
    let choice = |id: &str, text: &str| Choice {
        id: Some(id.to_owned()),
        text: text.to_owned(),
        ..Choice::default()
    };
    Poll {
        question: "When?".to_owned(),
        options: vec![choice("6", "at six"), choice("7", "at seven")],
        multiple: Some(false),
        closes_at: Some("2030-01-01T00:00:00Z".to_owned()),
        ..Poll::default()
    }
}

/// One message for each feature: what asks for it, and whether the handler saw it as its type says.
type Ask = (&'static str, OutboundMessage, fn(&OutboundMessage) -> bool);

fn asks() -> Vec<Ask> {
    fn part(part: &OutboundMessage) -> &Part {
        &part.parts.as_ref().expect("parts")[0]
    }
    let of = |message: Value| serde_json::from_value(message).expect("a message");
    let parts = |part: Part| OutboundMessage {
        parts: Some(vec![part]),
        ..OutboundMessage::text("x")
    };
    let reaction = Reaction {
        target: "m1".to_owned(),
        key: "👍".to_owned(),
        op: Some("add".to_owned()),
        ..Reaction::default()
    };
    let reacts = OutboundMessage {
        reaction: Some(reaction),
        ..OutboundMessage::default()
    };
    let file = json!({ "type": "file", "url": "https://x.example/a.pdf", "name": "a.pdf" });
    let card = json!({ "type": "card", "card": { "actions": [{ "id": "ok", "label": "OK" }] } });
    vec![
        (
            "edits",
            of(json!({ "text": "x", "edit_of": "m1" })),
            |seen| seen.edit_of.as_deref() == Some("m1"),
        ),
        ("deletes", of(json!({ "deleted": "m1" })), |seen| {
            seen.deleted.as_deref() == Some("m1")
        }),
        ("reactions", reacts, |seen| {
            let reaction = seen.reaction.as_ref();
            reaction.is_some_and(|one| one.key == "👍" && one.op.as_deref() == Some("add"))
        }),
        (
            "threads",
            of(json!({ "text": "x", "conversation": { "id": "c", "thread_id": "t" } })),
            |seen| {
                let conversation = seen.conversation.as_ref();
                conversation.and_then(|one| one.thread_id.as_deref()) == Some("t")
            },
        ),
        ("typing", of(json!({ "typing": true })), |seen| {
            seen.typing == Some(true)
        }),
        ("polls", parts(Part::poll(poll())), |seen| {
            part(seen).poll == Some(poll())
        }),
        ("forwards", parts(Part::forward("m1")), |seen| {
            part(seen).message_id.as_deref() == Some("m1")
        }),
        (
            "cards",
            of(json!({ "text": "x", "parts": [card] })),
            |seen| {
                let actions = part(seen)
                    .card
                    .as_ref()
                    .and_then(|card| card.actions.as_ref());
                actions.is_some_and(|actions| actions[0].id == "ok")
            },
        ),
        (
            "files",
            of(json!({ "text": "x", "parts": [file] })),
            |seen| part(seen).name.as_deref() == Some("a.pdf"),
        ),
    ]
}

/// Proves P7e: polls, media, reactions, edits, unsend, threads and typing are typed payloads: a channel that has
/// them, in full or in part, is handed each as it was said.
#[tokio::test]
async fn a_channel_that_can_is_handed_each_payload_as_its_type() {
    for features in [ALL.to_owned(), ALL.replace("full", "partial")] {
        let (broker, seen) = channel(&features).await;
        for (feature, message, is_whole) in asks() {
            let sending = broker.send("chat", &message).await.expect("durable");
            let receipt = sending.until(State::Sent).await.expect("a receipt");
            assert_eq!(receipt.provider_id.as_deref(), Some("P1"));
            assert!(receipt.degraded.is_empty(), "{feature}");
            let found = seen.only();
            assert_eq!(found, message, "{feature}");
            assert!(is_whole(&found), "{feature}");
        }
        assert!(broker.dead_letters().await.is_empty());
    }
}

/// Proves P7e, LN30: what the channel declares it does not have is refused as `not_supported`, with the feature that
/// is lacking; the handler is not called, and the message is a dead letter.
#[tokio::test]
async fn a_channel_that_cannot_refuses_and_does_not_call_its_handler() {
    let (broker, seen) = channel(&ALL.replace("full", "none")).await;
    let asks = asks();
    let count = asks.len();
    for (feature, message, _) in asks {
        broker.send("chat", &message).await.expect("durable");
        let failed = json!({ "state": "failed" });
        let receipt = broker.expect_published(DELIVERY, failed, "1s").await;
        let payload: Value = receipt.payload.json().expect("a receipt");
        let error = json!({
            "code": "not_implemented", "class": "not_supported", "retryable": false, "feature": feature,
        });
        assert_eq!(payload, json!({ "state": "failed", "error": error }));
    }
    assert!(seen.take().is_empty(), "nothing was tried");
    let letters = broker.dead_letters().await;
    assert_eq!(letters.len(), count);
    for letter in letters {
        assert_eq!(letter.code.as_deref(), Some("not_implemented"));
    }
}

/// Proves P7e, typing: said once, to who listens; where the channel has none, it is said that it has none.
#[tokio::test]
async fn typing_is_ephemeral_and_guarded_too() {
    let typing = json!({ "typing": true, "conversation": { "id": "c" } });
    let (broker, seen) = channel("typing = \"full\"").await;
    let typed = broker.publish(OUTBOUND, &typing).ephemeral();
    typed.await.expect("taken");
    broker.expect_nothing(DELIVERY, json!({}), "1m").await;
    assert_eq!(seen.only().typing, Some(true));

    let (broker, seen) = channel("typing = \"none\", polls = \"none\"").await;
    let typed = broker.publish(OUTBOUND, &typing).ephemeral();
    typed.await.expect("taken");
    let error = json!({ "class": "not_supported", "feature": "typing" });
    let refused = json!({ "state": "failed", "error": error });
    broker.expect_published(DELIVERY, refused, "1s").await;
    assert!(seen.take().is_empty());
    // What is not stored is degraded as what is.
    let poll = json!({ "text": "?", "parts": [{ "type": "poll", "alt_text": "six or seven" }] });
    let asked = broker.publish(OUTBOUND, &poll).ephemeral();
    asked.await.expect("taken");
    broker.settle().await;
    assert_eq!(seen.only(), OutboundMessage::text("?\nsix or seven"));
    assert!(broker.dead_letters().await.is_empty());
}

/// Proves LN30, degrade rules: `alt_text` goes out in place of what the channel cannot do, and the receipt says so.
#[tokio::test]
async fn what_the_channel_cannot_do_goes_out_as_the_text_that_stands_for_it() {
    let (broker, seen) = channel(&ALL.replace("full", "none")).await;
    for (feature, mut message, _) in asks() {
        message.alt_text = Some("instead".to_owned());
        let sending = broker
            .send("chat", &message)
            .to("c")
            .await
            .expect("durable");
        if feature == "typing" {
            sending.until(State::Failed).await.expect("a receipt");
            assert!(seen.take().is_empty(), "nothing stands for typing");
            continue;
        }
        let receipt = sending.until(State::Sent).await.expect("a receipt");
        assert_eq!(receipt.degraded, [feature]);
        let found = serde_json::to_value(seen.only()).expect("a message");
        let instead = json!({ "text": "instead", "conversation": { "id": "c" } });
        assert_eq!(found, instead, "{feature}");
    }
    // As the page shows it.
    let page = include_str!("../../docs/patterns/outbound.md");
    let blocks: Vec<&str> = page.split("```json\n").skip(1).collect();
    let [block] = blocks[..] else {
        panic!("the page has one message: {blocks:?}")
    };
    let (shown, _) = block.split_once("```").expect("a block ends");
    let shown: Json = serde_json::from_str(shown).expect("a message");
    let (broker, seen) = channel("polls = \"none\"").await;
    let sending = broker.send("chat", &shown).to("c").await.expect("durable");
    let receipt = sending.until(State::Sent).await.expect("a receipt");
    assert_eq!(receipt.degraded, ["polls"]);
    let text = seen.only().text;
    assert_eq!(
        text.as_deref(),
        Some("One question:\nWhen? At six, or at seven?")
    );
    // The text that stands for a part is cut as any text, and each of its receipts says what it stands for.
    let (broker, seen) = channel("polls = \"none\", text_chars_max = 10").await;
    let poll = json!({ "type": "poll", "alt_text": "six or seven" });
    let long = json!({ "text": "When?", "parts": [poll] });
    broker.send("chat", &long).to("c").await.expect("durable");
    for n in 1..=3 {
        let sent = json!({ "state": "sent", "part": { "n": n, "of": 3 }, "degraded": ["polls"] });
        broker.expect_published(DELIVERY, sent, "1s").await;
    }
    let texts: Vec<_> = seen.take().into_iter().filter_map(|one| one.text).collect();
    assert_eq!(texts.join(" ").replace('\n', " "), "When? six or seven");
}

/// All kinds of content, each with all that belongs to it.
fn contents() -> Vec<Value> {
    let medium = |kind: &str| {
        json!({
            "type": kind, "url": "https://x.example/a", "media_type": format!("{kind}/x"), "bytes": 9, "text": "caption",
            "duration_ms": 5, "width": 1, "height": 2, "name": "a", "alt_text": "a medium",
        })
    };
    let action = json!({ "id": "ok", "label": "OK", "value": "1" });
    let list = json!({ "id": "pick", "label": "Pick", "options": [{ "text": "A", "id": "a" }] });
    let forward = json!({
        "type": "forward", "message_id": "m0", "text": "hi", "conversation": { "id": "c0", "name": "C" },
        "user": { "id": "u", "name": "U", "is_bot": true },
    });
    vec![
        json!({ "type": "text", "text": "x" }),
        medium("image"),
        medium("audio"),
        medium("video"),
        medium("file"),
        json!({ "type": "location", "latitude": 52.5, "longitude": 13.4 }),
        json!({ "type": "quote", "text": "q", "message_id": "m0", "user": { "id": "u" } }),
        json!({ "type": "mention", "text": "@u", "user": { "id": "u", "username": "u" } }),
        forward,
        json!({ "type": "poll", "poll": poll() }),
        json!({ "type": "card", "card": { "title": "T", "text": "x", "actions": [action, list] } }),
        json!({ "type": "chat.sticker", "chat.pack": [1, { "two": 2 }] }),
    ]
}

/// Messages that are no content: what is done to another message.
fn deeds() -> Vec<Value> {
    vec![
        json!({ "text": "x", "edit_of": "m1", "reply_to": "m0" }),
        json!({ "deleted": "m1" }),
        json!({ "reaction": { "target": "m1", "key": "👍", "op": "add" } }),
        json!({ "reaction": { "target": "m1", "key": "👍", "op": "remove" } }),
        json!({ "text": "x", "conversation": { "id": "c", "thread_id": "t", "kind": "group" } }),
        json!({ "text": "x", "raw": { "chat": { "silent": true } }, "chat.effect": "confetti" }),
    ]
}

fn messages() -> Vec<Value> {
    let one = |part: Value| json!({ "text": "x", "parts": [part] });
    let mut all: Vec<_> = contents().into_iter().map(one).collect();
    all.push(json!({ "parts": contents() }));
    all.extend(deeds());
    all
}

/// Proves LN28, out: text, image, audio, video, file, quote, mention, forward, reaction, edit, delete, card, poll and
/// what only the channel knows arrive at its handler as they were said.
#[tokio::test]
async fn every_kind_of_message_arrives_whole_on_its_way_out() {
    let (broker, seen) = channel(ALL).await;
    for message in messages() {
        broker.send("chat", &message).await.expect("durable");
        let sent = json!({ "state": "sent" });
        broker.expect_published(DELIVERY, sent, "1s").await;
        let found = serde_json::to_value(seen.only()).expect("a message");
        assert_eq!(found, message);
    }
}

/// Proves LN28, in: the same arrive at an agent as they came in, and so do pressed buttons, votes and typing.
#[tokio::test]
async fn every_kind_of_message_arrives_whole_on_its_way_in() {
    async fn said(message: Json) -> Event {
        Event::inbound(message)
    }
    let seen: Arc<Mutex<Vec<InboundMessage>>> = Arc::default();
    let kept = seen.clone();
    let take = move |message: InboundMessage| {
        kept.lock().expect("no thread panics").push(message);
        async {}
    };
    let plugin = Plugin::new("chat")
        .outbound(Outbound::new("chat", |_: Json| async {}))
        .on(On::new("agent.said", said).name("said"));
    let broker = TestBroker::start(plugin).await;
    let inbound = On::new("plugin.inbound.>", take).group("support");
    let agent = Client::new("support").on(inbound.start(Start::Earliest));
    let _agent = broker.attach(agent).await;
    let mut all = messages();
    all.extend([
        json!({ "ui_action": { "id": "ok", "target": "m1", "value": "1" } }),
        json!({ "ui_action": { "id": "pick", "target": "m1", "value": ["a"] } }),
        json!({ "ui_action": { "id": "vote", "target": "m2", "value": ["6"] }, "sender": { "id": "u" } }),
        json!({ "typing": true, "conversation": { "id": "c" } }),
    ]);
    for message in &all {
        broker
            .publish("agent.said", message)
            .await
            .expect("durable");
        let topic = "plugin.inbound.chat.*";
        broker.expect_published(topic, message, "1s").await;
    }
    broker.settle().await;
    let found = std::mem::take(&mut *seen.lock().expect("no thread panics"));
    let vote = found[found.len() - 2].ui_action.as_ref().expect("typed");
    assert_eq!(vote.target.as_deref(), Some("m2"));
    let found = serde_json::to_value(&found).expect("messages");
    assert_eq!(found, Value::Array(all));
}

/// Proves LN30: what is over the limits of a `partial` feature the handler refuses, in the same words.
#[tokio::test]
async fn a_handler_refuses_what_is_over_its_limits_in_the_same_words() {
    async fn send(_: Json) -> Result<()> {
        Err(Reject::not_supported().into())
    }
    for features in ["edits = \"partial\"", ""] {
        let plugin = Plugin::new("chat").outbound(Outbound::new("chat", send));
        let broker = TestBroker::start(plugin).manifest(manifest(features)).await;
        let edit = json!({ "text": "x", "edit_of": "m1" });
        let sending = broker.send("chat", &edit).to("c").await.expect("durable");
        let receipt = sending.until(State::Failed).await.expect("a receipt");
        let error = receipt.error.expect("an error");
        assert_eq!(error.code, "not_implemented");
        assert_eq!(error.class.as_deref(), Some("not_supported"));
    }
}

/// A channel whose handler says how far a message came, and which hears later that it was read.
async fn teller(receipts: &str, first: State) -> TestBroker {
    let send = move |_: Json| async move { Receipt::new(first).provider_id("P1") };
    async fn status(_: TimerEvent) -> Receipt {
        Receipt::new(State::Read).provider_id("P1")
    }
    let plugin = Plugin::new("chat")
        .outbound(Outbound::new("chat", send))
        .timer(Timer::new("status", status).schedule(Schedule::every("5m")));
    let features = format!("receipts = \"{receipts}\"");
    TestBroker::start(plugin)
        .manifest(manifest(&features))
        .await
}

/// What the test broker complains of when a receipt is waited for.
async fn complaint(broker: TestBroker) -> String {
    let waits = async move {
        let never = json!({ "state": "never" });
        broker.expect_published(DELIVERY, never, "10m").await;
    };
    let panicked = tokio::spawn(waits).await.expect_err("it complains");
    let said = panicked.into_panic();
    said.downcast_ref::<String>().cloned().unwrap_or_default()
}

/// Proves LN30, receipts: a channel that hears nothing after `sent` says nothing more, and who claims it is told so.
#[tokio::test]
async fn a_channel_without_receipts_claims_none() {
    for receipts in ["partial", "full"] {
        let broker = teller(receipts, State::Delivered).await;
        broker.send("chat", "hi").to("c").await.expect("durable");
        let delivered = json!({ "state": "delivered" });
        broker.expect_published(DELIVERY, delivered, "1s").await;
        let read = json!({ "state": "read" });
        broker.expect_published(DELIVERY, read, "10m").await;
    }
    let broker = teller("none", State::Delivered).await;
    let sending = broker.send("chat", "hi").to("c").await.expect("durable");
    let receipt = sending.until(State::Sent).await.expect("a receipt");
    assert_eq!(receipt, Receipt::sent().provider_id("P1"));
    let said = complaint(broker).await;
    assert!(
        said.contains("`delivered`") && said.contains("receipts = \"none\""),
        "{said}"
    );

    let broker = teller("none", State::Sent).await;
    let sending = broker.send("chat", "hi").to("c").await.expect("durable");
    sending.until(State::Sent).await.expect("a receipt");
    let said = complaint(broker).await;
    assert!(said.contains("`read`"), "{said}");
}
