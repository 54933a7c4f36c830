//! The scenarios of `patterns/scenarios`, played against plugins in Rust; the same files are played
//! against the same plugins in Python and Node.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline::testing::TestBroker;
use trunkline::{
    Assemble, Batch, Connect, Context, Event, FeedItem, Json, On, Outbound, OutboundMessage, Part,
    Plugin, Poll, Reject, Reply, Result, Schedule, Timer, TimerEvent, Tool, ToolError, Webhook,
    WebhookRequest,
};

async fn part(payload: Json) -> Result<Part<String>> {
    let text = payload["text"].as_str().unwrap_or_default().to_owned();
    let of = &payload["of"];
    let session = of["session"].as_str().unwrap_or_default();
    let mut part = Part::new(session, text);
    part.group = of["group"].as_str().map(str::to_owned);
    part.seq = of["seq"].as_u64();
    part.total = of["total"].as_u64();
    part.is_final = of["final"].as_bool().unwrap_or_default();
    Ok(part)
}

async fn whole(parts: Vec<Part<String>>, ctx: Context) -> Result<Event> {
    let assembly = ctx.assembly().expect("an assembler is told");
    let gap = if assembly.missing.is_empty() {
        ""
    } else {
        "…"
    };
    let texts: Vec<_> = parts.iter().map(|part| part.data.as_str()).collect();
    if texts == ["poison"] {
        return Err(Reject::new("nobody can read this").into());
    }
    let conversation = json!({ "id": parts[0].session });
    let text = texts.join(gap);
    Ok(Event::inbound(
        json!({ "text": text, "conversation": conversation, "why": assembly.reason }),
    ))
}

async fn send(message: OutboundMessage, ctx: Context) -> Result<String> {
    let api = ctx.http().at("https://sms.example");
    let body = json!({ "text": message.text, "key": ctx.idempotency_key() });
    let request = api.post("/messages").json(body);
    let sent: Value = request
        .idempotency_key(ctx.idempotency_key())
        .await?
        .json()?;
    Ok(sent["sid"].as_str().unwrap_or_default().to_owned())
}

async fn line(line: String, ctx: Context) -> Result<Option<Batch>> {
    if line == "HELLO" {
        let resume = ctx.conn().cursor::<u64>().unwrap_or_default();
        ctx.conn().send(format!("RESUME {resume}")).await?;
        return Ok(None);
    }
    let mut words = line.splitn(3, ' ');
    let (Some("MSG"), Some(seq), Some(text)) = (words.next(), words.next(), words.next()) else {
        return Err(Reject::new("not a line of this server").into());
    };
    let seq: u64 = seq.parse().map_err(|_| Reject::new("no number"))?;
    let batch = Batch::new([Event::inbound(json!({ "text": text }))]);
    Ok(Some(batch.cursor(seq).ack(format!("ACK {seq}"))))
}

async fn say(message: OutboundMessage, ctx: Context) -> Result<()> {
    let text = message.text.unwrap_or_default();
    ctx.conn().send(format!("SAY {text}")).await?;
    Ok(())
}

async fn updates(cursor: Option<u64>, ctx: Context) -> Result<Batch> {
    let query = json!({ "after": cursor.unwrap_or_default() });
    let request = ctx.http().get("https://api.example/updates").query(query);
    let found: Vec<Value> = request.await?.json()?;
    let last = found
        .last()
        .and_then(|update| update["id"].as_u64())
        .or(cursor);
    let events = found.iter().map(|update| {
        Event::inbound(json!({ "text": update["text"], "conversation": { "id": "updates" } }))
    });
    Ok(Batch::new(events).cursor(last))
}

async fn item(item: FeedItem) -> Result<Event> {
    Ok(Event::inbound(
        json!({ "text": item.title, "conversation": { "id": "news" } }),
    ))
}

async fn tick(timer: TimerEvent) -> Result<Event> {
    let said = json!({ "name": timer.name, "data": timer.data::<Json>()?, "missed": timer.missed });
    Ok(Event::new("agent.tick", "", said))
}

async fn stop(_: Json, ctx: Context) -> Result<()> {
    ctx.timer().cancel("tick").await?;
    Ok(())
}

