//! The plugins of the API's specification: the code as it stands there, with imports and mappings around it. Each
//! carries an event in the test broker.

#![expect(unreachable_pub, reason = "the code is that of the specification")]

use serde_json::json;
use trunkline::testing::TestBroker;
use trunkline::{Json, Plugin};

#[rustfmt::skip]
mod echo {
    use trunkline::{Context, Json, Outbound, Plugin, Reply, Result};

    async fn echo(payload: Json, _ctx: Context) -> Result<Reply> { Ok(Reply::new(payload)) }
    pub fn plugin() -> Plugin { Plugin::new("echo").outbound(Outbound::new("echo", echo)) }     // options chain on the inner value, as in clap
}

#[rustfmt::skip]
mod github {
    use serde::Deserialize;
    use serde_json::json;
    use trunkline::{Context, Event, Plugin, Result, Webhook, WebhookRequest};

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Hook { action: String, issue: Issue }
    #[derive(Deserialize, Default)]
    struct Issue { title: String, user: User, html_url: String }
    #[derive(Deserialize, Default)]
    struct User { login: String }

    async fn hook(req: WebhookRequest, _ctx: Context) -> Result<Option<Event>> {
        let Hook { action, issue } = req.json()?;
        if req.header("x-github-event") != Some("issues") || action != "opened" { return Ok(None) }
        Ok(Some(Event::inbound(json!({ "text": issue.title, "sender": { "id": issue.user.login }, "conversation": { "id": issue.html_url } }))))
    }
    pub fn plugin() -> Plugin { Plugin::new("github").webhook(Webhook::new("github", hook).verify("github").secret("{config.webhook_secret}")) }
}

#[rustfmt::skip]
mod stripe {
    use serde::{Deserialize, Serialize};
    use serde_json::json;
    use trunkline::schemars::{self, JsonSchema};
    use trunkline::{Context, Plugin, Result, Tool};

    /// Draft an invoice for a customer.
    #[derive(Deserialize, JsonSchema)] struct NewInvoice { /** Customer id, cus_… */ customer: String, days_until_due: u32 }
    #[derive(Serialize, Deserialize, JsonSchema)] struct Invoice { id: String, status: String }
    async fn create_invoice(new: NewInvoice, ctx: Context) -> Result<Invoice> {
        let stripe = ctx.http().at("https://api.stripe.com/v1").bearer("{config.api_key}");
        let form = json!({ "customer": new.customer, "days_until_due": new.days_until_due, "collection_method": "send_invoice" });
        Ok(stripe.post("/invoices").form(form).idempotency_key(ctx.idempotency_key()).await?.json()?)
    }
    pub fn plugin() -> Plugin { Plugin::new("stripe").tool(Tool::new("create_invoice", create_invoice).timeout("20s").concurrency(8).idempotent()) }
}

#[rustfmt::skip]
mod rss {
    use serde::Deserialize;
    use serde_json::json;
    use trunkline::{Context, Event, FeedItem, Json, Plugin, Poll, Result};

    #[derive(Deserialize)]
    struct Config { keyword: String }
    fn to_message(item: &FeedItem) -> Json { json!({ "text": item.title, "conversation": { "id": "news" } }) }

    // The specification has a title in every item; a feed may leave it out.
    async fn item(item: FeedItem, ctx: Context) -> Result<Option<Event>> {
        Ok(item.title.as_deref().unwrap_or_default().contains(&ctx.config::<Config>()?.keyword).then(|| Event::inbound(to_message(&item))))
    }
    pub fn plugin() -> Plugin { Plugin::new("rss").poll(Poll::feed("rss", "{config.url}", item).every("30m").jitter("5m")) }
}

#[rustfmt::skip]
mod chat {
    use serde::Deserialize;
    use serde_json::json;
    use trunkline::{Batch, Connect, Context, Event, Json, Plugin, Result, Retry};

