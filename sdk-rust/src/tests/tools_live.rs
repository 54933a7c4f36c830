//! Tools on the real core: who calls, what the broker checks, and what reaches whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::testing::TestBroker;
use crate::{Client, Code, Context, Event, Failure, Json, On, Plugin, Result, Tool, ToolStep};

#[derive(Deserialize, JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

async fn add(add: Add) -> Result<i64> {
    Ok(add.a + add.b)
}

fn any(tool: Tool) -> Tool {
    tool.input_schema(json!({ "type": "object" }))
}

/// Proves W15, Rust part: arguments are checked before the plugin sees them, and an unknown tool is an
/// error, never an empty success.
#[tokio::test]
async fn the_broker_checks_what_a_tool_is_given() {
    let broker = TestBroker::start(Plugin::new("sums").tool(Tool::new("add", add))).await;
    let sum: i64 = broker
        .call_tool("sums.add", json!({ "a": 2, "b": 3 }))
        .await
        .expect("a result");
    assert_eq!(sum, 5);
    let refused = broker
        .call_tool::<Json>("sums.add", json!({ "a": 2 }))
        .await;
    let refused = refused.expect_err("refused");
    assert_eq!(refused.code, Code::InvalidArguments, "{refused}");
    let refused = broker.call_tool::<Json>("sums.none", json!({})).await;
    assert_eq!(refused.expect_err("refused").code, Code::ToolNotFound);
}

/// Proves W16 and LN44, Rust part: a stream larger than the window waits for its reader, and is whole.
#[tokio::test]
async fn a_stream_larger_than_the_window_waits_for_its_reader() {
    let sent = Arc::new(AtomicU32::new(0));
    let counted = sent.clone();
    let large = move |_: Json, ctx: Context| {
        let sent = counted.clone();
        async move {
            ctx.progress().done(0.0, 64.0).tell("began");
            for _ in 0..64 {
                ctx.chunk("x".repeat(32_768)).await?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    };
    let plugin = Plugin::new("p").tool(any(Tool::new("large", large)).streaming());
    let broker = TestBroker::start(plugin).await;
    let mut call = broker.call_tool::<Json>("p.large", json!({}));
    let Some(ToolStep::Progress { message, .. }) = call.next().await else {
        panic!("expected progress");
    };
    assert_eq!(message.as_deref(), Some("began"));
    broker.settle().await;
    assert!(
        sent.load(Ordering::Relaxed) < 40,
        "{sent:?} chunks were sent"
    );
    let mut chunks = 0;
    while let Some(step) = call.next().await {
        chunks += u32::from(matches!(step, ToolStep::Chunk(_)));
    }
    assert_eq!((chunks, sent.load(Ordering::Relaxed)), (64, 64));
    call.await.expect("a result");
    let whole: String = broker
        .call_tool("p.large", json!({}))
        .await
        .expect("a result");
    assert_eq!(whole.len(), 64 * 32_768);
}

/// Proves LN9, Rust part, through the broker: a call that is dropped reaches its handler in 100 ms.
#[tokio::test]
async fn a_dropped_call_reaches_its_handler_within_100_ms() {
    let (began, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, ends) = (began.clone(), ended.clone());
    let waits = move |_: Json, ctx: Context| {
        let (began, ended) = (begins.clone(), ends.clone());
        async move {
            began.notify_one();
            ctx.cancelled().await;
            ended.notify_one();
            Ok(())
        }
    };
    let plugin = Plugin::new("p").tool(any(Tool::new("waits", waits)));
    let broker = TestBroker::start(plugin).await;
    // The least of some: the machine may have other work, a cancel that does not reach the handler is always late.
    let mut least = Duration::MAX;
    for _ in 0..8 {
        let calling = tokio::spawn(broker.call_tool::<Json>("p.waits", json!({})).into_future());
        began.notified().await;
        let at = Instant::now();
        calling.abort();
        ended.notified().await;
        least = least.min(at.elapsed());
        if least < Duration::from_millis(100) {
            return;
        }
    }
    panic!("cancelled after {least:?}");
}

/// Proves LN25, Rust part, through the broker: none of two hundred calls is refused.
#[tokio::test]
async fn two_hundred_calls_at_once_are_all_answered_through_the_broker() {
    let gate = Arc::new(Semaphore::new(0));
    let running = Arc::new(AtomicU32::new(0));
    let (opened, counted) = (gate.clone(), running.clone());
    let meets = move |arguments: Json| {
        let (gate, running) = (gate.clone(), running.clone());
        async move {
            if running.fetch_add(1, Ordering::AcqRel) + 1 == 200 {
                gate.add_permits(200);
            }
            gate.acquire().await?.forget();
            Ok::<Json, Failure>(arguments["n"].clone())
        }
    };
    let plugin = Plugin::new("p").tool(any(Tool::new("meets", meets)).concurrency(200));
    let broker = TestBroker::start(plugin).await;
    let calls: Vec<_> = (0..200)
        .map(|n| {
            let call = broker.call_tool::<u32>("p.meets", json!({ "n": n }));
            tokio::spawn(call.into_future())
        })
        .collect();
    for (n, call) in (0..).zip(calls) {
        assert_eq!(call.await.expect("no panic").expect("a result"), n);
    }
    assert_eq!(counted.load(Ordering::Relaxed), 200);
    drop(opened);
}

#[tokio::test]
async fn an_agent_calls_a_tool_while_it_handles_an_event() {
    async fn tell(_: Json, ctx: Context) -> Result<Json> {
        Ok(json!({ "caller": ctx.caller(), "key": ctx.idempotency_key() }))
    }
    async fn ask(_: Json, ctx: Context) -> Result<Event> {
        let told: Json = ctx
            .call_tool("p.tell", json!({}))
            .timeout("20s")
            .idempotency_key("k")
            .await?;
        Ok(Event::new("agent.told", "", told))
    }
    let broker = TestBroker::start(Plugin::new("p").tool(any(Tool::new("tell", tell)))).await;
    let agent = Client::new("agent").on(On::new("agent.ask", ask));
    let _agent = broker.attach(agent).await;
    broker
        .publish("agent.ask", json!({}))
        .await
        .expect("published");
    let told = broker
        .expect_published("agent.told", json!({ "key": "k" }), "10s")
        .await;
    let told: Json = told.payload.json().expect("JSON");
    assert!(
        told["caller"]
            .as_str()
            .is_some_and(|caller| caller.starts_with("client:"))
    );
}
