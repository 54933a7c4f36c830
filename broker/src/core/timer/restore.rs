//! Timers of earlier lives, and those of instances that come and go.

use crate::clock::Now;
use crate::core::batch::Ticket;
use crate::core::boot::scan_all;
use crate::core::state::Core;
use crate::instance::InstanceKey;
use crate::store::{Commit, Expect, Failed, Reader, StateEntry, StateOp};

use super::record::{Fired, Timer, fired_key, key, parse_key};
use super::table::Timers;

/// Rows that one commit deletes.
const DROP_OPS: usize = 1024;

impl Timers {
    /// Reads what earlier lives wrote. Nothing is due before its instance is configured.
    pub(crate) fn restore(reader: &mut dyn Reader, now: Now) -> Result<Self, Failed> {
        let mut timers = Self::default();
        timers.offset_ms = now.wall_ms - now.mono_ms as i64;
        for entry in scan_all(reader, b"w/", now)? {
            let row = serde_json::from_slice(&entry.value).ok();
            let timer = row.and_then(|row| Timer::restore(row, entry.revision));
            let (Some((of, name)), Some(timer)) = (parse_key(&entry.key), timer) else {
                return Err(foreign(&entry));
            };
            timers.put(&of, &name, timer);
        }
        for entry in scan_all(reader, b"wf/", now)? {
            let row = serde_json::from_slice(&entry.value).ok();
            let (Some((of, name)), Some(row)) = (parse_key(&entry.key), row) else {
                return Err(foreign(&entry));
            };
            let fired = Fired {
                row,
                seq: entry.revision - 1,
                is_ending: false,
            };
            timers.put_fired(&of, &name, fired);
        }
        Ok(timers)
    }
}

fn foreign(entry: &StateEntry) -> Failed {
    let key = String::from_utf8_lossy(&entry.key);
    Failed {
        reason: format!("expected a timer of this version at {key}, found something else"),
    }
}

impl Core {
    /// An instance is configured: its timers go on.
    pub(crate) fn timers_configured(&mut self, of: &InstanceKey) {
        let (set, fired) = self.timekeeper.names(of);
        for name in fired {
            if let Some(fired) = self.timekeeper.fired(of, &name) {
                self.router.watch(fired.seq);
                self.timer_settled(fired.seq);
            }
        }
        for name in set {
            self.queue_timer(of, &name);
        }
    }

    /// Ends a row that nobody has any more.
    pub(super) fn drop_row(&mut self, key: Vec<u8>) {
        let op = StateOp {
            key,
            value: None,
            expect: Expect::Any,
            expires_at_ms: None,
        };
        let commit = Commit {
            state: vec![op],
            ..Commit::default()
        };
        self.stage(commit, Ticket::Nothing);
    }

    /// An instance is gone, and its timers with it.
    pub(crate) fn drop_timers(&mut self, of: &InstanceKey) {
        let (set, fired) = self.timekeeper.drop_owner(of);
        for (_, seq) in &fired {
            self.router.unwatch(*seq);
        }
        let rows = set.iter().map(|name| key(of, name));
        let rows = rows.chain(fired.iter().map(|(name, _)| fired_key(of, name)));
        let ops: Vec<StateOp> = rows
            .map(|key| StateOp {
                key,
                value: None,
                expect: Expect::Any,
                expires_at_ms: None,
            })
            .collect();
        for ops in ops.chunks(DROP_OPS) {
            let commit = Commit {
                state: ops.to_vec(),
                ..Commit::default()
            };
            self.stage(commit, Ticket::Nothing);
        }
    }
}
