//! Webhooks that the manifest says everything about: parts and receipts without a handler.

use serde::Deserialize;
use serde_json::json;
use trunkline::State::Delivered;
use trunkline::testing::TestBroker;
use trunkline::{
    Assemble, Context, Event, Outbound, OutboundMessage, Part, Plugin, Result, Webhook,
    WebhookRequest,
};

const INBOUND: &str = "plugin.inbound.sms.default";

/// The manifest of a plugin with `[[webhooks]]` of one kind.
fn manifest(id: &str, webhooks: &str) -> String {
    format!(
        r#"
channels = [{{ kind = "sms", features = {{ text_chars_max = 1600 }} }}]
webhooks = [{webhooks}]

[plugin]
id = "{id}"
version = "0.1.0"
command = ["./{id}"]

[config]
webhook_secret = {{ type = "string", secret = true }}
auth_token = {{ type = "string", secret = true }}
sid = {{ type = "string" }}
from = {{ type = "string" }}
"#
    )
}

const PARTS: &str = r#"{ kind = "sms", verify = "standard", secret = "{config.webhook_secret}",
  part = { session = "/from", group = "/ref", seq = "/part", total = "/parts", data = "/text" } }"#;

const RECEIPTS: &str = r#"{ kind = "sms", name = "status", verify = "twilio", secret = "{config.auth_token}",
  receipt = { provider_id = "/MessageSid", state = "/MessageStatus", states = { undelivered = "failed" } } }"#;

fn config() -> serde_json::Value {
    json!({
        "webhook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "auth_token": "12345",
        "sid": "AC1", "from": "+491",
    })
}

async fn whole(parts: Vec<Part<String>>, ctx: Context) -> Result<Event> {
    let missing = ctx.assembly().map(|whole| whole.missing.clone());
    let gap = if missing.unwrap_or_default().is_empty() {
        ""
    } else {
        "…"
    };
    let text = parts.iter().map(|p| p.data.as_str()).collect::<Vec<_>>();
    Ok(Event::inbound(json!({
        "text": text.join(gap), "conversation": { "id": parts[0].session, "kind": "sms" },
    })))
}

fn sms() -> Plugin {
    Plugin::new("sms").assemble(
        Assemble::new("sms", whole)
            .silence("30s")
            .max_age("10m")
            .max_parts(64),
    )
}

async fn parts_broker() -> TestBroker {
    TestBroker::start(sms())
        .manifest(manifest("sms", PARTS))
        .config(config())
        .await
}

#[derive(Deserialize)]
struct Config {
    from: String,
}

#[derive(Deserialize)]
struct Sms {
    sid: String,
}

async fn send(msg: OutboundMessage, ctx: Context) -> Result<String> {
    let api = ctx
        .http()
        .at("https://api.twilio.com/2010-04-01/Accounts/{config.sid}")
        .basic("{config.sid}", "{config.auth_token}");
    let to = msg.conversation.map(|conversation| conversation.id);
    let form = json!({
        "To": to, "From": ctx.config::<Config>()?.from, "Body": msg.text,
        "StatusCallback": ctx.hook_url("status"),
    });
    let sent = api.post("/Messages.json").form(form).await?;
    Ok(sent.json::<Sms>()?.sid)
}

fn plugin() -> Plugin {
    let send = Outbound::new("sms", send);
    Plugin::new("twilio").outbound(send.rate("100/s").rate_per_target("1/s").timeout("15s"))
}

async fn receipts_broker() -> TestBroker {
    TestBroker::start(plugin())
        .manifest(manifest("twilio", RECEIPTS))
        .config(config())
        .await
}

/// Proves P6a, declared part: a declared webhook is a source of the assembler, without code of the plugin.
#[tokio::test]
async fn a_declared_webhook_brings_the_parts_of_a_message() {
    let broker = parts_broker().await;
    for (number, text) in [(3, "c"), (1, "a"), (1, "again"), (2, "b")] {
        let sms = json!({ "from": "+49", "ref": 7, "part": number, "parts": 3, "text": text });
        broker.webhook("sms").json(sms).await;
    }
    let whole = broker
        .expect_published(INBOUND, json!({ "text": "abc" }), "1s")
        .await;
    assert_eq!(whole.session_id.as_deref(), Some("+49"));
    broker.expect_nothing(INBOUND, json!({}), "20m").await;
}

#[tokio::test]
async fn a_message_that_was_not_cut_is_whole_at_once_and_a_form_is_read_too() {
    let broker = parts_broker().await;
    broker
        .webhook("sms")
        .form(json!({ "from": "+49", "text": "hi" }))
        .await;
    broker
        .expect_published(INBOUND, json!({ "text": "hi" }), "1s")
        .await;
    broker
        .webhook("sms")
        .form(json!({ "from": "+49", "ref": "r", "part": 2, "parts": 2, "text": "b" }))
        .await;
    broker.expect_nothing(INBOUND, json!({}), "29s").await;
    broker
        .expect_published(INBOUND, json!({ "text": "b" }), "2s")
        .await;
}

