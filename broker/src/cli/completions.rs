//! `trunkline completions`: what a shell needs to complete commands and options.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::failure::Failure;
use super::output;

/// Which shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to write for.
    shell: Shell,
}

/// Writes the script to stdout.
pub(crate) fn run(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    let mut command = super::args::command();
    clap_complete::generate(args.shell, &mut command, "trunkline", &mut script);
    output::data(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
