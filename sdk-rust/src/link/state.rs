//! The link itself: everything that the pump, the handlers and the guard share.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::frame::Decoder;
use trunkline_contract::limits::{BAD_FRAMES_MAX, LINK_UNWRITTEN_BYTES_MAX, PENDING_CALLS_MAX};
use trunkline_contract::rpc::{self, method};

use super::io::Stream;
use super::leases::Lease;
use super::traffic::{Deliveries, InOrder, Inbound, Request, Traffic};
use crate::faults::{Fault, Faults, KillAt};
use crate::incoming::DeliveryInfo;

/// How much one turn reads before it lets others run.
const TURN_BYTES: usize = 256 * 1024;
const READ_BYTES: usize = 64 * 1024;
/// One connection; see the module's documentation.
pub(crate) struct Link {
    stream: Stream,
    state: Mutex<State>,
    /// There is something to write, or to take.
    wake: Notify,
    /// The outbox has room again.
    room: Notify,
    /// Everything is written and answered.
    quiet: Notify,
    slots: Semaphore,
    in_flight: AtomicUsize,
    /// The largest frame that either side takes.
    frame_bytes_max: AtomicUsize,
    faults: OnceLock<Arc<Faults>>,
    pub(crate) killed: crate::hub::Stop,
    /// Host and port of the broker, where it is reached over the network.
    origin: OnceLock<String>,
    pub(super) turns: AtomicU64,
    /// How long the owner's loop has not turned, as pings are told.
    lag_ms: AtomicU64,
}

struct State {
    decoder: Decoder,
    rest: Traffic,
}

/// What a turn of the pump found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pumped {
    /// There may be more to read at once.
    More,
    /// Everything there was has been read.
    Empty,
    /// The link has ended.
    Closed,
}

