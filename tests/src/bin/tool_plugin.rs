//! A plugin whose tools are called in numbers, and give much.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::sync::watch;
use trunkline::{Context, Json, Plugin, Result, Tool};

/// Bytes of one chunk of `large`.
const CHUNK_BYTES: usize = 64 << 10;

/// Streams as many bytes as it is asked for.
async fn large(arguments: Json, ctx: Context) -> Result<Json> {
    let chunks = arguments["bytes"].as_u64().unwrap_or_default() as usize / CHUNK_BYTES;
    let chunk = "x".repeat(CHUNK_BYTES);
    for _ in 0..chunks {
        ctx.chunk(&chunk).await?;
    }
    Ok(Json::Null)
}

/// Answers at once.
async fn quick(arguments: Json) -> Result<Json> {
    Ok(arguments)
}

fn main() -> ExitCode {
    let input = || json!({ "type": "object" });
    let (together, _) = watch::channel(0usize);
    let together = Arc::new(together);
    // Ends once as many calls as it is told run at once: fewer, and none of them ends.
    let meet = move |arguments: Json| {
        let together = together.clone();
        async move {
            let wanted = arguments["calls"].as_u64().unwrap_or_default() as usize;
            let mut seen = together.subscribe();
            together.send_modify(|calls| *calls += 1);
            if seen.wait_for(|calls| *calls >= wanted).await.is_err() {
                return Err(trunkline::ToolError::new("the others are gone").into());
            }
            Ok(arguments)
        }
    };
    let most = Arc::new(AtomicUsize::new(0));
    let now = Arc::new(AtomicUsize::new(0));
    // Takes a turn of the loop, and tells the most that were in it at once.
    let crowd = move |_: Json| {
        let (most, now) = (most.clone(), now.clone());
        async move {
            let inside = now.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(inside, Ordering::Relaxed);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::Relaxed);
            Ok(json!({ "most": most.load(Ordering::Relaxed) }))
        }
    };
    trunkline::run(
        Plugin::new("crowd")
            .tool(Tool::new("large", large).input_schema(input()).streaming())
            .tool(Tool::new("quick", quick).input_schema(input()))
            .tool(
                Tool::new("meet", meet)
                    .input_schema(input())
                    .concurrency(200),
            )
            .tool(Tool::new("crowd", crowd).input_schema(input())),
    )
}
