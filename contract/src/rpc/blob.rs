//! Blobs: large content by reference, so that no bytes of it cross a link.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::whole::WHOLE_MAX;

/// Parameters of `blob.put`: announces content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobPutParams {
    /// How many bytes it has, exactly.
    #[serde(deserialize_with = "crate::whole::read")]
    #[schemars(range(max = WHOLE_MAX))]
    pub bytes: u64,
    /// Its SHA-256, 64 lower case hex digits, if it is known already; `blob.finish` must say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
    /// What it is, such as `image/png`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[ -~]*$"))]
    pub media_type: Option<String>,
}

/// Result of `blob.put`: where the content goes. Either `path`, or `url` and `token`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobPutResult {
    /// Names the upload.
    pub upload: String,
    /// For a peer on this machine: an empty file of its own, to be filled and closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// For another peer: where to send it with `PUT`, relative to the origin of its link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The bearer token for `url`; it opens this upload and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When the broker forgets the upload, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// Parameters of `blob.finish`: everything is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobFinishParams {
    /// The upload that `blob.put` named.
    pub upload: String,
    /// SHA-256 of the content, 64 lower case hex digits.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// Result of `blob.finish`: the content is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobFinishResult {
    /// Its name from here on: `sha256:…`.
    pub id: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// What it is, as its first putter said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// Parameters of `blob.get` and `blob.stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobGetParams {
    /// `sha256:` and 64 lower case hex digits.
    pub id: String,
}

/// Result of `blob.get`: where the content is. Either `path`, or `url` and `token`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobGetResult {
    /// How many bytes it has.
    pub bytes: u64,
    /// What it is, as its first putter said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// For a peer on this machine: a file that may be read until `expires_at`, and never written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// For another peer: where to `GET` it, with ranges, relative to the origin of its link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The bearer token for `url`; it opens this content and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Until when `path` or `token` is good, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// Result of `blob.stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobStatResult {
    /// Its name.
    pub id: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// What it is, as its first putter said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// When it was put last, RFC 3339.
    pub created_at: String,
    /// An event that may still be retained names it.
    pub named: bool,
    /// When it goes if no event names it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}
