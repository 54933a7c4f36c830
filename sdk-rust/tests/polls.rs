//! Pollers against the real broker in memory and a server that the test plays, through the public API alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use trunkline::testing::{KillAt, TestBroker};
use trunkline::{
    Batch, Context, Event, FeedItem, JsonOptions, Paginate, Plugin, Poll, Reject, Result, Retry,
};

const SERVER: &str = "https://feeds.example";

async fn broker(plugin: Plugin) -> TestBroker {
    let manifest = r#"
[plugin]
id = "rss"
version = "0.1.0"
command = ["rss"]
[[channels]]
kind = "rss"
[config.url]
type = "string"
[config.token]
type = "string"
"#;
    let config = json!({ "url": "https://feeds.example/news", "token": "s3cret" });
    TestBroker::start(plugin)
        .manifest(manifest)
        .config(config)
        .await
}

fn message(item: FeedItem) -> Event {
    Event::inbound(json!({ "text": item.title, "conversation": { "id": "news" } }))
}

async fn every_item(item: FeedItem) -> Result<Event> {
    Ok(message(item))
}

fn feed(titles: &[&str]) -> String {
    let item = |title: &&str| format!("<item><guid>id-{title}</guid><title>{title}</title></item>");
    let items: Vec<String> = titles.iter().map(item).collect();
    format!(
        "<rss version=\"2.0\"><channel>{}</channel></rss>",
        items.concat()
    )
}

async fn expect(broker: &TestBroker, text: &str) -> Event {
    broker
        .expect_published("plugin.inbound.rss.default", json!({ "text": text }), "12m")
        .await
}

/// Proves P4b, shell part: new items become events, and the server is asked conditionally, also after a restart.
#[tokio::test]
async fn new_items_of_a_feed_become_events_once() {
    let poll = Poll::feed("rss", "{config.url}", every_item).every("2m");
    let broker = broker(Plugin::new("rss").poll(poll.bearer("{config.token}"))).await;
    let server = broker.http(SERVER);
    let route = server.on("GET", "/news");
    let route = route
        .reply(200)
        .header("etag", "W/\"1\"")
        .body(feed(&["b", "a"]));
    let route = route.reply(304).reply(200).body(feed(&["c", "b"]));
    expect(&broker, "a").await;
    expect(&broker, "b").await;
    broker.advance("130s").await;
    broker.restart().await;
    expect(&broker, "c").await;
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "12m")
        .await;
    let seen = route.requests();
    assert_eq!(seen[0].headers.get("if-none-match"), None);
    assert_eq!(seen[1].headers["if-none-match"], "W/\"1\"");
    assert_eq!(seen[2].headers["if-none-match"], "W/\"1\"");
    assert_eq!(seen[0].headers["authorization"], "Bearer s3cret");
    assert!(broker.dead_letters().await.is_empty());
}

/// Proves P4d, shell part: what a server asks for is kept to, and 410 stops the poller.
#[tokio::test]
async fn a_server_that_asks_for_time_gets_it_and_a_feed_that_is_gone_is_left_alone() {
    let broker =
        broker(Plugin::new("rss").poll(Poll::feed("rss", "{config.url}", every_item).every("1m")))
            .await;
    let server = broker.http(SERVER);
    let route = server
        .on("GET", "/news")
        .reply(429)
        .header("retry-after", "600");
    let route = route.reply(200).body(feed(&["a"])).reply(410);
    broker.advance("90s").await;
    assert_eq!(route.requests().len(), 1);
    broker.advance("5m").await;
    assert_eq!(
        route.requests().len(),
        1,
        "it was asked to wait for ten minutes"
    );
    expect(&broker, "a").await;
    broker.advance("5m").await;
    assert_eq!(route.requests().len(), 3);
}

