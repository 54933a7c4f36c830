//! Time as a parameter: everything that decides is told what time it is.
//!
//! Durations are judged by the monotonic reading, instants on the wire (`expires_at`, `stored_at`) by the
//! wall reading, and order by neither: order is the store's `seq`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// One reading of both clocks, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Milliseconds since an arbitrary start; never runs backwards.
    pub mono_ms: u64,
    /// Milliseconds since the Unix epoch; may jump either way.
    pub wall_ms: i64,
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Reads both clocks.
    fn now(&self) -> Now;

    /// Reads the monotonic clock in microseconds, to tell how long something took.
    fn micros(&self) -> u64 {
        self.now().mono_ms * 1_000
    }
}

/// The machine's clocks. The monotonic one stops while the machine is suspended, so that a suspend does
/// not expire every lease at once.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// Starts counting now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the real clock enters"
    )]
    pub fn new() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the real clock enters"
    )]
    fn now(&self) -> Now {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64);
        Now {
            mono_ms: self.start.elapsed().as_millis() as u64,
            wall_ms: wall,
        }
    }

    fn micros(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// A clock that moves only when told, for simulations and the test broker.
#[derive(Debug)]
pub struct VirtualClock {
    elapsed_ms: AtomicU64,
    wall_start: i64,
    wall_shift: Mutex<i64>,
}

impl VirtualClock {
    /// Starts at monotonic 0 and the given wall time.
    pub fn new(wall_ms: i64) -> Self {
        Self {
            elapsed_ms: AtomicU64::new(0),
            wall_start: wall_ms,
            wall_shift: Mutex::new(0),
        }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, ms: u64) {
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Makes the wall clock jump, as an operator or NTP does.
    pub fn jump_wall(&self, ms: i64) {
        *self.wall_shift.lock().expect("no panic while held") += ms;
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        let mono_ms = self.elapsed_ms.load(Ordering::SeqCst);
        let shift = *self.wall_shift.lock().expect("no panic while held");
        Now {
            mono_ms,
            wall_ms: self.wall_start + mono_ms as i64 + shift,
        }
    }
}

/// Where chance comes from (jitter, tokens), so that a seed replays a run.
pub trait Random: Send {
    /// A number in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// 64 random bits.
    fn bits(&mut self) -> u64;
}

/// The operating system's randomness, fetched in pieces: a system call per event id would be felt.
#[derive(Debug)]
pub struct SystemRandom {
    fetched: [u8; 1024],
    used: usize,
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self {
            fetched: [0; 1024],
            used: 1024,
        }
    }
}

impl Random for SystemRandom {
    fn bits(&mut self) -> u64 {
        if self.used == self.fetched.len() {
            getrandom::fill(&mut self.fetched)
                .expect("the kernel's random source is always there on Linux");
            self.used = 0;
        }
        let (_, rest) = self.fetched.split_at(self.used);
        self.used += 8;
        u64::from_le_bytes(*rest.first_chunk().expect("1024 is a multiple of 8"))
    }
}

/// `SplitMix64`: a small generator whose whole state is its seed (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct SeededRandom(pub u64);

impl Random for SeededRandom {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
