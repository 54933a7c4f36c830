//! Which file is where.

use std::path::{Path, PathBuf};

use crate::core::{BlobHash, UploadAccess};

/// Names the files under one data directory.
#[derive(Debug, Clone)]
pub struct BlobPaths {
    root: PathBuf,
}

impl BlobPaths {
    /// Names files under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The file of a content.
    pub fn content(&self, hash: BlobHash) -> PathBuf {
        self.group(hash.first()).join(hash.to_string())
    }

    /// The file of an upload.
    pub fn upload(&self, access: &UploadAccess) -> PathBuf {
        self.uploaded(&access.dir, &access.upload)
    }

    pub(super) fn contents(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn group(&self, first: u8) -> PathBuf {
        self.contents().join(format!("{first:02x}"))
    }

    pub(super) fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    pub(super) fn uploaded(&self, dir: &str, upload: &str) -> PathBuf {
        self.spool().join(dir).join(upload)
    }

    pub(super) fn given(&self, dir: &str, hash: BlobHash) -> PathBuf {
        self.spool().join(dir).join(format!("get-{hash}"))
    }

    pub(super) fn taken(&self, upload: &str) -> PathBuf {
        self.spool().join(".taken").join(upload)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}
