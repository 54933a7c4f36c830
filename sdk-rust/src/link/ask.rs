//! Calls to the broker: how they are lined up, and who gets the answer.
//!
//! A call that is no frame the broker takes fails at once: the broker could not even say which one it was.

use serde::Serialize;
use tokio::sync::oneshot;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{self, method};

use super::calls::{Answer, Seen, Waiter};
use super::state::Link;
use super::traffic::Traffic;
use crate::faults::{Fault, storage_full};

/// What a call goes out among.
#[derive(Clone, Copy)]
enum Lane {
    Control,
    Data,
}

impl Link {
    /// Lines a call up. Whoever waits has the error at once if the link has ended, or if the call is
    /// too large.
    fn ask(&self, waiter: Waiter, lane: Lane, method: &str, params: &impl Serialize) {
        let most = self.frame_bytes_max();
        let refused = self.append(|rest| {
            if let Some(error) = &rest.closed {
                return Some((waiter, error.clone()));
            }
            let id = rest.calls.add(waiter);
            let bytes = write(rest, lane, id, method, params, most)?;
            let waiter = rest.calls.take(&id.to_string())?;
            let text = format!(
                "expected a call of {method} of at most {most} bytes, found {bytes}\n\
                 hint: what is large belongs into a blob"
            );
            Some((waiter, Error::new(Code::FrameTooLarge, text)))
        });
        if let Some((waiter, error)) = refused {
            if waiter.holds_slot() {
                self.free_slot();
            }
            waiter.complete(Err(error));
        }
    }

    /// Calls the broker on the data lane: its order relative to publishes and acks is kept.
    pub(crate) async fn call_data(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<Answer, Error> {
        self.admitted().await?;
        if self.strikes(Fault::StorageFull) {
            self.free_slot();
            return Err(storage_full());
        }
        let (sender, answer) = oneshot::channel();
        let waiter = Waiter::call(sender, None, method);
        self.ask(waiter, Lane::Data, method, params);
        answer.await.unwrap_or_else(|_| Err(self.closed_error()))
    }

    /// Calls the broker on the control lane: ahead of the data that waits.
    pub(crate) async fn call(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<Answer, Error> {
        self.call_seen(method, params, None).await
    }

    /// Calls the broker on the control lane; `seen` runs before any later notification is handled.
    pub(crate) async fn call_seen(
        &self,
        method: &str,
        params: &impl Serialize,
        seen: Option<Seen>,
    ) -> Result<Answer, Error> {
        self.admitted().await?;
        let (sender, answer) = oneshot::channel();
        let waiter = Waiter::call(sender, seen, method);
        self.ask(waiter, Lane::Control, method, params);
        answer.await.unwrap_or_else(|_| Err(self.closed_error()))
    }

    /// Calls the broker on the data lane; returns when the call is lined up. What `then` gives runs
    /// with the answer, after everything that arrived before it.
    pub(crate) async fn call_in_order(
        &self,
        method: &str,
        params: &impl Serialize,
        then: impl FnOnce() -> Box<dyn FnOnce(Result<Answer, Error>) + Send>,
    ) -> Result<(), Error> {
        self.admitted().await?;
        self.ask(Waiter::InOrder(then()), Lane::Data, method, params);
        Ok(())
    }

    /// Calls the broker on the data lane without waiting; `then` runs with the answer, or with
    /// the error when there will be none. Only for what credit bounds: it is never held back.
    pub(crate) fn call_then(
        &self,
        method: &str,
        params: &impl Serialize,
        then: impl FnOnce(Result<Answer, Error>) + Send + 'static,
    ) {
        if method == method::BROKER_COMMIT && self.strikes(Fault::StorageFull) {
            return then(Err(storage_full()));
        }
        let waiter = Waiter::Then {
            then: Box::new(then),
            holds_slot: false,
        };
        self.ask(waiter, Lane::Data, method, params);
    }

    /// Does the same where somebody waits for the answer, if there is room for it now: it counts as a
    /// call. False when there is none, and `then` was not taken.
    #[cfg(feature = "host")]
    pub(crate) fn try_call_data(
        &self,
        method: &str,
        params: &impl Serialize,
        then: impl FnOnce(Result<Answer, Error>) + Send + 'static,
    ) -> bool {
        if self.faults().is_some() || !matches!(self.has_room_now(), Ok(true)) {
            return false;
        }
        if !self.take_slot() {
            return false;
        }
        let waiter = Waiter::Then {
            then: Box::new(then),
            holds_slot: true,
        };
        self.ask(waiter, Lane::Data, method, params);
        true
    }
}

/// Appends a call to its lane, unless it is too large: then it gives how large.
fn write(
    rest: &mut Traffic,
    lane: Lane,
    id: u64,
    method: &str,
    params: &impl Serialize,
    most: usize,
) -> Option<usize> {
    let mut too_large = None;
    let write = |out: &mut Vec<u8>| {
        let before = out.len();
        rpc::write_request(out, id, method, params);
        // The newline does not count.
        let bytes = out.len() - before - 1;
        if bytes > most {
            out.truncate(before);
            too_large = Some(bytes);
        }
    };
    match lane {
        Lane::Control => rest.outbox.control(write),
        Lane::Data => rest.outbox.data(write),
    }
    too_large
}
