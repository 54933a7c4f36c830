//! The packages of a data directory: staged, placed, removed.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::manifest::Manifest;

use super::collect::{Collected, collect};
use super::declared::{DECLARED, Declared, LIST_COPY, copy_declared, manifest};
use super::error::InstallError;
use super::limits::PackageLimits;
use super::lock::{Held, Installed, LOCK, Lock, PACKAGES, private_dir, replace};
use super::place::{Tree, remove, sync_dir};
use super::tree::{LIST, PackageRef, TREE, hash_of, list};
use super::unpack::unpack;

/// Name of the file of a package that holds its entry of the lock.
const ENTRY: &str = "package.json";
/// Name of the file in the staging directory that is held while something begins or ends there.
const STAGING_LOCK: &str = ".lock";
/// Name of the directory in that of packages where they are taken in.
pub(super) const STAGING: &str = ".staging";
/// How the name of a package ends that is being replaced.
const REPLACED: &str = ".replaced";
/// How the name of a staged package's holder ends.
const HELD: &str = "held";
/// Digits of the hash that are in a directory's name.
const SHORT: usize = 12;

/// The directory of packages.
#[derive(Debug, Clone)]
pub struct Packages {
    data_dir: PathBuf,
    /// The operator's file, which says what is the operator's alone.
    config: Option<PathBuf>,
    limits: PackageLimits,
}

/// A package that was read and found good, beside those that are installed; gone when dropped.
#[derive(Debug)]
pub struct Staged {
    dir: PathBuf,
    _held: Held,
    /// The plugin.
    pub id: String,
    /// What it says about itself.
    pub manifest: Option<Manifest>,
    /// What the lock will say.
    pub installed: Installed,
    /// What was left out, of a directory.
    pub left_out: Vec<String>,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What is left is removed by the next one.
        let _alone = self
            .dir
            .parent()
            .map(|dir| Held::wait(&dir.join(STAGING_LOCK)));
        let _best_effort = remove(&self.dir);
        let _best_effort = std::fs::remove_file(self.dir.with_extension(HELD));
    }
}

/// The right to change one plugin's package, until it is dropped.
#[derive(Debug)]
pub struct Busy {
    _held: Held,
}

