//! A package as one archive: tar within gzip, the same bytes for the same files.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};

use super::collect::File;
use super::error::InstallError;

/// Writes an archive of files: by name, without owners and times.
///
/// # Errors
/// A file cannot be read, or nothing can be written to `out`.
pub fn pack(files: &[File], out: impl Write) -> Result<(), InstallError> {
    // The byte for the operating system is always that of Unix.
    let gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(3)
        .write(out, Compression::default());
    let mut tar = tar::Builder::new(gzip);
    for file in files {
        let content = std::fs::File::open(&file.from).map_err(InstallError::io(&file.from))?;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(file.bytes);
        header.set_mode(if file.is_executable { 0o755 } else { 0o644 });
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        let content = Exactly {
            inner: content,
            left: file.bytes,
        };
        tar.append_data(&mut header, &file.path, content)
            .map_err(InstallError::io(&file.from))?;
    }
    let gzip = tar.into_inner().map_err(InstallError::io("the archive"))?;
    let mut out = gzip.finish().map_err(InstallError::io("the archive"))?;
    out.flush().map_err(InstallError::io("the archive"))
}

/// Reads as many bytes as were announced; a file that is shorter by now is an error.
struct Exactly {
    inner: std::fs::File,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}