#[tokio::test]
async fn what_the_pointers_do_not_find_is_a_dead_letter_that_says_so() {
    let broker = parts_broker().await;
    broker.webhook("sms").json(json!({ "text": "hi" })).await;
    broker
        .webhook("sms")
        .json(json!({ "from": "+49", "part": "x", "text": "hi" }))
        .await;
    broker.webhook("sms").body("nonsense").await;
    let letters = broker.dead_letters().await;
    let reasons: Vec<_> = letters.iter().map(|letter| format!("{letter:?}")).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons[0].contains("expected a text or a number at /from, found nothing"));
    assert!(reasons[1].contains("expected a whole number from 1 at /part, found another text"));
    assert!(reasons[2].contains("expected a body of JSON, or a form"));
    assert!(
        reasons
            .iter()
            .all(|reason| reason.contains("invalid_payload"))
    );
}

/// Proves P7a, later states: a declared callback becomes a receipt, without code of the plugin.
#[tokio::test]
async fn a_status_callback_becomes_a_receipt() {
    let broker = receipts_broker().await;
    let api = broker.http("https://api.twilio.com");
    let calls = api
        .on("POST", "*/Messages.json")
        .reply(201)
        .json(json!({ "sid": "SM1" }));
    let sending = broker
        .send("sms", "hi")
        .to("+4915112345")
        .await
        .expect("durable");
    broker
        .webhook("sms")
        .name("status")
        .form(json!({ "MessageSid": "SM1", "MessageStatus": "delivered" }))
        .await;
    sending.until(Delivered).await.expect("delivered");
    let callback = calls.requests()[0].form()["StatusCallback"].clone();
    assert_eq!(
        callback,
        "https://hooks.example.com/hooks/sms/default/status"
    );
}

#[tokio::test]
async fn a_state_is_translated_and_one_that_is_not_known_is_left_out() {
    let broker = receipts_broker().await;
    broker
        .http("https://api.twilio.com")
        .on("POST", "*/Messages.json")
        .reply(201)
        .json(json!({ "sid": "SM1" }));
    let sending = broker.send("sms", "hi").to("+49").await.expect("durable");
    broker
        .expect_published("plugin.delivery.>", json!({ "state": "sent" }), "1s")
        .await;
    for state in ["sending", "queued", "undelivered"] {
        let told = json!({ "MessageSid": "SM1", "MessageStatus": state });
        broker.webhook("sms").name("status").form(told).await;
    }
    let receipt = broker
        .expect_published("plugin.delivery.>", json!({}), "1s")
        .await;
    assert_eq!(receipt.correlation_id.as_deref(), Some(sending.id()));
    let payload: serde_json::Value = receipt.payload.json().expect("a receipt");
    assert_eq!(payload, json!({ "state": "failed", "provider_id": "SM1" }));
    broker
        .expect_nothing("plugin.delivery.>", json!({}), "1m")
        .await;
    assert!(broker.dead_letters().await.is_empty());
    let nameless = json!({ "MessageStatus": "delivered" });
    broker.webhook("sms").name("status").form(nameless).await;
    let letters = broker.dead_letters().await;
    assert!(format!("{letters:?}").contains("at /MessageSid, found nothing"));
}

#[tokio::test]
#[should_panic(expected = "refused with 401")]
async fn a_request_with_another_signature_is_refused() {
    let broker = receipts_broker().await;
    let told = json!({ "MessageSid": "SM1", "MessageStatus": "delivered" });
    let sent = broker.webhook("sms").name("status").form(told);
    sent.header("X-Twilio-Signature", "bm9uc2Vuc2U=").await;
}

#[tokio::test]
#[should_panic(expected = "expected no handler of webhook \"sms\"")]
async fn a_webhook_has_a_handler_or_a_declaration() {
    async fn hook(_: WebhookRequest) -> Result<()> {
        Ok(())
    }
    let plugin = sms().webhook(Webhook::new("sms", hook));
    let starting = TestBroker::start(plugin).manifest(manifest("sms", PARTS));
    starting.config(config()).await;
}

#[tokio::test]
#[should_panic(expected = "expected an assembler of kind \"sms\"")]
async fn parts_need_an_assembler() {
    let starting = TestBroker::start(Plugin::new("sms")).manifest(manifest("sms", PARTS));
    starting.config(config()).await;
}

#[tokio::test]
async fn a_handler_of_the_kind_keeps_what_is_not_declared() {
    async fn hook(request: WebhookRequest) -> Result<Event> {
        Ok(Event::inbound(json!({
            "text": request.text()?, "conversation": { "id": "x" },
        })))
    }
    let plugin = plugin().webhook(
        Webhook::new("sms", hook)
            .verify("github")
            .secret("{config.auth_token}"),
    );
    let broker = TestBroker::start(plugin)
        .manifest(manifest("twilio", RECEIPTS))
        .config(config())
        .await;
    broker.webhook("sms").body("of the handler").await;
    broker
        .expect_published(INBOUND, json!({ "text": "of the handler" }), "1s")
        .await;
    let told = json!({ "MessageSid": "SM1", "MessageStatus": "delivered" });
    broker.webhook("sms").name("status").form(told).await;
    broker.expect_nothing(INBOUND, json!({}), "1m").await;
}
