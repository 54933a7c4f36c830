//! Where the tools of a client come from: a running daemon, a list that was saved, or a plugin's manifest.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::id::is_plugin_id;
use trunkline_contract::manifest;
use trunkline_contract::rpc::{ToolEntry, ToolListParams, ToolListResult, method};
use trunkline_contract::tool::full_name;

use crate::cli::check::read_manifest;
use crate::cli::client::{Client, ConnectArgs};
use crate::cli::failure::{EXIT_NO, Failure};
use crate::cli::input::input;
use crate::cli::output::say;

/// Largest list that is read.
const LIST_BYTES_MAX: u64 = 64 << 20;
/// Most tools that a daemon is asked for; a list that goes on is refused.
const TOOLS_LISTED_MAX: usize = 65_536;

/// Asks a running daemon for every tool of these plugins, of all if none is named, that the token may
/// call.
pub(super) fn from_daemon(
    connect: &ConnectArgs,
    plugins: &[String],
) -> Result<Vec<ToolEntry>, Failure> {
    let mut client = Client::connect(connect)?;
    pages(plugins, |params| client.call(method::TOOL_LIST, params))
}

fn pages(
    plugins: &[String],
    mut ask: impl FnMut(&ToolListParams) -> Result<ToolListResult, Failure>,
) -> Result<Vec<ToolEntry>, Failure> {
    let mut tools = Vec::new();
    let mut params = ToolListParams::default();
    let mut listed = 0;
    loop {
        let page = ask(&params)?;
        // A page without tools counts, too: there is an end in any case.
        listed += page.tools.len().max(1);
        if listed > TOOLS_LISTED_MAX {
            let text = format!("expected at most {TOOLS_LISTED_MAX} tools, found more");
            return Err(Error::new(Code::QuotaExceeded, text).into());
        }
        let wanted = page.tools.into_iter();
        tools.extend(wanted.filter(|tool| plugins.is_empty() || plugins.contains(&tool.plugin)));
        if page.next.is_none() || page.next <= params.after {
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
            return Err(Failure::usage(format!("{plugin:?} is not a plugin id"))
                .hint("trunkline tools list names each tool <plugin>.<tool>"));
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
        Failure::new("config_invalid", 78, text).hint("correct the manifest, or what it refers to")
    })?;
    let id = &manifest.id;
    if manifest.tools.is_empty() {
        let text = format!("expected [[tools]] with schemas in the manifest of {id}, found none");
        return Err(Failure::new("not_found", EXIT_NO, text).hint(
            "tools that its code declares are known while it runs: leave out --from, and the running daemon is asked",
        ));
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    /// Page number `n` of a long list: 500 tools of one plugin, and then of the next one.
    fn page(n: usize, last: usize) -> ToolListResult {
        let plugin = format!("p{}", n / 10);
        let tools = (0..500).map(|tool| {
            from_value(json!({
                "name": format!("{plugin}.t{n}_{tool}"), "plugin": plugin,
                "input_schema": {}, "timeout_ms": 1, "concurrency": 1,
            }))
            .unwrap()
        });
        ToolListResult {
            tools: tools.collect(),
            next: (n < last).then(|| format!("{n:05}")),
        }
    }

    fn list(plugins: &[&str], last: usize) -> Result<Vec<ToolEntry>, Failure> {
        let mut n = 0_usize;
        let plugins: Vec<String> = plugins.iter().map(|&one| one.to_owned()).collect();
        pages(&plugins, |params| {
            assert_eq!(params.after, n.checked_sub(1).map(|n| format!("{n:05}")));
            n += 1;
            Ok(page(n - 1, last))
        })
    }

    #[test]
    fn a_long_list_is_whole_and_one_without_an_end_is_refused() {
        assert_eq!(list(&[], 19).unwrap().len(), 10_000);
        assert_eq!(list(&["p1"], 19).unwrap().len(), 5_000);
        let refused = list(&[], usize::MAX).unwrap_err().to_string();
        assert!(
            refused.starts_with("error: quota_exceeded: expected at most 65536 tools"),
            "{refused}"
        );
    }
}
