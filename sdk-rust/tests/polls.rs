//! Pollers against the real broker in memory and a server that the test plays, through the public API alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline::testing::{KillAt, TestBroker};
use trunkline::{
    Batch, Context, Event, Fatal, FeedItem, InstanceContext, JsonOptions, Paginate, Plugin, Poll,
    PollAlert, Reject, Result, Retry,
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

/// A long poll that waits for news does not keep its instance from stopping; what it was asked for is asked for again.
#[tokio::test]
async fn a_long_poll_ends_with_its_instance_and_is_made_again() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    async fn updates(offset: Option<u64>, _ctx: Context) -> Result<Batch> {
        if ASKED.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            std::future::pending::<()>().await;
        }
        let next = offset.unwrap_or(0) + 1;
        let event = Event::inbound(json!({ "text": next.to_string() }));
        Ok(Batch::new([event]).cursor(next))
    }
    let broker = broker(Plugin::new("rss").poll(Poll::new("rss", updates).every("0s"))).await;
    for text in ["1", "2"] {
        broker.settle().await;
        let restarted = tokio::time::timeout(Duration::from_secs(5), broker.restart()).await;
        restarted.expect("nobody waits for the long poll");
        expect(&broker, text).await;
    }
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

/// How long whoever asks can be met by another, by the clock of its process.
const MEETING: Duration = Duration::from_millis(20);

/// What a server sees of those who ask as one account.
#[derive(Default)]
struct Asked {
    /// How often each instance asked.
    by: Mutex<BTreeMap<String, u32>>,
    open: AtomicU32,
    open_most: AtomicU32,
    /// The first one who asks is answered when this is given back.
    hold: tokio::sync::Notify,
    meeting: tokio::sync::Notify,
}

impl Asked {
    fn count(&self, instance: &str) -> u32 {
        let by = self.by.lock().expect("no test panics with the lock");
        by.get(instance).copied().unwrap_or_default()
    }

    /// Gives who asked, once somebody did.
    async fn first(&self) -> String {
        loop {
            if let Some(first) = self.anybody() {
                return first;
            }
            tokio::task::yield_now().await;
        }
    }

    fn anybody(&self) -> Option<String> {
        let by = self.by.lock().expect("no test panics with the lock");
        by.keys().next().cloned()
    }

