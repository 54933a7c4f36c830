//! `trunkline tools list`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::source::{from_daemon, of_plugins};
use crate::cli::client::ConnectArgs;
use crate::cli::failure::Failure;
use crate::cli::output::{self, OutputArgs, one_line, table};

/// So much of a description is shown.
const DESCRIPTION_CHARS_MAX: usize = 60;

/// Which tools, and how they are shown.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Only the tools of these plugins.
    #[arg(value_name = "PLUGIN")]
    plugins: Vec<String>,
}

/// Lists them, by name.
pub(super) fn run(args: &ListArgs) -> Result<ExitCode, Failure> {
    let tools = of_plugins(from_daemon(&args.connect, &args.plugins)?, &args.plugins)?;
    if args.output.json {
        output::json(&json!({ "tools": tools }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if tools.is_empty() {
        output::say("no tools; a plugin declares them, see docs/patterns/tool.md");
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = tools
        .iter()
        .map(|tool| {
            let instances: Vec<&str> = tool
                .instances
                .iter()
                .map(|one| one.instance.as_str())
                .collect();
            let state = if tool.available {
                "available"
            } else {
                "unavailable"
            };
            vec![
                tool.name.clone(),
                tool.kind.as_str().to_owned(),
                state.to_owned(),
                instances.join(", "),
                one_line(&tool.description, DESCRIPTION_CHARS_MAX)
                    .trim()
                    .to_owned(),
            ]
        })
        .collect();
    let headings = ["tool", "kind", "state", "instances", "description"];
    output::data(&table(&headings, &rows))?;
    Ok(ExitCode::SUCCESS)
}
