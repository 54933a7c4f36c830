//! The ten-line plugin: what agents send to kind `echo` comes back.

use trunkline::{Context, Json, Outbound, Plugin, Reply, Result};

async fn echo(payload: Json, _ctx: Context) -> Result<Reply> {
    Ok(Reply::new(payload))
}

fn plugin() -> Plugin {
    Plugin::new("echo").outbound(Outbound::new("echo", echo))
}

fn main() -> std::process::ExitCode {
    trunkline::run(plugin())
}
