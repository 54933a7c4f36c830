//! Tools of the host language: how they are declared, and how it calls others.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Mutex as AsyncMutex;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::tool::ToolKind;

use super::handler::HostHandler;
use super::handles::Handle;
use super::input::{DurationIn, args, payload, some};
use super::service::Host;
use crate::hub::Stop;
use crate::payload::{Bytes, Json};
use crate::publish::Scope;
use crate::tool::{Calling, Derived, Side, Tool, ToolStep, derived};

/// A tool, as the host declares it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolSpec {
    handler: u32,
    #[serde(default)]
    sync: bool,
    name: String,
    #[serde(default)]
    description: String,
    kind: Option<ToolKind>,
    input: Option<Json>,
    output: Option<Json>,
    timeout: Option<DurationIn>,
    concurrency: Option<u32>,
    #[serde(default)]
    idempotent: bool,
    #[serde(default)]
    streaming: bool,
}

/// Checks what a language knows of a tool when it is registered, so that the place of the mistake is seen.
///
/// # Errors
/// `invalid_arguments` when it says nothing of its arguments: no language but Rust can derive a schema.
pub fn check_tool(name: &str, has_input: bool) -> Result<(), Error> {
    if has_input {
        return Ok(());
    }
    let text = format!(
        "tool {name:?}: expected `input`, the JSON Schema of its arguments, found none; \
         hint: {{\"type\": \"object\"}} for any object"
    );
    Err(Error::new(Code::InvalidArguments, text))
}

/// Gives the one form of a schema that a language made of a type: `{"schema": …, "description": …}`, each where there
/// is one; of the output if so said, else of the arguments.
///
/// # Errors
/// `invalid_arguments` when it cannot be the schema of this side of a tool.
pub fn tool_schema(name: &str, of_output: bool, schema: &str) -> Result<String, Error> {
    let refused = |text: &str| Error::new(Code::InvalidArguments, format!("tool {name:?}: {text}"));
    let schema: Json = serde_json::from_str(schema).map_err(|error| {
        refused(&format!(
            "expected a JSON Schema, found what is no JSON: {error}"
        ))
    })?;
    let side = if of_output { Side::Output } else { Side::Input };
    let Derived {
        schema,
        description,
    } = derived(side, &schema).map_err(|error| refused(&error.message))?;
    Ok(json!({ "schema": schema, "description": description }).to_string())
}

impl ToolSpec {
    pub(super) fn tool(self, host: &Host) -> Result<Tool, Error> {
        check_tool(&self.name, self.input.is_some())?;
        let handler = HostHandler {
            host: host.clone(),
            handler: self.handler,
            is_blocking: self.sync,
        };
        let mut tool = Tool::of(self.name, handler.work(false)).description(self.description);
        if let Some(kind) = self.kind {
            tool = tool.kind(kind);
        }
        if let Some(schema) = self.input {
            tool = tool.input_schema(schema);
        }
        if let Some(schema) = self.output {
            tool = tool.output_schema(schema);
        }
        if let Some(timeout) = self.timeout {
            tool = tool.timeout(timeout);
        }
        if let Some(calls) = self.concurrency {
            tool = tool.concurrency(calls);
        }
        if self.idempotent {
            tool = tool.idempotent();
        }
        if self.streaming {
            tool = tool.streaming();
        }
        Ok(tool)
    }
}

#[derive(Deserialize)]
struct RegisterArgs {
    tools: Vec<ToolSpec>,
}

/// Offers tools from now on.
pub(super) async fn register(host: &Host, scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: RegisterArgs = args(text)?;
    let tools = given.tools.into_iter().map(|tool| tool.tool(host));
    let tools: Vec<Tool> = tools.collect::<Result<_, Error>>()?;
    scope.instance().register_tools(tools).await?;
    Ok(Bytes::default())
}

#[derive(Deserialize)]
struct UnregisterArgs {
    names: Vec<String>,
}

/// Offers tools no longer.
pub(super) async fn unregister(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: UnregisterArgs = args(text)?;
    scope.instance().unregister_tools(given.names).await?;
    Ok(Bytes::default())
}

