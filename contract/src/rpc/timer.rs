//! Timers: an instance is told that it is time, by an event to itself alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::wire::or_default;
use crate::error::{Code, Error};

/// Says what becomes of due times that passed while nobody could act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// They are skipped.
    Skip,
    /// All of them together are made up for once.
    #[default]
    Once,
    /// Each is made up for, one after the other, within a bound.
    All,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde calls")]
fn is_once(misfire: &Misfire) -> bool {
    *misfire == Misfire::Once
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde calls")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde calls")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Parameters of `timer.set`: a name, and exactly one of `after_ms`, `at`, `every_ms` and `cron`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TimerSetParams {
    /// The timer; one of this name is replaced.
    pub name: String,
    /// `session_id` of its events; else `timer:<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Given back in each of its events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub data: Option<Box<RawValue>>,
    /// Once, this long from now, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// Once, at this instant, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Again and again, with this interval, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// Again and again, where this cron expression of 5 or 6 fields matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The IANA time zone of `cron`; else UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// Each event comes up to this much later than it is due, in ms.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_zero"
    )]
    pub jitter_ms: u64,
    /// What becomes of due times that passed.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_once"
    )]
    pub misfire: Misfire,
    /// Leaves a timer that was set with the same words as it is, and an `at` that is past unset.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub keep: bool,
}

impl TimerSetParams {
    /// Says whether another setting of a timer says the same; `keep` is no part of it.
    pub fn is_same(&self, other: &Self) -> bool {
        let data = |params: &'_ Self| params.data.as_ref().map(|data| data.get().to_owned());
        self.name == other.name
            && self.session == other.session
            && data(self) == data(other)
            && self.after_ms == other.after_ms
            && self.at == other.at
            && self.every_ms == other.every_ms
            && self.cron == other.cron
            && self.tz == other.tz
            && self.jitter_ms == other.jitter_ms
            && self.misfire == other.misfire
    }
}

/// Result of `timer.set`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimerSetResult {
    /// When it is due next, RFC 3339; none where it was not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    /// Nothing was changed, because of `keep`.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub kept: bool,
}

/// Parameters of `timer.cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimerCancelParams {
    /// The timer.
    pub name: String,
}

/// Result of `timer.cancel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimerCancelResult {
    /// There was such a timer.
    pub cancelled: bool,
}

/// Says what one change of a timer inside a commit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimerOpKind {
    /// As `timer.set`.
    Set,
    /// As `timer.cancel`.
    Cancel,
}

/// One change of a timer inside a commit: `op`, `name`, and for `set` the other members of [`TimerSetParams`].
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TimerOp {
    /// What it does.
    pub op: TimerOpKind,
    /// The timer.
    pub name: String,
    /// As in [`TimerSetParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// As in [`TimerSetParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub data: Option<Box<RawValue>>,
    /// As in [`TimerSetParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// As in [`TimerSetParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// As in [`TimerSetParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// As in [`TimerSetParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// As in [`TimerSetParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// As in [`TimerSetParams`].
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_zero"
    )]
    pub jitter_ms: u64,
    /// As in [`TimerSetParams`].
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_once"
    )]
    pub misfire: Misfire,
    /// As in [`TimerSetParams`].
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub keep: bool,
}

impl TimerOp {
    /// Makes the operation that cancels a timer.
    pub fn cancel(name: impl Into<String>) -> Self {
        let params = TimerSetParams {
            name: name.into(),
            ..TimerSetParams::default()
        };
        Self {
            op: TimerOpKind::Cancel,
            ..Self::from(params)
        }
    }

    /// Gives the parameters of the same `timer.set`.
    ///
    /// # Errors
    /// [`Code::InvalidArguments`] for a cancel.
    pub fn set_params(&self) -> Result<TimerSetParams, Error> {
        if self.op != TimerOpKind::Set {
            let text = "expected the operation set, found cancel";
            return Err(Error::new(Code::InvalidArguments, text));
        }
        let op = self.clone();
        Ok(TimerSetParams {
            name: op.name,
            session: op.session,
            data: op.data,
            after_ms: op.after_ms,
            at: op.at,
            every_ms: op.every_ms,
            cron: op.cron,
            tz: op.tz,
            jitter_ms: op.jitter_ms,
            misfire: op.misfire,
            keep: op.keep,
        })
    }
}

impl From<TimerSetParams> for TimerOp {
    fn from(params: TimerSetParams) -> Self {
        Self {
            op: TimerOpKind::Set,
            name: params.name,
            session: params.session,
            data: params.data,
            after_ms: params.after_ms,
            at: params.at,
            every_ms: params.every_ms,
            cron: params.cron,
            tz: params.tz,
            jitter_ms: params.jitter_ms,
            misfire: params.misfire,
            keep: params.keep,
        }
    }
}

/// Parameters of `timer.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimerListParams {
    /// What the names begin with.
    #[serde(default, deserialize_with = "or_default")]
    pub prefix: String,
    /// Only names after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most timers wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Is one timer of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TimerEntry {
    /// How it was set; a timer set with `after_ms` has it here too.
    pub set: TimerSetParams,
    /// When it is due next, RFC 3339.
    pub due_at: String,
    /// An event of it is not settled yet; it is due again after that.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub running: bool,
}

/// Result of `timer.list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TimerListResult {
    /// Timers of this instance, by name.
    #[serde(default, deserialize_with = "or_default")]
    pub timers: Vec<TimerEntry>,
    /// Where the next page begins, if there is one: its `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Payload of a timer's event, on `plugin.timer.<plugin>.<instance>`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TimerFired {
    /// The timer.
    pub name: String,
    /// When it was due, RFC 3339.
    pub due_at: String,
    /// What it was set with; `null` where that was nothing.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    pub data: Option<Box<RawValue>>,
    /// Due times before this one that are not made up for.
    #[serde(default, deserialize_with = "or_default")]
    pub missed: u32,
}
