//! `put`, `get`, `open`, `stat`.

use std::fs::{File, OpenOptions};
use std::future::{Future, IntoFuture};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{
    BlobFinishParams, BlobFinishResult, BlobGetParams, BlobGetResult, BlobPutParams, BlobPutResult,
    BlobStatResult, method,
};

use super::http;
use super::source::{BlobSource, copy, hex};
use crate::hub::Hub;

/// How often a content is put from its beginning when the broker forgot what was there.
const PUT_TRIES: u32 = 3;

/// Names a blob: what events carry in place of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// `sha256:…`, the same for the same content.
    pub id: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// What it is, such as `image/png`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// Gives access to the broker's blobs.
#[derive(Clone)]
pub struct Blobs {
    hub: Arc<Hub>,
}

impl Blobs {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// Puts bytes, a file or a reader: set options, then await it. Name the result in an event, or it goes
    /// after a day.
    ///
    /// ```
    /// # async fn example(ctx: trunkline::Context) -> trunkline::Result<()> {
    /// let photo = ctx.blob().put(std::path::Path::new("photo.jpg")).media_type("image/jpeg").await?;
    /// ctx.publish("agent.photos", serde_json::json!({ "photo": photo.id })).blob(&photo).await?;
    /// # Ok(()) }
    /// ```
    pub fn put(&self, content: impl Into<BlobSource>) -> PutBlob {
        PutBlob {
            hub: self.hub.clone(),
            source: content.into(),
            media_type: None,
        }
    }

    /// Reads a whole blob into memory, and checks it. See [`Blobs::open`] for large ones.
    pub async fn get(&self, id: &str) -> Result<Vec<u8>, Error> {
        let found = self.open(id).await?;
        let id = id.to_owned();
        blocking(move || {
            let mut content = Vec::with_capacity(usize::try_from(found.bytes).unwrap_or(0));
            let mut file = found.file;
            let (_, sha256) = copy(&mut file, &mut content).map_err(|error| broken(&error))?;
            check(&id, &sha256)?;
            Ok(content)
        })
        .await
    }

    /// Opens a blob as a file, without reading it.
    pub async fn open(&self, id: &str) -> Result<BlobFile, Error> {
        let placed = self.place(id).await?;
        let opened = File::open(&placed.path).map_err(|error| broken(&error));
        if placed.is_temporary {
            discard(&placed.path);
        }
        Ok(BlobFile {
            file: opened?,
            bytes: placed.bytes,
            media_type: placed.media_type,
        })
    }

    /// Writes a blob to a file, and checks it; what is there is replaced once it is whole.
    pub async fn save(&self, id: &str, path: impl AsRef<Path>) -> Result<BlobRef, Error> {
        let found = self.open(id).await?;
        let (id, path) = (id.to_owned(), path.as_ref().to_owned());
        let made = BlobRef {
            id: id.clone(),
            bytes: found.bytes,
            media_type: found.media_type,
        };
        let mut from = found.file;
        blocking(move || {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}", crate::clock::new_id()));
            let beside = path.with_file_name(name);
            let written = (|| {
                let mut to = private(&beside)?;
                let (_, sha256) = copy(&mut from, &mut to).map_err(|error| broken(&error))?;
                check(&id, &sha256)?;
                std::fs::rename(&beside, &path).map_err(|error| broken(&error))
            })();
            if written.is_err() {
                discard(&beside);
            }
            written
        })
        .await?;
        Ok(made)
    }

    /// Describes a blob.
    pub async fn stat(&self, id: &str) -> Result<BlobRef, Error> {
        let params = BlobGetParams { id: id.to_owned() };
        let found: BlobStatResult = self.hub.call_again(method::BLOB_STAT, &params).await?;
        Ok(BlobRef {
            id: found.id,
            bytes: found.bytes,
            media_type: found.media_type,
        })
    }

    /// Has the content of a blob in a file: the broker's, or a copy that is the caller's to remove.
    pub(crate) async fn place(&self, id: &str) -> Result<Placed, Error> {
        let params = BlobGetParams { id: id.to_owned() };
        let found: BlobGetResult = self.hub.call_again(method::BLOB_GET, &params).await?;
        if let Some(path) = found.path {
            return Ok(Placed {
                path: path.into(),
                bytes: found.bytes,
                media_type: found.media_type,
                is_temporary: false,
            });
        }
        let path = temporary();
        let got = self.download(id, &found, &path).await;
        if got.is_err() {
            discard(&path);
        }
        got?;
        Ok(Placed {
            path,
            bytes: found.bytes,
            media_type: found.media_type,
            is_temporary: true,
        })
    }

    async fn download(&self, id: &str, found: &BlobGetResult, path: &Path) -> Result<(), Error> {
        let (url, token) = remote(found.url.as_deref(), found.token.as_deref())?;
        let origin = self.hub.linked().await?.origin()?;
        let mut file = private(path)?;
        http::get(&origin, url, token, found.bytes, &mut file).await?;
        drop(file);
        let (id, path) = (id.to_owned(), path.to_owned());
        blocking(move || {
            let mut file = File::open(&path).map_err(|error| broken(&error))?;
            let (_, sha256) = copy(&mut file, &mut io::sink()).map_err(|error| broken(&error))?;
            check(&id, &sha256)
        })
        .await
    }
}

/// Where the content of a blob can be read.
pub(crate) struct Placed {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) media_type: Option<String>,
    pub(crate) is_temporary: bool,
}

