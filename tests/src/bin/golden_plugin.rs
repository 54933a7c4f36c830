//! The plugin of the golden transcripts in Rust: an order says what to do; the same in `tests/sdk/golden.py` and
//! `tests/sdk/golden.mjs`.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use trunkline::{
    Batch, Bytes, Code, Context, Error, Event, Fatal, InstanceContext, Json, NeedsAuth, On,
    Outbound, Outcome, Plugin, Receipt, Reject, Reply, Result, Retry, RetryLater, State, Tool,
    ToolError, ToolStep,
};
use trunkline::{Failure, IntoOutcome};

const INBOUND: &str = "plugin.inbound.golden.default";

#[derive(Deserialize)]
struct Order {
    #[serde(rename = "do")]
    what: String,
    value: Option<Box<RawValue>>,
    topic: Option<String>,
}

fn fault(error: &Error) -> Reply {
    let retryable = error.code.retryable();
    Reply::new(json!({ "code": error.code, "message": error.message, "retryable": retryable }))
}

fn shown(ctx: &Context) -> Result<Json> {
    let event = ctx.event()?;
    let delivery = ctx.delivery();
    Ok(json!({
        "attempt": delivery.map(|delivery| delivery.attempt),
        "blobs": event.blobs,
        "causation_id": event.causation_id,
        "correlation_id": event.correlation_id,
        "expires_at": event.expires_at,
        "id": event.id,
        "idempotency_key": ctx.idempotency_key(),
        "metadata": event.metadata,
        "raw": ctx.payload_text(),
        "redelivered": delivery.map(|delivery| delivery.redelivered),
        "session_id": event.session_id,
        "session_key": event.session_key(),
        "source": event.source,
        "timestamp": event.timestamp,
        "topic": ctx.topic(),
        "traceparent": event.traceparent,
    }))
}

async fn publish(ctx: &Context, payload: impl serde::Serialize, topic: &str) -> Reply {
    match ctx.publish(topic, payload).await {
        Ok(done) => Reply::new(
            json!({ "duplicate": done.duplicate, "matched": done.matched, "seq": done.seq }),
        ),
        Err(error) => fault(&error),
    }
}

async fn handle(order: Order, ctx: Context) -> Result<Outcome> {
    Ok(match order.what.as_str() {
        "reply" => Reply::new(order.value).into_outcome(),
        "text" => "P-1".into_outcome(),
        "receipt" => Receipt::new(State::Delivered)
            .provider_id("P-2")
            .into_outcome(),
        "retry" => return Err(Retry::after("30s").because("later").into()),
        "retry_uncounted" => {
            return Err(Retry::after("1s").because("not yet").uncounted().into());
        }
        "retry_bare" => return Err(Retry::after("5").because("a bare number").into()),
        "reject" => return Err(Reject::new("no such number").code("bad_number").into()),
        "fail" => return Err(Failure::new("boom")),
        "error" => return Err(Error::new(Code::Unavailable, "the network is away").into()),
        "needs_auth" => {
            let error = NeedsAuth::new("log in again").url("https://example.com/login");
            return Err(error.into());
        }
        "retry_later" => return Err(RetryLater::new("the network is away").after("30s").into()),
        "fatal" => return Err(Fatal::new("the account is gone").into()),
        "event" => {
            Event::inbound(json!({ "conversation": { "id": "7" }, "text": "one" })).into_outcome()
        }
        "batch" => Batch::new([
            Event::inbound(json!({ "text": "one" })).id("own-1"),
            Event::new("agent.note", "", json!({ "text": "two" })),
        ])
        .put("seen", order.what)
        .into_outcome(),
        "publish" => publish(&ctx, json!({ "n": 1 }), INBOUND)
            .await
            .into_outcome(),
        "publish_to" => {
            let topic = order.topic.unwrap_or_default();
            publish(&ctx, json!({ "n": 1 }), &topic)
                .await
                .into_outcome()
        }
        "publish_through" => {
            ctx.publish("agent.note", json!({ "n": 1 })).await?;
            Outcome::Nothing
        }
        "publish_nan" => publish(&ctx, Numbers { n: [1.0, f64::NAN] }, INBOUND)
            .await
            .into_outcome(),
        "publish_infinity" => publish(
            &ctx,
            Numbers {
                n: f64::NEG_INFINITY,
            },
            INBOUND,
        )
        .await
        .into_outcome(),
        "reply_nan" => Reply::new(Numbers { n: f64::NAN }).into_outcome(),
        "reply_now" => {
            ctx.reply(json!({ "text": "at once" })).await?;
            Outcome::Nothing
        }
        "kv" => {
            let revision = ctx.kv().put("count", 1).await?;
            let found: Option<Json> = ctx.kv().get("count").await?;
            Reply::new(json!({ "found": found, "revision": revision })).into_outcome()
        }
        "kind" => Event::new("agent.seen", "", json!({ "kind": ctx.kind() })).into_outcome(),
        "show" => Reply::new(shown(&ctx)?).into_outcome(),
        "print" => {
            print!("no newline");
            std::io::stdout().flush()?;
            publish(&ctx, json!({ "n": 1 }), INBOUND)
                .await
                .into_outcome()
        }
        _ => Outcome::Nothing,
    })
}

#[derive(serde::Serialize)]
struct Numbers<T> {
    n: T,
}

async fn slow(_order: Bytes, _ctx: Context) -> Result<()> {
    std::future::pending().await
}

