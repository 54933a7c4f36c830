//! A round trip, one at a time: client → daemon → Rust plugin → daemon → client, everything on one processor,
//! beside the raw relay over the same four hops and the disk's own sync.

use std::time::{Duration, Instant};

use anyhow::Context;
use trunkline::{Client, Subscription};

use super::relay::Relay;
use super::rig::{Rig, p50_us, pin, runtime, sync_p50_us, unpin};
use super::table::{Figure, Target};

/// Payload of a message.
pub(super) const TEXT: &str = "a line of chat that is about as long as people write, now and then";

/// One echo there and back.
pub(super) async fn echo_once(
    client: &Client,
    answers: &mut Subscription,
    ephemeral: bool,
) -> anyhow::Result<()> {
    let publish = client
        .publish("plugin.outbound.echo", serde_json::json!({ "text": TEXT }))
        .session("bench");
    let publish = if ephemeral {
        publish.ephemeral()
    } else {
        publish
    };
    let publish = tokio::spawn(async move { publish.await });
    let answer = answers.next().await.context("the subscription ended")?;
    answer.ack();
    publish.await??;
    Ok(())
}

/// Measures both kinds in every round.
///
/// # Errors
/// When a process dies or the daemon refuses something.
pub fn run(rounds: usize, count: usize) -> anyhow::Result<Vec<Figure>> {
    pin(0)?;
    let rig = Rig::start(1)?;
    let mut relay = Relay::start()?;
    let runtime = runtime()?;
    let (mut raw, mut light, mut durable, mut sync) = (vec![], vec![], vec![], vec![]);
    let (mut client, mut answers) = runtime.block_on(async {
        let client = rig.client("bench").await?;
        let answers = client
            .subscribe(["plugin.inbound.echo.>"])
            .name("answers")
            .await?;
        anyhow::Ok((client, answers))
    })?;
    runtime.block_on(warm(&mut client, &mut answers))?;
    for _ in 0..rounds {
        raw.push(relay.round_trips(count)?);
        light.push(runtime.block_on(many(&client, &mut answers, count, true))?);
        sync.push(sync_p50_us(rig.home.path(), 200)?);
        durable.push(runtime.block_on(many(&client, &mut answers, count / 4, false))?);
    }
    unpin()?;
    let bound: Vec<f64> = sync
        .iter()
        .zip(&raw)
        .map(|(sync, raw)| 2.0 * sync + 10.0 * raw)
        .collect();
    Ok(vec![
        Figure::new("raw relay, p50 us", None, &raw),
        Figure::new("fdatasync, p50 us", None, &sync),
        Figure::new("ephemeral round trip, p50 us", None, &light),
        Figure::ratio(
            "ephemeral round trip / relay",
            Some(Target::AtMost(3.0)),
            &light,
            &raw,
        ),
        Figure::new("durable round trip, p50 us", None, &durable),
        Figure::ratio(
            "durable round trip / (2 fdatasync + 10 relay)",
            Some(Target::AtMost(1.0)),
            &durable,
            &bound,
        ),
    ])
}

async fn warm(client: &mut Client, answers: &mut Subscription) -> anyhow::Result<()> {
    // The first one also waits for the plugin to be ready.
    for _ in 0..50 {
        echo_once(client, answers, false).await?;
    }
    Ok(())
}

async fn many(
    client: &Client,
    answers: &mut Subscription,
    count: usize,
    ephemeral: bool,
) -> anyhow::Result<f64> {
    let mut latencies: Vec<Duration> = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        echo_once(client, answers, ephemeral).await?;
        latencies.push(start.elapsed());
    }
    Ok(p50_us(&mut latencies))
}
