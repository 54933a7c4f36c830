//! Sends back what it is sent.

use std::process::ExitCode;

use trunkline::{Context, Json, Outbound, Plugin, Reply, Result};

async fn echo(payload: Json, _ctx: Context) -> Result<Reply> {
    Ok(Reply::new(payload))
}

fn plugin() -> Plugin {
    Plugin::new("{{name}}").outbound(Outbound::new("echo", echo))
}

fn main() -> ExitCode {
    trunkline::run(plugin())
}

#[cfg(test)]
mod tests;
