//! Time and chance: the one place that asks the machine for either.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "ids carry the time of day, and this is where it comes from"
)]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// 64 random bits, of the keys that the standard library draws for its maps.
fn bits() -> u64 {
    RandomState::new().hash_one(now_ms())
}

/// A random number from 0 up to, not including, 1.
pub(crate) fn unit() -> f64 {
    (bits() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A fresh id for a line: the protocol gives its lines none.
pub(crate) fn line_id() -> String {
    uuid_v7(now_ms(), bits(), bits())
}

/// Writes a UUID of version 7: 48 bits of milliseconds, then 74 of chance.
fn uuid_v7(at_ms: u64, first: u64, second: u64) -> String {
    let (high, low) = (at_ms >> 16 & 0xffff_ffff, at_ms & 0xffff);
    let (a, b) = (0x7000 | first & 0x0fff, 0x8000 | first >> 16 & 0x3fff);
    format!(
        "{high:08x}-{low:04x}-{a:04x}-{b:04x}-{:012x}",
        second & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_time_its_version_and_its_variant() {
        let id = uuid_v7(0x0123_4567_89ab, u64::MAX, 0);
        assert_eq!(id, "01234567-89ab-7fff-bfff-000000000000");
        assert_ne!(line_id(), line_id());
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&unit())));
    }
}
