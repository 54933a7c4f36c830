//! What the driver is asked to do with files, and what it says.

use std::path::PathBuf;

use super::hash::BlobHash;

/// Why a piece of work on files did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobFault {
    /// The file is not there.
    #[error("expected a file, found none")]
    Missing,
    /// The upload has another size than was announced.
    #[error("expected {expected} bytes, found {found}")]
    WrongSize {
        /// What `blob.put` said.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// The upload has another content than was said.
    #[error("expected {expected:?}, found {found:?}")]
    WrongHash {
        /// What `blob.finish` said.
        expected: BlobHash,
        /// What is there.
        found: BlobHash,
    },
    /// The disk is full.
    #[error("no room on the disk")]
    NoRoom,
    /// Something else.
    #[error("{0}")]
    Failed(String),
}

/// Where content is kept. Calls may take as long as the disk does; none is made on the core thread.
pub trait BlobFiles: Send {
    /// Makes the empty file of an upload, readable and writable for its owner alone.
    ///
    /// # Errors
    /// [`BlobFault`].
    fn open(&mut self, dir: &str, upload: &str) -> Result<PathBuf, BlobFault>;

    /// Takes the file of an upload away from its peer, checks size and content, and makes it durable under
    /// its name. A file of another size stays with the peer; one of another content is removed.
    ///
    /// # Errors
    /// [`BlobFault`].
    fn finish(
        &mut self,
        dir: &str,
        upload: &str,
        bytes: u64,
        hash: BlobHash,
    ) -> Result<(), BlobFault>;

    /// Gives a peer the content as a file of its own directory, read-only.
    ///
    /// # Errors
    /// [`BlobFault`].
    fn give(&mut self, dir: &str, hash: BlobHash) -> Result<PathBuf, BlobFault>;

    /// Removes what [`BlobFiles::give`] gave. One that is gone already is no fault.
    ///
    /// # Errors
    /// [`BlobFault`].
    fn take_back(&mut self, dir: &str, hash: BlobHash) -> Result<(), BlobFault>;

    /// Removes the file of an upload. One that is gone already is no fault.
    ///
    /// # Errors
    /// [`BlobFault`].
    fn drop_upload(&mut self, dir: &str, upload: &str) -> Result<(), BlobFault>;

    /// Removes content. One that is gone already is no fault.
    ///
    /// # Errors
    /// [`BlobFault`].
    fn remove(&mut self, hash: BlobHash) -> Result<(), BlobFault>;

    /// Lists the content whose name begins with this byte.
    ///
    /// # Errors
    /// [`BlobFault`].
    fn list(&mut self, first: u8) -> Result<Vec<BlobHash>, BlobFault>;
}

/// A piece of work on files. Its answer goes to [`crate::core::Core::blob_done`].
#[derive(Debug)]
pub struct BlobRequest(pub(super) Work);

#[derive(Debug)]
pub(super) enum Work {
    Open {
        dir: Box<str>,
        upload: Box<str>,
        to: crate::core::peer::ReplyTo,
    },
    Finish {
        dir: Box<str>,
        upload: Box<str>,
        bytes: u64,
        hash: BlobHash,
    },
    Give {
        dir: Box<str>,
        hash: BlobHash,
        to: crate::core::peer::ReplyTo,
    },
    TakeBack {
        dir: Box<str>,
        hash: BlobHash,
    },
    Drop {
        dir: Box<str>,
        upload: Box<str>,
    },
    Remove {
        hash: BlobHash,
    },
    List {
        first: u8,
    },
}

/// The answer to a [`BlobRequest`].
#[derive(Debug)]
pub struct BlobAnswer(pub(super) Answer);

#[derive(Debug)]
pub(super) enum Answer {
    Opened {
        upload: Box<str>,
        to: crate::core::peer::ReplyTo,
        result: Result<PathBuf, BlobFault>,
    },
    Finished {
        upload: Box<str>,
        hash: BlobHash,
        result: Result<(), BlobFault>,
    },
    Given {
        dir: Box<str>,
        hash: BlobHash,
        to: crate::core::peer::ReplyTo,
        result: Result<PathBuf, BlobFault>,
    },
    Removed {
        hash: BlobHash,
        result: Result<(), BlobFault>,
    },
    Listed {
        first: u8,
        result: Result<Vec<BlobHash>, BlobFault>,
    },
    /// Tidying: nobody waits, a fault is counted.
    Tidied(Result<(), BlobFault>),
}

impl BlobRequest {
    /// Tells whether it reads a whole content, so that quick work need not wait behind it.
    pub fn is_long(&self) -> bool {
        matches!(self.0, Work::Finish { .. })
    }

    /// Carries the work out.
    pub fn answer(self, files: &mut dyn BlobFiles) -> BlobAnswer {
        BlobAnswer(match self.0 {
            Work::Open { dir, upload, to } => {
                let result = files.open(&dir, &upload);
                Answer::Opened { upload, to, result }
            }
            Work::Finish {
                dir,
                upload,
                bytes,
                hash,
            } => {
                let result = files.finish(&dir, &upload, bytes, hash);
                Answer::Finished {
                    upload,
                    hash,
                    result,
                }
            }
            Work::Give { dir, hash, to } => {
                let result = files.give(&dir, hash);
                Answer::Given {
                    dir,
                    hash,
                    to,
                    result,
                }
            }
            Work::TakeBack { dir, hash } => Answer::Tidied(files.take_back(&dir, hash)),
            Work::Drop { dir, upload } => Answer::Tidied(files.drop_upload(&dir, &upload)),
            Work::Remove { hash } => {
                let result = files.remove(hash);
                Answer::Removed { hash, result }
            }
            Work::List { first } => {
                let result = files.list(first);
                Answer::Listed { first, result }
            }
        })
    }
}
