//! Checks everything in the operator's file but the instances.

use std::collections::BTreeMap;
use std::path::PathBuf;

use trunkline_contract::grant::{Additions, SCOPE_FORMS, Scopes};
use trunkline_contract::id;
use trunkline_contract::manifest::{read_filters, read_kinds, read_tools};
use trunkline_contract::toml::{Place, TableReader};

use super::load::Around;
use super::types::{
    BrokerConfig, ClientSpec, LimitsConfig, LogFormat, LogLevel, Retention, StoreConfig, StoreKind,
};
use super::{size, token};

/// Sections of the design that this version does not enforce.
pub(super) const NOT_BUILT: &[(&str, &str)] = &[
    (
        "sandbox",
        "plugins are bounded by [supervisor.limits] alone",
    ),
    ("cluster", "one daemon owns one store"),
];

/// Longest path of a unix socket on Linux.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What the operator grants to each plugin, with where it stands.
pub(super) type GrantsByPlugin = BTreeMap<String, (Additions, Place)>;

pub(super) fn plugin_dirs(root: &TableReader<'_>, around: &Around<'_>) -> Vec<PathBuf> {
    let dirs = root.strings("plugin_dirs").unwrap_or_default();
    dirs.into_iter()
        .map(|(dir, _)| around.base.join(dir))
        .collect()
}

pub(super) fn broker(root: &TableReader<'_>, around: &Around<'_>) -> Option<BrokerConfig> {
    let broker = root.table("broker")?;
    let data_dir = broker.text("data_dir");
    let socket = broker.text_at("socket");
    let log_level = broker.choice("log_level", LogLevel::WORDS);
    let log_format = broker.choice("log_format", LogFormat::WORDS);
    let drain_timeout = broker.duration("drain_timeout");
    let otlp_endpoint = read_otlp_endpoint(&broker);
    broker.finish();
    let (socket, place) = socket?;
    let socket = around.base.join(socket.replace("<data_dir>", data_dir?));
    let bytes = socket.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        root.sink().error_hint(
            "invalid_value",
            place,
            format!("broker.socket has to be at most {SOCKET_PATH_BYTES_MAX} bytes, found {bytes}"),
            "give a shorter path, such as socket = \"/run/trunkline.sock\"",
        );
    }
    Some(BrokerConfig {
        data_dir: around.base.join(data_dir?),
        socket,
        log_level: log_level?,
        log_format: log_format?,
        otlp_endpoint,
        drain_timeout: drain_timeout?,
    })
}

fn read_otlp_endpoint(broker: &TableReader<'_>) -> Option<String> {
    broker.get("otlp_endpoint")?;
    let (text, place) = broker.text_at("otlp_endpoint")?;
    if !cfg!(feature = "otlp") {
        broker.sink().error_hint(
            "not_implemented",
            place,
            "broker.otlp_endpoint needs a daemon with the feature otlp, found one without",
            "build it with `cargo build -p trunkline-broker --features otlp`, or leave this out",
        );
        return None;
    }
    let is_http = text.starts_with("http://");
    if !is_http || super::http::host_of_url(text).is_none() {
        broker.sink().error_hint(
            "invalid_value",
            place,
            format!("broker.otlp_endpoint has to be an address with http, found {text:?}"),
            "write \"http://127.0.0.1:4318\"; a collector on this machine speaks TLS to others",
        );
    }
    Some(text.to_owned())
}

