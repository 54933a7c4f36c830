//! A plugin whose hooks are seen: each says its name on stdout.

use std::process::ExitCode;

use trunkline::{InstanceContext, Json, Outbound, OutboundMessage, Plugin, Reply, Result};

async fn start(_ctx: InstanceContext) -> Result<()> {
    println!("start");
    Ok(())
}

async fn stop(_ctx: InstanceContext, _reason: String) -> Result<()> {
    println!("stop");
    Ok(())
}

async fn echo(message: OutboundMessage) -> Result<Reply> {
    let text = message.text.unwrap_or_default();
    Ok(Reply::new(Json::from_iter([("text", text)])))
}

fn main() -> ExitCode {
    let plugin = Plugin::new("lives").version("0.1.0");
    let plugin = plugin.on_start(start).on_stop(stop);
    trunkline::run(plugin.outbound(Outbound::new("lives", echo)))
}
