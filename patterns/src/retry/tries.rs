//! The tries of one call, within the time that is left for it.

use super::class::Class;
use crate::backoff::Backoff;

/// Tries that one call gets at most, not counting those that were told to wait.
pub const ATTEMPTS_MAX: u32 = 5;
/// How often one call waits as told at most, before it gives the wait to whoever called.
pub const WAITS_MAX: u32 = 20;
/// Waits between tries.
pub const BACKOFF: Backoff = Backoff::new(500, 2.0, 30_000);
/// How far they spread, so that many callers do not come back together.
pub const JITTER: f64 = 0.2;

/// Counts the tries of one call.
#[derive(Clone, Debug, Default)]
pub struct Tries {
    failures: u32,
    waits: u32,
}

impl Tries {
    /// Says how many milliseconds to wait before the next try; none when there is none.
    ///
    /// # Arguments
    /// * `is_repeatable` - whether the call may happen twice
    /// * `left_ms` - the time left; a try that would begin after it is none
    /// * `unit` - a random number in `0.0..1.0`
    pub fn next(
        &mut self,
        class: Class,
        is_repeatable: bool,
        left_ms: u64,
        unit: f64,
    ) -> Option<u64> {
        if !is_repeatable {
            return None;
        }
        let wait_ms = match class {
            Class::Final => return None,
            Class::Wait { after_ms } => {
                self.waits += 1;
                (self.waits <= WAITS_MAX).then_some(after_ms)?
            }
            Class::BackOff { .. } | Class::Ambiguous => {
                self.failures += 1;
                let at_least_ms = match class {
                    Class::BackOff { at_least_ms } => at_least_ms,
                    _ => 0,
                };
                let wait_ms = BACKOFF.jittered_ms(self.failures, JITTER, unit);
                (self.failures < ATTEMPTS_MAX).then_some(wait_ms.max(at_least_ms))?
            }
        };
        (wait_ms < left_ms).then_some(wait_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEFT_MS: u64 = 1_000_000;
    const DOWN: Class = Class::BackOff { at_least_ms: 0 };

    #[test]
    fn failures_back_off_and_come_to_an_end() {
        let mut tries = Tries::default();
        let waits: Vec<_> = std::iter::from_fn(|| tries.next(DOWN, true, LEFT_MS, 0.5)).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000]);
        let mut tries = Tries::default();
        let told = Class::BackOff { at_least_ms: 9_000 };
        assert_eq!(tries.next(told, true, LEFT_MS, 0.5), Some(9_000));
    }

    #[test]
    fn told_waits_do_not_count_as_failures_but_end_too() {
        let mut tries = Tries::default();
        let told = Class::Wait { after_ms: 3_000 };
        for _ in 0..WAITS_MAX {
            assert_eq!(tries.next(told, true, LEFT_MS, 0.5), Some(3_000));
        }
        assert_eq!(tries.next(told, true, LEFT_MS, 0.5), None);
        assert_eq!(tries.next(DOWN, true, LEFT_MS, 0.5), Some(500));
    }

    #[test]
    fn what_is_final_or_may_not_happen_twice_is_tried_once() {
        let mut tries = Tries::default();
        assert_eq!(tries.next(Class::Final, true, LEFT_MS, 0.5), None);
        assert_eq!(tries.next(Class::Ambiguous, false, LEFT_MS, 0.5), None);
        assert_eq!(tries.next(DOWN, false, LEFT_MS, 0.5), None);
        assert_eq!(tries.next(Class::Ambiguous, true, LEFT_MS, 0.5), Some(500));
    }

    proptest! {
        /// Proves: whatever a server answers, a call ends, and never waits beyond its time.
        #[test]
        fn a_call_ends_within_its_time(
            answers in prop::collection::vec((0u8..3, 0u64..10_000), 100),
            left_ms in 0u64..300_000,
            unit in 0.0f64..1.0,
        ) {
            let (mut tries, mut spent_ms, mut count) = (Tries::default(), 0, 0u32);
            for (kind, ms) in answers {
                let class = match kind {
                    0 => Class::Wait { after_ms: ms },
                    1 => Class::BackOff { at_least_ms: ms },
                    _ => Class::Ambiguous,
                };
                let Some(wait_ms) = tries.next(class, true, left_ms - spent_ms, unit) else { break };
                spent_ms += wait_ms;
                count += 1;
                prop_assert!(spent_ms < left_ms);
            }
            prop_assert!(count < ATTEMPTS_MAX + WAITS_MAX);
        }
    }
}
