//! `trunkline plugins build`: the project's own build, as `trunkline dev` runs it.
//!
//! It runs what the operator's directory says; nothing of an archive or an installed package is ever run.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::dev;
use crate::cli::failure::Failure;
use crate::cli::output::say;
use crate::install::declared::manifest;
use crate::install::packages::check_program;

/// What is built.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The plugin's directory.
    #[arg(value_name = "DIRECTORY", default_value = ".")]
    directory: PathBuf,
    /// What makes the plugin; `cargo build` where there is a Cargo.toml, with `--release` where the manifest starts that,
    /// `npm run build` where package.json has such a script.
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
}

/// Builds a plugin.
pub(crate) fn build(args: &BuildArgs) -> Result<(), Failure> {
    built(&args.directory, args.command.as_deref())
}

/// Builds the plugin of a directory, and looks whether the program of its manifest is there then.
pub(super) fn built(dir: &Path, command: Option<&str>) -> Result<(), Failure> {
    let manifest = manifest(dir, dir)?;
    match dev::build_command(command, dir) {
        Some(words) => {
            let words_said = words.join(" ");
            say(&words_said);
            let internal = |error: std::io::Error| Failure::new("internal", 70, error.to_string());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(internal)?;
            let done = runtime.block_on(dev::build(&words, dir));
            done.map_err(|why| Failure::with_hint("build_failed", 65, why))?;
            say(&format!("{} {} is built", manifest.id, manifest.version));
        }
        None => say(&format!("{} has nothing to build", manifest.id)),
    }
    Ok(check_program(&manifest, dir)?)
}
