//! Blobs in directories of one disk.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::core::{BlobFault, BlobFiles, BlobHash};

use super::paths::BlobPaths;

/// Bytes read at once while content is checked.
const CHUNK_BYTES: usize = 256 << 10;

/// Keeps blobs under one data directory.
#[derive(Debug, Clone)]
pub struct DirFiles {
    paths: BlobPaths,
}

impl DirFiles {
    /// Opens the directories. What an earlier life left in the spool is moved aside and then removed on a
    /// thread of its own, so that no start waits for it.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn open(paths: BlobPaths) -> io::Result<Self> {
        make_dir(&paths.contents())?;
        let spool = paths.spool();
        for number in 0..u32::MAX {
            let aside = paths.root().join(format!("spool.old.{number}"));
            if aside.exists() {
                remove_aside(aside)?;
                continue;
            }
            match fs::rename(&spool, &aside) {
                Ok(()) => remove_aside(aside)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            break;
        }
        make_dir(&spool)?;
        make_dir(&spool.join(".taken"))?;
        sync_dir(paths.root())?;
        Ok(Self { paths })
    }

    /// Names its files.
    pub fn paths(&self) -> &BlobPaths {
        &self.paths
    }

    /// Checks what was taken and puts it where it is kept.
    fn keep(&self, taken: &Path, bytes: u64, hash: BlobHash) -> Result<(), BlobFault> {
        let mut file = open_plain(taken)?;
        let (found, found_bytes) = digest(&mut file)?;
        if found_bytes != bytes {
            return Err(BlobFault::WrongSize {
                expected: bytes,
                found: found_bytes,
            });
        }
        if found != hash {
            return Err(BlobFault::WrongHash {
                expected: hash,
                found,
            });
        }
        file.set_permissions(Permissions::from_mode(0o400))
            .map_err(fault)?;
        file.sync_all().map_err(fault)?;
        let group = self.paths.group(hash.first());
        if !group.is_dir() {
            make_dir(&group).map_err(fault)?;
            sync_dir(&self.paths.contents()).map_err(fault)?;
        }
        fs::rename(taken, self.paths.content(hash)).map_err(fault)?;
        sync_dir(&group).map_err(fault)
    }
}

impl BlobFiles for DirFiles {
    fn open(&mut self, dir: &str, upload: &str) -> Result<PathBuf, BlobFault> {
        let path = self.paths.uploaded(dir, upload);
        make_dir(&self.paths.spool().join(dir)).map_err(fault)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(fault)?;
        Ok(path)
    }

    fn finish(
        &mut self,
        dir: &str,
        upload: &str,
        bytes: u64,
        hash: BlobHash,
    ) -> Result<(), BlobFault> {
        let path = self.paths.uploaded(dir, upload);
        let found = fs::symlink_metadata(&path).map_err(fault)?;
        if found.is_file() && found.len() != bytes {
            return Err(BlobFault::WrongSize {
                expected: bytes,
                found: found.len(),
            });
        }
        // Out of the peer's reach first: what is checked is what is kept.
        let taken = self.paths.taken(upload);
        fs::rename(&path, &taken).map_err(fault)?;
        let kept = self.keep(&taken, bytes, hash);
        match &kept {
            Ok(()) => {}
            Err(BlobFault::WrongSize { .. }) => fs::rename(&taken, &path).map_err(fault)?,
            Err(_) => remove_file(&taken)?,
        }
        kept
    }

    fn give(&mut self, dir: &str, hash: BlobHash) -> Result<PathBuf, BlobFault> {
        let (content, given) = (self.paths.content(hash), self.paths.given(dir, hash));
        make_dir(&self.paths.spool().join(dir)).map_err(fault)?;
        match fs::hard_link(&content, &given) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // A file has only so many names.
            Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {
                fs::copy(&content, &given).map_err(fault)?;
            }
            Err(error) => return Err(fault(error)),
        }
        Ok(given)
    }

    fn take_back(&mut self, dir: &str, hash: BlobHash) -> Result<(), BlobFault> {
        remove_file(&self.paths.given(dir, hash))
    }

    fn drop_upload(&mut self, dir: &str, upload: &str) -> Result<(), BlobFault> {
        remove_file(&self.paths.uploaded(dir, upload))
    }

    fn remove(&mut self, hash: BlobHash) -> Result<(), BlobFault> {
        remove_file(&self.paths.content(hash))
    }

    fn list(&mut self, first: u8) -> Result<Vec<BlobHash>, BlobFault> {
        let entries = match fs::read_dir(self.paths.group(first)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fault(error)),
        };
        let mut hashes = Vec::new();
        for entry in entries {
            let name = entry.map_err(fault)?.file_name();
            // What has another name is not ours.
            hashes.extend(name.to_str().and_then(BlobHash::parse));
        }
        Ok(hashes)
    }
}

