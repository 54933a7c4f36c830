//! `plugin.toml`.

use std::collections::BTreeMap;

use super::channels;
use super::fields::{read_filters, read_kinds, read_limits, read_tools};
use super::{
    Capabilities, Flavor, Isolation, Manifest, PROTOCOL, RestartPolicy, Supervisor, Transport,
};
use crate::id;
use crate::toml::{Place, Severity, Sink, Table, TableReader, nearest};

/// Reads the document; `None` when what identifies a plugin is not there.
pub(super) fn read(table: &Table, place: Place, sink: &Sink) -> Option<Manifest> {
    let root = TableReader::root(table, place, sink, Severity::Error);
    let plugin = read_plugin(&root);
    let channels = channels::read(&root);
    let tools = super::tools::read(&root);
    let config = super::config::read(&root);
    let webhooks = super::webhooks::read(&root, &channels, &config);
    let capabilities = read_capabilities(&root);
    let pollers = super::pollers::read(&root, &channels, &config, &capabilities.send);
    if let Some(poller) = pollers.first()
        && plugin
            .as_ref()
            .is_some_and(|plugin| !plugin.command.is_empty())
    {
        let message = "pollers are run without code, found a command beside them";
        let hint = "drop plugin.command, or poll in the code of the plugin";
        sink.error_hint("invalid_value", &poller.place, message, hint);
    }
    let own_server = super::own_server::read(&root, capabilities.http_server);
    let supervisor = read_supervisor(&root);
    let transport = root.table("link").and_then(|link| {
        let words = [("fd", Transport::Fd), ("stdio", Transport::Stdio)];
        let transport = link.choice("transport", &words);
        link.finish();
        transport
    });
    if let Some(place) = plugin.as_ref().and_then(|plugin| plugin.shared_at.as_ref()) {
        check_shared(sink, place, capabilities.http_server, transport);
    }
    root.finish();
    let plugin = plugin?;
    Some(Manifest {
        id: plugin.id,
        version: plugin.version,
        name: plugin.name,
        description: plugin.description,
        protocol: plugin.protocol,
        command: plugin.command,
        env: BTreeMap::new(),
        channels,
        tools,
        webhooks,
        pollers,
        config,
        capabilities,
        own_server,
        supervisor,
        transport: transport.unwrap_or_default(),
        isolation: plugin.isolation,
        flavor: Flavor::Native,
    })
}

/// Refuses what needs a process for each instance.
fn check_shared(sink: &Sink, place: &Place, has_server: bool, transport: Option<Transport>) {
    let refuse = |what: &str, hint: &str| {
        let message = format!("plugin.isolation is \"shared\" and {what}");
        sink.error_hint("invalid_value", place, message, hint);
    };
    if has_server {
        refuse(
            "capabilities.http_server is true",
            "an HTTP server belongs to one instance: leave one of them out",
        );
    }
    if transport == Some(Transport::Stdio) {
        refuse(
            "link.transport is \"stdio\"",
            "instances that share a process need transport = \"fd\"",
        );
    }
}

struct Identity {
    id: String,
    version: String,
    name: Option<String>,
    description: Option<String>,
    protocol: String,
    command: Vec<String>,
    isolation: Isolation,
    /// Where it says that instances share a process.
    shared_at: Option<Place>,
}

fn read_plugin(root: &TableReader<'_>) -> Option<Identity> {
    if root.entry("plugin").is_none() {
        root.missing("plugin", "begin with [plugin], id, version and command");
        return None;
    }
    let plugin = root.table("plugin")?;
    let id = read_id(&plugin);
    let version = read_version(&plugin);
    let name = plugin.text("name").map(str::to_owned);
    let description = plugin.text("description").map(str::to_owned);
    let protocol = read_protocol(&plugin);
    let command = if plugin.entry("command").is_none() && is_polled_alone(root) {
        None
    } else {
        read_command(&plugin)
    };
    let words = [
        ("process", Isolation::Process),
        ("shared", Isolation::Shared),
    ];
    let isolation = plugin.choice("isolation", &words);
    let shared_at = (isolation == Some(Isolation::Shared))
        .then(|| {
            plugin
                .entry("isolation")
                .map(|entry| entry.node.place.clone())
        })
        .flatten();
    plugin.finish_with(|key| {
        ["entrypoint", "min_nexo_version", "requires", "extends"]
            .contains(&key)
            .then(|| {
                "this looks like a nexo-plugin.toml; give it that file name to have it read as one"
                    .to_owned()
            })
    });
    Some(Identity {
        id: id?,
        version: version?,
        name,
        description,
        protocol,
        command: command.unwrap_or_default(),
        isolation: isolation.unwrap_or_default(),
        shared_at,
    })
}

