//! `nexo-plugin.toml` of the nexo contract 1.x, read as it is.
//!
//! Not a check of that contract: what is not understood, or understood and without effect here, is
//! a warning, so that a plugin runs unmodified. What a plugin cannot run without is an error.
//! Shape: <https://github.com/lordmacu/nexo-rs>, crate `nexo-plugin-manifest`.

use std::collections::BTreeMap;

use super::fields::check_kind;
use super::native::{read_id, read_version};
use super::{
    Capabilities, Channel, Flavor, Isolation, Manifest, NEXO_VERSION, OwnServer, RestartPolicy,
    Supervisor, Transport,
};
use crate::config_schema::ConfigSchema;
use crate::message::ChannelFeatures;
use crate::toml::{Diagnostic, Place, Severity, Sink, Table, TableReader};
use crate::topic::Filter;

/// Tables that say something to nexo's own host and change nothing here.
const WITHOUT_EFFECT: &[&str] = &[
    "tools",
    "advisors",
    "agents",
    "skills",
    "config",
    "capability_gates",
    "contracts",
    "extends",
    // Said to people, or decided by the operator's file here.
    "meta",
    "ui",
    "enabled_by_default",
];

/// Reads the document; `None` when what identifies a plugin is not there.
pub(super) fn read(table: &Table, place: Place, sink: &Sink) -> Option<Manifest> {
    let root = TableReader::root(table, place, sink, Severity::Warning);
    if root.entry("plugin").is_none() {
        root.missing(
            "plugin",
            "begin with [plugin], id, version and [plugin.entrypoint]",
        );
        return None;
    }
    let plugin = root.table("plugin")?;
    root.finish();
    let id = read_id(&plugin);
    let version = read_version(&plugin);
    let name = plugin.text("name").map(str::to_owned);
    let description = plugin.text("description").map(str::to_owned);
    check_nexo_version(&plugin);
    let (command, env) = read_entrypoint(&plugin);
    let (mut kinds, mut capabilities) = (Vec::new(), Capabilities::default());
    read_registered(&plugin, &mut kinds);
    read_capabilities(&plugin, &mut kinds, &mut capabilities);
    let supervisor = read_supervisor(&plugin);
    for key in WITHOUT_EFFECT {
        if let Some(entry) = plugin.entry(key) {
            without_effect(sink, &entry.place, &plugin.path_of(key));
        }
    }
    read_requires(&plugin);
    if kinds.is_empty() {
        sink.warning_hint(
            "no_channel",
            plugin.place(),
            "the manifest registers no channel: the plugin receives nothing",
            "add [[plugin.channels.register]] with kind and adapter",
        );
    }
    plugin.finish();
    Some(Manifest {
        id: id?,
        version: version?,
        name,
        description,
        protocol: "nexo/1".to_owned(),
        command,
        env,
        channels: kinds
            .into_iter()
            .map(|kind| Channel {
                kind,
                features: ChannelFeatures::default(),
            })
            .collect(),
        tools: Vec::new(),
        webhooks: Vec::new(),
        pollers: Vec::new(),
        config: ConfigSchema {
            keys: BTreeMap::new(),
            is_open: true,
        },
        capabilities,
        own_server: OwnServer::default(),
        supervisor,
        transport: Transport::Stdio,
        isolation: Isolation::Process,
        flavor: Flavor::Foreign,
    })
}

fn without_effect(sink: &Sink, place: &Place, path: &str) {
    let message = format!("{path} has no effect here");
    sink.push(Diagnostic::new(
        Severity::Warning,
        "without_effect",
        place,
        message,
    ));
}

fn check_nexo_version(plugin: &TableReader<'_>) {
    let Some((text, place)) = plugin.text_at("min_nexo_version") else {
        return;
    };
    let host = semver::Version::parse(NEXO_VERSION).expect("the constant is a version");
    let message = match semver::VersionReq::parse(text) {
        Ok(asked) if asked.matches(&host) => return,
        Ok(_) => {
            format!("the plugin asks for nexo {text:?}, this broker stands for {NEXO_VERSION}")
        }
        Err(error) => format!("plugin.min_nexo_version {text:?} is not a requirement: {error}"),
    };
    plugin.sink().push(Diagnostic::new(
        Severity::Warning,
        "nexo_version",
        place,
        message,
    ));
}

