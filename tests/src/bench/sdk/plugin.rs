//! The plugins of the benchmark on the Rust SDK: the core without a crossing.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use trunkline::{Bytes, Context, Json, On, Outbound, Plugin, Reply, Result};

use super::contestant::Form;

async fn reply(payload: Json) -> Result<Reply> {
    Ok(Reply::new(payload))
}

async fn reply_undecoded(payload: Bytes) -> Result<Reply> {
    Ok(Reply::new(payload))
}

async fn publish(payload: Json, ctx: Context) -> Result<()> {
    publish_any(payload, ctx).await
}

async fn publish_undecoded(payload: Bytes, ctx: Context) -> Result<()> {
    publish_any(payload, ctx).await
}

async fn publish_any(payload: impl Serialize, ctx: Context) -> Result<()> {
    let session = ctx.event()?.session_id.unwrap_or_default();
    let topic = format!("{}.reply", ctx.topic());
    let published = ctx.publish(topic, payload).session(session).await?;
    assert!(published.seq.is_some(), "a durable event has a number");
    Ok(())
}

async fn slow(_payload: Json) -> Result<()> {
    let never = std::future::pending::<()>();
    let waited = tokio::time::timeout(Duration::from_millis(10), never).await;
    assert!(waited.is_err(), "nothing ends it but the time");
    Ok(())
}

/// Runs the plugin of this form; undecoded, its handlers take and give the payload's bytes.
pub fn run(form: Form, is_undecoded: bool) -> ExitCode {
    const FILTER: &str = "plugin.tool.echo.>";
    let on = |on: On| Plugin::new("echo").on(on.name("work"));
    trunkline::run(match (form, is_undecoded) {
        (Form::Reply, false) => on(On::new(FILTER, reply)),
        (Form::Reply, true) => on(On::new(FILTER, reply_undecoded)),
        (Form::Publish, false) => on(On::new(FILTER, publish)),
        (Form::Publish, true) => on(On::new(FILTER, publish_undecoded)),
        (Form::Slow, _) => on(On::new(FILTER, slow)),
        (Form::Echo, false) => Plugin::new("echo").outbound(Outbound::new("echo", reply)),
        (Form::Echo, true) => Plugin::new("echo").outbound(Outbound::new("echo", reply_undecoded)),
    })
}