async fn every(_order: Bytes, ctx: Context) -> Result<Event> {
    Ok(Event::new("agent.seen", "", shown(&ctx)?))
}

async fn obey(order: Bytes, ctx: Context) -> Result<Bytes> {
    let order: Order = order.json()?;
    let answer = match order.what.as_str() {
        "value" => Bytes::encode(&order.value)?,
        "error" => return Err(ToolError::new("too old").code("too_old").retryable().into()),
        "known" => return Err(ToolError::new("no such charge").code("not_found").into()),
        "retry" => return Err(Retry::after("3s").because("busy").into()),
        "reject" => return Err(Reject::new("no").code("invalid_arguments").into()),
        "fail" => return Err(Failure::new("boom")),
        "nan" => Bytes::encode(&Numbers { n: f64::NAN })?,
        "show" => Bytes::encode(&json!({
            "caller": ctx.caller(),
            "delivery": ctx.delivery().is_some(),
            "idempotency_key": ctx.idempotency_key(),
            "session_id": ctx.session().id(),
            "topic": ctx.topic(),
        }))?,
        "publish" => {
            let done = ctx.publish("agent.note", json!({ "n": 1 })).await?;
            Bytes::encode(&done.seq)?
        }
        "progress" => {
            let progress = ctx.progress().done(1.0, 2.0).data(json!({ "n": 1 }));
            progress.tell("half");
            Bytes::default()
        }
        "wait" => {
            ctx.progress().tell("began");
            std::future::pending().await
        }
        "call" => {
            let call = ctx.call_tool::<Box<RawValue>>("other.inner", json!({ "n": 1 }));
            match call.timeout("2s").idempotency_key("k").await {
                Ok(result) => Bytes::encode(&result)?,
                Err(error) => Bytes::encode(&json!({
                    "code": error.code, "message": error.message, "retryable": error.retryable(),
                }))?,
            }
        }
        "steps" => {
            let call = ctx.call_tool::<Json>("other.inner", json!({}));
            let mut call = call.timeout("2s").instance("a");
            let mut steps = Vec::new();
            while let Some(step) = call.next().await {
                steps.push(match step {
                    ToolStep::Progress { message, data, .. } => json!(["progress", data, message]),
                    ToolStep::Chunk(data) => json!(["chunk", data.json::<Json>()?, null]),
                });
            }
            Bytes::encode(&json!({ "result": call.await?, "steps": steps }))?
        }
        _ => Bytes::default(),
    };
    Ok(answer)
}

async fn count(order: Json, ctx: Context) -> Result<()> {
    let to = order["to"].as_u64().unwrap_or_default();
    ctx.progress().done(0.0, to as f64).tell("counting");
    for n in 0..to {
        ctx.chunk(format!("{n} ")).await?;
    }
    Ok(())
}

async fn start(ctx: InstanceContext) -> Result<()> {
    let config: Json = ctx.config()?;
    match config["start"].as_str() {
        Some("needs_auth") => Err(NeedsAuth::new("log in")
            .url("https://example.com/login")
            .into()),
        Some("retry_later") => Err(RetryLater::new("the network is away").after("30s").into()),
        Some("fatal") => Err(Fatal::new("no such account").into()),
        Some("fail") => Err(Failure::new("boom")),
        Some("publish") => {
            let text = json!({ "text": "before the first event" });
            ctx.publish(INBOUND, text).id("first").await?;
            Ok(())
        }
        Some("progress") => {
            let scan = ctx.progress().done(1.0, 2.0).data(json!({ "qr": "2@abc" }));
            scan.tell("scan the code");
            ctx.progress().tell("signing in");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn said(what: &str) -> Result<()> {
    let path = std::env::var("GOLDEN_HOOKS")?;
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(format!("{what}\n").as_bytes())?)
}

async fn stop(ctx: InstanceContext, _reason: String) -> Result<()> {
    said("stop")?;
    let config: Json = ctx.config()?;
    if config["stop"] == "fail" {
        return Err(Failure::new("boom"));
    }
    Ok(())
}

async fn config(_ctx: InstanceContext, new: Json) -> Result<()> {
    let level = new["level"].as_str().unwrap_or_default();
    said(&format!("config {level}"))?;
    match level {
        "bad" => Err(Reject::new("level must not be bad")
            .code("bad_level")
            .into()),
        "boom" => Err(Failure::new("boom")),
        _ => Ok(()),
    }
}

fn main() -> ExitCode {
    let plugin = Plugin::new("golden")
        .version("0.1.0")
        .credit(8, 65536)
        .outbound(Outbound::new("golden", handle))
        .on(On::new("agent.ask", handle).name("ask"))
        .on(On::new("agent.slow", slow).name("slow").timeout("300ms"))
        .on(On::new("agent.>", every).name("every"))
        .tool(
            Tool::new("obey", obey)
                .input_schema(json!({ "type": "object" }))
                .description("Do what is said.")
                .timeout("20s")
                .concurrency(200),
        )
        .tool(
            Tool::new("count", count)
                .input_schema(json!({ "type": "object" }))
                .output_schema(json!({ "type": "string" }))
                .idempotent()
                .streaming(),
        )
        .on_start(start)
        .on_stop(stop)
        .on_config(config)
        .on_pause(async |_, reason: String| said(&format!("pause {reason}")))
        .on_resume(async |_, _: String| said("resume"));
    trunkline::run(plugin)
}
