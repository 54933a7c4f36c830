//! `trunkline config`: is the file right, where does each value come from, take it now.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use trunkline_contract::rpc::admin::ConfigReloadResult;
use trunkline_contract::rpc::{Empty, method};
use trunkline_contract::toml::{Diagnostic, has_errors};

use super::args::ConfigArgs;
use super::check::read_manifest;
use super::client::{Client, ConnectArgs};
use super::failure::{EXIT_NO, Failure};
use super::output::{self, OutputArgs, table};
use crate::config::{DiskFiles, load};

/// What to do with the config.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say everything that is wrong with it, without a daemon.
    Check(CheckArgs),
    /// Show each value and where it comes from; secrets as ***.
    Explain(CheckArgs),
    /// Print the JSON Schema of what a plugin's config may hold.
    Schema(SchemaArgs),
    /// Tell the daemon to read it again; a bad file changes nothing.
    Reload(ReloadArgs),
}

/// Which config, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Whose config.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// The plugin's id, or its directory.
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Which daemon.
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Does it.
pub(crate) fn run(command: &ConfigCommand) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Explain(args) => explain(args),
        ConfigCommand::Schema(args) => schema(args),
        ConfigCommand::Reload(args) => reload(args),
    }
}

/// A diagnostic as JSON.
pub(super) fn diagnostic_json(diagnostic: &Diagnostic) -> serde_json::Value {
    json!({
        "severity": if diagnostic.is_error() { "error" } else { "warning" },
        "code": diagnostic.code,
        "file": &*diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "text": diagnostic.message,
        "hint": diagnostic.hint,
    })
}

/// A diagnostic for people, with its code.
pub(super) fn diagnostic_text(diagnostic: &Diagnostic) -> String {
    let kind = if diagnostic.is_error() {
        "error"
    } else {
        "warning"
    };
    let hint = diagnostic
        .hint
        .as_ref()
        .map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
    format!(
        "{kind}: {}: {}: {}{hint}",
        diagnostic.code,
        diagnostic.place(),
        diagnostic.message
    )
}

fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let sources = args.config.sources()?;
    let loaded = load(&sources, &DiskFiles);
    let bad = has_errors(&loaded.diagnostics);
    if args.output.json {
        let found: Vec<_> = loaded.diagnostics.iter().map(diagnostic_json).collect();
        output::json(&json!({ "ok": !bad, "diagnostics": found }))?;
    } else {
        for diagnostic in &loaded.diagnostics {
            output::data(&diagnostic_text(diagnostic))?;
        }
        let errors = loaded.diagnostics.iter().filter(|d| d.is_error()).count();
        match &loaded.config {
            Some(config) if !bad => output::data(&format!(
                "{}: ok, {} instances, {} clients",
                args.config.config.display(),
                config.instances.len(),
                config.clients.len()
            ))?,
            _ => output::say(&format!(
                "{}: {errors} errors",
                args.config.config.display()
            )),
        }
    }
    Ok(if bad {
        ExitCode::from(EXIT_NO)
    } else {
        ExitCode::SUCCESS
    })
}

fn explain(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let loaded = load(&args.config.sources()?, &DiskFiles);
    let rows = &loaded.explained;
    if args.output.json {
        for row in rows {
            output::json(&json!({"path": row.path, "value": row.value, "origin": row.origin}))?;
        }
    } else {
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| vec![row.path.clone(), row.value.clone(), row.origin.clone()])
            .collect();
        output::data(&table(&["setting", "value", "from"], &rows))?;
    }
    for diagnostic in loaded.diagnostics.iter().filter(|d| d.is_error()) {
        output::say(&diagnostic_text(diagnostic));
    }
    Ok(if has_errors(&loaded.diagnostics) {
        ExitCode::from(EXIT_NO)
    } else {
        ExitCode::SUCCESS
    })
}

fn schema(args: &SchemaArgs) -> Result<ExitCode, Failure> {
    let asked = Path::new(&args.plugin);
    let mut dirs = vec![asked.to_owned()];
    if asked.components().count() == 1 {
        let sources = args.config.sources()?;
        let base = sources.file.parent().unwrap_or(Path::new("")).to_owned();
        let loaded = load(&sources, &DiskFiles);
        let known = loaded.config.iter().flat_map(|config| &config.instances);
        let mut known = known.filter(|spec| spec.plugin == args.plugin);
        if let Some(spec) = known.next() {
            dirs.insert(0, spec.dir.clone());
        }
        dirs.push(base.join("plugins").join(&args.plugin));
    }
    for dir in dirs {
        if let Some(manifest) = read_manifest(&dir)? {
            let schema = manifest.config.json_schema(&manifest.id);
            let text = serde_json::to_string_pretty(&schema)
                .map_err(|error| Failure::usage(error.to_string()))?;
            output::data(&text)?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let message = format!("no manifest of plugin {:?} found", args.plugin);
    Err(Failure::usage(message).hint("give the plugin's directory"))
}

pub(super) fn reload(args: &ReloadArgs) -> Result<ExitCode, Failure> {
    let mut client = Client::connect(&args.connect)?;
    let result: ConfigReloadResult = client.call(method::ADMIN_CONFIG_RELOAD, &Empty {})?;
    if args.output.json {
        output::json(&result)?;
    } else if result.changes.is_empty() {
        output::say("nothing changed");
    } else {
        output::data(&result.changes.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
