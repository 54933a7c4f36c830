//! The settings of the daemon: one table that is the defaults, the documentation and the set of
//! names an environment variable or a flag may give.

use trunkline_contract::toml::{Kind, Node, Place, Table, parse_value};

/// Names the origin of a default.
pub(super) const DEFAULT: &str = "default";

/// Tells how the text of a variable or a flag is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// Text as it is.
    Text,
    /// A whole number.
    Integer,
    /// A duration such as `30s`.
    Duration,
    /// A size such as `10MiB`, or a whole number of bytes.
    Bytes,
    /// A list of texts; a single text is a list of one.
    List,
}

impl SettingKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Duration => "duration",
            Self::Bytes => "size",
            Self::List => "list of strings",
        }
    }
}

/// Describes one setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Dotted path.
    pub path: &'static str,
    /// How text is read.
    pub kind: SettingKind,
    /// Default as it would stand in the file; `None`: off.
    pub default: Option<&'static str>,
    /// What it does, and what happens at the limit.
    pub doc: &'static str,
}

const fn setting(
    path: &'static str,
    kind: SettingKind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        path,
        kind,
        default: Some(default),
        doc,
    }
}

/// Lists every setting.
pub const SETTINGS: &[Setting] = &[
    setting(
        "plugin_dirs",
        SettingKind::List,
        r#"["plugins"]"#,
        "directories in which `<id>/plugin.toml` or `<id>/nexo-plugin.toml` is looked for, first \
         found wins",
    ),
    setting(
        "broker.data_dir",
        SettingKind::Text,
        r#"".trunkline""#,
        "directory of the store, the state of plugins and their logs",
    ),
    setting(
        "broker.socket",
        SettingKind::Text,
        r#""<data_dir>/trunkline.sock""#,
        "unix socket for clients, at most 107 bytes long; `<data_dir>` is filled in",
    ),
    setting(
        "broker.log_level",
        SettingKind::Text,
        r#""info""#,
        "`error`, `warn`, `info`, `debug` or `trace`",
    ),
    setting(
        "broker.drain_timeout",
        SettingKind::Duration,
        r#""25s""#,
        "how long a stop waits for work in flight; what is left then is redelivered",
    ),
    setting(
        "store.kind",
        SettingKind::Text,
        r#""sqlite""#,
        "`sqlite`, or `memory`, which forgets everything when the daemon ends",
    ),
    setting(
        "store.durability",
        SettingKind::Text,
        r#""fsync""#,
        "`fsync`: what is acked was written through to the disk",
    ),
    setting(
        "store.retention.events.age",
        SettingKind::Duration,
        r#""7d""#,
        "settled events older than this are removed",
    ),
    setting(
        "store.retention.events.bytes",
        SettingKind::Bytes,
        r#""4GiB""#,
        "beyond this the oldest settled events are removed",
    ),
    setting(
        "store.retention.dedupe.age",
        SettingKind::Duration,
        r#""72h""#,
        "how long the id of a source's event is remembered; a later repeat is a new event",
    ),
    setting(
        "store.retention.dedupe.ids",
        SettingKind::Integer,
        "100000",
        "how many ids of one source are remembered",
    ),
    setting(
        "store.retention.dead_letters.count",
        SettingKind::Integer,
        "100000",
        "beyond this the oldest dead letters lose their payload, the record is kept",
    ),
    setting(
        "store.retention.dead_letters.bytes",
        SettingKind::Bytes,
        r#""1GiB""#,
        "beyond this the oldest dead letters lose their payload, the record is kept",
    ),
    setting(
        "store.disk_warn_percent",
        SettingKind::Integer,
        "85",
        "a disk fuller than this is warned of",
    ),
    setting(
        "store.disk_full_percent",
        SettingKind::Integer,
        "92",
        "a disk fuller than this refuses publishes with `storage_full`",
    ),
    setting(
        "limits.frame_bytes_max",
        SettingKind::Integer,
        "1048576",
        "largest frame on a link, 65536 to 16777216; a larger one is discarded and answered with \
         `frame_too_large`",
    ),
    setting(
        "limits.logs.bytes",
        SettingKind::Bytes,
        r#""10MiB""#,
        "size of an instance's log file, then the next one is begun",
    ),
    setting(
        "limits.logs.files",
        SettingKind::Integer,
        "5",
        "log files kept of an instance, the oldest is removed",
    ),
    Setting {
        path: "limits.source_events_per_second",
        kind: SettingKind::Integer,
        default: None,
        doc: "publishes of one source per second, beyond it `rate_limited`",
    },
];

/// Builds the lowest layer.
pub(super) fn defaults() -> Table {
    let place = Place::outside(DEFAULT);
    let mut table = Table::default();
    for setting in SETTINGS {
        let Some(text) = setting.default else {
            continue;
        };
        let node = parse_value(text, &place).expect("a test parses every default");
        let path: Vec<&str> = setting.path.split('.').collect();
        table
            .put(&path, node)
            .expect("no setting is a table of another");
    }
    table
}

impl Setting {
    /// Reads the text of a variable or a flag; what does not fit is found when it is checked.
    pub(super) fn read_text(&self, text: &str, place: &Place) -> Node {
        let as_text = || Node {
            kind: Kind::String(text.to_owned()),
            place: place.clone(),
        };
        let parsed = || parse_value(text, place);
        match self.kind {
            SettingKind::Text | SettingKind::Duration => as_text(),
            SettingKind::Integer | SettingKind::Bytes => match parsed() {
                Some(node) if matches!(node.kind, Kind::Integer(_)) => node,
                _ => as_text(),
            },
            SettingKind::List => match parsed() {
                Some(node) if matches!(node.kind, Kind::Array(_)) => node,
                _ => Node {
                    kind: Kind::Array(vec![as_text()]),
                    place: place.clone(),
                },
            },
        }
    }
}

/// Writes the settings as the table of the documentation.
pub fn markdown() -> String {
    let mut text = String::from("| setting | type | default | meaning |\n|---|---|---|---|\n");
    for setting in SETTINGS {
        let default = setting
            .default
            .map_or("off".to_owned(), |text| format!("`{text}`"));
        text.push_str(&format!(
            "| `{}` | {} | {default} | {} |\n",
            setting.path,
            setting.kind.as_str(),
            setting.doc
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_the_file() {
        let table = defaults();
        assert!(table.get("broker").is_some());
    }
}
