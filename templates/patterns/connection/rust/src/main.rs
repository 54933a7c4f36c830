//! A bot on a chat's gateway, over one WebSocket.
use serde_json::{Value, json};
use std::process::ExitCode;
use trunkline::{Batch, Connect, Context, Event, Outbound, OutboundMessage, Plugin, Result, Retry};

async fn frame(f: Value, ctx: Context) -> Result<Option<Batch>> {
    match f["op"].as_str() {
        Some("message") => {
            let message = json!({ "text": f["text"], "conversation": { "id": f["room"] } });
            let ack = json!({ "op": "ack", "seq": f["seq"] });
            return Ok(Some(Batch::new([Event::inbound(message)]).cursor(&f["seq"]).ack(ack)));
        }
        Some("reconnect") => return Err(Retry::after("0s").because("the server asked").into()),
        Some("hello") => {
            let beat = json!({ "op": "beat", "seq": "{cursor}" });
            let every = f["every"].as_str().unwrap_or("30s");
            ctx.conn().heartbeat(every, beat, json!({ "op": "beat_ack" }));
            let (token, resume) = (&ctx.config::<Value>()?["token"], ctx.conn().cursor::<u64>());
            ctx.conn().send(json!({ "op": "login", "token": token, "resume": resume })).await?;
        }
        _ => {}
    }
    Ok(None)
}
async fn send(message: OutboundMessage, ctx: Context) -> Result<()> {
    let room = message.conversation.map(|room| room.id);
    let say = json!({ "op": "say", "room": room, "text": message.text });
    ctx.conn().send(say).await?; // while there is no connection, the message waits
    Ok(())
}
fn plugin() -> Plugin {
    let connect = Connect::new("chat", "{config.url}", frame).idle("60s").fatal(&[4004]);
    Plugin::new("{{name}}").connect(connect).outbound(Outbound::new("chat", send).rate("5/s"))
}
fn main() -> ExitCode {
    trunkline::run(plugin())
}
#[cfg(test)]
mod tests;
