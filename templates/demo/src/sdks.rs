//! The Python and the Node package that the demo's plugins import: built and installed before anything starts.
//!
//! They are built from the source tree that the demo was built from, by the script that the tests use. With
//! `TRUNKLINE_SDK` they are taken from there and nothing is built.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::DemoError;
use crate::show::Show;

/// Names a directory with both packages.
const VARIABLE: &str = "TRUNKLINE_SDK";

/// The script, below the source tree.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sdk/prepare");

/// Where the packages are installed.
pub(crate) struct Sdks {
    /// An interpreter that finds the package.
    pub(crate) python: PathBuf,
    /// The `node_modules` that hold the package.
    pub(crate) node_modules: PathBuf,
}

impl Sdks {
    /// Finds the packages, or builds them.
    ///
    /// # Errors
    /// What the script said is on standard error already.
    #[expect(
        clippy::disallowed_methods,
        reason = "a build is no plugin: nothing supervises it but the demo"
    )]
    pub(crate) async fn prepare(show: &Show) -> Result<Self, DemoError> {
        if let Some(dir) = std::env::var_os(VARIABLE) {
            return Self::in_dir(Path::new(&dir));
        }
        show.note(
            "packages",
            "building what Python and Node import; the first time takes minutes",
        )?;
        let ran = Command::from({
            let mut script = std::process::Command::new(SCRIPT);
            script
                .arg("--quiet")
                .stdin(Stdio::null())
                .stdout(Stdio::piped());
            script
        })
        .kill_on_drop(true)
        .spawn()
        .map_err(DemoError::io(format!("cannot start {SCRIPT}")))?
        .wait_with_output()
        .await
        .map_err(DemoError::io(format!("cannot wait for {SCRIPT}")))?;
        if !ran.status.success() {
            return Err(DemoError::Packages(ran.status.to_string()));
        }
        let told = String::from_utf8_lossy(&ran.stdout);
        Self::in_dir(Path::new(told.lines().last().unwrap_or_default()))
    }

    fn in_dir(dir: &Path) -> Result<Self, DemoError> {
        let sdks = Self {
            python: dir.join("venv/bin/python"),
            node_modules: dir.join("node/node_modules"),
        };
        for path in [&sdks.python, &sdks.node_modules] {
            if !path.exists() {
                let text = format!("expected {}, found none", path.display());
                return Err(DemoError::Packages(text));
            }
        }
        Ok(sdks)
    }
}
