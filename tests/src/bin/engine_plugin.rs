//! A plugin that uses one engine, named by `ENGINE`, against services that a test plays at `OUTSIDE`.

use std::process::ExitCode;

use serde_json::json;
use trunkline::{
    Assemble, Batch, Connect, Context, Event, Form, Json, JsonOptions, Outbound, OutboundMessage,
    Part, Plugin, Poll, Result,
};

const KIND: &str = "engine";

fn outside(path: &str) -> String {
    let address = std::env::var("OUTSIDE").unwrap_or_default();
    format!("http://{address}{path}")
}

/// Sends one message; the provider's id is its answer.
async fn send(message: OutboundMessage, ctx: Context) -> Result<String> {
    let body = json!({ "key": ctx.idempotency_key(), "text": message.text });
    let answer = ctx.http().post(outside("/send")).json(body).await?;
    let answer: Json = answer.json()?;
    Ok(answer["id"].as_str().unwrap_or_default().to_owned())
}

/// Asks the provider whether it has a message.
async fn ask(_message: Json, ctx: Context) -> Result<Option<String>> {
    let query = json!({ "key": ctx.idempotency_key() });
    let answer = ctx.http().get(outside("/sent")).query(query).await?;
    let answer: Json = answer.json()?;
    Ok(answer["id"].as_str().map(str::to_owned))
}

/// Waits for what is new since the cursor.
async fn updates(offset: Option<u64>, ctx: Context) -> Result<Batch> {
    let query = json!({ "offset": offset.unwrap_or(0) });
    let answer = ctx.http().get(outside("/updates")).query(query).await?;
    let found: Vec<Json> = answer.json()?;
    let next = found.iter().filter_map(|item| item["seq"].as_u64()).max();
    let events = found.iter().map(inbound);
    Ok(Batch::new(events).cursor(next.or(offset)))
}

fn inbound(item: &Json) -> Event {
    Event::inbound(json!({ "text": item["text"] }))
}

async fn item(item: Json) -> Result<Event> {
    Ok(inbound(&item))
}

/// Speaks with the gateway of a line.
async fn frame(f: Json, ctx: Context) -> Result<Option<Batch>> {
    Ok(match f["op"].as_str().unwrap_or_default() {
        "message" => Some(
            Batch::new([inbound(&f)])
                .cursor(&f["seq"])
                .ack(json!({ "op": "ack", "seq": f["seq"] })),
        ),
        "hello" => {
            let login = json!({ "op": "login", "resume": ctx.conn().cursor::<u64>() });
            ctx.conn().send(login).await?;
            None
        }
        _ => None,
    })
}

/// Takes a part: `{text, seq, of}` of the conversation.
async fn part(message: Json, ctx: Context) -> Result<Part> {
    let session = ctx.session().id().unwrap_or_default().to_owned();
    let number = |name: &str| message[name].as_u64().unwrap_or(1);
    Ok(Part::of(&session, &message["text"])?
        .group(session)
        .seq(number("seq"))
        .total(number("of")))
}

async fn whole(parts: Vec<Part<String>>) -> Result<Event> {
    let texts: Vec<_> = parts.iter().map(|part| part.data.as_str()).collect();
    Ok(Event::inbound(json!({ "text": texts.concat() })))
}

fn main() -> ExitCode {
    let plugin = Plugin::new(KIND).version("0.1.0");
    let sends = Outbound::new(KIND, send);
    let engine = std::env::var("ENGINE").unwrap_or_default();
    let plugin = match engine.as_str() {
        "outbound" => plugin.outbound(sends.rate("1000/s")),
        "outbound_idempotent" => plugin.outbound(sends.idempotent()),
        "outbound_reconcile" => plugin.outbound(sends.reconcile(ask)),
        "poll" => plugin.poll(Poll::new(KIND, updates).every("0s").timeout("1h")),
        "list" => {
            let list = JsonOptions {
                url: outside("/list"),
                id_field: "seq".to_owned(),
                ..JsonOptions::default()
            };
            plugin.poll(Poll::json(KIND, list, item).cron("* * * * * *"))
        }
        "connection" => {
            let url = format!("tcp://{}", std::env::var("LINE").unwrap_or_default());
            let connect = Connect::new(KIND, url, frame).frames(Form::Json);
            plugin.connect(connect.backoff("5ms", "20ms").stable("10ms"))
        }
        _ => plugin
            .outbound(Outbound::new(KIND, part))
            .assemble(Assemble::new(KIND, whole).silence("5m").max_age("10m")),
    };
    trunkline::run(plugin)
}
