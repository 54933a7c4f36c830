//! The MCP side against tools in memory, with rmcp's own client and with raw requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{Method, Request};
use http_body_util::{BodyExt, Full};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, ErrorCode, ProgressNotificationParam,
    ProtocolVersion,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, NotificationContext, PeerRequestOptions, RoleClient,
    RunningService, ServiceError,
};
use rmcp::{ClientHandler, ServiceExt};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{
    ContentKind, ContentPart, InstanceState, ToolCallResult, ToolEntry, ToolInstance,
    ToolProgressParams,
};
use trunkline_contract::tool::ToolKind;

use super::endpoint::{Endpoint, EndpointOptions};
use super::handler::Handler;
use super::tools::{Call, Tools};
use crate::config::McpNames;

/// Tools in memory.
#[derive(Clone, Default)]
struct Fake {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: Mutex<Vec<ToolEntry>>,
    calls: Mutex<Vec<(String, Option<String>, Value)>>,
    lists: AtomicUsize,
    started: Notify,
    cancelled: Notify,
}

fn entry(name: &str, instances: &[&str]) -> ToolEntry {
    let instance = |name: &&str| ToolInstance {
        instance: (*name).to_owned(),
        state: InstanceState::Ready,
    };
    ToolEntry {
        name: name.to_owned(),
        plugin: name.split('.').next().unwrap().to_owned(),
        instances: instances.iter().map(instance).collect(),
        description: format!("does {name}"),
        kind: ToolKind::Tool,
        input_schema: json!({"type": "object"}),
        output_schema: None,
        timeout_ms: 60_000,
        concurrency: 16,
        idempotent: false,
        streaming: false,
        available: true,
    }
}

struct Cancelling(Arc<Inner>, bool);

impl Drop for Cancelling {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cancelled.notify_one();
        }
    }
}

fn output(value: &Value) -> ToolCallResult {
    ToolCallResult {
        output: Some(serde_json::value::to_raw_value(value).unwrap()),
        ..ToolCallResult::default()
    }
}

fn part(kind: ContentKind, text: &str) -> ContentPart {
    ContentPart {
        kind,
        text: Some(text.into()),
        ..ContentPart::default()
    }
}

impl Tools for Fake {
    async fn list(&self) -> Result<Vec<ToolEntry>, Error> {
        self.inner.lists.fetch_add(1, Ordering::SeqCst);
        Ok(self.inner.entries.lock().unwrap().clone())
    }

    async fn call(
        &self,
        call: Call,
        progress: Option<mpsc::Sender<ToolProgressParams>>,
    ) -> Result<ToolCallResult, Error> {
        let arguments: Value = serde_json::from_str(call.arguments.get()).unwrap();
        let made = (call.tool.clone(), call.instance, arguments.clone());
        self.inner.calls.lock().unwrap().push(made);
        let mut guard = Cancelling(self.inner.clone(), false);
        let done = match call.tool.as_str() {
            "t.echo" | "t.typed" | "two.echo" => Ok(output(&arguments)),
            "t.text" => Ok(output(&json!("plain"))),
            "t.number" => Ok(output(&json!(7))),
            "t.parts" => Ok(ToolCallResult {
                content: Some(vec![
                    part(ContentKind::Text, "hello"),
                    ContentPart {
                        kind: ContentKind::Image,
                        data: Some("AA==".into()),
                        media_type: Some("image/png".into()),
                        ..ContentPart::default()
                    },
                    ContentPart {
                        kind: ContentKind::Audio,
                        blob: Some("sha256:00".into()),
                        media_type: Some("audio/wav".into()),
                        ..ContentPart::default()
                    },
                    ContentPart {
                        uri: Some("test://a".into()),
                        ..part(ContentKind::Resource, "inside")
                    },
                ]),
                ..ToolCallResult::default()
            }),
            "t.fails" => Err(Error::new(Code::ToolFailed, "the card was declined")
                .retry_after(50)
                .detail(json!({"reason": "declined"}))),
            "t.down" => Err(Error::new(Code::Unavailable, "t/default is stopped")),
            "t.steps" => {
                if let Some(progress) = progress {
                    for (done, message) in [
                        (0.0, None),
                        (5.0, None),
                        (5.0, None),
                        (5.0, Some("still")),
                        (9.0, None),
                    ] {
                        let report = ToolProgressParams {
                            call_id: "c".into(),
                            done: Some(done),
                            total: Some(10.0),
                            message: message.map(Into::into),
                            data: None,
                        };
                        progress.send(report).await.unwrap();
                    }
                }
                Ok(output(&json!("done")))
            }
            "t.hangs" => {
                self.inner.started.notify_one();
                std::future::pending().await
            }
            other => Err(Error::new(Code::ToolNotFound, format!("no {other}"))),
        };
        guard.1 = true;
        done
    }
}

