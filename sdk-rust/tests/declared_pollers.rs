//! Pollers that a manifest declares, without code, against the real broker in memory.

use serde_json::{Value, json};
use trunkline::Plugin;
use trunkline::testing::TestBroker;

const SERVER: &str = "https://issues.example";
const INBOUND: &str = "plugin.inbound.issues.default";

async fn broker(pollers: &str) -> TestBroker {
    let text = format!(
        "[plugin]\nid = \"desk\"\nversion = \"0.1.0\"\n[[channels]]\nkind = \"issues\"\n\
         [config.secret]\ntype = \"string\"\nsecret = true\n{pollers}"
    );
    TestBroker::start(Plugin::from_manifest(&text))
        .config(json!({ "secret": "cl-secret" }))
        .await
}

/// Proves P4e: a list of JSON, with items path, id field, pages and OAuth client credentials, needs no code.
#[tokio::test]
async fn a_list_behind_oauth_is_polled_without_code() {
    let broker = broker(
        r##"
[[pollers]]
kind = "issues"
every = "1m"
text = "#{id} {title} ({user.name})"
conversation = "{repo}"
[pollers.json]
url = "https://issues.example/all"
items_path = "found"
id_field = "id"
paginate = { by = "token", path = "next", param = "after" }
[pollers.auth.oauth]
token_url = "https://issues.example/token"
client_id = "trunkline"
client_secret = "{config.secret}"
scope = "read"
"##,
    )
    .await;
    let server = broker.http(SERVER);
    let tokens = server.on("POST", "/token").reply(200);
    let tokens = tokens.json(json!({ "access_token": "t1", "expires_in": 3600 }));
    let tokens = tokens.reply(200).json(json!({ "access_token": "t2" }));
    let one = json!({ "id": 1, "title": "a", "user": { "name": "x" }, "repo": "r" });
    let two = json!({ "id": 2, "title": "b", "user": { "name": "y" }, "repo": "r" });
    let lists = server.on("GET", "/all").reply(200);
    let lists = lists.json(json!({ "found": [one], "next": "p2" }));
    // The token has ended before its time: another one is asked for, once.
    let lists = lists.reply(401).reply(200).json(json!({ "found": [two] }));
    for text in ["#1 a (x)", "#2 b (y)"] {
        let expected = json!({ "text": text, "conversation": { "id": "r" } });
        let event = broker.expect_published(INBOUND, expected, "2m").await;
        assert_eq!(event.session_id.as_deref(), Some("r"));
    }
    let asked = lists.requests();
    let authorization: Vec<&str> = asked
        .iter()
        .take(3)
        .map(|request| request.headers["authorization"].as_str())
        .collect();
    assert_eq!(authorization, ["Bearer t1", "Bearer t1", "Bearer t2"]);
    assert_eq!(asked[1].query["after"], "p2");
    let form = &tokens.requests()[0].form();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["scope"], "read");
    assert!(broker.dead_letters().await.is_empty());
}

/// Proves P4e: a feed without code; what may be in a private network has to be said.
#[tokio::test]
async fn a_feed_is_polled_without_code_and_private_networks_only_where_that_is_said() {
    for (is_open, more) in [(false, ""), (true, "private_network = true\n")] {
        let broker = broker(&format!(
            "[[pollers]]\nkind = \"issues\"\nfeed = \"http://10.0.0.1/feed\"\nevery = \"1m\"\n{more}"
        ))
        .await;
        let route = broker.http("http://10.0.0.1").on("GET", "/feed").reply(200);
        let route = route.body(
            "<rss version=\"2.0\"><channel><item><guid>7</guid><title>News</title>\
             <link>https://a.example/7</link></item></channel></rss>",
        );
        if is_open {
            let expected = json!({
                "id": "7", "text": "News\nhttps://a.example/7", "conversation": { "id": "issues" },
                "raw": { "feed": { "title": "News" } },
            });
            broker.expect_published(INBOUND, expected, "2m").await;
        } else {
            broker
                .expect_nothing("plugin.inbound.>", json!({}), "5m")
                .await;
            assert!(route.requests().is_empty());
        }
    }
}

/// Proves P4e: a public feed cannot lead the poller into a private network, not even where that is allowed to the poller
/// itself: nothing is asked there, and the failure says why. What is in the open is still followed.
#[tokio::test]
async fn a_public_feed_leads_into_no_private_network() {
    const FEED: &str = "<rss version=\"2.0\"><channel><item><guid>7</guid><title>News</title></item></channel></rss>";
    for (to, more, is_open) in [
        ("https://mirror.example", "", true),
        ("https://10.0.0.1", "", false),
        ("https://127.0.0.1:8080", "private_network = true\n", false),
        ("https://169.254.169.254", "private_network = true\n", false),
    ] {
        let broker = broker(&format!(
            "[[pollers]]\nkind = \"issues\"\nfeed = \"https://issues.example/feed\"\nevery = \"1m\"\n{more}"
        ))
        .await;
        let public = broker.http(SERVER).on("GET", "/feed");
        let public = public.reply(302).header("location", &format!("{to}/feed"));
        let there = broker.http(to).on("GET", "/feed").reply(200);
        let there = there.body(FEED);
        if is_open {
            let news = json!({ "id": "7", "text": "News" });
            broker.expect_published(INBOUND, news, "2m").await;
        } else {
            broker
                .expect_nothing("plugin.inbound.>", json!({}), "5m")
                .await;
            assert!(there.requests().is_empty(), "{to}");
            let nothing = json!({});
            let listed = broker
                .client()
                .request::<Value>("admin.pollers.list", &nothing);
            let listed = listed.await.expect("an operator may ask");
            let why = &listed["pollers"][0]["state"]["last_error"]["text"];
            let why = why.as_str().expect("it failed");
            assert!(why.contains("expected a public address"), "{to}: {why}");
        }
        assert!(!public.requests().is_empty());
    }
}
