//! `[mcp]`: names for MCP clients, and MCP servers whose tools are taken in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use trunkline_contract::grant::{Additions, Grants};
use trunkline_contract::id;
use trunkline_contract::manifest::Manifest;
use trunkline_contract::toml::{Place, TableReader};
use trunkline_contract::tool::{MCP_NAME_BYTES_MAX, parse_full_name};

use super::load::Around;
use super::secret::{Reference, Secret, is_variable_name, read_reference};
use super::types::InstanceSpec;

/// Names that MCP clients see, each with what it stands for: `<plugin>.<tool>`, or
/// `<plugin>.<tool>/<instance>`.
pub type McpNames = BTreeMap<String, String>;

/// The hidden command that takes an MCP server's tools in.
pub(crate) const BRIDGE_COMMAND: &str = "__mcp";
/// Name of the secret that is a server's bearer token.
pub(crate) const TOKEN_SECRET: &str = "token";
/// What the name of a secret that is a variable begins with.
pub(crate) const VARIABLE_SECRET: &str = "env.";

/// Reads `[mcp]`; its servers are instances like any other.
pub(super) fn read(
    root: &TableReader<'_>,
    around: &Around<'_>,
    others: &[InstanceSpec],
) -> (McpNames, Vec<InstanceSpec>) {
    let Some(mcp) = root.table("mcp") else {
        return (McpNames::new(), Vec::new());
    };
    let names = mcp.table("names").map(read_names).unwrap_or_default();
    let mut servers: Vec<InstanceSpec> = Vec::new();
    for table in mcp.tables("servers") {
        if let Some((server, place)) = read_server(table, around) {
            let is_taken = |spec: &InstanceSpec| spec.plugin == server.plugin;
            if others.iter().any(is_taken) || servers.iter().any(is_taken) {
                let message = format!("there is another plugin or MCP server {:?}", server.plugin);
                root.sink().error("duplicate", place, message);
            } else {
                servers.push(server);
            }
        }
    }
    mcp.finish();
    (names, servers)
}

/// Reads the names alone.
pub(super) fn names(root: &TableReader<'_>) -> McpNames {
    let mcp = root.table("mcp");
    mcp.and_then(|mcp| mcp.table("names"))
        .map(read_names)
        .unwrap_or_default()
}

/// Says whether a text can stand as a given name: every client takes it, and no tool's own name can be it.
fn is_given_name(text: &str) -> bool {
    let is_taken = !text.is_empty()
        && text.len() <= MCP_NAME_BYTES_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    is_taken && !text.contains("__")
}

fn read_names(table: TableReader<'_>) -> McpNames {
    let sink = table.sink();
    let mut names = McpNames::new();
    for entry in table.entries() {
        if !is_given_name(&entry.key) {
            let message = format!("mcp.names.{} is not a name for MCP clients", entry.key);
            let hint = "1 to 64 of A-Z, a-z, 0-9, _ and -, without __, which stands in the names that tools have \
                        by themselves";
            sink.error_hint("invalid_value", &entry.place, message, hint);
            continue;
        }
        let place = &entry.node.place;
        let Some(target) = entry.node.as_str() else {
            table.wrong_type(&entry.key, "a string", &entry.node);
            continue;
        };
        let (tool, instance) = match target.split_once('/') {
            Some((tool, instance)) => (tool, Some(instance)),
            None => (target, None),
        };
        if parse_full_name(tool).is_none() || !instance.is_none_or(id::is_instance_name) {
            let message = format!(
                "mcp.names.{} has to name a tool, found {target:?}",
                entry.key
            );
            let hint =
                "<plugin>.<tool>, or <plugin>.<tool>/<instance> of a plugin with several instances";
            sink.error_hint("invalid_value", place, message, hint);
        } else if names.values().any(|other| other == target) {
            let message = format!("{target:?} has two names for MCP clients");
            sink.error("duplicate", place, message);
        } else {
            names.insert(entry.key.clone(), target.to_owned());
        }
    }
    names
}

fn read_server<'t>(
    table: TableReader<'t>,
    around: &Around<'_>,
) -> Option<(InstanceSpec, &'t Place)> {
    let name = read_name(&table);
    let mut config = Map::new();
    let mut secrets = BTreeMap::new();
    read_where(&table, around, &mut config, &mut secrets);
    if let Some(timeout) = table.duration("timeout") {
        config.insert("timeout_ms".to_owned(), json!(timeout.as_millis() as u64));
    }
    for key in ["include", "exclude"] {
        if let Some(patterns) = table.strings(key) {
            let patterns: Vec<&str> = patterns.into_iter().map(|(text, _)| text).collect();
            config.insert(key.to_owned(), json!(patterns));
        }
    }
    let enabled = table.boolean("enabled").unwrap_or(true);
    table.finish();
    let (name, place) = name?;
    let manifest = manifest(name);
    let spec = InstanceSpec {
        plugin: name.to_owned(),
        instance: "default".to_owned(),
        grants: Grants::of(&manifest, "default", &Additions::default()),
        dir: around.base.to_owned(),
        package: None,
        config,
        secrets,
        limits: manifest.supervisor.limits,
        restart: manifest.supervisor.restart,
        restart_degraded_after: None,
        own_server: None,
        transport: manifest.transport,
        enabled,
        unfit: Arc::default(),
        manifest: Arc::new(manifest),
    };
    Some((spec, place))
}

