//! `packages.lock`: what is installed, and the hash of each tree.
//!
//! Read by everybody, changed by one at a time, and replaced as a whole: a reader finds the old one or the new one.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::error::InstallError;
use super::place::sync_dir;
use super::tree::PackageRef;

/// Name of the lock in the data directory.
pub const LOCK: &str = "packages.lock";
/// Name of the directory of packages in the data directory.
pub const PACKAGES: &str = "packages";
/// The form of the lock that is written, and the only one that is read.
const FORMAT: u32 = 1;

/// Describes an installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Its version, as its manifest says.
    pub version: String,
    /// The directory or archive that it was taken from.
    pub source: String,
    /// The hash of its tree.
    pub sha256: String,
    /// When it was added, RFC 3339.
    pub added_at: String,
    /// Name of its directory among those of its plugin.
    pub directory: String,
}

/// Holds what is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The form of this file.
    pub format: u32,
    /// By plugin.
    pub packages: BTreeMap<String, Installed>,
}

impl Default for Lock {
    fn default() -> Self {
        Self {
            format: FORMAT,
            packages: BTreeMap::new(),
        }
    }
}

impl Lock {
    /// Reads a lock's text; `path` is where it stands.
    ///
    /// # Errors
    /// It is not the lock of this version.
    pub fn parse(text: &str, path: &Path) -> Result<Self, InstallError> {
        let bad = |why: String| InstallError::Lock {
            path: path.to_owned(),
            why,
        };
        let lock: Self = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        if lock.format != FORMAT {
            let found = lock.format;
            return Err(bad(format!("expected format {FORMAT}, found {found}")));
        }
        for (id, installed) in &lock.packages {
            let is_name =
                |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
            if !trunkline_contract::id::is_plugin_id(id) || !is_name(&installed.directory) {
                return Err(bad(format!("{id:?} names no directory of a package")));
            }
        }
        Ok(lock)
    }

    /// Gives the text of the file.
    pub fn text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("strings and numbers are JSON");
        format!("{text}\n")
    }

    /// Names an installed package, below a data directory.
    pub fn package(&self, data_dir: &Path, id: &str) -> Option<PackageRef> {
        let installed = self.packages.get(id)?;
        let root = data_dir.join(PACKAGES).join(id);
        Some(PackageRef {
            root: root.join(&installed.directory),
            sha256: installed.sha256.clone(),
        })
    }

    /// Reads the lock of a data directory; none is an empty one.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn read(data_dir: &Path) -> Result<Self, InstallError> {
        let path = data_dir.join(LOCK);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(InstallError::io(&path)(error)),
        }
    }

    /// Changes the lock of a data directory, alone; it is durable afterwards.
    ///
    /// # Errors
    /// It cannot be read, understood or written, or `change` refuses: then it stays as it was.
    pub fn change<T>(
        data_dir: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, InstallError>,
    ) -> Result<T, InstallError> {
        let _held = Held::wait(&data_dir.join(PACKAGES).join(".lock"))?;
        let mut lock = Self::read(data_dir)?;
        let before = lock.clone();
        let result = change(&mut lock)?;
        if lock != before {
            replace(&data_dir.join(LOCK), &lock.text())?;
        }
        Ok(result)
    }
}

/// Replaces a file with another as a whole.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), InstallError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().map_err(InstallError::io(path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// A file that only one process holds at a time; the system gives it back when that ends.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "held until it is dropped")] File);

impl Held {
    /// Waits for it.
    pub(super) fn wait(path: &Path) -> Result<Self, InstallError> {
        let file = open(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(InstallError::io(path)(error.into())),
            }
        }
    }

    /// Takes it unless another holds it.
    pub(super) fn take(path: &Path) -> Result<Option<Self>, InstallError> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(InstallError::io(path)(error.into())),
        }
    }
}

/// Makes a directory for its owner alone; one that is there keeps its mode.
pub(super) fn private_dir(dir: &Path) -> Result<(), InstallError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(InstallError::io(dir))
}

fn open(path: &Path) -> Result<File, InstallError> {
    if let Some(dir) = path.parent() {
        private_dir(dir)?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(InstallError::io(path))
}
