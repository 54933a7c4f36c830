//! What a manifest says, typed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::own_server::OwnServer;
use super::pollers::Poller;
use super::tools::{ManifestTool, resolve};
use super::{Diagnostic, FILE, FOREIGN_FILE, foreign, native};
use crate::config_schema::ConfigSchema;
use crate::message::ChannelFeatures;
use crate::toml::{Place, Severity, Sink, Table, has_errors, parse};
use crate::tool::{ToolDeclaration, ToolFilter};
use crate::topic::Filter;
use crate::webhook::Webhook;

/// Carries a value that was read, and the warnings that came with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<T> {
    /// What was read.
    pub value: T,
    /// What a person should look at; none of it is an error.
    pub warnings: Vec<Diagnostic>,
}

/// Tells which contract a plugin speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// This contract (`plugin.toml`).
    Native,
    /// The nexo contract 1.x (`nexo-plugin.toml`).
    Foreign,
}

/// Tells when an instance that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Whatever the exit status.
    #[default]
    Always,
    /// After a signal or an exit status other than 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// Lists the words used in manifests and configs.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("always", Self::Always),
        ("on_failure", Self::OnFailure),
        ("never", Self::Never),
    ];

    /// Names the policy as manifests and configs do.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::OnFailure => "on_failure",
            Self::Never => "never",
        }
    }
}

/// Tells how the frames of a spawned plugin travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Transport {
    /// A socket pair inherited as `TRUNKLINE_LINK_FD`; stdout and stderr are logs.
    #[default]
    Fd,
    /// stdin and stdout; stderr is the log.
    Stdio,
}

impl Transport {
    /// Names the transport as manifests do.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fd => "fd",
            Self::Stdio => "stdio",
        }
    }
}

/// Tells whether the instances of a plugin have a process each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// A process for each instance.
    #[default]
    Process,
    /// One process for all instances.
    Shared,
}

impl Isolation {
    /// Names the isolation as manifests do.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Shared => "shared",
        }
    }
}

/// Describes a channel kind that a plugin serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// The kind, the third segment of the channel's topics.
    pub kind: String,
    /// What the channel can do; the plugin's SDK holds it to that, the broker does not look at it.
    pub features: ChannelFeatures,
}

/// Lists what a plugin asks for beyond its channels; the operator has to grant each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Capabilities {
    /// Topics to publish.
    pub publish: Vec<Filter>,
    /// Topics to receive.
    pub subscribe: Vec<Filter>,
    /// Channel kinds to send to.
    pub send: Vec<String>,
    /// Tools to call.
    pub call: Vec<ToolFilter>,
    /// An HTTP server of its own, behind the daemon's.
    pub http_server: bool,
}

/// Bounds a plugin's process; `None` leaves the daemon's own limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Address space in MiB.
    pub memory_mb: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// Largest file it may write, in MiB.
    pub file_size_mb: Option<u64>,
}

impl Limits {
    /// Takes each limit from `over` where it has one.
    pub fn overridden_by(self, over: Limits) -> Limits {
        Limits {
            memory_mb: over.memory_mb.or(self.memory_mb),
            open_files: over.open_files.or(self.open_files),
            file_size_mb: over.file_size_mb.or(self.file_size_mb),
        }
    }
}

/// Says how an instance is kept running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor {
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How long a start may take without a sign of progress.
    pub start_timeout: Duration,
    /// How often it is pinged; three misses abort it.
    pub ping_interval: Duration,
    /// How long an asked-for stop may take before the process is killed.
    pub stop_timeout: Duration,
    /// Bounds of its process.
    pub limits: Limits,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::Always,
            start_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }
}

