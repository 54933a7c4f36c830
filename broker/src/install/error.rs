//! Why a package is not packed, taken in, or started.

use std::io;
use std::path::{Path, PathBuf};

use trunkline_contract::error::{Code, Error};
use trunkline_contract::toml::Diagnostic;

use super::lock::{LOCK, PACKAGES};

/// Says why a package was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no gzip, or no tar within.
    #[error("{} is no package: expected a tar archive within gzip: {source}", path.display())]
    NoArchive {
        /// The archive.
        path: PathBuf,
        /// What was found.
        source: io::Error,
    },
    /// An entry or file that no package may hold.
    #[error("{entry}: {what}")]
    Entry {
        /// Its path, as it is written.
        entry: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is too large for one of the limits.
    #[error("expected at most {limit} {what}, found more, at {entry}")]
    TooLarge {
        /// Where the limit was met.
        entry: String,
        /// Which limit.
        what: &'static str,
        /// How much it allows.
        limit: u64,
    },
    /// It has no manifest at its root.
    #[error("{} has no plugin.toml at its root", path.display())]
    NoManifest {
        /// The directory or archive.
        path: PathBuf,
    },
    /// Its manifest is not valid.
    #[error("the manifest is not valid:{}", lines(found))]
    Manifest {
        /// Everything that is wrong.
        found: Vec<Diagnostic>,
    },
    /// A config beside the manifest cannot be read, so that nobody knows which files it names are secret.
    #[error("{found}; which files are the operator's own is not known")]
    Config {
        /// What is wrong with it.
        found: Box<Diagnostic>,
    },
    /// It is another plugin than the one that was named.
    #[error("expected a package of {wanted}, found one of {found}")]
    OtherPlugin {
        /// Which was named.
        wanted: String,
        /// Which it is.
        found: String,
    },
    /// Another tree of this plugin is installed.
    #[error("{id} {version} is installed, and its files differ from these")]
    OtherTree {
        /// The plugin.
        id: String,
        /// The version that is installed.
        version: String,
    },
    /// It is not installed.
    #[error("no package of {id} is installed")]
    NotInstalled {
        /// The plugin.
        id: String,
    },
    /// Its files are not those that were added.
    #[error("package_changed: {file} {how}")]
    Changed {
        /// The file, from the root of the package.
        file: String,
        /// In what it differs.
        how: &'static str,
    },
    /// Another command is at work on it.
    #[error("another command changes the package of {id} at present")]
    Busy {
        /// The plugin.
        id: String,
    },
    /// The lock cannot be understood.
    #[error("{} is not readable: {why}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl InstallError {
    pub(super) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    pub(super) fn entry(entry: impl Into<String>, what: &'static str) -> Self {
        let entry = entry.into();
        Self::Entry { entry, what }
    }

    /// Names it for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::NoArchive { .. }
            | Self::Entry { .. }
            | Self::TooLarge { .. }
            | Self::OtherPlugin { .. }
            | Self::NoManifest { .. } => "package_invalid",
            Self::Manifest { .. } | Self::Config { .. } => "config_invalid",
            Self::OtherTree { .. } => "package_exists",
            Self::NotInstalled { .. } => "not_found",
            Self::Changed { .. } => "package_changed",
            Self::Busy { .. } => "instance_busy",
            Self::Lock { .. } => "lock_invalid",
        }
    }

    /// Gives the exit status of a command that fails with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } => 74,
            Self::Manifest { .. }
            | Self::Config { .. }
            | Self::Lock { .. }
            | Self::Changed { .. } => 78,
            Self::NotInstalled { .. } => 1,
            Self::Busy { .. } => Code::InstanceBusy.exit_code(),
            _ => 65,
        }
    }

    /// Says it on a link.
    pub fn to_error(&self) -> Error {
        let code = match self {
            Self::NotInstalled { .. } => Code::NotFound,
            Self::Busy { .. } => Code::InstanceBusy,
            Self::Io { .. } => Code::Unavailable,
            _ => Code::ConfigInvalid,
        };
        let hint = self.hint().map(|hint| format!("; hint: {hint}"));
        Error::new(code, format!("{self}{}", hint.unwrap_or_default()))
    }

    /// Says what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoArchive { .. } => {
                "make one with: trunkline plugins pack <directory>".to_owned()
            }
            Self::NoManifest { .. } => {
                "a package has its manifest at the root, not in a directory of its own".to_owned()
            }
            Self::Config { .. } => "mend it, or move it away".to_owned(),
            Self::OtherTree { id, .. } => {
                format!("trunkline plugins upgrade {id} --from <directory or archive>")
            }
            Self::NotInstalled { .. } => "trunkline plugins add <directory or archive>".to_owned(),
            Self::Changed { .. } => {
                "trunkline plugins add <the same directory or archive> puts it right; \
                 plugins upgrade --from takes another"
                    .to_owned()
            }
            Self::Lock { path, .. } if path.ends_with(LOCK) => format!(
                "put a copy of it back, or remove it and add each package again, from where it came or \
                 from {}/<plugin>/<version>-<hash>/tree",
                path.with_file_name(PACKAGES).display()
            ),
            Self::Busy { .. } => "try again when it has ended".to_owned(),
            _ => return None,
        })
    }
}

fn lines(found: &[Diagnostic]) -> String {
    let lines: Vec<String> = found.iter().map(|one| format!("\n  {one}")).collect();
    lines.concat()
}
