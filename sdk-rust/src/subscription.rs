//! Subscriptions that are read by hand: a stream of deliveries, each settled by who reads it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::{EPHEMERAL_PENDING_MAX, HANDLER_TIMEOUT_MS};
use trunkline_contract::rpc::{
    Credit, HandlerError, Hold, NakItem, RetryPolicy, SeekParams, SeekResult, Start,
    SubscribeParams, SubscribeResult, UnsubscribeParams, method,
};
use trunkline_contract::topic::Filter;

use crate::duration::{IntoDuration, in_ms};
use crate::event::Event;
use crate::hub::{Hub, Pull, Pulled};
use crate::incoming::{DeliveryInfo, Incoming};
use crate::link::{Lease, Link};
use crate::outcome::{Reject, Retry};
use crate::settle::{nak_item, nak_params, reject_item, reject_params};

/// Is a subscription being made: set options, then await it.
#[must_use = "nothing is subscribed until it is awaited"]
pub struct Subscribe {
    hub: Arc<Hub>,
    filters: Vec<String>,
    name: Option<String>,
    group: Option<String>,
    start: Start,
    credit: Credit,
    retry: RetryPolicy,
    hold: Option<Hold>,
    expire: Result<Option<Duration>, Error>,
    timeout: Result<Duration, Error>,
}

impl Subscribe {
    pub(crate) fn new(hub: Arc<Hub>, filters: Vec<String>) -> Self {
        Self {
            hub,
            filters,
            name: None,
            group: None,
            start: Start::New,
            credit: Credit::default(),
            retry: RetryPolicy::default(),
            hold: None,
            expire: Ok(None),
            timeout: Ok(Duration::from_millis(HANDLER_TIMEOUT_MS)),
        }
    }

    /// Names it: the same name goes on where it stopped.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Shares it with the other processes of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Says where it begins when it is new.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Says how many events may be in flight.
    pub fn credit(mut self, events: u32) -> Self {
        self.credit.events = events;
        self
    }

    /// Says how failures are handled, where the defaults do not fit.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Says how much it may keep back for this subscription.
    pub fn hold(mut self, hold: Hold) -> Self {
        self.hold = Some(hold);
        self
    }

    /// Lets it hold nothing any more once nobody has read it for this long.
    pub fn expire(mut self, after: impl IntoDuration) -> Self {
        self.expire = after.into_duration().map(Some);
        self
    }

    /// Says how long one delivery may be worked on.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.timeout = timeout.into_duration();
        self
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<Subscription, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Some(name) = self.name.clone() else {
                let text = "expected a name, so that the subscription goes on where it stopped";
                return Err(Error::new(Code::InvalidArguments, text));
            };
            let filters: Result<Vec<_>, _> = self
                .filters
                .iter()
                .map(|filter| Filter::parse(filter))
                .collect();
            let params = SubscribeParams {
                name: name.clone(),
                filters: filters?,
                group: self.group,
                start: self.start,
                credit: self.credit,
                retry: (self.retry != RetryPolicy::default()).then_some(self.retry),
                hold: self.hold,
                expire_ms: self.expire?.map(in_ms),
            };
            let timeout = self.timeout?;
            let room = self.credit.events as usize + EPHEMERAL_PENDING_MAX;
            let (sender, events) = mpsc::channel(room);
            let moves = Arc::<AtomicU64>::default();
            self.hub.pull(Pull {
                params: params.clone(),
                sender,
                moves: moves.clone(),
            })?;
            // On the lane on which a subscription of this name was left, so that this comes after it.
            let answered = self
                .hub
                .call_data(method::BROKER_SUBSCRIBE, &params, false)
                .await;
            match answered.and_then(|answer| answer.parse::<SubscribeResult>()) {
                Ok(result) => Ok(Subscription {
                    hub: self.hub,
                    name,
                    result,
                    timeout,
                    events: AsyncMutex::new(events),
                    moves,
                    is_over: AtomicBool::new(false),
                }),
                Err(error) => {
                    self.hub.unpull(&name);
                    Err(error)
                }
            }
        })
    }
}

/// Gives the events of a subscription one by one.
///
/// Dropping it leaves the subscription: it is kept, and goes on where it stopped.
pub struct Subscription {
    hub: Arc<Hub>,
    name: String,
    result: SubscribeResult,
    timeout: Duration,
    events: AsyncMutex<mpsc::Receiver<Pulled>>,
    moves: Arc<AtomicU64>,
    is_over: AtomicBool,
}

impl Subscription {
    /// Gives its full name.
    pub fn name(&self) -> &str {
        &self.result.subscription
    }

    /// Says whether it is new.
    pub fn is_created(&self) -> bool {
        self.result.created
    }

    /// Gives the number up to which everything was settled when it was made.
    pub fn cursor(&self) -> u64 {
        self.result.cursor
    }

