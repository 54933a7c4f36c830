//! `POST /v1/publish`: one event as JSON, or CloudEvents in any of their modes.

use axum::Json;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use trunkline_contract::cloudevents::{self, CloudEvent};
use trunkline_contract::error::Code;
use trunkline_contract::limits::{EVENT_ID_BYTES_MAX, REFERENCE_BYTES_MAX, SESSION_ID_BYTES_MAX};
use trunkline_contract::rpc::{self, OnConflict, PublishParams, PublishResult, method};

use super::bounded::{Signs, text};
use super::extract::{Caller, parse};
use super::operation::{JSON, Operation};
use crate::gateway::body;
use crate::gateway::error::Failure;
use crate::gateway::trace;

/// Topics.
const TOPIC: &str = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,15}$";
/// Texts without control characters.
const PRINTED: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// What an attribute may be whose text is meant.
const SCALAR: [&str; 4] = ["string", "integer", "boolean", "null"];
/// The instants of RFC 3339 that exist in every month, in UTC.
const INSTANT: &str = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?Z$";

/// Lists what is asked here.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("POST", "/v1/publish", publish)
            .named(
                "events",
                "publish",
                "Publishes events; the answer means that they survived.",
            )
            .scope("publish:<topic>")
            .body::<PublishRequest>()
            .body_as::<CloudEventForm>(cloudevents::STRUCTURED)
            .body_as::<Vec<CloudEventForm>>(cloudevents::BATCH)
            .answer::<PublishAnswer>("It is durable, unless it is ephemeral.")
            .errors(&[
                Code::InvalidArguments,
                Code::InvalidTopic,
                Code::InvalidFrame,
                Code::NotFound,
                Code::TopicNotGranted,
                Code::Unrouted,
                Code::IdConflict,
                Code::FrameTooLarge,
                Code::RateLimited,
                Code::StorageFull,
                Code::Draining,
                Code::QuotaExceeded,
            ])
            .refusal(415, "neither JSON nor CloudEvents"),
    ]
}

/// An event to publish. One that is ephemeral keeps no blobs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("not" = {
    "required": ["ephemeral", "blobs"],
    "properties": {"ephemeral": {"const": true}, "blobs": {"minItems": 1}}
}))]
struct PublishRequest {
    /// Where to; a channel's instance may be left out where there is one answer.
    #[schemars(length(max = 255), regex(pattern = TOPIC))]
    topic: String,
    /// Any JSON.
    #[serde(default = "null")]
    #[schemars(with = "Value")]
    payload: Box<RawValue>,
    /// Unique per client, 1 to 128 bytes of UTF-8; a repeat is answered as the first was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("anyOf" = text(1, EVENT_ID_BYTES_MAX, Signs::Shown)))]
    id: Option<String>,
    /// Its conversation, at most 512 bytes of UTF-8: events of one are delivered in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("anyOf" = text(0, SESSION_ID_BYTES_MAX, Signs::Any)))]
    session_id: Option<String>,
    /// Id of the event that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("anyOf" = text(0, REFERENCE_BYTES_MAX, Signs::Any)))]
    correlation_id: Option<String>,
    /// The event whose handling produced this one, `<source>|<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("anyOf" = text(0, REFERENCE_BYTES_MAX, Signs::Any)))]
    causation_id: Option<String>,
    /// W3C trace context; one that is none is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("anyOf" = text(0, REFERENCE_BYTES_MAX, Signs::Any)))]
    traceparent: Option<String>,
    /// When it loses its use, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = INSTANT))]
    expires_at: Option<String>,
    /// Blobs that it keeps alive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(regex(pattern = r"^sha256:[0-9a-f]{64}$")))]
    blobs: Vec<String>,
    /// What else is known about it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    metadata: Map<String, Value>,
    /// What happens when the id is known with another body.
    #[serde(default, skip_serializing)]
    on_conflict: OnConflict,
    /// Never stored; for live subscribers only.
    #[serde(default, skip_serializing)]
    ephemeral: bool,
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// A CloudEvent in structured mode. Other attributes are extensions.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(extend(
    "propertyNames" = {"pattern": "^([a-z0-9]{1,64}|data_base64)$"},
    "additionalProperties" = {"anyOf": [
        {"type": ["boolean", "null"]},
        {"type": "string", "pattern": PRINTED},
        {"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}
    ]},
    "not" = {
        "required": ["data", "data_base64"],
        "properties": {"data_base64": {"type": "string"}}
    },
    "if" = {
        "required": ["trunklinetopic"],
        "properties": {"trunklinetopic": {"not": {"type": "null"}}}
    },
    "else" = {"properties": {"type": {"pattern": TOPIC, "maxLength": 255}}}
))]
struct CloudEventForm {
    /// Always 1.0.
    #[schemars(regex(pattern = r"^1\.0$"))]
    specversion: String,
    /// Unique per source, 1 to 128 bytes of UTF-8.
    #[schemars(extend("anyOf" = text(1, EVENT_ID_BYTES_MAX, Signs::Printed)))]
    id: String,
    /// Where it says it is from; kept in `metadata.claimed_source`.
    #[schemars(extend("anyOf" = text(1, REFERENCE_BYTES_MAX, Signs::Printed)))]
    source: String,
    /// The topic, unless `trunklinetopic` names it.
    #[serde(rename = "type")]
    #[schemars(length(min = 1), regex(pattern = PRINTED))]
    kind: String,
    /// The topic, if `type` is something else.
    #[serde(default, rename = "trunklinetopic")]
    #[schemars(length(max = 255), regex(pattern = TOPIC))]
    #[schemars(extend("type" = SCALAR, "minimum" = i32::MIN, "maximum" = i32::MAX))]
    topic: Option<String>,
    /// Its conversation.
    #[serde(default)]
    #[schemars(extend("anyOf" = text(1, SESSION_ID_BYTES_MAX, Signs::Printed)))]
    subject: Option<String>,
    /// When it happened, RFC 3339.
    #[serde(default)]
    #[schemars(regex(pattern = INSTANT))]
    time: Option<String>,
    /// When it loses its use, RFC 3339.
    #[serde(default, rename = "expirytime")]
    #[schemars(regex(pattern = INSTANT))]
    expires_at: Option<String>,
    /// Id of the event that this answers.
    #[serde(default, rename = "correlationid")]
    #[schemars(extend("anyOf" = text(0, REFERENCE_BYTES_MAX, Signs::Printed)))]
    #[schemars(extend("type" = SCALAR, "minimum" = i32::MIN, "maximum" = i32::MAX))]
    correlation_id: Option<String>,
    /// The event whose handling produced this one.
    #[serde(default, rename = "causationid")]
    #[schemars(extend("anyOf" = text(0, REFERENCE_BYTES_MAX, Signs::Printed)))]
    #[schemars(extend("type" = SCALAR, "minimum" = i32::MIN, "maximum" = i32::MAX))]
    causation_id: Option<String>,
    /// W3C trace context; one that is none is left out.
    #[serde(default)]
    #[schemars(extend("anyOf" = text(0, REFERENCE_BYTES_MAX, Signs::Printed)))]
    #[schemars(extend("type" = SCALAR, "minimum" = i32::MIN, "maximum" = i32::MAX))]
    traceparent: Option<String>,
    /// What `data` is; absent: JSON.
    #[serde(default, rename = "datacontenttype")]
    #[schemars(length(min = 1), regex(pattern = PRINTED))]
    content_type: Option<String>,
    /// What `data` fits.
    #[serde(default, rename = "dataschema")]
    #[schemars(length(min = 1), regex(pattern = PRINTED))]
    schema: Option<String>,
    /// What it carries: any JSON.
    #[serde(default)]
    data: Value,
    /// What it carries, in base64.
    #[serde(default)]
    #[schemars(regex(
        pattern = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
    ))]
    data_base64: Option<String>,
}

