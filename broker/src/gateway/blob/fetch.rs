//! Content goes out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, Response, StatusCode};
use futures_util::stream;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{BlobGetParams, BlobGetResult, method};

use super::range::{Wanted, wanted};
use crate::core::{BlobAccess, BlobHash};
use crate::gateway::auth::{self, Token};
use crate::gateway::error::Failure;
use crate::gateway::state::Gateway;

/// Bytes read at once.
const CHUNK_BYTES: usize = 128 << 10;

/// Gives content, or a range of it.
pub(super) async fn fetch(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, Failure> {
    let token = auth::need(&headers)?;
    let hash = BlobHash::parse_id(&id).ok_or_else(|| {
        let text = format!("expected `sha256:` and 64 lower case hex digits, found {id:?}");
        Error::new(Code::InvalidArguments, text)
    })?;
    let access = access(&gateway, hash, token).await?;
    let tag = format!("\"{hash}\"");
    let said = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if said(IF_NONE_MATCH).is_some_and(|tags| tags.contains(&tag)) {
        return Ok(answer(StatusCode::NOT_MODIFIED, &access, &tag));
    }
    let range = said(RANGE).filter(|_| said(IF_RANGE).is_none_or(|known| known == tag));
    let (status, first, count) = match wanted(range, access.bytes) {
        Wanted::All => (StatusCode::OK, 0, access.bytes),
        Wanted::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Wanted::Nothing => {
            let mut response = answer(StatusCode::RANGE_NOT_SATISFIABLE, &access, &tag);
            let there = header(&format!("bytes */{}", access.bytes));
            response.headers_mut().insert(CONTENT_RANGE, there);
            return Ok(response);
        }
    };
    let path = gateway.broker.blob_paths().content(hash);
    let file = tokio::task::spawn_blocking(move || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(first))?;
        Ok::<_, io::Error>(file)
    });
    let file = file
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|_| Error::new(Code::NotFound, "expected the content, found it gone"))?;
    let mut response = answer(status, &access, &tag);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(count));
    if status == StatusCode::PARTIAL_CONTENT {
        let (last, all) = (first + count - 1, access.bytes);
        let part = header(&format!("bytes {first}-{last}/{all}"));
        headers.insert(CONTENT_RANGE, part);
    }
    *response.body_mut() = Body::from_stream(pieces(file, count));
    Ok(response)
}

/// Finds a content for the token that `blob.get` gave, or for a client's own.
async fn access(gateway: &Gateway, hash: BlobHash, token: Token) -> Result<BlobAccess, Failure> {
    let given = token.expose().to_owned();
    let found = gateway
        .broker
        .with(move |core| core.blob_read(hash, &given))
        .await?;
    if let Ok(found) = found {
        return Ok(found);
    }
    let port = gateway.ports.of(&token).await?;
    let params = BlobGetParams { id: hash.id() };
    let given: BlobGetResult = port.ask(method::BLOB_GET, &params).await?;
    let given = given.token.unwrap_or_default();
    let read = gateway
        .broker
        .with(move |core| core.blob_read(hash, &given));
    Ok(read.await??)
}

/// Reads a file piece by piece, as fast as the other end takes them.
fn pieces(file: File, count: u64) -> impl stream::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((file, count), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let mut chunk = vec![0; size];
            file.read_exact(&mut chunk)?;
            Ok::<_, io::Error>((chunk, file))
        });
        let (chunk, file) = read.await.map_err(io::Error::other)??;
        let left = left - chunk.len() as u64;
        Ok(Some((Bytes::from(chunk), (file, left))))
    })
}

/// What a browser is given is saved, and never run as a page of this origin.
fn answer(status: StatusCode, access: &BlobAccess, tag: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let media_type = access.media_type.as_deref();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        header(media_type.unwrap_or("application/octet-stream")),
    );
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(ETAG, header(tag));
    response
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the core takes printable media types only")
}
