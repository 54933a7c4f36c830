//! The plugin whose instances share a process: it says which of them it is, and what it knows; the same in
//! `tests/sdk/shared.py` and `tests/sdk/shared.mjs`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::json;
use trunkline::{Context, InstanceContext, Json, Outbound, Plugin, Reply, Result};

/// Starts of instances in this process.
static LIVES: AtomicU64 = AtomicU64::new(0);

#[derive(Deserialize)]
struct Config {
    mark: String,
}

async fn start(ctx: InstanceContext) -> Result<Json> {
    let config: Config = ctx.config()?;
    if config.mark == "broken" {
        return Err(std::io::Error::other("this one never starts").into());
    }
    ctx.log().info(format!("my mark is {}", config.mark));
    Ok(json!({ "life": LIVES.fetch_add(1, Ordering::Relaxed) }))
}

async fn handle(order: Json, ctx: Context) -> Result<Reply> {
    let count = ctx
        .kv()
        .update("count", |n: Option<u64>| n.unwrap_or(0) + 1)
        .await?;
    match order["do"].as_str() {
        Some("raise") => return Err(std::io::Error::other("as it was told").into()),
        Some("wait") => ctx.cancelled().await,
        _ => {}
    }
    let config: Config = ctx.config()?;
    let state: Json = ctx.state()?;
    Ok(Reply::new(json!({
        "instance": ctx.instance(), "mark": config.mark, "life": state["life"], "count": count,
        "pid": std::process::id(), "number": order["number"],
    })))
}

fn main() -> ExitCode {
    let outbound = Outbound::new("guest", handle).timeout("2m");
    trunkline::run(Plugin::new("guest").on_start(start).outbound(outbound))
}
