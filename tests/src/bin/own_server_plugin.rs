//! A plugin with an HTTP server of its own in Rust; the same in `tests/sdk/own_server.py`.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::ExitCode;

use trunkline::{Error, InstanceContext, Json, Listener, Outbound, Plugin, Result};

const BODY: &str = "{\"language\":\"rust\"}";

fn answer(stream: impl Read + Write) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    let length = BODY.len();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let stream = stream.get_mut();
    stream.write_all(head.as_bytes())?;
    stream.write_all(BODY.as_bytes())
}

fn serve(listener: &Listener) -> std::io::Result<()> {
    loop {
        match listener {
            Listener::Unix(listener) => answer(listener.accept()?.0)?,
            Listener::Tcp(listener) => answer(listener.accept()?.0)?,
        }
    }
}

fn begin(ctx: &InstanceContext) -> Result<(), Error> {
    let listener = ctx.listener()?;
    std::thread::spawn(move || serve(&listener));
    Ok(())
}

async fn start(ctx: InstanceContext) -> Result<()> {
    if let Err(error) = begin(&ctx) {
        ctx.degraded(format!("{}: {}", error.code.as_str(), error.message));
    }
    Ok(())
}

async fn nothing(_payload: Json) -> Result<()> {
    Ok(())
}

fn main() -> ExitCode {
    let plugin = Plugin::new("board").version("0.1.0").on_start(start);
    trunkline::run(plugin.outbound(Outbound::new("board", nothing)))
}
