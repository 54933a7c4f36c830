//! Lays the environment and the flags over the file.

use std::collections::BTreeMap;

use trunkline_contract::toml::{Place, Sink, Table, nearest};

use super::setting::SETTINGS;

const PREFIX: &str = "TRUNKLINE_";

/// Lays variables such as `TRUNKLINE_BROKER__LOG_LEVEL` over a table.
///
/// Names without `__` are not settings (`TRUNKLINE_LINK_FD` and its like), save
/// `TRUNKLINE_PLUGIN_DIRS`, which has no section.
pub(super) fn environment(table: &mut Table, env: &BTreeMap<String, String>, sink: &Sink) {
    for (name, text) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if !rest.contains("__") && rest != "PLUGIN_DIRS" {
            continue;
        }
        let path = rest.to_ascii_lowercase().replace("__", ".");
        lay(table, &path, text, &Place::outside(name.as_str()), sink);
    }
}

/// Lays flags such as `broker.log_level=debug` over a table.
pub(super) fn flags(table: &mut Table, flags: &[String], sink: &Sink) {
    for flag in flags {
        let Some((path, text)) = flag.split_once('=') else {
            let place = Place::outside(format!("--set {flag}"));
            let hint = "write --set broker.log_level=debug";
            sink.error_hint(
                "invalid_value",
                &place,
                "expected key=value, found no =",
                hint,
            );
            continue;
        };
        lay(
            table,
            path.trim(),
            text,
            &Place::outside(format!("--set {}", path.trim())),
            sink,
        );
    }
}

fn lay(table: &mut Table, path: &str, text: &str, place: &Place, sink: &Sink) {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.path == path) else {
        let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.path).collect();
        let hint = match path.split('.').next() {
            Some("plugins" | "clients" | "grants") => {
                "plugins, clients and grants are given in the file alone".to_owned()
            }
            _ => nearest(path, &known).map_or_else(
                || "trunkline config explain lists the settings".to_owned(),
                |near| format!("did you mean {near:?}?"),
            ),
        };
        sink.error_hint(
            "unknown_key",
            place,
            format!("unknown setting {path:?}"),
            hint,
        );
        return;
    };
    let keys: Vec<&str> = path.split('.').collect();
    if let Err(key) = table.put(&keys, setting.read_text(text, place)) {
        let message = format!("{path} cannot be set: {key} is no table");
        sink.error("wrong_type", place, message);
    }
}
