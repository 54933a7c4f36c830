//! Tools on the link: calls, their streams, and what is declared at run time.
//!
//! `tool.call` and its result, and `tool.chunk`, are data and keep their order; progress, credit and
//! cancel are control. Each hop has call ids of its own: a caller chooses one per call, the broker
//! gives the plugin another. The `…Ref` forms leave arguments, outputs and chunks in the frame.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::lifecycle::InstanceState;
use super::wire::{or_default, present};
use crate::tool::{ToolDeclaration, ToolKind};

/// Says for whom a call is made, and how long there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolContext {
    /// Who calls: `client:<name>`, `<plugin>/<instance>`. Stamped by the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The conversation in which the call is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Time that is left, counted from receipt. The broker always sends it to the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Names what is done: a repeat under the same key is answered as the first was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// Parameters of `tool.call`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolCallParams {
    /// Names the call in progress, chunks, credit and cancel; new for each call of a link.
    pub call_id: String,
    /// `<plugin>.<tool>`.
    pub tool: String,
    /// The instance that is to run it; needed where a plugin has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// An object that fits the input schema.
    #[schemars(with = "serde_json::Map<String, Value>")]
    #[serde(default = "empty_object")]
    pub arguments: Box<RawValue>,
    /// For whom and how long.
    #[serde(default, deserialize_with = "or_default")]
    pub context: ToolContext,
    /// Bytes of chunks that may be sent before the first credit; 0: the caller wants no chunks.
    #[serde(default, deserialize_with = "or_default")]
    pub window_bytes: u64,
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("an empty object is JSON")
}

/// Borrowed form of [`ToolCallParams`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToolCallParamsRef<'a> {
    /// Names the call.
    #[serde(borrow)]
    pub call_id: Cow<'a, str>,
    /// `<plugin>.<tool>`.
    #[serde(borrow)]
    pub tool: Cow<'a, str>,
    /// The instance that is to run it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Cow<'a, str>>,
    /// An object that fits the input schema; absent reads as `{}`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<&'a RawValue>,
    /// For whom and how long.
    #[serde(default, deserialize_with = "or_default")]
    pub context: ToolContext,
    /// Bytes of chunks that may be sent before the first credit; 0: the caller wants no chunks.
    #[serde(default, deserialize_with = "or_default")]
    pub window_bytes: u64,
}

/// Tells what a [`ContentPart`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentKind {
    /// Text, in `text`.
    #[default]
    Text,
    /// An image, in `data` or `blob`.
    Image,
    /// Sound, in `data` or `blob`.
    Audio,
    /// Something with an address, in `uri`, with `text`, `data` or `blob` if it is embedded.
    Resource,
}

/// Is one part of a result for people and models, beside the structured output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentPart {
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: ContentKind,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Bytes as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Bytes as a blob, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// Media type of the bytes or the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Address of a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Name of a resource, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Result of `tool.call`, on both hops.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ToolCallResult {
    /// Structured output; `null` is an output, absence is none.
    #[schemars(with = "Option<Value>")]
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub output: Option<Box<RawValue>>,
    /// Parts for people and models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<ContentPart>>,
    /// How many chunks there were, for a result that was streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u64>,
}

/// Parameters of `tool.chunk`: one part of a streamed result.
///
/// The window is counted in bytes of `data` as JSON text. A sender sends while its window is not
/// used up, so that the last chunk may go beyond it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolChunkParams {
    /// The call.
    pub call_id: String,
    /// Counts the chunks of a call from 0.
    pub seq: u64,
    /// The chunk; fits the output schema.
    #[schemars(with = "Value")]
    pub data: Box<RawValue>,
}

/// Borrowed form of [`ToolChunkParams`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToolChunkParamsRef<'a> {
    /// The call.
    #[serde(borrow)]
    pub call_id: Cow<'a, str>,
    /// Counts the chunks of a call from 0.
    pub seq: u64,
    /// The chunk.
    #[serde(borrow)]
    pub data: &'a RawValue,
}

/// Parameters of `tool.progress`. A newer one replaces an older one that was not sent yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolProgressParams {
    /// The call.
    pub call_id: String,
    /// How much is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<f64>,
    /// Of how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// What happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Data for a user interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// Parameters of `tool.credit`: chunks of this many more bytes may be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCreditParams {
    /// The call.
    pub call_id: String,
    /// Bytes that were taken out of the window and are free again.
    pub bytes: u64,
}

/// Parameters of `tool.cancel`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCancelParams {
    /// The call; one that has not come yet is cancelled when it comes.
    pub call_id: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Parameters of `tool.register`: all of them, or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolRegisterParams {
    /// What this instance can be asked to run from now on; one known by its name is replaced.
    pub tools: Vec<ToolDeclaration>,
}

/// Parameters of `tool.unregister`. Calls that run go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolUnregisterParams {
    /// Names without the plugin; one that is not known is no error, one of the manifest is.
    pub names: Vec<String>,
}

/// Parameters of `tool.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolListParams {
    /// Only tools whose full name begins with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only tools whose full name sorts after this: `next` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Result of `tool.list`: the tools that the caller may call, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolListResult {
    /// One per tool.
    #[serde(default)]
    pub tools: Vec<ToolEntry>,
    /// There are more; ask again with `after` set to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Describes a tool that can be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolEntry {
    /// `<plugin>.<tool>`.
    pub name: String,
    /// Whose it is.
    pub plugin: String,
    /// The instances that have it, by name.
    #[serde(default)]
    pub instances: Vec<ToolInstance>,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// What it is for.
    #[serde(default)]
    pub kind: ToolKind,
    /// JSON Schema of its arguments.
    pub input_schema: Value,
    /// JSON Schema of its output, of one chunk if it is streaming.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// How long a call may take when the caller does not say less.
    pub timeout_ms: u64,
    /// How many calls one instance runs at once.
    pub concurrency: u32,
    /// Running it twice does no more than running it once.
    #[serde(default)]
    pub idempotent: bool,
    /// Its output comes in chunks.
    #[serde(default)]
    pub streaming: bool,
    /// At least one of its instances takes calls now.
    #[serde(default)]
    pub available: bool,
}

/// Says how an instance that has a tool is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolInstance {
    /// Its name.
    pub instance: String,
    /// Its state.
    pub state: InstanceState,
}

/// Payload of `plugin.tool.<plugin>.<tool>.reply`: what a call made by an event came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ToolReply {
    /// Structured output; of a stream all of it.
    #[schemars(with = "Option<Value>")]
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub output: Option<Box<RawValue>>,
    /// Parts for people and models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<ContentPart>>,
    /// Why there is no output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ToolReplyError>,
}

/// Is the error of a [`ToolReply`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolReplyError {
    /// Text form of a code of the catalogue.
    pub code: String,
    /// What people read.
    #[serde(default)]
    pub message: String,
    /// Whether the same call may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// Milliseconds after which a retry makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Data beyond the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

impl From<&crate::Error> for ToolReplyError {
    fn from(error: &crate::Error) -> Self {
        Self {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            retryable: error.retryable(),
            retry_after_ms: error.retry_after_ms,
            detail: error.detail.clone(),
        }
    }
}