    /// Waits for the next event; none when the client was closed.
    ///
    /// Cancel safety: nothing is lost when it is dropped.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.next_shared().await
    }

    /// The same for several who wait: one after the other gets an event.
    pub(crate) async fn next_shared(&self) -> Option<Delivery> {
        loop {
            let pulled = tokio::select! {
                biased;
                pulled = async { self.events.lock().await.recv().await } => pulled?,
                () = self.hub.stop.wait() => return None,
            };
            if pulled.moves == self.moves.load(Ordering::Acquire) {
                return Some(self.delivery(pulled));
            }
            // From before a move: the broker gives it again if it is still wanted.
            give_back(&pulled);
        }
    }

    fn delivery(&self, pulled: Pulled) -> Delivery {
        let Pulled {
            link,
            incoming,
            lease,
            ..
        } = pulled;
        link.finish(lease);
        let lease = link.begin(incoming.delivery(), Instant::now() + self.timeout);
        Delivery {
            link,
            incoming,
            lease,
            is_settled: false,
        }
    }

    /// Moves it; what was given and not settled becomes stale.
    pub async fn seek(&self, to: Start) -> Result<u64, Error> {
        let params = SeekParams {
            subscription: self.name.clone(),
            to,
        };
        let moves = self.moves.clone();
        let seen = Box::new(move |_: &_| {
            moves.fetch_add(1, Ordering::AcqRel);
        });
        let moved: SeekResult = self
            .hub
            .call_seen(method::BROKER_SEEK, &params, seen)
            .await?;
        Ok(moved.cursor)
    }

    /// Deletes it with all that it holds.
    pub async fn delete(self) -> Result<(), Error> {
        self.delete_shared().await
    }

    pub(crate) async fn delete_shared(&self) -> Result<(), Error> {
        self.is_over.store(true, Ordering::Release);
        self.hub.unpull(&self.name);
        let params = UnsubscribeParams {
            subscription: self.name.clone(),
            delete: true,
        };
        let link = self.hub.linked().await?;
        link.flush_acks();
        link.call_data(method::BROKER_UNSUBSCRIBE, &params)
            .await
            .map(drop)
    }
}

/// Hands back what was not read.
fn give_back(pulled: &Pulled) {
    pulled.link.finish(pulled.lease);
    crate::dispatch::give_back(&pulled.link, &pulled.incoming);
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.unpull(&self.name);
        let events = self.events.get_mut();
        events.close();
        while let Ok(pulled) = events.try_recv() {
            give_back(&pulled);
        }
        if let Some(link) = self.hub.link().filter(|_| !*self.is_over.get_mut()) {
            let params = UnsubscribeParams {
                subscription: self.name.clone(),
                delete: false,
            };
            // What was acked must be so before the subscription is left.
            link.flush_acks();
            link.call_then(method::BROKER_UNSUBSCRIBE, &params, |verdict| {
                if let Err(error) = verdict {
                    tracing::debug!(%error, "A subscription was not left in order.");
                }
            });
        }
    }
}

/// Is one event of a subscription, to be settled by `ack`, `nak` or `reject`.
///
/// Its lease is extended while it is held. Dropped unsettled it is a failed attempt.
#[must_use = "a delivery that is dropped comes again"]
pub struct Delivery {
    link: Arc<Link>,
    incoming: Box<Incoming>,
    lease: Option<Lease>,
    is_settled: bool,
}

impl Delivery {
    /// Gives the envelope, its payload undecoded.
    pub fn event(&self) -> Result<Event, Error> {
        self.incoming.event()
    }

    /// Reads the payload as a `T`.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.incoming.payload_as()
    }

    /// Gives the topic.
    pub fn topic(&self) -> &str {
        self.incoming.topic()
    }

    /// Gives the event's id.
    pub fn id(&self) -> &str {
        self.incoming.id()
    }

    /// Gives the conversation.
    pub fn session_id(&self) -> Option<&str> {
        self.incoming.session_id()
    }

    /// Gives the id of the event that this one answers.
    pub fn correlation_id(&self) -> Option<&str> {
        self.incoming.correlation_id()
    }

    /// Gives the envelope's text as it came.
    pub fn raw(&self) -> &str {
        self.incoming.raw()
    }

    /// Says which attempt this is; none for an ephemeral event.
    pub fn info(&self) -> Option<&DeliveryInfo> {
        self.incoming.delivery()
    }

    /// Settles it as handled.
    pub fn ack(mut self) {
        if let Some(delivery) = self.incoming.delivery() {
            self.link.ack(&delivery.id);
        }
        self.is_settled = true;
    }

    /// Asks for it again later.
    ///
    /// # Errors
    /// [`Code::InvalidArguments`] when the time in `retry` is none.
    pub fn nak(mut self, retry: &Retry) -> Result<(), Error> {
        retry.after.as_ref().map_err(|error| (**error).clone())?;
        if let Some(delivery) = self.incoming.delivery() {
            let params = nak_params(nak_item(delivery.id.clone(), retry));
            self.link.notify_data(method::BROKER_NAK, &params);
        }
        self.is_settled = true;
        Ok(())
    }

    /// Refuses it for good.
    pub fn reject(mut self, reject: &Reject) {
        if let Some(delivery) = self.incoming.delivery() {
            let params = reject_params(reject_item(delivery.id.clone(), reject));
            self.link.notify_data(method::BROKER_REJECT, &params);
        }
        self.is_settled = true;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.link.finish(self.lease);
        if let Some(delivery) = self.incoming.delivery().filter(|_| !self.is_settled) {
            let item = NakItem {
                delivery: delivery.id.clone(),
                delay_ms: None,
                reason: None,
                error: Some(HandlerError {
                    kind: "dropped".to_owned(),
                    message: "the delivery was dropped before it was settled".to_owned(),
                    traceback: None,
                }),
                counted: true,
            };
            self.link.notify_data(method::BROKER_NAK, &nak_params(item));
        }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("topic", &self.topic())
            .field("id", &self.id())
            .field("info", &self.info())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
