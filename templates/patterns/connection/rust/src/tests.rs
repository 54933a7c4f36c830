use serde_json::json;
use trunkline::testing::TestBroker;

const MANIFEST: &str = include_str!("../plugin.toml");
const URL: &str = "wss://gateway.example.com/v1";

#[tokio::test]
async fn it_resumes_where_the_events_are_durable() {
    let start = TestBroker::start(super::plugin()).manifest(MANIFEST);
    let broker = start.config(json!({ "url": URL, "token": "t0ken" })).await;
    let gateway = broker.socket(URL);
    for resume in [None, Some(7)] {
        let peer = gateway.accept("10s").await;
        peer.send(json!({ "op": "hello", "every": "30s" }));
        let login = peer.expect(json!({ "op": "login" }), "10s").await;
        assert_eq!(login, json!({ "op": "login", "token": "t0ken", "resume": resume }));
        if resume.is_some() {
            return;
        }
        peer.send(json!({ "op": "message", "seq": 7, "room": "lobby", "text": "hi" }));
        peer.expect(json!({ "op": "ack", "seq": 7 }), "10s").await;
        broker.expect_published("plugin.inbound.chat.*", json!({ "text": "hi" }), "10s").await;
        broker.send("chat", "hello").to("lobby").await.expect("durable");
        peer.expect(json!({ "op": "say", "room": "lobby", "text": "hello" }), "10s").await;
        peer.close(1001, "");
    }
}
