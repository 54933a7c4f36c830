//! The MCP server of one caller: tools and nothing else.
//!
//! The same handler answers over HTTP and stdio, in the stateless era (2026-07-28) and in sessions (2025-11-25 and
//! before). What is not advertised is answered as a method that is not there: completion, logging, prompts, resources,
//! sampling, elicitation, tasks, skills.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CompleteRequestMethod,
    CompleteRequestParams, CompleteResult, GetPromptRequestMethod, GetPromptRequestParams,
    GetPromptResponse, Implementation, JsonObject, ListPromptsRequestMethod, ListPromptsResult,
    ListResourceTemplatesRequestMethod, ListResourceTemplatesResult, ListResourcesRequestMethod,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam,
    ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData, ServerHandler};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use trunkline_contract::error::Error;
use trunkline_contract::rpc::ToolProgressParams;

use super::catalogue::Catalogue;
use super::limits::{FRESH, PROGRESS_MAX};
use super::progress::Progress;
use super::result;
use super::tools::{Call, Tools};
use crate::config::McpNames;

/// Serves the tools of one caller. Clones share everything.
pub(crate) struct Handler<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Handler<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

struct Shared<T> {
    tools: T,
    names: watch::Receiver<Arc<McpNames>>,
    known: Mutex<Known>,
    /// Held while the list is fetched, so that it is fetched once.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    catalogue: Arc<Catalogue>,
    fetched: Option<Instant>,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.fetched.is_some_and(|at| at.elapsed() < FRESH)
    }
}

impl<T: Tools> Handler<T> {
    /// Makes the server of a caller.
    pub(crate) fn new(tools: T, names: watch::Receiver<Arc<McpNames>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                tools,
                names,
                known: Mutex::default(),
                fetching: tokio::sync::Mutex::default(),
            }),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What is inside is replaced whole, so that it is good even after a panic.
        let known = self.shared.known.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the list.
    async fn fetch(&self) -> Result<Arc<Catalogue>, Error> {
        let entries = self.shared.tools.list().await?;
        let names = self.shared.names.borrow().clone();
        let catalogue = Arc::new(Catalogue::of(entries, &names));
        let mut known = self.known();
        known.catalogue = catalogue.clone();
        known.fetched = Some(Instant::now());
        Ok(catalogue)
    }

    /// Makes sure that a tool that is about to be called is known, if there is one of that name.
    ///
    /// A call waits for the list only if it names something unknown; an old list is fetched again beside it.
    pub(crate) async fn prepare(&self, name: &str) -> Result<Arc<Catalogue>, Error> {
        let (catalogue, is_fresh) = {
            let known = self.known();
            (known.catalogue.clone(), known.is_fresh())
        };
        let is_known = catalogue.find(name).is_some();
        if is_known {
            if !is_fresh {
                let this = self.clone();
                tokio::spawn(async move {
                    if let Ok(_one) = this.shared.fetching.try_lock()
                        && let Err(error) = this.fetch().await
                    {
                        tracing::debug!(%error, "Tools not listed.");
                    }
                });
            }
            return Ok(catalogue);
        }
        let _one = self.shared.fetching.lock().await;
        let again = self.known().catalogue.clone();
        if again.find(name).is_some() {
            return Ok(again);
        }
        self.fetch().await
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        let catalogue = match self.prepare(name).await {
            Ok(catalogue) => catalogue,
            Err(error) => return result::failure(name, &error).map(Into::into),
        };
        let Some(target) = catalogue.find(name) else {
            return Err(result::unknown(name));
        };
        let call = Call {
            tool: target.tool.clone(),
            instance: target.instance.clone(),
            arguments: arguments(request.arguments),
            traceparent: context.meta.get_traceparent().map(ToOwned::to_owned),
        };
        let answer = match context.meta.get_progress_token() {
            None => self.shared.tools.call(call, None).await,
            Some(token) => {
                let (reports, mut told) = mpsc::channel::<ToolProgressParams>(PROGRESS_MAX);
                let work = self.shared.tools.call(call, Some(reports));
                let tell = async {
                    let mut progress = Progress::default();
                    while let Some(report) = told.recv().await {
                        let Some(step) = progress.next(report) else {
                            continue;
                        };
                        let mut param =
                            ProgressNotificationParam::new(token.clone(), step.progress);
                        param.total = step.total;
                        param.message = step.message;
                        if let Err(error) = context.peer.notify_progress(param).await {
                            tracing::debug!(%error, "Progress not told.");
                        }
                    }
                };
                // The sender of reports ends with the call, and with it the telling: nothing is told after the answer.
                tokio::join!(work, tell).0
            }
        };
        match answer {
            Ok(done) => {
                Ok(result::result(done, target.has_output_schema, is_modern(context)).into())
            }
            Err(error) => result::failure(name, &error).map(Into::into),
        }
    }
}

fn arguments(arguments: Option<JsonObject>) -> Box<RawValue> {
    let arguments = arguments.unwrap_or_default();
    serde_json::value::to_raw_value(&arguments).expect("what was read from JSON is JSON")
}

fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    // Versions are dates, and sort as text.
    context
        .protocol_version()
        .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

impl<T: Tools> ServerHandler for Handler<T> {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("trunkline", env!("CARGO_PKG_VERSION")))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let catalogue = self.known().catalogue.clone();
        catalogue.tool(name).cloned()
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let catalogue = self
            .fetch()
            .await
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let tools = catalogue.tools(is_modern(&context));
        let mut listed = ListToolsResult::with_all_items(tools);
        if is_modern(&context) {
            // What a caller sees depends on its token.
            listed = listed
                .with_ttl_ms(FRESH.as_millis() as u64)
                .with_cache_scope(CacheScope::Private);
        }
        Ok(listed)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let cancelled = context.ct.clone();
        tokio::select! {
            biased;
            () = cancelled.cancelled() => {
                // Nobody waits for this answer; the call is dropped, and thereby cancelled.
                Err(ErrorData::internal_error("cancelled", None))
            }
            answer = self.call(request, &context) => answer,
        }
    }

    async fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }

    async fn get_prompt(
        &self,
        _request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Err(ErrorData::method_not_found::<GetPromptRequestMethod>())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListResourcesRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(ErrorData::method_not_found::<
            ListResourceTemplatesRequestMethod,
        >())
    }
}
