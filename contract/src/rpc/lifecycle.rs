//! Handshake and lifecycle of an instance.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::connect::{Credit, Host, LinkLimits, ProtocolRange};
use super::dead_letter::Exit;
use super::delivery::{RetryPolicy, Start};
use super::wire::or_default;
use crate::message::ChannelFeatures;
use crate::topic::Filter;
use crate::webhook::WebhookSource;

/// Holds secret values. Its debug form shows names only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secrets(pub BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.keys().map(|name| (name, "…")))
            .finish()
    }
}

/// Parameters of `initialize`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InitializeParams {
    /// What the broker speaks.
    pub protocol: ProtocolRange,
    /// The broker.
    pub host: Host,
    /// Version of the foreign host contract that legacy peers look for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nexo_version: Option<String>,
    /// The plugin that the peer is.
    pub plugin: String,
    /// The instance that this link serves.
    pub instance: String,
    /// The configuration; a secret stands as `{"$secret": name}`.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Values of the secrets. This member is left out of every log and trace.
    #[serde(default)]
    pub secrets: Secrets,
    /// A directory that belongs to this instance alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<String>,
    /// Public base address of its webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks_url: Option<String>,
    /// What its channels can do, by kind, as far as the manifest says it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, ChannelFeatures>,
    /// The webhooks of the manifest whose requests are parts or receipts, without a handler.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookSource>,
    /// The limits of this link.
    pub limits: LinkLimits,
    /// The services that may be asked for.
    #[serde(default)]
    pub services: Vec<String>,
}

/// Names a plugin inside [`InitializeResult`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginIdentity {
    /// Its id and version.
    pub plugin: PluginSection,
}

/// Is the `plugin` section of a manifest, as far as the handshake needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginSection {
    /// Plugin id.
    pub id: String,
    /// Plugin version.
    #[serde(default)]
    pub version: String,
}

/// Result of `initialize`. A reply without `protocol` is a legacy peer's.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InitializeResult {
    /// Who the peer is; must be the plugin that was expected.
    pub manifest: PluginIdentity,
    /// Version of the peer's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// The version chosen, e.g. `trunkline/1.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// How much the peer takes in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Credit>,
    /// Additions to the manifest, with the manifest's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declares: Option<Value>,
    /// Further subscriptions of this instance.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub subscriptions: Vec<SubscriptionDeclaration>,
}

/// Declares one further subscription of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionDeclaration {
    /// Last part of its name, `instance.<plugin>.<instance>.<name>`.
    pub name: String,
    /// What it selects.
    pub filters: Vec<Filter>,
    /// Name of the group that shares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Where it begins when it is created.
    #[serde(default)]
    pub start: Start,
    /// How failures are handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
}

/// Parameters of `instance.activate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivateParams {
    /// Number of this activation; older ones are refused from now on.
    pub generation: u64,
}

/// Parameters of `instance.deactivate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeactivateParams {
    /// Time to finish what runs.
    pub timeout_ms: u64,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Parameters of `instance.pause` and `instance.resume`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PauseParams {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Parameters of `instance.open`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceOpenParams {
    /// The plugin that the process is.
    pub plugin: String,
    /// The instance that it is to serve beside those that it serves already.
    pub instance: String,
    /// The unix socket on which the instance's own link begins.
    pub address: String,
    /// What that link's `connect` shows. It is taken once.
    pub token: String,
}

impl fmt::Debug for InstanceOpenParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceOpenParams")
            .field("plugin", &self.plugin)
            .field("instance", &self.instance)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Parameters of `instance.close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceCloseParams {
    /// The plugin that the process is.
    pub plugin: String,
    /// The instance that is to be gone. One that is gone already is an answer too.
    pub instance: String,
    /// Time to finish what runs; then it is ended by force.
    pub timeout_ms: u64,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Result of `instance.close`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceCloseResult {
    /// What the instance failed with, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Says what an instance reports about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportedState {
    /// It serves.
    Ready,
    /// It serves with restrictions.
    Degraded,
    /// It could not start and wants to be started again later.
    RetryLater,
    /// A person must log in.
    NeedsAuth,
    /// It cannot work with this configuration.
    Fatal,
}

/// Parameters of `instance.status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusParams {
    /// The state.
    pub state: ReportedState,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Which try in a row this is about, of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Where a person can help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Parameters of `instance.progress`; as part of a status, what the instance last told of its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressParams {
    /// How much is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<f64>,
    /// Of how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// What happens.
    #[serde(default)]
    pub message: String,
    /// Data for a user interface, e.g. the content of a QR code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// Parameters of `ping`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PingParams {}

/// Result of `ping`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PingResult {
    /// How far the host language's loop lags behind.
    #[serde(default)]
    pub loop_lag_ms: u64,
    /// Deliveries that are being handled.
    #[serde(default)]
    pub in_flight: u64,
}

/// Parameters of `config.update`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigUpdateParams {
    /// The new configuration.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Values of its secrets.
    #[serde(default)]
    pub secrets: Secrets,
    /// Counts the configurations of this instance.
    pub revision: u64,
}

/// Parameters of `shutdown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShutdownParams {
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Time to finish what runs; then the process is ended.
    pub timeout_ms: u64,
}

/// Result of `shutdown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShutdownResult {
    /// True.
    #[serde(default)]
    pub ok: bool,
}

/// Says what state an instance is in, as the broker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Its process or link is coming up.
    Starting,
    /// Initialized, nothing opened outside.
    Standby,
    /// It serves.
    Ready,
    /// It serves with restrictions.
    Degraded,
    /// A person must log in.
    NeedsAuth,
    /// It takes no new work.
    Paused,
    /// It finishes its work.
    Draining,
    /// It waits for its next start.
    BackingOff,
    /// It was stopped.
    Stopped,
    /// It will not be started again by itself.
    Failed,
    /// The operator switched it off.
    Disabled,
    /// Reserved.
    Frozen,
}

impl InstanceState {
    /// Gives the text form.
    ///
    /// ```
    /// use trunkline_contract::rpc::InstanceState;
    /// assert_eq!(InstanceState::BackingOff.as_str(), "backing_off");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::NeedsAuth => "needs_auth",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::BackingOff => "backing_off",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
            Self::Frozen => "frozen",
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Payload of `plugin.lifecycle.<plugin>.<instance>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LifecyclePayload {
    /// The state.
    pub state: InstanceState,
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
    /// The current activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// How its process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// How often it was restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// What it published in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
}

/// Says which publishes of an instance were refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// Text form of the error code.
    pub code: String,
    /// The topic of the last one.
    #[serde(default)]
    pub topic: String,
    /// How many since the last report.
    pub count: u64,
}
