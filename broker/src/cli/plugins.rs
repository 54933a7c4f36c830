//! `trunkline plugins`: what is installed and runs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use trunkline_contract::rpc::admin::{
    PackageState, PluginSelectParams, PluginStatus, PluginsListResult, PluginsUpgradeParams,
    PluginsUpgradeResult,
};
use trunkline_contract::rpc::{Empty, method};

use super::client::{Client, ConnectArgs};
use super::failure::Failure;
use super::logs::target;
use super::output::{self, OutputArgs, table};
use super::{packages, status};
use crate::clock::{Clock, SystemClock};

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginsCommand {
    /// List plugins and their instances.
    List(ListArgs),
    /// Install a plugin from a directory or a packed archive; nothing of it is run.
    Add(packages::AddArgs),
    /// Remove an installed plugin that no instance runs from; what instances saved is kept.
    Remove(packages::RemoveArgs),
    /// Show what a plugin is and asks for, before it is added or after; nothing of it is run.
    Inspect(packages::InspectArgs),
    /// Run the build of a plugin's project, as dev does.
    Build(packages::BuildArgs),
    /// Pack a plugin's directory into one archive.
    Pack(packages::PackArgs),
    /// Compare installed files with their hashes now; a difference is exit status 1.
    Verify(packages::VerifyArgs),
    /// Replace the process of an instance, or of all instances of a plugin.
    Restart(SelectArgs),
    /// Read the manifest again and replace the process, or keep the old one if that fails.
    Upgrade(UpgradeArgs),
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
    #[command(flatten)]
    output: OutputArgs,
    /// The plugin, or one instance of it.
    #[arg(value_name = "PLUGIN[/INSTANCE]")]
    target: String,
}

/// What is replaced with what.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Install this directory or archive instead of the package that is installed.
    #[arg(long, value_name = "DIRECTORY|ARCHIVE")]
    from: Option<PathBuf>,
}

/// Does it.
pub(crate) fn run(command: &PluginsCommand) -> Result<ExitCode, Failure> {
    match command {
        PluginsCommand::List(args) => list(args)?,
        PluginsCommand::Restart(args) => act(args, method::ADMIN_PLUGINS_RESTART, "restarting")?,
        PluginsCommand::Add(args) => packages::add(args)?,
        PluginsCommand::Remove(args) => packages::remove(args)?,
        PluginsCommand::Inspect(args) => return packages::inspect(args),
        PluginsCommand::Build(args) => packages::build(args)?,
        PluginsCommand::Pack(args) => packages::pack(args)?,
        PluginsCommand::Verify(args) => return packages::verify(args),
        PluginsCommand::Upgrade(args) => upgrade(args)?,
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
    let now_ms = SystemClock::new().now().wall_ms;
    let rows: Vec<Vec<String>> = result
        .plugins
        .iter()
        .map(|plugin| {
            vec![
                plugin.id.clone(),
                plugin.version.clone(),
                plugin.kinds.join(", "),
                package(plugin).to_owned(),
                checked(plugin, now_ms),
                plugin.path.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output::data(&table(
        &[
            "plugin",
            "version",
            "kinds",
            "package",
            "checked",
            "directory",
        ],
        &rows,
    ))?;
    for plugin in &result.plugins {
        let problem = plugin.package.as_ref().and_then(|one| one.problem.as_ref());
        if let Some(problem) = problem {
            output::say(&format!("{}: {problem}", plugin.id));
        }
        if plugin.instances.is_empty() {
            let id = &plugin.id;
            output::say(&format!(
                "{id} has no instance: add [[plugins.{id}]] to the config"
            ));
        }
    }
    let all: Vec<_> = result
        .plugins
        .iter()
        .flat_map(|plugin| &plugin.instances)
        .collect();
    output::data("")?;
    output::data(&status::instances(&all, now_ms))
}

/// Says in a word what is known of a plugin's package.
fn package(plugin: &PluginStatus) -> &'static str {
    match plugin.package.as_ref().map(|package| package.state) {
        None => "",
        Some(PackageState::Intact | PackageState::Unchecked) => "unsigned",
        Some(PackageState::Changed) => "CHANGED",
    }
}

/// Says how long ago the files of a plugin's package were compared with their hashes.
fn checked(plugin: &PluginStatus, now_ms: i64) -> String {
    let Some(package) = &plugin.package else {
        return String::new();
    };
    let at = package.checked_at.as_deref();
    at.map_or("not yet".to_owned(), |at| output::ago(at, now_ms))
}

fn upgrade(args: &UpgradeArgs) -> Result<(), Failure> {
    let (plugin, instance) = target(&args.select.target);
    if let Some(from) = &args.from {
        if instance.is_some() {
            let text = "--from is for a plugin: all its instances run from one package";
            return Err(Failure::usage(text));
        }
        let result = packages::upgrade(&args.select.connect, &plugin, from)?;
        return told_upgrade(&plugin, result, args.select.output);
    }
    let mut client = Client::connect(&args.select.connect)?;
    let params = PluginsUpgradeParams {
        plugin,
        instance,
        package: None,
    };
    let method = method::ADMIN_PLUGINS_UPGRADE;
    let result: PluginsUpgradeResult = client.call_to_the_end(method, &params)?;
    told_upgrade(&params.plugin, result, args.select.output)
}

/// Says what was replaced.
fn told_upgrade(
    plugin: &str,
    result: PluginsUpgradeResult,
    output: OutputArgs,
) -> Result<(), Failure> {
    if output.json {
        return output::json(&result);
    }
    for one in result.instances {
        let version = if one.from == one.to {
            one.to
        } else {
            format!("{} → {}", one.from, one.to)
        };
        let how = one.how.replace('_', " ");
        output::data(&format!("{plugin}/{}  {version}  {how}", one.instance))?;
    }
    Ok(())
}

fn act(args: &SelectArgs, method: &str, done: &str) -> Result<(), Failure> {
    let mut client = Client::connect(&args.connect)?;
    let (plugin, instance) = target(&args.target);
    let params = PluginSelectParams { plugin, instance };
    let _done: Empty = client.call(method, &params)?;
    if args.output.json {
        let (plugin, instance) = (params.plugin, params.instance);
        return output::json(&json!({ "plugin": plugin, "instance": instance, "done": done }));
    }
    output::say(&format!("{}: {done}", args.target));
    Ok(())
}
