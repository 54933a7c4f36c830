//! An agent that answers every message of every channel, and counts the turns of a conversation.

use trunkline::{Client, Context, InboundMessage, On, Reply, Result};

async fn answer(message: InboundMessage, ctx: Context) -> Result<Reply> {
    let turns = ctx
        .session()
        .kv()
        .update("turns", |n: Option<u64>| n.unwrap_or(0) + 1)
        .ttl("7d");
    let turns = turns.await?;
    Ok(Reply::new(format!(
        "{turns}: you said {}",
        message.text.unwrap_or_default()
    )))
}

fn main() -> std::process::ExitCode {
    let on = On::new("plugin.inbound.>", answer)
        .group("support")
        .timeout("2m");
    trunkline::run(Client::new("support").on(on))
}
