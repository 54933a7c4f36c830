//! Which path leads where.

use std::sync::Arc;

use axum::http::{Method, StatusCode, Uri};
use axum::routing::{any, get};
use axum::{Router, middleware};
use trunkline_contract::error::Code;

use super::api::{self, Operation};
use super::error::Failure;
use super::state::Gateway;
use super::{guard, hooks, mcp, metrics, proxy};

/// Builds the whole tree; every request passes the guard first.
pub(super) fn router(gateway: Arc<Gateway>) -> Router {
    let table = api::operations().into_iter().map(Operation::route);
    let table = table.fold(Router::new(), |router, (path, handler)| {
        router.route(path, handler)
    });
    table
        .route("/hooks/{*path}", any(hooks::receive))
        .route("/metrics", get(metrics::scrape))
        .route("/plugins/{*rest}", any(proxy::serve))
        .merge(mcp::routes(&gateway))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(gateway.clone(), guard::pass))
        .with_state(gateway)
}

async fn unknown(uri: Uri) -> Failure {
    let message = format!("there is nothing at {}", uri.path());
    Failure::new(StatusCode::NOT_FOUND, Code::NotFound, message)
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let message = format!("{} does not take {method}", uri.path());
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::InvalidArguments,
        message,
    )
}
