//! Echo throughput: round trips per second with 64 in flight, on all processors; two events each, published,
//! delivered and settled. Beside it the raw relay with as many lines in flight.

use std::time::Instant;

use anyhow::Context;
use trunkline::{Client, Subscription};

use super::relay::Relay;
use super::rig::{Rig, runtime};
use super::round_trip::TEXT;
use super::table::{Figure, Target};

/// Round trips in flight.
const WINDOW: usize = 64;

/// A client that sends events and awaits the echoes.
pub struct Flow {
    client: Client,
    answers: Subscription,
}

impl Flow {
    /// Connects.
    ///
    /// # Errors
    /// When the daemon refuses it.
    pub async fn start(rig: &Rig) -> anyhow::Result<Self> {
        let client = rig.client("bench").await?;
        let answers = client
            .subscribe(["plugin.inbound.echo.>"])
            .name("answers")
            .credit(1024)
            .await?;
        Ok(Self { client, answers })
    }

    /// Sends so many and awaits as many. Gives round trips per second.
    ///
    /// # Errors
    /// When the daemon dies or refuses something.
    pub async fn run(&mut self, count: usize, is_ephemeral: bool) -> anyhow::Result<f64> {
        flow(&self.client, &mut self.answers, count, is_ephemeral).await
    }
}

/// Measures both kinds in every round.
///
/// # Errors
/// When a process dies or the daemon refuses something.
pub fn run(rounds: usize, count: usize) -> anyhow::Result<Vec<Figure>> {
    let rig = Rig::start(1)?;
    let mut relay = Relay::start()?;
    let runtime = runtime()?;
    let mut echoes = runtime.block_on(Flow::start(&rig))?;
    runtime.block_on(echoes.run(500, false))?;
    let (mut raw, mut light, mut durable) = (vec![], vec![], vec![]);
    for _ in 0..rounds {
        raw.push(relay.throughput(count * 2, WINDOW)?);
        light.push(runtime.block_on(echoes.run(count, true))?);
        durable.push(runtime.block_on(echoes.run(count / 3, false))?);
    }
    Ok(vec![
        Figure::new("raw relay, 64 in flight, round trips/s", None, &raw),
        Figure::new(
            "ephemeral echo, round trips/s",
            Some(Target::AtLeast(50_000.0)),
            &light,
        ),
        Figure::ratio("ephemeral echo / relay", None, &light, &raw),
        Figure::new(
            "durable echo, round trips/s",
            Some(Target::AtLeast(15_000.0)),
            &durable,
        ),
        Figure::ratio("durable echo / relay", None, &durable, &raw),
    ])
}

async fn flow(
    client: &Client,
    answers: &mut Subscription,
    count: usize,
    ephemeral: bool,
) -> anyhow::Result<f64> {
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(WINDOW));
    let start = Instant::now();
    let sender = async {
        let mut publishes = tokio::task::JoinSet::new();
        for number in 0..count {
            let permit = permits.clone().acquire_owned().await?;
            // The permit comes back with the answer, below.
            permit.forget();
            let publish = client
                .publish("plugin.outbound.echo", serde_json::json!({ "text": TEXT }))
                .session(format!("s{}", number % WINDOW));
            let publish = if ephemeral {
                publish.ephemeral()
            } else {
                publish
            };
            publishes.spawn(async move { publish.await });
            while let Some(done) = publishes.try_join_next() {
                done??;
            }
        }
        while let Some(done) = publishes.join_next().await {
            done??;
        }
        anyhow::Ok(())
    };
    let receiver = async {
        for _ in 0..count {
            let answer = answers.next().await.context("the subscription ended")?;
            answer.ack();
            permits.add_permits(1);
        }
        anyhow::Ok(())
    };
    tokio::try_join!(sender, receiver)?;
    Ok(count as f64 / start.elapsed().as_secs_f64())
}
