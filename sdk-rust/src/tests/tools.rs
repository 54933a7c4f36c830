//! Tools against a scripted broker: served, and called.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::peer::{Listener, Peer, Served};
use crate::{
    Client, Code, Context, Failure, Json, Plugin, Reject, Result, Retry, Tool, ToolError, ToolStep,
};

/// Add two numbers.
#[derive(Deserialize, JsonSchema)]
struct Add {
    /// The first one.
    a: i64,
    b: i64,
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    sum: i64,
}

async fn add(add: Add) -> Result<Sum> {
    Ok(Sum { sum: add.a + add.b })
}

async fn count(arguments: Json, ctx: Context) -> Result<()> {
    for n in 0..arguments["to"].as_u64().unwrap_or_default() {
        ctx.progress().done(n as f64, 3.0).tell("counting");
        ctx.chunk(json!(format!("{n} "))).await?;
    }
    Ok(())
}

fn any(name: &str, tool: Tool) -> Tool {
    assert_eq!(tool.name(), name);
    tool.input_schema(json!({ "type": "object" }))
}

fn params(call_id: &str, tool: &str, arguments: Value) -> Value {
    json!({
        "call_id": call_id, "tool": format!("echo.{tool}"), "arguments": arguments,
        "context": { "caller": "client:ops", "session_id": "s", "timeout_ms": 5000 },
        "window_bytes": 262_144,
    })
}

impl Peer {
    fn call(&mut self, call_id: &str, tool: &str, arguments: Value) -> Value {
        let id = self.request("tool.call", &params(call_id, tool, arguments));
        self.recv_answer(id)
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }
}

fn code(answer: &Value) -> &str {
    answer["data"]["code"].as_str().unwrap_or_default()
}

#[test]
fn what_a_tool_takes_and_gives_is_declared_at_the_handshake() {
    let mut served = Served::start(|| {
        Plugin::new("echo").tool(
            Tool::new("add", add)
                .timeout("20s")
                .concurrency(8)
                .idempotent(),
        )
    });
    let reply = served.peer.activate();
    assert_eq!(
        reply["declares"]["tools"],
        json!([{
            "name": "add",
            "description": "Add two numbers.",
            "input_schema": {
                "type": "object",
                "properties": {
                    "a": { "type": "integer", "description": "The first one." },
                    "b": { "type": "integer" },
                },
                "required": ["a", "b"],
            },
            "output_schema": {
                "type": "object",
                "properties": { "sum": { "type": "integer" } },
                "required": ["sum"],
            },
            "timeout_ms": 20_000,
            "concurrency": 8,
            "idempotent": true,
        }])
    );
    served.shut_down();
}

#[test]
fn a_tool_without_a_schema_is_refused_at_registration() {
    async fn any(_: Json) -> Result<()> {
        Ok(())
    }
    let refused = Plugin::new("echo").tool(Tool::new("any", any)).check();
    let refused = refused.expect_err("refused");
    assert_eq!(refused.code, Code::InvalidArguments);
    assert!(refused.message.contains("expected a schema"), "{refused}");
    let named = Tool::new("No", any).input_schema(json!(true));
    assert!(Plugin::new("echo").tool(named).check().is_err());
    let add = || Tool::new("add", add);
    assert!(Plugin::new("echo").tool(add()).tool(add()).check().is_err());
}

