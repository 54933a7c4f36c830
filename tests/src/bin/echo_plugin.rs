//! Sends back what it is sent.

use trunkline::{Context, Json, Outbound, Plugin, Reply, Result};

async fn echo(payload: Json, _ctx: Context) -> Result<Reply> {
    Ok(Reply::new(payload))
}

fn plugin() -> Plugin {
    Plugin::new("echo")
        .version("0.1.0")
        .outbound(Outbound::new("echo", echo))
}

fn main() -> std::process::ExitCode {
    trunkline::run(plugin())
}