/// Reads `id`.
pub(super) fn read_id(plugin: &TableReader<'_>) -> Option<String> {
    if plugin.entry("id").is_none() {
        plugin.missing("id", r#"add id = "name-of-the-plugin""#);
        return None;
    }
    let (text, place) = plugin.text_at("id")?;
    if !id::is_plugin_id(text) {
        plugin.sink().error_hint(
            "invalid_value",
            place,
            format!("plugin.id {text:?} is not a plugin id"),
            "1 to 30 of a-z, 0-9, _ and -, a letter first, no __ inside and no _ at the end",
        );
    }
    Some(text.to_owned())
}

/// Reads `version`.
pub(super) fn read_version(plugin: &TableReader<'_>) -> Option<String> {
    if plugin.entry("version").is_none() {
        plugin.missing("version", r#"add version = "0.1.0""#);
        return None;
    }
    let (text, place) = plugin.text_at("version")?;
    if let Err(error) = semver::Version::parse(text) {
        plugin.sink().error_hint(
            "invalid_value",
            place,
            format!("plugin.version {text:?} is not a semantic version: {error}"),
            r#"write three numbers, such as "0.1.0""#,
        );
    }
    Some(text.to_owned())
}

fn read_protocol(plugin: &TableReader<'_>) -> String {
    let Some((text, place)) = plugin.text_at("protocol") else {
        return PROTOCOL.to_owned();
    };
    if !["1", PROTOCOL].contains(&text) {
        plugin.sink().error_hint(
            "protocol_mismatch",
            place,
            format!("plugin.protocol is {text:?}, this broker speaks {PROTOCOL:?}"),
            "leave protocol out, or install a broker that speaks it",
        );
    }
    text.to_owned()
}

fn read_command(plugin: &TableReader<'_>) -> Option<Vec<String>> {
    let Some(entry) = plugin.entry("command") else {
        plugin.missing("command", r#"add command = ["python3", "plugin.py"]"#);
        return None;
    };
    if let Some(text) = entry.node.as_str() {
        let words: Vec<String> = text
            .split_whitespace()
            .map(|word| format!("{word:?}"))
            .collect();
        plugin.sink().error_hint(
            "wrong_type",
            &entry.node.place,
            "plugin.command has to be an array of strings, found a string",
            format!("no shell reads it: write command = [{}]", words.join(", ")),
        );
        return None;
    }
    let words = plugin.strings("command")?;
    match words.first() {
        Some((program, _)) if !program.is_empty() => {}
        _ => plugin.sink().error(
            "invalid_value",
            &entry.node.place,
            "plugin.command has to begin with a program, found none",
        ),
    }
    Some(words.into_iter().map(|(word, _)| word.to_owned()).collect())
}

/// Says whether nothing of it needs code; what has code polls there.
fn is_polled_alone(root: &TableReader<'_>) -> bool {
    let is_there = |key| root.entry(key).is_some();
    is_there("pollers") && !is_there("tools") && !is_there("webhooks")
}

fn read_capabilities(root: &TableReader<'_>) -> Capabilities {
    let Some(capabilities) = root.table("capabilities") else {
        return Capabilities::default();
    };
    let read = Capabilities {
        publish: read_filters(&capabilities, "publish"),
        subscribe: read_filters(&capabilities, "subscribe"),
        send: read_kinds(&capabilities, "send"),
        call: read_tools(&capabilities, "call"),
        http_server: capabilities.boolean("http_server").unwrap_or(false),
    };
    capabilities.not_built(
        "network",
        "the network of a plugin is not restricted; leave it out",
    );
    let known = ["publish", "subscribe", "send", "call", "http_server"];
    for entry in capabilities.entries() {
        if !known.contains(&entry.key.as_str()) && entry.key != "network" {
            let hint = nearest(&entry.key, &known).map_or_else(
                || format!("known capabilities: {}", known.join(", ")),
                |near| format!("did you mean {near:?}?"),
            );
            let message = format!("unknown capability {:?}", entry.key);
            capabilities
                .sink()
                .error_hint("unknown_key", &entry.place, message, hint);
        }
    }
    read
}

fn read_supervisor(root: &TableReader<'_>) -> Supervisor {
    let default = Supervisor::default();
    let Some(supervisor) = root.table("supervisor") else {
        return default;
    };
    let read = Supervisor {
        restart: supervisor
            .choice("restart", RestartPolicy::WORDS)
            .unwrap_or_default(),
        start_timeout: supervisor
            .duration("start_timeout")
            .unwrap_or(default.start_timeout),
        ping_interval: supervisor
            .duration("ping_interval")
            .unwrap_or(default.ping_interval),
        stop_timeout: supervisor
            .duration("stop_timeout")
            .unwrap_or(default.stop_timeout),
        limits: supervisor
            .table("limits")
            .map(read_limits)
            .unwrap_or_default(),
    };
    for key in ["start_timeout", "ping_interval"] {
        let Some(entry) = supervisor.entry(key) else {
            continue;
        };
        if entry
            .node
            .as_str()
            .and_then(|text| crate::duration::parse(text).ok())
            == Some(std::time::Duration::ZERO)
        {
            let message = format!("supervisor.{key} has to be longer than nothing");
            supervisor
                .sink()
                .error("invalid_value", &entry.node.place, message);
        }
    }
    supervisor.not_built(
        "hang",
        "a loop that lags is shown as degraded; the operator may set restart_degraded_after",
    );
    supervisor.finish();
    read
}
