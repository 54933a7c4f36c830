//! The first words on an attached link, and small types that many methods share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name of the protocol on the wire.
pub const PROTOCOL_NAME: &str = "trunkline";
/// Lowest protocol version that this crate speaks.
pub const PROTOCOL_MIN: &str = "1.0";
/// Highest protocol version that this crate speaks.
pub const PROTOCOL_MAX: &str = "1.0";
/// Name and version as a peer answers them.
pub const PROTOCOL: &str = "trunkline/1.0";

/// Is the empty result or parameter object `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// Says which protocol versions one side speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProtocolRange {
    /// Always [`PROTOCOL_NAME`].
    pub name: String,
    /// Lowest version, `major.minor`.
    pub min: String,
    /// Highest version, `major.minor`.
    pub max: String,
}

impl ProtocolRange {
    /// Gives the range of this crate.
    ///
    /// ```
    /// assert_eq!(trunkline_contract::rpc::ProtocolRange::ours().max, "1.0");
    /// ```
    pub fn ours() -> Self {
        Self {
            name: PROTOCOL_NAME.into(),
            min: PROTOCOL_MIN.into(),
            max: PROTOCOL_MAX.into(),
        }
    }

    /// Gives the highest version both sides speak, as `trunkline/<major>.<minor>`.
    ///
    /// # Errors
    /// [`crate::Code::ProtocolMismatch`], naming both ranges.
    ///
    /// ```
    /// use trunkline_contract::rpc::ProtocolRange;
    /// let newer = ProtocolRange { max: "1.7".into(), ..ProtocolRange::ours() };
    /// assert_eq!(ProtocolRange::ours().agree(&newer).unwrap(), "trunkline/1.0");
    /// let other = ProtocolRange { min: "2.0".into(), max: "2.1".into(), ..newer };
    /// assert!(ProtocolRange::ours().agree(&other).is_err());
    /// ```
    pub fn agree(&self, other: &ProtocolRange) -> Result<String, crate::Error> {
        let mismatch = || {
            crate::Error::new(
                crate::Code::ProtocolMismatch,
                format!(
                    "expected {} {} to {}, found {} {} to {}",
                    self.name, self.min, self.max, other.name, other.min, other.max
                ),
            )
        };
        let bounds = |range: &ProtocolRange| Some((version(&range.min)?, version(&range.max)?));
        let ours = bounds(self).ok_or_else(mismatch)?;
        let theirs = bounds(other).ok_or_else(mismatch)?;
        let (low, high) = (ours.0.max(theirs.0), ours.1.min(theirs.1));
        if self.name != other.name || low > high {
            return Err(mismatch());
        }
        Ok(format!("{}/{}.{}", self.name, high.0, high.1))
    }

    /// Says whether an answered version, `trunkline/<major>.<minor>`, lies in this range.
    ///
    /// ```
    /// use trunkline_contract::rpc::ProtocolRange;
    /// assert!(ProtocolRange::ours().includes("trunkline/1.0"));
    /// assert!(!ProtocolRange::ours().includes("trunkline/2.0"));
    /// ```
    pub fn includes(&self, answered: &str) -> bool {
        let Some((name, text)) = answered.split_once('/') else {
            return false;
        };
        match (version(text), version(&self.min), version(&self.max)) {
            (Some(found), Some(min), Some(max)) => {
                name == self.name && (min..=max).contains(&found)
            }
            _ => false,
        }
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Names a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Says how much may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Credit {
    /// Most unsettled events.
    pub events: u32,
    /// Most bytes of unsettled events; one event is always allowed.
    pub bytes: u64,
}

impl Default for Credit {
    fn default() -> Self {
        Self {
            events: crate::limits::CREDIT_EVENTS,
            bytes: crate::limits::CREDIT_BYTES,
        }
    }
}

/// Gives the limits of this link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkLimits {
    /// Largest frame, in both directions.
    pub frame_bytes_max: u64,
    /// Largest event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_bytes_max: Option<u64>,
}

impl LinkLimits {
    /// Gives the limits that follow from the size of a frame.
    ///
    /// ```
    /// let limits = trunkline_contract::rpc::LinkLimits::of_frame(1 << 20);
    /// assert_eq!(limits.event_bytes_max, Some((1 << 20) - 16 * 1024));
    /// ```
    pub fn of_frame(frame_bytes_max: usize) -> Self {
        let event = frame_bytes_max.saturating_sub(crate::limits::EVENT_BYTES_MARGIN);
        Self {
            frame_bytes_max: frame_bytes_max as u64,
            event_bytes_max: Some(event as u64),
        }
    }
}

/// Says what an attached peer wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// One instance of a plugin; the broker continues with `initialize`.
    Plugin,
    /// An agent, an app, the CLI.
    Client,
}

/// Parameters of `connect`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConnectParams {
    /// What the peer wants to be.
    pub role: Role,
    /// Proves who it is; fixes a client's name and scopes. A Unix socket may vouch instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The client's name, where the token leaves it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The plugin's manifest, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
    /// The instance that this link serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What the peer speaks.
    pub protocol: ProtocolRange,
}

/// Leaves the token out.
impl std::fmt::Debug for ConnectParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectParams")
            .field("role", &self.role)
            .field("name", &self.name)
            .field("instance", &self.instance)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// Result of `connect`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConnectResult {
    /// The version agreed on, e.g. `trunkline/1.0`.
    pub protocol: String,
    /// The broker.
    pub host: Host,
    /// Who the peer is now: `client:<name>` or `<plugin>/<instance>`.
    pub source: String,
    /// What it may do; empty for a plugin, whose grants follow from its manifest.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The limits of this link.
    pub limits: LinkLimits,
    /// The services that may be asked for.
    #[serde(default)]
    pub services: Vec<String>,
}
