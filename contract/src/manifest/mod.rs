//! The manifest: what a plugin says about itself, read without running any of its code.
//!
//! [`Manifest::parse`] reads `plugin.toml`, where a key that is not known is an error;
//! [`Manifest::parse_foreign`] reads `nexo-plugin.toml` of the nexo contract 1.x, where it is a
//! warning. Both report every problem at once, with line, column and hint. What the design names
//! and this version does not enforce is refused as `not_implemented`: nothing is accepted and
//! ignored.

mod channels;
mod config;
mod fields;
mod foreign;
mod native;
mod own_server;
mod pollers;
#[cfg(test)]
mod tests;
mod tools;
mod types;
mod webhooks;

pub use crate::toml::{Diagnostic, Severity};
pub use fields::{check_kind, read_filters, read_kinds, read_limits, read_tools};
pub use own_server::{HttpSocket, OwnServer};
pub use pollers::{Poller, PollerAuth, PollerOauth};
pub use tools::{ManifestTool, SchemaFileRef};
pub use types::{
    Capabilities, Channel, Flavor, Isolation, Limits, Manifest, Parsed, RestartPolicy, Supervisor,
    Transport,
};

/// Names the native manifest file.
pub const FILE: &str = "plugin.toml";

/// Names the manifest file of the foreign contract.
pub const FOREIGN_FILE: &str = "nexo-plugin.toml";

/// The contract version this build speaks.
pub const PROTOCOL: &str = "1.0";

/// The nexo version whose contract is spoken to foreign plugins.
pub const NEXO_VERSION: &str = "0.1.5";
