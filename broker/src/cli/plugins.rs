//! `trunkline plugins`: what is installed and runs.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use trunkline_contract::rpc::admin::{PluginSelectParams, PluginsListResult};
use trunkline_contract::rpc::{Empty, method};

use super::client::{Client, ConnectArgs};
use super::failure::Failure;
use super::logs::target;
use super::output::{self, OutputArgs, table};
use super::status;
use crate::clock::{Clock, SystemClock};

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginsCommand {
    /// List plugins and their instances.
    List(ListArgs),
    /// Replace the process of an instance, or of all instances of a plugin.
    Restart(SelectArgs),
    /// Start what was disabled.
    Enable(SelectArgs),
    /// Stop an instance, or a plugin, until it is enabled again, across starts of the daemon.
    Disable(SelectArgs),
}

/// How they are shown.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Which one.
#[derive(Debug, Args)]
pub(crate) struct SelectArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The plugin, or one instance of it.
    #[arg(value_name = "PLUGIN[/INSTANCE]")]
    target: String,
}

/// Does it.
pub(crate) fn run(command: &PluginsCommand) -> Result<ExitCode, Failure> {
    match command {
        PluginsCommand::List(args) => list(args)?,
        PluginsCommand::Restart(args) => act(args, method::ADMIN_PLUGINS_RESTART, "restarting")?,
        PluginsCommand::Enable(args) => act(args, method::ADMIN_PLUGINS_ENABLE, "enabled")?,
        PluginsCommand::Disable(args) => act(args, method::ADMIN_PLUGINS_DISABLE, "disabled")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.connect)?;
    let result: PluginsListResult = client.call(method::ADMIN_PLUGINS_LIST, &Empty {})?;
    if args.output.json {
        return output::json(&result);
    }
    if result.plugins.is_empty() {
        output::say("no plugins; add [[plugins.<id>]] to the config");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = result
        .plugins
        .iter()
        .map(|plugin| {
            vec![
                plugin.id.clone(),
                plugin.version.clone(),
                plugin.kinds.join(", "),
                plugin.path.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output::data(&table(&["plugin", "version", "kinds", "directory"], &rows))?;
    let all: Vec<_> = result
        .plugins
        .iter()
        .flat_map(|plugin| &plugin.instances)
        .collect();
    output::data("")?;
    output::data(&status::instances(&all, SystemClock::new().now().wall_ms))
}

fn act(args: &SelectArgs, method: &str, done: &str) -> Result<(), Failure> {
    let mut client = Client::connect(&args.connect)?;
    let (plugin, instance) = target(&args.target);
    let params = PluginSelectParams { plugin, instance };
    let _done: Empty = client.call(method, &params)?;
    output::say(&format!("{}: {done}", args.target));
    Ok(())
}