/// Proves: an item that waits or is refused holds up no other.
#[tokio::test]
async fn an_item_waits_by_itself_or_becomes_a_dead_letter() {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let item = move |item: FeedItem| {
        let counted = counted.clone();
        async move {
            match item.title.as_deref() {
                Some("late") if counted.fetch_add(1, Ordering::Relaxed) < 2 => {
                    Err(Retry::after("1m").because("busy").into())
                }
                Some("bad") => Err(Reject::new("no").into()),
                _ => Result::<Event>::Ok(message(item)),
            }
        }
    };
    let broker =
        broker(Plugin::new("rss").poll(Poll::feed("rss", "{config.url}", item).every("2m"))).await;
    let server = broker.http(SERVER);
    server
        .on("GET", "/news")
        .reply(200)
        .body(feed(&["good", "bad", "late"]));
    expect(&broker, "good").await;
    expect(&broker, "late").await;
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    broker.advance("6m").await;
    let dead = broker.dead_letters().await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "12m")
        .await;
}

/// Proves P4b: a plugin that dies loses nothing and says nothing twice.
#[tokio::test]
async fn a_plugin_that_dies_around_its_commit_says_each_item_once() {
    for at in [KillAt::BeforeCommit, KillAt::AfterCommit] {
        let broker = broker(
            Plugin::new("rss").poll(Poll::feed("rss", "{config.url}", every_item).every("2m")),
        )
        .await;
        broker
            .http(SERVER)
            .on("GET", "/news")
            .reply(200)
            .body(feed(&["b", "a"]));
        broker.kill(at);
        expect(&broker, "a").await;
        expect(&broker, "b").await;
        broker
            .expect_nothing("plugin.inbound.>", json!({}), "6m")
            .await;
    }
}

/// Proves P8, poller part: the handler gets its cursor back, and its batch is one commit with it.
#[tokio::test]
async fn a_handler_that_fetches_itself_gets_its_cursor() {
    async fn updates(offset: Option<u64>, ctx: Context) -> Result<Batch> {
        let call = ctx
            .http()
            .at(SERVER)
            .get("/updates")
            .query(json!({ "offset": offset }));
        let found: Vec<u64> = call.await?.json()?;
        let events = found
            .iter()
            .map(|n| Event::inbound(json!({ "text": n.to_string() })));
        let next = found.last().map(|n| n + 1).or(offset);
        Ok(Batch::new(events).cursor(next))
    }
    let broker = broker(Plugin::new("rss").poll(Poll::new("rss", updates).every("1m"))).await;
    let server = broker.http(SERVER);
    let route = server.on("GET", "/updates").reply(200).json([7, 8]);
    let route = route
        .reply(503)
        .reply(200)
        .json([9])
        .reply(200)
        .json(Value::Array(Vec::new()));
    for text in ["7", "8", "9"] {
        expect(&broker, text).await;
    }
    let offsets: Vec<_> = route
        .requests()
        .iter()
        .map(|seen| seen.query.get("offset").cloned())
        .collect();
    assert_eq!(offsets[0], None);
    assert_eq!(offsets[1].as_deref(), Some("9"));
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "1m")
        .await;
}

#[tokio::test]
async fn a_declared_list_is_followed_page_by_page() {
    async fn issue(issue: Value) -> Result<Event> {
        Ok(Event::inbound(json!({ "text": issue["title"] })))
    }
    let list = JsonOptions {
        url: format!("{SERVER}/issues"),
        items_path: "data".to_owned(),
        id_field: "id".to_owned(),
        paginate: Some(Paginate::Link {}),
        pages_max: 10,
        ..JsonOptions::default()
    };
    let broker = broker(Plugin::new("rss").poll(Poll::json("rss", list, issue).every("2m"))).await;
    let server = broker.http(SERVER);
    let page = |title: &str| json!({ "data": [{ "id": title, "title": title }] });
    let route = server.on("GET", "/issues");
    route
        .reply(200)
        .json(page("one"))
        .header("link", "</issues?page=2>; rel=\"next\"")
        .reply(200)
        .json(page("two"));
    expect(&broker, "one").await;
    expect(&broker, "two").await;
}

#[test]
fn a_declaration_that_does_not_hold_is_refused_by_name() {
    let error = |poll: Poll| Plugin::new("rss").poll(poll).check().unwrap_err().message;
    assert_eq!(
        error(Poll::feed("rss", "{config.url}", every_item).every("1s")),
        r#"poll "rss": expected at least 10s where the engine fetches as every, found "1s""#
    );
    assert_eq!(
        error(Poll::new("rss", every_item)),
        r#"poll "rss": expected a duration, or cron, or at as every, found """#
    );
}
