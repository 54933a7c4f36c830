//! `/v1/blobs`: content too large for an event, for peers that share no files with the daemon.
//!
//! | path | what | token |
//! |---|---|---|
//! | `POST /v1/blobs` | announces content: as `blob.put` | the client's |
//! | `PUT /v1/blobs/uploads/<upload>` | brings content, or the rest of it | the upload's |
//! | `HEAD /v1/blobs/uploads/<upload>` | tells how much is there | the upload's |
//! | `POST /v1/blobs/uploads/<upload>/finish` | ends it: as `blob.finish` | the client's |
//! | `GET /v1/blobs/<id>` | reads content, or a range of it | that of `blob.get`, or the client's |
//!
//! Content goes from the socket to the file and back piece by piece; who may do what, and how long, is the
//! core's to say.

mod fetch;
mod range;
mod upload;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post, put};

use super::state::Gateway;

/// Leads to everything under `/v1/blobs`.
pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/v1/blobs", post(upload::announce))
        .route("/v1/blobs/{id}", get(fetch::fetch))
        .route(
            "/v1/blobs/uploads/{upload}",
            put(upload::bring).head(upload::tell),
        )
        .route("/v1/blobs/uploads/{upload}/finish", post(upload::finish))
}
