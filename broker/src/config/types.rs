//! The operator's file, checked and typed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use trunkline_contract::config_schema::Checked;
use trunkline_contract::grant::{Grants, Scopes};
use trunkline_contract::manifest::{Limits, Manifest, OwnServer, RestartPolicy, Transport};
use trunkline_contract::toml::Diagnostic;

use super::http::HttpConfig;
use super::mcp::McpNames;
use super::secret::{Secret, SecretRedactor};
use crate::core::TokenHash;
use crate::install::PackageRef;

/// Holds everything the operator's file says, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file itself.
    pub file: PathBuf,
    /// Its directory; every relative path in it starts here.
    pub base: PathBuf,
    /// Directories of plugins.
    pub plugin_dirs: Vec<PathBuf>,
    /// The daemon.
    pub broker: BrokerConfig,
    /// The store.
    pub store: StoreConfig,
    /// Limits of links, logs and sources.
    pub limits: LimitsConfig,
    /// HTTP.
    pub http: HttpConfig,
    /// Clients in the order of the file.
    pub clients: Vec<ClientSpec>,
    /// Names that MCP clients see, by what they stand for.
    pub mcp_names: McpNames,
    /// Instances in the order of the file, disabled ones too; then MCP servers.
    pub instances: Vec<InstanceSpec>,
    /// Every setting by path, as JSON, to compare two configs.
    pub settings: BTreeMap<&'static str, Value>,
}

impl Config {
    /// Finds an instance.
    pub fn instance(&self, plugin: &str, instance: &str) -> Option<&InstanceSpec> {
        self.instances
            .iter()
            .find(|spec| spec.plugin == plugin && spec.instance == instance)
    }

    /// Makes a redactor that knows every secret of the file.
    pub fn redactor(&self) -> SecretRedactor {
        let of_instances = self.instances.iter().flat_map(|spec| spec.secrets.values());
        SecretRedactor::new(
            of_instances.chain(
                self.clients
                    .iter()
                    .filter_map(|client| client.token.as_ref()),
            ),
        )
    }
}

/// Says how the daemon's own log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    pub(super) const WORDS: &'static [(&'static str, Self)] =
        &[("text", Self::Text), ("json", Self::Json)];
}

/// Enumerates log levels, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something was lost or stopped.
    Error,
    /// Something needs a look.
    Warn,
    /// Starts, stops and states.
    Info,
    /// Decisions.
    Debug,
    /// Everything, payloads included.
    Trace,
}

impl LogLevel {
    pub(super) const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// Names the level.
    pub fn as_str(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, level)| *level == self)
            .map_or("info", |(word, _)| word)
    }
}

/// Holds `[broker]`.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    /// Directory of the store, the state of plugins and their logs.
    pub data_dir: PathBuf,
    /// Unix socket for clients.
    pub socket: PathBuf,
    /// Least severe level that is logged.
    pub log_level: LogLevel,
    /// How it is written.
    pub log_format: LogFormat,
    /// Where spans of sampled traces go, `http://…`; none: nowhere.
    pub otlp_endpoint: Option<String>,
    /// How long a stop waits for work in flight.
    pub drain_timeout: Duration,
}

/// Enumerates the stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// One file per daemon, written through to the disk.
    Sqlite,
    /// Nothing outlives the daemon.
    Memory,
}

/// Holds `[store]`.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreConfig {
    /// Which store.
    pub kind: StoreKind,
    /// What is kept how long.
    pub retention: Retention,
    /// A disk fuller than this is warned of.
    pub disk_warn_percent: u8,
    /// A disk fuller than this refuses publishes.
    pub disk_full_percent: u8,
}

/// Holds `[store.retention]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Retention {
    /// Age at which settled events are removed.
    pub events_age: Duration,
    /// Size at which the oldest settled events are removed.
    pub events_bytes: u64,
    /// How long a blob is kept that no event names.
    pub blobs_age: Duration,
    /// Most bytes of blobs.
    pub blobs_bytes: u64,
    /// Most bytes of blobs that one source put.
    pub blobs_source_bytes: u64,
    /// How long an id is remembered.
    pub dedupe_age: Duration,
    /// How many ids of one source are remembered.
    pub dedupe_ids: u64,
    /// How many dead letters keep their payload.
    pub dead_letters_count: u64,
    /// How many bytes of dead letters keep their payload.
    pub dead_letters_bytes: u64,
}

