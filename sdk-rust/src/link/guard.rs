//! A thread that pumps links whose own task does not get to run.
//!
//! A handler that blocks its thread must not stop answers to pings, nor let the leases of its
//! deliveries run out. The thread looks twice a second; it runs no user code, and only exists while
//! there are links.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::state::Link;

/// How often the guard looks.
const LOOK: Duration = Duration::from_millis(250);
/// A task that did not run for this many looks, though there was something to read, is blocked.
const BLOCKED_LOOKS: u32 = 4;

struct Watched {
    link: Weak<Link>,
    turns: u64,
    missed: u32,
}

#[derive(Default)]
struct Guard {
    links: Vec<Watched>,
    is_running: bool,
}

static GUARD: Mutex<Option<Guard>> = Mutex::new(None);
static LEFT: Condvar = Condvar::new();

/// Keeps a link watched as long as it is held.
pub(super) struct Watch(Weak<Link>);

impl Drop for Watch {
    fn drop(&mut self) {
        let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guard) = guard.as_mut() {
            guard.links.retain(|watched| !watched.link.ptr_eq(&self.0));
            if guard.links.is_empty() {
                LEFT.notify_all();
            }
        }
    }
}

/// Begins to watch a link.
pub(super) fn watch(link: &Arc<Link>) -> Watch {
    let link = Arc::downgrade(link);
    let mut slot = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    let guard = slot.get_or_insert_default();
    guard.links.push(Watched {
        link: link.clone(),
        turns: 0,
        missed: 0,
    });
    if !guard.is_running {
        let started = std::thread::Builder::new()
            .name("trunkline-guard".into())
            .spawn(run);
        guard.is_running = started.is_ok();
        if let Err(error) = started {
            tracing::warn!(%error, "The guard thread could not be started.");
        }
    }
    Watch(link)
}

fn run() {
    loop {
        let mut blocked = Vec::new();
        {
            let slot = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
            let (mut slot, _) = LEFT
                .wait_timeout_while(slot, LOOK, |slot| {
                    slot.as_ref().is_some_and(|guard| !guard.links.is_empty())
                })
                .unwrap_or_else(PoisonError::into_inner);
            let Some(guard) = slot.as_mut() else { return };
            if guard.links.is_empty() {
                guard.is_running = false;
                return;
            }
            for watched in &mut guard.links {
                if let Some(link) = watched.link.upgrade()
                    && watched.look(&link)
                {
                    let lag = LOOK * watched.missed;
                    blocked.push((link, lag));
                }
            }
        }
        for (link, lag) in blocked {
            link.pump(true, u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
            link.extend_due(Instant::now());
            link.flush();
            link.wake();
        }
    }
}

impl Watched {
    /// Says whether the link's task is blocked.
    fn look(&mut self, link: &Link) -> bool {
        let turns = link.turns.load(Ordering::Relaxed);
        if turns == self.turns {
            let waits = self.missed >= BLOCKED_LOOKS || link.has_work();
            self.missed = if waits { self.missed + 1 } else { 0 };
        } else {
            self.turns = turns;
            self.missed = 0;
        }
        self.missed >= BLOCKED_LOOKS
    }
}
