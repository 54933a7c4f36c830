//! A plugin that keeps a connection to whatever its config names: lines of JSON, or an event stream.

use std::process::ExitCode;

use serde_json::json;
use trunkline::{Batch, Connect, Context, Event, Form, Json, Plugin, Result, Retry};

async fn frame(f: Json, ctx: Context) -> Result<Option<Batch>> {
    if let Some(data) = f.get("data") {
        let event = Event::inbound(json!({ "text": data["text"] }));
        return Ok(Some(Batch::new([event])));
    }
    Ok(match f["op"].as_str().unwrap_or_default() {
        "message" => Some(
            Batch::new([Event::inbound(json!({ "text": f["text"] }))])
                .cursor(&f["seq"])
                .ack(json!({ "op": "ack", "seq": f["seq"] })),
        ),
        "reconnect" => return Err(Retry::after("0s").because("the server asked").into()),
        "hello" => {
            let beat = json!({ "op": "beat", "seq": "{cursor}" });
            ctx.conn()
                .heartbeat("200ms", beat, json!({ "op": "beaten" }));
            let login = json!({ "op": "login", "resume": ctx.conn().cursor::<u64>() });
            ctx.conn().send(login).await?;
            None
        }
        _ => None,
    })
}

fn main() -> ExitCode {
    let connect = Connect::new("chat", "{config.url}", frame)
        .frames(Form::Json)
        .backoff("10ms", "100ms")
        .stable("50ms");
    // Then instances with one address have one connection between them.
    let connect = if std::env::args().any(|argument| argument == "--one-account") {
        connect.credential("{config.url}")
    } else {
        connect
    };
    trunkline::run(Plugin::new("chat").version("0.1.0").connect(connect))
}