/// What became of what was published.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum PublishAnswer {
    /// Of one event.
    One(PublishResult),
    /// Of a batch, in its order.
    Many {
        /// One per event.
        events: Vec<PublishResult>,
    },
}

async fn publish(caller: Caller, request: Request) -> Result<Response, Failure> {
    let headers = request.headers().clone();
    let media_type = body::media_type(&headers);
    let is_binary = headers.contains_key("ce-specversion");
    let known = [JSON, cloudevents::STRUCTURED, cloudevents::BATCH];
    if !is_binary {
        body::need_type(&headers, &known)?;
    }
    let config = &caller.gateway.config;
    let limit = (config.body_bytes_max, config.body_timeout);
    let bytes = body::read(request.into_body(), limit.0, limit.1).await?;
    if is_binary {
        let event = binary(&headers, &bytes)?;
        return Ok(caller
            .call(method::BROKER_PUBLISH, &event.to_publish()?)
            .await?
            .into_response());
    }
    match media_type.as_str() {
        cloudevents::STRUCTURED => {
            let event = CloudEvent::from_structured(&bytes)?;
            let params = event.to_publish()?;
            let answer = caller.call(method::BROKER_PUBLISH, &params).await?;
            Ok(answer.into_response())
        }
        cloudevents::BATCH => batch(&caller, &bytes).await,
        _ => {
            let mut request: PublishRequest = parse(&bytes)?;
            request.traceparent = request.traceparent.or_else(|| trace::of(&headers));
            let params = PublishParams {
                topic: request.topic.clone(),
                on_conflict: request.on_conflict,
                ephemeral: request.ephemeral,
                event: envelope(&request),
            };
            let answer = caller.call(method::BROKER_PUBLISH, &params).await?;
            Ok(answer.into_response())
        }
    }
}

fn envelope(request: &PublishRequest) -> Box<RawValue> {
    to_raw_value(request).expect("texts and raw JSON have a JSON form")
}

/// All of them or none.
async fn batch(caller: &Caller, bytes: &[u8]) -> Result<Response, Failure> {
    let events = CloudEvent::from_batch(bytes)?;
    if events.is_empty() {
        return Ok(Json(PublishAnswer::Many { events: Vec::new() }).into_response());
    }
    let events = events
        .iter()
        .enumerate()
        .map(|(index, event)| event.to_publish().map_err(|error| error.at(index)))
        .collect::<Result<Vec<_>, _>>()?;
    let params = rpc::CommitParams {
        events,
        ..rpc::CommitParams::default()
    };
    let ports = &caller.gateway.ports;
    let answer = ports.call(&caller.token, method::BROKER_COMMIT, &params);
    let answer: rpc::CommitResult = serde_json::from_str(answer.await?.get())
        .map_err(|error| trunkline_contract::Error::new(Code::Internal, error.to_string()))?;
    let events = answer.events;
    Ok(Json(PublishAnswer::Many { events }).into_response())
}

fn binary(headers: &HeaderMap, body: &[u8]) -> Result<CloudEvent, Failure> {
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    Ok(CloudEvent::from_binary(pairs, media_type, body)?)
}