async fn hook(request: WebhookRequest) -> Result<Vec<Event>> {
    let body: Value = request.json()?;
    if request.header("x-event") != Some("opened") {
        return Ok(Vec::new());
    }
    let titles = body["titles"].as_array().cloned().unwrap_or_default();
    let event = |title| Event::inbound(json!({ "text": title, "conversation": { "id": "repo" } }));
    Ok(titles.into_iter().map(event).collect())
}

#[derive(Deserialize, JsonSchema)]
struct Sum {
    a: i64,
    b: i64,
}

async fn add(sum: Sum) -> Result<i64> {
    if sum.a < 0 {
        return Err(ToolError::new("only what is there is added").into());
    }
    Ok(sum.a + sum.b)
}

async fn echo(message: OutboundMessage) -> Result<Reply> {
    Ok(Reply::new(message.text))
}

fn plugin(name: &str) -> Plugin {
    match name {
        "assembler" => Plugin::new("sms")
            .on(On::new("agent.part", part).name("parts"))
            .assemble(
                Assemble::new("sms", whole)
                    .silence("30s")
                    .max_age("70s")
                    .max_parts(4),
            ),
        "outbound" => {
            Plugin::new("sms").outbound(Outbound::new("sms", send).rate("100/s").idempotent())
        }
        "connection" => {
            let connect = Connect::new("chat", "{config.server}", line).backoff("5ms", "20ms");
            Plugin::new("chat")
                .connect(connect)
                .outbound(Outbound::new("chat", say))
        }
        "poller" => Plugin::new("api").poll(Poll::new("api", updates).every("2m").jitter("0s")),
        "feed" => Plugin::new("rss").poll(
            Poll::feed("rss", "{config.url}", item)
                .every("2m")
                .jitter("0s"),
        ),
        "timers" => Plugin::new("clock")
            .timer(Timer::new("tick", tick).schedule(Schedule::every("5m").data(7)))
            .on(On::new("agent.stop", stop).name("stops")),
        "webhook" => {
            let webhook = Webhook::new("forge", hook).verify("github");
            Plugin::new("forge").webhook(webhook.secret("{config.secret}"))
        }
        "tool" => Plugin::new("sums").tool(Tool::new("add", add).description("Adds two numbers.")),
        "echo" => Plugin::new("echo").outbound(Outbound::new("echo", echo)),
        other => panic!("no plugin for {other}"),
    }
}

async fn play(name: &str) {
    let path = format!(
        "{}/../patterns/scenarios/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let scenario = std::fs::read_to_string(path).expect("a scenario");
    let played = TestBroker::start(plugin(name)).play(&scenario).await;
    played.unwrap_or_else(|error| panic!("{error}"));
}

/// Proves P6a, P6b, transcript: what an assembler does is in one file for three languages.
#[tokio::test]
async fn the_assembler_does_what_its_scenario_says() {
    play("assembler").await;
}

/// Proves P7a, P7b, P7c, transcript: what an outbound adapter does is in one file for three languages.
#[tokio::test]
async fn the_outbound_adapter_does_what_its_scenario_says() {
    play("outbound").await;
}

/// Proves P5b, transcript: what a connection does is in one file for three languages.
#[tokio::test]
async fn the_connection_does_what_its_scenario_says() {
    play("connection").await;
}

/// Proves P4b, P4d, transcript: what a poller does is in one file for three languages.
#[tokio::test]
async fn the_poller_does_what_its_scenario_says() {
    play("poller").await;
}

/// Proves P4b, transcript: what becomes of a feed is in one file for three languages.
#[tokio::test]
async fn the_feed_becomes_what_its_scenario_says() {
    play("feed").await;
}

/// Proves LN27, transcript: what a timer does is in one file for three languages.
#[tokio::test]
async fn the_timers_do_what_their_scenario_says() {
    play("timers").await;
}

/// Proves P2f, transcript: what becomes of a webhook's request is in one file for three languages.
#[tokio::test]
async fn the_webhook_does_what_its_scenario_says() {
    play("webhook").await;
}

/// Proves P3a, P3b, LN22, transcript: what a tool answers is in one file for three languages.
#[tokio::test]
async fn the_tool_does_what_its_scenario_says() {
    play("tool").await;
}

/// Proves P1, P8a, LN22, transcript: each instance echoes under its own name, the same in three languages.
#[tokio::test]
async fn the_echo_does_what_its_scenario_says() {
    play("echo").await;
}
