//! What failed calls outside mean, on the real core: with a server that the test plays.

use std::time::Duration;

use serde_json::json;

use crate::testing::TestBroker;
use crate::{Client, Code, Context, Json, On, Outbound, OutboundMessage, Plugin, Result, Tool};

const TWILIO: &str = "https://api.twilio.com";

async fn send(message: OutboundMessage, ctx: Context) -> Result<String> {
    let api = ctx
        .http()
        .at("https://api.twilio.com/2010/Accounts/{config.sid}");
    let api = api.basic("{config.sid}", "{config.token}");
    let form = json!({ "Body": message.text });
    let made: Json = api.post("/Messages.json").form(form).await?.json()?;
    Ok(made["sid"].as_str().unwrap_or_default().to_owned())
}

fn sms() -> Plugin {
    Plugin::new("twilio").outbound(Outbound::new("sms", send))
}

async fn started(plugin: Plugin) -> TestBroker {
    let config = json!({ "sid": "AC1234", "token": "tok-secret" });
    TestBroker::start(plugin).config(config).await
}

/// Proves: 429 waits as told, does not count, and the receipt follows.
#[tokio::test]
async fn a_429_is_waited_for_and_the_receipt_follows() {
    let broker = started(sms()).await;
    let route = broker.http(TWILIO).on("POST", "*/Messages.json");
    let route = route.reply(429).header("retry-after", "3");
    let route = route.reply(201).json(json!({ "sid": "SM1" }));
    let sending = broker.send("sms", "hi").to("+49").await.expect("durable");
    let (topic, sent) = ("plugin.delivery.sms.*", json!({ "state": "sent" }));
    broker
        .expect_published(topic, json!({ "state": "queued" }), "1s")
        .await;
    broker.expect_nothing(topic, &sent, "2s").await;
    let receipt = broker.expect_published(topic, &sent, "2s").await;
    assert_eq!(receipt.correlation_id.as_deref(), Some(sending.id()));
    let requests = route.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].path, "/2010/Accounts/AC1234/Messages.json");
    assert_eq!(requests[0].form()["Body"], "hi");
    assert!(requests[0].headers["authorization"].starts_with("Basic "));
}

#[tokio::test]
async fn a_final_answer_is_a_dead_letter_with_a_failed_receipt() {
    let broker = started(sms()).await;
    let route = broker.http(TWILIO).on("POST", "*");
    let route = route
        .reply(400)
        .json(json!({ "message": "tok-secret is wrong" }));
    broker.send("sms", "hi").to("+49").await.expect("durable");
    let failed = json!({ "state": "failed", "error": { "code": "delivery_failed" } });
    broker
        .expect_published("plugin.delivery.sms.*", failed, "1s")
        .await;
    let letters = broker.dead_letters().await;
    assert_eq!((letters.len(), route.requests().len()), (1, 1));
    let letter = format!("{letters:?}");
    assert!(
        letter.contains("was answered with 400") && letter.contains("http_error"),
        "{letter}"
    );
    assert!(!letter.contains("tok-secret"), "{letter}");
}

#[tokio::test]
async fn what_may_go_better_later_backs_off_and_counts() {
    let broker = started(sms()).await;
    let route = broker.http(TWILIO).on("POST", "*");
    let route = route
        .refuse()
        .reply(500)
        .reply(408)
        .reply(201)
        .json(json!({ "sid": "SM1" }));
    broker.send("sms", "hi").to("+49").await.expect("durable");
    let sent = json!({ "state": "sent", "provider_id": "SM1" });
    broker
        .expect_published("plugin.delivery.sms.*", sent, "10m")
        .await;
    assert_eq!(route.requests().len(), 4);
}

async fn look(_: Json, ctx: Context) -> Result<()> {
    let found: Json = ctx.http().get("https://a.example/x").await?.json()?;
    ctx.publish("agent.found", found).await?;
    Ok(())
}

