//! Sizes: an idle daemon's memory, a hundred plugins at once, a million events waiting.

use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::rig::{Rig, runtime};
use super::table::{Figure, Target};

/// Plugins started at once.
const PLUGINS: usize = 100;
/// Publishes in flight while the backlog is made.
const PUBLISHES: usize = 1024;

/// Idle memory and the start of many plugins, a fresh daemon per round.
///
/// # Errors
/// When a process dies or the daemon refuses something.
pub fn starts(rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let (mut idle, mut ready) = (vec![], vec![]);
    for _ in 0..rounds {
        let rig = Rig::start(0)?;
        runtime()?.block_on(async {
            rig.client("bench").await?.close().await;
            anyhow::Ok(())
        })?;
        idle.push(rig.resident_bytes()? as f64 / f64::from(1 << 20));
        drop(rig);
        let start = Instant::now();
        let rig = Rig::start(PLUGINS)?;
        runtime()?.block_on(rig.ready(PLUGINS))?;
        ready.push(start.elapsed().as_secs_f64());
    }
    Ok(vec![
        Figure::new(
            "idle daemon, MB resident",
            Some(Target::AtMost(20.0)),
            &idle,
        ),
        Figure::new(
            "100 Rust echo plugins ready, s",
            Some(Target::AtMost(3.0)),
            &ready,
        ),
    ])
}

/// A million undelivered events: how fast the daemon starts on them, and whether the last are delivered as fast
/// as the first.
///
/// # Errors
/// When a process dies or the daemon refuses something.
pub fn backlog(events: usize, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let rig = Rig::start(0)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let client = rig.client("bench").await?;
        for round in 0..rounds {
            // Each round drains a subscription of its own.
            drop(
                client
                    .subscribe(["agent.backlog"])
                    .name(format!("drain{round}"))
                    .await?,
            );
        }
        let mut publishes = tokio::task::JoinSet::new();
        for number in 0..events {
            if publishes.len() >= PUBLISHES {
                publishes.join_next().await.context("there are some")???;
            }
            let publish = client.publish("agent.backlog", json!({ "number": number }));
            publishes.spawn(async move { publish.await });
        }
        while let Some(done) = publishes.join_next().await {
            done??;
        }
        client.close().await;
        anyhow::Ok(())
    })?;
    let mut home = Some(rig.kill()?);
    let (mut ready, mut evenness) = (vec![], vec![]);
    for round in 0..rounds {
        let start = Instant::now();
        let rig = Rig::start_in(home.take().context("given back below")?, 0)?;
        ready.push(start.elapsed().as_secs_f64());
        evenness.push(runtime.block_on(drain(&rig, round, events))?);
        home = Some(rig.kill()?);
    }
    Ok(vec![
        Figure::new(
            "ready with 1 M undelivered events, s",
            Some(Target::AtMost(0.3)),
            &ready,
        ),
        Figure::new(
            "last tenth / first tenth of the drain",
            Some(Target::AtLeast(0.8)),
            &evenness,
        ),
    ])
}

async fn drain(rig: &Rig, round: usize, events: usize) -> anyhow::Result<f64> {
    let client = rig.client("bench").await?;
    let name = format!("drain{round}");
    let mut waiting = client
        .subscribe(["agent.backlog"])
        .name(name)
        .credit(1024)
        .await?;
    let tenth = events / 10;
    let (mut first, mut last) = (0.0, 0.0);
    let mut start = Instant::now();
    for number in 0..events {
        let event = waiting.next().await.context("the subscription ended")?;
        ensure!(
            event.payload::<Value>()?["number"] == number,
            "out of order at {number}"
        );
        event.ack();
        if (number + 1) % tenth == 0 {
            let rate = tenth as f64 / start.elapsed().as_secs_f64();
            start = Instant::now();
            if number + 1 == tenth {
                first = rate;
            }
            last = rate;
        }
    }
    client.close().await;
    Ok(last / first)
}