/// Opens a file that is one, not a link to something of another's.
fn open_plain(path: &Path) -> Result<File, BlobFault> {
    let found = fs::symlink_metadata(path).map_err(fault)?;
    if !found.is_file() {
        return Err(BlobFault::Failed(
            "expected a plain file, found something else".into(),
        ));
    }
    let file = File::open(path).map_err(fault)?;
    let opened = file.metadata().map_err(fault)?;
    if (opened.dev(), opened.ino()) != (found.dev(), found.ino()) {
        return Err(BlobFault::Failed(
            "the file was exchanged while it was opened".into(),
        ));
    }
    Ok(file)
}

fn digest(file: &mut File) -> Result<(BlobHash, u64), BlobFault> {
    let mut sha256 = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                sha256.update(&chunk[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fault(error)),
        }
    }
    Ok((BlobHash::new(sha256.finalize().into()), bytes))
}

/// Makes a directory for its owner alone.
fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn remove_file(path: &Path) -> Result<(), BlobFault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(error)),
        _ => Ok(()),
    }
}

fn remove_aside(path: PathBuf) -> io::Result<()> {
    std::thread::Builder::new()
        .name("blob-tidy".into())
        .spawn(move || {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::debug!(%error, "An old spool is not removed yet.");
            }
        })
        .map(drop)
}

fn fault(error: io::Error) -> BlobFault {
    match error.kind() {
        io::ErrorKind::NotFound => BlobFault::Missing,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobFault::NoRoom,
        _ => BlobFault::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(content: &[u8]) -> BlobHash {
        BlobHash::new(Sha256::digest(content).into())
    }

    fn files() -> (tempfile::TempDir, DirFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = DirFiles::open(BlobPaths::new(dir.path())).unwrap();
        (dir, files)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_put_is_given_under_its_hash_and_only_to_its_owner() {
        let (dir, mut files) = files();
        let path = files.open("i.mail.a", "u1").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        fs::write(&path, b"hello").unwrap();
        files.finish("i.mail.a", "u1", 5, hash(b"hello")).unwrap();
        assert!(!path.exists());
        let given = files.give("c.agent", hash(b"hello")).unwrap();
        assert_eq!(fs::read(&given).unwrap(), b"hello");
        assert_eq!(mode(&given), 0o400);
        assert_eq!(files.give("c.agent", hash(b"hello")), Ok(given.clone()));
        files.take_back("c.agent", hash(b"hello")).unwrap();
        assert!(!given.exists());
        assert_eq!(files.list(hash(b"hello").first()), Ok(vec![hash(b"hello")]));
        files.remove(hash(b"hello")).unwrap();
        files.remove(hash(b"hello")).unwrap();
        assert_eq!(
            files.give("c.agent", hash(b"hello")),
            Err(BlobFault::Missing)
        );
        drop(dir);
    }

    #[test]
    fn a_short_upload_goes_on_and_a_wrong_one_is_gone() {
        let (_dir, mut files) = files();
        let path = files.open("c.a", "u1").unwrap();
        fs::write(&path, b"hel").unwrap();
        let short = files.finish("c.a", "u1", 5, hash(b"hello"));
        let wrong_size = BlobFault::WrongSize {
            expected: 5,
            found: 3,
        };
        assert_eq!(short, Err(wrong_size));
        fs::write(&path, b"hallo").unwrap();
        let wrong = files.finish("c.a", "u1", 5, hash(b"hello"));
        assert!(matches!(wrong, Err(BlobFault::WrongHash { .. })));
        assert!(!path.exists());
        assert_eq!(files.list(hash(b"hello").first()), Ok(vec![]));
    }

    #[test]
    fn a_link_in_place_of_the_upload_is_refused() {
        let (dir, mut files) = files();
        let secret = dir.path().join("secret");
        fs::write(&secret, b"hello").unwrap();
        let path = files.open("c.a", "u1").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        let refused = files.finish("c.a", "u1", 5, hash(b"hello"));
        assert!(matches!(refused, Err(BlobFault::Failed(_))), "{refused:?}");
        assert_eq!(fs::read(&secret).unwrap(), b"hello");
    }

    #[test]
    fn a_new_life_begins_with_an_empty_spool_and_every_content() {
        let (dir, mut files) = files();
        let path = files.open("c.a", "u1").unwrap();
        fs::write(&path, b"hello").unwrap();
        files.finish("c.a", "u1", 5, hash(b"hello")).unwrap();
        let left = files.open("c.a", "u2").unwrap();
        let mut again = DirFiles::open(BlobPaths::new(dir.path())).unwrap();
        assert!(!left.exists());
        assert!(again.give("c.a", hash(b"hello")).is_ok());
    }
}