    async fn ask(&self, ctx: &Context, is_held: impl Fn(u32, u32) -> bool) -> u32 {
        let (own, all) = {
            let mut by = self.by.lock().expect("no test panics with the lock");
            let own = by.entry(ctx.instance().to_owned()).or_default();
            *own += 1;
            (*own, by.values().sum())
        };
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.open_most.fetch_max(open, Ordering::SeqCst);
        if is_held(own, all) {
            self.hold.notified().await;
        } else {
            // Whoever asks meanwhile is met.
            let meeting = self.meeting.notified();
            if open > 1 {
                self.meeting.notify_waiters();
            }
            let met = tokio::time::timeout(MEETING, meeting).await;
            drop(met);
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
        own
    }
}

/// Two instances that poll as one account; of their requests those are held that `is_held` says, of the count of the
/// instance and of all.
async fn one_account(asked: &Arc<Asked>, is_held: fn(u32, u32) -> bool) -> TestBroker {
    TestBroker::start(account(asked, is_held))
        .instances(["a", "b"])
        .await
}

fn account(asked: &Arc<Asked>, is_held: fn(u32, u32) -> bool) -> Plugin {
    let asked = asked.clone();
    let poll = move |_: Option<u64>, ctx: Context| {
        let asked = asked.clone();
        async move {
            let n = asked.ask(&ctx, is_held).await;
            let text = format!("{} {n}", ctx.instance());
            let said = Event::inbound(json!({ "text": text, "conversation": { "id": "c" } }));
            Result::<Batch>::Ok(Batch::new([said]).cursor(n))
        }
    };
    let poll = Poll::new("rss", poll).every("1m").credential("one account");
    Plugin::new("rss").poll(poll)
}

/// Proves P4c: of two instances with one credential one asks at a time, and each has its turn.
#[tokio::test]
async fn two_instances_of_one_credential_never_ask_at_once() {
    let asked = Arc::new(Asked::default());
    let broker = one_account(&asked, |_, _| false).await;
    for _ in 0..6 {
        broker.advance("1m").await;
    }
    assert!(
        asked.count("a") >= 3 && asked.count("b") >= 3,
        "each has its turn"
    );
    assert_eq!(asked.open_most.load(Ordering::SeqCst), 1);
}

/// Proves P4c: a holder that is gone is followed by the other instance once its lease has run out, and not before.
#[tokio::test]
async fn a_lease_that_ran_out_is_taken_over() {
    let asked = Arc::new(Asked::default());
    let seen = asked.clone();
    let start = move |ctx: InstanceContext| {
        let asks_again = seen.count(ctx.instance()) > 0;
        async move {
            if asks_again {
                return Err(Fatal::new("it does not come back").into());
            }
            Result::<()>::Ok(())
        }
    };
    let plugin = account(&asked, |_, _| false).on_start(start);
    let broker = TestBroker::start(plugin).instances(["a", "b"]).await;
    broker.kill(KillAt::BeforeCommit);
    broker.advance("61s").await;
    let first = asked.first().await;
    let other = if first == "a" { "b" } else { "a" };
    let inbound = format!("plugin.inbound.rss.{other}");
    let text = json!({ "text": format!("{other} 1") });
    broker.expect_nothing(&inbound, text.clone(), "18s").await;
    assert_eq!(asked.count(other), 0, "it waits for the lease");
    broker.expect_published(&inbound, text, "5m").await;
    assert_eq!(asked.count(&first), 1, "what was killed does not come back");
}

/// Proves P4c: a lease is renewed for as long as a tick takes, also when that is longer than the lease.
#[tokio::test]
async fn a_long_tick_keeps_its_lease() {
    let asked = Arc::new(Asked::default());
    let broker = one_account(&asked, |_, all| all == 1).await;
    broker.advance("61s").await;
    let first = asked.first().await;
    let other = if first == "a" { "b" } else { "a" };
    broker.advance("50s").await;
    assert_eq!(asked.count(other), 0, "it waits for the lease");
    asked.hold.notify_one();
    let inbound = format!("plugin.inbound.rss.{first}");
    let text = json!({ "text": format!("{first} 1") });
    broker.expect_published(&inbound, text, "1s").await;
    let inbound = format!("plugin.inbound.rss.{other}");
    let text = json!({ "text": format!("{other} 1") });
    broker.expect_published(&inbound, text, "5m").await;
    assert_eq!(asked.open_most.load(Ordering::SeqCst), 1);
}

/// Proves P4c: a holder that is killed before its commit takes its own lease again and does its tick anew, and the other
/// instance has its turn.
#[tokio::test]
async fn a_holder_that_is_killed_does_its_tick_anew() {
    let asked = Arc::new(Asked::default());
    let broker = one_account(&asked, |_, _| false).await;
    broker.kill(KillAt::BeforeCommit);
    broker.advance("61s").await;
    for of in ["a", "b"] {
        let text = json!({ "text": format!("{of} 1") });
        let again = json!({ "text": format!("{of} 2") });
        let is_killed = asked.count(of) > 1;
        let topic = format!("plugin.inbound.rss.{of}");
        let expected = if is_killed { again } else { text };
        broker.expect_published(&topic, expected, "1m").await;
    }
    assert_eq!(asked.count("a") + asked.count("b"), 3);
    assert_eq!(asked.open_most.load(Ordering::SeqCst), 1);
}

/// Proves P4e: when a poller pauses itself, when it is left alone and when it goes on again, one durable message says so
/// to the channel that it names, and no more than one.
#[tokio::test]
async fn who_is_named_is_told_once_of_each_change() {
    const MANIFEST: &str = r#"
[plugin]
id = "rss"
version = "0.1.0"
command = ["rss"]
[[channels]]
kind = "rss"
[capabilities]
send = ["ops"]
[config.url]
type = "string"
[config.room]
type = "string"
"#;
    let poll = Poll::feed("rss", "{config.url}", every_item)
        .every("1m")
        .alert(PollAlert::new("ops", "{config.room}").instance("main"));
    let broker = TestBroker::start(Plugin::new("rss").poll(poll))
        .manifest(MANIFEST)
        .config(json!({ "url": "https://feeds.example/news", "room": "night shift" }))
        .await;
    let server = broker.http(SERVER);
    let mut route = server.on("GET", "/news").reply(503);
    for _ in 0..6 {
        route = route.reply(503);
    }
    let route = route.reply(200).body(feed(&["a"])).reply(410);
    let topic = "plugin.outbound.ops.main";
    let told = |text: &str| json!({ "text": text, "conversation": { "id": "night shift" } });
    let why = "expected an answer of 200 or 304, found";
    let alone = format!("rss/default rss: 5 failures in a row: {why} 503");
    let opened = broker.expect_published(topic, told(&alone), "1h").await;
    assert_eq!(opened.session_id.as_deref(), Some("night shift"));
    let on = told("rss/default rss: succeeded after 7 failures");
    broker.expect_published(topic, on, "12h").await;
    let gone = told(&format!("rss/default rss: paused: {why} 410"));
    broker.expect_published(topic, gone, "12h").await;
    assert_eq!(route.requests().len(), 9);
    broker.expect_nothing(topic, json!({}), "30m").await;
}

/// Proves P4e: an alert that may not be sent keeps nothing back: the poller pauses itself all the same.
#[tokio::test]
async fn an_alert_without_a_grant_keeps_nothing_back() {
    let poll = Poll::feed("rss", "{config.url}", every_item)
        .every("1m")
        .alert(PollAlert::new("ops", "room"));
    let broker = broker(Plugin::new("rss").poll(poll)).await;
    let route = broker.http(SERVER).on("GET", "/news").reply(410);
    broker.advance("10m").await;
    assert_eq!(route.requests().len(), 1);
    assert!(broker.dead_letters().await.is_empty());
}

/// Proves P4a: a tick that takes longer than its timeout is cancelled and counts as a failure; what was handed over before
/// stays, the item that hung waits by itself, and the next tick comes.
#[tokio::test]
async fn a_tick_that_hangs_is_cancelled_and_the_next_one_comes() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let item = move |item: FeedItem| {
        let counted = counted.clone();
        async move {
            let is_first = item.title.as_deref() == Some("slow")
                && counted.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first {
                std::future::pending::<()>().await;
            }
            Result::<Event>::Ok(message(item))
        }
    };
    let poll = Poll::feed("rss", "{config.url}", item)
        .every("1m")
        .timeout("1s");
    let broker = broker(Plugin::new("rss").poll(poll)).await;
    let server = broker.http(SERVER);
    let route = server
        .on("GET", "/news")
        .reply(200)
        .body(feed(&["slow", "done"]));
    expect(&broker, "done").await;
    expect(&broker, "slow").await;
    assert_eq!(calls.load(Ordering::SeqCst), 2, "once in vain");
    broker.advance("5m").await;
    assert!(route.requests().len() >= 2, "the next tick comes");
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "5m")
        .await;
    assert!(broker.dead_letters().await.is_empty());
}

