//! Blobs over HTTP: an answer's body that becomes one, and one that is a request's body.
//!
//! Neither is in memory as a whole. A download goes to a file first, so that what breaks off leaves
//! nothing in the store and is tried again as a GET is; the store takes it once it is whole, and
//! checks its hash.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use trunkline_contract::error::{Code, Error};

use super::content::Content;
use super::error::HttpError;
use super::keep::Save;
use super::request::{Body, HttpRequest, pairs};
use super::response::Response;
use crate::blob::{BlobRef, Blobs};
use crate::duration::IntoDuration;

/// The most bytes of a download, unless said otherwise.
pub(crate) const DOWNLOAD_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// How long one try of a transfer may take, unless said otherwise.
pub(crate) const TRANSFER: Duration = Duration::from_mins(10);
/// The longest media type that is kept.
const MEDIA_TYPE_BYTES_MAX: usize = 255;
/// What a blob is whose kind nobody said.
const UNKNOWN: &str = "application/octet-stream";

/// Is a download on its way: set options, then await it for the [`BlobRef`].
///
/// ```
/// use trunkline::{BlobRef, Context, Result};
///
/// async fn fetch(url: String, ctx: Context) -> Result<BlobRef> {
///     Ok(ctx.http().download(url).max_bytes(20 << 20).await?)
/// }
/// ```
///
/// Cancel safety: dropped while it waits, nothing is in the store, or the whole.
#[must_use = "nothing is fetched until it is awaited"]
pub struct Download {
    request: HttpRequest,
    media_type: Option<String>,
}

impl Download {
    pub(super) fn new(mut request: HttpRequest) -> Self {
        request.timeout = TRANSFER;
        request.save = Some(Save {
            bytes_max: DOWNLOAD_BYTES_MAX,
        });
        Self {
            request,
            media_type: None,
        }
    }

    fn with(mut self, change: impl FnOnce(HttpRequest) -> HttpRequest) -> Self {
        self.request = change(self.request);
        self
    }

    /// Adds to the query; see [`HttpRequest::query`].
    pub fn query(self, fields: impl Serialize) -> Self {
        self.with(|request| request.query(fields))
    }

    /// Sends a header.
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|request| request.header(name, value))
    }

    /// Says how long one try may take (10 min); the time that is left for what is being handled
    /// bounds it.
    pub fn timeout(self, timeout: impl IntoDuration) -> Self {
        self.with(|request| request.timeout(timeout))
    }

    /// Says how many bytes are the most (100 MiB), unpacked; more is an error that is final.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.request.save = Some(Save { bytes_max: bytes });
        self
    }

    /// Says what it is, whatever the server says.
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    async fn perform(self) -> Result<BlobRef, HttpError> {
        let blobs = Blobs::new(self.request.at.core.hub().clone());
        let answer = super::call::perform(self.request).await?;
        let Some(spool) = &answer.kept else {
            let text = "expected the body of an answer, found none";
            return Err(Error::new(Code::Internal, text).into());
        };
        let mut put = blobs.put(spool.path());
        let said = answer.header("content-type").and_then(media_type);
        if let Some(media_type) = self.media_type.as_deref().or(said) {
            put = put.media_type(media_type);
        }
        Ok(put.await?)
    }
}

impl IntoFuture for Download {
    type Output = Result<BlobRef, HttpError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.perform())
    }
}

/// Reads what a server says about its answer, if the store can keep it.
fn media_type(said: &str) -> Option<&str> {
    let said = said.trim();
    let is_plain = said.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    (!said.is_empty() && said.len() <= MEDIA_TYPE_BYTES_MAX && is_plain).then_some(said)
}

/// One blob of an upload.
struct Piece {
    id: String,
    /// Its field of a form; none where it is the body.
    field: Option<String>,
    file_name: Option<String>,
}

/// Is an upload on its way: set options, then await it for the [`Response`].
///
/// ```
/// use serde_json::json;
/// use trunkline::{BlobRef, Context, Json, Result};
///
/// async fn show(photo: BlobRef, ctx: Context) -> Result<Json> {
///     let api = ctx.http().at("https://api.example.com/bot{config.token}");
///     let call = api.upload("/sendPhoto", &photo).field("photo").file_name("photo.jpg");
///     Ok(call.form(json!({ "chat_id": 7 })).await?.json()?)
/// }
/// ```
///
/// Cancel safety: dropped while it waits, the call may or may not have happened.
#[must_use = "nothing is sent until it is awaited"]
pub struct Upload {
    request: HttpRequest,
    pieces: Vec<Piece>,
    form: Option<Vec<(String, String)>>,
}

impl Upload {
    pub(super) fn new(mut request: HttpRequest, blob: &BlobRef) -> Self {
        request.timeout = TRANSFER;
        let piece = Piece {
            id: blob.id.clone(),
            field: None,
            file_name: None,
        };
        Self {
            request,
            pieces: vec![piece],
            form: None,
        }
    }

    fn with(mut self, change: impl FnOnce(HttpRequest) -> HttpRequest) -> Self {
        self.request = change(self.request);
        self
    }

    fn last(mut self, change: impl FnOnce(&mut Piece)) -> Self {
        change(
            self.pieces
                .last_mut()
                .expect("there is one from the beginning"),
        );
        self
    }

