use serde_json::json;
use trunkline::testing::TestBroker;

const MANIFEST: &str = include_str!("../plugin.toml");

#[tokio::test]
async fn an_item_with_the_keyword_is_one_event() {
    let start = TestBroker::start(super::plugin()).manifest(MANIFEST);
    let config = json!({ "url": "https://example.com/feed.json", "keyword": "rail" });
    let broker = start.config(config).await;
    let items = json!([{ "id": "1", "title": "A new rail" }, { "id": "2", "title": "A new road" }]);
    let version = "https://jsonfeed.org/version/1.1";
    let feed = json!({ "version": version, "title": "News", "items": items });
    let route = broker.http("https://example.com").on("GET", "/feed.json").reply(200).json(feed);
    let inbound = "plugin.inbound.news.*";
    broker.expect_published(inbound, json!({ "text": "A new rail" }), "20m").await;
    broker.expect_nothing(inbound, json!({}), "20m").await;
    assert!(route.requests().len() > 1);
}