    #[derive(Deserialize)]
    struct Config { bot_token: String }
    fn to_message(f: &Json) -> Json { json!({ "text": f["text"], "conversation": { "id": "room" } }) }

    async fn frame(f: Json, ctx: Context) -> Result<Option<Batch>> {
        Ok(match f["op"].as_str().unwrap_or_default() {
            "message" => Some(Batch::new([Event::inbound(to_message(&f))]).cursor(&f["seq"]).ack(json!({ "op": "ack", "seq": f["seq"] }))),
            "reconnect" => return Err(Retry::after("0s").because("the server asked").into()),
            "invalid" => Some(Batch::default().cursor(Json::Null).again("3s")),
            "hello" => {
                ctx.conn().heartbeat(f["every"].as_str().unwrap_or("30s"), json!({ "op": "beat", "seq": "{cursor}" }), json!({ "op": "beat_ack" }));
                let login = json!({ "op": "login", "token": ctx.config::<Config>()?.bot_token, "resume": ctx.conn().cursor::<u64>() });
                ctx.conn().send(login).await.map(|()| None)?
            }
            _ => None,
        })
    }
    pub fn plugin() -> Plugin { Plugin::new("chat").connect(Connect::new("chat", "wss://gateway.example.com/v1", frame).idle("60s").fatal(&[4004])) }
}

#[rustfmt::skip]
mod telegram {
    use serde::Deserialize;
    use serde_json::json;
    use trunkline::{Batch, Context, Event, InstanceContext, Json, Outbound, OutboundMessage, Plugin, Poll, Result};

    #[derive(Deserialize)]
    struct Found { result: Vec<Update> }
    #[derive(Deserialize)]
    struct Update { update_id: i64, message: Json }
    fn to_event(u: &Update) -> Event {
        Event::inbound(json!({ "text": u.message["text"], "conversation": { "id": u.message["chat"]["id"].to_string() } }))
    }

    const TG: &str = "https://api.telegram.org/bot{config.bot_token}";
    async fn start(ctx: InstanceContext) -> Result<Json> { Ok(ctx.http().at(TG).post("/getMe").await?.json::<Json>()?["result"].take()) }
    async fn updates(offset: Option<i64>, ctx: Context) -> Result<Batch> {
        let query = json!({ "offset": offset, "timeout": 25, "allowed_updates": ["message"] });
        let Found { result } = ctx.http().at(TG).post("/getUpdates").json(query).timeout("40s").await?.json()?;
        Ok(Batch::new(result.iter().map(to_event)).cursor(result.last().map(|u| u.update_id + 1).or(offset)))
    }
    async fn send(msg: OutboundMessage, ctx: Context) -> Result<String> {
        // The specification has a conversation in every message; in Rust it is an option.
        let chat_id = msg.conversation.map(|conversation| conversation.id);
        let r = ctx.http().at(TG).post("/sendMessage").json(json!({ "chat_id": chat_id, "text": msg.text })).await?;
        Ok(r.json::<Json>()?["result"]["message_id"].to_string())
    }
    pub fn plugin() -> Plugin { Plugin::new("telegram").on_start(start).poll(Poll::new("telegram", updates).every("0s").timeout("45s"))
        .outbound(Outbound::new("telegram", send).rate("30/s").rate_per_target("1/s")) }
}

fn manifest(plugin: &Plugin, rest: &str) -> String {
    let id = plugin.id();
    let head = format!("[plugin]\nid = \"{id}\"\nversion = \"0.1.0\"\ncommand = [\"./{id}\"]\n");
    head + rest
}

fn channel(id: &str) -> String {
    format!("[[channels]]\nkind = \"{id}\"\n")
}

fn key(name: &str, more: &str) -> String {
    format!("[config.{name}]\ntype = \"string\"\n{more}\n")
}

