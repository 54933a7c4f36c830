//! A plugin that prints all the time: its prints are its log, and never touch the link.

use trunkline::{Json, Outbound, Plugin, Reply, Result};

async fn echo(payload: Json) -> Result<Reply> {
    print!("{{\"jsonrpc\":\"2.0\",\"id\":1");
    println!("{}", "x".repeat(1 << 16));
    Ok(Reply::new(payload))
}

fn main() -> std::process::ExitCode {
    println!("before the handshake");
    trunkline::run(Plugin::new("echo").outbound(Outbound::new("echo", echo)))
}
