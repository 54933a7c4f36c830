//! The subcommands of `trunkline tools`.

use std::process::ExitCode;

use clap::Subcommand;

use super::{client, list};
use crate::cli::failure::Failure;

/// What to do with tools.
#[derive(Debug, Subcommand)]
pub(crate) enum ToolsCommand {
    /// List the tools that can be called, with their schemas as JSON.
    List(list::ListArgs),
    /// Write a typed client of tools in Python, TypeScript or Rust.
    Client(client::ClientArgs),
}

/// Does it.
pub(crate) fn run(command: &ToolsCommand) -> Result<ExitCode, Failure> {
    match command {
        ToolsCommand::List(args) => list::run(args),
        ToolsCommand::Client(args) => client::run(args),
    }
}
