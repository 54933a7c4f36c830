//! The operator's file `trunkline.toml` or `trunkline.yaml`: read, layered, checked, explained, compared.
//!
//! Layers: defaults < file < environment (`TRUNKLINE_SECTION__KEY`) < flags. Everything that is
//! wrong is reported at once, with file, line, column and hint. Every option is enforced or
//! refused: what is not built says `not_implemented`. Secrets come by reference only and are shown
//! as `***`.
//!
//! Not here: watching the file, applying a change. Files are read through [`Files`] alone.

mod base;
mod diff;
mod explain;
mod given;
mod granted;
mod http;
mod instance;
mod layer;
mod load;
pub(crate) mod mcp;
mod pollers;
mod private;
mod secret;
mod setting;
mod setup;
mod size;
#[cfg(test)]
mod tests;
mod token;
mod types;
mod validate;
mod yaml;

pub use diff::{Changes, InstanceChange, diff};
pub use explain::Explained;
pub use http::{HttpConfig, Listen, Network, Scrape, TlsFiles, host_of_url};
pub use load::{
    DiskFiles, Files, Loaded, Location, Shown, Sources, load, locate, mcp_names, of_package,
};
pub use mcp::McpNames;
pub use private::{private_paths, private_paths_above, private_paths_of};
pub use secret::{Secret, SecretRedactor};
pub use setting::{SETTINGS, Setting, SettingKind, markdown};
pub use types::{
    BrokerConfig, ClientSpec, Config, InstanceSpec, LimitsConfig, LogFormat, LogLevel, Retention,
    StoreConfig, StoreKind, TokenSpec,
};