/// Proves: waits between tries pass on the clock of the test, in one attempt of the handler.
#[tokio::test]
async fn waits_between_tries_pass_on_the_clock_of_the_test() {
    let plugin = Plugin::new("looker").on(On::new("agent.look", look).timeout("5m"));
    let broker = started(plugin).await;
    let route = broker.http("https://a.example").on("GET", "/x");
    let route = route
        .reply(503)
        .header("retry-after", "90")
        .lose()
        .reply(200)
        .json(json!({ "n": 1 }));
    broker
        .publish("agent.look", json!({}))
        .await
        .expect("durable");
    let found = json!({ "n": 1 });
    broker.expect_nothing("agent.found", &found, "89s").await;
    assert_eq!(route.requests().len(), 1);
    broker.expect_published("agent.found", &found, "5s").await;
    assert_eq!(route.requests().len(), 3);
    assert!(broker.dead_letters().await.is_empty());
}

#[tokio::test]
#[should_panic(expected = "the test has no answer for GET https://a.example/x")]
async fn a_call_that_the_test_has_no_answer_for_fails_it() {
    let plugin = Plugin::new("looker").on(On::new("agent.look", look));
    let broker = started(plugin).await;
    broker
        .publish("agent.look", json!({}))
        .await
        .expect("durable");
    broker
        .expect_published("agent.found", json!({}), "1s")
        .await;
}

#[tokio::test]
async fn a_tool_fails_with_the_class_in_its_detail() {
    async fn get(_: Json, ctx: Context) -> Result<Json> {
        Ok(ctx
            .http()
            .at("https://a.example")
            .post("/x")
            .await?
            .json()?)
    }
    let tool = Tool::new("get", get).input_schema(json!({ "type": "object" }));
    let broker = started(Plugin::new("looker").tool(tool)).await;
    let server = broker.http("https://a.example");
    let route = server
        .on("POST", "/x")
        .reply(429)
        .header("retry-after", "2")
        .reply(404)
        .lose();
    for (class, status, is_retryable) in [
        ("answered", json!(429), true),
        ("answered", json!(404), false),
        ("ambiguous", json!(null), false),
    ] {
        let call = broker.call_tool::<Json>("looker.get", json!({})).await;
        let error = call.expect_err("it fails");
        assert_eq!(error.code, Code::ToolFailed);
        let detail = error.detail.clone().expect("a detail");
        assert_eq!(
            (&detail["class"], &detail["status"]),
            (&json!(class), &status)
        );
        assert_eq!(error.retryable(), is_retryable, "{error}");
    }
    assert_eq!(route.requests().len(), 3);
}

#[tokio::test]
async fn an_agent_reaches_the_same_outside() {
    let agent = Client::new("agent").on(On::new("agent.look", look).start(crate::Start::New));
    let broker = started(sms()).await;
    broker
        .http("https://a.example")
        .on("GET", "*")
        .reply(200)
        .json(json!({ "n": 2 }));
    let _agent = broker.attach(agent).await;
    broker
        .publish("agent.look", json!({}))
        .await
        .expect("durable");
    broker
        .expect_published("agent.found", json!({ "n": 2 }), "1s")
        .await;
}

/// Proves: a handler's deadline bounds its calls, however patient the call is.
#[tokio::test]
async fn a_call_ends_with_the_time_of_its_handler() {
    async fn slow(_: Json, ctx: Context) -> Result<()> {
        let error = ctx
            .http()
            .get("https://a.example/x")
            .await
            .expect_err("no time");
        let class = error.class().to_owned();
        ctx.publish(
            "agent.found",
            json!({ "class": class, "after": error.retry_after() }),
        )
        .await?;
        Ok(())
    }
    let plugin = Plugin::new("looker").on(On::new("agent.look", slow).timeout("20s"));
    let broker = started(plugin).await;
    let route = broker.http("https://a.example").on("GET", "/x");
    let route = route.reply(429).header("retry-after", "12");
    broker
        .publish("agent.look", json!({}))
        .await
        .expect("durable");
    let after = json!({ "class": "answered", "after": Duration::from_secs(12) });
    broker.expect_published("agent.found", after, "15s").await;
    assert_eq!(route.requests().len(), 2);
}
