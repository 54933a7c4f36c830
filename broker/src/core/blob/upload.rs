//! Uploads under way, and access to files over HTTP.

use std::fmt::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::BlobFinishResult;

use crate::core::limits::{BLOB_ACCESS_MS, READ_TOKENS_MAX, UPLOAD_MS};
use crate::core::peer::ReplyTo;
use crate::core::state::Core;

use super::hash::BlobHash;

/// Content that a peer announced.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) source: Arc<str>,
    pub(super) dir: Box<str>,
    pub(super) bytes: u64,
    pub(super) hash: Option<BlobHash>,
    pub(super) media_type: Option<Box<str>>,
    /// SHA-256 of the token that lets content in over HTTP.
    pub(super) token: Option<[u8; 32]>,
    /// The token itself until it is told, so that no dump of later has it.
    pub(super) told: Option<String>,
    pub(super) deadline_ms: u64,
    pub(super) expires_at_ms: i64,
    pub(super) phase: UploadPhase,
}

#[derive(Debug)]
pub(super) enum UploadPhase {
    /// Its file is being made.
    Opening,
    /// Filled by its peer.
    Open,
    /// Filled over HTTP at this moment.
    Writing,
    /// Checked, or on its way to the disk; these wait for the end.
    Finishing {
        hash: BlobHash,
        waiters: Vec<ReplyTo>,
    },
}

/// An upload that is done.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) source: Arc<str>,
    pub(super) result: BlobFinishResult,
    pub(super) deadline_ms: u64,
}

/// The right to read one content over HTTP.
#[derive(Debug)]
pub(super) struct ReadToken {
    pub(super) hash: BlobHash,
    pub(super) deadline_ms: u64,
}

/// Where the content of an upload goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadAccess {
    /// The peer's directory.
    pub dir: Box<str>,
    /// The upload.
    pub upload: Box<str>,
    /// How many bytes were announced.
    pub bytes: u64,
}

/// A content that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobAccess {
    /// Its name.
    pub hash: BlobHash,
    /// How many bytes it has.
    pub bytes: u64,
    /// What it is.
    pub media_type: Option<Box<str>>,
}

impl Core {
    /// Says how much of the disk under the blobs is free. The driver looks from time to time.
    pub fn set_disk_free(&mut self, bytes: u64) {
        self.blobs.disk_free = Some(bytes);
    }

    /// A secret of 256 bits, and its SHA-256.
    pub(super) fn blob_token(&mut self) -> (String, [u8; 32]) {
        let token = self.random_hex(4);
        let hash = Sha256::digest(token.as_bytes()).into();
        (token, hash)
    }

    pub(super) fn random_hex(&mut self, words: usize) -> String {
        let mut text = String::with_capacity(words * 16);
        for _ in 0..words {
            write!(text, "{:016x}", self.random.bits()).expect("a String takes every write");
        }
        text
    }

    /// Finds an upload for the holder of its token: how much of it is there is for the driver to see.
    ///
    /// # Errors
    /// `not_found` when there is none, or the token is another's; `unavailable` while it is being
    /// filled or checked.
    pub fn blob_upload(&self, upload: &str, token: &str) -> Result<UploadAccess, Error> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let found = self.blobs.uploads.get(upload);
        let found = found.filter(|found| found.token == Some(hash));
        let found = found.ok_or_else(|| no_upload(upload))?;
        match found.phase {
            UploadPhase::Open => Ok(UploadAccess {
                dir: found.dir.clone(),
                upload: upload.into(),
                bytes: found.bytes,
            }),
            _ => Err(Error::new(
                Code::Unavailable,
                "expected an upload that waits for content, found it being filled or checked",
            )
            .retry_after(1_000)),
        }
    }

    /// As [`Core::blob_upload`], and from here on nobody else fills or finishes it until
    /// [`Core::blob_upload_end`].
    ///
    /// # Errors
    /// As [`Core::blob_upload`].
    pub fn blob_upload_begin(&mut self, upload: &str, token: &str) -> Result<UploadAccess, Error> {
        let access = self.blob_upload(upload, token)?;
        if let Some(found) = self.blobs.uploads.get_mut(upload) {
            found.phase = UploadPhase::Writing;
        }
        Ok(access)
    }

    /// What came over HTTP is written, whole or not; its time begins again.
    pub fn blob_upload_end(&mut self, upload: &str) {
        let now = self.now;
        let Some(found) = self.blobs.uploads.get_mut(upload) else {
            return;
        };
        if !matches!(found.phase, UploadPhase::Writing) {
            return;
        }
        found.phase = UploadPhase::Open;
        let before = std::mem::replace(&mut found.deadline_ms, now.mono_ms + UPLOAD_MS);
        found.expires_at_ms = now.wall_ms + UPLOAD_MS as i64;
        let deadline_ms = found.deadline_ms;
        self.blobs.upload_due.remove(&(before, upload.into()));
        self.blobs.upload_due.insert((deadline_ms, upload.into()));
    }

    /// Gives the right to read one content over HTTP for a while.
    pub(super) fn grant_read(&mut self, hash: BlobHash) -> String {
        let (token, token_hash) = self.blob_token();
        let deadline_ms = self.now.mono_ms + BLOB_ACCESS_MS;
        if self.blobs.read_tokens.len() >= READ_TOKENS_MAX
            && let Some((_, oldest)) = self.blobs.read_due.pop_first()
        {
            self.blobs.read_tokens.remove(&oldest);
        }
        self.blobs.read_due.insert((deadline_ms, token_hash));
        let granted = ReadToken { hash, deadline_ms };
        self.blobs.read_tokens.insert(token_hash, granted);
        token
    }

    /// Finds a content for the holder of a token that `blob.get` gave.
    ///
    /// # Errors
    /// `not_found` when there is none, or the token is another's or too old.
    pub fn blob_read(&self, hash: BlobHash, token: &str) -> Result<BlobAccess, Error> {
        let token: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let is_granted =
            self.blobs.read_tokens.get(&token).is_some_and(|granted| {
                granted.hash == hash && granted.deadline_ms > self.now.mono_ms
            });
        let blob = self.blobs.kept.get(&hash).filter(|_| is_granted);
        let blob = blob.ok_or_else(|| no_blob(&hash.id()))?;
        Ok(BlobAccess {
            hash,
            bytes: blob.bytes,
            media_type: blob.media_type.clone(),
        })
    }
}

pub(super) fn no_upload(upload: &str) -> Error {
    Error::new(
        Code::NotFound,
        format!("expected an unfinished upload of this source, found none named {upload:?}"),
    )
}

pub(super) fn no_blob(id: &str) -> Error {
    Error::new(
        Code::NotFound,
        format!("expected a blob that this peer may read, found none named {id:?}"),
    )
    .detail(serde_json::json!({ "blob": id }))
}
