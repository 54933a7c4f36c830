//! A plugin that does what an order says, so that what happened is known and can be compared with what is told.

use std::process::ExitCode;

use serde::Deserialize;
use trunkline::{
    Assemble, Context, Event, Json, On, Outbound, Part, Plugin, Reject, Result, Tool, Webhook,
    WebhookRequest,
};

#[derive(Deserialize)]
struct Order {
    #[serde(rename = "do")]
    what: String,
    #[serde(default)]
    lines: usize,
    #[serde(default)]
    text: String,
}

#[expect(clippy::disallowed_methods, reason = "it is told to end at once")]
async fn obey(order: Order, ctx: Context) -> Result<String> {
    let is_first = ctx.delivery().is_some_and(|delivery| delivery.attempt == 1);
    match order.what.as_str() {
        "reject" => return Err(Reject::new("no such number").into()),
        // It comes again to the next process.
        "exit" if is_first => std::process::exit(3),
        "write" => {
            for number in 0..order.lines {
                eprintln!("line {number} {}", order.text);
            }
        }
        "bring" => {
            let message = serde_json::json!({ "text": "in", "conversation": { "id": "c1" } });
            ctx.publish("plugin.inbound.metered.main", message).await?;
        }
        _ => {}
    }
    Ok("P1".to_owned())
}

/// What a provider posts becomes an inbound message of the account.
async fn hooked(_payload: Json) -> Result<Event> {
    let message = serde_json::json!({ "text": "hi", "conversation": { "id": "c1" } });
    Ok(Event::inbound(message).kind("metered"))
}

/// What a tool sees of the trace that it is called in.
async fn lookup(_arguments: Json, ctx: Context) -> Result<Json> {
    let event = ctx.event()?;
    Ok(serde_json::json!({ "traceparent": event.traceparent }))
}

/// What came in pieces is one message.
async fn whole(parts: Vec<Part<String>>) -> Result<Event> {
    let text: String = parts.iter().map(|part| part.data.as_str()).collect();
    let message = serde_json::json!({ "text": text, "conversation": { "id": parts[0].session } });
    Ok(Event::inbound(message).kind("metered"))
}

/// What comes in is a message as it stands, perhaps one of its own.
async fn came(request: WebhookRequest) -> Result<Event> {
    Ok(Event::inbound(request.json::<Json>()?).kind("metered"))
}

fn main() -> ExitCode {
    let plugin = Plugin::new("metered").outbound(Outbound::new("metered", obey));
    let plugin = if std::env::args().any(|argument| argument == "--hooks") {
        plugin
            .on(On::new("plugin.hook.metered.main", hooked).name("hooked"))
            .tool(Tool::new("lookup", lookup).input_schema(serde_json::json!({ "type": "object" })))
    } else if std::env::args().any(|argument| argument == "--sources") {
        plugin
            .assemble(Assemble::new("metered", whole).silence("30s"))
            .webhook(Webhook::new("metered", came).name("inbox"))
    } else {
        plugin
    };
    trunkline::run(plugin)
}
