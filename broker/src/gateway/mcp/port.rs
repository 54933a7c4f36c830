//! Tools of the real broker: through a port, which is a client of the core like any other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{
    ToolCallParams, ToolCallResult, ToolContext, ToolEntry, ToolListParams, ToolListResult,
    ToolProgressParams, method,
};

use super::limits::TOOLS_MAX;
use super::tools::{Call, Tools};
use crate::gateway::auth::Token;
use crate::gateway::{Line, Port, Ports, ToolEvent};

/// Where a port comes from.
enum Source {
    /// The gateway's, shared with all other requests of the token.
    Pool(Arc<Ports>),
    /// One of its own, over the daemon's socket; opened anew when the daemon was away.
    Socket(PathBuf, Mutex<Option<Port>>),
}

/// The tools that a token may call.
pub(crate) struct PortTools {
    source: Source,
    token: Token,
}

impl PortTools {
    /// Takes ports out of the gateway's pool.
    pub(crate) fn pooled(ports: Arc<Ports>, token: Token) -> Self {
        Self {
            source: Source::Pool(ports),
            token,
        }
    }

    /// Connects to a daemon by its socket.
    ///
    /// # Errors
    /// `unavailable` when nobody listens, `unauthorized` when the token is not known.
    pub(crate) async fn connect(socket: &Path, token: Token) -> Result<Self, Error> {
        let tools = Self {
            source: Source::Socket(socket.to_owned(), Mutex::default()),
            token,
        };
        tools.port().await?;
        Ok(tools)
    }

    async fn port(&self) -> Result<Port, Error> {
        match &self.source {
            Source::Pool(ports) => ports.of(&self.token).await,
            Source::Socket(path, held) => {
                let mut held = held.lock().await;
                if let Some(port) = held.as_ref()
                    && !port.is_over()
                {
                    return Ok(port.clone());
                }
                let stream = UnixStream::connect(path).await.map_err(|error| {
                    let message = format!("{} cannot be reached: {error}", path.display());
                    Error::new(Code::Unavailable, message)
                })?;
                let port = Port::over(Line::on(stream, &self.token).await?)?;
                *held = Some(port.clone());
                Ok(port)
            }
        }
    }
}

impl Tools for PortTools {
    async fn list(&self) -> Result<Vec<ToolEntry>, Error> {
        let port = self.port().await?;
        let mut tools: Vec<ToolEntry> = Vec::new();
        let mut params = ToolListParams::default();
        loop {
            let page: ToolListResult = port.ask(method::TOOL_LIST, &params).await?;
            tools.extend(page.tools);
            if tools.len() > TOOLS_MAX {
                tracing::warn!(TOOLS_MAX, "More tools than MCP clients are shown.");
                tools.truncate(TOOLS_MAX);
                return Ok(tools);
            }
            match page.next {
                Some(next) => params.after = Some(next),
                None => return Ok(tools),
            }
        }
    }

    async fn call(
        &self,
        call: Call,
        progress: Option<mpsc::Sender<ToolProgressParams>>,
    ) -> Result<ToolCallResult, Error> {
        let params = ToolCallParams {
            call_id: String::new(),
            tool: call.tool,
            instance: call.instance,
            arguments: call.arguments,
            context: ToolContext {
                traceparent: call.traceparent,
                ..ToolContext::default()
            },
            // No stream is asked for: what comes in chunks comes as one result.
            window_bytes: 0,
        };
        let mut running = self.port().await?.call_tool(params).await?;
        while let Some(event) = running.next().await {
            match event {
                ToolEvent::Progress(report) => {
                    if let Some(progress) = &progress
                        && progress.try_send(report).is_err()
                    {
                        tracing::trace!("A report of progress was dropped: newer ones come.");
                    }
                }
                ToolEvent::Chunk { .. } => {}
                ToolEvent::Done(result) => return result,
            }
        }
        Err(Error::new(
            Code::LinkLost,
            "the call ended without a result",
        ))
    }
}