impl Link {
    /// Puts a link on a stream. Nothing moves until it is driven.
    pub(crate) fn new(stream: Stream, frame_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            stream,
            state: Mutex::new(State {
                decoder: Decoder::new(frame_bytes_max),
                rest: Traffic::default(),
            }),
            wake: Notify::new(),
            room: Notify::new(),
            quiet: Notify::new(),
            slots: Semaphore::new(PENDING_CALLS_MAX),
            in_flight: AtomicUsize::new(0),
            frame_bytes_max: AtomicUsize::new(frame_bytes_max),
            faults: OnceLock::new(),
            killed: crate::hub::Stop::default(),
            origin: OnceLock::new(),
            turns: AtomicU64::new(0),
            lag_ms: AtomicU64::new(0),
        })
    }

    /// The faults that a test planted.
    pub(crate) fn faults(&self) -> Option<&Faults> {
        self.faults.get().map(|faults| &**faults)
    }

    /// Dies here, if a test wants it so.
    pub(crate) fn dies(&self, at: KillAt) -> bool {
        let dies = self.faults().is_some_and(|faults| faults.dies(at));
        if dies {
            self.die();
        }
        dies
    }

    pub(super) fn strikes(&self, fault: Fault) -> bool {
        self.faults().is_some_and(|faults| faults.strikes(fault))
    }

    #[cfg(feature = "testing")]
    pub(crate) fn plant(&self, faults: Arc<Faults>) {
        self.faults.get_or_init(|| faults);
    }

    /// Has the process end as one does that is killed: its tasks go before anything learns of it.
    pub(crate) fn die(&self) {
        self.killed.set();
    }

    /// Says how long the loop of the link's owner has not turned.
    #[cfg(feature = "host")]
    pub(crate) fn set_lag_ms(&self, lag_ms: u64) {
        self.lag_ms.store(lag_ms, Ordering::Relaxed);
    }

    pub(super) fn lag_ms(&self) -> u64 {
        self.lag_ms.load(Ordering::Relaxed)
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that panics runs under this lock; a poisoned one would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where the broker is reached over the network.
    pub(crate) fn set_origin(&self, origin: String) {
        self.origin.get_or_init(|| origin);
    }

    /// Gives the host and port of the broker.
    ///
    /// # Errors
    /// `internal` when it was not reached over the network.
    pub(crate) fn origin(&self) -> Result<String, Error> {
        self.origin.get().cloned().ok_or_else(|| {
            let text = "expected a broker on the network, found one on this machine";
            Error::new(Code::Internal, text)
        })
    }

    /// Sets the largest frame that is read, as the handshake said.
    pub(crate) fn set_frame_bytes_max(&self, bytes: usize) {
        self.lock().decoder.set_frame_bytes_max(bytes);
        self.frame_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Gives the largest frame that either side takes.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max.load(Ordering::Relaxed)
    }

    /// Changes what waits to be written, and sees to it that somebody writes it.
    pub(super) fn append<R>(&self, change: impl FnOnce(&mut Traffic) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state.rest);
        let must_wake = !state.rest.is_driven && !state.rest.is_woken;
        state.rest.is_woken |= must_wake;
        drop(state);
        if must_wake {
            self.wake.notify_one();
        }
        result
    }

    /// Takes one of the link's slots for calls, if one is free.
    #[cfg(feature = "host")]
    pub(super) fn take_slot(&self) -> bool {
        self.slots
            .try_acquire()
            .map(tokio::sync::SemaphorePermit::forget)
            .is_ok()
    }

    /// Gives a slot for calls back.
    pub(super) fn free_slot(&self) {
        self.slots.add_permits(1);
    }

    /// Waits for room in the outbox and for a free call.
    pub(super) async fn admitted(&self) -> Result<(), Error> {
        let slot = self
            .slots
            .acquire()
            .await
            .map_err(|_| self.closed_error())?;
        slot.forget();
        // A slot of a link that has ended is of no use to anybody.
        self.has_room().await
    }

    /// Waits for room in the outbox.
    pub(crate) async fn has_room(&self) -> Result<(), Error> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.has_room_now()? {
                return Ok(());
            }
            room.await;
        }
    }

    pub(super) fn has_room_now(&self) -> Result<bool, Error> {
        let mut state = self.lock();
        if let Some(error) = &state.rest.closed {
            return Err(error.clone());
        }
        let has_room = state.rest.outbox.unwritten() < LINK_UNWRITTEN_BYTES_MAX;
        state.rest.is_awaited |= !has_room;
        Ok(has_room)
    }

    /// Gives an answer that kept its place to who waits for it.
    pub(super) fn give_answer(&self, InOrder(waiter, verdict): InOrder) {
        self.slots.add_permits(1);
        waiter.complete(verdict);
    }

    /// Tells how far a call is; while there is no room, a newer report replaces the older one.
    pub(crate) fn tell_progress(&self, call_id: &str, params: &impl Serialize) {
        self.append(|rest| {
            if rest.closed.is_some() {
                return;
            }
            if rest.has_room() && rest.progress.is_empty() {
                rest.outbox
                    .control(|out| rpc::write_notification(out, method::TOOL_PROGRESS, params));
                return;
            }
            let mut frame = Vec::new();
            rpc::write_notification(&mut frame, method::TOOL_PROGRESS, params);
            match rest.progress.iter_mut().find(|(of, _)| **of == *call_id) {
                Some((_, waiting)) => *waiting = frame,
                None => rest.progress.push((call_id.into(), frame)),
            }
        });
    }

    /// Writes the acks that wait for the end of the turn, ahead of what must come after them.
    pub(crate) fn flush_acks(&self) {
        self.append(Traffic::write_acks);
    }

    /// Tells the broker something on the data lane.
    pub(crate) fn notify_data(&self, method: &str, params: &impl Serialize) {
        self.append(|rest| {
            if rest.closed.is_none() && !self.killed.is_set() {
                rest.outbox
                    .data(|out| rpc::write_notification(out, method, params));
            }
        });
    }

    /// Tells the broker something ahead of the data that waits.
    pub(crate) fn notify(&self, method: &str, params: &impl Serialize) {
        self.append(|rest| {
            // Who was killed has no last words: what its tasks held is not given back as they go.
            if rest.closed.is_none() && !self.killed.is_set() {
                rest.outbox
                    .control(|out| rpc::write_notification(out, method, params));
            }
        });
    }

    /// Settles a delivery as handled; all acks of one turn travel together.
    pub(crate) fn ack(&self, delivery: &str) {
        if self.strikes(Fault::DropAck) {
            return;
        }
        self.append(|rest| {
            if rest.closed.is_none() {
                rest.acks.push(delivery.into());
            }
        });
    }

    /// Answers a request of the broker.
    pub(crate) fn answer(&self, request: &Request, answer: Result<&impl Serialize, &Error>) {
        self.append(|rest| {
            if rest.closed.is_none() {
                rest.outbox.control(|out| match answer {
                    Ok(result) => rpc::write_result(out, &request.id, result),
                    Err(error) => rpc::write_error(out, Some(&request.id), error),
                });
            }
        });
    }

    /// Answers a request of the broker, after the data that was sent before.
    pub(crate) fn answer_data(&self, request: &Request, answer: Result<&impl Serialize, &Error>) {
        self.append(|rest| {
            if rest.closed.is_none() {
                rest.outbox.data(|out| match answer {
                    Ok(result) => rpc::write_result(out, &request.id, result),
                    Err(error) => rpc::write_error(out, Some(&request.id), error),
                });
            }
        });
    }

    /// Notes that a delivery is being worked on: its lease is extended until `until`.
    pub(crate) fn begin(&self, delivery: Option<&DeliveryInfo>, until: Instant) -> Option<Lease> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let delivery = delivery.filter(|delivery| delivery.lease_ms > 0)?;
        let lease = Duration::from_millis(delivery.lease_ms);
        let now = Instant::now();
        Some(self.lock().rest.leases.add(&delivery.id, lease, now, until))
    }

    /// Notes that the work of [`Link::begin`] is over.
    pub(crate) fn finish(&self, lease: Option<Lease>) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(lease) = lease {
            self.lock().rest.leases.remove(lease);
        }
    }

    /// Extends the leases that are due; gives the time to come again.
    pub(super) fn extend_due(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        let due = state.rest.leases.due(now);
        if !due.is_empty() && state.rest.closed.is_none() {
            let params = Deliveries { deliveries: &due };
            state
                .rest
                .outbox
                .control(|out| rpc::write_notification(out, method::BROKER_EXTEND, &params));
        }
        state.rest.leases.earliest()
    }

    /// Extends every lease now.
    #[cfg(feature = "testing")]
    pub(crate) fn extend_all(&self) {
        self.append(|rest| {
            let all = rest.leases.all();
            if !all.is_empty() && rest.closed.is_none() {
                let params = Deliveries { deliveries: &all };
                rest.outbox
                    .control(|out| rpc::write_notification(out, method::BROKER_EXTEND, &params));
            }
        });
    }

    /// Counts what is under way on this side.
    #[cfg(feature = "testing")]
    pub(crate) fn busy(&self) -> u64 {
        let state = self.lock();
        let rest = &state.rest;
        let is_waiting = usize::from(rest.is_at_work() && rest.closed.is_none());
        (is_waiting + rest.events_waiting + self.in_flight.load(Ordering::Relaxed)) as u64
    }

    /// Reads what is there and sorts it. Never blocks.
    pub(super) fn pump(&self, may_read: bool, lag_ms: u64) -> Pumped {
        let mut state = self.lock();
        let State { decoder, rest } = &mut *state;
        if rest.closed.is_some() {
            return Pumped::Closed;
        }
        rest.is_driven = true;
        rest.is_woken = false;
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let mut read = 0;
        let found = loop {
            if !may_read {
                break Ok(Pumped::Empty);
            }
            if read >= TURN_BYTES {
                break Ok(Pumped::More);
            }
            let spare = decoder.spare(READ_BYTES);
            let space = spare.len();
            match self.stream.read(spare) {
                Ok(0) => {
                    if let Some(frame) = decoder.finish() {
                        rest.take(frame, lag_ms, in_flight);
                    }
                    break Err(Error::new(Code::LinkLost, "the broker closed the link"));
                }
                Ok(bytes) => {
                    decoder.filled(bytes);
                    while let Some(frame) = decoder.next_frame() {
                        rest.take(frame, lag_ms, in_flight);
                    }
                    read += bytes;
                    // A short read means that the stream is empty; it saves the read that says so.
                    if bytes < space {
                        break Ok(Pumped::Empty);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(Pumped::Empty),
                Err(error) => {
                    let text = format!("the link to the broker broke: {error}");
                    break Err(Error::new(Code::LinkLost, text));
                }
            }
            if rest.bad_frames >= BAD_FRAMES_MAX {
                let text = format!("the broker sent {BAD_FRAMES_MAX} bad frames in a row");
                break Err(Error::new(Code::ProtocolViolation, text));
            }
        };
        let completions = std::mem::take(&mut rest.completions);
        drop(state);
        for (waiter, verdict) in completions {
            if waiter.holds_slot() {
                self.slots.add_permits(1);
            }
            waiter.complete(verdict);
        }
        match found {
            Ok(pumped) => pumped,
            Err(error) => {
                self.close(error);
                Pumped::Closed
            }
        }
    }

    /// Gives everything that has arrived for the owner.
    pub(super) fn take_inbound(&self, into: &mut VecDeque<Inbound>) {
        let mut state = self.lock();
        (state.rest.events_waiting, state.rest.ephemeral_waiting) = (0, 0);
        let dropped = std::mem::take(&mut state.rest.ephemeral_dropped);
        into.append(&mut state.rest.inbound);
        drop(state);
        if self.faults().is_some() {
            self.disturb(into);
        }
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "Ephemeral events came faster than they were handled."
            );
        }
    }

    /// Lets the planted faults of arriving events happen.
    fn disturb(&self, arrived: &mut VecDeque<Inbound>) {
        let mut at = 0;
        while at < arrived.len() {
            let Inbound::Event(event) = &arrived[at] else {
                at += 1;
                continue;
            };
            if self.strikes(Fault::LinkLost) {
                arrived.clear();
                self.close(Error::new(
                    Code::LinkLost,
                    "the link broke, as the test wants it",
                ));
                return;
            }
            if self.strikes(Fault::Duplicate) {
                let again = Box::new(event.again());
                arrived.insert(at + 1, Inbound::Event(again));
                at += 1;
            }
            at += 1;
        }
    }

    /// Writes answers now, ahead of the handlers of this turn, any of which may take its time.
    pub(super) fn flush_control(&self) {
        let mut state = self.lock();
        if state.rest.outbox.has_control() && state.rest.closed.is_none() {
            let broken = state.rest.write_out(&self.stream);
            drop(state);
            self.broken(broken);
        }
    }

    /// Writes what waits, as far as the stream takes it. Never blocks. Ends the turn.
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        let rest = &mut state.rest;
        rest.is_driven = false;
        if rest.closed.is_some() {
            return;
        }
        rest.write_acks();
        rest.write_progress();
        let broken = rest.write_out(&self.stream);
        let has_room = rest.outbox.unwritten() < LINK_UNWRITTEN_BYTES_MAX;
        let must_tell = has_room && std::mem::take(&mut rest.is_awaited);
        let is_quiet = rest.is_quiet();
        drop(state);
        if is_quiet {
            self.quiet.notify_waiters();
        }
        if must_tell {
            self.room.notify_waiters();
        }
        self.broken(broken);
    }

    fn broken(&self, broken: Option<std::io::Error>) {
        if let Some(error) = broken {
            let text = format!("the link to the broker broke: {error}");
            self.close(Error::new(Code::LinkLost, text));
        }
    }

    /// Says whether the stream took less than there was to write.
    pub(super) fn wants_write(&self) -> bool {
        self.lock().rest.wants_write
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends the link. Everybody who waits gets the error.
    pub(crate) fn close(&self, error: Error) {
        let mut state = self.lock();
        if state.rest.closed.is_some() {
            return;
        }
        state.rest.closed = Some(error.clone());
        state.rest.acks.clear();
        let waiting = state.rest.calls.take_all();
        drop(state);
        self.stream.shut();
        self.slots.close();
        for waiter in waiting {
            waiter.complete(Err(error.clone()));
        }
        self.room.notify_waiters();
        self.quiet.notify_waiters();
        self.wake.notify_one();
    }

    /// Says why the link has ended, if it has.
    pub(crate) fn closed(&self) -> Option<Error> {
        self.lock().rest.closed.clone()
    }

    pub(super) fn closed_error(&self) -> Error {
        self.closed()
            .unwrap_or_else(|| Error::new(Code::LinkLost, "the link has ended"))
    }

    /// Waits until everything was written and answered, at most for `patience`.
    pub(crate) async fn quiesce(&self, patience: Duration) {
        let settled = async {
            loop {
                let quiet = self.quiet.notified();
                tokio::pin!(quiet);
                quiet.as_mut().enable();
                if self.is_quiet() {
                    return;
                }
                quiet.await;
            }
        };
        if tokio::time::timeout(patience, settled).await.is_err() {
            tracing::warn!("The broker did not answer everything before the link was closed.");
        }
    }

    fn is_quiet(&self) -> bool {
        let state = self.lock();
        state.rest.is_quiet() || state.rest.closed.is_some()
    }

    /// Says whether there is something that the link's task would do, if it ran.
    pub(super) fn has_work(&self) -> bool {
        let earliest = self.lock().rest.leases.earliest();
        earliest.is_some_and(|due| due <= Instant::now()) || self.stream.is_readable()
    }
}
