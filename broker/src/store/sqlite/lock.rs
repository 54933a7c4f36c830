//! One daemon per store: an advisory lock on a file beside it, which the kernel drops with its holder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The right to open the store of a directory. Held until it is dropped or the process ends.
#[derive(Debug)]
pub struct StoreLock {
    dir: PathBuf,
    _file: File,
}

/// Why a store could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has it; the daemon exits with status 75.
    #[error("the store at {dir} is held by process {}", pid.map_or("?".into(), |p| p.to_string()))]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The holder, if it could be read.
        pid: Option<u32>,
    },
    /// The lock file could not be used.
    #[error("cannot lock the store at {dir}: {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
}

impl StoreLock {
    /// Locks the store in `dir`, which must exist. Never waits.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process (or another lock of this one) has it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io {
            dir: dir.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("lock"))
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = match file.read_to_string(&mut text) {
                    Ok(_) => text.trim().parse().ok(),
                    Err(_) => None,
                };
                return Err(LockError::Held {
                    dir: dir.to_owned(),
                    pid,
                });
            }
            Err(errno) => return Err(io(errno.into())),
        }
        // The number is only for people; a disk too full to hold it must not keep the daemon down.
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{}", std::process::id())
        };
        if let Err(error) = write(&mut file) {
            tracing::warn!(%error, "Could not write the process id into the lock file.");
        }
        Ok(Self {
            dir: dir.to_owned(),
            _file: file,
        })
    }

    /// Returns the directory of the store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
