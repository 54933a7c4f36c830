//! Content over HTTP, for peers on another machine: sent and fetched piece by piece, resumed after a cut.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, HOST, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use trunkline_contract::error::{Code, Error};

use super::blobs::broken;
use super::source::BlobSource;

/// Where the server says how much of an upload it has.
const UPLOAD_OFFSET: &str = "upload-offset";
/// Bytes in memory at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// A server that is not there by then will not come.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for so long is dead.
const STALLED: Duration = Duration::from_mins(1);
/// One transfer; what is not done by then goes on with the next.
const TRANSFER: Duration = Duration::from_mins(10);
/// Cuts in a row without progress after which it is given up.
const CUTS_MAX: u32 = 8;
/// The first wait after a cut; it doubles.
const WAIT: Duration = Duration::from_millis(250);

/// Sends content, from where the server has it.
pub(super) async fn put(
    origin: &str,
    url: &str,
    token: &str,
    bytes: u64,
    source: &BlobSource,
) -> Result<(), Error> {
    let mut cuts = Cuts::default();
    loop {
        let offset = match offset(origin, url, token).await {
            Ok(offset) => offset,
            Err(error) => {
                cuts.after(error).await?;
                continue;
            }
        };
        if offset >= bytes && (bytes > 0 || cuts.is_clean()) {
            return Ok(());
        }
        cuts.moved(offset);
        if let Err(error) = send_from(origin, url, token, offset..bytes, source).await {
            cuts.after(error).await?;
        }
    }
}

/// Fetches content, from where the file has it.
pub(super) async fn get(
    origin: &str,
    url: &str,
    token: &str,
    bytes: u64,
    file: &mut File,
) -> Result<(), Error> {
    let mut cuts = Cuts::default();
    let mut offset = 0;
    while offset < bytes {
        if let Err(error) = fetch_from(origin, url, token, &mut offset, file).await {
            cuts.moved(offset);
            cuts.after(error).await?;
        }
    }
    Ok(())
}

/// Counts cuts without progress.
#[derive(Default)]
struct Cuts {
    count: u32,
    reached: u64,
}

impl Cuts {
    fn is_clean(&self) -> bool {
        self.count == 0
    }

    fn moved(&mut self, to: u64) {
        if to > self.reached {
            (self.reached, self.count) = (to, 0);
        }
    }

    /// Waits before the next try, if there is one.
    async fn after(&mut self, error: Error) -> Result<(), Error> {
        self.count += 1;
        if error.code != Code::Unavailable || self.count >= CUTS_MAX {
            return Err(error);
        }
        tokio::time::sleep(WAIT * 2u32.pow(self.count - 1)).await;
        Ok(())
    }
}

async fn offset(origin: &str, url: &str, token: &str) -> Result<u64, Error> {
    let request = request(Method::HEAD, origin, url, token)
        .body(Empty::<Bytes>::new())
        .map_err(|error| malformed(&error))?;
    let response = within(STALLED, send(origin, request)).await?;
    accepted(&response, url)?;
    let offset = response.headers().get(UPLOAD_OFFSET);
    offset
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or_else(|| Error::new(Code::Internal, "expected an Upload-Offset, found none"))
}

async fn send_from(
    origin: &str,
    url: &str,
    token: &str,
    range: std::ops::Range<u64>,
    source: &BlobSource,
) -> Result<(), Error> {
    let mut reader = source.open()?;
    let skipped = io::copy(&mut (&mut reader).take(range.start), &mut io::sink())
        .map_err(|error| broken(&error))?;
    if skipped < range.start {
        let text = "the content became shorter while it was put";
        return Err(Error::new(Code::InvalidArguments, text));
    }
    let body = StreamBody::new(stream::unfold(reader, |mut reader| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        match reader.read(&mut chunk) {
            Ok(0) => None,
            Ok(count) => {
                chunk.truncate(count);
                Some((Ok(Frame::data(Bytes::from(chunk))), reader))
            }
            Err(error) => Some((Err(error), reader)),
        }
    }));
    let left = range.end - range.start;
    let mut request = request(Method::PUT, origin, url, token).header(CONTENT_LENGTH, left);
    if left > 0 {
        let (first, last, all) = (range.start, range.end - 1, range.end);
        request = request.header(CONTENT_RANGE, format!("bytes {first}-{last}/{all}"));
    }
    let request = request.body(body).map_err(|error| malformed(&error))?;
    let response = within(TRANSFER, send(origin, request)).await?;
    accepted(&response, url)
}

async fn fetch_from(
    origin: &str,
    url: &str,
    token: &str,
    offset: &mut u64,
    file: &mut File,
) -> Result<(), Error> {
    let request = request(Method::GET, origin, url, token)
        .header(RANGE, format!("bytes={offset}-"))
        .body(Empty::<Bytes>::new())
        .map_err(|error| malformed(&error))?;
    let response = within(STALLED, send(origin, request)).await?;
    accepted(&response, url)?;
    if *offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
        let text = format!("expected a part of {url}, found {}", response.status());
        return Err(Error::new(Code::Internal, text));
    }
    let mut body = response.into_body();
    loop {
        let next = async { Ok(body.frame().await) };
        let Some(frame) = within(STALLED, next).await? else {
            return Ok(());
        };
        let frame = frame.map_err(|error| cut(&error))?;
        if let Some(chunk) = frame.data_ref() {
            file.write_all(chunk).map_err(|error| broken(&error))?;
            *offset += chunk.len() as u64;
        }
    }
}

fn request(method: Method, origin: &str, url: &str, token: &str) -> hyper::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(url)
        .header(HOST, origin)
        .header(AUTHORIZATION, format!("Bearer {token}"))
}

async fn send<B>(origin: &str, request: Request<B>) -> Result<Response<Incoming>, Error>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connecting = async {
        TcpStream::connect(origin)
            .await
            .map_err(|error| cut(&error))
    };
    let stream = within(CONNECT, connecting).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| cut(&error))?;
    // It ends with the response's body, or with the request that is given up.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "A connection for a blob broke off.");
        }
    });
    sender
        .send_request(request)
        .await
        .map_err(|error| cut(&error))
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("expected an answer about a blob within {limit:?}");
        Err(Error::new(Code::Unavailable, text))
    })
}

fn accepted(response: &Response<Incoming>, url: &str) -> Result<(), Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let code = match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::Unauthorized,
        StatusCode::INSUFFICIENT_STORAGE => Code::StorageFull,
        status if status.is_server_error() => Code::Unavailable,
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Code::Unavailable
        }
        _ => Code::Internal,
    };
    let text = format!("expected {url} to be taken, found {status}");
    Err(Error::new(code, text))
}

fn cut(error: &dyn std::error::Error) -> Error {
    Error::new(
        Code::Unavailable,
        format!("the connection for a blob: {error}"),
    )
}

fn malformed(error: &hyper::http::Error) -> Error {
    Error::new(Code::Internal, format!("a request for a blob: {error}"))
}
