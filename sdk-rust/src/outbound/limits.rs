//! Waits for a rate: short ones inside the handing-over, long ones with the broker.
//!
//! The counts are kept in memory: after a restart of the process they begin anew, so that in the
//! first period twice the rate may go out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{SystemInfoResult, method};
use trunkline_patterns::rate::{Bucket, Rate, Table};

use crate::context::Context;
use crate::kv::NOTHING;

/// The rates of one instance, as far as there are any.
pub(super) struct Limits {
    state: Option<Mutex<State>>,
    epoch: Instant,
}

struct State {
    all: Option<Bucket>,
    target: Option<Table>,
}

impl State {
    /// Takes one of both, or of none; else says how long to wait.
    fn take(&mut self, target: &str, now_ms: u64) -> Result<(), u64> {
        let all = self.all.as_mut().map_or(Ok(()), |all| all.check(now_ms));
        let of_target = match &mut self.target {
            Some(table) => table.check(target, now_ms),
            None => Ok(()),
        };
        if all.is_err() || of_target.is_err() {
            return Err(all.err().max(of_target.err()).unwrap_or(1));
        }
        if let Some(all) = &mut self.all {
            all.take(now_ms)?;
        }
        match &mut self.target {
            Some(table) => table.take(target, now_ms),
            None => Ok(()),
        }
    }
}

impl Limits {
    pub(super) fn new(all: Option<Rate>, target: Option<Rate>) -> Self {
        let state = (all.is_some() || target.is_some()).then(|| State {
            all: all.map(Bucket::new),
            target: target.map(Table::new),
        });
        Self {
            state: state.map(Mutex::new),
            epoch: Instant::now(),
        }
    }

    /// Takes a place, after waiting for it at most until `patience`.
    ///
    /// Gives how many milliseconds to wait elsewhere, where that is not enough.
    pub(super) async fn take(
        &self,
        ctx: &Context,
        target: &str,
        patience: Instant,
    ) -> Result<Option<u64>, Error> {
        let Some(state) = &self.state else {
            return Ok(None);
        };
        let is_test = ctx.handling().link.faults().is_some();
        loop {
            let now_ms = if is_test {
                broker_now_ms(ctx).await?
            } else {
                u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
            };
            let taken = {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.take(target, now_ms)
            };
            let Err(wait_ms) = taken else {
                return Ok(None);
            };
            let until = Instant::now() + Duration::from_millis(wait_ms);
            // The clock of a test moves only while nobody works.
            if is_test || until > patience || ctx.is_cancelled() {
                return Ok(Some(wait_ms));
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = ctx.cancelled() => {}
            }
        }
    }
}

/// The clock that a test moves is the broker's.
async fn broker_now_ms(ctx: &Context) -> Result<u64, Error> {
    let info: SystemInfoResult = ctx.request(method::SYSTEM_INFO, &NOTHING).await?;
    let now: jiff::Timestamp = info.now.parse().map_err(|error| {
        let text = format!("the broker's clock could not be read: {error}");
        Error::new(Code::Internal, text)
    })?;
    Ok(u64::try_from(now.as_millisecond()).unwrap_or(0))
}
