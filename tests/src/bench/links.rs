//! Durable publishes over many links with one in flight each, from one thread.

use std::time::Instant;

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
    let payload = payload(bytes);
    let start = Instant::now();
    let each = links.iter().map(|client| {
        let payload = &payload;
        async move {
            let mut done = 0u64;
            while start.elapsed().as_secs_f64() < seconds {
                client.publish("agent.bench", payload).await?;
                done += 1;
            }
            anyhow::Ok(done)
        }
    });
    let mut sum = 0;
    let mut all: Vec<_> = each.map(Box::pin).collect();
    // Polled together on this one thread, as one process with many links would.
    let counts = std::future::poll_fn(|cx| {
        let mut index = 0;
        while index < all.len() {
            match all[index].as_mut().poll(cx) {
                std::task::Poll::Ready(count) => {
                    drop(all.swap_remove(index));
                    match count {
                        Ok(count) => sum += count,
                        Err(error) => return std::task::Poll::Ready(Err(error)),
                    }
                }
                std::task::Poll::Pending => index += 1,
            }
        }
        if all.is_empty() {
            std::task::Poll::Ready(Ok(sum))
        } else {
            std::task::Poll::Pending
        }
    })
    .await?;
    Ok(counts as f64 / start.elapsed().as_secs_f64())
}