/// Proves W15, Rust part: a call is answered with the result or with an error of the catalogue, and
/// an unknown tool never with an empty success.
#[test]
fn a_call_is_answered_with_its_result_or_a_typed_error() {
    async fn fails(arguments: Json) -> Result<Json> {
        Err(match arguments["how"].as_str().unwrap_or_default() {
            "tool" => ToolError::new("too old").code("too_old").retryable().into(),
            "known" => ToolError::new("no such charge").code("not_found").into(),
            "retry" => Retry::after("3s").because("busy").into(),
            "reject" => Reject::new("never").code("invalid_arguments").into(),
            "other" => Failure::new("boom"),
            _ => panic!("no way"),
        })
    }
    let mut served = Served::start(|| {
        Plugin::new("echo")
            .tool(Tool::new("add", add))
            .tool(any("fails", Tool::new("fails", fails)))
    });
    let peer = &mut served.peer;
    peer.activate();
    assert_eq!(
        peer.call("1", "add", json!({ "a": 2, "b": 3 })),
        json!({ "output": { "sum": 5 } })
    );
    let error = peer.call("2", "add", json!({ "a": 2, "b": "three" }));
    assert_eq!(code(&error), "invalid_arguments", "{error}");
    let error = peer.call("3", "none", json!({}));
    assert_eq!(code(&error), "tool_not_found", "{error}");
    let error = peer.call("4", "fails", json!({ "how": "tool" }));
    assert_eq!(code(&error), "tool_failed", "{error}");
    assert_eq!(error["message"], "too old");
    assert_eq!(
        error["data"]["detail"],
        json!({ "code": "too_old", "retryable": true })
    );
    assert_eq!(error["data"]["retryable"], true);
    let error = peer.call("5", "fails", json!({ "how": "known" }));
    assert_eq!(code(&error), "not_found", "{error}");
    let error = peer.call("6", "fails", json!({ "how": "retry" }));
    assert_eq!(code(&error), "tool_failed", "{error}");
    assert_eq!(error["data"]["retry_after_ms"], 3000);
    assert_eq!(error["data"]["retryable"], true);
    let error = peer.call("7", "fails", json!({ "how": "reject" }));
    assert_eq!(code(&error), "invalid_arguments", "{error}");
    for how in ["other", "panic"] {
        let error = peer.call("8", "fails", json!({ "how": how }));
        assert_eq!(code(&error), "tool_failed", "{error}");
        assert_eq!(error["data"]["retryable"], false);
    }
    served.shut_down();
}

#[test]
fn the_context_knows_the_caller_the_key_and_the_time() {
    async fn tell(_: Json, ctx: Context) -> Result<Json> {
        assert!(ctx.remaining() <= std::time::Duration::from_secs(5));
        assert!(ctx.reply("no").await.is_err());
        Ok(json!({
            "caller": ctx.caller(), "key": ctx.idempotency_key(), "session": ctx.session().id(),
            "topic": ctx.topic(), "delivery": ctx.delivery().is_some(),
        }))
    }
    let mut served =
        Served::start(|| Plugin::new("echo").tool(any("tell", Tool::new("tell", tell))));
    let peer = &mut served.peer;
    peer.activate();
    let mut given = params("b7", "tell", json!({}));
    given["context"]["idempotency_key"] = json!("k1");
    let expected = |key: &str| {
        json!({ "output": {
            "caller": "client:ops", "key": key, "session": "s",
            "topic": "plugin.tool.echo.tell", "delivery": false,
        } })
    };
    assert_eq!(peer.ask("tool.call", &given), expected("k1"));
    let answer = peer.call("b8", "tell", json!({}));
    assert_eq!(answer, expected("client:ops|b8"));
    served.shut_down();
}

/// Proves W16, Rust part: progress and chunks reach the caller in order, chunks wait for the window.
#[test]
fn progress_and_chunks_go_ahead_of_the_result_as_far_as_the_window_reaches() {
    let mut served = Served::start(|| {
        Plugin::new("echo").tool(any("count", Tool::new("count", count)).streaming())
    });
    let peer = &mut served.peer;
    peer.activate();
    let mut given = params("b1", "count", json!({ "to": 3 }));
    given["window_bytes"] = json!(5);
    let id = peer.request("tool.call", &given);
    let mut chunks = Vec::new();
    let mut progress = 0;
    while chunks.len() < 2 {
        let frame = peer.recv();
        if frame["method"] == "tool.chunk" {
            assert_eq!(frame["params"]["seq"], chunks.len());
            chunks.push(frame["params"]["data"].clone());
        } else {
            assert_eq!(frame["method"], "tool.progress", "{frame}");
            assert_eq!(frame["params"]["message"], "counting");
            progress += 1;
        }
        assert_eq!(frame["params"]["call_id"], "b1");
    }
    assert_eq!(chunks, [json!("0 "), json!("1 ")]);
    while progress < 3 {
        assert_eq!(peer.expect("tool.progress")["call_id"], "b1");
        progress += 1;
    }
    // The window is used up: only a ping's answer comes.
    assert_eq!(peer.ask("ping", &json!({}))["in_flight"], 1);
    peer.tell("tool.credit", json!({ "call_id": "b1", "bytes": 4 }));
    assert_eq!(peer.expect("tool.chunk")["data"], "2 ");
    assert_eq!(peer.recv_answer(id), json!({ "chunks": 3 }));
    // A caller that wants no stream gets it whole.
    given["window_bytes"] = json!(0);
    let id = peer.request("tool.call", &given);
    for _ in 0..3 {
        peer.expect("tool.progress");
    }
    assert_eq!(
        peer.recv_answer(id),
        json!({ "output": "0 1 2 ", "chunks": 3 })
    );
    served.shut_down();
}

