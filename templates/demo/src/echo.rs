//! The echo channel in Rust: what is sent to it comes back in.

use std::process::ExitCode;

use serde_json::json;
use trunkline::{Context, Json, Outbound, Plugin, Reply, Result};

/// Answers with what it got and when it got it; the receipt says `sent`, and both go with the ack.
async fn echo(mut payload: Json, _ctx: Context) -> Result<Reply> {
    let received_us = jiff::Timestamp::now().as_microsecond();
    payload["raw"] = json!({ "echo": { "received_us": received_us } });
    Ok(Reply::new(payload))
}

/// Runs the plugin until it is told to stop.
pub(crate) fn run() -> ExitCode {
    trunkline::run(
        Plugin::new("echo-rust")
            .version("0.1.0")
            .outbound(Outbound::new("rust", echo)),
    )
}
