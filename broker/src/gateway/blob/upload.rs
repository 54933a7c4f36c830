//! Content comes in.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{
    BlobFinishParams, BlobFinishResult, BlobPutParams, BlobPutResult, method,
};
use trunkline_contract::whole::WHOLE_MAX;

use super::range;
use crate::core::{BlobHash, UploadAccess};
use crate::gateway::error::Failure;
use crate::gateway::state::Gateway;
use crate::gateway::{auth, body};

/// How much of an upload is there.
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// How much there will be.
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// Pieces between the socket and the file; beyond, the socket waits.
const PIECES_MAX: usize = 8;
/// Bytes of the requests that announce and finish.
const REQUEST_BYTES_MAX: usize = 4096;

/// What `finish` takes: the upload is in the address.
#[derive(Deserialize, JsonSchema)]
pub(super) struct FinishBody {
    /// SHA-256 of the content, 64 lower case hex digits.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    sha256: String,
}

/// Announces content.
pub(super) async fn announce(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<(StatusCode, Json<BlobPutResult>), Failure> {
    let token = auth::need(request.headers())?;
    let params: BlobPutParams = read(&gateway, request).await?;
    if params.bytes > WHOLE_MAX {
        let text = format!(
            "bytes: expected at most {WHOLE_MAX}, found {}",
            params.bytes
        );
        return Err(Error::new(Code::InvalidArguments, text).into());
    }
    let port = gateway.ports.of(&token).await?;
    let answer = port.ask(method::BLOB_PUT, &params).await;
    let answer = answer.map_err(|error| match error.code {
        // It is the caller who has too much, or announces too much; the daemon's disk has room.
        Code::QuotaExceeded => Failure::from(error).with_status(StatusCode::CONFLICT),
        _ => error.into(),
    })?;
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Ends an upload.
pub(super) async fn finish(
    State(gateway): State<Arc<Gateway>>,
    Path(upload): Path<String>,
    request: Request,
) -> Result<Json<BlobFinishResult>, Failure> {
    let token = auth::need(request.headers())?;
    let FinishBody { sha256 } = read(&gateway, request).await?;
    if BlobHash::parse(&sha256).is_none() {
        let text = format!("expected sha256 as 64 lower case hex digits, found {sha256:?}");
        return Err(Error::new(Code::InvalidArguments, text).into());
    }
    let params = BlobFinishParams { upload, sha256 };
    let port = gateway.ports.of(&token).await?;
    let finished = port.ask(method::BLOB_FINISH, &params).await;
    finished.map(Json).map_err(|error| match error.code {
        // The request was well made; it is not what was announced, or not what is there.
        Code::InvalidArguments => Failure::from(error).with_status(StatusCode::CONFLICT),
        _ => error.into(),
    })
}

async fn read<T: serde::de::DeserializeOwned>(
    gateway: &Gateway,
    request: Request,
) -> Result<T, Failure> {
    body::need_type(request.headers(), &["application/json"])?;
    let limit = gateway.config.body_timeout;
    let bytes = body::read(request.into_body(), REQUEST_BYTES_MAX, limit).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(Code::InvalidArguments, error.to_string()).into())
}

/// Tells how much of an upload is there.
pub(super) async fn tell(
    State(gateway): State<Arc<Gateway>>,
    Path(upload): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, Failure> {
    let token = auth::need(&headers)?;
    let access = gateway
        .broker
        .with(move |core| core.blob_upload(&upload, token.expose()))
        .await??;
    let path = gateway.broker.blob_paths().upload(&access);
    let found = tokio::fs::metadata(path).await.map_err(|_| gone())?;
    Ok(told(StatusCode::OK, found.len(), access.bytes))
}

/// Brings content, or the rest of it.
pub(super) async fn bring(
    State(gateway): State<Arc<Gateway>>,
    Path(upload): Path<String>,
    request: Request,
) -> Result<Response<Body>, Failure> {
    let token = auth::need(request.headers())?;
    let range = match request.headers().get(CONTENT_RANGE) {
        None => None,
        Some(value) => {
            let text = value.to_str().unwrap_or_default();
            Some(range::brought(text).ok_or_else(|| {
                let text =
                    format!("expected a Content-Range like \"bytes 0-9/10\", found {text:?}");
                Error::new(Code::InvalidArguments, text)
            })?)
        }
    };
    let access = gateway
        .broker
        .with(move |core| core.blob_upload_begin(&upload, token.expose()))
        .await?
        .map_err(|error| busy(&error))?;
    let path = gateway.broker.blob_paths().upload(&access);
    let taking = Taking::start(&gateway, access, path, range);
    taking.take(&gateway, request.into_body()).await
}

/// One request that fills an upload. The file is written on a thread of its own, and the upload is free for
/// others only when that thread has let go of it, whatever becomes of the request.
struct Taking {
    pieces: mpsc::Sender<Bytes>,
    written: tokio::task::JoinHandle<Result<u64, Failure>>,
    bytes: u64,
}

impl Taking {
    fn start(
        gateway: &Arc<Gateway>,
        access: UploadAccess,
        path: PathBuf,
        range: Option<(u64, u64)>,
    ) -> Self {
        let (pieces, mut queue) = mpsc::channel(PIECES_MAX);
        let (broker, bytes) = (gateway.broker.clone(), access.bytes);
        let written = tokio::spawn(async move {
            let work = move || write(&path, bytes, range, &mut queue);
            let done = tokio::task::spawn_blocking(work).await;
            let ended = broker.with(move |core| core.blob_upload_end(&access.upload));
            if ended.await.is_err() {
                tracing::debug!("The core ended during an upload.");
            }
            done.unwrap_or_else(|_| Err(gone()))
        });
        Self {
            pieces,
            written,
            bytes,
        }
    }

    async fn take(self, gateway: &Gateway, mut body: Body) -> Result<Response<Body>, Failure> {
        let Self {
            pieces,
            written,
            bytes,
        } = self;
        let mut cut = None;
        loop {
            // Each piece in its time: a large content may take as long as it keeps coming.
            match tokio::time::timeout(gateway.config.body_timeout, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => {
                    let Ok(piece) = frame.into_data() else {
                        continue;
                    };
                    if pieces.send(piece).await.is_err() {
                        // The writer says why.
                        break;
                    }
                }
                Ok(Some(Err(_))) => {
                    cut = Some(Failure::new(
                        StatusCode::BAD_REQUEST,
                        Code::InvalidFrame,
                        "the content broke off before its end",
                    ));
                    break;
                }
                Err(_) => {
                    cut = Some(Failure::new(
                        StatusCode::REQUEST_TIMEOUT,
                        Code::TimedOut,
                        "the content stopped coming",
                    ));
                    break;
                }
            }
        }
        drop(pieces);
        let offset = written.await.unwrap_or_else(|_| Err(gone()))?;
        match cut {
            Some(failure) => Err(failure),
            None => Ok(told(StatusCode::NO_CONTENT, offset, bytes)),
        }
    }
}

/// Appends what comes; gives how much is there then.
fn write(
    path: &std::path::Path,
    bytes: u64,
    range: Option<(u64, u64)>,
    pieces: &mut mpsc::Receiver<Bytes>,
) -> Result<u64, Failure> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|_| gone())?;
    let there = file.metadata().map_err(|_| gone())?.len();
    let (first, all) = range.unwrap_or((0, bytes));
    if all != bytes || first > there {
        let text = format!("expected content from byte {there} of {bytes}, found {first} of {all}");
        return Err(Failure::new(
            StatusCode::CONFLICT,
            Code::InvalidArguments,
            text,
        ));
    }
    // From its beginning again, or over what a cut left in doubt.
    file.set_len(first).map_err(|error| broken(&error))?;
    file.seek(SeekFrom::Start(first))
        .map_err(|error| broken(&error))?;
    let mut offset = first;
    while let Some(piece) = pieces.blocking_recv() {
        if piece.len() as u64 > bytes - offset {
            let text = format!("expected {bytes} bytes of content, found more");
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                Code::InvalidArguments,
                text,
            ));
        }
        file.write_all(&piece).map_err(|error| broken(&error))?;
        offset += piece.len() as u64;
    }
    Ok(offset)
}

fn told(status: StatusCode, offset: u64, length: u64) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(UPLOAD_OFFSET, HeaderValue::from(offset));
    headers.insert(UPLOAD_LENGTH, HeaderValue::from(length));
    if status == StatusCode::OK {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

/// Somebody else is at work on it: that is a conflict here.
fn busy(error: &Error) -> Failure {
    if error.code == Code::Unavailable {
        return Failure::new(StatusCode::CONFLICT, error.code, error.message.clone());
    }
    error.clone().into()
}

fn gone() -> Failure {
    Error::new(
        Code::NotFound,
        "expected the file of the upload, found none",
    )
    .into()
}

fn broken(error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::StorageFull,
        _ => Code::Internal,
    };
    Error::new(code, format!("the file of the upload: {error}")).into()
}