async fn started(plugin: Plugin, rest: &str, config: Json) -> TestBroker {
    let manifest = manifest(&plugin, rest);
    TestBroker::start(plugin)
        .manifest(manifest)
        .config(config)
        .await
}

/// Proves P1: the ten-line plugin of the specification sends back what it is sent.
#[tokio::test]
async fn pattern_1_echo() {
    let broker = started(echo::plugin(), &channel("echo"), json!({})).await;
    let sending = broker.send("echo", "hi").to("c1").await.expect("durable");
    let reply = broker
        .expect_published(
            "plugin.inbound.echo.default",
            json!({ "text": "hi" }),
            "10s",
        )
        .await;
    assert_eq!(reply.correlation_id.as_deref(), Some(sending.id()));
    let sent = json!({ "state": "sent" });
    broker
        .expect_published("plugin.delivery.echo.default", sent, "10s")
        .await;
}

#[tokio::test]
async fn pattern_2_webhook_receiver() {
    let rest = channel("github") + &key("webhook_secret", "secret = true");
    let broker = started(
        github::plugin(),
        &rest,
        json!({ "webhook_secret": "whsec" }),
    )
    .await;
    let url = "https://github.com/a/b/issues/7";
    let issue = json!({ "title": "It broke", "user": { "login": "ana" }, "html_url": url });
    let opened = broker
        .webhook("github")
        .json(json!({ "action": "opened", "issue": issue }));
    let answer = opened.header("x-github-event", "issues").id("d-1").await;
    assert_eq!(answer.status, 200);
    let text = json!({ "text": "It broke", "sender": { "id": "ana" } });
    let event = broker
        .expect_published("plugin.inbound.github.default", text, "10s")
        .await;
    assert_eq!(event.session_id.as_deref(), Some(url));
    let ping = broker.webhook("github").json(json!({ "zen": "…" }));
    ping.header("x-github-event", "ping").id("d-2").await;
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "1s")
        .await;
    assert!(broker.dead_letters().await.is_empty());
}

#[tokio::test]
async fn pattern_3_rpc_bridge() {
    let rest = key("api_key", "secret = true");
    let broker = started(stripe::plugin(), &rest, json!({ "api_key": "sk_1" })).await;
    let route = broker
        .http("https://api.stripe.com")
        .on("POST", "/v1/invoices");
    let route = route
        .reply(200)
        .json(json!({ "id": "in_1", "status": "draft", "object": "invoice" }));
    let args = json!({ "customer": "cus_9", "days_until_due": 14 });
    let made: Json = broker
        .call_tool("stripe.create_invoice", args)
        .idempotency_key("k1")
        .await
        .expect("an invoice");
    assert_eq!(made, json!({ "id": "in_1", "status": "draft" }));
    let requests = route.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].headers["authorization"], "Bearer sk_1");
    assert_eq!(requests[0].headers["idempotency-key"], "k1");
    let form = requests[0].form();
    assert_eq!(form["customer"], "cus_9");
    assert_eq!(form["days_until_due"], "14");
    assert_eq!(form["collection_method"], "send_invoice");
}

const FEED: &str = r#"<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>
<item><guid>g-1</guid><title>rust 2.0</title></item>
<item><guid>g-2</guid><title>the weather</title></item>
</channel></rss>"#;

#[tokio::test]
async fn pattern_4_scheduled_poller() {
    let rest = channel("rss") + &key("url", "") + &key("keyword", "");
    let config = json!({ "url": "https://feeds.example.com/news", "keyword": "rust" });
    let broker = started(rss::plugin(), &rest, config).await;
    let server = broker.http("https://feeds.example.com");
    let route = server.on("GET", "/news").reply(200).body(FEED);
    let _route = route.header("content-type", "application/rss+xml");
    broker
        .expect_published(
            "plugin.inbound.rss.default",
            json!({ "text": "rust 2.0" }),
            "40m",
        )
        .await;
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "1m")
        .await;
}

