//! Where the SDK takes time and randomness from: one place, so that nothing else reads a clock.

use std::cell::RefCell;

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    jiff::Timestamp::now().as_millisecond().max(0) as u64
}

/// Random bytes, drawn from the system 1 KiB at a time.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    struct Pool {
        bytes: [u8; 1024],
        used: usize,
    }
    thread_local! {
        static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; 1024], used: 1024 }) };
    }
    POOL.with_borrow_mut(|pool| {
        if pool.used + N > pool.bytes.len() {
            getrandom::fill(&mut pool.bytes).expect("the system has a random source");
            pool.used = 0;
        }
        let mut out = [0; N];
        out.copy_from_slice(&pool.bytes[pool.used..pool.used + N]);
        pool.used += N;
        out
    })
}

/// A fresh event id.
pub(crate) fn new_id() -> String {
    trunkline_contract::id::uuid_v7(now_ms(), random())
}

/// A random number from 0 up to, not including, 1.
pub(crate) fn unit() -> f64 {
    let bits = u64::from_le_bytes(random()) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_differ_and_the_unit_number_stays_in_its_range() {
        assert_ne!(super::new_id(), super::new_id());
        assert!((0..1000).all(|_| (0.0..1.0).contains(&super::unit())));
    }
}
