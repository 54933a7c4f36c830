//! What an operator asks: scope `admin`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::dead_letter::DeadLetter;
use super::delivery::Start;
use super::lifecycle::{InstanceState, ProgressParams};
use super::log::LogLevel;
use super::wire::or_default;
use crate::topic::Filter;

/// Result of `admin.status`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AdminStatusResult {
    /// Version of the broker.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// Where HTTP is answered, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// The store.
    pub store: StoreStatus,
    /// Every configured instance.
    #[serde(default)]
    pub instances: Vec<InstanceStatus>,
    /// Every subscription.
    #[serde(default)]
    pub subscriptions: Vec<SubscriptionStatus>,
    /// Clients that have a link.
    #[serde(default)]
    pub clients: Vec<ClientStatus>,
    /// Counters since the start, by name.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// Describes the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreStatus {
    /// Which store.
    pub kind: String,
    /// What an acknowledged event survives: `fsync` (a power cut), `os` (a crash of the daemon), `none`.
    pub durability: String,
    /// Highest number of an event.
    pub head: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes free inside the store.
    pub free_bytes: u64,
    /// Bytes of the events that are kept.
    pub event_bytes: u64,
    /// Share of the disk that is used.
    pub disk_used_percent: f64,
}

/// Describes an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// The plugin.
    pub plugin: String,
    /// The instance.
    pub instance: String,
    /// Its state.
    pub state: InstanceState,
    /// What it is meant to do; in `admin.plugins.list` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Desired>,
    /// The directory that it runs from; in `admin.plugins.list` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Which try in a row failed or is made, of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When the next one is made, or the next start, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<String>,
    /// What it last told of its start, until that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressParams>,
    /// Its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How often it was restarted.
    #[serde(default)]
    pub restarts: u64,
    /// Its current activation.
    #[serde(default)]
    pub generation: u64,
    /// Its link's transport.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// When its deliveries are settled: `on_ack`, or `on_write` for a legacy peer.
    #[serde(default)]
    pub settles: String,
    /// Deliveries that are leased to it.
    #[serde(default)]
    pub in_flight: u64,
    /// Events that wait for it.
    #[serde(default)]
    pub pending: u64,
    /// How far its loop lags behind, in ms, as its last answer to a ping said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// Age of the oldest event that it has not settled, in ms, if that is known without reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// When it last brought something in from outside, RFC 3339, if it did since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_inbound_at: Option<String>,
    /// Its last failure or that of a handler of it, since the daemon started; secrets are blanked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<String>,
}

/// Says what the operator wants of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It is to run.
    Running,
    /// It is switched off, by the config or by `disable`.
    Disabled,
}

/// Says whether a subscription keeps up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionState {
    /// It is served.
    #[default]
    Active,
    /// Nobody serves it.
    Idle,
    /// It was told of a gap.
    Lagging,
    /// It is paused.
    Paused,
    /// Unserved for too long; it holds nothing.
    Expired,
}

/// Describes a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionStatus {
    /// Its full name.
    pub name: String,
    /// What it selects.
    pub filters: Vec<Filter>,
    /// Whether it keeps up.
    #[serde(default)]
    pub state: SubscriptionState,
    /// Everything up to here is settled.
    pub cursor: u64,
    /// Highest number in the store.
    pub head: u64,
    /// Events that wait.
    #[serde(default)]
    pub pending: u64,
    /// Deliveries that are leased.
    #[serde(default)]
    pub in_flight: u64,
    /// Events that wait for another attempt or behind one.
    #[serde(default)]
    pub parked: u64,
    /// Its dead letters.
    #[serde(default)]
    pub dead: u64,
    /// Links that serve it.
    #[serde(default)]
    pub members: u64,
    /// Age of its oldest unsettled event, in ms, if that is known without reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
}

/// Describes a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientStatus {
    /// Its name.
    pub name: String,
    /// How many links it has.
    pub links: u64,
}

/// Parameters of `admin.tail`; answered `{}`, then [`AdminEventParams`] until the link or
/// `admin.tail.end` ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdminTailParams {
    /// What to show; empty: everything.
    #[serde(default, deserialize_with = "or_default")]
    pub filters: Vec<Filter>,
    /// Where to begin.
    #[serde(default, deserialize_with = "or_default")]
    pub start: Start,
    /// End after so many events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Parameters of the notification `admin.event`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AdminEventParams {
    /// The event's number.
    pub seq: u64,
    /// Its topic.
    pub topic: String,
    /// Its envelope.
    #[schemars(with = "serde_json::Value")]
    pub event: Box<RawValue>,
}

/// Parameters of `admin.dlq.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DlqListParams {
    /// Of this subscription alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Of this plugin's instances alone; not with `subscription`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Of events of this session alone: the target of what is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// After this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most records to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Result of `admin.dlq.list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct DlqListResult {
    /// Oldest first.
    #[serde(default)]
    pub letters: Vec<DeadLetter>,
    /// Where the next page begins, if there is one: its `after`. A page may be short and have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there are in all, or of the subscription that was named.
    #[serde(default)]
    pub total: u64,
}

/// Parameters of `admin.dlq.show`; the result is a [`DeadLetter`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DlqShowParams {
    /// The record.
    pub id: String,
}

/// Parameters of `admin.dlq.replay` and `admin.dlq.discard`: `id`, or one of the others and perhaps `session`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DlqSelectParams {
    /// One record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Those of one subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Those of one plugin's instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Of these, events of one session: the target of what is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// All of them.
    #[serde(default, deserialize_with = "or_default")]
    pub all: bool,
}

