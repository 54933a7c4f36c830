//! Whether an open connection is alive: heartbeats that are answered, and the idle watchdog.
//!
//! While frames wait for their handler nothing is read, so nothing is concluded from silence: an
//! interval in which reading stood still is not judged.

use serde_json::Value;

use super::io::Socket;

/// The shortest interval of a heartbeat, in ms.
const EVERY_MS_MIN: u64 = 10;

/// A frame that is sent again and again, and what the server answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// How often, in ms.
    pub every_ms: u64,
    /// What is sent; `{cursor}` is filled in each time.
    pub frame: Value,
    /// What an answer has at least; none when the server does not answer.
    pub expect: Option<Value>,
}

/// What is to be done about a connection.
#[derive(Debug, PartialEq)]
pub(super) enum Watch {
    Beat(Value),
    Probe,
    Dead(String),
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) socket: Socket,
    pub(super) opened_ms: u64,
    /// Frames of it that wait.
    pub(super) waiting: usize,
    /// Frames to it that are not written yet.
    pub(super) sends: usize,
    idle_ms: Option<u64>,
    heard_ms: u64,
    is_probed: bool,
    beat: Option<Beat>,
    /// Reading stood still since the last beat.
    was_paused: bool,
}

#[derive(Debug)]
struct Beat {
    heartbeat: Heartbeat,
    next_ms: u64,
    is_owed: bool,
}

impl Live {
    pub(super) fn new(socket: Socket, now_ms: u64, idle_ms: Option<u64>) -> Self {
        Self {
            socket,
            opened_ms: now_ms,
            waiting: 0,
            sends: 0,
            idle_ms: idle_ms.map(|idle| idle.max(EVERY_MS_MIN)),
            heard_ms: now_ms,
            is_probed: false,
            beat: None,
            was_paused: false,
        }
    }

    /// Begins to beat. The first beat is somewhere in the first interval, so that many that
    /// connected together do not beat together.
    pub(super) fn beat(&mut self, mut heartbeat: Heartbeat, now_ms: u64, unit: f64) {
        heartbeat.every_ms = heartbeat.every_ms.max(EVERY_MS_MIN);
        let first = (heartbeat.every_ms as f64 * unit.clamp(0.0, 1.0)) as u64;
        self.beat = Some(Beat {
            next_ms: now_ms + first,
            heartbeat,
            is_owed: false,
        });
    }

    pub(super) fn heartbeat(&self) -> Option<&Heartbeat> {
        self.beat.as_ref().map(|beat| &beat.heartbeat)
    }

    /// Something came.
    pub(super) fn heard(&mut self, now_ms: u64) {
        (self.heard_ms, self.is_probed) = (now_ms, false);
    }

    /// The answer to a beat came.
    pub(super) fn answered(&mut self) {
        if let Some(beat) = &mut self.beat {
            beat.is_owed = false;
        }
    }

    /// Notes that reading stands still.
    pub(super) fn pause(&mut self) {
        self.was_paused = true;
    }

    /// When it has to be looked at; `is_paused` while nothing is read.
    pub(super) fn due_ms(&self, is_paused: bool) -> Option<u64> {
        let beat = self.beat.as_ref().map(|beat| beat.next_ms);
        let idle = self
            .idle_ms
            .filter(|_| !is_paused)
            .map(|idle| self.heard_ms + if self.is_probed { idle } else { idle / 2 });
        beat.into_iter().chain(idle).min()
    }

    /// Looks at it; gives one thing that is to be done, and is asked again.
    pub(super) fn watch(&mut self, now_ms: u64, is_paused: bool) -> Option<Watch> {
        if let Some(beat) = &mut self.beat
            && beat.next_ms <= now_ms
        {
            let every_ms = beat.heartbeat.every_ms;
            if beat.is_owed && !self.was_paused && !is_paused {
                let text = format!("no answer to a heartbeat within {every_ms} ms");
                return Some(Watch::Dead(text));
            }
            beat.next_ms = now_ms + every_ms;
            beat.is_owed = beat.heartbeat.expect.is_some();
            self.was_paused = is_paused;
            return Some(Watch::Beat(beat.heartbeat.frame.clone()));
        }
        let idle_ms = self.idle_ms.filter(|_| !is_paused)?;
        let silent_ms = now_ms.saturating_sub(self.heard_ms);
        if silent_ms >= idle_ms {
            return Some(Watch::Dead(format!("no sign of life within {idle_ms} ms")));
        }
        if silent_ms >= idle_ms / 2 && !self.is_probed {
            self.is_probed = true;
            return Some(Watch::Probe);
        }
        None
    }
}
