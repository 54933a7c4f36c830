//! `/healthz` and `/readyz`: for whoever starts and watches the daemon.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::state::Gateway;

/// Says how the daemon is, in one word.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Health {
    /// `ok`, `ready` or `not_ready`.
    pub(super) status: String,
}

/// Answers as long as the process does.
pub(super) async fn live() -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
    })
}

/// Answers whether work can be done.
pub(super) async fn ready(
    State(gateway): State<Arc<Gateway>>,
) -> Result<(StatusCode, Json<Health>), Failure> {
    gateway.broker.with(|_core| ()).await?;
    let status = "ready".to_owned();
    Ok((StatusCode::OK, Json(Health { status })))
}
