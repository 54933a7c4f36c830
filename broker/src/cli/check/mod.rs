//! `trunkline check`: runs any program through the contract as a plugin and reports each rule.
//!
//! | file | what it is |
//! |---|---|
//! | `subject` | which program, and what is known of it beforehand |
//! | `bench` | starts the program as the daemon would, and ends it |
//! | `link` | the broker's side of the link, as far as a plugin can tell |
//! | `scenario` | what is tried, in order |
//! | `report` | the rules and their verdicts |
//!
//! It sees the link and the process and nothing else: what a plugin opens outside it cannot see.

mod bench;
mod link;
mod report;
mod scenario;
mod subject;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::failure::{EXIT_NO, Failure};
use super::output::{self, OutputArgs};

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// The instance's settings, as a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    settings: String,
    /// The channel kind that it serves, where there is no manifest.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// It reads frames from stdin and writes them to stdout, where there is no manifest.
    #[arg(long)]
    stdio: bool,
    /// How long each answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// The plugin's directory; its plugin.toml says the rest.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The program and its arguments, if not those of plugin.toml.
    #[arg(last = true)]
    command: Vec<String>,
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
