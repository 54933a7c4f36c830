//! The trace that a request belongs to, by its header.

use axum::http::HeaderMap;

/// Gives the header `traceparent` as it came; what is none is left out by the core, and counted.
pub(super) fn of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?;
    value.to_str().ok().map(str::to_owned)
}
