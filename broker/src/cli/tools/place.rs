//! The file that a client is written to. What was not generated is never written over.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use trunkline_contract::typed::CLIENT_MARK;

use crate::cli::failure::{EXIT_NO, Failure};

/// What stands at the path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// This very text.
    Same,
    /// A client that was generated from other tools.
    Other,
}

/// Looks what is there.
pub(super) fn look(path: &Path, text: &str) -> Result<Found, Failure> {
    let there = match fs::read(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(unreadable(path, &error)),
    };
    if there == text.as_bytes() {
        return Ok(Found::Same);
    }
    let first = there
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if String::from_utf8_lossy(first).contains(CLIENT_MARK) {
        return Ok(Found::Other);
    }
    let text = format!("{} was not generated, and is left as it is", path.display());
    Err(Failure::new("in_the_way", EXIT_NO, text).hint("give another --output, or move it away"))
}

/// Puts the text there in one step; the file keeps its rights.
pub(super) fn put(path: &Path, text: &str) -> Result<(), Failure> {
    // The file itself, where the path is a link to it.
    let to = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut new = to.clone().into_os_string();
    new.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(new);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&new)
        .and_then(|mut file| {
            if let Ok(there) = fs::metadata(&to) {
                file.set_permissions(there.permissions())?;
            }
            file.write_all(text.as_bytes())
        })
        .and_then(|()| fs::rename(&new, &to));
    written.map_err(|error| {
        let _best_effort = fs::remove_file(&new);
        let text = format!("{} cannot be written: {error}", path.display());
        Failure::new("output", 74, text)
            .hint("give an --output in a directory that takes new files")
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let text = format!("{} cannot be read: {error}", path.display());
    Failure::new("output", 74, text).hint("give the path of a file as --output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_generated_is_written_over() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("stripe.py");
        let text = format!("# {CLIENT_MARK}; x\n1\n");
        assert_eq!(look(&path, &text).unwrap(), Found::Nothing);
        put(&path, &text).unwrap();
        assert_eq!(look(&path, &text).unwrap(), Found::Same);
        assert_eq!(look(&path, &text.replace('1', "2")).unwrap(), Found::Other);
        fs::write(&path, format!("mine\n# {CLIENT_MARK}\n")).unwrap();
        let refused = look(&path, &text).unwrap_err();
        assert_eq!(refused.exit(), EXIT_NO);
        assert!(
            refused.to_string().starts_with("error: in_the_way: "),
            "{refused}"
        );
        assert_eq!(
            fs::read_dir(home.path()).unwrap().count(),
            1,
            "nothing is left over"
        );
    }
}
