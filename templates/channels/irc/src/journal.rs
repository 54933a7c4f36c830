//! The audit file of an instance: one JSON line for each line that counts and each attempt to send.
//!
//! A line is one write to a file opened for appending, so a kill tears none and a later process of
//! the same instance goes on behind it. Several instances may share one file.

use std::fs::{File, OpenOptions};
use std::io::Write;

use serde::Serialize;
use trunkline::Code;
use trunkline::{Bytes, Error};

/// One line of the file.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Record<'a> {
    /// A line that came in was acknowledged by the broker.
    Counted {
        /// Id of its event.
        id: &'a str,
    },
    /// A message is about to be written to the server.
    Attempt {
        /// Id of its event.
        id: &'a str,
        /// Number of the attempt.
        attempt: u32,
        /// The broker said that it may have been sent before.
        redelivered: bool,
    },
    /// The server has taken a message.
    Taken {
        /// Id of its event.
        id: &'a str,
        /// Number of the attempt.
        attempt: u32,
    },
}

/// Is the audit file, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    file: Option<File>,
}

impl Journal {
    /// Opens the file, if one is named.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] when it cannot be appended to.
    pub(crate) fn open(path: Option<&str>) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.map(|file| Self { file: Some(file) }).map_err(|error| {
            let text = format!("expected journal to be a writable file, found {path:?}: {error}");
            Error::new(Code::ConfigInvalid, text)
        })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// What the write failed with.
    pub(crate) fn write(&self, record: &Record<'_>) -> Result<(), Error> {
        let Some(mut file) = self.file.as_ref() else {
            return Ok(());
        };
        let mut line = Bytes::encode(record)?.as_str().to_owned();
        line.push('\n');
        file.write_all(line.as_bytes()).map_err(|error| {
            Error::new(
                Code::Internal,
                format!("the journal cannot be written: {error}"),
            )
        })
    }
}
