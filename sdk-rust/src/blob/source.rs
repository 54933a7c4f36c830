//! What is put: bytes, a file, or anything that can be read once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use trunkline_contract::error::{Code, Error};

/// Bytes in memory at once, whatever the size of the content.
const CHUNK_BYTES: usize = 256 * 1024;

/// Is content to put: bytes, a path, or a reader.
///
/// ```
/// use trunkline::BlobSource;
///
/// let _ = BlobSource::from(b"GIF89a".to_vec());
/// let _ = BlobSource::from(std::path::Path::new("photo.jpg"));
/// let _ = BlobSource::reader(&b"GIF89a"[..], 6);
/// ```
#[derive(Clone)]
pub struct BlobSource(Kind);

#[derive(Clone)]
enum Kind {
    Bytes(Arc<[u8]>),
    Path(PathBuf),
    Reader(Arc<std::sync::Mutex<Option<Box<dyn Read + Send>>>>, u64),
}

impl BlobSource {
    /// Takes content from a reader, which must give exactly so many bytes. It is read once, so what is
    /// interrupted by a restart of the broker fails.
    pub fn reader(reader: impl Read + Send + 'static, bytes: u64) -> Self {
        let reader: Box<dyn Read + Send> = Box::new(reader);
        Self(Kind::Reader(
            Arc::new(std::sync::Mutex::new(Some(reader))),
            bytes,
        ))
    }

    /// How many bytes it has.
    pub(super) fn bytes(&self) -> Result<u64, Error> {
        match &self.0 {
            Kind::Bytes(bytes) => Ok(bytes.len() as u64),
            Kind::Reader(_, bytes) => Ok(*bytes),
            Kind::Path(path) => {
                let found = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
                if found.is_file() {
                    return Ok(found.len());
                }
                let text = format!("expected a file at {}, found none", path.display());
                Err(Error::new(Code::InvalidArguments, text))
            }
        }
    }

    /// Whether it can be read again.
    pub(super) fn is_repeatable(&self) -> bool {
        !matches!(self.0, Kind::Reader(..))
    }

    /// Opens it from its beginning.
    pub(super) fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        match &self.0 {
            Kind::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            Kind::Path(path) => {
                let file = File::open(path).map_err(|error| unreadable(path, &error))?;
                Ok(Box::new(file))
            }
            Kind::Reader(reader, _) => {
                let reader = reader
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .take();
                reader.ok_or_else(|| {
                    let text = "the reader was read already, and cannot be read again";
                    Error::new(Code::OutcomeUnknown, text)
                })
            }
        }
    }
}

impl From<Vec<u8>> for BlobSource {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }
}

impl From<&[u8]> for BlobSource {
    fn from(bytes: &[u8]) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }
}

impl<const N: usize> From<&[u8; N]> for BlobSource {
    fn from(bytes: &[u8; N]) -> Self {
        Self(Kind::Bytes(bytes[..].into()))
    }
}

impl From<&Path> for BlobSource {
    fn from(path: &Path) -> Self {
        Self(Kind::Path(path.to_owned()))
    }
}

impl From<PathBuf> for BlobSource {
    fn from(path: PathBuf) -> Self {
        Self(Kind::Path(path))
    }
}

impl From<&PathBuf> for BlobSource {
    fn from(path: &PathBuf) -> Self {
        Self(Kind::Path(path.clone()))
    }
}

/// Copies piece by piece; gives the number of bytes and their SHA-256.
pub(super) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<(u64, String)> {
    let mut sha256 = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sha256.update(&chunk[..count]);
        to.write_all(&chunk[..count])?;
        bytes += count as u64;
    }
    Ok((bytes, hex(&sha256.finalize())))
}

pub(super) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(digest.len() * 2);
    for byte in digest {
        write!(text, "{byte:02x}").expect("a String takes every write");
    }
    text
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Error {
    let text = format!("expected a readable file at {}: {error}", path.display());
    Error::new(Code::InvalidArguments, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_knows_its_size_and_hash() {
        let mut to = Vec::new();
        let (bytes, sha256) = copy(&mut &b"abc"[..], &mut to).unwrap();
        assert_eq!((bytes, &to[..]), (3, &b"abc"[..]));
        assert_eq!(
            sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_reader_is_read_once_and_bytes_again_and_again() {
        let reader = BlobSource::reader(&b"abc"[..], 3);
        assert!(reader.open().is_ok() && reader.open().is_err());
        let bytes = BlobSource::from(b"abc");
        assert!(bytes.open().is_ok() && bytes.open().is_ok());
    }
}
