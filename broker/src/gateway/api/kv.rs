//! `/v1/kv`: keyed state of clients and of the workspace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_contract::error::Code;
use trunkline_contract::limits::KV_KEY_BYTES_MAX;
use trunkline_contract::rpc::{
    KvDeleteParams, KvGetParams, KvGetResult, KvListParams, KvListResult, KvPutParams, KvRevision,
    KvScope, method,
};

use super::bounded::{Signs, text};
use super::extract::{Caller, JsonBody, Params, PathOf, RawJson};
use super::operation::{Operation, Place};
use crate::gateway::error::Failure;

/// Lists what is asked here.
pub(super) fn operations() -> Vec<Operation> {
    let errors = [Code::InvalidArguments];
    vec![
        Operation::new("GET", "/v1/kv/{scope}", list)
            .named("kv", "listKeys", "Lists keys in byte order.")
            .scope("kv:<prefix>")
            .params::<ScopePath>(Place::Path)
            .params::<ListQuery>(Place::Query)
            .answer::<KvListResult>("A page of them.")
            .errors(&errors),
        Operation::new("GET", "/v1/kv/{scope}/{key}", get)
            .named("kv", "getKey", "Reads a key.")
            .scope("kv:<prefix>")
            .params::<KeyPath>(Place::Path)
            .answer::<KvGetResult>("Its value and revision.")
            .errors(&[Code::InvalidArguments, Code::NotFound]),
        Operation::new("PUT", "/v1/kv/{scope}/{key}", put)
            .named("kv", "putKey", "Writes a key; the body is its value.")
            .scope("kv:<prefix>")
            .params::<KeyPath>(Place::Path)
            .params::<PutQuery>(Place::Query)
            .body::<Value>()
            .answer::<KvRevision>("Its new revision.")
            .errors(&[
                Code::InvalidArguments,
                Code::RevisionConflict,
                Code::QuotaExceeded,
                Code::StorageFull,
                Code::FrameTooLarge,
                Code::Draining,
            ])
            .refusal(415, "the body is no JSON"),
        Operation::new("DELETE", "/v1/kv/{scope}/{key}", delete)
            .named("kv", "deleteKey", "Deletes a key.")
            .scope("kv:<prefix>")
            .params::<KeyPath>(Place::Path)
            .params::<DeleteQuery>(Place::Query)
            .answer::<KvRevision>("The revision of its end.")
            .errors(&[
                Code::InvalidArguments,
                Code::NotFound,
                Code::RevisionConflict,
                Code::StorageFull,
                Code::Draining,
            ]),
    ]
}

/// Whose keys.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Scope {
    /// This client's.
    Client,
    /// The workspace's, shared by all.
    Workspace,
}

impl From<Scope> for KvScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Client => Self::Client,
            Scope::Workspace => Self::Workspace,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ScopePath {
    /// Whose keys.
    scope: Scope,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct KeyPath {
    /// Whose key.
    scope: Scope,
    /// The key, 1 to 256 bytes of UTF-8 without control characters; a slash in it is written `%2F`.
    #[schemars(extend("anyOf" = text(1, KV_KEY_BYTES_MAX, Signs::Printed)))]
    key: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Keys that begin with this, at most 256 bytes of UTF-8.
    #[serde(default)]
    #[schemars(extend("anyOf" = text(0, KV_KEY_BYTES_MAX, Signs::Printed)))]
    prefix: Option<String>,
    /// Keys after this one.
    #[serde(default)]
    after: Option<String>,
    /// Most entries to give; 1 to 1000 are.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u64))]
    limit: Option<u32>,
    /// With values.
    #[serde(default)]
    values: bool,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PutQuery {
    /// Only if the key has this revision; 0: only if it is absent.
    #[serde(default)]
    #[schemars(range(max = 18_446_744_073_709_551_615_u64))]
    if_revision: Option<u64>,
    /// The entry reads as absent after this time.
    #[serde(default)]
    #[schemars(range(max = 18_446_744_073_709_551_615_u64))]
    ttl_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    /// Only if the key has this revision.
    #[serde(default)]
    #[schemars(range(max = 18_446_744_073_709_551_615_u64))]
    if_revision: Option<u64>,
}

async fn list(
    caller: Caller,
    PathOf(path): PathOf<ScopePath>,
    Params(query): Params<ListQuery>,
) -> Result<RawJson, Failure> {
    let params = KvListParams {
        scope: path.scope.into(),
        session: None,
        prefix: query.prefix.unwrap_or_default(),
        after: query.after,
        limit: query.limit,
        values: query.values,
    };
    caller.call(method::KV_LIST, &params).await
}

async fn get(caller: Caller, PathOf(path): PathOf<KeyPath>) -> Result<RawJson, Failure> {
    let params = KvGetParams {
        scope: path.scope.into(),
        session: None,
        key: path.key,
    };
    caller.call(method::KV_GET, &params).await
}

async fn put(
    caller: Caller,
    PathOf(path): PathOf<KeyPath>,
    Params(query): Params<PutQuery>,
    JsonBody(value): JsonBody<Box<RawValue>>,
) -> Result<RawJson, Failure> {
    let params = KvPutParams {
        scope: path.scope.into(),
        session: None,
        key: path.key,
        value,
        if_revision: query.if_revision,
        ttl_ms: query.ttl_ms,
    };
    caller.call(method::KV_PUT, &params).await
}

async fn delete(
    caller: Caller,
    PathOf(path): PathOf<KeyPath>,
    Params(query): Params<DeleteQuery>,
) -> Result<RawJson, Failure> {
    let params = KvDeleteParams {
        scope: path.scope.into(),
        session: None,
        key: path.key,
        if_revision: query.if_revision,
    };
    caller.call(method::KV_DELETE, &params).await
}