/// Is an open blob, to be read piece by piece.
#[derive(Debug)]
pub struct BlobFile {
    file: File,
    bytes: u64,
    media_type: Option<String>,
}

impl BlobFile {
    /// Gives how many bytes it has.
    pub fn size(&self) -> u64 {
        self.bytes
    }

    /// Gives what it is.
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    /// Gives the file, which stays readable as long as it is open.
    pub fn into_file(self) -> File {
        self.file
    }
}

impl Read for BlobFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

/// Is content being put: set options, then await it.
#[must_use = "nothing is put until it is awaited"]
pub struct PutBlob {
    hub: Arc<Hub>,
    source: BlobSource,
    media_type: Option<String>,
}

impl PutBlob {
    /// Says what it is, such as `image/png`.
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    async fn put(&self) -> Result<BlobRef, Error> {
        let bytes = self.source.bytes()?;
        let mut tries = 1;
        loop {
            match self.attempt(bytes).await {
                // The broker was started anew, and knows the upload no more.
                Err(error)
                    if error.code == Code::NotFound
                        && self.source.is_repeatable()
                        && tries < PUT_TRIES =>
                {
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    async fn attempt(&self, bytes: u64) -> Result<BlobRef, Error> {
        let params = BlobPutParams {
            bytes,
            sha256: None,
            media_type: self.media_type.clone(),
        };
        let place: BlobPutResult = self.hub.call_again(method::BLOB_PUT, &params).await?;
        let sha256 = match &place.path {
            Some(path) => self.fill(path.into(), bytes).await?,
            None => self.upload(&place, bytes).await?,
        };
        let params = BlobFinishParams {
            upload: place.upload,
            sha256,
        };
        let done: BlobFinishResult = self.hub.call_again(method::BLOB_FINISH, &params).await?;
        Ok(BlobRef {
            id: done.id,
            bytes: done.bytes,
            media_type: done.media_type,
        })
    }

    /// Fills the file that the broker made.
    async fn fill(&self, path: PathBuf, bytes: u64) -> Result<String, Error> {
        let source = self.source.clone();
        blocking(move || {
            let mut to = OpenOptions::new()
                .write(true)
                .open(&path)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => {
                        Error::new(Code::NotFound, "the file of the upload is gone")
                    }
                    _ => broken(&error),
                })?;
            let (copied, sha256) =
                copy(&mut *source.open()?, &mut to).map_err(|error| broken(&error))?;
            to.flush().map_err(|error| broken(&error))?;
            if copied == bytes {
                return Ok(sha256);
            }
            let text = format!("expected {bytes} bytes of content, found {copied}");
            Err(Error::new(Code::InvalidArguments, text))
        })
        .await
    }

    /// Sends content over HTTP, going on after a cut where the broker has it.
    async fn upload(&self, place: &BlobPutResult, bytes: u64) -> Result<String, Error> {
        let (url, token) = remote(place.url.as_deref(), place.token.as_deref())?;
        // Its hash is wanted and it may have to be sent again: a reader goes to a file first.
        let path = temporary();
        let spooled = !self.source.is_repeatable();
        let (source, to) = (self.source.clone(), path.clone());
        let read = blocking(move || {
            let mut from = source.open()?;
            let (copied, sha256) = if spooled {
                copy(&mut *from, &mut private(&to)?)
            } else {
                copy(&mut *from, &mut io::sink())
            }
            .map_err(|error| broken(&error))?;
            if copied == bytes {
                return Ok(sha256);
            }
            let text = format!("expected {bytes} bytes of content, found {copied}");
            Err(Error::new(Code::InvalidArguments, text))
        });
        let sent = async {
            let sha256 = read.await?;
            let source = if spooled {
                BlobSource::from(&path)
            } else {
                self.source.clone()
            };
            let origin = self.hub.linked().await?.origin()?;
            http::put(&origin, url, token, bytes, &source).await?;
            Ok(sha256)
        }
        .await;
        if spooled {
            discard(&path);
        }
        sent
    }
}

impl IntoFuture for PutBlob {
    type Output = Result<BlobRef, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.put().await })
    }
}

/// Runs what waits for a disk where nobody else waits.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        let text = "the work on the files of a blob ended early";
        Err(Error::new(Code::Internal, text))
    })
}

fn remote<'a>(url: Option<&'a str>, token: Option<&'a str>) -> Result<(&'a str, &'a str), Error> {
    match (url, token) {
        (Some(url), Some(token)) => Ok((url, token)),
        _ => Err(Error::new(
            Code::Internal,
            "expected a path, or a url and a token, found neither",
        )),
    }
}

fn check(id: &str, sha256: &str) -> Result<(), Error> {
    if id.strip_prefix("sha256:") == Some(sha256) {
        return Ok(());
    }
    let text = format!("expected the content {id}, found sha256:{sha256}");
    Err(Error::new(Code::Internal, text))
}

/// A name for a file that nobody else has.
pub(crate) fn temporary() -> PathBuf {
    let name = hex(&crate::clock::random::<16>());
    std::env::temp_dir().join(format!("trunkline-blob-{name}"))
}

/// Makes a file for its owner alone.
pub(crate) fn private(path: &Path) -> Result<File, Error> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| broken(&error))
}

pub(crate) fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "A temporary file is left.");
    }
}

pub(crate) fn broken(error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::StorageFull,
        _ => Code::Internal,
    };
    Error::new(code, format!("the file of a blob: {error}"))
}
