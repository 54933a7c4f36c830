//! One tool: its handler, its schemas, and its options.

use std::future::Future;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::tool::{ToolDeclaration, ToolKind};

use super::schema::{Derived, Side, of_type};
use crate::context::Context;
use crate::duration::{IntoDuration, in_ms};
use crate::handler::{FromEvent, Handled, Work};
use crate::outcome::{Outcome, Result};
use crate::payload::{Bytes, Json};

/// Is what may serve a tool: a function of the arguments, and of the context if it wants one.
pub trait ToolHandler<Args>: Send + Sync + 'static {
    /// What is called.
    type Arguments: FromEvent + JsonSchema;
    /// What it gives; of a streaming tool, nothing.
    type Output: Serialize + JsonSchema;

    /// Calls it.
    ///
    /// # Errors
    /// `invalid_arguments` where the arguments do not fit.
    fn call(&self, ctx: Context) -> Result<Handled, Error>;
}

fn arguments<A: FromEvent>(ctx: &Context) -> Result<A, Error> {
    A::from_event(ctx).map_err(|error| {
        let mut refused = Error::new(Code::InvalidArguments, error.message);
        refused.detail = error.detail;
        refused
    })
}

async fn result<O: Serialize>(called: impl Future<Output = Result<O>>) -> Outcome {
    match called.await {
        Ok(output) => match Bytes::encode(&output) {
            Ok(output) => Outcome::Result(output),
            Err(error) => Outcome::Failed(error.into()),
        },
        Err(failure) => Outcome::Failed(failure),
    }
}

impl<F, A, O, R> ToolHandler<(A,)> for F
where
    F: Fn(A) -> R + Send + Sync + 'static,
    A: FromEvent + JsonSchema + 'static,
    O: Serialize + JsonSchema + 'static,
    R: Future<Output = Result<O>> + Send + 'static,
{
    type Arguments = A;
    type Output = O;

    fn call(&self, ctx: Context) -> Result<Handled, Error> {
        let called = self(arguments(&ctx)?);
        Ok(Box::pin(result(called)))
    }
}

impl<F, A, O, R> ToolHandler<(A, Context)> for F
where
    F: Fn(A, Context) -> R + Send + Sync + 'static,
    A: FromEvent + JsonSchema + 'static,
    O: Serialize + JsonSchema + 'static,
    R: Future<Output = Result<O>> + Send + 'static,
{
    type Arguments = A;
    type Output = O;

    fn call(&self, ctx: Context) -> Result<Handled, Error> {
        let called = self(arguments(&ctx)?, ctx);
        Ok(Box::pin(result(called)))
    }
}

/// Is a tool of a plugin: others call it, and get what its handler returns.
///
/// The types of the handler are its schemas, and the doc comment of the arguments is its
/// description. A handler of [`Json`] says its schema with [`Tool::input_schema`].
///
/// ```
/// use serde::Deserialize;
/// use trunkline::schemars::{self, JsonSchema};
/// use trunkline::{Plugin, Result, Tool};
///
/// /// Add two numbers.
/// #[derive(Deserialize, JsonSchema)]
/// struct Add {
///     a: i64,
///     b: i64,
/// }
///
/// async fn add(add: Add) -> Result<i64> {
///     Ok(add.a + add.b)
/// }
///
/// fn plugin() -> Plugin {
///     Plugin::new("sums").tool(Tool::new("add", add).timeout("5s").idempotent())
/// }
/// # plugin();
/// ```
#[derive(Clone)]
pub struct Tool {
    declaration: ToolDeclaration,
    timeout: Result<Option<Duration>, Error>,
    /// What the handler's types say, where no schema was written.
    input: Result<Derived, Error>,
    output: Result<Derived, Error>,
    work: Work,
}

impl Tool {
    /// Makes a tool of a function; the full name is `<plugin>.<name>`.
    pub fn new<Args: 'static, H: ToolHandler<Args>>(name: impl Into<String>, handler: H) -> Self {
        let handler = std::sync::Arc::new(move |ctx| handler.call(ctx));
        let mut tool = Self::of(name.into(), Work::Call(handler));
        tool.input = of_type::<H::Arguments>(Side::Input);
        tool.output = of_type::<H::Output>(Side::Output);
        tool
    }

    pub(crate) fn of(name: String, work: Work) -> Self {
        Self {
            declaration: ToolDeclaration {
                name,
                ..ToolDeclaration::default()
            },
            timeout: Ok(None),
            input: Ok(Derived::default()),
            output: Ok(Derived::default()),
            work,
        }
    }

    /// Says what it does, for people and models.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.declaration.description = description.into();
        self
    }

    /// Says how long a call may take; the caller may say less.
    pub fn timeout(mut self, timeout: impl IntoDuration) -> Self {
        self.timeout = timeout.into_duration().map(Some);
        self
    }

    /// Says how many calls run at once; more wait.
    pub fn concurrency(mut self, calls: u32) -> Self {
        self.declaration.concurrency = Some(calls);
        self
    }

    /// Says what it is for; a tool, for a model to choose, unless said otherwise.
    pub fn kind(mut self, kind: ToolKind) -> Self {
        self.declaration.kind = kind;
        self
    }

    /// Says that running it twice does no more than running it once.
    pub fn idempotent(mut self) -> Self {
        self.declaration.idempotent = true;
        self
    }

    /// Says that its output comes in chunks: [`Context::chunk`].
    pub fn streaming(mut self) -> Self {
        self.declaration.streaming = true;
        self
    }

    /// Gives the JSON Schema of the arguments, instead of that of the handler's type.
    pub fn input_schema(mut self, schema: Json) -> Self {
        self.declaration.input_schema = Some(schema);
        self
    }

    /// Gives the JSON Schema of the output, of one chunk if it is streaming.
    pub fn output_schema(mut self, schema: Json) -> Self {
        self.declaration.output_schema = Some(schema);
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.declaration.name
    }

    /// What is told to the broker, and what calls are served with.
    pub(crate) fn declared(mut self) -> Result<(ToolDeclaration, Work), Error> {
        let timeout = self.timeout?;
        self.declaration.timeout_ms = timeout.map(in_ms);
        let name = &self.declaration.name;
        let named =
            |error: Error| Error::new(error.code, format!("tool {name:?}: {}", error.message));
        let input = match &self.declaration.input_schema {
            Some(_) => self.input.unwrap_or_default(),
            None => self.input.map_err(named)?,
        };
        if !self.declaration.streaming && self.declaration.output_schema.is_none() {
            self.declaration.output_schema = self.output.map_err(named)?.schema;
        }
        if self.declaration.description.is_empty() {
            self.declaration.description = input.description;
        }
        if self.declaration.input_schema.is_none() {
            self.declaration.input_schema = input.schema;
        }
        if self.declaration.input_schema.is_none() {
            let text = format!(
                "tool {:?}: expected a schema of its arguments, found none\n\
                 hint: give a JSON Schema, {{\"type\": \"object\"}} for any object",
                self.declaration.name
            );
            return Err(Error::new(Code::InvalidArguments, text));
        }
        self.declaration.check()?;
        Ok((self.declaration, self.work))
    }
}

impl std::fmt::Debug for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tool")
            .field("name", &self.declaration.name)
            .finish_non_exhaustive()
    }
}