/// Proves P4a: a poller that asks by itself and hangs is cancelled at its timeout; its cursor stays, and it is asked again.
#[tokio::test]
async fn a_poller_that_hangs_keeps_its_cursor() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let poll = move |cursor: Option<u32>, _: Context| {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if n == 1 {
                std::future::pending::<()>().await;
            }
            let next = cursor.unwrap_or(0) + 1;
            let said = Event::inbound(json!({ "text": next.to_string() }));
            Result::<Batch>::Ok(Batch::new([said]).cursor(next))
        }
    };
    let poll = Poll::new("rss", poll).every("1m").timeout("1s");
    let broker = broker(Plugin::new("rss").poll(poll)).await;
    for text in ["1", "2"] {
        expect(&broker, text).await;
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3, "the second hung");
}

/// Proves P4a: a poller that is due at one time ticks then, once, also with a restart in between.
#[tokio::test]
async fn a_poller_of_one_time_ticks_once() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let poll = move |_: Option<u32>, _: Context| {
        let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let said = Event::inbound(json!({ "text": n.to_string() }));
        async move { Result::<Batch>::Ok(Batch::new([said])) }
    };
    // The clock of a test begins with the year.
    let poll = Poll::new("rss", poll).at("2026-01-01T00:10:00Z");
    let broker = broker(Plugin::new("rss").poll(poll)).await;
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "590s")
        .await;
    broker.restart().await;
    expect(&broker, "1").await;
    broker.restart().await;
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "72h")
        .await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// Proves P4c: a holder that slept through its lease, so that the other instance asked meanwhile, commits nothing when it
