//! The clock that connections and locks wait on: the system's, or that of a test broker.
//!
//! In a test, a connection to a server that the test does not play runs on the system's clock, as
//! that server does.

use std::time::Duration;

use tokio::time::Instant;

#[cfg(feature = "testing")]
pub(crate) use in_a_test::Played;

use crate::duration::in_ms;
use crate::hub::Hub;

/// Milliseconds since it was made, and waits for them. One task waits on it.
pub(crate) struct Pace {
    began: Instant,
    #[cfg(feature = "testing")]
    played: Option<std::sync::Arc<Played>>,
}

impl Pace {
    /// Begins to count.
    pub(crate) fn new(hub: &Hub) -> Self {
        #[cfg(not(feature = "testing"))]
        let _: &Hub = hub;
        Self {
            began: Instant::now(),
            #[cfg(feature = "testing")]
            played: hub.fake().map(Played::new),
        }
    }

    /// Reads the clock.
    pub(crate) fn now_ms(&self) -> u64 {
        #[cfg(feature = "testing")]
        if let Some(played) = &self.played {
            return played.now_ms();
        }
        in_ms(self.began.elapsed())
    }

    /// Waits until the clock says so; for ever without a time.
    pub(crate) async fn until(&self, at_ms: Option<u64>) {
        #[cfg(feature = "testing")]
        if let Some(played) = &self.played {
            return played.until(at_ms).await;
        }
        match at_ms {
            Some(at_ms) => {
                let at = self.began + Duration::from_millis(at_ms);
                tokio::time::sleep_until(at).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Gives the clock of the test, if there is one.
    #[cfg(feature = "testing")]
    pub(crate) fn played(&self) -> Option<std::sync::Arc<Played>> {
        self.played.clone()
    }
}

#[cfg(feature = "testing")]
mod in_a_test {
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use tokio::time::Instant;

    use crate::duration::in_ms;
    use crate::testing::outside::{Fake, Timer};

    /// The clock of a test, unless what runs on it talks to a real server.
    pub(crate) struct Played {
        timer: Timer,
        time: Mutex<Time>,
    }

    /// What was counted until the clocks were last exchanged, and when that was on both.
    struct Time {
        counted_ms: u64,
        since: Instant,
        since_ms: u64,
        is_real: bool,
    }

    impl Played {
        pub(super) fn new(fake: &Arc<Fake>) -> Arc<Self> {
            let timer = Timer::new(fake);
            let time = Time {
                counted_ms: 0,
                since: Instant::now(),
                since_ms: timer.now_ms(),
                is_real: false,
            };
            Arc::new(Self {
                timer,
                time: Mutex::new(time),
            })
        }

        fn time(&self) -> MutexGuard<'_, Time> {
            self.time.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn read(&self, time: &Time) -> u64 {
            let passed_ms = if time.is_real {
                in_ms(time.since.elapsed())
            } else {
                self.timer.now_ms().saturating_sub(time.since_ms)
            };
            time.counted_ms + passed_ms
        }

        pub(super) fn now_ms(&self) -> u64 {
            self.read(&self.time())
        }

        /// Says which clock it is from now on.
        pub(crate) fn set_real(&self, is_real: bool) {
            let mut time = self.time();
            *time = Time {
                counted_ms: self.read(&time),
                since: Instant::now(),
                since_ms: self.timer.now_ms(),
                is_real,
            };
        }

        pub(super) async fn until(&self, at_ms: Option<u64>) {
            let (left_ms, is_real) = {
                let time = self.time();
                let now_ms = self.read(&time);
                (at_ms.map(|at| at.saturating_sub(now_ms)), time.is_real)
            };
            match left_ms {
                None => {
                    self.timer.clear();
                    std::future::pending::<()>().await;
                }
                Some(left_ms) if is_real => {
                    self.timer.clear();
                    tokio::time::sleep(Duration::from_millis(left_ms)).await;
                }
                Some(left_ms) => self.timer.wait(left_ms).await,
            }
        }
    }
}
