//! Timers: the instance is told that it is time, by an event that is handled like every other one.
//!
//! The broker keeps them: they outlive this process and the broker's. The event of a timer comes at least
//! once, in the order of its session, and never while the one before is not settled.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::HANDLER_TIMEOUT_MS;
use trunkline_contract::rpc::{
    Misfire, TimerCancelParams, TimerCancelResult, TimerEntry, TimerFired, TimerListParams,
    TimerListResult, TimerSetParams, TimerSetResult, method,
};
use trunkline_contract::topic::Filter;

use crate::dispatch::{Route, Takes};
use crate::duration::{IntoDuration, in_ms};
use crate::engine::{Engine, Registered};
use crate::handler::{Handler, Work, forget};
use crate::hub::Hub;
use crate::incoming::Incoming;
use crate::payload::Bytes;
use crate::settle::Mode;

/// What the names of the patterns' own timers begin with.
pub(crate) const ENGINE: &str = "engine.";

/// Is when a timer is due, with what it gives back: used by [`Timers::set`], [`Batch::timer`] and
/// [`Timer::schedule`].
///
/// [`Batch::timer`]: crate::Batch::timer
///
/// ```
/// use trunkline::Schedule;
///
/// let soon = Schedule::after("5m").data(serde_json::json!({ "chat": 7 }));
/// let hourly = Schedule::every("1h").jitter("30s");
/// let morning = Schedule::cron("0 9 * * MON-FRI").tz("Europe/Berlin");
/// # let _ = (soon, hourly, morning);
/// ```
#[derive(Clone, Debug)]
pub struct Schedule {
    pub(crate) params: TimerSetParams,
    fault: Option<Error>,
}

impl Schedule {
    fn new(params: TimerSetParams) -> Self {
        Self {
            params,
            fault: None,
        }
    }

    fn timed(duration: impl IntoDuration, make: impl FnOnce(u64) -> TimerSetParams) -> Self {
        match duration.into_duration() {
            Ok(duration) => Self::new(make(in_ms(duration))),
            Err(error) => Self {
                params: TimerSetParams::default(),
                fault: Some(error),
            },
        }
    }

    /// Is due once, this long from now.
    pub fn after(delay: impl IntoDuration) -> Self {
        Self::timed(delay, |ms| TimerSetParams {
            after_ms: Some(ms),
            ..TimerSetParams::default()
        })
    }

    /// Is due again and again, with this interval, at least 1 s.
    pub fn every(interval: impl IntoDuration) -> Self {
        Self::timed(interval, |ms| TimerSetParams {
            every_ms: Some(ms),
            ..TimerSetParams::default()
        })
    }

    /// Is due once, at this instant: RFC 3339.
    pub fn at(instant: impl Into<String>) -> Self {
        Self::new(TimerSetParams {
            at: Some(instant.into()),
            ..TimerSetParams::default()
        })
    }

    /// Is due where the clocks match: 5 or 6 fields, or a nickname such as `@hourly`.
    pub fn cron(expression: impl Into<String>) -> Self {
        Self::new(TimerSetParams {
            cron: Some(expression.into()),
            ..TimerSetParams::default()
        })
    }

    /// Says whose clocks a cron expression is about: an IANA zone; else UTC.
    pub fn tz(mut self, zone: impl Into<String>) -> Self {
        self.params.tz = Some(zone.into());
        self
    }

