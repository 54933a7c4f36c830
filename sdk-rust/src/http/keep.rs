//! Where the body of an answer goes while it comes: into memory, or into a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::body::Bytes;
use trunkline_contract::error::Error;

use super::ANSWER_BYTES_MAX;
use crate::blob;

/// Bytes that wait in memory until they are written.
const WAITING_BYTES: usize = 256 * 1024;

/// Wants the body of a good answer in a file.
#[derive(Clone, Debug)]
pub(crate) struct Save {
    /// The most bytes, unpacked.
    pub(crate) bytes_max: u64,
}

/// Is a file with the body of an answer; it goes with the last who has it.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
}

impl Spool {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        blob::discard(&self.path);
    }
}

/// What has become of a body: it is in memory, or in a file unless that failed.
pub(crate) type Kept = (Bytes, Option<Result<Arc<Spool>, Error>>);

/// Is the body of an answer that is being read.
pub(crate) enum Keep {
    Memory(Vec<u8>),
    File(Box<Writing>),
    /// The file failed: what follows is left unread.
    Failed(Error),
}

/// A file being written.
pub(crate) struct Writing {
    spool: Spool,
    file: Arc<File>,
    waiting: Vec<u8>,
    bytes: u64,
    bytes_max: u64,
}

impl Keep {
    /// Begins to keep the body of an answer with this status.
    ///
    /// # Arguments
    /// * `said` - how long the body will be, where the server says so
    ///
    /// # Errors
    /// How many bytes would be the most, if there will be more.
    pub(crate) fn begin(save: Option<&Save>, status: u16, said: Option<u64>) -> Result<Self, u64> {
        let Some(save) = save.filter(|_| (200..300).contains(&status)) else {
            return Ok(Self::Memory(Vec::new()));
        };
        if said.is_some_and(|said| said > save.bytes_max) {
            return Err(save.bytes_max);
        }
        let path = blob::temporary();
        Ok(match blob::private(&path) {
            Ok(file) => Self::File(Box::new(Writing {
                spool: Spool { path },
                file: Arc::new(file),
                waiting: Vec::new(),
                bytes: 0,
                bytes_max: save.bytes_max,
            })),
            Err(error) => Self::Failed(error),
        })
    }

    /// Adds what came.
    ///
    /// # Errors
    /// How many bytes would be the most, if these are more.
    pub(crate) async fn add(&mut self, chunk: &[u8]) -> Result<(), u64> {
        let written = match self {
            Self::Memory(body) => {
                if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                    return Err(ANSWER_BYTES_MAX as u64);
                }
                body.extend_from_slice(chunk);
                return Ok(());
            }
            Self::Failed(_) => return Ok(()),
            Self::File(writing) => {
                writing.bytes += chunk.len() as u64;
                if writing.bytes > writing.bytes_max {
                    return Err(writing.bytes_max);
                }
                writing.waiting.extend_from_slice(chunk);
                if writing.waiting.len() < WAITING_BYTES {
                    return Ok(());
                }
                writing.flush().await
            }
        };
        if let Err(error) = written {
            *self = Self::Failed(blob::broken(&error));
        }
        Ok(())
    }

    /// Says whether nothing more can be kept.
    pub(crate) fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// Gives what was kept.
    pub(crate) async fn end(self) -> Kept {
        match self {
            Self::Memory(body) => (body.into(), None),
            Self::Failed(error) => (Bytes::new(), Some(Err(error))),
            Self::File(mut writing) => {
                let written = writing.flush().await;
                let spool = written.map(|()| Arc::new(writing.spool));
                let spool = spool.map_err(|error| blob::broken(&error));
                (Bytes::new(), Some(spool))
            }
        }
    }
}

impl Writing {
    async fn flush(&mut self) -> io::Result<()> {
        let (file, waiting) = (self.file.clone(), std::mem::take(&mut self.waiting));
        let write = move || (&*file).write_all(&waiting);
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or_else(|_| Err(io::Error::other("writing ended early")))
    }
}

/// Says that an answer has more than is taken.
pub(crate) fn too_long(status: u16, bytes_max: u64, is_saved: bool) -> String {
    let hint = if is_saved {
        "raise max_bytes"
    } else {
        "ask for less of it at a time"
    };
    format!("was answered with {status} and more than {bytes_max} bytes; hint: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVE: Save = Save { bytes_max: 5 };

    #[tokio::test]
    async fn a_file_takes_what_it_may_and_goes_with_its_last_owner() {
        let mut keep = Keep::begin(Some(&SAVE), 200, Some(5)).unwrap();
        keep.add(b"abc").await.unwrap();
        keep.add(b"de").await.unwrap();
        let (body, kept) = keep.end().await;
        let spool = kept.unwrap().unwrap();
        let path = spool.path().to_owned();
        assert_eq!(
            (body.len(), &std::fs::read(&path).unwrap()[..]),
            (0, &b"abcde"[..])
        );
        drop(spool);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_too_long_is_refused_as_soon_as_that_is_known() {
        assert_eq!(Keep::begin(Some(&SAVE), 200, Some(6)).err(), Some(5));
        let mut keep = Keep::begin(Some(&SAVE), 200, None).unwrap();
        keep.add(b"abcde").await.unwrap();
        assert_eq!(keep.add(b"f").await, Err(5));
        let mut keep = Keep::begin(None, 200, None).unwrap();
        let most = ANSWER_BYTES_MAX as u64;
        assert_eq!(keep.add(&vec![0; ANSWER_BYTES_MAX + 1]).await, Err(most));
    }

    #[tokio::test]
    async fn an_error_of_a_server_stays_in_memory() {
        let mut keep = Keep::begin(Some(&SAVE), 404, Some(9)).unwrap();
        keep.add(b"not found").await.unwrap();
        let (body, kept) = keep.end().await;
        assert!(&body[..] == b"not found" && kept.is_none());
    }
}
