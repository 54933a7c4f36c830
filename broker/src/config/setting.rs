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
    /// `true` or `false`.
    Boolean,
}

impl SettingKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Duration => "duration",
            Self::Bytes => "size",
            Self::List => "list of strings",
            Self::Boolean => "boolean",
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
        "broker.log_format",
        SettingKind::Text,
        r#""text""#,
        "how the daemon writes its own log: `text`, or `json`, one object per line",
    ),
    Setting {
        path: "broker.otlp_endpoint",
        kind: SettingKind::Text,
        default: None,
        doc: "collector that gets the spans of sampled traces by OTLP over HTTP, such as \
              `http://127.0.0.1:4318`; needs a daemon built with the feature `otlp`",
    },
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
        "store.retention.blobs.age",
        SettingKind::Duration,
        r#""24h""#,
        "how long a blob is kept that no retained event names",
    ),
    setting(
        "store.retention.blobs.bytes",
        SettingKind::Bytes,
        r#""8GiB""#,
        "beyond this another blob is refused with `quota_exceeded`",
    ),
    setting(
        "store.retention.blobs.source_bytes",
        SettingKind::Bytes,
        r#""4GiB""#,
        "the same for what one plugin instance or client put",
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
    setting(
        "http.listen",
        SettingKind::Text,
        r#""127.0.0.1:7711""#,
        "address for HTTP, `unix:<path>` or `off`; port 0 lets the system choose, the address is in \
         `<data_dir>/http.addr`",
    ),
    Setting {
        path: "http.tls_cert",
        kind: SettingKind::Text,
        default: None,
        doc: "file with the certificate chain (PEM), to speak TLS; with `tls_key`",
    },
    Setting {
        path: "http.tls_key",
        kind: SettingKind::Text,
        default: None,
        doc: "file with the certificate's key (PEM)",
    },
    setting(
        "http.behind_proxy",
        SettingKind::Boolean,
        "false",
        "a proxy in front speaks TLS: requests are taken from `trusted_proxies` alone, and the \
         caller's address from their `X-Forwarded-For`",
    ),
    setting(
        "http.trusted_proxies",
        SettingKind::List,
        r#"["127.0.0.0/8", "::1"]"#,
        "networks in which that proxy is",
    ),
    Setting {
        path: "http.public_url",
        kind: SettingKind::Text,
        default: None,
        doc: "what the world calls it, such as `https://bots.example.com`; addresses of webhooks \
              begin with it",
    },
    setting(
        "http.hosts",
        SettingKind::List,
        "[]",
        "names in a request's `Host` that are answered beside localhost, the address bound and that \
         of `public_url`; any other: 421",
    ),
    setting(
        "http.origins",
        SettingKind::List,
        "[]",
        "web origins whose pages may send requests; any other `Origin`: 403",
    ),
    setting(
        "http.connections_max",
        SettingKind::Integer,
        "1024",
        "connections at once; beyond it, others wait to be accepted",
    ),
    setting(
        "http.connections_per_source_max",
        SettingKind::Integer,
        "256",
        "connections of one address at once; another is closed",
    ),
    setting(
        "http.header_timeout",
        SettingKind::Duration,
        r#""10s""#,
        "how long the head of a request may take, and a connection be idle; then it is closed",
    ),
    setting(
        "http.body_timeout",
        SettingKind::Duration,
        r#""30s""#,
        "how long the body of a request may take; then 408",
    ),
    setting(
        "http.header_bytes_max",
        SettingKind::Bytes,
        r#""32KiB""#,
        "size of the head of a request, at least 8 KiB; larger: 431",
    ),
    setting(
        "http.body_bytes_max",
        SettingKind::Bytes,
        r#""1MiB""#,
        "size of the body of a request; larger: 413",
    ),
    setting(
        "http.metrics",
        SettingKind::Text,
        r#""token""#,
        "who may read `/metrics`: `token`, whoever has a token with any `read` scope or `admin`; `open`, \
         whoever reaches the address",
    ),
    setting(
        "http.required",
        SettingKind::List,
        "[]",
        "instances without which `/readyz` answers 503: `plugin/instance`, or `plugin` for all of its",
    ),
    setting(
        "http.hooks_per_source_per_second",
        SettingKind::Integer,
        "50",
        "requests of one address (of IPv6: its /64) to one webhook, two seconds' worth at once; more: 429",
    ),
    Setting {
        path: "http.hooks_per_second",
        kind: SettingKind::Integer,
        default: None,
        doc: "requests of all addresses to all webhooks together; more: 429",
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
            SettingKind::Boolean => match parsed() {
                Some(node) if matches!(node.kind, Kind::Boolean(_)) => node,
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
