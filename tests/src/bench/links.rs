//! Durable publishes over many links with one in flight each, from one thread.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

/// A text of this length.
pub(super) fn payload(bytes: usize) -> String {
    // Incompressible enough: nobody compresses here, and ids differ anyway.
    (0..bytes)
        .map(|i| char::from(b'a' + (i * 7 % 26) as u8))
        .collect()
}

/// Publishes on every link at once, and gives events per second.
pub(super) async fn publish_links(
    links: &[trunkline::Client],
    bytes: usize,
    seconds: f64,
) -> anyhow::Result<f64> {
    let payload: Arc<str> = payload(bytes).into();
    let start = Instant::now();
    // Tasks of this one thread, as one process with many links has.
    let mut each = JoinSet::new();
    for client in links {
        let (client, payload) = (client.clone(), payload.clone());
        each.spawn(async move {
            let mut done = 0u64;
            while start.elapsed().as_secs_f64() < seconds {
                client.publish("agent.bench", &*payload).await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    let mut sum = 0;
    while let Some(done) = each.join_next().await {
        sum += done??;
    }
    Ok(sum as f64 / start.elapsed().as_secs_f64())
}
