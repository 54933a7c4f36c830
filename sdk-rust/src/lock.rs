//! Locks: named rights across processes and hosts, fenced by a token.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{
    LockAcquireParams, LockAcquireResult, LockReleaseParams, LockRenewParams, LockRenewResult,
    method,
};

use crate::duration::{IntoDuration, in_ms};
use crate::hub::{Hub, Stop};
use crate::pace::Pace;

/// How long a lock outlives its holder, unless said otherwise.
const TTL: Duration = Duration::from_secs(30);

/// Is a lock being taken: set options, then await it.
///
/// ```
/// # async fn example(ctx: trunkline::Context) -> trunkline::Result<()> {
/// let lock = ctx.lock("poller").ttl("30s").wait("10s").await?;
/// let fence = lock.token();
/// lock.release().await?;
/// # let _ = fence; Ok(()) }
/// ```
#[must_use = "nothing is locked until it is awaited"]
pub struct Acquire {
    hub: Arc<Hub>,
    name: String,
    ttl: Result<Duration, Error>,
    wait: Result<Option<Duration>, Error>,
}

impl Acquire {
    pub(crate) fn new(hub: Arc<Hub>, name: String) -> Self {
        Self {
            hub,
            name,
            ttl: Ok(TTL),
            wait: Ok(None),
        }
    }

    /// Says how long the lock outlives a holder that vanished. It is renewed while it is held.
    pub fn ttl(mut self, ttl: impl IntoDuration) -> Self {
        self.ttl = ttl.into_duration();
        self
    }

    /// Waits this long for another holder, instead of failing with `lock_held` at once.
    pub fn wait(mut self, wait: impl IntoDuration) -> Self {
        self.wait = wait.into_duration().map(Some);
        self
    }
}

impl IntoFuture for Acquire {
    type Output = Result<Lock, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let ttl = self.ttl?;
            let params = LockAcquireParams {
                name: self.name.clone(),
                ttl_ms: in_ms(ttl),
                wait_ms: self.wait?.map(in_ms),
            };
            let lost = Arc::new(Stop::default());
            let waiting = Waiting::new(&self.hub, &self.name);
            let (hub, name, told) = (self.hub.clone(), self.name.clone(), lost.clone());
            let granted = waiting.grant.clone();
            let taken: LockAcquireResult = self
                .hub
                .call_seen(
                    method::LOCK_ACQUIRE,
                    &params,
                    Box::new(move |answer| {
                        hub.hold(&name, told);
                        if let Ok(taken) = answer.parse::<LockAcquireResult>()
                            && granted.set(taken.token)
                        {
                            release(&hub, &name, taken.token);
                        }
                    }),
                )
                .await?;
            waiting.grant.keep();
            let lock = LockReleaseParams {
                name: self.name,
                token: taken.token,
            };
            let keeper = tokio::spawn(keep(self.hub.clone(), lock.clone(), ttl, lost.clone()));
            Ok(Lock {
                hub: self.hub,
                held: Some(lock),
                token: taken.token,
                lost,
                keeper,
            })
        })
    }
}

/// A wait for a lock. Whoever stops waiting gives back what was granted meanwhile, or still is.
struct Waiting {
    hub: Arc<Hub>,
    name: String,
    grant: Arc<Grant>,
}

/// What became of a wait.
#[derive(Default)]
struct Grant(Mutex<(Option<u64>, bool)>);

impl Grant {
    fn state(&self) -> MutexGuard<'_, (Option<u64>, bool)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the token; true when nobody waits for it any more.
    fn set(&self, token: u64) -> bool {
        let mut state = self.state();
        state.0 = Some(token);
        state.1
    }

    /// The lock is somebody's now, who gives it back.
    fn keep(&self) {
        *self.state() = (None, false);
    }

    /// Nobody waits any more; gives what there is to give back.
    fn leave(&self) -> Option<u64> {
        let mut state = self.state();
        state.1 = true;
        state.0.take()
    }
}

impl Waiting {
    fn new(hub: &Arc<Hub>, name: &str) -> Self {
        Self {
            hub: hub.clone(),
            name: name.to_owned(),
            grant: Arc::default(),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(token) = self.grant.leave() {
            release(&self.hub, &self.name, token);
        }
    }
}

fn release(hub: &Hub, name: &str, token: u64) {
    hub.unhold(name);
    if let Some(link) = hub.link() {
        let name = name.to_owned();
        link.notify(method::LOCK_RELEASE, &LockReleaseParams { name, token });
    }
}

/// Renews the lock at a third of its time, until that is refused.
async fn keep(hub: Arc<Hub>, lock: LockReleaseParams, ttl: Duration, lost: Arc<Stop>) {
    let pace = Pace::new(&hub);
    let ttl_ms = in_ms(ttl);
    let mut good_until_ms = pace.now_ms() + ttl_ms;
    while !lost.is_set() {
        pace.until(Some(pace.now_ms() + ttl_ms / 3)).await;
        let params = LockRenewParams {
            name: lock.name.clone(),
            token: lock.token,
            ttl_ms: None,
        };
        let asked_ms = pace.now_ms();
        if hub.is_asleep() {
            good_until_ms = asked_ms + ttl_ms;
            continue;
        }
        let renewed = tokio::time::timeout(
            Duration::from_millis(good_until_ms.saturating_sub(asked_ms)),
            hub.call::<LockRenewResult>(method::LOCK_RENEW, &params),
        )
        .await;
        match renewed {
            Ok(Ok(_)) => good_until_ms = asked_ms + ttl_ms,
            Ok(Err(error)) if error.code.retryable() && asked_ms < good_until_ms => {}
            Ok(Err(_)) | Err(_) => lost.set(),
        }
    }
}

/// Is a lock that is held, and renewed, until it is released, dropped, or lost.
pub struct Lock {
    hub: Arc<Hub>,
    held: Option<LockReleaseParams>,
    token: u64,
    lost: Arc<Stop>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Lock {
    /// Gives the fencing token: it grows with every holder.
    pub fn token(&self) -> u64 {
        self.token
    }

    #[cfg(feature = "host")]
    pub(crate) fn lost_flag(&self) -> Arc<Stop> {
        self.lost.clone()
    }

    /// Says whether somebody else may hold it by now.
    pub fn is_lost(&self) -> bool {
        self.lost.is_set()
    }

    /// Waits until the lock is lost.
    pub async fn lost(&self) {
        self.lost.wait().await;
    }

    /// Gives it back.
    ///
    /// # Errors
    /// [`Code::LockLost`] when it was lost before.
    pub async fn release(mut self) -> Result<(), Error> {
        let Some(lock) = self.held.take() else {
            return Ok(());
        };
        self.hub.unhold(&lock.name);
        if self.is_lost() {
            let text = format!("the lock {:?} was lost before it was released", lock.name);
            return Err(Error::new(Code::LockLost, text));
        }
        self.hub
            .call::<serde::de::IgnoredAny>(method::LOCK_RELEASE, &lock)
            .await
            .map(drop)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.keeper.abort();
        if let Some(lock) = self.held.take() {
            release(&self.hub, &lock.name, lock.token);
        }
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