fn names(names: &[(&str, &str)]) -> watch::Receiver<Arc<McpNames>> {
    let names = names.iter();
    let names = names.map(|(name, target)| ((*name).to_owned(), (*target).to_owned()));
    // A receiver goes on without its sender.
    watch::channel(Arc::new(names.collect())).1
}

fn fake() -> Fake {
    let fake = Fake::default();
    let mut typed = entry("t.typed", &["default"]);
    typed.output_schema = Some(json!({"type": "object", "properties": {"a": {"type": "integer"}}}));
    typed.idempotent = true;
    let mut number = entry("t.number", &["default"]);
    number.output_schema = Some(json!({"type": "integer"}));
    *fake.inner.entries.lock().unwrap() = vec![
        entry("two.echo", &["eu", "us"]),
        entry("t.echo", &["default"]),
        typed,
        number,
        entry("t.text", &["default"]),
        entry("t.parts", &["default"]),
        entry("t.fails", &["default"]),
        entry("t.down", &[]),
        entry("t.steps", &["default"]),
        entry("t.hangs", &["default"]),
    ];
    fake
}

/// Keeps what it is told of progress.
#[derive(Clone, Default)]
struct Ear {
    heard: Arc<Mutex<Vec<ProgressNotificationParam>>>,
}

impl ClientHandler for Ear {
    async fn on_progress(
        &self,
        param: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.heard.lock().unwrap().push(param);
    }
}

/// A client of either era, on a stream like stdio.
async fn client(fake: &Fake, is_modern: bool) -> (RunningService<RoleClient, Ear>, Ear) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let handler = Handler::new(fake.clone(), names(&[]));
    tokio::spawn(async move {
        let server = handler.serve(theirs).await.unwrap();
        server.waiting().await.unwrap();
    });
    let ear = Ear::default();
    let mode = if is_modern {
        ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        }
    } else {
        ClientLifecycleMode::Initialize
    };
    let client = ear.clone().serve_with_lifecycle(ours, mode).await.unwrap();
    (client, ear)
}

fn ask(name: &str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else {
        panic!("arguments are an object");
    };
    CallToolRequestParams::new(name.to_owned()).with_arguments(arguments)
}

fn wire<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap()
}

