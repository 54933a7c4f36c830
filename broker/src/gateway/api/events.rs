//! `GET /v1/events`: events as they pass, as server-sent events.
//!
//! Each stream is a `broker.tail` on a link of its own, read only as fast as the connection takes it: memory
//! stays bounded however slow the reader is. The id of each event is its number, so `Last-Event-ID` resumes
//! exactly; where events after it may be gone already, an event `gap` says so first. When the token is taken
//! back or ends, an event `error` with the body of a refusal is the last.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, HeaderName};
use axum::response::Response;
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_contract::cloudevents::CloudEvent;
use trunkline_contract::envelope::Event;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{self, Message, Start, TailEventParams, TailResult, method};
use trunkline_contract::topic::Filter;

use super::extract::{Caller, Params};
use super::operation::{Operation, Place};
use super::tools::piece;
use crate::gateway::error::Failure;
use crate::gateway::guard::RequestId;
use crate::gateway::limits::KEEP_ALIVE_MS;
use crate::gateway::line::Line;
use crate::gateway::state::Gateway;

/// Media type of server-sent events.
pub(super) const STREAM: &str = "text/event-stream";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Lists what is asked here.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", "/v1/events", events)
            .named("events", "followEvents", "Follows events as server-sent events.")
            .scope("read:<filter>")
            .params::<EventsQuery>(Place::Query)
            .params::<Resume>(Place::Header)
            .answer_as::<String>(
                200,
                STREAM,
                "One event each; `id` is its number, `data` is `{seq, topic, event}` or a CloudEvent. An \
                 event `gap` says `{after, first}`; `error`, the last one, that the token is good no more.",
            )
            .errors(&[Code::InvalidArguments, Code::TopicNotGranted, Code::Unavailable]),
    ]
}

/// What to follow.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Topic filters with commas between them; absent: everything that the token may read.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]+(\.([A-Za-z0-9_-]+|\*)){0,14}(\.>)?$"))]
    filter: Option<String>,
    /// Where to begin: `new`, `earliest`, a number, or an instant (RFC 3339). `Last-Event-ID` goes before it.
    #[serde(default)]
    #[schemars(regex(pattern = r"^(new|earliest|[0-9]{1,15})$"))]
    start: Option<String>,
    /// End after so many events.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    limit: Option<u64>,
    /// How events are written.
    #[serde(default)]
    format: Format,
}

/// How events are written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// `{seq, topic, event}`.
    #[default]
    Json,
    /// CloudEvents 1.0.
    CloudEvents,
}

/// Where a reader that was cut off goes on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Resume {
    /// Number of the last event that was seen.
    #[serde(rename = "Last-Event-ID")]
    #[schemars(regex(pattern = r"^[0-9]{1,15}$"))]
    last_event_id: Option<String>,
}

async fn events(
    caller: Caller,
    Extension(RequestId(request_id)): Extension<RequestId>,
    headers: HeaderMap,
    Params(query): Params<EventsQuery>,
) -> Result<Response, Failure> {
    let last = last_event_id(&headers)?;
    let start = match last {
        Some(last) => Start::Seq(last.saturating_add(1)),
        None => read_start(query.start.as_deref()),
    };
    if query.limit == Some(0) {
        return Err(invalid("limit: expected at least 1, found 0").into());
    }
    let filters = query.filter.as_deref().map(read_filters).transpose()?;
    let params = rpc::TailParams {
        filters: filters.unwrap_or_default(),
        start,
        limit: query.limit,
    };
    let mut line = Line::connect(&caller.gateway.broker, &caller.token).await?;
    let opened: TailResult = line.ask(method::BROKER_TAIL, &params).await?;
    let gap = last.filter(|last| opened.first > last.saturating_add(1));
    let follow = Follow {
        gateway: caller.gateway,
        line,
        format: query.format,
        left: query.limit,
        first: Some(first_text(gap, &opened)),
        request_id,
    };
    let body = Body::from_stream(stream::unfold(follow, Follow::next));
    let mut response = Response::new(body);
    let media_type = HeaderValue::from_static(STREAM);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}

fn first_text(gap: Option<u64>, opened: &TailResult) -> String {
    match gap {
        Some(last) => format!(
            "event: gap\ndata: {{\"after\":{last},\"first\":{}}}\n\n",
            opened.first
        ),
        // Whoever waits for the head of the answer has something to read.
        None => format!(": after {}\n\n", opened.after),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidArguments, message)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(None);
    }
    let number = text.parse();
    number
        .map(Some)
        .map_err(|_| invalid(format!("Last-Event-ID: expected a number, found {text:?}")))
}

fn read_start(text: Option<&str>) -> Start {
    match text {
        None | Some("new") => Start::New,
        Some("earliest") => Start::Earliest,
        Some(text) => match text.parse() {
            Ok(seq) => Start::Seq(seq),
            Err(_) => Start::Time(text.to_owned()),
        },
    }
}

fn read_filters(text: &str) -> Result<Vec<Filter>, Error> {
    text.split(',')
        .map(|one| Filter::parse(one.trim()))
        .collect()
}

/// Why the core ends the link, if this frame says it: the token was taken back, or has ended.
fn ending(frame: &[u8]) -> Option<Error> {
    match rpc::parse(frame) {
        Ok(Message::Response {
            result: Err(error), ..
        }) => Some(Error::from_rpc(&error)),
        _ => None,
    }
}

/// A stream under way.
struct Follow {
    gateway: Arc<Gateway>,
    line: Line,
    format: Format,
    left: Option<u64>,
    first: Option<String>,
    request_id: Arc<str>,
}

type Piece = Result<Bytes, std::convert::Infallible>;

impl Follow {
    async fn next(mut self) -> Option<(Piece, Self)> {
        if let Some(first) = self.first.take() {
            return Some((Ok(first.into()), self));
        }
        if self.left == Some(0) {
            return None;
        }
        loop {
            let quiet = tokio::time::sleep(Duration::from_millis(KEEP_ALIVE_MS));
            let frame = tokio::select! {
                frame = self.line.reader.next() => frame?,
                () = quiet => return Some((Ok(Bytes::from_static(b":\n\n")), self)),
                () = self.gateway.stopping() => return None,
            };
            if let Some(piece) = self.write(&frame) {
                self.left = self.left.map(|left| left - 1);
                return Some((Ok(piece.into()), self));
            }
            if let Some(error) = ending(&frame) {
                let body = Failure::from(error).body(&self.request_id);
                // The link ends behind it, and with it the stream.
                self.left = Some(0);
                return Some((Ok(piece("error", &body).into()), self));
            }
        }
    }

    fn write(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let Ok(Message::Notification { method, params }) = rpc::parse(frame) else {
            return None;
        };
        if method != method::BROKER_TAIL_EVENT {
            return None;
        }
        let params = params?;
        let parsed: TailEventParams = serde_json::from_str(params.get()).ok()?;
        let mut piece = format!("id: {}\ndata: ", parsed.seq).into_bytes();
        match self.format {
            // Stored without line breaks, like every frame.
            Format::Json => piece.extend_from_slice(params.get().as_bytes()),
            Format::CloudEvents => {
                let event = Event::from_slice(parsed.event.get().as_bytes()).ok()?;
                let event = CloudEvent::of(&event, Some(parsed.seq));
                piece.extend_from_slice(&event.to_structured());
            }
        }
        piece.extend_from_slice(b"\n\n");
        Some(piece)
    }
}
