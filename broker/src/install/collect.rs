//! Which files of a plugin's directory belong to its package.
//!
//! What is made anew, kept by tools or belongs to one machine is left out, and so is the operator's config, which may
//! hold what nobody else is to see. A file that the manifest's command names
//! is taken wherever it lies: the program of a Rust plugin is in `target/release`.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::InstallError;
use super::limits::PackageLimits;
use super::path::checked;

/// Names of files and directories that are left out wherever they are; `*` stands for any beginning.
pub const LEFT_OUT: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".trunkline",
    ".venv",
    "venv",
    "__pycache__",
    "*.pyc",
    "node_modules",
    "target",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".env",
    "trunkline.toml",
    "trunkline.yaml",
    "trunkline.yml",
    ".DS_Store",
    "*.db",
    "*.db-wal",
    "*.db-shm",
    "*.trunkline.tgz",
];

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Its path within the package.
    pub path: String,
    /// Where it is now.
    pub from: PathBuf,
    /// Whether it may be run.
    pub is_executable: bool,
    /// Its size.
    pub bytes: u64,
}

/// Holds what belongs to a package and what does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// By path.
    pub files: Vec<File>,
    /// What was there and is left out, by path; directories end with a slash.
    pub left_out: Vec<String>,
}

fn is_left_out(name: &str) -> bool {
    LEFT_OUT.iter().any(|rule| match rule.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => name == *rule,
    })
}

/// Says whether a daemon keeps its data there: the owner's token and the store go into no package.
fn is_data_dir(dir: &Path) -> bool {
    dir.join("store.db").exists() || dir.join(super::lock::LOCK).exists()
}

/// Lists the files of a plugin's directory; `command` is its manifest's.
///
/// # Errors
/// Links, devices, names that no package may have, and whatever is over a limit.
pub fn collect(
    dir: &Path,
    command: &[String],
    limits: PackageLimits,
) -> Result<Collected, InstallError> {
    let mut walk = Walk {
        root: dir,
        limits,
        entries: 0,
        bytes: 0,
        found: Collected::default(),
    };
    walk.dir(dir, "")?;
    let known: BTreeSet<String> = walk.found.files.iter().map(|f| f.path.clone()).collect();
    for word in command {
        let Ok(Some(path)) = checked(word.as_bytes()) else {
            continue;
        };
        if !known.contains(&path) && dir.join(&path).is_file() {
            walk.file(&dir.join(&path), path)?;
        }
    }
    walk.found.files.sort();
    walk.found.files.dedup();
    walk.found.left_out.sort();
    Ok(walk.found)
}

struct Walk<'a> {
    root: &'a Path,
    limits: PackageLimits,
    entries: u64,
    bytes: u64,
    found: Collected,
}

impl Walk<'_> {
    fn dir(&mut self, dir: &Path, prefix: &str) -> Result<(), InstallError> {
        for entry in std::fs::read_dir(dir).map_err(InstallError::io(dir))? {
            let entry = entry.map_err(InstallError::io(dir))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let shown = entry.path().display().to_string();
                return Err(InstallError::entry(shown, "expected a name in UTF-8"));
            };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(InstallError::io(entry.path()))?;
            if is_left_out(name) || (kind.is_dir() && is_data_dir(&entry.path())) {
                let slash = if kind.is_dir() { "/" } else { "" };
                self.found.left_out.push(format!("{path}{slash}"));
            } else if kind.is_dir() {
                self.count(&path)?;
                self.dir(&entry.path(), &format!("{path}/"))?;
            } else {
                self.file(&entry.path(), path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, path: String) -> Result<(), InstallError> {
        let Some(path) = checked(path.as_bytes())? else {
            return Err(InstallError::entry(path, "expected a file"));
        };
        self.count(&path)?;
        let about = std::fs::symlink_metadata(from).map_err(InstallError::io(from))?;
        if about.is_symlink() {
            let what = "expected files and directories alone, found a symbolic link";
            return Err(InstallError::entry(path, what));
        }
        if !about.is_file() {
            let what = "expected files and directories alone, found something else";
            return Err(InstallError::entry(path, what));
        }
        self.bytes = self.bytes.saturating_add(about.len());
        let (limit, what) = if about.len() > self.limits.file_bytes_max {
            (self.limits.file_bytes_max, "bytes in a file")
        } else if self.bytes > self.limits.total_bytes_max {
            (self.limits.total_bytes_max, "bytes in a package")
        } else {
            self.found.files.push(File {
                from: self.root.join(&path),
                path,
                is_executable: about.permissions().mode() & 0o111 != 0,
                bytes: about.len(),
            });
            return Ok(());
        };
        let entry = path;
        Err(InstallError::TooLarge { entry, what, limit })
    }

    fn count(&mut self, path: &str) -> Result<(), InstallError> {
        self.entries += 1;
        if self.entries <= self.limits.entries_max {
            return Ok(());
        }
        Err(InstallError::TooLarge {
            entry: path.to_owned(),
            what: "files and directories",
            limit: self.limits.entries_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_made_is_left_out_but_the_program_is_not() {
        let home = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        for path in [
            "plugin.toml",
            "src/main.rs",
            "target/release/bot",
            "target/release/other",
            "node_modules/a/index.js",
            "lib/__pycache__/a.pyc",
            ".env",
            "state.db",
            "trunkline.toml",
        ] {
            put(path);
        }
        let command = vec!["./target/release/bot".to_owned(), "--x".to_owned()];
        let found = collect(home.path(), &command, PackageLimits::default()).unwrap();
        let paths: Vec<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["plugin.toml", "src/main.rs", "target/release/bot"]);
        let left = [
            ".env",
            "lib/__pycache__/",
            "node_modules/",
            "state.db",
            "target/",
            "trunkline.toml",
        ];
        assert_eq!(found.left_out, left);
    }

    #[test]
    fn a_link_in_a_directory_is_refused() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", home.path().join("users")).unwrap();
        let error = collect(home.path(), &[], PackageLimits::default()).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
}