impl Packages {
    /// Names the packages of a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self::with_limits(data_dir, PackageLimits::default())
    }

    /// The same with other limits.
    pub fn with_limits(data_dir: impl Into<PathBuf>, limits: PackageLimits) -> Self {
        let data_dir = data_dir.into();
        Self {
            data_dir,
            config: None,
            limits,
        }
    }

    /// The same, for the directories of whoever has this config.
    #[must_use]
    pub fn of_config(mut self, config: PathBuf) -> Self {
        self.config = Some(config);
        self
    }

    fn root(&self) -> PathBuf {
        self.data_dir.join(PACKAGES)
    }

    /// Reads what is installed.
    ///
    /// # Errors
    /// The lock cannot be read or understood.
    pub fn lock(&self) -> Result<Lock, InstallError> {
        Lock::read(&self.data_dir)
    }

    /// Takes the right to change one plugin's package.
    ///
    /// # Errors
    /// [`InstallError::Busy`] while another has it.
    pub fn busy(&self, id: &str) -> Result<Busy, InstallError> {
        let held = Held::take(&self.root().join(".busy").join(id))?;
        let held = held.ok_or_else(|| InstallError::Busy { id: id.to_owned() })?;
        Ok(Busy { _held: held })
    }

    /// Reads a directory or an archive, beside what is installed; runs nothing of it.
    ///
    /// # Errors
    /// [`InstallError`] with what is wrong; nothing is left of it then.
    pub fn stage(&self, source: &Path, now_ms: i64) -> Result<Staged, InstallError> {
        let (dir, held) = Self::begin(&self.root().join(STAGING))?;
        let mut staged = Staged {
            dir: dir.clone(),
            _held: held,
            id: String::new(),
            manifest: None,
            installed: Installed {
                version: String::new(),
                source: source.display().to_string(),
                sha256: String::new(),
                added_at: rfc3339(now_ms),
                directory: String::new(),
            },
            left_out: Vec::new(),
        };
        let tree = dir.join(TREE);
        if source.is_dir() {
            let command = manifest(source, source)?.command;
            let found = collect(source, &command, self.config.as_deref(), self.limits)?;
            copy(&found, tree.clone(), self.limits)?;
            staged.left_out = found.left_out;
        } else {
            unpack(source, tree.clone(), self.limits)?;
        }
        let manifest = copy_declared(&tree, source, dir.join(DECLARED), self.limits)?;
        check_program(&manifest, &tree)?;
        let text = list(&tree)?;
        let sha256 = hash_of(&text);
        staged.id.clone_from(&manifest.id);
        staged.installed.directory = format!("{}-{}", manifest.version, &sha256[..SHORT]);
        staged.installed.version.clone_from(&manifest.version);
        staged.installed.sha256 = sha256;
        staged.manifest = Some(manifest);
        replace(&dir.join(LIST), &text)?;
        replace(&dir.join(LIST_COPY), &text)?;
        let entry = serde_json::to_string_pretty(&staged.installed);
        let entry = entry.expect("strings are JSON");
        replace(&dir.join(ENTRY), &format!("{entry}\n"))?;
        Ok(staged)
    }

    /// Where a package lies, or will.
    pub fn root_of(&self, id: &str, installed: &Installed) -> PathBuf {
        self.root().join(id).join(&installed.directory)
    }

    /// Moves a staged package to where it will stay; the lock does not name it yet. What lies there is the same package:
    /// it is kept if its files are as they were, since something may run from it, with its copies made anew, and replaced
    /// if not.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn place(&self, staged: &Staged, _busy: &Busy) -> Result<(), InstallError> {
        let plugin = self.root().join(&staged.id);
        private_dir(&plugin)?;
        self.put_back(&staged.id)?;
        let to = plugin.join(&staged.installed.directory);
        let sha256 = staged.installed.sha256.clone();
        let there = PackageRef {
            root: to.clone(),
            sha256,
        };
        if there.check().is_ok() {
            // Until they are there again, the tree is read.
            let copies = to.join(DECLARED);
            remove(&copies)?;
            copy_declared(&there.tree(), &to, copies, self.limits)?;
            let list = to.join(LIST);
            let text = std::fs::read_to_string(&list).map_err(InstallError::io(&list))?;
            return replace(&to.join(LIST_COPY), &text);
        }
        put(&staged.dir, &to)?;
        sync_dir(&plugin)?;
        sync_dir(&self.root())
    }

    /// Reads the entry of a package that was placed.
    ///
    /// # Errors
    /// There is none, or it is not readable, or its files changed since.
    pub fn placed(&self, id: &str, directory: &str) -> Result<Installed, InstallError> {
        let root = self.root().join(id).join(directory);
        let path = root.join(ENTRY);
        let text = std::fs::read_to_string(&path).map_err(InstallError::io(&path))?;
        let installed: Installed =
            serde_json::from_str(&text).map_err(|error| InstallError::Lock {
                path: path.clone(),
                why: error.to_string(),
            })?;
        let sha256 = installed.sha256.clone();
        PackageRef { root, sha256 }.check()?;
        Ok(installed)
    }

    /// Notes a package as the installed one of its plugin.
    ///
    /// # Errors
    /// The lock cannot be written.
    pub fn record(&self, id: &str, installed: &Installed) -> Result<(), InstallError> {
        Lock::change(&self.data_dir, |lock| {
            lock.packages.insert(id.to_owned(), installed.clone());
            Ok(())
        })
    }

    /// Forgets the package of a plugin; its directory is removed by [`Packages::tidy`].
    ///
    /// # Errors
    /// [`InstallError::NotInstalled`], or the lock cannot be written.
    pub fn forget(&self, id: &str, _busy: &Busy) -> Result<Installed, InstallError> {
        Lock::change(&self.data_dir, |lock| {
            let gone = lock.packages.remove(id);
            gone.ok_or_else(|| InstallError::NotInstalled { id: id.to_owned() })
        })
    }

    /// Removes the directories of a plugin that the lock does not name.
    ///
    /// # Errors
    /// One of them cannot be removed.
    pub fn tidy(&self, id: &str, _busy: &Busy) -> Result<(), InstallError> {
        self.put_back(id)?;
        for path in self.leftovers(id, &[])? {
            remove(&path)?;
        }
        if !self.lock()?.packages.contains_key(id) {
            remove(&self.root().join(id))?;
        }
        Ok(())
    }

    /// Removes what commands that were killed left of the plugins that are installed: the directories that neither the
    /// lock names nor one of `used` is in. A plugin that a command is at work on is left to it, and one that the lock
    /// does not name keeps everything: the lock may be lost, and can be made anew from what is there.
    ///
    /// # Errors
    /// The lock cannot be read, or a directory cannot be removed.
    pub fn tidy_leftovers(&self, used: &[PathBuf]) -> Result<Vec<PathBuf>, InstallError> {
        let mut removed = Vec::new();
        for id in self.lock()?.packages.keys() {
            let nothing_to_do = self.leftovers(id, used)?.is_empty();
            if nothing_to_do && self.moved_away(id)?.is_none() {
                continue;
            }
            let _busy = match self.busy(id) {
                Err(InstallError::Busy { .. }) => continue,
                taken => taken?,
            };
            // Looked at again: a command may have ended meanwhile.
            if self.lock()?.packages.contains_key(id) {
                self.put_back(id)?;
                for path in self.leftovers(id, used)? {
                    remove(&path)?;
                    removed.push(path);
                }
            }
        }
        Ok(removed)
    }

    /// Puts back what a command moved away that was killed before the other one was in its place; only for who may change
    /// that package.
    fn put_back(&self, id: &str) -> Result<(), InstallError> {
        let Some(to) = self.moved_away(id)? else {
            return Ok(());
        };
        std::fs::rename(beside(&to), &to).map_err(InstallError::io(&to))?;
        sync_dir(&self.root().join(id))
    }

    /// The place of the installed package of a plugin, if it is beside it.
    fn moved_away(&self, id: &str) -> Result<Option<PathBuf>, InstallError> {
        let lock = self.lock()?;
        let place = lock.packages.get(id).map(|one| self.root_of(id, one));
        Ok(place.filter(|place| !place.exists() && beside(place).exists()))
    }

    /// The directories of a plugin that the lock does not name and nothing of `used` is in.
    fn leftovers(&self, id: &str, used: &[PathBuf]) -> Result<Vec<PathBuf>, InstallError> {
        let lock = self.lock()?;
        let kept = lock.packages.get(id).map(|one| one.directory.as_str());
        let plugin = self.root().join(id);
        let Ok(entries) = std::fs::read_dir(&plugin) else {
            return Ok(Vec::new());
        };
        let moved_away = self.moved_away(id)?.map(|place| beside(&place));
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(InstallError::io(&plugin))?;
            let path = entry.path();
            let is_used = used.iter().any(|used| used.starts_with(&path))
                || moved_away.as_ref() == Some(&path);
            if entry.file_name().to_str() != kept && !is_used {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Gives the lock's path and the text it would have with this package.
    ///
    /// # Errors
    /// The lock cannot be read.
    pub fn lock_with(
        &self,
        id: &str,
        installed: &Installed,
    ) -> Result<(PathBuf, String), InstallError> {
        let mut lock = self.lock()?;
        lock.packages.insert(id.to_owned(), installed.clone());
        Ok((self.data_dir.join(LOCK), lock.text()))
    }

    /// Makes the directory of one package, with the file that says that somebody is at it, and removes what commands that
    /// were killed left behind.
    ///
    /// Both exist only together for whoever holds the lock, and the end of a [`Staged`] takes it too: so a directory
    /// without a holder is nobody's, and nothing that lives is swept away.
    fn begin(staging: &Path) -> Result<(PathBuf, Held), InstallError> {
        let _alone = Held::wait(&staging.join(STAGING_LOCK))?;
        Self::sweep(staging)?;
        let mut chance = [0; 8];
        getrandom::fill(&mut chance)
            .map_err(std::io::Error::other)
            .map_err(InstallError::io(staging))?;
        let dir = staging.join(format!("{:016x}", u64::from_le_bytes(chance)));
        let held = Held::wait(&dir.with_extension(HELD))?;
        std::fs::create_dir(&dir).map_err(InstallError::io(&dir))?;
        Ok((dir, held))
    }

    fn sweep(staging: &Path) -> Result<(), InstallError> {
        for entry in std::fs::read_dir(staging).map_err(InstallError::io(staging))? {
            let path = entry.map_err(InstallError::io(staging))?.path();
            if path.ends_with(STAGING_LOCK) {
                continue;
            }
            // Also of a directory whose file is gone: it is made anew, and goes with it.
            let holder = path.with_extension(HELD);
            if let Some(_held) = Held::take(&holder)? {
                remove(&path.with_extension(""))?;
                match std::fs::remove_file(&holder) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(InstallError::io(&holder)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Moves a directory to where another one may be, which is then where the first one was: whoever is killed leaves one of
/// the two in its place, or both. On a file system that cannot exchange two names the other one is beside its place for a
/// moment, and [`Packages::put_back`] has it back.
fn put(from: &Path, to: &Path) -> Result<(), InstallError> {
    let io = InstallError::io(to);
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => std::fs::rename(from, to).map_err(io),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => put_in_two(from, to),
        Err(error) => Err(io(error.into())),
    }
}

fn put_in_two(from: &Path, to: &Path) -> Result<(), InstallError> {
    let beside = beside(to);
    remove(&beside)?;
    std::fs::rename(to, &beside).map_err(InstallError::io(to))?;
    std::fs::rename(from, to).map_err(InstallError::io(to))?;
    remove(&beside)
}

/// Where a package is that is being replaced, on a file system that cannot exchange two names.
fn beside(package: &Path) -> PathBuf {
    let mut path = package.as_os_str().to_owned();
    path.push(REPLACED);
    path.into()
}

/// Reads the manifest of an installed package, as it was added.
///
/// # Errors
/// Neither the package nor its copies have it as it was.
pub fn manifest_of(package: &PackageRef) -> Result<Manifest, InstallError> {
    Declared::of(package, |path| std::fs::read_to_string(path))?.manifest()
}

/// Refuses a package without the program that its command names by a path.
///
/// # Errors
/// It is not there; it may have to be built first.
pub fn check_program(manifest: &Manifest, tree: &Path) -> Result<(), InstallError> {
    match manifest.command.first() {
        Some(word) if word.contains('/') && !tree.join(word).is_file() => {
            let what = "the command of the manifest names it, and it is not there";
            Err(InstallError::entry(word, what))
        }
        _ => Ok(()),
    }
}

fn copy(found: &Collected, into: PathBuf, limits: PackageLimits) -> Result<(), InstallError> {
    let mut tree = Tree::begin(into, limits)?;
    for file in &found.files {
        let mut content = std::fs::File::open(&file.from).map_err(InstallError::io(&file.from))?;
        tree.file(&file.path, file.bytes, file.is_executable, &mut content)?;
    }
    tree.finish()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