#[tokio::test]
async fn pattern_5_long_running_connection() {
    let rest = channel("chat") + &key("bot_token", "secret = true\nunique = true");
    let broker = started(chat::plugin(), &rest, json!({ "bot_token": "t-1" })).await;
    let gateway = broker.socket("wss://gateway.example.com/v1");
    let hello = json!({ "op": "hello", "every": "30s" });
    let first = gateway.accept("5s").await;
    first.send(&hello);
    let login = first.expect(json!({ "op": "login" }), "5s").await;
    assert_eq!(
        login,
        json!({ "op": "login", "token": "t-1", "resume": null })
    );
    first.send(json!({ "op": "message", "seq": 4, "text": "hi" }));
    first.expect(json!({ "op": "ack", "seq": 4 }), "5s").await;
    broker
        .expect_published("plugin.inbound.chat.default", json!({ "text": "hi" }), "5s")
        .await;
    let beat = first.expect(json!({ "op": "beat" }), "61s").await;
    assert_eq!(beat, json!({ "op": "beat", "seq": 4 }));
    first.send(json!({ "op": "beat_ack" }));
    first.send(json!({ "op": "reconnect" }));
    let second = gateway.accept("5s").await;
    assert_eq!(first.expect_closed("5s").await.0, Some(4000));
    second.send(&hello);
    second
        .expect(json!({ "op": "login", "resume": 4 }), "5s")
        .await;
    second.send(json!({ "op": "invalid" }));
    let third = gateway.accept("10s").await;
    third.send(&hello);
    third
        .expect(json!({ "op": "login", "resume": null }), "5s")
        .await;
    third.close(4004, "bad token");
    assert!(
        gateway.try_accept("5m").await.is_none(),
        "nobody tries again"
    );
}

/// Proves P8a, Rust part: the plugin of the specification serves two accounts alike.
#[tokio::test]
async fn pattern_8_multi_instance_provider() {
    let token = key("bot_token", "secret = true\nunique = true");
    let rest = format!("isolation = \"shared\"\n{}{token}", channel("telegram"));
    let plugin = telegram::plugin();
    let manifest = manifest(&plugin, &rest);
    let broker = TestBroker::start(plugin)
        .manifest(manifest)
        .config(json!({ "bot_token": "t-1" }))
        .instances(["support", "sales"])
        .await;
    let api = broker.http("https://api.telegram.org/bott-1");
    let me = api.on("POST", "/getMe").reply(200);
    let me = me.json(json!({ "result": { "id": 1, "username": "bot" } }));
    let sent = api.on("POST", "/sendMessage").reply(200);
    let _sent = sent.json(json!({ "result": { "message_id": 5 } }));
    let update = json!({ "update_id": 7, "message": { "text": "hi", "chat": { "id": 12 } } });
    let asked = api.on("POST", "/getUpdates").reply(200);
    let asked = asked.json(json!({ "result": [update] })).reply(503);
    let asked = asked.header("retry-after", "60");
    let event = broker
        .expect_published(
            "plugin.inbound.telegram.*",
            json!({ "text": "hi", "conversation": { "id": "12" } }),
            "10s",
        )
        .await;
    assert!(event.topic.ends_with("support") || event.topic.ends_with("sales"));
    assert_eq!(me.requests().len(), 2);
    let query: Json = asked.requests()[0].json();
    assert_eq!(
        query,
        json!({ "offset": null, "timeout": 25, "allowed_updates": ["message"] })
    );
    for instance in ["support", "sales"] {
        let sending = broker.send("telegram", "hello").to("12").instance(instance);
        let sending = sending.await.expect("durable");
        let topic = format!("plugin.delivery.telegram.{instance}");
        let receipt = broker
            .expect_published(
                &topic,
                json!({ "state": "sent", "provider_id": "5" }),
                "10s",
            )
            .await;
        assert_eq!(receipt.correlation_id.as_deref(), Some(sending.id()));
    }
}
