//! `trunkline plugins verify`: the files of installed packages compared with their hashes, now.
//!
//! A running daemon does it, a few packages at a time, and `plugins list` shows what it found. Without one, this command
//! does it itself.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use trunkline_contract::rpc::admin::{
    PackageState, PluginStatus, PluginsListResult, PluginsVerifyParams,
};
use trunkline_contract::rpc::method;

use super::{Place, running};
use crate::cli::client::ConnectArgs;
use crate::cli::failure::{EXIT_NO, Failure};
use crate::cli::output::{self, OutputArgs, say, table};
use crate::clock::{Clock, SystemClock};
use crate::install::InstallError;
use crate::install::check::{Found, status};

/// How long a daemon may read.
const VERIFY_LIMIT: Duration = Duration::from_mins(10);

/// What is verified.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The plugin [default: every installed one].
    #[arg(value_name = "PLUGIN")]
    plugin: Option<String>,
}

/// Verifies; the status says whether all is as it was added.
pub(crate) fn verify(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let result: PluginsListResult = match running(&args.connect)? {
        Some(mut client) => {
            let plugin = args.plugin.clone();
            let params = PluginsVerifyParams { plugin };
            client.call_within(VERIFY_LIMIT, method::ADMIN_PLUGINS_VERIFY, &params)?
        }
        None => on_disk(args)?,
    };
    let packages = || result.plugins.iter().filter_map(|one| one.package.as_ref());
    let has_changed = packages().any(|one| one.state == PackageState::Changed);
    if args.output.json {
        output::json(&result)?;
    } else if result.plugins.is_empty() {
        say("no package is installed");
    } else {
        output::data(&shown(&result))?;
    }
    if !has_changed {
        return Ok(ExitCode::SUCCESS);
    }
    say("trunkline plugins add <the same directory or archive> puts it right");
    Ok(ExitCode::from(EXIT_NO))
}

fn shown(result: &PluginsListResult) -> String {
    let rows = result.plugins.iter().filter_map(|plugin| {
        let package = plugin.package.as_ref()?;
        let found = match package.state {
            PackageState::Intact => "intact",
            PackageState::Changed => "CHANGED",
            PackageState::Unchecked => "unchecked",
        };
        let problem = package.problem.clone().unwrap_or_default();
        let version = package.version.clone();
        Some(vec![plugin.id.clone(), version, found.to_owned(), problem])
    });
    let rows: Vec<Vec<String>> = rows.collect();
    table(&["plugin", "version", "package", "problem"], &rows)
}

fn on_disk(args: &VerifyArgs) -> Result<PluginsListResult, Failure> {
    let place = Place::find(&args.connect)?;
    let lock = place.packages.lock()?;
    if let Some(id) = args.plugin.clone()
        && !lock.packages.contains_key(&id)
    {
        return Err(InstallError::NotInstalled { id }.into());
    }
    let clock = SystemClock::new();
    let mut plugins = Vec::new();
    for (id, installed) in &lock.packages {
        if args.plugin.as_ref().is_some_and(|meant| meant != id) {
            continue;
        }
        let Some(package) = lock.package(&place.data_dir, id) else {
            continue;
        };
        let problem = package.check().err().map(|error| error.to_string());
        let at_ms = clock.now().wall_ms;
        let found = Found { at_ms, problem };
        plugins.push(PluginStatus {
            id: id.clone(),
            version: installed.version.clone(),
            path: Some(package.tree().display().to_string()),
            package: Some(status(installed, Some(found))),
            kinds: Vec::new(),
            instances: Vec::new(),
        });
    }
    Ok(PluginsListResult { plugins })
}
