//! When an instance that ended is started again.
//!
//! Pure: time and randomness come in. The waits grow with each exit and begin anew after a stable
//! time; too many exits in a short time are a crash loop, which gets one trial now and then.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use trunkline_contract::manifest::RestartPolicy as After;
use trunkline_patterns::backoff::Backoff;

/// How eagerly an instance is started again; times in milliseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestartPolicy {
    /// After which ends it is started again at all.
    pub after: After,
    /// Wait after the first exit.
    pub initial_ms: u64,
    /// What each further wait is multiplied with.
    pub factor: f64,
    /// The longest wait.
    pub cap_ms: u64,
    /// Waits are spread by ± this share.
    pub jitter: f64,
    /// Serving for this long makes the next exit the first again.
    pub stable_ms: u64,
    /// Exits within the window that make a crash loop.
    pub exits_max: u32,
    /// The window in which exits are counted.
    pub window_ms: u64,
    /// How often a crash loop gets one trial.
    pub trial_ms: u64,
    /// Being degraded for this long without a break ends the process; none: it may stay so.
    pub degraded_ms: Option<u64>,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            after: After::Always,
            initial_ms: 500,
            factor: 2.0,
            cap_ms: 60_000,
            jitter: 0.2,
            stable_ms: 60_000,
            exits_max: 5,
            window_ms: 60_000,
            trial_ms: 300_000,
            degraded_ms: None,
        }
    }
}

/// What to do after an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Start again after this many milliseconds.
    After(u64),
    /// A crash loop: one trial after this many milliseconds.
    GiveUp {
        /// How long until the trial.
        trial_ms: u64,
        /// True for the first time of this loop.
        is_new: bool,
    },
}

/// Counts the exits of one instance.
#[derive(Clone, PartialEq, Debug)]
pub struct Restarts {
    policy: RestartPolicy,
    /// When the last exits happened; never longer than `exits_max`.
    exits: VecDeque<u64>,
    /// Exits since the last stable time.
    streak: u32,
    in_crash_loop: bool,
}

impl Restarts {
    /// Starts counting at zero.
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            exits: VecDeque::new(),
            streak: 0,
            in_crash_loop: false,
        }
    }

    /// Replaces the policy; what was counted stays.
    pub fn set_policy(&mut self, policy: RestartPolicy) {
        self.policy = policy;
    }

    /// Returns how long an instance may be degraded, if there is a limit.
    pub fn degraded_ms(&self) -> Option<u64> {
        self.policy.degraded_ms
    }

    /// Returns true if an instance that ended is started again at all.
    pub fn starts_again(&self, is_failure: bool) -> bool {
        match self.policy.after {
            After::Always => true,
            After::OnFailure => is_failure,
            After::Never => false,
        }
    }

    /// Forgets every exit, as an operator's restart does.
    pub fn reset(&mut self) {
        self.exits.clear();
        self.streak = 0;
        self.in_crash_loop = false;
    }

    /// Returns true while the instance counts as a crash loop.
    pub fn is_in_crash_loop(&self) -> bool {
        self.in_crash_loop
    }

    /// Counts an exit at `now_ms` of an instance that had served for `served_ms`, and says when to
    /// start again; `unit` in `0.0..1.0` spreads the wait.
    pub fn after_exit(&mut self, now_ms: u64, served_ms: u64, unit: f64) -> Next {
        if served_ms >= self.policy.stable_ms {
            self.reset();
        }
        self.streak = self.streak.saturating_add(1);
        self.exits.push_back(now_ms);
        let exits_max = self.policy.exits_max.max(1) as usize;
        while self.exits.len() > exits_max {
            self.exits.pop_front();
        }
        let window_ms = self.policy.window_ms;
        let in_window = self
            .exits
            .iter()
            .filter(|at| now_ms.saturating_sub(**at) < window_ms)
            .count();
        if self.in_crash_loop || in_window >= exits_max {
            let is_new = !self.in_crash_loop;
            self.in_crash_loop = true;
            return Next::GiveUp {
                trial_ms: self.policy.trial_ms,
                is_new,
            };
        }
        Next::After(self.wait(self.streak, unit))
    }

    /// Says when to start again after an exit that is blamed on a suspect event: it counts for
    /// nothing, but two starts never follow each other without a wait.
    pub fn after_suspect(&self, unit: f64) -> Next {
        if self.in_crash_loop {
            return Next::GiveUp {
                trial_ms: self.policy.trial_ms,
                is_new: false,
            };
        }
        Next::After(self.wait(1, unit))
    }

    fn wait(&self, failures: u32, unit: f64) -> u64 {
        Backoff::new(
            self.policy.initial_ms,
            self.policy.factor,
            self.policy.cap_ms,
        )
        .jittered_ms(failures, self.policy.jitter, unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Restarts {
        Restarts::new(RestartPolicy::default())
    }

    #[test]
    fn waits_double_and_the_fifth_exit_in_a_minute_is_a_crash_loop() {
        let mut restarts = plain();
        let nexts: Vec<Next> = (0..6)
            .map(|n| restarts.after_exit(n * 1_000, 0, 0.5))
            .collect();
        let loop_again = Next::GiveUp {
            trial_ms: 300_000,
            is_new: false,
        };
        assert_eq!(
            nexts,
            [
                Next::After(500),
                Next::After(1_000),
                Next::After(2_000),
                Next::After(4_000),
                Next::GiveUp {
                    trial_ms: 300_000,
                    is_new: true
                },
                loop_again,
            ]
        );
    }

    #[test]
    fn slow_exits_grow_to_the_cap_but_are_no_crash_loop() {
        let mut restarts = plain();
        for n in 0..100 {
            assert_ne!(
                restarts.after_exit(n * 20_000, 0, 0.99),
                Next::GiveUp {
                    trial_ms: 300_000,
                    is_new: true
                }
            );
        }
        assert_eq!(
            restarts.after_exit(100 * 20_000, 0, 0.5),
            Next::After(60_000)
        );
    }

    #[test]
    fn a_stable_time_ends_a_crash_loop_and_starts_the_waits_anew() {
        let mut restarts = plain();
        for n in 0..5 {
            restarts.after_exit(n, 0, 0.5);
        }
        assert!(restarts.is_in_crash_loop());
        assert_eq!(
            restarts.after_exit(1_000_000, 60_000, 0.5),
            Next::After(500)
        );
        assert!(!restarts.is_in_crash_loop());
    }

    #[test]
    fn an_exit_blamed_on_a_suspect_does_not_count() {
        let mut restarts = plain();
        for _ in 0..100 {
            assert_eq!(restarts.after_suspect(0.5), Next::After(500));
        }
        assert_eq!(restarts.after_exit(0, 0, 0.5), Next::After(500));
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for step in 0..=100 {
            let Next::After(wait) = plain().after_exit(0, 0, f64::from(step) / 100.0) else {
                panic!("the first exit is no crash loop");
            };
            assert!((400..=600).contains(&wait));
        }
    }
}
