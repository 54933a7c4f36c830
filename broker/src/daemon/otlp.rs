//! Spans to a collector: OTLP over HTTP, in its JSON form (`POST <endpoint>/v1/traces`).
//!
//! The form is a page of JSON, so no library writes it: those bring a runtime of their own, Protobuf and a
//! second HTTP client. Plain `http` only: a collector runs on the same machine or beside it.
//!
//! | bound | at the bound |
//! |---|---|
//! | [`QUEUE_MAX`] spans waiting | further ones are dropped and counted |
//! | [`BATCH_MAX`] spans in one request | the rest comes with the next |
//! | [`ANSWER`] for one request | its spans are dropped and counted |

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, Request, Uri, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::core::{Span, SpanKind};
use crate::runtime::Broker;

/// Spans waiting to be sent.
const QUEUE_MAX: usize = 4096;
/// Spans in one request.
const BATCH_MAX: usize = 512;
/// How long the collector may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long spans wait for others.
const GATHER: Duration = Duration::from_millis(500);

/// Takes spans and sends them on.
#[derive(Debug, Clone)]
pub(super) struct Exporter {
    spans: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
}

impl Exporter {
    /// Starts to send to a collector, and has the core tell of sampled traces.
    pub(super) fn start(endpoint: &Uri, broker: Broker) -> Self {
        let (spans, queue) = mpsc::channel(QUEUE_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        if broker.post(|core| core.follow_traces()).is_err() {
            tracing::warn!("The core ended before it was asked for traces.");
        }
        tokio::spawn(send_all(endpoint.clone(), queue, dropped.clone(), broker));
        Self { spans, dropped }
    }

    /// Takes a span; what does not fit is dropped.
    pub(super) fn take(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn send_all(
    endpoint: Uri,
    mut queue: mpsc::Receiver<Span>,
    dropped: Arc<AtomicU64>,
    broker: Broker,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        if batch.len() < BATCH_MAX {
            tokio::time::sleep(GATHER).await;
            while batch.len() < BATCH_MAX
                && let Ok(span) = queue.try_recv()
            {
                batch.push(span);
            }
        }
        let count = batch.len() as u64;
        let body = body(&batch).to_string();
        batch.clear();
        let sent = tokio::time::timeout(ANSWER, send(&endpoint, body)).await;
        let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if let Err(error) = sent {
            tracing::warn!(%error, %endpoint, spans = count, "Spans were not taken.");
            dropped.fetch_add(count, Ordering::Relaxed);
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 && broker.post(move |core| core.spans_lost(lost)).is_err() {
            return;
        }
    }
}

async fn send(endpoint: &Uri, body: String) -> io::Result<()> {
    let authority = endpoint
        .authority()
        .map_or("", |authority| authority.as_str());
    let host = endpoint.host().unwrap_or_default();
    let port = endpoint.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!(
            "{}/v1/traces",
            endpoint.path().trim_end_matches('/')
        ))
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    // It ends with the answer; what breaks it is told to whoever waits for that.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(io::Error::other)?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(io::Error::other(format!("status {}", answer.status())))
}

fn body(spans: &[Span]) -> Value {
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [attribute("service.name", "trunkline")] },
        "scopeSpans": [{
            "scope": { "name": "trunkline", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] })
}

fn span(span: &Span) -> Value {
    let kind = match span.kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Consumer => 5,
    };
    let attributes: Vec<Value> = span
        .attributes
        .iter()
        .map(|(key, value)| attribute(key, value))
        .collect();
    let status = match &span.error {
        Some(error) => json!({ "code": 2, "message": error }),
        None => json!({}),
    };
    json!({
        "traceId": hex(&span.context.trace_id),
        "spanId": hex(&span.context.span_id),
        "parentSpanId": hex(&span.parent),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": nanos(span.began_at_ms),
        "endTimeUnixNano": nanos(span.ended_at_ms.max(span.began_at_ms)),
        "attributes": attributes,
        "status": status,
    })
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Numbers of 64 bits are texts in this form.
fn nanos(at_ms: i64) -> String {
    (i128::from(at_ms) * 1_000_000).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
        text.extend([digit(byte >> 4), digit(byte & 15)]);
        text
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use trunkline_contract::trace::Traceparent;

    use super::*;

    fn sample() -> Span {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = Traceparent::parse(text).unwrap();
        Span {
            context: parent.child(b"x"),
            parent: parent.span_id,
            name: "deliver agent.x".into(),
            kind: SpanKind::Consumer,
            began_at_ms: 1_000,
            ended_at_ms: 1_250,
            attributes: vec![("trunkline.outcome", "naked".into())],
            error: Some("naked".into()),
        }
    }

    #[test]
    fn a_span_has_the_form_of_otlp() {
        let body = body(&[sample()]);
        let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
        assert_eq!(
            (&span["kind"], &span["status"]["code"]),
            (&json!(5), &json!(2))
        );
        assert_eq!(span["startTimeUnixNano"], "1000000000");
        assert_eq!(span["endTimeUnixNano"], "1250000000");
        let attribute = json!({ "key": "trunkline.outcome", "value": { "stringValue": "naked" } });
        assert_eq!(span["attributes"], json!([attribute]));
    }

    /// Proves O4 (export): spans arrive at a collector, whose refusal is an error.
    #[tokio::test]
    async fn a_collector_gets_the_spans() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = tokio::spawn(async move {
            let mut heard = Vec::new();
            for status in ["200 OK", "503 Service Unavailable"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"]}]}]}") {
                    let mut piece = [0; 1024];
                    let count = stream.read(&mut piece).await.unwrap();
                    request.extend_from_slice(&piece[..count]);
                }
                heard.push(String::from_utf8(request).unwrap());
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            heard
        });
        let endpoint: Uri = format!("http://{address}/otlp/").parse().unwrap();
        let text = body(&[sample()]).to_string();
        send(&endpoint, text.clone()).await.unwrap();
        let refused = send(&endpoint, text.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("503"), "{refused}");
        let heard = collector.await.unwrap();
        assert!(
            heard[0].starts_with("POST /otlp/v1/traces HTTP/1.1\r\n"),
            "{}",
            heard[0]
        );
        assert!(heard[0].ends_with(&text));
    }
}