/// Holds `[limits]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitsConfig {
    /// Largest frame on a link.
    pub frame_bytes_max: usize,
    /// Size of an instance's log file.
    pub log_bytes: u64,
    /// Log files kept of an instance.
    pub log_files: u32,
    /// Publishes of one source per second; `None`: as many as it can.
    pub source_events_per_second: Option<u32>,
}

/// Is a token that is known by its hash alone.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSpec {
    /// SHA-256 of the token.
    pub hash: TokenHash,
    /// When it ends, in ms since 1970; `None`: never.
    pub expires_at_ms: Option<i64>,
}

/// Holds one of `[[clients]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientSpec {
    /// Name; the client's source is `client:<name>`.
    pub name: String,
    /// Token that it shows, if the config refers to one.
    pub token: Option<Secret>,
    /// Tokens that are known by their hash.
    pub hashes: Vec<TokenSpec>,
    /// What it may do.
    pub scopes: Scopes,
    /// The same as written.
    pub scope_texts: Vec<String>,
}

/// Holds one of `[[plugins.<id>]]`, with all that is needed to run it.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSpec {
    /// The plugin's id.
    pub plugin: String,
    /// The instance's name.
    pub instance: String,
    /// What the plugin says about itself.
    pub manifest: Arc<Manifest>,
    /// The plugin's directory, where it runs.
    pub dir: PathBuf,
    /// The package that this directory belongs to, if it was installed as one.
    pub package: Option<PackageRef>,
    /// The config that everybody may see; a secret is `{"$secret": "<key>"}`.
    pub config: Map<String, Value>,
    /// Secret values by key.
    pub secrets: BTreeMap<String, Secret>,
    /// What it may publish and receives.
    pub grants: Grants,
    /// Bounds of its process: the manifest's, overridden by the operator's.
    pub limits: Limits,
    /// When it is started again: the operator's word, else the manifest's.
    pub restart: RestartPolicy,
    /// How long it may stay degraded before its process is replaced; `None`: as long as it likes.
    pub restart_degraded_after: Option<Duration>,
    /// How frames travel.
    pub transport: Transport,
    /// Its own HTTP server, where its manifest asks for one and the operator grants it.
    pub own_server: Option<OwnServer>,
    /// Whether it is to run.
    pub enabled: bool,
    /// Why it cannot run as its manifest stands; empty: it can. Everything else starts without it.
    pub unfit: Arc<[Diagnostic]>,
}

impl InstanceSpec {
    /// Says why it cannot run, in one line; `None`: it can.
    pub fn why_unfit(&self) -> Option<String> {
        let say = |found: &Diagnostic| format!("{}: {}", found.place(), found.message);
        let said: Vec<String> = self.unfit.iter().map(say).collect();
        (!said.is_empty()).then(|| format!("config_invalid: {}", said.join("; ")))
    }

    /// Names the instance as topics' sources do: `plugin/instance`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.plugin, self.instance)
    }

    /// Gives the secrets as the `secrets` member of `initialize`.
    pub fn secrets_json(&self) -> Map<String, Value> {
        let text = |secret: &Secret| Value::String(secret.expose().to_owned());
        self.secrets
            .iter()
            .map(|(name, secret)| (name.clone(), text(secret)))
            .collect()
    }

    /// Makes a redactor that knows this instance's secrets.
    pub fn redactor(&self) -> SecretRedactor {
        SecretRedactor::new(self.secrets.values())
    }

    /// Puts config and secrets together again, to compare them.
    pub(super) fn checked(&self) -> Checked {
        let secrets = self.secrets.iter();
        Checked {
            config: self.config.clone(),
            secrets: secrets
                .map(|(name, s)| (name.clone(), s.expose().to_owned()))
                .collect(),
        }
    }
}