#[test]
fn a_result_over_the_frame_limit_is_an_error_and_the_link_stays_up() {
    async fn large(arguments: Json) -> Result<String> {
        Ok("x".repeat(arguments["bytes"].as_u64().unwrap_or_default() as usize))
    }
    let mut served =
        Served::start(|| Plugin::new("echo").tool(any("large", Tool::new("large", large))));
    let peer = &mut served.peer;
    peer.activate();
    let error = peer.call("1", "large", json!({ "bytes": 1 << 20 }));
    assert_eq!(code(&error), "frame_too_large", "{error}");
    let result = peer.call("2", "large", json!({ "bytes": 1000 }));
    assert_eq!(result["output"].as_str().map(str::len), Some(1000));
    served.shut_down();
}

/// Proves LN9, Rust part: a cancel reaches the handler at once, also one that overtook its call.
#[test]
fn a_cancel_reaches_the_handler_at_once() {
    async fn waits(_: Json, ctx: Context) -> Result<&'static str> {
        ctx.progress().tell("began");
        ctx.cancelled().await;
        ctx.progress().tell("cancelled");
        std::future::pending().await
    }
    let mut served =
        Served::start(|| Plugin::new("echo").tool(any("waits", Tool::new("waits", waits))));
    let peer = &mut served.peer;
    peer.activate();
    // The least of some: the machine may have other work, a cancel that does not reach the handler is always late.
    let bound = std::time::Duration::from_millis(100);
    let mut least = std::time::Duration::MAX;
    for n in 0..5 {
        let call = format!("b{n}");
        let id = peer.request("tool.call", &params(&call, "waits", json!({})));
        assert_eq!(peer.expect("tool.progress")["message"], "began");
        let told = tokio::time::Instant::now();
        peer.tell(
            "tool.cancel",
            json!({ "call_id": call, "reason": "no need" }),
        );
        assert_eq!(peer.expect("tool.progress")["message"], "cancelled");
        least = least.min(told.elapsed());
        // It does not end by itself: a second later nobody waits.
        let error = peer.recv_answer(id);
        assert_eq!(code(&error), "cancelled", "{error}");
        if least < bound {
            break;
        }
    }
    assert!(least < bound, "{least:?}");
    peer.tell("tool.cancel", json!({ "call_id": "late" }));
    let error = peer.call("late", "waits", json!({}));
    assert_eq!(code(&error), "cancelled", "{error}");
    served.shut_down();
}

#[test]
fn a_call_ends_with_its_time() {
    async fn waits(_: Json) -> Result<()> {
        std::future::pending().await
    }
    let mut served =
        Served::start(|| Plugin::new("echo").tool(any("waits", Tool::new("waits", waits))));
    let peer = &mut served.peer;
    peer.activate();
    let mut given = params("b1", "waits", json!({}));
    given["context"]["timeout_ms"] = json!(20);
    let error = peer.ask("tool.call", &given);
    assert_eq!(code(&error), "timed_out", "{error}");
    served.shut_down();
}

