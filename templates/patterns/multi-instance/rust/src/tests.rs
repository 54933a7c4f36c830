use serde_json::json;
use trunkline::testing::TestBroker;

const MANIFEST: &str = include_str!("../plugin.toml");

#[tokio::test]
async fn an_account_counts_for_itself() {
    let start = TestBroker::start(super::plugin()).manifest(MANIFEST);
    let start = start.config(json!({ "keyword": "refund" }));
    let broker = start.instances(["support", "sales"]).await;
    let texts = [
        ("support", "no"),
        ("support", "a refund"),
        ("support", "a refund"),
        ("sales", "a refund"),
    ];
    for (account, text) in texts {
        broker.send("watcher", text).to("a").instance(account).await.expect("durable");
    }
    for (account, text) in
        [("support", "support saw 1"), ("support", "support saw 2"), ("sales", "sales saw 1")]
    {
        let topic = format!("plugin.inbound.watcher.{account}");
        broker.expect_published(&topic, json!({ "text": text }), "10s").await;
    }
    broker.expect_nothing("plugin.inbound.watcher.*", json!({}), "1s").await;
}