fn read_entrypoint(plugin: &TableReader<'_>) -> (Vec<String>, BTreeMap<String, String>) {
    let (mut command, mut env) = (Vec::new(), BTreeMap::new());
    let entrypoint = plugin.table("entrypoint");
    if let Some(entrypoint) = &entrypoint {
        command.extend(entrypoint.text("command").map(str::to_owned));
        let args = entrypoint.strings("args").unwrap_or_default();
        if !command.is_empty() {
            command.extend(args.into_iter().map(|(word, _)| word.to_owned()));
        }
        if let Some(table) = entrypoint.table("env") {
            for entry in table.entries() {
                match entry.node.as_str() {
                    _ if entry.key.starts_with("NEXO_") || entry.key.starts_with("TRUNKLINE_") => {
                        let message = format!("variable {:?} is set by the host", entry.key);
                        plugin.sink().error("invalid_value", &entry.place, message);
                    }
                    Some(text) => {
                        env.insert(entry.key.clone(), text.to_owned());
                    }
                    None => table.wrong_type(&entry.key, "a string", &entry.node),
                }
            }
        }
    }
    if command
        .first()
        .is_none_or(|program| program.trim().is_empty())
    {
        let at = entrypoint
            .as_ref()
            .map_or(plugin.place(), |table| table.place());
        plugin.sink().error_hint(
            "missing_key",
            at,
            "no program to run: plugin.entrypoint.command is missing",
            r#"add [plugin.entrypoint] and command = "./bin/plugin""#,
        );
    }
    if let Some(entrypoint) = entrypoint {
        entrypoint.finish();
    }
    (command, env)
}

fn read_registered(plugin: &TableReader<'_>, kinds: &mut Vec<String>) {
    let Some(channels) = plugin.table("channels") else {
        return;
    };
    for channel in channels.tables("register") {
        match channel.text_at("kind") {
            Some((kind, place)) => {
                check_kind(channel.sink(), "plugin.channels.register.kind", kind, place);
                if !kinds.iter().any(|known| known == kind) {
                    kinds.push(kind.to_owned());
                }
            }
            None => channel.missing("kind", r#"add kind = "telegram""#),
        }
        channel.get("adapter"); // A type name inside the plugin.
        channel.finish();
    }
    channels.finish();
}

/// Topics under `plugin.inbound.K` and `plugin.outbound.K` say that it serves K; others are asked.
fn read_capabilities(plugin: &TableReader<'_>, kinds: &mut Vec<String>, asked: &mut Capabilities) {
    let Some(capabilities) = plugin.table("capabilities") else {
        return;
    };
    // `provides` is a list of words; the tables that they speak of are read.
    for key in ["provides", "admin", "http_server", "skills"] {
        if let Some(entry) = capabilities.entry(key) {
            without_effect(plugin.sink(), &entry.place, &capabilities.path_of(key));
        }
    }
    if let Some(broker) = capabilities.table("broker") {
        let lists = [
            ("publish", "plugin.inbound.", &mut asked.publish),
            ("subscribe", "plugin.outbound.", &mut asked.subscribe),
        ];
        for (key, own, filters) in lists {
            for (text, place) in broker.strings(key).unwrap_or_default() {
                let kind = text
                    .strip_prefix(own)
                    .and_then(|rest| rest.split('.').next());
                match (kind, Filter::parse(text)) {
                    (Some(kind), _) if crate::id::is_instance_name(kind) => {
                        if !kinds.iter().any(|known| known == kind) {
                            kinds.push(kind.to_owned());
                        }
                    }
                    (_, Ok(filter)) => filters.push(filter),
                    (_, Err(error)) => {
                        let message = format!("{}: {}", broker.path_of(key), error.message);
                        broker.sink().error("invalid_topic", place, message);
                    }
                }
            }
        }
        broker.finish();
    }
    capabilities.finish();
}

fn read_supervisor(plugin: &TableReader<'_>) -> Supervisor {
    let mut read = Supervisor::default();
    let Some(supervisor) = plugin.table("supervisor") else {
        return read;
    };
    if supervisor.boolean("respawn") == Some(false) {
        read.restart = RestartPolicy::Never;
    }
    for key in ["max_attempts", "backoff_ms", "stderr_tail_lines"] {
        if let Some(entry) = supervisor.entry(key) {
            without_effect(plugin.sink(), &entry.place, &supervisor.path_of(key));
        }
    }
    supervisor.finish();
    read
}

fn read_requires(plugin: &TableReader<'_>) {
    let Some(requires) = plugin.table("requires") else {
        return;
    };
    for (name, place) in requires.strings("nexo_capabilities").unwrap_or_default() {
        if name != "broker" {
            let message = format!("the plugin requires {name:?}, which this broker does not offer");
            let found = Diagnostic::new(Severity::Warning, "not_offered", place, message);
            requires.sink().push(found);
        }
    }
    for key in ["bins", "env", "features"] {
        if let Some(entry) = requires.entry(key) {
            without_effect(plugin.sink(), &entry.place, &requires.path_of(key));
        }
    }
    requires.finish();
}
