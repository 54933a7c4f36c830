//! Locks: named, fenced rights across processes and hosts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names a lock that must still be held for a commit to be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IfLock {
    /// The lock.
    pub name: String,
    /// The token that [`LockAcquireResult`] gave.
    pub token: u64,
}

/// Parameters of `lock.acquire`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockAcquireParams {
    /// The lock.
    pub name: String,
    /// It is free again this long after the last renewal.
    pub ttl_ms: u64,
    /// Wait this long for the holder; absent: refuse at once with `lock_held`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// Result of `lock.acquire`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockAcquireResult {
    /// Grows with every holder; fences older ones.
    pub token: u64,
    /// When it is free again without a renewal, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// Parameters of `lock.renew`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockRenewParams {
    /// The lock.
    pub name: String,
    /// The holder's token.
    pub token: u64,
    /// New time to live; absent: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// Result of `lock.renew`.
pub type LockRenewResult = LockAcquireResult;

/// Parameters of `lock.release`, and of the notification `lock.lost`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockReleaseParams {
    /// The lock.
    pub name: String,
    /// The holder's token.
    pub token: u64,
}
