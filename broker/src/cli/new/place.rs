//! The directory that is written to: what stands in the way, and the writing.
//!
//! A file is written where there is none, or where the one that is there is as an earlier `new` left it. What an earlier
//! `new` left and this one does not have is removed, unless any of it was edited: then nothing is written. All is looked at
//! before anything is written. No symbolic link is followed below the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use trunkline_templates::File;

use super::record::{RECORD, Record};
use crate::cli::failure::{EXIT_NO, Failure};

/// What a directory may hold that no scaffold cares for.
const NOT_IN_THE_WAY: [&str; 1] = [".git"];
/// So many are named of what is in the way.
const NAMED_MAX: usize = 10;

/// A directory in which nothing is in the way.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    /// Files that stay, as they are what is to be written.
    same: BTreeSet<String>,
    /// Files of an earlier scaffold, unchanged since, that are written over.
    owned: BTreeSet<String>,
    /// Files of an earlier scaffold, unchanged since, that this one does not have.
    left_over: BTreeSet<String>,
}

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The scaffold's files.
    pub(super) files: Vec<String>,
    /// What an earlier scaffold had left.
    pub(super) removed: Vec<String>,
}

/// What is at a path.
enum Found {
    Nothing,
    File(Vec<u8>),
    Dir,
    Other,
}

impl Place {
    /// Looks what is there.
    pub(super) fn look(dir: &Path, files: &BTreeMap<String, File>) -> Result<Self, Failure> {
        let mut place = Self {
            dir: dir.to_owned(),
            same: BTreeSet::new(),
            owned: BTreeSet::new(),
            left_over: BTreeSet::new(),
        };
        match fs::metadata(dir) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(in_the_way(dir, &BTreeSet::from([".".to_owned()]))),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(place),
            Err(error) => return Err(failed("look at", dir, &error)),
        }
        let record = match place.found(RECORD)? {
            Found::File(bytes) => Record::read(&bytes),
            _ => None,
        };
        let mut way = BTreeSet::new();
        if record.is_none() {
            place.strangers(files, &mut way)?;
        }
        for (path, file) in files {
            if let Some(parent) = place.parent_in_the_way(path)? {
                way.insert(parent);
                continue;
            }
            match place.found(path)? {
                Found::Nothing => {}
                Found::File(bytes) if bytes == file.bytes => {
                    place.same.insert(path.clone());
                }
                Found::File(bytes) if record.as_ref().is_some_and(|r| r.owns(path, &bytes)) => {
                    place.owned.insert(path.clone());
                }
                _ => {
                    way.insert(path.clone());
                }
            }
        }
        for path in record.iter().flat_map(|record| record.files.keys()) {
            if files.contains_key(path) || place.parent_in_the_way(path)?.is_some() {
                continue;
            }
            if let Found::File(bytes) = place.found(path)? {
                let is_ours = record.as_ref().is_some_and(|r| r.owns(path, &bytes));
                // Somebody works with the earlier scaffold: its other files are needed beside this one.
                let to = if is_ours {
                    &mut place.left_over
                } else {
                    &mut way
                };
                to.insert(path.clone());
            }
        }
        if way.is_empty() {
            Ok(place)
        } else {
            Err(in_the_way(dir, &way))
        }
    }

    /// Without a record, whatever is there is somebody's.
    fn strangers(
        &self,
        files: &BTreeMap<String, File>,
        way: &mut BTreeSet<String>,
    ) -> Result<(), Failure> {
        let entries = fs::read_dir(&self.dir).map_err(|error| failed("read", &self.dir, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed("read", &self.dir, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let below = format!("{name}/");
            // These are looked at one by one.
            let is_ours = files
                .keys()
                .any(|path| *path == name || path.starts_with(&below));
            if !is_ours && !NOT_IN_THE_WAY.contains(&name.as_str()) {
                way.insert(name);
            }
        }
        Ok(())
    }

    fn found(&self, path: &str) -> Result<Found, Failure> {
        let path = self.dir.join(path);
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(failed("look at", &path, &error)),
        };
        if found.is_dir() {
            return Ok(Found::Dir);
        }
        if !found.is_file() {
            return Ok(Found::Other);
        }
        let bytes = fs::read(&path).map_err(|error| failed("read", &path, &error))?;
        Ok(Found::File(bytes))
    }

    /// Finds what stands where a directory has to be.
    fn parent_in_the_way(&self, path: &str) -> Result<Option<String>, Failure> {
        for (at, _) in path.match_indices('/') {
            if matches!(self.found(&path[..at])?, Found::File(_) | Found::Other) {
                return Ok(Some(path[..at].to_owned()));
            }
        }
        Ok(None)
    }

    /// Writes the files, and at last what was written.
    pub(super) fn write(
        &self,
        files: &BTreeMap<String, File>,
        record: &Record,
    ) -> Result<Written, Failure> {
        fs::create_dir_all(&self.dir).map_err(|error| failed("make", &self.dir, &error))?;
        for (path, file) in files.iter().filter(|(path, _)| !self.same.contains(*path)) {
            let mode = if file.is_executable { 0o777 } else { 0o666 };
            self.put(path, &file.bytes, mode, self.owned.contains(path))?;
        }
        for path in &self.left_over {
            let path = self.dir.join(path);
            fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
        }
        self.put(RECORD, &record.to_bytes(), 0o666, true)?;
        Ok(Written {
            files: files.keys().cloned().collect(),
            removed: self.left_over.iter().cloned().collect(),
        })
    }

    /// Writes one file whole or not at all; what came there meanwhile stays, unless it is ours.
    fn put(&self, path: &str, bytes: &[u8], mode: u32, over: bool) -> Result<(), Failure> {
        let path = self.dir.join(path);
        let parent = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).map_err(|error| failed("make", parent, &error))?;
        let new = parent.join(".trunkline-new");
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&new)
            .and_then(|mut file| file.write_all(bytes));
        let flags = if over {
            RenameFlags::empty()
        } else {
            RenameFlags::NOREPLACE
        };
        let placed = written
            .and_then(|()| renameat_with(CWD, &new, CWD, &path, flags).map_err(io::Error::from));
        placed.map_err(|error| {
            let _gone_or_left = fs::remove_file(&new);
            failed("write", &path, &error)
        })
    }
}

fn in_the_way(dir: &Path, way: &BTreeSet<String>) -> Failure {
    let mut named: Vec<_> = way.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = format!("{} more", way.len().saturating_sub(NAMED_MAX));
    if way.len() > NAMED_MAX {
        named.push(&more);
    }
    let text = format!(
        "{}: expected nothing that is somebody's, found {}",
        dir.display(),
        named.join(", ")
    );
    Failure::new("in_the_way", EXIT_NO, text)
        .hint("name another directory with --dir, or move them away; nothing was written")
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new("io", 74, format!("{what} {}: {error}", path.display()))
}
