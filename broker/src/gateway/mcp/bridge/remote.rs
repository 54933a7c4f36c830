//! The connection to an MCP server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::ClientHandler;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest,
    Implementation, ProgressNotificationParam, ProgressToken, ProtocolVersion, RequestMetaObject,
    ServerResult, Tool,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, NotificationContext, Peer, PeerRequestOptions,
    RoleClient, RunningService, ServiceError,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use serde_json::{Map, Value};
use tokio::process::Command;
use tokio::sync::{Notify, mpsc};
use tokio_rustls::rustls;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{ToolCallResult, ToolProgressParams};

use super::convert;
use super::settings::ServerSettings;

type Reports = mpsc::Sender<ToolProgressParams>;

/// What the server says by itself.
#[derive(Clone, Default)]
pub(super) struct Ear {
    /// Who hears of the progress of which request.
    reports: Arc<Mutex<HashMap<ProgressToken, Reports>>>,
    /// The server's tools have changed.
    changed: Arc<Notify>,
}

impl ClientHandler for Ear {
    fn get_info(&self) -> ClientConfig {
        let about = Implementation::new("trunkline", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), about)
    }

    async fn on_progress(
        &self,
        told: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reports) = reports.get(&told.progress_token) else {
            return;
        };
        let report = ToolProgressParams {
            done: Some(told.progress),
            total: told.total,
            message: told.message,
            ..ToolProgressParams::default()
        };
        if reports.try_send(report).is_err() {
            tracing::trace!("A report of progress was dropped: newer ones come.");
        }
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }
}

/// The connection as calls use it.
#[derive(Clone)]
pub(super) struct Remote {
    peer: Peer<RoleClient>,
    ear: Ear,
}

/// The connection as its owner holds it.
pub(super) struct Connected {
    /// For calls.
    pub(super) remote: Remote,
    /// Notified when the server's tools have changed.
    pub(super) changed: Arc<Notify>,
    /// The connection itself; it ends when this is dropped.
    pub(super) service: RunningService<RoleClient, Ear>,
}

/// Connects and greets.
///
/// # Errors
/// `unavailable` with what the server, the system or the protocol said.
pub(super) async fn connect(
    settings: &ServerSettings,
    token: Option<String>,
) -> Result<Connected, Error> {
    let ear = Ear::default();
    let mode = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: None,
    };
    let failed = |text: String| Error::new(Code::Unavailable, text);
    let service = if let Some(url) = &settings.url {
        let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
        if let Some(token) = token {
            config = config.auth_header(token);
        }
        // Only the first one is asked for; a second bridge in one process finds it there.
        if rustls::crypto::ring::default_provider()
            .install_default()
            .is_err()
        {
            tracing::trace!("TLS was set up before.");
        }
        let transport = StreamableHttpClientTransport::from_config(config);
        let service = ear.clone().serve_with_lifecycle(transport, mode).await;
        service.map_err(|error| failed(format!("the MCP server at {url}: {error}")))?
    } else {
        let Some((program, arguments)) = settings.command.split_first() else {
            return Err(failed(
                "the MCP server has no command and no url".to_owned(),
            ));
        };
        let mut command = Command::new(program);
        command.args(arguments).envs(&settings.env);
        command.env_remove("TRUNKLINE_LINK_FD");
        let transport = TokioChildProcess::new(command)
            .map_err(|error| failed(format!("{program} cannot be started: {error}")))?;
        let service = ear.clone().serve_with_lifecycle(transport, mode).await;
        service.map_err(|error| failed(format!("the MCP server {program}: {error}")))?
    };
    Ok(Connected {
        remote: Remote {
            peer: service.peer().clone(),
            ear: ear.clone(),
        },
        changed: ear.changed,
        service,
    })
}

impl Remote {
    /// Lists the server's tools.
    ///
    /// # Errors
    /// `unavailable` with what the server said.
    pub(super) async fn list(&self) -> Result<Vec<Tool>, Error> {
        self.peer
            .list_all_tools()
            .await
            .map_err(|error| refused(&error))
    }

    /// Calls a tool of the server. Dropping the future cancels the call there.
    ///
    /// # Errors
    /// What the server answered instead, in our codes.
    pub(super) async fn call(
        &self,
        name: String,
        arguments: Map<String, Value>,
        traceparent: Option<&str>,
        reports: Reports,
    ) -> Result<ToolCallResult, Error> {
        let params = CallToolRequestParams::new(name).with_arguments(arguments);
        let mut options = PeerRequestOptions::no_options();
        if let Some(traceparent) = traceparent {
            let mut meta = RequestMetaObject::new();
            meta.set_traceparent(traceparent);
            options = options.with_meta(meta);
        }
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let handle = self.peer.send_cancellable_request(request, options).await;
        let mut handle = handle.map_err(|error| refused(&error))?;
        let token = handle.progress_token.clone();
        self.reports().insert(token.clone(), reports);
        let mut pending = Pending {
            remote: self,
            token,
            id: Some(handle.id.clone()),
        };
        let answer = (&mut handle.rx).await;
        pending.id = None;
        let answer = answer.map_err(|_| refused(&ServiceError::TransportClosed))?;
        match answer.map_err(|error| refused(&error))? {
            ServerResult::CallToolResult(result) => convert::result(result),
            _ => Err(Error::new(
                Code::ToolFailed,
                "the MCP server asked for something back, which is not supported",
            )),
        }
    }

    fn reports(&self) -> std::sync::MutexGuard<'_, HashMap<ProgressToken, Reports>> {
        let reports = self.ear.reports.lock();
        reports.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way: dropped before its answer, it is cancelled.
struct Pending<'a> {
    remote: &'a Remote,
    token: ProgressToken,
    id: Option<rmcp::model::RequestId>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.remote.reports().remove(&self.token);
        let Some(id) = self.id.take() else { return };
        let peer = self.remote.peer.clone();
        tokio::spawn(async move {
            let reason = Some("the caller cancelled it".to_owned());
            let params = rmcp::model::CancelledNotificationParam::new(Some(id), reason);
            if let Err(error) = peer.notify_cancelled(params).await {
                tracing::debug!(%error, "Cancel not told.");
            }
        });
    }
}

fn refused(error: &ServiceError) -> Error {
    match error {
        ServiceError::McpError(error) if error.code == rmcp::model::ErrorCode::INVALID_PARAMS => {
            Error::new(Code::InvalidArguments, error.message.to_string())
        }
        ServiceError::McpError(error) => Error::new(Code::ToolFailed, error.message.to_string()),
        ServiceError::TransportClosed | ServiceError::TransportSend(_) => Error::new(
            Code::Unavailable,
            "the connection to the MCP server has ended",
        ),
        other => Error::new(Code::ToolFailed, other.to_string()),
    }
}
