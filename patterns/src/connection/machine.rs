//! The states of a connection, and what leads from one to the next.

use std::collections::VecDeque;

use serde_json::Value;

use super::fill::{answers, fill};
use super::io::{Frame, Input, Output, Socket};
use super::live::{Live, Watch};
use super::options::{CLOSE_DONE, CLOSE_KEPT, Options};
use super::status::{End, Status};
use super::work::Work;

mod handling;

/// Frames of one connection that may wait for their handler; then nothing more is read from it.
pub const FRAMES_WAITING_MAX: usize = 32;
/// Frames that may wait to be written; beyond, who sends is told to come again.
pub const SENDS_WAITING_MAX: usize = 64;
/// What who sends is told to wait when nothing better is known, in ms.
const SEND_AGAIN_MS: u64 = 1_000;
/// The spread of waits after a failure.
const SPREAD: f64 = 0.2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Waiting { until_ms: u64 },
    Opening,
    Up,
    Ending(EndKind),
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndKind {
    Stopped,
    Fatal,
}

/// Keeps one connection.
#[derive(Debug)]
pub struct Machine<F> {
    options: Options,
    phase: Phase,
    cursor: Option<String>,
    main: Option<Live>,
    /// The socket that is being opened, and when it must be open.
    next: Option<(Socket, u64)>,
    old: Option<Leaving>,
    refresh_ms: Option<u64>,
    last_socket: Socket,
    failures: u32,
    server_retry_ms: Option<u64>,
    queue: VecDeque<(Socket, F)>,
    work: Option<Work<F>>,
    last_number: u64,
}

/// A socket that was replaced.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    socket: Socket,
    /// Until when it may still speak.
    deadline_ms: u64,
    /// Goodbye was said: from here on it is only listened to.
    is_closing: bool,
}

/// Where a step takes time and randomness from, and puts what is to be done.
struct Step<'a, F> {
    now_ms: u64,
    unit: &'a mut dyn FnMut() -> f64,
    out: &'a mut Vec<Output<F>>,
}

impl<F> Step<'_, F> {
    fn put(&mut self, output: Output<F>) {
        self.out.push(output);
    }
}

