//! Keyed state.
//!
//! A revision is a number of the store's one counter. A value of `null` is a value.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::wire::{or_default, present};

/// Says whose keys are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvScope {
    /// This instance's.
    Instance,
    /// This plugin's, shared by its instances.
    Plugin,
    /// The workspace's, shared by all.
    Workspace,
    /// One session's of this instance.
    Session,
    /// This client's.
    Client,
}

/// Says what a change of a commit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvOpKind {
    /// Writes.
    Put,
    /// Deletes.
    Delete,
}

/// Is one change of keyed state inside a commit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvOp {
    /// What it does.
    pub op: KvOpKind,
    /// Whose key.
    pub scope: KvScope,
    /// The session key, for scope `session`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The key.
    pub key: String,
    /// The value to write; `null` is a value.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<serde_json::Value>")]
    pub value: Option<Box<RawValue>>,
    /// Only if the key has this revision; 0: only if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// The entry reads as absent after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// Is the outcome of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KvRevision {
    /// The key's revision now.
    pub revision: u64,
}

/// Parameters of `kv.get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KvGetParams {
    /// Whose key.
    pub scope: KvScope,
    /// The session key, for scope `session`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The key.
    pub key: String,
}

/// Result of `kv.get`; an absent key is the error `not_found`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvGetResult {
    /// The value.
    #[schemars(with = "serde_json::Value")]
    pub value: Box<RawValue>,
    /// The key's revision.
    pub revision: u64,
    /// When the entry will read as absent, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// Parameters of `kv.put`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvPutParams {
    /// Whose key.
    pub scope: KvScope,
    /// The session key, for scope `session`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The key.
    pub key: String,
    /// The value; `null` is a value.
    #[schemars(with = "serde_json::Value")]
    pub value: Box<RawValue>,
    /// Only if the key has this revision; 0: only if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// The entry reads as absent after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// Result of `kv.put`.
pub type KvPutResult = KvRevision;

/// Parameters of `kv.delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KvDeleteParams {
    /// Whose key.
    pub scope: KvScope,
    /// The session key, for scope `session`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The key.
    pub key: String,
    /// Only if the key has this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
}

/// Result of `kv.delete`.
pub type KvDeleteResult = KvRevision;

/// Parameters of `kv.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KvListParams {
    /// Whose keys.
    pub scope: KvScope,
    /// The session key, for scope `session`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Keys that begin with this.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub prefix: String,
    /// Keys after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most entries to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// With values.
    #[serde(default, deserialize_with = "or_default")]
    pub values: bool,
}

/// Is one key of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvEntry {
    /// The key.
    pub key: String,
    /// Its revision.
    pub revision: u64,
    /// Its value, if asked for.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<serde_json::Value>")]
    pub value: Option<Box<RawValue>>,
    /// When the entry will read as absent, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// Result of `kv.list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct KvListResult {
    /// Keys in byte order.
    #[serde(default)]
    pub entries: Vec<KvEntry>,
    /// Where the next page begins, if there is one: its `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The list is true as of this number.
    #[serde(default)]
    pub revision: u64,
}

/// Parameters of `kv.watch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KvWatchParams {
    /// Whose keys.
    pub scope: KvScope,
    /// The session key, for scope `session`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Keys that begin with this.
    #[serde(default, deserialize_with = "or_default")]
    pub prefix: String,
    /// Changes after this number; older than the tombstones: the error `gap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_revision: Option<u64>,
}

/// Result of `kv.watch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KvWatchResult {
    /// Names the watch in its notifications.
    pub watch: u64,
    /// Changes after this number follow.
    pub revision: u64,
}

/// Parameters of `kv.unwatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KvUnwatchParams {
    /// The watch to end.
    pub watch: u64,
}

/// Parameters of the notification `kv.change`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvChange {
    /// The watch.
    pub watch: u64,
    /// What happened.
    pub op: KvOpKind,
    /// The key.
    pub key: String,
    /// Its revision now.
    pub revision: u64,
    /// The new value.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<serde_json::Value>")]
    pub value: Option<Box<RawValue>>,
}
