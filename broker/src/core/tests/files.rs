//! The files of blobs, in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::core::{BlobFault, BlobFiles, BlobHash};

/// Contents and uploads.
#[derive(Default)]
pub(crate) struct MemoryFiles {
    pub(crate) contents: BTreeMap<BlobHash, Vec<u8>>,
    /// Uploads and what was given, by path.
    pub(crate) spool: HashMap<PathBuf, Vec<u8>>,
    /// Everything fails with this.
    pub(crate) fault: Option<BlobFault>,
}

impl MemoryFiles {
    pub(crate) fn restart(&mut self) {
        self.spool.clear();
        self.fault = None;
    }

    fn check(&self) -> Result<(), BlobFault> {
        self.fault.clone().map_or(Ok(()), Err)
    }
}

pub(crate) fn hash_of(content: &[u8]) -> BlobHash {
    BlobHash::new(Sha256::digest(content).into())
}

impl BlobFiles for MemoryFiles {
    fn open(&mut self, dir: &str, upload: &str) -> Result<PathBuf, BlobFault> {
        self.check()?;
        let path = PathBuf::from(dir).join(upload);
        assert!(
            self.spool.insert(path.clone(), Vec::new()).is_none(),
            "an upload has a name of its own"
        );
        Ok(path)
    }

    fn finish(
        &mut self,
        dir: &str,
        upload: &str,
        bytes: u64,
        hash: BlobHash,
    ) -> Result<(), BlobFault> {
        self.check()?;
        let path = PathBuf::from(dir).join(upload);
        let content = self.spool.get(&path).ok_or(BlobFault::Missing)?;
        if content.len() as u64 != bytes {
            return Err(BlobFault::WrongSize {
                expected: bytes,
                found: content.len() as u64,
            });
        }
        let content = self.spool.remove(&path).ok_or(BlobFault::Missing)?;
        let found = hash_of(&content);
        if found != hash {
            return Err(BlobFault::WrongHash {
                expected: hash,
                found,
            });
        }
        self.contents.insert(hash, content);
        Ok(())
    }

    fn give(&mut self, dir: &str, hash: BlobHash) -> Result<PathBuf, BlobFault> {
        self.check()?;
        let content = self.contents.get(&hash).ok_or(BlobFault::Missing)?;
        let path = PathBuf::from(dir).join(format!("get-{hash}"));
        self.spool.insert(path.clone(), content.clone());
        Ok(path)
    }

    fn take_back(&mut self, dir: &str, hash: BlobHash) -> Result<(), BlobFault> {
        self.spool
            .remove(&PathBuf::from(dir).join(format!("get-{hash}")));
        Ok(())
    }

    fn drop_upload(&mut self, dir: &str, upload: &str) -> Result<(), BlobFault> {
        self.spool.remove(&PathBuf::from(dir).join(upload));
        Ok(())
    }

    fn remove(&mut self, hash: BlobHash) -> Result<(), BlobFault> {
        self.check()?;
        self.contents.remove(&hash);
        Ok(())
    }

    fn list(&mut self, first: u8) -> Result<Vec<BlobHash>, BlobFault> {
        let names = self.contents.keys().copied();
        Ok(names.filter(|hash| hash.first() == first).collect())
    }
}