    /// Calls with another method than POST.
    pub fn method(mut self, method: &str) -> Self {
        let upper = method.to_ascii_uppercase();
        match reqwest::Method::from_bytes(upper.as_bytes()) {
            Ok(method) => {
                self.request.method = method;
                self
            }
            Err(_) => self.with(|request| request.refuse_method(method)),
        }
    }

    /// Sends a form of parts (`multipart/form-data`), in which the blob named last is this field.
    pub fn field(self, name: impl Into<String>) -> Self {
        self.last(|piece| piece.field = Some(name.into()))
    }

    /// Says how the blob named last is called; as its field unless said.
    pub fn file_name(self, name: impl Into<String>) -> Self {
        self.last(|piece| piece.file_name = Some(name.into()))
    }

    /// Names another blob, as this field of the form.
    pub fn part(mut self, field: impl Into<String>, blob: &BlobRef) -> Self {
        self.pieces.push(Piece {
            id: blob.id.clone(),
            field: Some(field.into()),
            file_name: None,
        });
        self
    }

    /// Adds fields to the form, before the blobs; see [`HttpRequest::form`].
    pub fn form(mut self, fields: impl Serialize) -> Self {
        match pairs("form", fields) {
            Ok(pairs) => {
                self.form.get_or_insert_default().extend(pairs);
                self
            }
            Err(error) => self.with(|request| request.refuse(error)),
        }
    }

    /// Adds to the query; see [`HttpRequest::query`].
    pub fn query(self, fields: impl Serialize) -> Self {
        self.with(|request| request.query(fields))
    }

    /// Sends a header.
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|request| request.header(name, value))
    }

    /// Says how long one try may take (10 min); the time that is left for what is being handled
    /// bounds it.
    pub fn timeout(self, timeout: impl IntoDuration) -> Self {
        self.with(|request| request.timeout(timeout))
    }

    /// Sends `Idempotency-Key`; see [`HttpRequest::idempotency_key`].
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.with(|request| request.idempotency_key(key))
    }

    async fn perform(mut self) -> Result<Response, HttpError> {
        if let Some(fault) = self.request.fault.take() {
            return Err(fault.into());
        }
        let blobs = Blobs::new(self.request.at.core.hub().clone());
        let is_form = self.form.is_some() || self.pieces.iter().any(|piece| piece.field.is_some());
        let body = match (is_form, &self.pieces[..]) {
            (
                false,
                [
                    Piece {
                        file_name: Some(name),
                        ..
                    },
                ],
            ) => {
                let text = format!(
                    "expected the field of a form for the file name {name:?}, found none; hint: .field(name)"
                );
                return Err(Error::new(Code::InvalidArguments, text).into());
            }
            (false, [piece]) => {
                let found = blobs.open(&piece.id).await?;
                let media_type = found.media_type().unwrap_or(UNKNOWN).to_owned();
                let bytes = found.size();
                Body {
                    content: Content::default().and_file(found.into_file(), bytes),
                    media_type: Some(media_type.into()),
                }
            }
            (_, pieces) => form(&blobs, self.form.as_deref().unwrap_or_default(), pieces).await?,
        };
        self.request.body = body;
        super::call::perform(self.request).await
    }
}

impl IntoFuture for Upload {
    type Output = Result<Response, HttpError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.perform())
    }
}

/// Puts a form of parts together: texts first, since some servers want to know them by then.
async fn form(
    blobs: &Blobs,
    texts: &[(String, String)],
    pieces: &[Piece],
) -> Result<Body, HttpError> {
    let boundary = format!("trunkline-{}", crate::clock::new_id());
    let mut content = Content::default();
    for (name, value) in texts {
        let part = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"{}\"\r\n\r\n{value}\r\n",
            quoted(name)
        );
        content = content.and_bytes(part);
    }
    for piece in pieces {
        let Some(field) = &piece.field else {
            let text = "expected the field of a form for the blob, found none; hint: .field(name)";
            return Err(Error::new(Code::InvalidArguments, text).into());
        };
        let found = blobs.open(&piece.id).await?;
        let (name, bytes) = (piece.file_name.as_ref().unwrap_or(field), found.size());
        let head = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"{}\"; filename=\"{}\"\r\n\
             content-type: {}\r\n\r\n",
            quoted(field),
            quoted(name),
            found.media_type().and_then(media_type).unwrap_or(UNKNOWN)
        );
        content = content.and_bytes(head);
        content = content
            .and_file(found.into_file(), bytes)
            .and_bytes(&b"\r\n"[..]);
    }
    Ok(Body {
        content: content.and_bytes(format!("--{boundary}--\r\n")),
        media_type: Some(format!("multipart/form-data; boundary={boundary}").into()),
    })
}

/// Writes a name so that it ends nothing, as browsers do.
fn quoted(name: &str) -> String {
    name.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Download").field(&self.request).finish()
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upload").field(&self.request).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_no_header_and_odd_kinds_are_left_out() {
        assert_eq!(quoted("a\"b\r\nc"), "a%22b%0D%0Ac");
        assert_eq!(media_type(" image/png; q=1 "), Some("image/png; q=1"));
        for said in ["", "ä/b", "a\tb"] {
            assert_eq!(media_type(said), None, "{said:?}");
        }
        assert_eq!(media_type(&"x".repeat(MEDIA_TYPE_BYTES_MAX + 1)), None);
    }
}
