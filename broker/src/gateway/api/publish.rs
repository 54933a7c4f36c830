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
use trunkline_contract::rpc::{self, OnConflict, PublishParams, PublishResult, method};

use super::extract::{Caller, parse};
use super::operation::{JSON, Operation};
use crate::gateway::body;
use crate::gateway::error::Failure;
use crate::gateway::trace;

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

/// An event to publish.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PublishRequest {
    /// Where to; a channel's instance may be left out where there is one answer.
    #[schemars(
        length(max = 255),
        regex(pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,15}$")
    )]
    topic: String,
    /// Any JSON.
    #[serde(default = "null")]
    #[schemars(with = "Value")]
    payload: Box<RawValue>,
    /// Unique per client; a repeat is answered as the first was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[!-~]+$"))]
    id: Option<String>,
    /// Its conversation: events of one are delivered in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    session_id: Option<String>,
    /// Id of the event that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    correlation_id: Option<String>,
    /// The event whose handling produced this one, `<source>|<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    causation_id: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"))]
    traceparent: Option<String>,
    /// When it loses its use, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(
        pattern = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?Z$"
    ))]
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

/// A CloudEvent in structured mode. Its `type` is a topic; other attributes are extensions.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(extend(
    "patternProperties" = {"^[a-z0-9]{1,20}$": {}},
    "additionalProperties" = false
))]
struct CloudEventForm {
    /// Always 1.0.
    #[schemars(regex(pattern = r"^1\.0$"))]
    specversion: String,
    /// Unique per source.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[!-~]+$"))]
    id: String,
    /// Where it says it is from; kept in `metadata.claimed_source`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[!-~]+$"))]
    source: String,
    /// The topic.
    #[serde(rename = "type")]
    #[schemars(
        length(max = 255),
        regex(pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,15}$")
    )]
    kind: String,
    /// Its conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[!-~]+$"))]
    subject: Option<String>,
    /// What it carries: any JSON.
    #[serde(default)]
    data: Value,
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
