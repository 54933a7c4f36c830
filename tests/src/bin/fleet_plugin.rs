//! One account of a chat network of lines. Its config says whose it is, and whether it ends as soon as it starts, or
//! takes its time for it. Its first argument is the plugin's id, if that is not `fleet`.

use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;
use trunkline::{
    Batch, Connect, Context, Event, Form, InstanceContext, Json, NeedsAuth, Outbound, Plugin,
    Result,
};

/// The network lets go of what an order holds.
static RELEASED: Notify = Notify::const_new();

#[derive(Deserialize)]
struct Config {
    token: String,
    #[serde(default)]
    mood: String,
}

/// Takes three times as long as its manifest allows for a start; a patient one says what it waits for.
async fn start(ctx: InstanceContext) -> Result<()> {
    let config: Config = ctx.config()?;
    if config.mood != "patient" && config.mood != "silent" {
        return Ok(());
    }
    for step in 1..=6 {
        if config.mood == "patient" {
            let progress = ctx.progress().done(f64::from(step), 6.0);
            progress.tell(format!("scan the code, {step} of 6"));
        }
        let person = std::future::pending::<()>();
        let waited = tokio::time::timeout(Duration::from_millis(500), person).await;
        assert!(waited.is_err(), "nothing ends it but the time");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it is told to end at once")]
async fn frame(frame: Json, ctx: Context) -> Result<Option<Batch>> {
    match frame["op"].as_str().unwrap_or_default() {
        "hello" => {
            let config: Config = ctx.config()?;
            if config.mood == "crash" {
                std::process::exit(3);
            }
            let resume = ctx.conn().cursor::<u64>();
            let login = json!({ "op": "login", "token": config.token, "resume": resume });
            ctx.conn().send(login).await?;
        }
        "refused" => return Err(NeedsAuth::new("the network does not know the token").into()),
        "message" => {
            let text = frame["text"].as_str().unwrap_or_default();
            let payload = json!({ "text": text, "conversation": { "id": "room" } });
            let event = Event::inbound(payload).id(text).session(ctx.instance());
            let ack = json!({ "op": "ack", "seq": frame["seq"] });
            return Ok(Some(Batch::new([event]).cursor(&frame["seq"]).ack(ack)));
        }
        "release" => RELEASED.notify_one(),
        _ => {}
    }
    Ok(None)
}

async fn say(message: Json, ctx: Context) -> Result<()> {
    let delivery = ctx.delivery().map(|delivery| {
        json!({ "id": delivery.id, "attempt": delivery.attempt, "redelivered": delivery.redelivered })
    });
    let said = json!({
        "op": "say", "id": ctx.event_id(), "text": message["text"], "delivery": delivery,
        "session": ctx.event()?.session_id,
    });
    ctx.conn().send(said).await?;
    if message["hold"] == true {
        RELEASED.notified().await;
        ctx.conn().send(json!({ "op": "released" })).await?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let id = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "fleet".to_owned());
    let connect = Connect::new(&id, "tcp://{config.server}", frame)
        .frames(Form::Json)
        .backoff("50ms", "500ms");
    let outbound = Outbound::new(&id, say).timeout("2m");
    trunkline::run(
        Plugin::new(id)
            .version("0.1.0")
            .on_start(start)
            .connect(connect)
            .outbound(outbound),
    )
}
