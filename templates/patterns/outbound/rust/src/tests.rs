use serde_json::json;
use trunkline::testing::TestBroker;

const MANIFEST: &str = include_str!("../plugin.toml");

#[tokio::test]
async fn status_429_is_waited_for_and_the_receipt_follows() {
    let start = TestBroker::start(super::plugin()).manifest(MANIFEST);
    let config = json!({ "sid": "AC1", "auth_token": "t0ken", "from": "+15005550006" });
    let broker = start.config(config).await;
    let route = broker.http("https://api.twilio.com").on("POST", "*/AC1/Messages.json");
    let route = route.reply(429).header("retry-after", "3");
    let route = route.reply(201).json(json!({ "sid": "SM1" }));
    let sending = broker.send("sms", "hi").to("+15005550009").await.expect("durable");
    let (receipts, sent) = ("plugin.delivery.sms.*", json!({ "state": "sent" }));
    broker.expect_nothing(receipts, sent.clone(), "2s").await;
    let receipt = broker.expect_published(receipts, sent, "2s").await;
    assert_eq!(receipt.correlation_id.as_deref(), Some(sending.id()));
    let texts: Vec<_> = route.requests().iter().map(|seen| seen.form()["Body"].clone()).collect();
    assert_eq!(texts, ["hi", "hi"]);
}
