//! What the handler needs of the broker: tools to list and to call.
//!
//! A seam, so that what MCP sees is tested without a daemon.

use std::future::Future;

use serde_json::value::RawValue;
use tokio::sync::mpsc;
use trunkline_contract::error::Error;
use trunkline_contract::rpc::{ToolCallResult, ToolEntry, ToolProgressParams};

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    /// The tool, as `<plugin>.<tool>`.
    pub(crate) tool: String,
    /// The instance that is to run it.
    pub(crate) instance: Option<String>,
    /// The arguments, an object.
    pub(crate) arguments: Box<RawValue>,
    /// W3C trace context of the caller.
    pub(crate) traceparent: Option<String>,
}

/// Lists and calls tools on behalf of one caller.
pub(crate) trait Tools: Send + Sync + 'static {
    /// Lists what the caller may call, by name.
    fn list(&self) -> impl Future<Output = Result<Vec<ToolEntry>, Error>> + Send;

    /// Calls a tool. Dropping the future cancels the call.
    ///
    /// # Arguments
    /// * `progress` - takes what the tool reports; what does not fit is dropped, the newest counts.
    fn call(
        &self,
        call: Call,
        progress: Option<mpsc::Sender<ToolProgressParams>>,
    ) -> impl Future<Output = Result<ToolCallResult, Error>> + Send;
}