#[tokio::test]
async fn tools_are_listed_by_name_in_both_eras_and_several_instances_apart() {
    for is_modern in [false, true] {
        let (client, _ear) = client(&fake(), is_modern).await;
        let listed = client.list_all_tools().await.unwrap();
        let names: Vec<_> = listed.iter().map(|tool| tool.name.as_ref()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        assert!(names.contains(&"two__echo__eu") && names.contains(&"two__echo__us"));
        assert!(!names.contains(&"two__echo") && names.contains(&"t__down"));
        let typed = wire(listed.iter().find(|tool| tool.name == "t__typed").unwrap());
        assert_eq!(typed["annotations"], json!({"idempotentHint": true}));
        assert_eq!(typed["outputSchema"]["type"], "object");
        let number = wire(listed.iter().find(|tool| tool.name == "t__number").unwrap());
        assert_eq!(number.get("outputSchema").is_some(), is_modern);
    }
}

#[tokio::test]
async fn what_a_tool_gives_comes_as_text_and_structured() {
    for is_modern in [false, true] {
        let (client, _ear) = client(&fake(), is_modern).await;
        let call = async |name: &str| {
            let asked = ask(name, json!({"a": 1}));
            wire(&client.call_tool(asked).await.unwrap())
        };
        let typed = call("t__typed").await;
        assert_eq!(typed["structuredContent"], json!({"a": 1}));
        assert_eq!(
            typed["content"],
            json!([{"type": "text", "text": "{\"a\":1}"}])
        );
        assert_eq!(typed["isError"], json!(false));
        let text = call("t__text").await;
        assert_eq!(text["content"], json!([{"type": "text", "text": "plain"}]));
        assert_eq!(text.get("structuredContent"), None);
        let number = call("t__number").await;
        assert_eq!(number["content"], json!([{"type": "text", "text": "7"}]));
        let structured = number.get("structuredContent").cloned();
        assert_eq!(structured, is_modern.then(|| json!(7)));
        assert_eq!(
            call("t__parts").await["content"],
            json!([
                {"type": "text", "text": "hello"},
                {"type": "image", "data": "AA==", "mimeType": "image/png"},
                {
                    "type": "resource_link",
                    "uri": "trunkline:blob/sha256:00",
                    "name": "trunkline:blob/sha256:00",
                    "mimeType": "audio/wav"
                },
                {
                    "type": "resource",
                    "resource": {"uri": "test://a", "mimeType": "text/plain", "text": "inside"}
                },
            ])
        );
    }
}

#[tokio::test]
async fn a_failed_call_is_a_result_and_an_unknown_tool_an_error() {
    let (client, _ear) = client(&fake(), true).await;
    let failed = client.call_tool(ask("t__fails", json!({}))).await.unwrap();
    let failed = wire(&failed);
    assert_eq!(failed["isError"], json!(true));
    let text = "tool_failed: the card was declined";
    assert_eq!(failed["content"], json!([{"type": "text", "text": text}]));
    assert_eq!(
        failed["_meta"]["trunkline/error"],
        json!({
            "code": "tool_failed",
            "message": "the card was declined",
            "retryable": false,
            "retry_after_ms": 50,
            "detail": {"reason": "declined"}
        })
    );
    let down = wire(&client.call_tool(ask("t__down", json!({}))).await.unwrap());
    assert_eq!(down["_meta"]["trunkline/error"]["retryable"], json!(true));
    let error = client
        .call_tool(ask("t__nothing", json!({})))
        .await
        .unwrap_err();
    let ServiceError::McpError(error) = error else {
        panic!("expected an error of the protocol, found {error}");
    };
    assert_eq!(error.code, ErrorCode::INVALID_PARAMS);
    assert_eq!(error.message, "unknown tool: t__nothing");
}

#[tokio::test]
async fn a_name_with_an_instance_calls_that_instance() {
    let fake = fake();
    let (client, _ear) = client(&fake, true).await;
    for name in ["two__echo__us", "two__echo"] {
        client.call_tool(ask(name, json!({}))).await.unwrap();
    }
    let calls = fake.inner.calls.lock().unwrap();
    assert_eq!(calls[0], ("two.echo".into(), Some("us".into()), json!({})));
    assert_eq!(calls[1], ("two.echo".into(), None, json!({})));
}

#[tokio::test]
async fn progress_only_ever_grows_and_is_told_before_the_answer() {
    for is_modern in [false, true] {
        let (client, ear) = client(&fake(), is_modern).await;
        client.call_tool(ask("t__steps", json!({}))).await.unwrap();
        let heard = ear.heard.lock().unwrap();
        let steps: Vec<f64> = heard.iter().map(|param| param.progress).collect();
        assert_eq!(steps, [0.0, 5.0, 5.0_f64.next_up(), 9.0]);
        assert!(heard.iter().all(|param| param.total == Some(10.0)));
        assert_eq!(heard[2].message.as_deref(), Some("still"));
    }
}

#[tokio::test]
async fn a_cancelled_request_cancels_the_call() {
    for is_modern in [false, true] {
        let fake = fake();
        let (client, _ear) = client(&fake, is_modern).await;
        let request =
            ClientRequest::CallToolRequest(CallToolRequest::new(ask("t__hangs", json!({}))));
        let handle = client
            .send_cancellable_request(request, PeerRequestOptions::default())
            .await
            .unwrap();
        fake.inner.started.notified().await;
        handle.cancel(Some("enough".into())).await.unwrap();
        fake.inner.cancelled.notified().await;
    }
}

fn endpoint() -> Endpoint<Fake> {
    Endpoint::new(EndpointOptions {
        hosts: vec!["localhost".into(), "127.0.0.1".into()],
        origins: vec!["http://localhost:*".into()],
        request_bytes_max: 1 << 20,
        names: names(&[("search", "t.echo")]),
    })
}

fn post(body: &Value, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::post("/mcp")
        .header("host", "127.0.0.1:7711")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::from(body.to_string())).unwrap()
}

fn modern(method: &str, mut params: Value) -> Request<Full<Bytes>> {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let name = params["name"].as_str().unwrap_or_default().to_owned();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut headers = vec![
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
    ];
    if !name.is_empty() {
        headers.push(("mcp-name", &name));
    }
    post(&body, &headers)
}

