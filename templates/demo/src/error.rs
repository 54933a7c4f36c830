//! Why the demo did not work.

use std::io;

/// Says what went wrong, and where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// A language is not installed.
    #[error("{program} was not found in PATH, and the plugin in {language} needs it")]
    NoProgram {
        program: &'static str,
        language: &'static str,
    },
    /// The Python and the Node package cannot be had.
    #[error("the packages of Python and Node could not be prepared: {0}")]
    Packages(String),
    /// The directory given is in use.
    #[error("expected an empty directory, found files in {0}")]
    NotEmpty(String),
    /// The daemon did not start.
    #[error("the daemon ended before it was ready ({status}):\n{stderr}")]
    Daemon { status: String, stderr: String },
    /// A plugin did not start.
    #[error("the plugin {plugin} is {state}: {reason}")]
    Plugin {
        plugin: String,
        state: String,
        reason: String,
    },
    /// Something took too long.
    #[error("{what} within {limit_ms} ms")]
    Late { what: String, limit_ms: u64 },
    /// The link to the daemon failed.
    #[error("{what}: {source}")]
    Client {
        what: &'static str,
        source: trunkline::Error,
    },
    /// The link to the daemon ended.
    #[error("the link to the daemon ended")]
    Ended,
    /// The system refused something.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl DemoError {
    /// Names what was tried when the system refused it.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Names what was tried when the daemon refused it.
    pub(crate) fn client(what: &'static str) -> impl FnOnce(trunkline::Error) -> Self {
        move |source| Self::Client { what, source }
    }

    /// Says what to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoProgram { program, .. } => Some(format!(
                "install {program} (Python 3.11 or newer, Node 20 or newer), then run the demo again"
            )),
            Self::Packages(_) => Some(
                "run `tests/sdk/prepare` to see why; pip needs the package index, or PIP_INDEX_URL, \
                 to fetch maturin once"
                    .to_owned(),
            ),
            Self::NotEmpty(_) => Some("name a directory that does not exist yet".to_owned()),
            Self::Late { .. } | Self::Plugin { .. } => {
                Some("run with `--dir DIR` to keep the store and the plugins' logs".to_owned())
            }
            _ => None,
        }
    }
}