/// Result of `admin.dlq.replay` and `admin.dlq.discard`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DlqCountResult {
    /// How many records it was done to.
    pub count: u64,
}

/// Parameters of `admin.plugins.restart`, `enable` and `disable`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginSelectParams {
    /// The plugin.
    pub plugin: String,
    /// The instance; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Parameters of `admin.plugins.verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginsVerifyParams {
    /// The plugin; absent: every installed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
}

/// Parameters of `admin.plugins.upgrade`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginsUpgradeParams {
    /// The plugin.
    pub plugin: String,
    /// The instance; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The directory of a package of it that was placed and is to be the installed one; not with `instance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
}

/// Result of `admin.plugins.upgrade`: every instance that was meant has a new process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginsUpgradeResult {
    /// What was replaced, in this order.
    pub instances: Vec<UpgradedInstance>,
}

/// One instance whose process was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpgradedInstance {
    /// The instance.
    pub instance: String,
    /// The version in the manifest before.
    pub from: String,
    /// The version in the manifest now.
    pub to: String,
    /// `overlap`: the new process was ready before the old one ended. `stopped_first`: the old one ended first.
    /// `shared`: so did the process that the instances share. `not_running`: there was no process.
    pub how: String,
}

/// Describes the package of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackageStatus {
    /// The directory or archive that it was taken from.
    pub source: String,
    /// Its version.
    pub version: String,
    /// The hash of its tree.
    pub sha256: String,
    /// When it was added, RFC 3339.
    pub added_at: String,
    /// Whether a signature was checked: none ever is.
    #[serde(default)]
    pub signed: bool,
    /// Whether its files are those that were added, as the last check found.
    pub state: PackageState,
    /// When that was, RFC 3339; absent: not since the broker started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<String>,
    /// What differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Says whether the files of a package are those that were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PackageState {
    /// They are.
    Intact,
    /// They are not: nothing of it is started.
    Changed,
    /// Nobody looked since the broker started: each start looks first.
    Unchecked,
}

/// Describes a plugin: one that is configured, or could be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginStatus {
    /// Plugin id.
    pub id: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Where it is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its package, if it is installed as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageStatus>,
    /// Kinds that it serves.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Its instances; none: it is installed, and no config names it.
    #[serde(default)]
    pub instances: Vec<InstanceStatus>,
}

/// Result of `admin.plugins.list` and `admin.plugins.verify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginsListResult {
    /// Every plugin.
    #[serde(default)]
    pub plugins: Vec<PluginStatus>,
}

/// Parameters of `admin.pollers.list`: each one that is given leaves the others out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PollersListParams {
    /// Of this plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Of this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// Describes a poller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PollerStatus {
    /// The plugin.
    pub plugin: String,
    /// The instance.
    pub instance: String,
    /// The channel's kind.
    pub kind: String,
    /// When it is due next, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    /// It is at work.
    #[serde(default)]
    pub running: bool,
    /// What its engine keeps, as the engine writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<serde_json::Value>,
    /// What came of the last order, as the engine writes it: `{id, control, done, text, found?}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<serde_json::Value>,
}

/// Result of `admin.pollers.list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PollersListResult {
    /// By plugin, instance and kind.
    #[serde(default)]
    pub pollers: Vec<PollerStatus>,
}

/// Says what a poller is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PollerOrder {
    /// Ask now, unless the server asked for time.
    Run,
    /// Ask now, say what is new, change nothing.
    DryRun,
    /// Do nothing until it is resumed.
    Pause,
    /// Go on; what failed is forgiven.
    Resume,
    /// Forget cursor, validators and what was seen: all that is listed is handed over anew.
    Reset,
}

/// Parameters of `admin.pollers.order`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PollerOrderParams {
    /// The plugin.
    pub plugin: String,
    /// The instance.
    pub instance: String,
    /// The channel's kind.
    pub kind: String,
    /// What it is to do.
    pub order: PollerOrder,
    /// Why, for whoever looks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Result of `admin.pollers.order`: it is durable, and done once the poller's answer has this id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PollerOrderResult {
    /// Its id.
    pub id: String,
}

/// Parameters of `admin.logs`; old lines as [`AdminLogParams`], then the answer `{}`, then new lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogsParams {
    /// The plugin.
    pub plugin: String,
    /// The instance; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// How many old lines to begin with.
    #[serde(default, deserialize_with = "or_default")]
    pub lines: u32,
    /// Go on with new lines until the link or `admin.logs.end` ends it.
    #[serde(default, deserialize_with = "or_default")]
    pub follow: bool,
}

/// Says where a log line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output of the process.
    Stdout,
    /// Standard error of the process.
    Stderr,
    /// The method `log`.
    Log,
    /// The broker, about this instance.
    Broker,
}

/// Parameters of the notification `admin.log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdminLogParams {
    /// The plugin.
    pub plugin: String,
    /// The instance.
    pub instance: String,
    /// Where it came from.
    pub stream: LogStream,
    /// How important it is.
    #[serde(default)]
    pub level: LogLevel,
    /// When, RFC 3339.
    pub at: String,
    /// The line, without its newline.
    pub line: String,
}

/// Says how bad a finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Will hurt.
    Warning,
    /// Hurts.
    Error,
}

/// Is one thing that looks wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable snake_case name.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub text: String,
    /// What to do.
    #[serde(default)]
    pub hint: String,
}

/// Result of `admin.doctor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorResult {
    /// Worst first; empty: all is well.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// Result of `admin.config.reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigReloadResult {
    /// What changed, one line each.
    #[serde(default)]
    pub changes: Vec<String>,
}
