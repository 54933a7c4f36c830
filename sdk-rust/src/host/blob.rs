//! Blobs across the boundary: content crosses it as the path of a file, never as bytes.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;
use trunkline_contract::error::Error;

use super::calls::unknown;
use super::input::args;
use crate::blob::Blobs;
use crate::payload::Bytes;
use crate::publish::Scope;

#[derive(Deserialize)]
struct PutArgs {
    path: PathBuf,
    media_type: Option<String>,
}

#[derive(Deserialize)]
struct IdArgs {
    id: String,
}

/// Performs `blob.put`, `blob.open` or `blob.stat`.
pub(super) async fn perform(scope: &Scope, name: &str, text: &str) -> Result<Bytes, Error> {
    let blobs = Blobs::new(scope.instance().hub().clone());
    match name {
        "blob.put" => {
            let given: PutArgs = args(text)?;
            let mut put = blobs.put(given.path);
            if let Some(media_type) = given.media_type {
                put = put.media_type(media_type);
            }
            Bytes::encode(&put.await?)
        }
        "blob.open" => {
            let placed = blobs.place(&args::<IdArgs>(text)?.id).await?;
            // A temporary file is the face's to remove once it has opened it.
            Bytes::encode(&json!({
                "path": placed.path.to_string_lossy(), "bytes": placed.bytes,
                "media_type": placed.media_type, "temporary": placed.is_temporary,
            }))
        }
        "blob.stat" => Bytes::encode(&blobs.stat(&args::<IdArgs>(text)?.id).await?),
        other => Err(unknown(other)),
    }
}
