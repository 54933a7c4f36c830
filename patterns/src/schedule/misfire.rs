//! What becomes of instants that passed while nobody could act: the process was down, the clock jumped, or
//! the last run was not over.

use sha2::{Digest, Sha256};

use super::rule::Schedule;

/// Missed instants that are counted; beyond, the count stays here.
pub const MISSED_MAX: u32 = 1_000;
/// Missed instants that [`Misfire::All`] makes up for, one after the other; the older ones are skipped and
/// counted as missed.
pub const BACKLOG_MAX: u32 = 100;
/// How late an instant may be, in ms, and still count as met by [`Misfire::Skip`].
pub const GRACE_MS: i64 = 5_000;
/// How far the wall clock may be set back, in ms, without anything being due a second time.
pub const CLOCK_STEP_MS_MAX: i64 = 3_600_000;

/// What becomes of missed instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Misfire {
    /// They are skipped: the next one is in the future.
    Skip,
    /// All of them together are made up for once: the last one counts, the others are its `missed`.
    #[default]
    Once,
    /// Each is made up for, at most the last [`BACKLOG_MAX`].
    All,
}

/// One instant at which something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When, in ms.
    pub at_ms: i64,
    /// Instants before it that are not made up for; counted up to [`MISSED_MAX`].
    pub missed: u32,
}

impl Due {
    /// An instant before which none was missed.
    pub fn new(at_ms: i64) -> Self {
        Self { at_ms, missed: 0 }
    }
}

/// Decides what is due in place of `due`, looked at when `now_ms` may be late for it.
///
/// In the future: `due` itself, or an earlier one where the clock was set back by far. Else what the policy
/// makes of it; none where nothing is left.
///
/// ```
/// use trunkline_patterns::schedule::{Due, Misfire, Schedule, due_now};
/// let hourly = Schedule::cron("@hourly", None).unwrap();
/// let due = Due::new(3_600_000);
/// let late = 10 * 3_600_000 + 60_000;
/// let once = due_now(&hourly, due, late, Misfire::Once).unwrap();
/// assert_eq!((once.at_ms, once.missed), (10 * 3_600_000, 9));
/// let skip = due_now(&hourly, due, late, Misfire::Skip).unwrap();
/// assert_eq!((skip.at_ms, skip.missed), (11 * 3_600_000, 10));
/// ```
pub fn due_now(schedule: &Schedule, due: Due, now_ms: i64, misfire: Misfire) -> Option<Due> {
    if due.at_ms > now_ms {
        let is_far = schedule.is_repeating() && due.at_ms - now_ms > CLOCK_STEP_MS_MAX;
        let next = is_far.then(|| schedule.next_after(now_ms)).flatten();
        return Some(match next {
            Some(next) if next < due.at_ms => Due { at_ms: next, ..due },
            _ => due,
        });
    }
    late(schedule, due, now_ms, misfire, GRACE_MS)
}

/// Decides what is due after the instant `last_ms` was met and what it started is over.
pub fn due_then(schedule: &Schedule, last_ms: i64, now_ms: i64, misfire: Misfire) -> Option<Due> {
    if !schedule.is_repeating() {
        return None;
    }
    // A small step back repeats nothing; after a big one the clock is believed.
    let is_far = last_ms.saturating_sub(now_ms) > CLOCK_STEP_MS_MAX;
    let from_ms = if is_far { now_ms } else { last_ms };
    let first = Due::new(schedule.next_after(from_ms)?);
    if first.at_ms > now_ms {
        return Some(first);
    }
    late(schedule, first, now_ms, misfire, 0)
}

fn late(
    schedule: &Schedule,
    due: Due,
    now_ms: i64,
    misfire: Misfire,
    grace_ms: i64,
) -> Option<Due> {
    let passed = schedule.count(due.at_ms, now_ms, MISSED_MAX);
    let add = |missed: u32| due.missed.saturating_add(missed).min(MISSED_MAX);
    let last_ms = match passed {
        0 | 1 => due.at_ms,
        _ => schedule.last_until(now_ms).unwrap_or(due.at_ms),
    };
    let last = Due {
        at_ms: last_ms,
        missed: add(passed.saturating_sub(1)),
    };
    match misfire {
        Misfire::Once => Some(last),
        Misfire::Skip if now_ms - last_ms <= grace_ms => Some(last),
        Misfire::Skip => {
            let at_ms = schedule.next_after(now_ms)?;
            Some(Due {
                at_ms,
                missed: add(passed),
            })
        }
        Misfire::All if passed <= BACKLOG_MAX => Some(due),
        Misfire::All => {
            let mut at_ms = last_ms;
            for _ in 1..BACKLOG_MAX {
                match schedule.last_until(at_ms - 1) {
                    Some(before) if before > due.at_ms => at_ms = before,
                    _ => break,
                }
            }
            Some(Due {
                at_ms,
                missed: add(passed - BACKLOG_MAX),
            })
        }
    }
}

/// Gives when to act on an instant that may be up to `jitter_ms` late on purpose: the same for the same
/// `seed` and instant, so that nothing of it has to be remembered.
///
/// ```
/// use trunkline_patterns::schedule::jittered;
/// let at = jittered(1_000, 500, 7);
/// assert!((1_000..=1_500).contains(&at));
/// assert_eq!(at, jittered(1_000, 500, 7));
/// ```
pub fn jittered(at_ms: i64, jitter_ms: u64, seed: u64) -> i64 {
    if jitter_ms == 0 {
        return at_ms;
    }
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(at_ms.to_le_bytes());
    let digest = hash.finalize();
    let bits = u64::from_le_bytes(*digest.first_chunk().expect("a hash has 32 bytes"));
    at_ms.saturating_add((bits % jitter_ms.saturating_add(1)) as i64)
}
