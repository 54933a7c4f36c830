//! An archive as files, within limits.
//!
//! Files and directories alone are taken: a link, a device, a pipe, an absolute path, one with `..`, a path that is
//! there twice, and whatever is over a limit refuses the whole archive. The size of what is unpacked is watched while
//! it is read, so that an archive that grows without end is left early.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::GzDecoder;
use tar::EntryType;

use super::error::InstallError;
use super::limits::PackageLimits;
use super::path::checked;
use super::place::Tree;

/// Bytes of headers that an entry may have beside its content.
const HEADER_BYTES_MAX: u64 = 8 * 1024;

/// Writes the files of an archive into the new directory `into`.
///
/// # Errors
/// [`InstallError`] says which entry is refused; what was written stays for the caller to remove.
pub fn unpack(archive: &Path, into: PathBuf, limits: PackageLimits) -> Result<(), InstallError> {
    let file = File::open(archive).map_err(InstallError::io(archive))?;
    let watch = Watch::default();
    let packed = Counted {
        inner: file,
        count: watch.packed.clone(),
    };
    let bounded = Bounded {
        inner: GzDecoder::new(BufReader::new(packed)),
        watch: watch.clone(),
        limits,
    };
    let mut tree = Tree::begin(into, limits)?;
    let mut tar = tar::Archive::new(bounded);
    let broken = |source| InstallError::NoArchive {
        path: archive.to_owned(),
        source,
    };
    let mut last = String::new();
    let done = (|| {
        for entry in tar.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let kind = entry.header().entry_type();
            let name = checked(&entry.path_bytes());
            if kind == EntryType::XGlobalHeader {
                continue;
            }
            let Some(path) = name? else {
                if kind == EntryType::Directory {
                    continue;
                }
                return Err(InstallError::entry("./", "expected a path, found none"));
            };
            last.clone_from(&path);
            match kind {
                EntryType::Directory => tree.dir(&path)?,
                EntryType::Regular => {
                    let mode = entry.header().mode().map_err(broken)?;
                    let bytes = entry.size();
                    tree.file(&path, bytes, mode & 0o111 != 0, &mut entry)?;
                }
                EntryType::Symlink | EntryType::Link => {
                    let what = "expected files and directories alone, found a link";
                    return Err(InstallError::entry(path, what));
                }
                _ => {
                    let what = "expected files and directories alone, found a device or the like";
                    return Err(InstallError::entry(path, what));
                }
            }
        }
        Ok(())
    })();
    match (watch.met.get(), done) {
        // Whatever the error was called on its way, this is why.
        (Some((what, limit)), Err(_)) => Err(InstallError::TooLarge {
            entry: if last.is_empty() {
                archive.display().to_string()
            } else {
                last
            },
            what,
            limit,
        }),
        // Compressed data that is broken within a file.
        (_, Err(InstallError::Io { source, .. })) if is_broken(&source) => Err(broken(source)),
        (_, Err(error)) => Err(error),
        (_, Ok(())) => tree.finish(),
    }
}

fn is_broken(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// What is known while an archive is read.
#[derive(Debug, Clone, Default)]
struct Watch {
    /// Bytes of the archive that were read.
    packed: Rc<Cell<u64>>,
    /// Bytes that became of them.
    unpacked: Rc<Cell<u64>>,
    /// The limit that was met, with what it counts.
    met: Rc<Cell<Option<(&'static str, u64)>>>,
}

struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

struct Bounded<R> {
    inner: R,
    watch: Watch,
    limits: PackageLimits,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let limits = &self.limits;
        let all = self.watch.unpacked.get() + count as u64;
        self.watch.unpacked.set(all);
        let headers = limits.entries_max.saturating_mul(HEADER_BYTES_MAX);
        let most = limits.total_bytes_max.saturating_add(headers);
        let grown = self.watch.packed.get().saturating_mul(limits.ratio_max);
        let met = if all > most {
            Some(("bytes in a package", limits.total_bytes_max))
        } else if all > limits.ratio_free_bytes && all > grown {
            Some(("bytes of each byte of the archive", limits.ratio_max))
        } else {
            None
        };
        if met.is_some() {
            self.watch.met.set(met);
            return Err(io::Error::other("over a limit"));
        }
        Ok(count)
    }
}