#[derive(Deserialize)]
struct ChunkArgs<'a> {
    #[serde(borrow, deserialize_with = "some")]
    data: Option<&'a RawValue>,
}

/// Sends a chunk of a result.
pub(super) async fn chunk(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let Scope::Handling(ctx) = scope else {
        let text = "a chunk is part of a tool's result: use the context that the tool was given";
        return Err(Error::new(Code::InvalidArguments, text));
    };
    let given: ChunkArgs<'_> = args(text)?;
    let data = given.data.map(payload).transpose()?.unwrap_or_default();
    ctx.chunk(data).await?;
    Ok(Bytes::default())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallArgs<'a> {
    name: String,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    timeout: Option<DurationIn>,
    instance: Option<String>,
    idempotency_key: Option<String>,
}

/// Begins a call; gives the handle that it is read by. Forgotten, it is cancelled.
pub(super) fn begin(host: &Host, scope: Scope, text: &str) -> Result<Bytes, Error> {
    let given: CallArgs<'_> = args(text)?;
    let arguments = match given.arguments {
        Some(arguments) => payload(arguments)?,
        None => Bytes::empty_object(),
    };
    let mut calling = Calling::new(scope, given.name, Ok(arguments));
    if let Some(timeout) = given.timeout {
        calling.timeout(timeout);
    }
    calling.instance = given.instance;
    calling.idempotency_key = given.idempotency_key;
    let call = Arc::new(ToolCallHandle {
        calling: AsyncMutex::new(calling),
        cancelled: Stop::default(),
        reason: Mutex::default(),
    });
    let number = host.handles().add(Handle::ToolCall(call.clone()));
    // It begins now, whenever it is awaited; only who holds the handle keeps it.
    let call = Arc::downgrade(&call);
    host.spawn(async move {
        if let Some(call) = call.upgrade() {
            call.with(async |calling| calling.begin().await).await;
        }
    });
    Bytes::encode(&number)
}

/// A call that the host reads.
pub(super) struct ToolCallHandle {
    calling: AsyncMutex<Calling>,
    cancelled: Stop,
    reason: Mutex<Option<String>>,
}

#[derive(Deserialize)]
struct CancelArgs {
    reason: Option<String>,
}

impl ToolCallHandle {
    /// Does something with the call, which may be cancelled meanwhile.
    async fn with<T>(&self, what: impl AsyncFn(&mut Calling) -> T) -> T {
        let mut calling = self.calling.lock().await;
        if !self.cancelled.is_set() {
            tokio::select! {
                biased;
                () = self.cancelled.wait() => {}
                done = what(&mut calling) => return done,
            }
        }
        calling.cancel(self.reason());
        what(&mut calling).await
    }

    fn reason(&self) -> Option<String> {
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.clone()
    }

    pub(super) async fn next(&self) -> Result<Bytes, Error> {
        match self.with(async |calling| calling.next().await).await {
            None => Ok(Bytes::default()),
            Some(ToolStep::Chunk(data)) => {
                Bytes::from_json(format!(r#"{{"kind":"chunk","data":{}}}"#, data.as_str()))
            }
            Some(ToolStep::Progress {
                done,
                total,
                message,
                data,
            }) => Bytes::encode(&json!({
                "kind": "progress", "done": done, "total": total, "message": message, "data": data,
            })),
        }
    }

    pub(super) async fn result(&self) -> Result<Bytes, Error> {
        self.with(async |calling| calling.result().await).await
    }

    /// Gives it up.
    pub(super) fn cancel(self: Arc<Self>, host: &Host, text: &str) -> Result<Bytes, Error> {
        let given: CancelArgs = args(text)?;
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = given.reason;
        self.cancelled.set();
        // Whoever reads it sees the flag, unless the host gave that up in the same breath.
        host.spawn(async move {
            let reason = self.reason();
            self.calling.lock().await.cancel(reason);
        });
        Ok(Bytes::default())
    }
}
