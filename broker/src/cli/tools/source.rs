//! Where the tools of a client come from: a running daemon, a list that was saved, or a plugin's manifest.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use trunkline_contract::error::Error;
use trunkline_contract::id::is_plugin_id;
use trunkline_contract::manifest;
use trunkline_contract::rpc::{ToolEntry, ToolListParams, ToolListResult, method};
use trunkline_contract::tool::full_name;
use trunkline_contract::typed::TOOLS_OF_A_CLIENT_MAX;

use crate::cli::check::read_manifest;
use crate::cli::client::{Client, ConnectArgs};
use crate::cli::failure::{EXIT_NO, Failure};
use crate::cli::input::input;
use crate::cli::output::say;

/// Largest list that is read.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// Asks a running daemon for every tool that the token may call.
pub(super) fn from_daemon(connect: &ConnectArgs) -> Result<Vec<ToolEntry>, Failure> {
    let mut client = Client::connect(connect)?;
    let mut tools = Vec::new();
    let mut params = ToolListParams::default();
    loop {
        let page: ToolListResult = client.call(method::TOOL_LIST, &params)?;
        tools.extend(page.tools);
        // A list that goes on and on is cut by the check of its length.
        if page.next.is_none() || page.next <= params.after || tools.len() > TOOLS_OF_A_CLIENT_MAX {
            return Ok(tools);
        }
        params.after = page.next;
    }
}

/// Reads a list that `trunkline tools list --json` wrote (`-` is stdin), or a plugin's manifest.
pub(super) fn from_path(path: &Path) -> Result<Vec<ToolEntry>, Failure> {
    if path.as_os_str() == "-" {
        return read_list("stdin", input());
    }
    let is_manifest = path
        .file_name()
        .is_some_and(|name| name == manifest::FILE || name == manifest::FOREIGN_FILE);
    if path.is_dir() || is_manifest {
        let dir = if is_manifest {
            path.parent()
        } else {
            Some(path)
        };
        let dir = dir
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        return of_manifest(dir);
    }
    let file = File::open(path).map_err(|error| {
        Failure::usage(format!("{} cannot be read: {error}", path.display())).hint(
            "give what `trunkline tools list --json` wrote, a plugin's directory, or - for stdin",
        )
    })?;
    read_list(&path.display().to_string(), file)
}

/// Keeps the tools of these plugins; of all if none is named.
pub(super) fn of_plugins(
    mut tools: Vec<ToolEntry>,
    plugins: &[String],
) -> Result<Vec<ToolEntry>, Failure> {
    for plugin in plugins {
        if !is_plugin_id(plugin) {
            return Err(Failure::usage(format!("{plugin:?} is not a plugin id")));
        }
        if !tools.iter().any(|tool| tool.plugin == *plugin) {
            let text = format!("plugin {plugin:?} has no tool that can be called");
            return Err(Failure::new("not_found", EXIT_NO, text)
                .hint("trunkline tools list; trunkline status shows whether it runs"));
        }
    }
    if !plugins.is_empty() {
        tools.retain(|tool| plugins.contains(&tool.plugin));
    }
    Ok(tools)
}

fn read_list(name: &str, from: impl Read) -> Result<Vec<ToolEntry>, Failure> {
    let mut text = String::new();
    let bad = |what: String| {
        Failure::new("invalid_arguments", 64, format!("{name}: {what}"))
            .hint("give what `trunkline tools list --json` writes")
    };
    from.take(LIST_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| bad(error.to_string()))?;
    if text.len() as u64 > LIST_BYTES_MAX {
        return Err(bad(format!(
            "expected at most {LIST_BYTES_MAX} bytes, found more"
        )));
    }
    let list: ToolListResult = serde_json::from_str(&text)
        .map_err(|error| bad(format!("expected a list of tools: {error}")))?;
    if list.next.is_some() {
        return Err(bad(
            "expected all tools, found the first page of them".to_owned()
        ));
    }
    Ok(list.tools)
}

fn of_manifest(dir: &Path) -> Result<Vec<ToolEntry>, Failure> {
    let Some(mut manifest) = read_manifest(dir)? else {
        let text = format!("there is no {} in {}", manifest::FILE, dir.display());
        return Err(Failure::usage(text).hint("give the plugin's directory"));
    };
    let read = |path: &str| std::fs::read_to_string(dir.join(path)).map_err(|e| e.to_string());
    manifest.read_schemas(read).map_err(|diagnostics| {
        let lines: Vec<String> = diagnostics.iter().map(|one| format!("\n  {one}")).collect();
        let text = format!("the manifest is not valid:{}", lines.concat());
        Failure::new("config_invalid", 78, text)
    })?;
    let id = &manifest.id;
    let mut tools = Vec::new();
    for tool in manifest.tool_declarations() {
        tool.check().map_err(|error: Error| Failure::from(error))?;
        if tool.input_schema.is_none() {
            say(&format!(
                "{id}.{}: the manifest has no input_schema, so that it takes any object; \
                 a running plugin may say more",
                tool.name
            ));
        }
        tools.push(ToolEntry {
            name: full_name(id, &tool.name),
            plugin: id.clone(),
            instances: Vec::new(),
            input_schema: tool.input_schema(),
            timeout_ms: tool.timeout_ms(),
            concurrency: tool.concurrency(),
            description: tool.description,
            kind: tool.kind,
            output_schema: tool.output_schema,
            idempotent: tool.idempotent,
            streaming: tool.streaming,
            available: false,
        });
    }
    Ok(tools)
}