pub(super) fn store(root: &TableReader<'_>) -> Option<StoreConfig> {
    let store = root.table("store")?;
    let kinds = [
        ("sqlite", Some(StoreKind::Sqlite)),
        ("memory", Some(StoreKind::Memory)),
        ("nats", None),
    ];
    let kind = store.choice("kind", &kinds);
    if kind == Some(None) {
        store.not_built("kind", r#"use kind = "sqlite""#);
    }
    if store.choice("durability", &[("fsync", true), ("os", false)]) == Some(false) {
        store.not_built(
            "durability",
            r#"use durability = "fsync": an ack means it survived"#,
        );
    }
    let retention = store.table("retention").and_then(|table| {
        let read = read_retention(&table);
        table.finish();
        read
    });
    let warn = store.integer("disk_warn_percent", 1..=100);
    let full = store.integer("disk_full_percent", 1..=100);
    if let (Some(warn), Some(full)) = (warn, full)
        && warn > full
    {
        let place = store
            .get("disk_warn_percent")
            .map_or(store.place(), |node| &node.place);
        let message = format!(
            "store.disk_warn_percent has to be at most disk_full_percent ({full}), found {warn}"
        );
        store.sink().error("invalid_value", place, message);
    }
    store.finish();
    Some(StoreConfig {
        kind: kind.flatten()?,
        retention: retention?,
        disk_warn_percent: warn? as u8,
        disk_full_percent: full? as u8,
    })
}

fn read_retention(retention: &TableReader<'_>) -> Option<Retention> {
    let events = retention.table("events");
    let blobs = retention.table("blobs");
    let dedupe = retention.table("dedupe");
    let dead = retention.table("dead_letters");
    let (events, blobs, dedupe, dead) = (events?, blobs?, dedupe?, dead?);
    let read = (
        events.duration("age"),
        size::read(&events, "bytes", 1 << 20),
        dedupe.duration("age"),
        dedupe.integer("ids", 1..=1 << 32),
        dead.integer("count", 1..=1 << 32),
        size::read(&dead, "bytes", 1 << 20),
    );
    let read_blobs = (
        blobs.duration("age"),
        size::read(&blobs, "bytes", 1 << 20),
        size::read(&blobs, "source_bytes", 1 << 20),
    );
    events.finish();
    blobs.finish();
    dedupe.finish();
    dead.finish();
    Some(Retention {
        events_age: read.0?,
        events_bytes: read.1?,
        blobs_age: read_blobs.0?,
        blobs_bytes: read_blobs.1?,
        blobs_source_bytes: read_blobs.2?,
        dedupe_age: read.2?,
        dedupe_ids: read.3?,
        dead_letters_count: read.4?,
        dead_letters_bytes: read.5?,
    })
}

pub(super) fn limits(root: &TableReader<'_>) -> Option<LimitsConfig> {
    let limits = root.table("limits")?;
    let frame = limits.integer("frame_bytes_max", 64 << 10..=16 << 20);
    let rate = limits.integer("source_events_per_second", 1..=1_000_000);
    let logs = limits.table("logs").map(|logs| {
        let read = (
            size::read(&logs, "bytes", 4096),
            logs.integer("files", 1..=1000),
        );
        logs.finish();
        read
    });
    limits.finish();
    let (log_bytes, log_files) = logs?;
    Some(LimitsConfig {
        frame_bytes_max: frame? as usize,
        log_bytes: log_bytes?,
        log_files: log_files? as u32,
        source_events_per_second: rate.map(|rate| rate as u32),
    })
}

pub(super) fn clients(root: &TableReader<'_>, around: &Around<'_>) -> Vec<ClientSpec> {
    let mut clients: Vec<ClientSpec> = Vec::new();
    for table in root.tables("clients") {
        let name = read_name(&table, &clients);
        let token = token::read(&table, around, &clients);
        let (scopes, scope_texts) = read_scopes(&table);
        table.finish();
        if let (Some(name), Some((token, hashes))) = (name, token) {
            clients.push(ClientSpec {
                name,
                token,
                hashes,
                scopes,
                scope_texts,
            });
        }
    }
    clients
}

fn read_name(table: &TableReader<'_>, others: &[ClientSpec]) -> Option<String> {
    if table.entry("name").is_none() {
        table.missing("name", r#"add name = "agent""#);
    }
    let (name, place) = table.text_at("name")?;
    if !id::is_client_name(name) {
        table.sink().error_hint(
            "invalid_value",
            place,
            format!("clients.name {name:?} is not a client name"),
            "1 to 64 of a-z, 0-9, _, . and -, a letter or digit first",
        );
    } else if others.iter().any(|other| other.name == name) {
        table.sink().error(
            "duplicate",
            place,
            format!("client {name:?} is there twice"),
        );
    }
    Some(name.to_owned())
}

fn read_scopes(table: &TableReader<'_>) -> (Scopes, Vec<String>) {
    let (mut scopes, mut texts) = (Scopes::default(), Vec::new());
    if table.entry("scopes").is_none() {
        table.missing(
            "scopes",
            &format!("add scopes = [\"read:plugin.inbound.>\"] ({SCOPE_FORMS})"),
        );
    }
    for (text, place) in table.strings("scopes").unwrap_or_default() {
        match scopes.add(text) {
            Ok(()) => texts.push(text.to_owned()),
            Err(error) => table.sink().error("invalid_value", place, error.message),
        }
    }
    (scopes, texts)
}

pub(super) fn grants(root: &TableReader<'_>) -> GrantsByPlugin {
    let mut by_plugin = GrantsByPlugin::new();
    let Some(grants) = root.table("grants") else {
        return by_plugin;
    };
    for entry in grants.entries() {
        let path = grants.path_of(&entry.key);
        let Some(table) = entry.node.as_table() else {
            grants.wrong_type(&entry.key, "a table", &entry.node);
            continue;
        };
        let table = grants.under(path, table, &entry.node.place);
        by_plugin.insert(entry.key.clone(), (additions(table), entry.place.clone()));
    }
    by_plugin
}

/// Reads what is granted in one table.
pub(super) fn additions(table: TableReader<'_>) -> Additions {
    let read = Additions {
        publish: read_filters(&table, "publish"),
        subscribe: read_filters(&table, "subscribe"),
        send: read_kinds(&table, "send"),
        call: read_tools(&table, "call"),
        http_server: table.boolean("http_server").unwrap_or(false),
    };
    table.finish();
    read
}