/// Proves LN25, Rust part: two hundred calls at once are all answered; a tool that says how many run
/// at once runs no more of them.
#[test]
fn two_hundred_calls_at_once_are_all_answered() {
    static RUNNING: AtomicU32 = AtomicU32::new(0);
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let mut served = Served::start(move || {
        let free = {
            let gate = gate.clone();
            move |arguments: Json| {
                let gate = gate.clone();
                async move {
                    gate.acquire().await?.forget();
                    Ok::<Json, Failure>(arguments["n"].clone())
                }
            }
        };
        let bounded = move |arguments: Json| async move {
            let running = RUNNING.fetch_add(1, Ordering::AcqRel) + 1;
            assert!(running <= 3, "{running} run at once");
            tokio::task::yield_now().await;
            RUNNING.fetch_sub(1, Ordering::AcqRel);
            Ok::<Json, Failure>(arguments["n"].clone())
        };
        Plugin::new("echo")
            .tool(any("free", Tool::new("free", free)))
            .tool(any("bounded", Tool::new("bounded", bounded)).concurrency(3))
    });
    let peer = &mut served.peer;
    peer.activate();
    for (tool, first) in [("free", 0), ("bounded", 200)] {
        let mut asked = std::collections::BTreeMap::new();
        for n in first..first + 200 {
            let given = params(&format!("b{n}"), tool, json!({ "n": n }));
            asked.insert(peer.request("tool.call", &given), n);
        }
        // All of them run: only then does the first end.
        if tool == "free" {
            while peer.ask("ping", &json!({}))["in_flight"] != 200 {}
            opened.add_permits(200);
        }
        while !asked.is_empty() {
            let frame = peer.recv();
            let n = asked.remove(&frame["id"].as_u64().expect("an answer"));
            assert_eq!(frame["result"]["output"], json!(n.expect("asked once")));
        }
    }
    served.shut_down();
}

#[test]
fn a_stop_answers_what_waits_and_lets_what_runs_finish() {
    async fn waits(_: Json, ctx: Context) -> Result<()> {
        ctx.progress().tell("began");
        ctx.cancelled().await;
        Ok(())
    }
    let mut served = Served::start(|| {
        Plugin::new("echo").tool(any("waits", Tool::new("waits", waits)).concurrency(1))
    });
    let peer = &mut served.peer;
    peer.activate();
    let first = peer.request("tool.call", &params("b1", "waits", json!({})));
    peer.expect("tool.progress");
    let second = peer.request("tool.call", &params("b2", "waits", json!({})));
    let last = peer.request("shutdown", &json!({ "reason": "test", "timeout_ms": 50 }));
    let error = peer.recv_answer(second);
    assert_eq!(code(&error), "unavailable", "{error}");
    assert_eq!(peer.recv_answer(first), json!({ "output": null }));
    assert_eq!(peer.recv_answer(last), json!({ "ok": true }));
    served.join().expect("an orderly end");
}

#[test]
fn tools_come_and_go_at_run_time() {
    let mut served = Served::start(|| {
        Plugin::new("echo").on_start(|ctx| async move {
            tokio::spawn(async move {
                let add = || Tool::new("add", add);
                ctx.register_tools([add()]).await.expect("registered");
                ctx.unregister_tools(["add"]).await.expect("gone");
                ctx.register_tools([add()]).await.expect_err("refused");
                ctx.log().info("over");
            });
            Ok(())
        })
    });
    let peer = &mut served.peer;
    peer.activate();
    let given = peer.expect_and_answer("tool.register", &json!({}));
    assert_eq!(given["tools"][0]["name"], "add");
    let registered = peer.recv();
    assert_eq!(registered["method"], "tool.unregister");
    let sum = peer.call("b1", "add", json!({ "a": 1, "b": 1 }));
    assert_eq!(sum, json!({ "output": { "sum": 2 } }));
    peer.answer(&registered, &json!({}));
    let again = peer.recv();
    assert_eq!(again["method"], "tool.register");
    let refused = trunkline_contract::Error::new(Code::DeclarationConflict, "no");
    peer.refuse(&again, &refused);
    peer.expect("log");
    let error = peer.call("b2", "add", json!({ "a": 1, "b": 1 }));
    assert_eq!(code(&error), "tool_not_found", "{error}");
    served.shut_down();
}

fn client<T: Send + 'static>(
    work: impl AsyncFnOnce(Client) -> T + Send + 'static,
) -> (Peer, std::thread::JoinHandle<T>) {
    let listener = Listener::new();
    let path = listener.path.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let client = Client::new("ops").socket(path).connect().await;
            let client = client.expect("connected");
            let done = work(client.clone()).await;
            client.close().await;
            done
        })
    });
    let peer = listener.accept();
    (peer, thread)
}

