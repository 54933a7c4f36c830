//! The hash of a package's tree, and what differs from it.
//!
//! Every file counts, with its content, its path and whether it may be run; so do byte code and whatever else a
//! program may have left there, because the next start would run it. Empty directories do not count.
//!
//! ```text
//! files.sha256:  <sha256 of a file, hex> <x or -> <path>\n   by path; its own sha256 is that of the tree
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::collect::File;
use super::error::InstallError;

/// Name of the directory of a package that holds its files.
pub const TREE: &str = "tree";
/// Name of the list of their hashes.
pub const LIST: &str = "files.sha256";

/// What is read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Names an installed package, for whoever is about to start it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackageRef {
    /// The directory that holds its list and its tree.
    pub root: PathBuf,
    /// The hash of its tree, as the lock has it.
    pub sha256: String,
}

impl PackageRef {
    /// Gives the directory of its files.
    pub fn tree(&self) -> PathBuf {
        self.root.join(TREE)
    }

    /// Checks that its files are those that were added.
    ///
    /// # Errors
    /// [`InstallError::Changed`] names the first file that differs.
    pub fn check(&self) -> Result<(), InstallError> {
        let changed = |file: &str, how| {
            let file = file.to_owned();
            Err(InstallError::Changed { file, how })
        };
        let Ok(listed) = std::fs::read_to_string(self.root.join(LIST)) else {
            return changed(LIST, "is not there or cannot be read");
        };
        if hash_of(&listed) != self.sha256 {
            return changed(LIST, "has another hash than packages.lock says");
        }
        let expected = parsed(&listed);
        let found = walk(&self.tree())?;
        for (path, entry) in &expected {
            match found.get(path) {
                None => return changed(path, "is missing"),
                Some(Found::Other) => return changed(path, "is no file any more"),
                Some(Found::File { is_executable }) => {
                    let line = Entry {
                        sha256: hash_file(&self.tree().join(path))?,
                        is_executable: *is_executable,
                    };
                    if line.sha256 != entry.sha256 {
                        return changed(path, "has another content than was added");
                    }
                    if line.is_executable != entry.is_executable {
                        return changed(path, "has another mode than was added");
                    }
                }
            }
        }
        match found.keys().find(|path| !expected.contains_key(*path)) {
            Some(path) => changed(path, "was not in the package"),
            None => Ok(()),
        }
    }
}

/// What a list says of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) sha256: String,
    pub(super) is_executable: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    File { is_executable: bool },
    Other,
}

/// Lists the hashes of a tree.
///
/// # Errors
/// A file cannot be read, or is none.
pub fn list(tree: &Path) -> Result<String, InstallError> {
    let mut text = String::new();
    for (path, found) in walk(tree)? {
        let Found::File { is_executable } = found else {
            return Err(InstallError::entry(path, "expected a file"));
        };
        let hash = hash_file(&tree.join(&path))?;
        let mode = if is_executable { 'x' } else { '-' };
        let _infallible = writeln!(text, "{hash} {mode} {path}");
    }
    Ok(text)
}

/// Lists the hashes of the tree that these files will be.
///
/// # Errors
/// A file cannot be read.
pub(super) fn list_of(files: &[File]) -> Result<String, InstallError> {
    let mut text = String::new();
    for file in files {
        let hash = hash_file(&file.from)?;
        let mode = if file.is_executable { 'x' } else { '-' };
        let _infallible = writeln!(text, "{hash} {mode} {}", file.path);
    }
    Ok(text)
}

/// Gives the hash of a text; that of a list is that of its tree.
pub fn hash_of(list: &str) -> String {
    hex(&Sha256::digest(list.as_bytes()))
}

/// Reads a list: what it says of each path.
pub(super) fn parsed(list: &str) -> BTreeMap<String, Entry> {
    let line = |line: &str| {
        let (sha256, rest) = line.split_once(' ')?;
        let (mode, path) = rest.split_once(' ')?;
        let entry = Entry {
            sha256: sha256.to_owned(),
            is_executable: mode == "x",
        };
        Some((path.to_owned(), entry))
    };
    list.lines().filter_map(line).collect()
}

fn walk(tree: &Path) -> Result<BTreeMap<String, Found>, InstallError> {
    let mut all = BTreeMap::new();
    let mut open = vec![(tree.to_owned(), String::new())];
    while let Some((dir, prefix)) = open.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(InstallError::io(&dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(InstallError::io(&dir))?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let about = entry.metadata().map_err(InstallError::io(entry.path()))?;
            if about.is_dir() {
                open.push((entry.path(), format!("{path}/")));
            } else if about.is_file() {
                let is_executable = about.permissions().mode() & 0o111 != 0;
                all.insert(path, Found::File { is_executable });
            } else {
                all.insert(path, Found::Other);
            }
        }
    }
    Ok(all)
}

fn hash_file(path: &Path) -> Result<String, InstallError> {
    let mut file = std::fs::File::open(path).map_err(InstallError::io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer).map_err(InstallError::io(path))? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves T3 (the hash of the tree): a changed byte, an added or a missing file, a link in its place and a changed
    /// mode are each found, with the file's name.
    #[test]
    fn whatever_changes_in_a_tree_is_found_and_named() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        let tree = root.join(TREE);
        std::fs::create_dir_all(tree.join("lib")).unwrap();
        std::fs::write(tree.join("main.py"), "print(1)").unwrap();
        std::fs::write(tree.join("lib/a.py"), "A = 1").unwrap();
        let text = list(&tree).unwrap();
        std::fs::write(root.join(LIST), &text).unwrap();
        let package = PackageRef {
            root: root.to_owned(),
            sha256: hash_of(&text),
        };
        package.check().unwrap();
        let refused = |file: &str, word: &str| {
            let error = package.check().unwrap_err();
            assert_eq!(error.code(), "package_changed");
            let text = error.to_string();
            assert!(text.contains(file) && text.contains(word), "{text}");
        };
        let a = tree.join("lib/a.py");
        std::fs::write(&a, "A = 2").unwrap();
        refused("lib/a.py", "content");
        std::fs::remove_file(&a).unwrap();
        refused("lib/a.py", "missing");
        std::os::unix::fs::symlink("/dev/null", &a).unwrap();
        refused("lib/a.py", "no file");
        std::fs::remove_file(&a).unwrap();
        std::fs::write(&a, "A = 1").unwrap();
        package.check().unwrap();
        std::fs::set_permissions(&a, std::fs::Permissions::from_mode(0o755)).unwrap();
        refused("lib/a.py", "mode");
        std::fs::set_permissions(&a, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::create_dir(tree.join("__pycache__")).unwrap();
        std::fs::write(tree.join("__pycache__/main.pyc"), "x").unwrap();
        refused("__pycache__/main.pyc", "not in the package");
        std::fs::remove_dir_all(tree.join("__pycache__")).unwrap();
        std::fs::write(root.join(LIST), text.replace('-', "x")).unwrap();
        refused(LIST, "another hash");
    }
}
