//! What a package says about itself, kept apart from its tree.
//!
//! A config cannot be read without the manifests of its instances. Were they read from the trees alone, one damaged
//! `plugin.toml` would keep every plugin of the daemon from starting, and a reload from working. So the manifest and the
//! schemas that it names are copied beside the tree: the config is read as ever, and the damaged tree is found, and
//! named, when something is to start from it.
//!
//! Invariant: no text is given whose hash is not in the list of the package's files, and the hash of that list is in the
//! lock. Who edits the copy, the tree or the list grants himself nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use trunkline_contract::manifest::{FILE, FOREIGN_FILE, Manifest};

use super::error::InstallError;
use super::limits::PackageLimits;
use super::path::checked;
use super::place::Tree;
use super::tree::{Entry, LIST, PackageRef, TREE, hash_of, parsed};

/// Name of the directory of a package that holds the copies.
pub const DECLARED: &str = "declared";
/// Name of the second copy of the list of hashes.
pub const LIST_COPY: &str = "files.sha256.copy";

/// The texts with which an installed package declares itself.
#[derive(Debug)]
pub struct Declared {
    root: PathBuf,
    list: String,
    files: BTreeMap<String, Entry>,
}

impl Declared {
    /// Reads which files a package has; `read` gives the text of a file.
    ///
    /// # Errors
    /// [`InstallError::Changed`] where no list is the one that was added.
    pub fn of(
        package: &PackageRef,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, InstallError> {
        let texts = [LIST, LIST_COPY].map(|name| read(&package.root.join(name)));
        let mut texts = texts.into_iter().flatten();
        let list = texts.find(|text| hash_of(text) == package.sha256);
        let list = list.ok_or_else(|| InstallError::Changed {
            file: LIST.to_owned(),
            how: "is not there or has another hash than packages.lock says, and so has its copy",
        })?;
        Ok(Self {
            root: package.root.clone(),
            files: parsed(&list),
            list,
        })
    }

    /// Gives the list of its files, as they were added.
    pub fn list(&self) -> &str {
        &self.list
    }

    /// Gives the text of a file by its path in the package, as it was when that was added; none: it has no such file.
    ///
    /// # Errors
    /// [`InstallError::Changed`] where neither the copy nor the tree has that text.
    pub fn text(
        &self,
        path: &str,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Option<String>, InstallError> {
        let Some(path) = checked(path.as_bytes())? else {
            return Ok(None);
        };
        let Some(entry) = self.files.get(&path) else {
            return Ok(None);
        };
        let texts = [DECLARED, TREE].map(|dir| read(&self.root.join(dir).join(&path)));
        let mut texts = texts.into_iter().flatten();
        let found = texts.find(|text| hash_of(text) == entry.sha256);
        let changed = || InstallError::Changed {
            file: path,
            how: "has another content than was added, or none, and so has its copy",
        };
        found.map(Some).ok_or_else(changed)
    }

    /// Reads the manifest from the disk.
    ///
    /// # Errors
    /// Its text is not what was added, or not valid for this version.
    pub fn manifest(&self) -> Result<Manifest, InstallError> {
        let read = |path: &str| match self.text(path, |path| std::fs::read_to_string(path)) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(io::Error::other(error)),
        };
        read_manifest(read, &self.root)
    }
}

/// Reads the manifest of a directory with all that is wrong with it; no code runs.
///
/// # Errors
/// There is none, or it is not valid.
pub fn manifest(dir: &Path, source: &Path) -> Result<Manifest, InstallError> {
    read_manifest(|path| std::fs::read_to_string(dir.join(path)), source)
}

/// Reads the manifest of a tree, and copies it, with the schemas that it names, into the new directory `into`.
pub(super) fn copy_declared(
    tree: &Path,
    source: &Path,
    into: PathBuf,
    limits: PackageLimits,
) -> Result<Manifest, InstallError> {
    let mut texts = BTreeMap::new();
    let read = |path: &str| {
        let text = std::fs::read_to_string(tree.join(path))?;
        if let Ok(Some(path)) = checked(path.as_bytes()) {
            texts.insert(path, text.clone());
        }
        Ok(text)
    };
    let manifest = read_manifest(read, source)?;
    let mut copy = Tree::begin(into, limits)?;
    for (path, text) in texts {
        copy.file(&path, text.len() as u64, false, &mut text.as_bytes())?;
    }
    copy.finish()?;
    Ok(manifest)
}

/// Reads a manifest; `read` gives the text of a file by its path in the package, `source` is where that comes from.
fn read_manifest(
    mut read: impl FnMut(&str) -> io::Result<String>,
    source: &Path,
) -> Result<Manifest, InstallError> {
    for (name, is_foreign) in [(FILE, false), (FOREIGN_FILE, true)] {
        let text = match read(name) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(InstallError::io(source.join(name))(error)),
        };
        let parsed = if is_foreign {
            Manifest::parse_foreign(&text)
        } else {
            Manifest::parse(&text)
        };
        let invalid = |found| InstallError::Manifest { found };
        let mut manifest = parsed.map_err(invalid)?.value;
        manifest
            .read_schemas(|path| read(path).map_err(|error| error.to_string()))
            .map_err(invalid)?;
        return Ok(manifest);
    }
    let path = source.to_owned();
    Err(InstallError::NoManifest { path })
}