#[test]
fn a_caller_sees_every_step_and_then_the_result() {
    let (mut peer, thread) = client(async |client| {
        let mut call = client
            .call_tool::<Json>("echo.count", json!({ "to": 2 }))
            .timeout("30s")
            .instance("a")
            .idempotency_key("k");
        let mut steps = Vec::new();
        while let Some(step) = call.next().await {
            steps.push(match step {
                ToolStep::Progress { done, message, .. } => json!([done, message]),
                ToolStep::Chunk(data) => data.json().expect("JSON"),
            });
        }
        let read = (steps, call.await.expect("a result"));
        let whole = client.call_tool::<String>("echo.count", json!({}));
        let whole = whole.await.expect("a result");
        let refused = client.call_tool::<Json>("echo.none", json!({})).await;
        (read, whole, refused.expect_err("refused").code)
    });
    let frame = peer.recv();
    assert_eq!(
        frame["params"],
        json!({
            "call_id": "c1", "tool": "echo.count", "instance": "a", "arguments": { "to": 2 },
            "context": { "timeout_ms": 30_000, "idempotency_key": "k" }, "window_bytes": 262_144,
        })
    );
    peer.tell(
        "tool.progress",
        json!({ "call_id": "c1", "done": 1, "message": "on it" }),
    );
    let large = "x".repeat(200_000);
    for (seq, data) in ["one", large.as_str()].into_iter().enumerate() {
        let chunk = json!({ "call_id": "c1", "seq": seq, "data": data });
        peer.tell("tool.chunk", chunk);
    }
    peer.expect("tool.credit");
    peer.answer(&frame, &json!({ "chunks": 2 }));
    let frame = peer.recv();
    for (seq, data) in ["a", "b"].into_iter().enumerate() {
        let chunk = json!({ "call_id": "c2", "seq": seq, "data": data });
        peer.tell("tool.chunk", chunk);
    }
    peer.answer(&frame, &json!({ "chunks": 2 }));
    let frame = peer.recv();
    let refused = trunkline_contract::Error::new(Code::ToolNotFound, "no such tool");
    peer.refuse(&frame, &refused);
    let (read, whole, refused) = thread.join().expect("no panic");
    assert_eq!(read.0, [json!([1.0, "on it"]), json!("one"), json!(large)]);
    assert_eq!(read.1, Json::Null);
    assert_eq!(whole, "ab");
    assert_eq!(refused, Code::ToolNotFound);
}

#[test]
fn a_call_that_is_dropped_is_cancelled_and_a_done_one_is_not() {
    let (mut peer, thread) = client(async |client| {
        let mut dropped = client.call_tool::<Json>("echo.waits", json!({}));
        dropped.next().await.expect("a step");
        drop(dropped);
        let mut told = client.call_tool::<Json>("echo.waits", json!({}));
        told.next().await.expect("a step");
        told.cancel("no need");
        told.await.expect_err("cancelled").code
    });
    for call_id in ["c1", "c2"] {
        let frame = peer.recv();
        peer.tell("tool.progress", json!({ "call_id": call_id, "done": 0 }));
        let cancel = peer.expect("tool.cancel");
        assert_eq!(cancel["call_id"], call_id);
        if call_id == "c2" {
            assert_eq!(cancel["reason"], "no need");
        }
        let error = trunkline_contract::Error::new(Code::Cancelled, "the caller cancelled it");
        peer.refuse(&frame, &error);
    }
    assert_eq!(thread.join().expect("no panic"), Code::Cancelled);
    peer.recv_end();
}

#[test]
fn a_call_made_while_handling_inherits_the_session_and_the_time() {
    async fn outer(_: Json, ctx: Context) -> Result<Json> {
        Ok(ctx.call_tool("other.inner", json!({})).await?)
    }
    let mut served =
        Served::start(|| Plugin::new("echo").tool(any("outer", Tool::new("outer", outer))));
    let peer = &mut served.peer;
    peer.activate();
    let id = peer.request("tool.call", &params("b1", "outer", json!({})));
    let inner = peer.recv();
    assert_eq!(inner["params"]["context"]["session_id"], "s");
    let left = inner["params"]["context"]["timeout_ms"].as_u64();
    assert!(left.is_some_and(|left| left <= 5000), "{inner}");
    peer.answer(&inner, &json!({ "output": { "n": 1 } }));
    assert_eq!(peer.recv_answer(id), json!({ "output": { "n": 1 } }));
    served.shut_down();
}
