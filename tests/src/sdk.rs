//! The SDKs of the three languages as a plugin's author has them: the crate, the wheel, the npm package.
//!
//! The wheel and the package are built and installed by `tests/sdk/prepare`, into `target/sdk/venv` and
//! `target/sdk/node`; what is missing or older than its sources fails with that command, and is never built here.
//! With `TRUNKLINE_STALE_SDK` in the environment what is older is taken all the same.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::tool::{profile_dir, target_dir};

/// A language that has an SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Language {
    Rust,
    Python,
    Node,
}

/// What an SDK is made of, and the stamp of its installation.
struct Installed {
    stamp: &'static str,
    program: &'static str,
    sources: &'static [&'static str],
}

const PYTHON: Installed = Installed {
    stamp: "python.stamp",
    program: "venv/bin/python",
    sources: &["sdk-rust/src", "sdk-python/src", "sdk-python/python"],
};
const NODE: Installed = Installed {
    stamp: "node.stamp",
    program: "node/node_modules/trunkline/package.json",
    sources: &["sdk-rust/src", "sdk-node/src", "sdk-node/lib"],
};

impl Language {
    /// All of them, the one that the others are compared with first.
    pub const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::Node];

    /// Its name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    /// Gives the command that runs a subject of the tests, to be run in `dir`: the program `<stem>_plugin` of
    /// this package, `tests/sdk/<stem>.py` or `tests/sdk/<stem>.mjs`.
    ///
    /// # Panics
    /// When the SDK is not installed, is older than its sources, or `dir` cannot be written.
    pub fn subject(self, stem: &str, dir: &Path) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        let source =
            |end: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("sdk/{stem}.{end}"));
        match self {
            Self::Rust => {
                let programs = profile_dir().expect("tests run from a target directory");
                vec![text(programs.join(format!("{stem}_plugin")))]
            }
            Self::Python => {
                let python = PYTHON.installed();
                // Beside nothing else, so that it imports what is installed.
                let script = dir.join(format!("{stem}.py"));
                std::fs::copy(source("py"), &script).expect("the directory can be written");
                vec![text(python), text(script)]
            }
            Self::Node => {
                link_modules(dir);
                let script = dir.join(format!("{stem}.mjs"));
                std::fs::copy(source("mjs"), &script).expect("the directory can be written");
                vec!["node".to_owned(), text(script)]
            }
        }
    }

    /// Begins the command of [`Language::subject`].
    pub fn command(self, stem: &str, dir: &Path) -> Command {
        let words = self.subject(stem, dir);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(dir);
        command
    }
}

/// Gives the Python that has the wheel.
///
/// # Panics
/// When it is not installed, or older than its sources.
pub fn python() -> PathBuf {
    PYTHON.installed()
}

/// Makes the npm package one of those that a program in `dir` imports.
///
/// # Panics
/// When it is not installed, is older than its sources, or `dir` cannot be written.
pub fn link_modules(dir: &Path) {
    let package = NODE.installed();
    let modules = package.ancestors().nth(2).expect("it is deep inside");
    let link = dir.join("node_modules");
    if !link.exists() {
        std::os::unix::fs::symlink(modules, &link).expect("the directory can be written");
    }
}

impl Installed {
    fn installed(&self) -> PathBuf {
        let sdk = target_dir()
            .expect("tests run from a target directory")
            .join("sdk");
        let program = sdk.join(self.program);
        let stamped = modified(&sdk.join(self.stamp));
        let Some(stamped) = stamped.filter(|_| program.exists()) else {
            panic!(
                "expected {}, found none; run `tests/sdk/prepare`",
                program.display()
            );
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for source in self.sources {
            let newest = newest(&root.join(source));
            let is_fresh = newest.as_ref().is_none_or(|(at, _)| *at <= stamped);
            let name = newest
                .map(|(_, path)| path.display().to_string())
                .unwrap_or_default();
            let allowed = std::env::var_os("TRUNKLINE_STALE_SDK").is_some();
            assert!(
                is_fresh || allowed,
                "{name} is newer than what is installed; run `tests/sdk/prepare`"
            );
        }
        program
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|found| found.modified())
        .ok()
}

/// The file below `dir` that was changed last.
fn newest(dir: &Path) -> Option<(SystemTime, PathBuf)> {
    let entries = std::fs::read_dir(dir).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| !path.ends_with("__pycache__"))
        .filter_map(|path| {
            if path.is_dir() {
                newest(&path)
            } else {
                Some((modified(&path)?, path))
            }
        })
        .max()
}
