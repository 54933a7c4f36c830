//! `/v1/tools`: lists tools and calls them.
//!
//! A call is answered when the tool is done, or, for `Accept: text/event-stream`, with progress and chunks
//! as they come and `result` or `error` as the last event. A caller that goes away cancels.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use trunkline_contract::error::Code;
use trunkline_contract::limits::{IDEMPOTENCY_KEY_BYTES_MAX, SESSION_ID_BYTES_MAX};
use trunkline_contract::rpc::{
    ToolCallParams, ToolCallResult, ToolContext, ToolListParams, ToolListResult, method,
};
use trunkline_contract::whole;

use super::bounded::{Signs, text};
use super::events::STREAM;
use super::extract::{Caller, JsonBody, Params, PathOf, RawJson};
use super::operation::{Operation, Place};
use crate::gateway::error::Failure;
use crate::gateway::guard::RequestId;
use crate::gateway::limits::{KEEP_ALIVE_MS, TOOL_WINDOW_BYTES};
use crate::gateway::state::Gateway;
use crate::gateway::tool_stream::{ToolEvent, ToolStream};
use crate::gateway::trace;

/// Lists what is asked here.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", "/v1/tools", list)
            .named("tools", "listTools", "Lists the tools that the token may call.")
            .scope("call:<tool>")
            .params::<ToolsQuery>(Place::Query)
            .answer::<ToolListResult>("By name.")
            .errors(&[Code::InvalidArguments]),
        Operation::new("POST", "/v1/tools/{name}", call)
            .named("tools", "callTool", "Calls a tool; closing the connection cancels it.")
            .scope("call:<tool>")
            .params::<ToolName>(Place::Path)
            .body::<ToolRequest>()
            .answer::<ToolCallResult>("What the tool gave.")
            .answer_as::<String>(
                200,
                STREAM,
                "For `Accept: text/event-stream`: events `progress`, `chunk`, and at the end `result` or \
                 `error`.",
            )
            .errors(&[
                Code::InvalidArguments,
                Code::ToolNotFound,
                Code::Unrouted,
                Code::Unavailable,
                Code::ToolFailed,
                Code::OutcomeUnknown,
                Code::TimedOut,
                Code::QuotaExceeded,
                Code::FrameTooLarge,
            ])
            .refusal(415, "the body is no JSON"),
    ]
}

/// Which tools.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToolsQuery {
    /// Only tools whose full name begins with this.
    #[serde(default)]
    prefix: Option<String>,
    /// Only tools whose full name sorts after this: `next` of the answer before.
    #[serde(default)]
    after: Option<String>,
}

/// Which tool.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ToolName {
    /// `<plugin>.<tool>`.
    name: String,
}

/// A call.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToolRequest {
    /// What the tool is given; fits its input schema.
    #[serde(default = "empty_object")]
    #[schemars(with = "Map<String, Value>")]
    arguments: Box<RawValue>,
    /// The instance that is to run it; needed where a plugin has several.
    #[serde(default)]
    instance: Option<String>,
    /// The conversation in which the call is made, at most 512 bytes of UTF-8.
    #[serde(default)]
    #[schemars(extend("anyOf" = text(0, SESSION_ID_BYTES_MAX, Signs::Any)))]
    session_id: Option<String>,
    /// How long it may take.
    #[serde(default, deserialize_with = "whole::read_option")]
    #[schemars(range(max = 18_446_744_073_709_551_615_u64))]
    timeout_ms: Option<u64>,
    /// Names what is done: a repeat under the same key is answered as the first was.
    #[serde(default)]
    #[schemars(extend("anyOf" = text(0, IDEMPOTENCY_KEY_BYTES_MAX, Signs::Any)))]
    idempotency_key: Option<String>,
    /// W3C trace context.
    #[serde(default)]
    traceparent: Option<String>,
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("an empty object is JSON")
}

async fn list(caller: Caller, Params(query): Params<ToolsQuery>) -> Result<RawJson, Failure> {
    let params = ToolListParams {
        prefix: query.prefix,
        after: query.after,
    };
    caller.call(method::TOOL_LIST, &params).await
}

async fn call(
    caller: Caller,
    PathOf(path): PathOf<ToolName>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<ToolRequest>,
) -> Result<Response, Failure> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let wants_stream = accept.is_some_and(|accept| accept.contains(STREAM));
    let params = ToolCallParams {
        call_id: String::new(),
        tool: path.name,
        instance: request.instance,
        arguments: request.arguments,
        context: ToolContext {
            caller: None,
            session_id: request.session_id,
            traceparent: request.traceparent.or_else(|| trace::of(&headers)),
            timeout_ms: request.timeout_ms,
            idempotency_key: request.idempotency_key,
        },
        window_bytes: if wants_stream { TOOL_WINDOW_BYTES } else { 0 },
    };
    let running = caller.port.call_tool(params).await?;
    if !wants_stream {
        return Ok(Json(running.result().await?).into_response());
    }
    let calling = Calling {
        gateway: caller.gateway,
        running,
        request_id,
        is_over: false,
    };
    let mut response = Response::new(Body::from_stream(stream::unfold(calling, Calling::next)));
    let media_type = HeaderValue::from_static(STREAM);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}

/// A call whose caller reads along. Dropped, it is cancelled.
struct Calling {
    gateway: Arc<Gateway>,
    running: ToolStream,
    request_id: Arc<str>,
    is_over: bool,
}

type Piece = Result<Bytes, std::convert::Infallible>;

impl Calling {
    async fn next(mut self) -> Option<(Piece, Self)> {
        if self.is_over {
            return None;
        }
        let quiet = tokio::time::sleep(Duration::from_millis(KEEP_ALIVE_MS));
        let event = tokio::select! {
            event = self.running.next() => event?,
            () = quiet => return Some((Ok(Bytes::from_static(b":\n\n")), self)),
            () = self.gateway.ended() => return None,
        };
        let piece = match event {
            ToolEvent::Progress(progress) => piece("progress", &Progress::from(progress)),
            ToolEvent::Chunk { seq, data } => piece("chunk", &Chunk { seq, data }),
            ToolEvent::Done(result) => {
                self.is_over = true;
                match result {
                    Ok(result) => piece("result", &result),
                    Err(error) => piece("error", &Failure::from(error).body(&self.request_id)),
                }
            }
        };
        Some((Ok(piece.into()), self))
    }
}

/// Writes a server-sent event.
pub(super) fn piece(name: &str, data: &impl Serialize) -> Vec<u8> {
    let mut piece = format!("event: {name}\ndata: ").into_bytes();
    serde_json::to_writer(&mut piece, data).expect("contract types have a JSON form");
    piece.extend_from_slice(b"\n\n");
    piece
}

/// A progress without the id of its call, which the caller did not choose.
#[derive(Debug, Serialize)]
struct Progress {
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl From<trunkline_contract::rpc::ToolProgressParams> for Progress {
    fn from(progress: trunkline_contract::rpc::ToolProgressParams) -> Self {
        Self {
            done: progress.done,
            total: progress.total,
            message: progress.message,
            data: progress.data,
        }
    }
}

#[derive(Debug, Serialize)]
struct Chunk {
    seq: u64,
    data: Box<RawValue>,
}