/// Holds what a plugin says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The plugin's id; the handshake compares it.
    pub id: String,
    /// The plugin's version, as semantic versioning has it.
    pub version: String,
    /// Name for people.
    pub name: Option<String>,
    /// One line for people.
    pub description: Option<String>,
    /// Contract version asked for.
    pub protocol: String,
    /// Program and arguments; a relative program is relative to the plugin's directory. None where pollers are all.
    pub command: Vec<String>,
    /// Additions to the environment (foreign manifests only).
    pub env: BTreeMap<String, String>,
    /// Channel kinds served.
    pub channels: Vec<Channel>,
    /// What can be called.
    pub tools: Vec<ManifestTool>,
    /// Webhooks received.
    pub webhooks: Vec<Webhook>,
    /// What is polled without code; then there is no command.
    pub pollers: Vec<Poller>,
    /// Keys of an instance's config.
    pub config: ConfigSchema,
    /// What is asked for beyond the channels.
    pub capabilities: Capabilities,
    /// Its own HTTP server, where the capabilities ask for one.
    pub own_server: OwnServer,
    /// How instances are kept running.
    pub supervisor: Supervisor,
    /// How frames travel.
    pub transport: Transport,
    /// Whether instances share a process.
    pub isolation: Isolation,
    /// Which contract the plugin speaks.
    pub flavor: Flavor,
}

impl Manifest {
    /// Parses the text of a `plugin.toml`.
    ///
    /// # Errors
    /// Every problem at once, in the order of the text; unknown keys are errors.
    pub fn parse(text: &str) -> Result<Parsed<Self>, Vec<Diagnostic>> {
        Self::parse_with(text, FILE, native::read)
    }

    /// Parses the text of a `nexo-plugin.toml`.
    ///
    /// # Errors
    /// Every problem at once; unknown keys, and keys that are understood and have no effect here,
    /// are warnings.
    pub fn parse_foreign(text: &str) -> Result<Parsed<Self>, Vec<Diagnostic>> {
        Self::parse_with(text, FOREIGN_FILE, foreign::read)
    }

    fn parse_with(
        text: &str,
        file: &str,
        read: fn(&Table, Place, &Sink) -> Option<Self>,
    ) -> Result<Parsed<Self>, Vec<Diagnostic>> {
        let table = parse(text, file).map_err(|diagnostic| vec![*diagnostic])?;
        let sink = Sink::default();
        let manifest = read(&table, Place::start_of(file), &sink);
        let diagnostics = sink.into_sorted();
        match manifest {
            Some(value) if !has_errors(&diagnostics) => {
                debug_assert!(diagnostics.iter().all(|d| d.severity == Severity::Warning));
                Ok(Parsed {
                    value,
                    warnings: diagnostics,
                })
            }
            _ => Err(diagnostics),
        }
    }

    /// Gives what its channels can do, by kind; a kind of which nothing is said is left out.
    pub fn features(&self) -> BTreeMap<String, ChannelFeatures> {
        let channels = self.channels.iter();
        let said = channels.filter(|channel| channel.features != ChannelFeatures::default());
        said.map(|channel| (channel.kind.clone(), channel.features.clone()))
            .collect()
    }

    /// Lists the kinds of the channels served.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|channel| channel.kind.as_str())
    }

    /// Reads the schemas of tools that stand in files of their own.
    ///
    /// # Arguments
    /// * `read` - gives the text of a file relative to the plugin's directory, or says why not.
    ///
    /// # Errors
    /// Every file that cannot be read, and every tool that is not valid with what it holds.
    pub fn read_schemas(
        &mut self,
        read: impl FnMut(&str) -> Result<String, String>,
    ) -> Result<(), Vec<Diagnostic>> {
        let diagnostics = resolve(&mut self.tools, read);
        if diagnostics.is_empty() {
            Ok(())
        } else {
            Err(diagnostics)
        }
    }

    /// Lists what can be called; [`Manifest::read_schemas`] comes first where schemas are files.
    pub fn tool_declarations(&self) -> Vec<ToolDeclaration> {
        let tools = self.tools.iter();
        tools.map(|tool| tool.declaration.clone()).collect()
    }

    /// Tells whether the plugin speaks the foreign contract.
    pub fn is_foreign(&self) -> bool {
        self.flavor == Flavor::Foreign
    }
}
