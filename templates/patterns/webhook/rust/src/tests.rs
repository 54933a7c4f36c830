use serde_json::{Value, json};
use trunkline::testing::TestBroker;

const MANIFEST: &str = include_str!("../plugin.toml");

fn body(action: &str) -> Value {
    let url = "https://github.com/a/b/issues/1";
    let issue = json!({ "title": "It is down", "user": { "login": "ada" }, "html_url": url });
    json!({ "action": action, "issue": issue })
}

#[tokio::test]
async fn an_issue_that_is_opened_is_an_event() {
    let start = TestBroker::start(super::plugin()).manifest(MANIFEST);
    let broker = start.config(json!({ "webhook_secret": "s3cret" })).await;
    for action in ["opened", "closed"] {
        let request = broker.webhook("github").header("x-github-event", "issues");
        assert_eq!(request.json(body(action)).await.status, 200);
    }
    let inbound = "plugin.inbound.github.*";
    broker.expect_published(inbound, json!({ "sender": { "id": "ada" } }), "10s").await;
    broker.expect_nothing(inbound, json!({}), "1m").await;
}
