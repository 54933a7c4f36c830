//! Which files of a plugin count, and whether one of them changed.
//!
//! The tree is looked through, and not subscribed to: that sees the same on every file system, in
//! containers and on network mounts, and costs a few calls per file. What a plugin or its tools write
//! themselves does not count, or each new process would be followed by another one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Files that are looked at; beyond these a change is not seen.
const FILES_MAX: usize = 20_000;
/// Directories that hold nothing that was written by hand.
const DIRS: &[&str] = &[
    "target",
    "node_modules",
    "__pycache__",
    "venv",
    "site-packages",
];
/// Directories that a build writes to.
const OUTPUTS: &[&str] = &["dist", "build", "out"];
/// Endings of files that programs write as they run.
const ENDINGS: &[&str] = &[
    "pyc", "log", "pid", "sock", "db", "db-wal", "db-shm", "sqlite", "jsonl", "swp", "tmp",
];

/// The files of a tree with their size and time.
pub(super) type Snapshot = BTreeMap<PathBuf, (u64, u128)>;

/// Looks through a tree; `is_built` says that a command of ours writes to its directories of outputs.
pub(super) fn snapshot(root: &Path, is_built: bool) -> Snapshot {
    let mut found = Snapshot::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        // One that is gone meanwhile has no files.
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                let is_output = is_built && OUTPUTS.contains(&name);
                if !name.starts_with('.') && !DIRS.contains(&name) && !is_output {
                    dirs.push(entry.path());
                }
            } else if counts(name) && found.len() < FILES_MAX {
                let Ok(about) = entry.metadata() else {
                    continue;
                };
                let time = about.modified().ok();
                let time = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let time = time.unwrap_or_default().as_nanos();
                found.insert(entry.path(), (about.len(), time));
            }
        }
    }
    found
}

fn counts(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    !name.starts_with('.') && !name.ends_with('~') && !ENDINGS.contains(&ending)
}

/// Names a file that is new, gone or another; none when nothing changed.
pub(super) fn changed<'a>(before: &'a Snapshot, after: &'a Snapshot) -> Option<&'a Path> {
    changes(before, after).next()
}

/// What was seen of a plugin's files, and what its builds write among them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) files: Snapshot,
    /// What changed while the last two builds ran.
    builds: [BTreeSet<PathBuf>; 2],
}

impl Seen {
    pub(super) fn of(files: Snapshot) -> Self {
        Self {
            files,
            ..Self::default()
        }
    }

    /// Notes what changed since the first build began. Files that were not there are taken for what it makes, such as a
    /// Cargo.lock; a source that was saved meanwhile has changed.
    pub(super) fn note_first_build(&mut self, after: Snapshot) {
        self.note_build(&after);
        for (path, about) in after {
            self.files.entry(path).or_insert(about);
        }
    }

    /// Notes what changed since the build began.
    pub(super) fn note_build(&mut self, after: &Snapshot) {
        self.builds.swap(0, 1);
        self.builds[1] = changes(&self.files, after).map(Path::to_owned).collect();
    }

    /// Says whether only such files changed that both of the last builds wrote: else each build would be followed by
    /// another one. A source that is saved during a build is seen all the same.
    pub(super) fn is_only_of_builds(&self, now: &Snapshot) -> bool {
        let [before, last] = &self.builds;
        let mut changes = changes(&self.files, now);
        changes.all(|path| before.contains(path) && last.contains(path))
    }
}

/// The files that are new, gone or others.
fn changes<'a>(before: &'a Snapshot, after: &'a Snapshot) -> impl Iterator<Item = &'a Path> {
    let new = after
        .iter()
        .filter(|(path, about)| before.get(*path) != Some(about));
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    new.map(|(path, _)| path).chain(gone).map(PathBuf::as_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves LN51 (what is seen): code, the manifest, new files and files that are gone; not what tools write.
    #[test]
    fn code_and_new_files_count_and_what_tools_write_does_not() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("echo.py", "one");
        let before = snapshot(dir, true);
        for name in [
            ".git/HEAD",
            ".venv/lib/a.py",
            "__pycache__/echo.pyc",
            "node_modules/x/index.js",
            "target/debug/echo",
            "dist/echo.js",
            ".echo.py.swp",
            "echo.py~",
            "run.log",
        ] {
            write(name, "x");
        }
        assert_eq!(changed(&before, &snapshot(dir, true)), None);
        write("lib/new.py", "x");
        let after = snapshot(dir, true);
        assert_eq!(changed(&before, &after), Some(&*dir.join("lib/new.py")));
        write("echo.py", "other");
        let later = snapshot(dir, true);
        assert_eq!(changed(&after, &later), Some(&*dir.join("echo.py")));
        std::fs::remove_file(dir.join("lib/new.py")).unwrap();
        let last = snapshot(dir, true);
        assert_eq!(changed(&later, &last), Some(&*dir.join("lib/new.py")));
        assert!(snapshot(dir, false).contains_key(&dir.join("dist/echo.js")));
    }

    #[test]
    fn what_is_saved_during_the_first_build_is_seen() {
        let at = |pairs: &[(&str, u64)]| -> Snapshot {
            let files = pairs.iter();
            files
                .map(|(name, time)| (PathBuf::from(name), (*time, 0)))
                .collect()
        };
        let mut seen = Seen::of(at(&[("src.rs", 1), ("lib.rs", 1)]));
        let after = at(&[("src.rs", 2), ("lib.rs", 1), ("Cargo.lock", 1)]);
        seen.note_first_build(after.clone());
        assert_eq!(changed(&seen.files, &after), Some(Path::new("src.rs")));
        assert!(!seen.is_only_of_builds(&after));
        let untouched = at(&[("src.rs", 1), ("lib.rs", 1), ("Cargo.lock", 1)]);
        assert_eq!(changed(&seen.files, &untouched), None);
    }

    #[test]
    fn what_each_build_writes_starts_no_other_build() {
        let at = |pairs: &[(&str, u64)]| -> Snapshot {
            let files = pairs.iter();
            files
                .map(|(name, time)| (PathBuf::from(name), (*time, 0)))
                .collect()
        };
        let mut seen = Seen::of(at(&[("src.ts", 1)]));
        seen.note_build(&at(&[("src.ts", 1), ("lib.js", 1)]));
        assert!(
            !seen.is_only_of_builds(&at(&[("src.ts", 1), ("lib.js", 1)])),
            "one build says little"
        );
        seen.files = at(&[("src.ts", 1), ("lib.js", 1)]);
        seen.note_build(&at(&[("src.ts", 1), ("lib.js", 2)]));
        assert!(seen.is_only_of_builds(&at(&[("src.ts", 1), ("lib.js", 2)])));
        assert!(
            !seen.is_only_of_builds(&at(&[("src.ts", 2), ("lib.js", 2)])),
            "a source, too"
        );
    }
}