fn read_name<'t>(table: &TableReader<'t>) -> Option<(&'t str, &'t Place)> {
    if table.entry("name").is_none() {
        table.missing("name", r#"add name = "files""#);
    }
    let (name, place) = table.text_at("name")?;
    if !id::is_plugin_id(name) {
        let message = format!("mcp.servers.name {name:?} is not a plugin id");
        let hint = "1 to 30 of a-z, 0-9, _ and -, a letter first, no __ inside and no _ at the end";
        table
            .sink()
            .error_hint("invalid_value", place, message, hint);
        return None;
    }
    Some((name, place))
}

/// Reads `command` with `env`, or `url` with `token`.
fn read_where(
    table: &TableReader<'_>,
    around: &Around<'_>,
    config: &mut Map<String, Value>,
    secrets: &mut BTreeMap<String, Secret>,
) {
    let sink = table.sink();
    let command = table.strings("command");
    let url = table.text_at("url");
    match (&command, url) {
        (Some(words), None) if !words.is_empty() => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            config.insert("command".to_owned(), json!(words));
        }
        (None, Some((url, place))) => {
            if url.starts_with("http://") || url.starts_with("https://") {
                config.insert("url".to_owned(), json!(url));
            } else {
                let message =
                    format!("mcp.servers.url has to begin with https:// or http://, found {url:?}");
                sink.error("invalid_value", place, message);
            }
        }
        _ => {
            let message = "an MCP server has either a command or a url";
            let hint = r#"add command = ["program", "argument"], or url = "https://…/mcp""#;
            sink.error_hint("missing_key", table.place(), message, hint);
        }
    }
    let resolve = |reference: Reference, place: &Place, what: &str| match reference.resolve(
        around.env,
        around.base,
        around.files,
    ) {
        Ok(text) => Some(Secret::new(text)),
        Err(problem) => {
            sink.error(
                "secret_missing",
                place,
                format!("mcp.servers.{what}: {problem}"),
            );
            None
        }
    };
    if let Some((reference, place)) = read_reference(table, "token") {
        if command.is_some() {
            let message = "mcp.servers.token goes with a url";
            sink.error_hint(
                "invalid_value",
                place,
                message,
                "give a program's secrets in env",
            );
        }
        if let Some(secret) = resolve(reference, place, "token") {
            config.insert(TOKEN_SECRET.to_owned(), json!({ "$secret": TOKEN_SECRET }));
            secrets.insert(TOKEN_SECRET.to_owned(), secret);
        }
    }
    let Some(env) = table.table("env") else {
        return;
    };
    let mut plain = Map::new();
    for entry in env.entries() {
        let (name, place) = (&entry.key, &entry.node.place);
        if command.is_none() || !is_variable_name(name) || name.starts_with("TRUNKLINE_") {
            let message = format!("mcp.servers.env.{name} names no variable of a command");
            sink.error("invalid_value", place, message);
        } else if let Some(text) = entry.node.as_str() {
            plain.insert(name.clone(), json!(text));
        } else if let Some(reference) = Reference::of(&entry.node) {
            if let Some(secret) = resolve(reference, place, "env") {
                secrets.insert(format!("{VARIABLE_SECRET}{name}"), secret);
            }
        } else {
            env.wrong_type(name, "a string or a reference to a secret", &entry.node);
        }
    }
    if !plain.is_empty() {
        config.insert("env".to_owned(), Value::Object(plain));
    }
}

/// What stands in the place of a plugin's manifest: the tools come from the server.
fn manifest(name: &str) -> Manifest {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("trunkline"));
    let text = format!(
        "[plugin]\nid = {name:?}\nversion = \"{}\"\ncommand = [\"trunkline\"]\n\
         [supervisor]\nstart_timeout = \"60s\"\nstop_timeout = \"10s\"\n",
        env!("CARGO_PKG_VERSION")
    );
    let parsed = Manifest::parse(&text).expect("a plugin id and a version make a manifest");
    let mut manifest = parsed.value;
    manifest.command = vec![program.display().to_string(), BRIDGE_COMMAND.to_owned()];
    manifest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_name_is_never_that_of_a_tool() {
        assert!(is_given_name("search") && is_given_name("Find_all-2"));
        for text in ["", "crm__find", "with space", "dot.ted", &"a".repeat(65)] {
            assert!(!is_given_name(text), "{text:?}");
        }
    }
}