async fn read<B: hyper::body::Body<Data = Bytes>>(body: B) -> Value
where
    B::Error: std::fmt::Debug,
{
    let bytes = body.collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_call_without_a_session_is_answered_in_json_and_lists_once() {
    let (endpoint, fake) = (endpoint(), fake());
    for _ in 0..3 {
        let request = modern(
            "tools/call",
            json!({"name": "search", "arguments": {"a": 1}}),
        );
        let response = endpoint.handle([1; 32], || fake.clone(), request).await;
        assert_eq!(response.status(), 200);
        let answer = read(response.into_body()).await;
        assert_eq!(answer["result"]["structuredContent"], json!({"a": 1}));
    }
    assert_eq!(fake.inner.lists.load(Ordering::SeqCst), 1);
    assert_eq!(fake.inner.calls.lock().unwrap()[0].0, "t.echo");
    let listed = modern("tools/list", json!({}));
    let listed = endpoint.handle([1; 32], || fake.clone(), listed).await;
    let listed = read(listed.into_body()).await;
    assert_eq!(listed["result"]["cacheScope"], "private");
    assert_eq!(listed["result"]["ttlMs"], 2000);
    let names = listed["result"]["tools"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"search") && !names.contains(&"t__echo"));
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused() {
    let (endpoint, fake) = (endpoint(), fake());
    for (header, value) in [("host", "evil.example"), ("origin", "http://evil.example")] {
        let mut request = modern("server/discover", json!({}));
        request.headers_mut().insert(header, value.parse().unwrap());
        let response = endpoint.handle([1; 32], || fake.clone(), request).await;
        assert_eq!(response.status(), 403, "{header}");
    }
    let mut request = modern("server/discover", json!({}));
    let origin = "http://localhost:7711".parse().unwrap();
    request.headers_mut().insert("origin", origin);
    let response = endpoint.handle([1; 32], || fake.clone(), request).await;
    assert_eq!(response.status(), 200);
    let answer = read(response.into_body()).await;
    assert_eq!(answer["result"]["capabilities"], json!({"tools": {}}));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let (endpoint, fake) = (Arc::new(endpoint()), fake());
    let request = modern("tools/call", json!({"name": "t__hangs"}));
    let work = tokio::spawn({
        let (endpoint, fake) = (endpoint.clone(), fake.clone());
        async move { endpoint.handle([1; 32], || fake, request).await }
    });
    fake.inner.started.notified().await;
    work.abort();
    fake.inner.cancelled.notified().await;
}

#[tokio::test]
async fn a_session_belongs_to_its_token_and_ends_with_delete() {
    let (endpoint, fake) = (endpoint(), fake());
    let begin = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }});
    let opened = endpoint
        .handle([1; 32], || fake.clone(), post(&begin, &[]))
        .await;
    assert_eq!(opened.status(), 200);
    let id = opened.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let headers = [
        ("mcp-session-id", id.as_str()),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let told = endpoint
        .handle([1; 32], || fake.clone(), post(&told, &headers))
        .await;
    assert_eq!(told.status(), 202);
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let mine = endpoint
        .handle([1; 32], || fake.clone(), post(&list, &headers))
        .await;
    assert_eq!(mine.status(), 200);
    let other = endpoint
        .handle([2; 32], || fake.clone(), post(&list, &headers))
        .await;
    assert_eq!(other.status(), 404);
    let mut end = post(&json!({}), &headers);
    *end.method_mut() = Method::DELETE;
    let end = endpoint.handle([1; 32], || fake.clone(), end).await;
    assert_eq!(end.status(), 204);
    let gone = endpoint
        .handle([1; 32], || fake.clone(), post(&list, &headers))
        .await;
    assert_eq!(gone.status(), 404);
}

mod names {
    //! The names that tools have for MCP clients.

    use proptest::prelude::*;
    use trunkline_contract::tool::{MCP_NAME_BYTES_MAX, mcp_name, parse_mcp_name};

    type Tool = (String, String, Option<String>);

    fn identifier(first: &'static str, rest: usize) -> impl Strategy<Value = String> {
        let text = format!("{first}[a-z0-9_-]{{0,{rest}}}");
        proptest::string::string_regex(&text)
            .unwrap()
            .prop_filter("an identifier", |text| {
                !text.contains("__") && !text.ends_with('_') && text != "reply"
            })
    }

    fn tools() -> impl Strategy<Value = Tool> {
        let instance = prop::option::of(identifier("[a-z0-9]", 63));
        (identifier("[a-z]", 29), identifier("[a-z]", 31), instance)
    }

    fn name((plugin, tool, instance): &Tool) -> String {
        mcp_name(plugin, tool, instance.as_deref())
    }

    proptest! {
        #[test]
        fn every_client_takes_every_name_and_a_whole_one_leads_back(tool in tools()) {
            let name = name(&tool);
            prop_assert!((1..=MCP_NAME_BYTES_MAX).contains(&name.len()));
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
            let (plugin, short, instance) = &tool;
            let whole = plugin.len() + 2 + short.len() + instance.as_ref().map_or(0, |text| text.len() + 2);
            let read = parse_mcp_name(&name);
            if whole <= MCP_NAME_BYTES_MAX {
                let read = read.unwrap();
                prop_assert_eq!((read.plugin, read.tool), (plugin.as_str(), short.as_str()));
                prop_assert_eq!(read.instance, instance.as_deref());
            } else {
                prop_assert!(read.is_none());
            }
        }

        #[test]
        fn two_tools_never_share_a_name(one in tools(), other in tools()) {
            prop_assert_eq!(one == other, name(&one) == name(&other));
        }
    }
}
