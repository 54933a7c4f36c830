//! `/v1/dead-letters`: what could not be delivered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_contract::error::Code;
use trunkline_contract::rpc::admin::{
    DlqCountResult, DlqListParams, DlqListResult, DlqSelectParams, DlqShowParams,
};
use trunkline_contract::rpc::{DeadLetter, method};

use super::extract::{Caller, JsonBody, Params, PathOf, RawJson};
use super::operation::{Operation, Place};
use crate::gateway::error::Failure;

/// Lists what is asked here.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", "/v1/dead-letters", list)
            .named(
                "dead letters",
                "listDeadLetters",
                "Lists dead letters, oldest first.",
            )
            .scope("admin")
            .params::<ListQuery>(Place::Query)
            .answer::<DlqListResult>("A page of them.")
            .errors(&[Code::InvalidArguments, Code::NotFound]),
        Operation::new("GET", "/v1/dead-letters/{id}", show)
            .named(
                "dead letters",
                "showDeadLetter",
                "Shows a dead letter with its event.",
            )
            .scope("admin")
            .params::<LetterPath>(Place::Path)
            .answer::<DeadLetter>("It.")
            .errors(&[Code::InvalidArguments, Code::NotFound]),
        Operation::new("POST", "/v1/dead-letters/replay", replay)
            .named(
                "dead letters",
                "replayDeadLetters",
                "Delivers dead letters again.",
            )
            .scope("admin")
            .body::<SelectRequest>()
            .answer::<DlqCountResult>("How many.")
            .errors(&[
                Code::InvalidArguments,
                Code::NotFound,
                Code::RateLimited,
                Code::StorageFull,
            ])
            .refusal(415, "the body is no JSON"),
        Operation::new("POST", "/v1/dead-letters/discard", discard)
            .named(
                "dead letters",
                "discardDeadLetters",
                "Deletes dead letters.",
            )
            .scope("admin")
            .body::<SelectRequest>()
            .answer::<DlqCountResult>("How many.")
            .errors(&[Code::InvalidArguments, Code::NotFound, Code::StorageFull])
            .refusal(415, "the body is no JSON"),
    ]
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Of this subscription alone.
    #[serde(default)]
    subscription: Option<String>,
    /// Of this plugin's instances alone; not with `subscription`.
    #[serde(default)]
    plugin: Option<String>,
    /// Of events of this session alone: the target of what is sent.
    #[serde(default)]
    session: Option<String>,
    /// After this record: `next` of the answer before.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[0-9a-f]{1,8}-[0-9a-f]{1,16}$"))]
    after: Option<String>,
    /// Most records to give; 1 to 1000 are.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u64))]
    limit: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct LetterPath {
    /// The record.
    #[schemars(regex(pattern = r"^[0-9a-f]{1,8}-[0-9a-f]{1,16}$"))]
    id: String,
}

/// Which dead letters: `id`, or one of `subscription`, `plugin` and `all` with or without `session`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["id"], "properties": { "id": { "type": "string" }, "subscription": { "type": "null" }, "plugin": { "type": "null" }, "session": { "type": "null" }, "all": { "const": false } } },
    { "required": ["subscription"], "properties": { "subscription": { "type": "string" }, "id": { "type": "null" }, "plugin": { "type": "null" }, "all": { "const": false } } },
    { "required": ["plugin"], "properties": { "plugin": { "type": "string" }, "id": { "type": "null" }, "subscription": { "type": "null" }, "all": { "const": false } } },
    { "required": ["all"], "properties": { "all": { "const": true }, "id": { "type": "null" }, "subscription": { "type": "null" }, "plugin": { "type": "null" } } }
]))]
struct SelectRequest {
    /// One record.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[0-9a-f]{1,8}-[0-9a-f]{1,16}$"))]
    id: Option<String>,
    /// Those of one subscription.
    #[serde(default)]
    subscription: Option<String>,
    /// Those of one plugin's instances.
    #[serde(default)]
    plugin: Option<String>,
    /// Of these, events of one session: the target of what is sent.
    #[serde(default)]
    session: Option<String>,
    /// All of them.
    #[serde(default)]
    all: bool,
}

impl From<SelectRequest> for DlqSelectParams {
    fn from(request: SelectRequest) -> Self {
        Self {
            id: request.id,
            subscription: request.subscription,
            plugin: request.plugin,
            session: request.session,
            all: request.all,
        }
    }
}

async fn list(caller: Caller, Params(query): Params<ListQuery>) -> Result<RawJson, Failure> {
    let params = DlqListParams {
        subscription: query.subscription,
        plugin: query.plugin,
        session: query.session,
        after: query.after,
        limit: query.limit,
    };
    caller.call(method::ADMIN_DLQ_LIST, &params).await
}

async fn show(caller: Caller, PathOf(path): PathOf<LetterPath>) -> Result<RawJson, Failure> {
    let params = DlqShowParams { id: path.id };
    caller.call(method::ADMIN_DLQ_SHOW, &params).await
}

async fn replay(
    caller: Caller,
    JsonBody(request): JsonBody<SelectRequest>,
) -> Result<RawJson, Failure> {
    let params = DlqSelectParams::from(request);
    caller.call(method::ADMIN_DLQ_REPLAY, &params).await
}

async fn discard(
    caller: Caller,
    JsonBody(request): JsonBody<SelectRequest>,
) -> Result<RawJson, Failure> {
    let params = DlqSelectParams::from(request);
    caller.call(method::ADMIN_DLQ_DISCARD, &params).await
}
