use serde_json::json;
use trunkline::testing::TestBroker;

const MANIFEST: &str = include_str!("../plugin.toml");

#[tokio::test]
async fn what_is_sent_comes_back() {
    let broker = TestBroker::start(super::plugin()).manifest(MANIFEST).await;
    let sending = broker.send("echo", "hi").to("room-1").await.expect("durable");
    let answer =
        broker.expect_published("plugin.inbound.echo.*", json!({ "text": "hi" }), "10s").await;
    assert_eq!(answer.correlation_id.as_deref(), Some(sending.id()));
}
