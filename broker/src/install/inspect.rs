//! What a package is: read from a directory, an archive or what is installed, and compared; nothing of it is run or kept.

use std::path::{Path, PathBuf};

use trunkline_contract::manifest::Manifest;

use super::collect::collect;
use super::declared::{Declared, manifest};
use super::error::InstallError;
use super::limits::PackageLimits;
use super::lock::private_dir;
use super::packages::check_program;
use super::place::remove;
use super::tree::{PackageRef, TREE, hash_of, list, list_of, parsed};
use super::unpack::unpack;

/// A package that was read.
#[derive(Debug)]
pub struct Inspected {
    /// What it says about itself.
    pub manifest: Manifest,
    /// Hash, mode and path of each of its files: the list whose hash is that of its tree.
    pub list: String,
    /// How many files it has.
    pub files: u64,
    /// The bytes of all of them.
    pub bytes: u64,
    /// What of the directory is no part of it.
    pub left_out: Vec<String>,
    /// Why it could not be added, or not be started, as it is.
    pub problem: Option<String>,
}

/// In which files two packages differ, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Files of both, with another content or mode.
    pub changed: Vec<String>,
    /// Files of the first alone.
    pub added: Vec<String>,
    /// Files of the other alone.
    pub removed: Vec<String>,
}

impl Inspected {
    /// Reads what a directory would be as a package, or what an archive is; `config` is the operator's file.
    ///
    /// # Errors
    /// [`InstallError`] says why it would be refused; a program that is not built yet is no error.
    pub fn of_source(
        source: &Path,
        config: Option<&Path>,
        limits: PackageLimits,
    ) -> Result<Self, InstallError> {
        if source.is_dir() {
            return Self::of_directory(source, config, limits);
        }
        let unpacked = Temporary::new()?;
        let tree = unpacked.0.join(TREE);
        unpack(source, tree.clone(), limits)?;
        let manifest = manifest(&tree, source)?;
        Ok(Self::of_tree(manifest, &tree, list(&tree)?))
    }

    /// Reads what is installed: what was added, whatever became of its files since.
    ///
    /// # Errors
    /// Neither its files nor their copies say any more what it is.
    pub fn of_installed(package: &PackageRef) -> Result<Self, InstallError> {
        let declared = Declared::of(package, |path| std::fs::read_to_string(path))?;
        let list = declared.list().to_owned();
        let mut seen = Self::of_tree(declared.manifest()?, &package.tree(), list);
        seen.problem = package.check().err().map(|error| error.to_string());
        Ok(seen)
    }

    fn of_directory(
        dir: &Path,
        config: Option<&Path>,
        limits: PackageLimits,
    ) -> Result<Self, InstallError> {
        let manifest = manifest(dir, dir)?;
        let found = collect(dir, &manifest.command, config, limits)?;
        let problem = check_program(&manifest, dir).err();
        Ok(Self {
            list: list_of(&found.files)?,
            files: found.files.len() as u64,
            bytes: found.files.iter().map(|file| file.bytes).sum(),
            left_out: found.left_out,
            problem: problem.map(|error| error.to_string()),
            manifest,
        })
    }

    fn of_tree(manifest: Manifest, tree: &Path, list: String) -> Self {
        let (mut files, mut bytes) = (0, 0);
        for path in parsed(&list).keys() {
            files += 1;
            // One that is gone is the problem of whoever checks.
            bytes += std::fs::metadata(tree.join(path)).map_or(0, |about| about.len());
        }
        let problem = check_program(&manifest, tree).err();
        Self {
            manifest,
            list,
            files,
            bytes,
            left_out: Vec::new(),
            problem: problem.map(|error| error.to_string()),
        }
    }

    /// The hash of its tree.
    pub fn sha256(&self) -> String {
        hash_of(&self.list)
    }

    /// Says in which files it differs from another.
    pub fn difference(&self, other: &Self) -> Difference {
        let (mine, theirs) = (parsed(&self.list), parsed(&other.list));
        let mut found = Difference::default();
        for (path, entry) in &mine {
            match theirs.get(path) {
                None => found.added.push(path.clone()),
                Some(other) if other != entry => found.changed.push(path.clone()),
                Some(_) => {}
            }
        }
        let gone = theirs.into_keys().filter(|path| !mine.contains_key(path));
        found.removed.extend(gone);
        found
    }
}

/// A directory that is gone when dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self, InstallError> {
        let all = std::env::temp_dir();
        let mut chance = [0; 16];
        getrandom::fill(&mut chance)
            .map_err(std::io::Error::other)
            .map_err(InstallError::io(&all))?;
        let dir = all.join(format!("trunkline-{:032x}", u128::from_le_bytes(chance)));
        private_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // The system clears what stays there.
        let _best_effort = remove(&self.0);
    }
}