    /// Lets each event come up to this much later than it is due.
    pub fn jitter(mut self, most: impl IntoDuration) -> Self {
        match most.into_duration() {
            Ok(most) => self.params.jitter_ms = in_ms(most),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// Says what becomes of due times that passed while nobody could act; else they are made up for once.
    pub fn misfire(mut self, misfire: Misfire) -> Self {
        self.params.misfire = misfire;
        self
    }

    /// Says what the events bring.
    pub fn data(mut self, data: impl Serialize) -> Self {
        match Bytes::encode(&data) {
            Ok(data) => self.params.data = Some(data.raw().to_owned()),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// Says which conversation the events belong to; else `timer:<name>`.
    pub fn session(mut self, session_id: impl Into<String>) -> Self {
        self.params.session = Some(session_id.into());
        self
    }

    /// Leaves a timer that was set with the same words as it is.
    pub fn keep(mut self) -> Self {
        self.params.keep = true;
        self
    }

    /// Gives the parameters of `timer.set` under a name of the author's.
    pub(crate) fn named(self, name: impl Into<String>) -> Result<TimerSetParams, Error> {
        let name = own(name.into())?;
        self.named_by_engine(name)
    }

    /// The same for a pattern, whose names begin with [`ENGINE`].
    pub(crate) fn named_by_engine(self, name: impl Into<String>) -> Result<TimerSetParams, Error> {
        match self.fault {
            Some(error) => Err(error),
            None => Ok(TimerSetParams {
                name: name.into(),
                ..self.params
            }),
        }
    }

    /// A schedule as the host wrote it.
    #[cfg(feature = "host")]
    pub(crate) fn of(params: TimerSetParams) -> Self {
        Self::new(params)
    }
}

/// Checks that a name is the author's to use.
pub(crate) fn own(name: String) -> Result<String, Error> {
    if name.starts_with(ENGINE) {
        let text = format!("expected a timer's name without {ENGINE:?} in front, found {name:?}");
        return Err(Error::new(Code::InvalidArguments, text));
    }
    Ok(name)
}

/// Reaches the timers of an instance.
///
/// ```
/// # async fn example(ctx: trunkline::Context) -> trunkline::Result<()> {
/// use trunkline::Schedule;
///
/// ctx.timer().set("digest", Schedule::cron("0 9 * * *").tz("Europe/Berlin")).await?;
/// ctx.timer().set("reminder/7", Schedule::after("5m").data("call back")).await?;
/// let reminders = ctx.timer().list("reminder/").await?;
/// ctx.timer().cancel("reminder/7").await?;
/// # let _ = reminders; Ok(()) }
/// ```
#[derive(Clone)]
pub struct Timers {
    hub: Arc<Hub>,
}

/// Is what became of a timer that was set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimerSet {
    /// When it is due first, RFC 3339; none where an `at` that is past was left unset by `keep`.
    pub due_at: Option<String>,
    /// It was left as it was.
    pub kept: bool,
}

impl From<TimerSetResult> for TimerSet {
    fn from(result: TimerSetResult) -> Self {
        Self {
            due_at: result.due_at,
            kept: result.kept,
        }
    }
}

impl Timers {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// Sets a timer, in place of one of the same name: await it.
    pub fn set(&self, name: impl Into<String>, schedule: Schedule) -> SetTimer {
        SetTimer {
            hub: self.hub.clone(),
            params: schedule.named(name),
        }
    }

    /// Cancels a timer; false where there was none. What it gave before still comes.
    ///
    /// # Errors
    /// What the broker says of the name.
    pub async fn cancel(&self, name: impl Into<String>) -> Result<bool, Error> {
        let params = TimerCancelParams {
            name: own(name.into())?,
        };
        let result: TimerCancelResult = self.hub.call(method::TIMER_CANCEL, &params).await?;
        Ok(result.cancelled)
    }

    /// Lists the timers whose names begin with `prefix`, by name. Those of patterns begin with `engine.`.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn list(&self, prefix: impl Into<String>) -> Result<Vec<TimerEntry>, Error> {
        let mut params = TimerListParams {
            prefix: prefix.into(),
            ..TimerListParams::default()
        };
        let mut timers = Vec::new();
        loop {
            let page: TimerListResult = self.hub.call(method::TIMER_LIST, &params).await?;
            timers.extend(page.timers);
            params.after = page.next;
            if params.after.is_none() {
                return Ok(timers);
            }
        }
    }
}

/// Is a timer being set: await it.
#[must_use = "nothing is set until it is awaited"]
pub struct SetTimer {
    hub: Arc<Hub>,
    params: Result<TimerSetParams, Error>,
}

impl IntoFuture for SetTimer {
    type Output = Result<TimerSet, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let params = self.params?;
            let result: TimerSetResult = self.hub.call(method::TIMER_SET, &params).await?;
            Ok(result.into())
        })
    }
}