/// goes on: no event, and its cursor is what it was.
#[tokio::test]
async fn a_holder_that_slept_through_its_lease_commits_nothing() {
    let asked = Arc::new(Asked::default());
    let counted = asked.clone();
    let poll = move |cursor: Option<u32>, ctx: Context| {
        let asked = counted.clone();
        async move {
            let n = asked.ask(&ctx, |_, all| all == 1).await;
            let text = format!("{} {n} from {cursor:?}", ctx.instance());
            let said = Event::inbound(json!({ "text": text }));
            Result::<Batch>::Ok(Batch::new([said]).cursor(n))
        }
    };
    let poll = Poll::new("rss", poll).every("1m").credential("one account");
    let broker = TestBroker::start(Plugin::new("rss").poll(poll))
        .instances(["a", "b"])
        .await;
    broker.advance("61s").await;
    let first = asked.first().await;
    let other = if first == "a" { "b" } else { "a" };
    broker.sleep_through_locks(true);
    let of = |instance: &str, n: u32| {
        let topic = format!("plugin.inbound.rss.{instance}");
        (
            topic,
            json!({ "text": format!("{instance} {n} from None") }),
        )
    };
    let (topic, text) = of(other, 1);
    broker.expect_published(&topic, text, "90s").await;
    asked.hold.notify_one();
    let (topic, text) = of(&first, 1);
    broker.expect_nothing(&topic, text, "1s").await;
    broker.sleep_through_locks(false);
    let (topic, text) = of(&first, 2);
    broker.expect_published(&topic, text, "5m").await;
}

/// Proves P4c: the same in the middle of a tick: of a page whose lease is another's nothing is committed, and the tick ends
/// there.
#[tokio::test]
async fn a_page_whose_lease_is_lost_is_not_committed() {
    let hold = Arc::new(tokio::sync::Notify::new());
    let opens = hold.clone();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let issue = move |issue: Value, ctx: Context| {
        let (hold, n) = (hold.clone(), counted.fetch_add(1, Ordering::SeqCst));
        async move {
            if n == 0 {
                hold.notified().await;
            }
            let text = format!("{} {}", ctx.instance(), issue["title"]);
            Result::<Event>::Ok(Event::inbound(json!({ "text": text })))
        }
    };
    let list = JsonOptions {
        url: format!("{SERVER}/issues"),
        items_path: "data".to_owned(),
        id_field: "id".to_owned(),
        paginate: Some(Paginate::Link {}),
        pages_max: 10,
        ..JsonOptions::default()
    };
    let poll = Poll::json("rss", list, issue)
        .every("1m")
        .timeout("4m")
        .credential("one account");
    let broker = TestBroker::start(Plugin::new("rss").poll(poll))
        .instances(["a", "b"])
        .await;
    let page = |n: u32| json!({ "data": [{ "id": n, "title": n }] });
    let server = broker.http(SERVER);
    let route = server.on("GET", "/issues");
    let mut route = route.reply(200).json(page(1));
    route = route.header("link", "</issues?page=2>; rel=\"next\"");
    // What is asked again is told anew.
    for n in [2, 3] {
        route = route.reply(200).json(page(n));
    }
    broker.advance("61s").await;
    assert_eq!(calls.load(Ordering::SeqCst), 1, "it is held");
    broker.sleep_through_locks(true);
    let of_other = broker
        .expect_published("plugin.inbound.>", json!({}), "90s")
        .await;
    let first = if of_other
        .topic
        .rsplit_once('.')
        .is_some_and(|(_, name)| name == "a")
    {
        "b"
    } else {
        "a"
    };
    opens.notify_one();
    let lost = json!({ "text": format!("{first} 1") });
    broker.expect_nothing("plugin.inbound.>", lost, "1s").await;
    broker.sleep_through_locks(false);
    let anew = json!({ "text": format!("{first} 3") });
    broker
        .expect_published("plugin.inbound.>", anew, "5m")
        .await;
    let lost = json!({ "text": format!("{first} 1") });
    broker.expect_nothing("plugin.inbound.>", lost, "1s").await;
    drop(route);
}
