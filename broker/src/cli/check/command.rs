//! The command line of `trunkline check`, and its answer.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{scenario, subject};
use crate::cli::failure::{EXIT_NO, Failure};
use crate::cli::output::{self, OutputArgs};

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// The instance's settings, as a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(super) settings: String,
    /// The channel kind that it serves, where there is no manifest.
    #[arg(long, value_name = "KIND")]
    pub(super) kind: Option<String>,
    /// It reads frames from stdin and writes them to stdout, where there is no manifest.
    #[arg(long)]
    pub(super) stdio: bool,
    /// How long each answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(super) timeout: u64,
    /// The plugin's directory; its plugin.toml says the rest.
    #[arg(default_value = ".")]
    pub(super) path: PathBuf,
    /// The program and its arguments, if not those of plugin.toml.
    #[arg(last = true)]
    pub(super) command: Vec<String>,
}

/// Checks; status 1 if a rule that a plugin must keep is broken.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let subject = subject::Subject::find(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("internal", 70, format!("no event loop: {error}")))?;
    let report = runtime.block_on(scenario::run(subject))?;
    if args.output.json {
        output::json(&report.to_json())?;
    } else {
        output::data(&report.to_string())?;
    }
    Ok(if report.is_kept() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NO)
    })
}