/// Is a due time, as the handler of a timer gets it.
///
/// ```
/// use trunkline::{Result, TimerEvent};
///
/// async fn remind(timer: TimerEvent) -> Result<()> {
///     let chat: u64 = timer.data()?;
///     println!("{} of {chat}, due at {}", timer.name, timer.due_at);
///     Ok(())
/// }
/// # let _ = remind;
/// ```
#[derive(Clone, Debug, Deserialize)]
pub struct TimerEvent {
    /// The timer.
    pub name: String,
    /// When it was due, RFC 3339.
    pub due_at: String,
    /// Due times before this one that are not made up for.
    #[serde(default)]
    pub missed: u32,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

impl TimerEvent {
    /// Reads what the timer was set with.
    ///
    /// # Errors
    /// `invalid_payload` where it does not fit.
    pub fn data<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        let data = self.data.as_deref().unwrap_or(RawValue::NULL);
        Bytes::copy(data).json()
    }
}

/// Handles the events of one timer, and may say when it is due.
///
/// With a schedule the timer is set at each start, unless it was set with the same words before: so it keeps
/// its beat over restarts.
///
/// ```
/// use trunkline::{Plugin, Result, Schedule, Timer, TimerEvent};
///
/// async fn digest(timer: TimerEvent) -> Result<()> {
///     println!("the digest of {}", timer.due_at);
///     Ok(())
/// }
///
/// let plugin = Plugin::new("news")
///     .timer(Timer::new("digest", digest).schedule(Schedule::cron("0 9 * * *").tz("Europe/Berlin")));
/// # drop(plugin);
/// ```
#[derive(Clone)]
pub struct Timer {
    name: String,
    schedule: Option<Schedule>,
    timeout: Result<Duration, Error>,
    work: Work,
}

impl Timer {
    /// Handles the events of the timer of this name. A final `*` handles those of all names that begin so.
    pub fn new<Args: 'static>(name: impl Into<String>, handler: impl Handler<Args>) -> Self {
        Self {
            name: name.into(),
            schedule: None,
            timeout: Ok(Duration::from_millis(HANDLER_TIMEOUT_MS)),
            work: Work::Call(forget(handler)),
        }
    }

    /// Handles by somebody else.
    #[cfg(feature = "host")]
    pub(crate) fn work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// Sets the timer at each start.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = Some(schedule);
        self
    }

    /// Says how long handling one event may take.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.timeout = timeout.into_duration();
        self
    }

    pub(crate) fn registered(self) -> Registered {
        let name = own(self.name)?;
        let prefix = name.strip_suffix('*').map(str::to_owned);
        let timers = match (self.schedule, &prefix) {
            (None, _) => Vec::new(),
            (Some(schedule), None) => vec![schedule.keep().named(name.clone())?],
            (Some(_), Some(_)) => {
                let text = format!("expected one timer's name beside its schedule, found {name:?}");
                return Err(Error::new(Code::InvalidArguments, text));
            }
        };
        let label = format!("timer {name}");
        let takes: Takes = Arc::new(move |incoming: &Incoming| {
            name_of(incoming).is_some_and(|found| match &prefix {
                Some(prefix) => found.starts_with(prefix) && !found.starts_with(ENGINE),
                None => found == name,
            })
        });
        Ok(Engine {
            name: label,
            kind: String::new(),
            routes: vec![route(self.work, self.timeout?, takes)?],
            webhook: None,
            connect: None,
            timers,
        })
    }
}

/// A route of the main subscription for the timers that `takes` picks.
pub(crate) fn route(work: Work, timeout: Duration, takes: Takes) -> Result<Route, Error> {
    Ok(Route {
        name: None,
        filters: vec![Filter::parse("plugin.timer.>")?],
        mode: Mode::On,
        timeout,
        is_manual: false,
        work,
        takes: Some(takes),
    })
}

/// The name of the timer whose event this is.
pub(crate) fn name_of(incoming: &Incoming) -> Option<String> {
    let fired = serde_json::from_str::<TimerFired>(incoming.payload());
    fired.ok().map(|fired| fired.name)
}
