//! How full the disk is, as the store sees it.
//!
//! What counts is the store's share of what it could use: its own files against them and the free space of
//! their disk. So a large disk that others have nearly filled does not refuse a small store that still has
//! gigabytes of room, and a small disk is noticed before SQLite runs into its end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::runtime::Broker;

/// How often it looks. At full speed a disk takes longer than this to lose its last eight percent.
const INTERVAL: Duration = Duration::from_secs(2);

/// Tells the core how full the disk is until the core ends.
pub(super) async fn watch(data_dir: PathBuf, broker: Broker) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some((percent, free)) = used_percent(&data_dir) else {
            continue;
        };
        if broker
            .with(move |core| {
                core.set_disk(percent);
                core.set_disk_free(free);
            })
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The share of the disk, and the bytes that are free.
fn used_percent(data_dir: &Path) -> Option<(f64, u64)> {
    let disk = rustix::fs::statvfs(data_dir).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let own: u64 = ["store.db", "store.db-wal"]
        .iter()
        .filter_map(|name| data_dir.join(name).metadata().ok())
        .map(|file| file.len())
        .sum();
    let room = own.saturating_add(free);
    (room > 0).then(|| (own as f64 / room as f64 * 100.0, free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_store_uses_nothing_of_its_disk() {
        let dir = tempfile::tempdir().unwrap();
        assert!(used_percent(dir.path()).unwrap().0 < 1e-9);
        std::fs::write(dir.path().join("store.db"), vec![0; 1 << 20]).unwrap();
        let (used, _) = used_percent(dir.path()).unwrap();
        assert!(used > 0.0 && used < 100.0, "{used}");
    }
}
