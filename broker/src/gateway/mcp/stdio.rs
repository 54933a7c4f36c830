//! MCP on stdin and stdout, for clients that start their servers themselves.

use std::path::Path;
use std::sync::Arc;

use rmcp::ServiceExt;
use rmcp::transport::stdio_pipes;
use tokio::sync::watch;
use trunkline_contract::error::{Code, Error};

use super::handler::Handler;
use super::port::PortTools;
use crate::config::McpNames;
use crate::gateway::auth::Token;

/// Serves the tools that a token may call, until stdin ends.
///
/// Calls under way at that moment get a few seconds to be answered.
///
/// # Errors
/// What the daemon refused, or that it is not there.
pub(crate) async fn serve(socket: &Path, token: Token, names: McpNames) -> Result<(), Error> {
    let tools = PortTools::connect(socket, token).await?;
    let handler = Handler::new(tools, watch::channel(Arc::new(names)).1);
    let server = match handler.serve(stdio_pipes()).await {
        Ok(server) => server,
        // A client that goes away without a word is no error.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => {
            return Err(Error::new(
                Code::ProtocolViolation,
                format!("the client's greeting: {error}"),
            ));
        }
    };
    let ended = server.waiting().await;
    ended.map_err(|error| Error::new(Code::Internal, format!("the server ended: {error}")))?;
    Ok(())
}
