//! Webhooks of a plugin against the real broker in memory, through the public API alone.

use serde_json::{Value, json};
use trunkline::testing::TestBroker;
use trunkline::{
    Batch, Code, Event, Plugin, Reject, Result, Webhook, WebhookOptions, WebhookRequest,
};

async fn hook(request: WebhookRequest) -> Result<Vec<Event>> {
    if request.header("X-Event") != Some("messages") {
        return Ok(Vec::new());
    }
    let body: Value = request.json()?;
    let texts = body["texts"].as_array().cloned().unwrap_or_default();
    let made = texts.into_iter().map(|text| {
        let message = json!({ "text": text, "conversation": { "id": body["from"] } });
        Event::inbound(message)
    });
    Ok(made.collect())
}

fn plugin() -> Plugin {
    let webhook = Webhook::new("chat", hook)
        .verify("github")
        .secret("{config.secret}");
    Plugin::new("chat").webhook(webhook)
}

async fn broker(plugin: Plugin) -> TestBroker {
    let manifest = r#"
[plugin]
id = "chat"
version = "0.1.0"
command = ["chat"]
[[channels]]
kind = "chat"
[config.secret]
type = "string"
"#;
    let starting = TestBroker::start(plugin).manifest(manifest);
    starting.config(json!({ "secret": "s" })).await
}

/// Proves P2f, Rust part: a verified request becomes one event, several, or none, and its bytes are there.
#[tokio::test]
async fn a_request_becomes_one_event_several_or_none() {
    let broker = broker(plugin()).await;
    let body = json!({ "from": "c1", "texts": ["a", "b"] });
    let sent = broker
        .webhook("chat")
        .id("d1")
        .header("X-Event", "messages")
        .json(&body)
        .await;
    assert!(!sent.duplicate);
    for text in ["a", "b"] {
        let expected = json!({ "text": text });
        let event = broker
            .expect_published("plugin.inbound.chat.default", expected, "1s")
            .await;
        assert_eq!(event.session_id.as_deref(), Some("c1"));
        assert_eq!(
            event
                .causation_id
                .as_deref()
                .and_then(|cause| cause.split('|').nth(1)),
            Some("d1")
        );
    }
    let again = broker
        .webhook("chat")
        .id("d1")
        .header("X-Event", "messages")
        .json(&body)
        .await;
    assert!(again.duplicate, "a repeat is no second event");
    broker
        .webhook("chat")
        .header("X-Event", "ping")
        .json(json!({}))
        .await;
    broker.settle().await;
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "1m")
        .await;
    assert!(broker.dead_letters().await.is_empty());
}

/// Proves P2f, answer part: a plugin may answer the provider itself, in the commit that settles the request.
#[tokio::test]
async fn the_batch_s_ack_is_the_answer_of_a_webhook_that_waits() {
    async fn hook(request: WebhookRequest) -> Result<Batch> {
        let event = Event::inbound(json!({ "text": request.text()? }));
        let answer = json!({ "status": 201, "headers": { "x-seen": "yes" }, "body": "thanks" });
        Ok(Batch::new([event]).ack(answer))
    }
    let webhook = Webhook::new("chat", hook)
        .verify("github")
        .secret("{config.secret}");
    let broker = broker(Plugin::new("chat").webhook(webhook.respond("3s"))).await;
    let answer = broker.webhook("chat").body("hi").await;
    assert_eq!(
        (answer.status, answer.body.as_deref()),
        (201, Some("thanks"))
    );
    assert_eq!(answer.headers["x-seen"], "yes");
    broker
        .expect_published("plugin.inbound.>", json!({ "text": "hi" }), "1s")
        .await;
}

/// Proves P2f, routing part: each name of a kind has its own handler.
#[tokio::test]
async fn the_name_of_a_webhook_picks_its_handler() {
    let says = |who: &'static str| {
        move |_: WebhookRequest| async move {
            let said: Result<Event> = Ok(Event::inbound(json!({ "text": who })));
            said
        }
    };
    let webhook = |who| {
        Webhook::new("chat", says(who))
            .verify("github")
            .secret("{config.secret}")
    };
    let plugin = Plugin::new("chat")
        .webhook(webhook("rest"))
        .webhook(webhook("status").name("status"));
    let broker = broker(plugin).await;
    broker.webhook("chat").name("status").json(json!({})).await;
    broker
        .expect_published("plugin.inbound.>", json!({ "text": "status" }), "1s")
        .await;
    broker.webhook("chat").json(json!({})).await;
    broker
        .expect_published("plugin.inbound.>", json!({ "text": "rest" }), "1s")
        .await;
}

#[tokio::test]
async fn a_body_that_is_no_json_is_a_dead_letter() {
    let broker = broker(plugin()).await;
    broker
        .webhook("chat")
        .header("x-event", "messages")
        .body("{")
        .await;
    broker.settle().await;
    let dead = broker.dead_letters().await;
    assert_eq!(dead.len(), 1, "{dead:?}");
}

#[tokio::test]
async fn what_a_declaration_lacks_is_said_before_anything_starts() {
    async fn nothing(_: WebhookRequest) -> Result<Batch> {
        Err(Reject::new("no").into())
    }
    let refused = |webhook: Webhook| {
        let plugin = Plugin::new("chat").webhook(webhook);
        let error = plugin.check().expect_err("refused");
        assert_eq!(error.code, Code::InvalidArguments);
        error.message
    };
    let unknown = refused(
        Webhook::new("chat", nothing)
            .verify("gitlob")
            .secret("{config.s}"),
    );
    assert!(
        unknown.contains("github") && unknown.contains("gitlob"),
        "{unknown}"
    );
    let no_scheme = refused(Webhook::new("chat", nothing).secret("{config.s}"));
    assert!(no_scheme.contains("verify"), "{no_scheme}");
    let plain = refused(
        Webhook::new("chat", nothing)
            .verify("github")
            .secret("hunter2"),
    );
    assert!(plain.contains("{config.<key>}"), "{plain}");
    let generic = Webhook::new("chat", nothing)
        .verify("generic")
        .secret("{config.s}");
    let generic = refused(generic.options(WebhookOptions::default()));
    assert!(generic.contains("signature"), "{generic}");
}
