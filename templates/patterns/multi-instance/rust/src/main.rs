//! Answers what has its account's keyword.

use std::process::ExitCode;

use serde_json::{Value, json};
use trunkline::{Context, InstanceContext, Outbound, OutboundMessage, Plugin, Reply, Result};

async fn start(ctx: InstanceContext) -> Result<Value> {
    let config: Value = ctx.config()?;
    Ok(json!({ "keyword": config["keyword"] })) // ctx.state from here on, of this account
}

async fn watch(message: OutboundMessage, ctx: Context) -> Result<Option<Reply>> {
    let state: Value = ctx.state()?;
    let keyword = state["keyword"].as_str().unwrap_or_default();
    if !message.text.unwrap_or_default().contains(keyword) {
        return Ok(None);
    }
    let seen = ctx.kv().update("seen", |n: Option<u64>| n.unwrap_or(0) + 1).await?;
    let text = format!("{} saw {seen}", ctx.instance());
    Ok(Some(Reply::new(json!({ "text": text }))))
}

fn plugin() -> Plugin {
    let watch = Outbound::new("watcher", watch);
    Plugin::new("{{name}}").on_start(start).outbound(watch)
}

fn main() -> ExitCode {
    trunkline::run(plugin())
}

#[cfg(test)]
mod tests;
