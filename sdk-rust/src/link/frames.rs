//! The frames written most, in borrowed form.
//!
//! Members follow the contract; what is absent is left out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use trunkline_contract::rpc::{IfLock, KvOp, NakItem, RejectItem, TimerOp};

use crate::payload::Json;

/// An event on its way out; the broker fills what is missing.
#[derive(Serialize, Debug)]
pub(crate) struct EventOut<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) timestamp: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<&'a str>,
    pub(crate) payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) causation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) blobs: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: &'a BTreeMap<String, Json>,
}

/// `broker.publish`, or one event of a commit.
#[derive(Serialize, Debug)]
pub(crate) struct PublishOut<'a> {
    pub(crate) topic: &'a str,
    pub(crate) event: EventOut<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ephemeral: bool,
}

/// `broker.commit`.
#[derive(Serialize, Debug, Default)]
pub(crate) struct CommitOut<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<PublishOut<'a>>,
    #[serde(skip_serializing_if = "<[KvOp]>::is_empty")]
    pub(crate) kv: &'a [KvOp],
    #[serde(skip_serializing_if = "<[TimerOp]>::is_empty")]
    pub(crate) timers: &'a [TimerOp],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ack: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) nak: Vec<NakItem>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reject: Vec<RejectItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) if_lock: Option<IfLock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) respond: Option<&'a RawValue>,
}
