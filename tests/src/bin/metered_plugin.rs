//! A plugin that does what an order says, so that what happened is known and can be compared with what is told.

use std::process::ExitCode;

use serde::Deserialize;
use trunkline::{Context, Event, InboundMessage, Json, On, Outbound, Plugin, Reject, Result};

#[derive(Deserialize)]
struct Order {
    #[serde(rename = "do")]
    what: String,
    #[serde(default)]
    lines: usize,
    #[serde(default)]
    text: String,
}

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

/// An answer to what comes in, so that one request goes all the way.
async fn answer(message: InboundMessage) -> Result<Event> {
    let order = serde_json::json!({ "do": "nothing", "text": message.text });
    Ok(Event::new("plugin.outbound.metered.main", "", order).session("c1"))
}

fn main() -> ExitCode {
    let plugin = Plugin::new("metered").outbound(Outbound::new("metered", obey));
    let plugin = match std::env::var("METERED_HOOKS") {
        Ok(_) => plugin
            .on(On::new("plugin.hook.metered.>", hooked).name("hooked"))
            .on(On::new("plugin.inbound.metered.>", answer).name("answer")),
        Err(_) => plugin,
    };
    trunkline::run(plugin)
}
