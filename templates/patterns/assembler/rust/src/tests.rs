use serde_json::json;
use trunkline::testing::TestBroker;

const MANIFEST: &str = include_str!("../plugin.toml");
const INBOUND: &str = "plugin.inbound.sms.*";

async fn start() -> TestBroker {
    let start = TestBroker::start(super::plugin()).manifest(MANIFEST);
    start.config(json!({ "webhook_secret": "whsec_c2VjcmV0" })).await
}

async fn post(broker: &TestBroker, part: u64, text: &str) {
    let sms = json!({ "from": "+491511", "ref": "a", "part": part, "parts": 2, "text": text });
    let answer = broker.webhook("sms").session("+491511").json(sms).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn parts_in_any_order_are_one_message() {
    let broker = start().await;
    post(&broker, 2, "world").await;
    post(&broker, 1, "hello ").await;
    broker.expect_published(INBOUND, json!({ "text": "hello world" }), "1s").await;
}

#[tokio::test]
async fn what_is_missing_is_not_waited_for_for_ever() {
    let broker = start().await;
    post(&broker, 1, "hello ").await;
    broker.expect_nothing(INBOUND, json!({}), "29s").await;
    broker.expect_published(INBOUND, json!({ "text": "hello " }), "5s").await;
}
