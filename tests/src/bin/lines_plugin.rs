//! A bot on IRC that is made of engines alone: a connection of lines, and an outbound adapter with a rate.

use std::process::ExitCode;

use serde_json::json;
use trunkline::{Connect, Context, Event, Outbound, OutboundMessage, Plugin, Result};

const ROOM: &str = "#lobby";

/// Takes a line of the server: `[:<who> ]<command> <arguments>`.
async fn line(line: String, ctx: Context) -> Result<Option<Event>> {
    if let Some(token) = line.strip_prefix("PING ") {
        ctx.conn().send(format!("PONG {token}")).await?;
        return Ok(None);
    }
    let Some((who, said)) = line.strip_prefix(':').and_then(|rest| rest.split_once(' ')) else {
        return Ok(None);
    };
    if said.starts_with("001 ") {
        ctx.conn().send(format!("JOIN {ROOM}")).await?;
    }
    let text = said.strip_prefix(&format!("PRIVMSG {ROOM} :"));
    let who = who.split('!').next().unwrap_or_default();
    Ok(text.map(|text| {
        let (sender, conversation) = (json!({ "id": who }), json!({ "id": ROOM }));
        Event::inbound(json!({ "text": text, "sender": sender, "conversation": conversation }))
    }))
}

async fn say(message: OutboundMessage, ctx: Context) -> Result<()> {
    let text = message.text.unwrap_or_default();
    ctx.conn().send(format!("PRIVMSG {ROOM} :{text}")).await?;
    Ok(())
}

fn main() -> ExitCode {
    let connect = Connect::new("lines", "tcp://{config.server}", line)
        .greeting("NICK {config.nick}")
        .greeting("USER {config.nick} 0 * :{config.nick}")
        .backoff("50ms", "200ms");
    let says = Outbound::new("lines", say).rate("2/s");
    trunkline::run(
        Plugin::new("lines")
            .version("0.1.0")
            .connect(connect)
            .outbound(says),
    )
}
