//! Whether the host's loop turns: what is not taken in time makes the instances degraded.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::queue::HostMsg;
use super::service::Host;

/// How old the oldest message may get that nobody takes, unless said otherwise.
const BLOCKED_MS: u64 = 5000;

/// Names the limit in the environment, in milliseconds.
const BLOCKED_VARIABLE: &str = "TRUNKLINE_BLOCKED_MS";

/// Reads the limit of this process; what is no number is as if it were not there.
pub(super) fn limit_ms() -> u64 {
    let given = std::env::var(BLOCKED_VARIABLE).ok();
    let given = given.and_then(|text| text.trim().parse::<u64>().ok());
    given.map_or(BLOCKED_MS, |ms| ms.max(10))
}

/// Watches the loop for as long as the core lives.
pub(super) async fn watch(host: Host) {
    let host = host.weak();
    let mut is_blocked = false;
    loop {
        let Some(limit_ms) = host
            .upgrade()
            .map(|inner| inner.blocked_ms.load(Ordering::Relaxed))
        else {
            return;
        };
        // Looked at twice within the limit, so that a blocked loop is known before twice the limit.
        tokio::time::sleep(Duration::from_millis((limit_ms / 2).max(1))).await;
        let Some(host) = host.upgrade().map(Host::of) else {
            return;
        };
        if host.inner().serving.load(Ordering::Acquire) == 0 {
            continue;
        }
        let lag_ms = host.lag_ms();
        let instances = host.handles().instances();
        for instance in &instances {
            if let Some(link) = instance.hub().link() {
                link.set_lag_ms(lag_ms);
            }
        }
        if lag_ms > limit_ms && !is_blocked {
            is_blocked = true;
            let reason = format!("the event loop has been blocked for {lag_ms} ms");
            tracing::warn!("{reason}.");
            for instance in &instances {
                instance.degraded(&reason);
            }
        } else if lag_ms <= limit_ms && is_blocked {
            is_blocked = false;
            tracing::info!("The event loop turns again.");
            for instance in &instances {
                instance.ready();
            }
        }
        if lag_ms == 0 {
            host.push(HostMsg::Beat);
        }
    }
}
