//! How far a failed call came, and what follows from it.

use std::fmt;

/// The least that a told wait counts as: a server that says "now" is not asked in a tight loop.
pub const TOLD_MS_MIN: u64 = 500;
/// The most that a told wait counts as; who has waited so long asks again.
pub const TOLD_MS_MAX: u64 = 3_600_000;
/// How long to wait after a 429 that does not say.
pub const UNTOLD_MS: u64 = 5_000;

/// Says how far a call came.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reached {
    /// Not out of here: no name, no connection, no TLS, refused by the guard.
    NotSent,
    /// Perhaps to the server: it was sent, and no answer came.
    Ambiguous,
    /// To the server and back.
    Answered,
}

impl Reached {
    /// Gives the text form: `not_sent`, `ambiguous`, `answered`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Ambiguous => "ambiguous",
            Self::Answered => "answered",
        }
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::NotSent, Self::Ambiguous, Self::Answered]
            .into_iter()
            .find(|reached| reached.as_str() == text)
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Is a call that failed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// How far it came.
    pub reached: Reached,
    /// The status of the answer.
    pub status: Option<u16>,
    /// When to come back, as the server said it.
    pub retry_after_ms: Option<u64>,
}

/// Says what to do about a call that failed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Class {
    /// Try again after the time that the server said. It is no failure: it does not count.
    Wait {
        /// Between [`TOLD_MS_MIN`] and [`TOLD_MS_MAX`].
        after_ms: u64,
    },
    /// Try again later, each time a little later than the last.
    BackOff {
        /// Not before; the server said so.
        at_least_ms: u64,
    },
    /// It may have happened: only what may happen twice is tried again.
    Ambiguous,
    /// The same call would fail again.
    Final,
}

impl Class {
    /// Gives the class of a call that failed.
    ///
    /// ```
    /// use trunkline_patterns::retry::{Class, Failed, Reached};
    /// let mut failed = Failed {
    ///     reached: Reached::Answered, status: Some(429), retry_after_ms: Some(3_000),
    /// };
    /// assert_eq!(Class::of(&failed), Class::Wait { after_ms: 3_000 });
    /// failed.status = Some(404);
    /// assert_eq!(Class::of(&failed), Class::Final);
    /// ```
    pub fn of(failed: &Failed) -> Self {
        let told = failed
            .retry_after_ms
            .map(|ms| ms.clamp(TOLD_MS_MIN, TOLD_MS_MAX));
        let at_least_ms = told.unwrap_or(0);
        match (failed.reached, failed.status, told) {
            (Reached::NotSent, ..) => Self::BackOff { at_least_ms },
            (Reached::Ambiguous, ..) => Self::Ambiguous,
            (Reached::Answered, Some(429), told) => Self::Wait {
                after_ms: told.unwrap_or(UNTOLD_MS),
            },
            (Reached::Answered, Some(503), Some(after_ms)) => Self::Wait { after_ms },
            (Reached::Answered, Some(408 | 500..=599), _) => Self::BackOff { at_least_ms },
            (Reached::Answered, ..) => Self::Final,
        }
    }

    /// Says whether the attempt is one of those that are limited in number.
    pub fn is_counted(self) -> bool {
        !matches!(self, Self::Wait { .. })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answered(status: u16, retry_after_ms: Option<u64>) -> Class {
        Class::of(&Failed {
            reached: Reached::Answered,
            status: Some(status),
            retry_after_ms,
        })
    }

    #[test]
    fn each_answer_has_its_class() {
        assert_eq!(answered(429, Some(7_000)), Class::Wait { after_ms: 7_000 });
        let untold = Class::Wait {
            after_ms: UNTOLD_MS,
        };
        assert_eq!(answered(429, None), untold);
        assert_eq!(answered(503, Some(7_000)), Class::Wait { after_ms: 7_000 });
        assert_eq!(answered(503, None), Class::BackOff { at_least_ms: 0 });
        for status in [408, 500, 502, 504, 599] {
            assert_eq!(answered(status, None), Class::BackOff { at_least_ms: 0 });
        }
        let told = Class::BackOff { at_least_ms: 2_000 };
        assert_eq!(answered(502, Some(2_000)), told);
        for status in [200, 301, 400, 401, 403, 404, 409, 410, 422, 451] {
            assert_eq!(answered(status, Some(1_000)), Class::Final);
        }
    }

    #[test]
    fn what_was_never_answered_is_told_apart() {
        let mut failed = Failed {
            reached: Reached::NotSent,
            status: None,
            retry_after_ms: None,
        };
        assert_eq!(Class::of(&failed), Class::BackOff { at_least_ms: 0 });
        failed.reached = Reached::Ambiguous;
        assert_eq!(Class::of(&failed), Class::Ambiguous);
    }

    proptest! {
        #[test]
        fn a_told_wait_is_never_a_tight_loop_and_never_endless(status in 100u16..600, told: u64) {
            if let Class::Wait { after_ms } = answered(status, Some(told)) {
                prop_assert!((TOLD_MS_MIN..=TOLD_MS_MAX).contains(&after_ms));
            }
        }

        #[test]
        fn texts_of_how_far_a_call_came_read_back(index in 0usize..3) {
            let reached = [Reached::NotSent, Reached::Ambiguous, Reached::Answered][index];
            prop_assert_eq!(Reached::parse(reached.as_str()), Some(reached));
        }
    }
}