impl<F: Frame + Clone> Machine<F> {
    /// Makes one that waits for the right to connect.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            phase: Phase::Idle,
            cursor: None,
            main: None,
            next: None,
            old: None,
            refresh_ms: None,
            last_socket: 0,
            failures: 0,
            server_retry_ms: None,
            queue: VecDeque::new(),
            work: None,
            last_number: 0,
        }
    }

    /// Gives where to go on from, as JSON: what was committed last.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Says how long connections from the next one on may give no sign of life, in ms.
    pub fn set_idle_ms(&mut self, idle_ms: Option<u64>) {
        self.options.idle_ms = idle_ms;
    }

    /// Says whether there is a connection.
    pub fn is_up(&self) -> bool {
        self.main.is_some()
    }

    /// Takes what happened; puts what is to be done.
    ///
    /// # Arguments
    /// * `now_ms` - any clock that does not go back.
    /// * `unit` - random numbers in `0.0..1.0`.
    pub fn step(
        &mut self,
        now_ms: u64,
        unit: &mut dyn FnMut() -> f64,
        input: Input<F>,
        out: &mut Vec<Output<F>>,
    ) {
        let mut step = Step { now_ms, unit, out };
        self.take(input, &mut step);
        self.advance(&mut step);
    }

    /// When to step again though nothing happens.
    pub fn wake_ms(&self) -> Option<u64> {
        // Who leaves waits for its handler only.
        if matches!(self.phase, Phase::Ending(_) | Phase::Ended | Phase::Idle) {
            return self.work.as_ref().and_then(Work::due_ms);
        }
        let phase = match self.phase {
            Phase::Waiting { until_ms } if self.is_idle() => {
                Some(self.options.attempts.next_ms(until_ms))
            }
            _ => None,
        };
        let refresh = self.refresh_ms.filter(|_| self.next.is_none());
        let refresh = refresh.map(|at| self.options.attempts.next_ms(at));
        [
            phase,
            refresh,
            self.next.map(|(_, deadline)| deadline),
            self.old.map(|old| old.deadline_ms),
            self.main
                .as_ref()
                .and_then(|live| live.due_ms(live.waiting >= FRAMES_WAITING_MAX)),
            self.work.as_ref().and_then(Work::due_ms),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn is_idle(&self) -> bool {
        self.work.is_none() && self.queue.is_empty()
    }

    fn is_open(&self, socket: Socket) -> bool {
        self.main.as_ref().is_some_and(|live| live.socket == socket)
            || self.old.is_some_and(|old| old.socket == socket)
    }

    /// Something may be said to it.
    fn is_writable(&self, socket: Socket) -> bool {
        self.main.as_ref().is_some_and(|live| live.socket == socket)
            || self
                .old
                .is_some_and(|old| old.socket == socket && !old.is_closing)
    }

    fn live(&mut self, socket: Socket) -> Option<&mut Live> {
        self.main.as_mut().filter(|live| live.socket == socket)
    }

    fn take(&mut self, input: Input<F>, step: &mut Step<'_, F>) {
        match input {
            Input::Start { cursor } if self.phase == Phase::Idle => {
                self.cursor = cursor;
                self.phase = Phase::Waiting {
                    until_ms: step.now_ms,
                };
            }
            Input::Start { .. } | Input::Tick => {}
            Input::Opened(socket) => self.opened(socket, step),
            Input::Frame(socket, frame) => self.came(socket, frame, step),
            Input::Alive(socket) => {
                if let Some(live) = self.live(socket) {
                    live.heard(step.now_ms);
                }
            }
            Input::Retry(socket, ms) => {
                if self.is_open(socket) || self.opening() == Some(socket) {
                    self.server_retry_ms = Some(ms.min(self.options.retry_ms_max));
                }
            }
            Input::Closed {
                socket,
                code,
                reason,
            } => self.closed(socket, code, reason, step),
            Input::Handled(verdict) => self.handled(verdict, step),
            Input::Stored(result) => self.stored(result, step),
            Input::Send { id, socket } => self.send(id, socket, step),
            Input::Sent(socket) => {
                if let Some(live) = self.live(socket) {
                    live.sends = live.sends.saturating_sub(1);
                }
            }
            Input::Beat(socket, heartbeat) => {
                if self.live(socket).is_some() {
                    let unit = (step.unit)();
                    let live = self.live(socket).expect("it was there just now");
                    live.beat(heartbeat, step.now_ms, unit);
                }
            }
            Input::LockLost => self.lock_lost(step),
            Input::Stop => match self.phase {
                Phase::Ended => {}
                _ => self.phase = Phase::Ending(EndKind::Stopped),
            },
        }
    }

    /// Does what time and the other changes allow.
    fn advance(&mut self, step: &mut Step<'_, F>) {
        self.check_deadlines(step);
        self.watch(step);
        self.work(step);
        if let Phase::Ending(kind) = self.phase {
            self.end(kind, step);
            return;
        }
        if let Phase::Waiting { until_ms } = self.phase
            && self.is_idle()
            && self.options.attempts.next_ms(until_ms) <= step.now_ms
        {
            self.open(step);
            self.phase = Phase::Opening;
            let attempt = self.failures + 1;
            step.put(Output::Status(Status::Connecting { attempt }));
        }
        if let (Some(at), None, Phase::Up) = (self.refresh_ms, self.next, self.phase)
            && self.options.attempts.next_ms(at) <= step.now_ms
        {
            self.refresh_ms = None;
            self.open(step);
        }
        self.leave_old(step);
    }

    fn open(&mut self, step: &mut Step<'_, F>) {
        // One that was replaced is not waited for any longer: two at most.
        if let Some(old) = self.old.take() {
            step.put(Output::Drop(old.socket));
        }
        self.last_socket += 1;
        self.next = Some((self.last_socket, step.now_ms + self.options.open_ms));
        step.put(Output::Open(self.last_socket));
    }

    fn opening(&self) -> Option<Socket> {
        self.next.map(|(socket, _)| socket)
    }

    /// Says goodbye to a socket that was replaced, once what came from it is handled and acked.
    fn leave_old(&mut self, step: &mut Step<'_, F>) {
        let Some(old) = &mut self.old else { return };
        let is_at_work = self
            .work
            .as_ref()
            .is_some_and(|work| work.socket == old.socket);
        if old.is_closing || is_at_work || self.queue.iter().any(|(from, _)| *from == old.socket) {
            return;
        }
        old.is_closing = true;
        step.put(Output::Close {
            socket: old.socket,
            code: CLOSE_KEPT,
            reason: "another connection took over",
        });
    }

    fn opened(&mut self, socket: Socket, step: &mut Step<'_, F>) {
        if self.opening() != Some(socket) || matches!(self.phase, Phase::Ending(_)) {
            return;
        }
        self.options.attempts.take(step.now_ms);
        (self.server_retry_ms, self.next) = (None, None);
        let live = Live::new(socket, step.now_ms, self.options.idle_ms);
        if let Some(replaced) = self.main.replace(live) {
            self.old = Some(Leaving {
                socket: replaced.socket,
                deadline_ms: step.now_ms + self.options.drain_ms,
                is_closing: false,
            });
        }
        self.phase = Phase::Up;
        step.put(Output::Status(Status::Connected));
    }

    fn came(&mut self, socket: Socket, frame: F, step: &mut Step<'_, F>) {
        if !self.is_open(socket) {
            return;
        }
        let now_ms = step.now_ms;
        if let Some(live) = self.live(socket) {
            live.heard(now_ms);
            let expected = live.heartbeat().and_then(|beat| beat.expect.as_ref());
            if let Some(expected) = expected
                && frame.value().is_some_and(|value| answers(&value, expected))
            {
                live.answered();
                step.put(Output::Room(socket));
                return;
            }
        }
        // What comes while it ends is left to the server, unacked.
        if matches!(self.phase, Phase::Ending(_)) {
            return;
        }
        if let Some(live) = self.live(socket) {
            live.waiting += 1;
            if live.waiting >= FRAMES_WAITING_MAX {
                live.pause();
            }
        }
        self.queue.push_back((socket, frame));
        assert!(
            self.queue.len() <= 3 * FRAMES_WAITING_MAX,
            "only who has room is read from"
        );
    }

    fn closed(
        &mut self,
        socket: Socket,
        code: Option<u16>,
        reason: String,
        step: &mut Step<'_, F>,
    ) {
        if self.old.is_some_and(|old| old.socket == socket) {
            self.old = None;
            return;
        }
        let is_main = self.live(socket).is_some();
        if !is_main && self.opening() != Some(socket) {
            return;
        }
        if matches!(self.phase, Phase::Ending(_)) {
            self.main = None;
            return;
        }
        if let Some(code) = code.filter(|code| self.options.fatal.contains(code)) {
            if is_main {
                self.main = None;
            }
            step.put(Output::Status(Status::Fatal { code, reason }));
            self.phase = Phase::Ending(EndKind::Fatal);
            return;
        }
        let reason = match code {
            Some(code) if reason.is_empty() => format!("closed with {code}"),
            Some(code) => format!("closed with {code}: {reason}"),
            None => reason,
        };
        if is_main {
            self.lose(reason, step);
        } else {
            self.missed(reason, step);
        }
    }

    /// The connection is gone.
    fn lose(&mut self, reason: String, step: &mut Step<'_, F>) {
        let Some(live) = self.main.take() else { return };
        self.refresh_ms = None;
        if step.now_ms >= live.opened_ms + self.options.stable_ms {
            self.failures = 0;
        }
        // Another one is on its way already.
        if self.next.is_some() {
            self.phase = Phase::Opening;
            step.put(Output::Status(Status::Disconnected {
                reason,
                attempt: self.failures,
                next_try_ms: step.now_ms,
            }));
            return;
        }
        self.back_off(reason, 0, true, step);
    }

    /// An attempt came to nothing.
    fn missed(&mut self, reason: String, step: &mut Step<'_, F>) {
        self.next = None;
        if self.main.is_none() {
            self.back_off(reason, 0, true, step);
            return;
        }
        let wait_ms = self.wait_ms(step);
        self.refresh_ms = Some(step.now_ms + wait_ms);
    }

    /// Counts a failure; gives how long to wait.
    fn wait_ms(&mut self, step: &mut Step<'_, F>) -> u64 {
        self.failures = self.failures.saturating_add(1);
        let wait_ms = self
            .options
            .backoff
            .full_jitter_ms(self.failures, (step.unit)());
        wait_ms.max(self.server_retry_ms.take().unwrap_or(0))
    }

    fn back_off(
        &mut self,
        reason: String,
        at_least_ms: u64,
        is_failure: bool,
        step: &mut Step<'_, F>,
    ) {
        let wait_ms = if is_failure { self.wait_ms(step) } else { 0 };
        let until_ms = step.now_ms + wait_ms.max(at_least_ms);
        self.phase = Phase::Waiting { until_ms };
        step.put(Output::Status(Status::Disconnected {
            reason,
            attempt: self.failures,
            next_try_ms: self.options.attempts.next_ms(until_ms),
        }));
    }

    fn check_deadlines(&mut self, step: &mut Step<'_, F>) {
        let now_ms = step.now_ms;
        if let Some(old) = self.old.filter(|old| old.deadline_ms <= now_ms) {
            self.old = None;
            step.put(Output::Drop(old.socket));
        }
        if let Some((socket, _)) = self.next.filter(|(_, deadline)| *deadline <= now_ms) {
            step.put(Output::Drop(socket));
            let text = format!("no answer within {} ms", self.options.open_ms);
            self.missed(text, step);
        }
    }

    fn watch(&mut self, step: &mut Step<'_, F>) {
        if matches!(self.phase, Phase::Ending(_)) {
            return;
        }
        while let Some(live) = &mut self.main {
            let socket = live.socket;
            let is_paused = live.waiting >= FRAMES_WAITING_MAX;
            match live.watch(step.now_ms, is_paused) {
                None => return,
                Some(Watch::Probe) => step.put(Output::Probe(socket)),
                Some(Watch::Beat(frame)) => match self.filled(&frame) {
                    Some(frame) => step.put(Output::Beat(socket, frame)),
                    None => step.put(Output::Probe(socket)),
                },
                Some(Watch::Dead(reason)) => {
                    step.put(Output::Close {
                        socket,
                        code: CLOSE_KEPT,
                        reason: "no sign of life",
                    });
                    step.put(Output::Drop(socket));
                    self.lose(reason, step);
                }
            }
        }
    }

    fn filled(&self, frame: &Value) -> Option<Value> {
        let cursor = match &self.cursor {
            Some(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            None => Value::Null,
        };
        fill(frame, &[("cursor", &cursor)]).ok()
    }

    fn send(&mut self, id: u64, socket: Option<Socket>, step: &mut Step<'_, F>) {
        let again_ms = match self.phase {
            Phase::Waiting { until_ms } => {
                let at_ms = self.options.attempts.next_ms(until_ms);
                at_ms.saturating_sub(step.now_ms) + SEND_AGAIN_MS
            }
            _ => SEND_AGAIN_MS,
        };
        let is_ending = matches!(self.phase, Phase::Ending(_)) && socket.is_none();
        match &mut self.main {
            Some(live)
                if !is_ending
                    && socket.is_none_or(|socket| socket == live.socket)
                    && live.sends < SENDS_WAITING_MAX =>
            {
                live.sends += 1;
                step.put(Output::Send(live.socket, id));
            }
            _ => match socket.filter(|socket| self.is_writable(*socket)) {
                // Only the frame at work says something to a socket that was replaced.
                Some(socket) if self.live(socket).is_none() => step.put(Output::Send(socket, id)),
                _ => step.put(Output::Refuse(id, again_ms)),
            },
        }
    }

    fn reconnect(&mut self, after_ms: u64, reason: String, step: &mut Step<'_, F>) {
        if after_ms > 0 {
            self.replace(after_ms, reason, step);
            return;
        }
        if self.next.is_some() || self.refresh_ms.is_some() {
            return;
        }
        // A server that asks for it again and again is not obeyed at once.
        let wait_ms = if self.settled(step.now_ms) {
            0
        } else {
            self.wait_ms(step)
        };
        self.refresh_ms = Some(step.now_ms + wait_ms);
    }

    /// The connection has lived for long enough; then the waits begin at the start.
    fn settled(&mut self, now_ms: u64) -> bool {
        let stable_ms = self.options.stable_ms;
        let lives = self.main.as_ref().map(|live| live.opened_ms + stable_ms);
        let is_settled = lives.is_some_and(|at| at <= now_ms);
        if is_settled {
            self.failures = 0;
        }
        is_settled
    }

    /// Closes the connection, and makes another one after a time.
    fn replace(&mut self, after_ms: u64, reason: String, step: &mut Step<'_, F>) {
        let is_settled = self.settled(step.now_ms);
        let Some(live) = self.main.take() else { return };
        step.put(Output::Close {
            socket: live.socket,
            code: self.goodbye(),
            reason: "connecting again",
        });
        step.put(Output::Drop(live.socket));
        self.refresh_ms = None;
        if let Some((next, _)) = self.next.take() {
            step.put(Output::Drop(next));
        }
        self.back_off(reason, after_ms, !is_settled, step);
    }

    /// The code that ends the session, or keeps it where there is something to go on from.
    fn goodbye(&self) -> u16 {
        match self.cursor {
            Some(_) => CLOSE_KEPT,
            None => CLOSE_DONE,
        }
    }

    fn lock_lost(&mut self, step: &mut Step<'_, F>) {
        if matches!(self.phase, Phase::Idle | Phase::Ended) {
            return;
        }
        self.work = None;
        self.queue.clear();
        self.close_all(step);
        self.phase = Phase::Idle;
        step.put(Output::Ended(End::LockLost));
    }

    fn close_all(&mut self, step: &mut Step<'_, F>) {
        let code = self.goodbye();
        if let Some(socket) = self.opening() {
            step.put(Output::Drop(socket));
        }
        let open = self.main.take().map(|live| live.socket);
        if let Some(socket) = open {
            step.put(Output::Close {
                socket,
                code,
                reason: "leaving",
            });
            step.put(Output::Drop(socket));
        }
        if let Some(old) = self.old.take() {
            step.put(Output::Drop(old.socket));
        }
        (self.next, self.refresh_ms) = (None, None);
    }

    fn end(&mut self, kind: EndKind, step: &mut Step<'_, F>) {
        // Nothing new is opened from here on.
        if let Some((next, _)) = self.next.take() {
            step.put(Output::Drop(next));
        }
        if !self.is_idle() {
            return;
        }
        self.close_all(step);
        self.phase = Phase::Ended;
        step.put(Output::Ended(match kind {
            EndKind::Stopped => End::Stopped,
            EndKind::Fatal => End::Fatal,
        }));
    }
}
