//! Tells driver threads when the broker is there, so that none of them has to guess or to sleep.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

#[derive(Debug, Default)]
struct State {
    life: u64,
    is_open: bool,
    is_over: bool,
}

/// Open while the broker is ready.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    /// The broker is ready in its life number `life`.
    pub fn open(&self, life: u64) {
        let mut state = self.lock();
        state.life = life;
        state.is_open = true;
        self.changed.notify_all();
    }

    /// The broker is about to go.
    pub fn close(&self) {
        self.lock().is_open = false;
        self.changed.notify_all();
    }

    /// The run is over.
    pub fn finish(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    /// Says whether the run is over.
    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Waits until the broker is ready; `None` when the run is over.
    pub fn wait_open(&self) -> Option<u64> {
        let wait = |state: &mut State| !state.is_open && !state.is_over;
        let state = self
            .changed
            .wait_while(self.lock(), wait)
            .expect("no thread panics with it");
        (!state.is_over).then_some(state.life)
    }

    /// Waits for any change, at most `limit`.
    pub fn wait_change(&self, limit: Duration) {
        let state = self.lock();
        // Whether it changed or the time is over: the caller looks again.
        drop(
            self.changed
                .wait_timeout(state, limit)
                .expect("no thread panics with it"),
        );
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with it")
    }
}
