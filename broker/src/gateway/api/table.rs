//! Every operation of `/v1`, for the router and for the OpenAPI document.

use super::operation::Operation;

/// Lists every operation.
pub fn operations() -> Vec<Operation> {
    let mut all = super::super::health::operations();
    all.extend(super::publish::operations());
    all.extend(super::events::operations());
    all.extend(super::tools::operations());
    all.extend(super::kv::operations());
    all.extend(super::super::blob::operations());
    all.extend(super::dead_letters::operations());
    all.extend(super::instances::operations());
    all.extend(super::super::link::operations());
    all.extend(super::openapi::operations());
    all
}
