//! Writes the files of a package into a directory that nobody else knows yet.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::InstallError;
use super::limits::PackageLimits;

/// Mode of a placed directory: whoever runs the plugin writes elsewhere, or the next start is refused.
const DIR_MODE: u32 = 0o555;
const FILE_MODE: u32 = 0o444;
const PROGRAM_MODE: u32 = 0o555;

/// A tree that is being written.
pub(super) struct Tree {
    root: PathBuf,
    limits: PackageLimits,
    files: BTreeSet<String>,
    dirs: BTreeSet<String>,
    entries: u64,
    bytes: u64,
}

impl Tree {
    /// Begins a tree in a new directory.
    pub(super) fn begin(root: PathBuf, limits: PackageLimits) -> Result<Self, InstallError> {
        make_dir(&root)?;
        Ok(Self {
            root,
            limits,
            files: BTreeSet::new(),
            dirs: BTreeSet::new(),
            entries: 0,
            bytes: 0,
        })
    }

    /// Writes one file; `path` was checked, `bytes` is what its source announced.
    pub(super) fn file(
        &mut self,
        path: &str,
        bytes: u64,
        is_executable: bool,
        content: &mut dyn Read,
    ) -> Result<(), InstallError> {
        self.count(path)?;
        if bytes > self.limits.file_bytes_max {
            return Err(too_large(
                path,
                "bytes in a file",
                self.limits.file_bytes_max,
            ));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.total_bytes_max {
            let limit = self.limits.total_bytes_max;
            return Err(too_large(path, "bytes in a package", limit));
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.make_dirs(parent)?;
        }
        if self.dirs.contains(path) || !self.files.insert(path.to_owned()) {
            return Err(InstallError::entry(path, "it is there twice"));
        }
        let to = self.root.join(path);
        let mode = if is_executable {
            PROGRAM_MODE
        } else {
            FILE_MODE
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&to)
            .map_err(InstallError::io(&to))?;
        // Errors of the source keep their own words: they may be those of a limit.
        let written =
            io::copy(&mut content.take(bytes), &mut file).map_err(InstallError::io(&to))?;
        if written != bytes {
            return Err(InstallError::entry(path, "it is cut off"));
        }
        file.set_permissions(Permissions::from_mode(mode))
            .and_then(|()| file.sync_all())
            .map_err(InstallError::io(&to))
    }

    /// Makes a directory that is named by itself.
    pub(super) fn dir(&mut self, path: &str) -> Result<(), InstallError> {
        if self.dirs.contains(path) {
            // Named again, it costs as much to read.
            return self.count(path);
        }
        self.make_dirs(path)
    }

    /// Gives every directory its mode; nothing is written from then on.
    pub(super) fn finish(self) -> Result<(), InstallError> {
        let inner = self.dirs.iter().rev().map(|dir| self.root.join(dir));
        for dir in inner.chain([self.root.clone()]) {
            sync_dir(&dir)?;
            std::fs::set_permissions(&dir, Permissions::from_mode(DIR_MODE))
                .map_err(InstallError::io(&dir))?;
        }
        Ok(())
    }

    fn make_dirs(&mut self, path: &str) -> Result<(), InstallError> {
        let mut ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        ends.push(path.len());
        for end in ends {
            let dir = &path[..end];
            if self.files.contains(dir) {
                return Err(InstallError::entry(dir, "it is a file and a directory"));
            }
            if self.dirs.insert(dir.to_owned()) {
                self.count(dir)?;
                make_dir(&self.root.join(dir))?;
            }
        }
        Ok(())
    }

    fn count(&mut self, path: &str) -> Result<(), InstallError> {
        self.entries += 1;
        if self.entries > self.limits.entries_max {
            let limit = self.limits.entries_max;
            return Err(too_large(path, "files and directories", limit));
        }
        Ok(())
    }
}

fn too_large(path: &str, what: &'static str, limit: u64) -> InstallError {
    InstallError::TooLarge {
        entry: path.to_owned(),
        what,
        limit,
    }
}

fn make_dir(dir: &Path) -> Result<(), InstallError> {
    DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(InstallError::io(dir))
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), InstallError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(InstallError::io(dir))
}

/// Removes a directory with all that is in it, also what may not be written; one that is not there is no error.
pub(super) fn remove(dir: &Path) -> Result<(), InstallError> {
    make_writable(dir)?;
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(InstallError::io(dir)(error)),
        _ => Ok(()),
    }
}

fn make_writable(dir: &Path) -> Result<(), InstallError> {
    match std::fs::symlink_metadata(dir) {
        Ok(about) if about.is_dir() => {}
        _ => return Ok(()),
    }
    std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(InstallError::io(dir))?;
    for entry in std::fs::read_dir(dir).map_err(InstallError::io(dir))? {
        make_writable(&entry.map_err(InstallError::io(dir))?.path())?;
    }
    Ok(())
}
