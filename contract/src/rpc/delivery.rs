//! Subscriptions and deliveries.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::connect::Credit;
use super::wire::or_default;
use crate::topic::Filter;

/// Says where a subscription begins: `"new"`, `"earliest"`, `{"seq": n}` or `{"time": "…"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With what comes after now.
    #[default]
    New,
    /// With the oldest event that is kept.
    Earliest,
    /// With this number.
    Seq(u64),
    /// With what was stored from this instant on, RFC 3339.
    Time(String),
}

/// Parameters of `broker.tail`: looks at events as they pass and settles none; a link has one at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TailParams {
    /// What to show; empty: everything that the link may read.
    #[serde(default, deserialize_with = "or_default")]
    pub filters: Vec<Filter>,
    /// Where to begin.
    #[serde(default, deserialize_with = "or_default")]
    pub start: Start,
    /// End after so many events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Result of `broker.tail`; [`TailEventParams`] follow until the link or `broker.tail.end` ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TailResult {
    /// Events after this number are shown.
    pub after: u64,
    /// From this number on every event is kept. Above `after + 1`, events that were wanted may be gone.
    pub first: u64,
}

/// Parameters of the notification `broker.tail.event`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TailEventParams {
    /// The event's number.
    pub seq: u64,
    /// Its topic.
    pub topic: String,
    /// Its envelope.
    #[schemars(with = "serde_json::Value")]
    pub event: Box<RawValue>,
}

/// Says what happens to an event whose `expires_at` has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExpired {
    /// It is dead-lettered.
    #[default]
    Dead,
    /// It is dropped and counted.
    Drop,
}

/// Says how failures of a subscription's deliveries are handled. Absent members have defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetryPolicy {
    /// Counted failures that dead-letter a delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures_max: Option<u32>,
    /// Waits between attempts; the last one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_ms: Option<Vec<u64>>,
    /// Longest time from the first lease to the dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_max_ms: Option<u64>,
    /// Length of a lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// What happens to an event whose `expires_at` has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_expired: Option<OnExpired>,
}

/// Says how much a subscription may keep back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// How long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// How many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Parameters of `broker.subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscribeParams {
    /// Last part of its name: `client.<client>.<name>` or `instance.<plugin>.<instance>.<name>`.
    pub name: String,
    /// What it selects.
    pub filters: Vec<Filter>,
    /// Name of the group that shares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Where it begins when it is created.
    #[serde(default, deserialize_with = "or_default")]
    pub start: Start,
    /// How much may be in flight on this link.
    #[serde(default, deserialize_with = "or_default")]
    pub credit: Credit,
    /// How failures are handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How much it may keep back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Unserved for this long it holds nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_ms: Option<u64>,
}

/// Result of `broker.subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscribeResult {
    /// Its full name.
    pub subscription: String,
    /// Everything up to here is settled.
    pub cursor: u64,
    /// Highest number in the store.
    pub head: u64,
    /// True when it did not exist before.
    #[serde(default)]
    pub created: bool,
}

/// Parameters of `broker.credit`: sets, not adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreditParams {
    /// For this subscription alone; absent: for the link's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Most unsettled events; 0 stops deliveries.
    pub events: u32,
    /// Most bytes of unsettled events.
    pub bytes: u64,
}

/// Parameters of `broker.unsubscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnsubscribeParams {
    /// Its full name, or the name it was subscribed with.
    pub subscription: String,
    /// Deletes it with everything it holds, instead of only leaving it.
    #[serde(default, deserialize_with = "or_default")]
    pub delete: bool,
}

/// Parameters of `broker.seek`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeekParams {
    /// Its full name, or the name it was subscribed with.
    pub subscription: String,
    /// Where it goes on.
    pub to: Start,
}

/// Result of `broker.seek`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeekResult {
    /// Where the cursor is now.
    pub cursor: u64,
}

/// Describes one handing-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Opaque; new for every handing-over.
    pub id: String,
    /// Its number, from 1; a lower bound after a restart of the broker.
    pub attempt: u32,
    /// True when it may have been handed over before.
    #[serde(default)]
    pub redelivered: bool,
    /// Time to settle or extend it.
    pub lease_ms: u64,
    /// True when the next failure that counts makes it a dead letter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
    /// Whose delivery it is.
    pub subscription: String,
}

/// Borrowed form of [`Delivery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRef<'a> {
    /// Opaque; new for every handing-over.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Its number, from 1; a lower bound after a restart of the broker.
    pub attempt: u32,
    /// True when it may have been handed over before.
    #[serde(default)]
    pub redelivered: bool,
    /// Time to settle or extend it.
    pub lease_ms: u64,
    /// True when the next failure that counts makes it a dead letter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
    /// Whose delivery it is.
    #[serde(borrow)]
    pub subscription: Cow<'a, str>,
}

/// Parameters of `broker.event`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventParams {
    /// The event's topic.
    pub topic: String,
    /// The envelope.
    #[schemars(with = "serde_json::Value")]
    pub event: Box<RawValue>,
    /// Absent for an ephemeral event, which is not settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

/// Borrowed form of [`EventParams`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventParamsRef<'a> {
    /// The event's topic.
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    /// The envelope.
    #[serde(borrow)]
    pub event: &'a RawValue,
    /// Absent for an ephemeral event, which is not settled.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryRef<'a>>,
}

/// Describes what went wrong in a handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HandlerError {
    /// Type of the error in the handler's language.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Its message.
    #[serde(default)]
    pub message: String,
    /// Its traceback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
}

/// Parameters of `broker.ack`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AckParams {
    /// Ids of the deliveries.
    pub deliveries: Vec<String>,
}

/// Parameters of `broker.nak`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NakParams {
    /// Ids of the deliveries.
    pub deliveries: Vec<String>,
    /// Wait at least this long; absent: by the retry policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HandlerError>,
    /// `false`: not now, and no failure.
    #[serde(default = "yes")]
    pub counted: bool,
}

fn yes() -> bool {
    true
}

/// Parameters of `broker.reject`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RejectParams {
    /// Ids of the deliveries.
    pub deliveries: Vec<String>,
    /// A code of the plugin's own or of the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HandlerError>,
}

/// Is one delivery of a commit that is wanted later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NakItem {
    /// Id of the delivery.
    pub delivery: String,
    /// Wait at least this long; absent: by the retry policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HandlerError>,
    /// `false`: not now, and no failure.
    #[serde(default = "yes")]
    pub counted: bool,
}

/// Is one delivery of a commit that is never wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RejectItem {
    /// Id of the delivery.
    pub delivery: String,
    /// A code of the plugin's own or of the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HandlerError>,
}

/// Parameters of `broker.extend`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtendParams {
    /// Ids of the deliveries.
    pub deliveries: Vec<String>,
    /// Length of the lease from now on; absent: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
}

/// Result of `broker.ack`, `nak`, `reject` and `extend`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettleResult {
    /// Deliveries whose lease was no longer valid.
    #[serde(default)]
    pub stale: Vec<String>,
}

/// Is the handing-over of a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GapDelivery {
    /// Opaque; to be acked.
    pub id: String,
}

/// Parameters of `broker.gap`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GapParams {
    /// Who lost something.
    pub subscription: String,
    /// First number that was skipped.
    pub from: u64,
    /// Last number that was skipped.
    pub to: u64,
    /// How many matching events were skipped.
    pub count: u64,
    /// What to ack.
    pub delivery: GapDelivery,
}
