//! Tools in Rust for clients of every kind; the same in `tests/sdk/tools.py` and `tests/sdk/tools.mjs`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use trunkline::{Context, Json, Plugin, Result, Tool};

static CANCELLED: AtomicU64 = AtomicU64::new(0);

/// Counts when it is dropped: a cancelled handler is.
struct Hanging;

impl Drop for Hanging {
    fn drop(&mut self) {
        CANCELLED.fetch_add(1, Ordering::Relaxed);
    }
}

async fn echo(value: Json) -> Result<Json> {
    Ok(value)
}

async fn steps(_: Json, ctx: Context) -> Result<String> {
    for done in 1..=3 {
        let progress = ctx.progress().done(f64::from(done), 3.0);
        progress.tell(format!("step {done}"));
    }
    Ok("done".to_owned())
}

async fn hang(_: Json, ctx: Context) -> Result<Json> {
    ctx.progress().done(1.0, 2.0).tell("");
    let _hanging = Hanging;
    std::future::pending().await
}

async fn cancels(_: Json) -> Result<Json> {
    Ok(json!({ "count": CANCELLED.load(Ordering::Relaxed) }))
}

fn main() -> ExitCode {
    let none = json!({ "type": "object" });
    let value = json!({
        "type": "object",
        "properties": { "value": { "type": "object" } },
        "required": ["value"],
    });
    let count = json!({ "type": "object", "properties": { "count": { "type": "integer" } } });
    let plugin = Plugin::new("tools-rust")
        .version("0.1.0")
        .tool(
            Tool::new("echo", echo)
                .description("Give back what is given.")
                .input_schema(value.clone())
                .output_schema(value)
                .idempotent(),
        )
        .tool(
            Tool::new("steps", steps)
                .description("Report progress three times.")
                .input_schema(none.clone()),
        )
        .tool(
            Tool::new("hang", hang)
                .description("Never end by itself.")
                .input_schema(none.clone()),
        )
        .tool(
            Tool::new("cancels", cancels)
                .description("How many calls were cancelled.")
                .input_schema(none)
                .output_schema(count),
        );
    trunkline::run(plugin)
}
