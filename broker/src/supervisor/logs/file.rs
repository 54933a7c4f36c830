//! The rotated files of one instance; used by the writing thread only.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::line::LogLine;
use crate::instance::InstanceKey;

/// The file that is written now, and where its elders are.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
}

impl LogFile {
    /// Opens the file of an instance, which may exist.
    pub(super) fn open(directory: &Path, key: &InstanceKey) -> io::Result<Self> {
        let path = path(directory, key);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            path,
            file: BufWriter::new(file),
            bytes,
        })
    }

    /// Appends a line; rotates first where it would be too large.
    pub(super) fn append(&mut self, line: &[u8], bytes_max: u64, files_max: u32) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > bytes_max {
            self.rotate(files_max)?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Hands everything to the system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn rotate(&mut self, files_max: u32) -> io::Result<()> {
        self.file.flush()?;
        let elders = files_max.saturating_sub(1);
        for n in (1..elders).rev() {
            rename_if_there(&numbered(&self.path, n), &numbered(&self.path, n + 1))?;
        }
        if elders > 0 {
            rename_if_there(&self.path, &numbered(&self.path, 1))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&self.path)?;
        self.file = BufWriter::new(file);
        self.bytes = 0;
        Ok(())
    }
}

/// Reads the last lines of an instance, oldest first, over the bounds of its files.
pub(super) fn last_lines(
    directory: &Path,
    key: &InstanceKey,
    count: usize,
    files_max: u32,
) -> io::Result<Vec<LogLine>> {
    let newest = path(directory, key);
    let mut lines: Vec<LogLine> = Vec::new();
    for n in 0..files_max {
        if lines.len() >= count {
            break;
        }
        let path = if n == 0 {
            newest.clone()
        } else {
            numbered(&newest, n)
        };
        let mut older = match File::open(path) {
            Ok(file) => last_lines_of(file, count - lines.len())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        older.append(&mut lines);
        lines = older;
    }
    Ok(lines)
}

fn last_lines_of(mut file: File, count: usize) -> io::Result<Vec<LogLine>> {
    let length = file.metadata()?.len();
    let mut window = 64 * 1024;
    loop {
        let from = length.saturating_sub(window);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file)
            .take(length - from)
            .read_to_end(&mut bytes)?;
        let ends = memchr::memchr_iter(b'\n', &bytes).count();
        if from > 0 && ends <= count {
            window *= 4;
            continue;
        }
        // A line that a crash cut off is no line.
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter_map(|l| serde_json::from_slice(l).ok());
        let mut lines: Vec<LogLine> = lines.collect();
        lines.drain(..lines.len().saturating_sub(count));
        return Ok(lines);
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn path(directory: &Path, key: &InstanceKey) -> PathBuf {
    directory
        .join(safe(&key.plugin))
        .join(format!("{}.log", safe(&key.instance)))
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut numbered = path.as_os_str().to_owned();
    numbered.push(format!(".{n}"));
    numbered.into()
}

/// Names are checked long before; this only makes sure that no name is ever a path.
fn safe(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    name.chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::line::Stream;
    use super::*;

    fn line(n: usize) -> Vec<u8> {
        let line = LogLine {
            at: String::new(),
            stream: Stream::Stdout,
            level: "info".to_owned(),
            line: format!("line {n}"),
            fields: serde_json::Map::new(),
        };
        let mut bytes = serde_json::to_vec(&line).unwrap();
        bytes.push(b'\n');
        bytes
    }

    #[test]
    fn files_rotate_at_their_bound_and_the_last_lines_span_them() {
        let directory = tempfile::tempdir().unwrap();
        let key = InstanceKey::new("echo", "one");
        let mut file = LogFile::open(directory.path(), &key).unwrap();
        for n in 0..1_000 {
            file.append(&line(n), 1_000, 3).unwrap();
        }
        file.flush().unwrap();
        let mut names: Vec<_> = std::fs::read_dir(directory.path().join("echo"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    entry.metadata().unwrap().len(),
                )
            })
            .collect();
        names.sort();
        assert_eq!(
            names
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>(),
            ["one.log", "one.log.1", "one.log.2"]
        );
        assert!(names.iter().all(|(_, bytes)| *bytes <= 1_000));
        let lines = last_lines(directory.path(), &key, 20, 3).unwrap();
        let texts: Vec<_> = lines.iter().map(|line| line.line.clone()).collect();
        assert_eq!(
            texts,
            (980..1_000)
                .map(|n| format!("line {n}"))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_name_is_never_a_path() {
        let key = InstanceKey::new("../../etc", "a/b");
        assert_eq!(
            path(Path::new("/logs"), &key),
            Path::new("/logs/______etc/a_b.log")
        );
    }
}
