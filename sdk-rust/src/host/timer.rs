//! Timers, as the host writes them.

use serde_json::value::RawValue;
use trunkline_contract::error::Error;
use trunkline_contract::rpc::{Misfire, TimerSetParams};

use super::handler::HostHandler;
use super::input::{DurationIn, args, payload};
use super::service::Host;
use crate::batch::Batch;
use crate::duration::{IntoDuration, in_ms};
use crate::payload::Bytes;
use crate::publish::Scope;
use crate::timer::{Schedule, Timer};

/// When a timer is due, with what it gives back.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleIn {
    after: Option<DurationIn>,
    every: Option<DurationIn>,
    at: Option<String>,
    cron: Option<String>,
    tz: Option<String>,
    jitter: Option<DurationIn>,
    #[serde(default)]
    misfire: Misfire,
    data: Option<Box<RawValue>>,
    session: Option<String>,
    #[serde(default)]
    keep: bool,
}

impl ScheduleIn {
    fn schedule(self) -> Result<Schedule, Error> {
        let ms = |duration: Option<DurationIn>| {
            let duration = duration.map(IntoDuration::into_duration).transpose()?;
            Ok::<_, Error>(duration.map(in_ms))
        };
        let data = self.data.map(|data| payload(&data)).transpose()?;
        Ok(Schedule::of(TimerSetParams {
            name: String::new(),
            session: self.session,
            data: data.map(|data| data.raw().to_owned()),
            after_ms: ms(self.after)?,
            at: self.at,
            every_ms: ms(self.every)?,
            cron: self.cron,
            tz: self.tz,
            jitter_ms: ms(self.jitter)?.unwrap_or(0),
            misfire: self.misfire,
            keep: self.keep,
        }))
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SetArgs {
    name: String,
    schedule: ScheduleIn,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NameArgs {
    name: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ListArgs {
    #[serde(default)]
    prefix: String,
}

/// Does what a call of `timer.…` asks for; none for a name that is not known.
pub(super) async fn call(scope: &Scope, name: &str, text: &str) -> Option<Result<Bytes, Error>> {
    Some(match name {
        "set" => set(scope, text).await,
        "cancel" => cancel(scope, text).await,
        "list" => list(scope, text).await,
        _ => return None,
    })
}

async fn set(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: SetArgs = args(text)?;
    let timers = scope.instance().timer();
    let set = timers.set(given.name, given.schedule.schedule()?).await?;
    Bytes::encode(&serde_json::json!({ "due_at": set.due_at, "kept": set.kept }))
}

async fn cancel(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: NameArgs = args(text)?;
    Bytes::encode(&scope.instance().timer().cancel(given.name).await?)
}

async fn list(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: ListArgs = args(text)?;
    Bytes::encode(&scope.instance().timer().list(given.prefix).await?)
}

/// A change of a timer in a batch.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimerChangeIn {
    op: TimerOpIn,
    name: String,
    schedule: Option<ScheduleIn>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum TimerOpIn {
    Set,
    Cancel,
}

impl TimerChangeIn {
    pub(super) fn change(self, batch: Batch) -> Result<Batch, Error> {
        Ok(match (self.op, self.schedule) {
            (TimerOpIn::Cancel, _) => batch.timer_cancel(self.name),
            (TimerOpIn::Set, Some(schedule)) => batch.timer_set(self.name, schedule.schedule()?),
            (TimerOpIn::Set, None) => {
                batch.timer_set(self.name, Schedule::of(TimerSetParams::default()))
            }
        })
    }
}

/// A handler for a timer.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimerSpec {
    handler: u32,
    #[serde(default)]
    sync: bool,
    name: String,
    schedule: Option<ScheduleIn>,
    timeout: Option<DurationIn>,
}

impl TimerSpec {
    pub(super) fn timer(self, host: &Host) -> Result<Timer, Error> {
        let handler = HostHandler {
            host: host.clone(),
            handler: self.handler,
            is_blocking: self.sync,
        };
        let work = handler.clone().work(false);
        let mut timer = Timer::new(self.name, handler).work(work);
        if let Some(schedule) = self.schedule {
            timer = timer.schedule(schedule.schedule()?);
        }
        if let Some(timeout) = self.timeout {
            timer = timer.timeout(timeout);
        }
        Ok(timer)
    }
}
