//! Publish and commit.
//!
//! The `…Ref` forms are what a reader of frames uses: topic and event stay in the frame.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::delivery::{NakItem, RejectItem};
use super::kv::{KvOp, KvRevision};
use super::lock::IfLock;
use super::timer::{TimerOp, TimerSetResult};
use super::wire::{or_default, texts};

/// Says what happens when an id is known with another body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Refuse with `id_conflict`.
    #[default]
    Refuse,
    /// Keep the first and answer as a duplicate.
    KeepFirst,
}

impl OnConflict {
    /// Says whether this is the default, which is not written.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde calls")]
    fn is_default(&self) -> bool {
        *self == Self::Refuse
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde calls")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Parameters of `broker.publish`, and one event of a commit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PublishParams {
    /// Where to.
    pub topic: String,
    /// The envelope.
    #[schemars(with = "serde_json::Value")]
    pub event: Box<RawValue>,
    /// What happens when the id is known with another body.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "OnConflict::is_default"
    )]
    pub on_conflict: OnConflict,
    /// Never stored; for live subscribers only.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub ephemeral: bool,
}

/// Borrowed form of [`PublishParams`].
///
/// ```
/// use trunkline_contract::rpc::PublishParamsRef;
/// let text = r#"{"topic":"agent.done","event":{"payload":{"n":123456789012345678901}}}"#;
/// let publish: PublishParamsRef<'_> = serde_json::from_str(text).unwrap();
/// assert_eq!(publish.event.get(), r#"{"payload":{"n":123456789012345678901}}"#);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublishParamsRef<'a> {
    /// Where to.
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    /// The envelope.
    #[serde(borrow)]
    pub event: &'a RawValue,
    /// What happens when the id is known with another body.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "OnConflict::is_default"
    )]
    pub on_conflict: OnConflict,
    /// Never stored; for live subscribers only.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub ephemeral: bool,
}

/// Result of `broker.publish`, and of one event of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishResult {
    /// The event's number in the store; `null` for an ephemeral one.
    pub seq: Option<u64>,
    /// True when the event was stored already; `seq` is then the number of the first.
    #[serde(default)]
    pub duplicate: bool,
    /// How many subscriptions want it.
    #[serde(default)]
    pub matched: u32,
    /// `false` only where the operator chose to leave the sync to the operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
}

/// Answers a webhook request that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Respond {
    /// HTTP status.
    pub status: u16,
    /// HTTP headers.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub headers: BTreeMap<String, String>,
    /// Body, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Body, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

/// Parameters of `broker.commit`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CommitParams {
    /// Events to publish, in order.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub events: Vec<PublishParams>,
    /// Changes of keyed state, in order.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub kv: Vec<KvOp>,
    /// Changes of timers, in order.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub timers: Vec<TimerOp>,
    /// Deliveries that are done.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ack: Vec<String>,
    /// Deliveries that are wanted later.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub nak: Vec<NakItem>,
    /// Deliveries that are never wanted.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub reject: Vec<RejectItem>,
    /// A lock that must still be held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_lock: Option<IfLock>,
    /// The answer to the webhook request that is being handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
}

/// Borrowed form of [`CommitParams`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CommitParamsRef<'a> {
    /// Events to publish, in order.
    #[serde(
        borrow,
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub events: Vec<PublishParamsRef<'a>>,
    /// Changes of keyed state, in order.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub kv: Vec<KvOp>,
    /// Changes of timers, in order.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub timers: Vec<TimerOp>,
    /// Deliveries that are done.
    #[serde(
        borrow,
        default,
        deserialize_with = "texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ack: Vec<Cow<'a, str>>,
    /// Deliveries that are wanted later.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub nak: Vec<NakItem>,
    /// Deliveries that are never wanted.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub reject: Vec<RejectItem>,
    /// A lock that must still be held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_lock: Option<IfLock>,
    /// The answer to the webhook request that is being handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
}

impl CommitParamsRef<'_> {
    /// Counts the operations, which [`crate::limits::COMMIT_OPS_MAX`] limits.
    pub fn operations(&self) -> usize {
        let settled = self.ack.len() + self.nak.len() + self.reject.len();
        self.events.len() + self.kv.len() + self.timers.len() + settled
    }
}

/// Result of `broker.commit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitResult {
    /// One per event, in order.
    #[serde(default)]
    pub events: Vec<PublishResult>,
    /// One per change of keyed state, in order.
    #[serde(default)]
    pub kv: Vec<KvRevision>,
    /// One per change of a timer, in order; a cancel has an empty one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<TimerSetResult>,
    /// `false` only where the operator chose to leave the sync to the operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
    /// Whether `respond` was the answer of a webhook that waited; absent when the commit has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responded: Option<bool>,
}
