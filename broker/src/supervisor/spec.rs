//! What is started: the part of an instance's configuration that the supervisor needs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trunkline_contract::manifest::OwnServer;

use super::links::Transport;
use super::restart::RestartPolicy;
use crate::install::PackageRef;
use crate::instance::InstanceKey;

/// What the operating system grants a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Private memory in bytes; none: no limit.
    pub memory_bytes: Option<u64>,
    /// Descriptors open at the same time.
    pub open_files: u64,
    /// Bytes in one file.
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: None,
            open_files: 1_024,
            file_bytes: 1 << 30,
        }
    }
}

/// How long the steps of a life may take, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// From the start to the handshake, and from there to the first status; each progress begins
    /// it anew.
    pub start_ms: u64,
    /// For an end that the operator asks for.
    pub stop_ms: u64,
    /// From the first signal to SIGKILL.
    pub kill_grace_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            start_ms: 10_000,
            stop_ms: 30_000,
            kill_grace_ms: 5_000,
        }
    }
}

/// One instance as the supervisor sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct LaunchSpec {
    /// Which instance.
    pub key: InstanceKey,
    /// Program and arguments. A program with a slash is relative to `dir`; one without is looked
    /// up in `PATH`.
    pub command: Vec<String>,
    /// The plugin's directory, in which the process starts.
    pub dir: PathBuf,
    /// The package that this directory belongs to: checked before each start.
    pub package: Option<PackageRef>,
    /// The instance's own directory, its `HOME`; created when missing.
    pub state_dir: PathBuf,
    /// Names of the daemon's environment that are granted to the process.
    pub environment: Vec<String>,
    /// Variables that the manifest sets, whatever the daemon has.
    pub variables: BTreeMap<String, String>,
    /// How it reaches its link.
    pub transport: Transport,
    /// Its own HTTP server: it gets a listening socket.
    pub own_server: Option<OwnServer>,
    /// What the operating system grants it.
    pub limits: Limits,
    /// How long the steps of its life may take.
    pub timeouts: Timeouts,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// False: configured but switched off.
    pub is_enabled: bool,
    /// Why it cannot run: nothing is started of it.
    pub unfit: Option<String>,
    /// True: it knows no standby, so that its process ends before another is started.
    pub stops_first: bool,
    /// True: it shares a process with the other instances of its plugin.
    pub is_shared: bool,
    /// The plugin's version; instances that share a process are replaced together when it changes.
    pub version: String,
    /// Any text that changes when a change of configuration needs a new process.
    pub revision: String,
}

impl LaunchSpec {
    /// Says whether its process can run beside its successor: not without a standby, and not where both would need the one
    /// socket of its own server.
    pub fn has_overlap(&self) -> bool {
        !self.stops_first && self.own_server.is_none()
    }

    /// Builds a spec with defaults for all but what every instance has of its own.
    pub fn new(
        key: InstanceKey,
        command: Vec<String>,
        dir: impl Into<PathBuf>,
        state_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            key,
            command,
            dir: dir.into(),
            package: None,
            state_dir: state_dir.into(),
            environment: Vec::new(),
            variables: BTreeMap::new(),
            transport: Transport::Fd,
            own_server: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            restart: RestartPolicy::default(),
            is_enabled: true,
            unfit: None,
            stops_first: false,
            is_shared: false,
            version: String::new(),
            revision: String::new(),
        }
    }

    /// Returns true if a process of `other` must be replaced to become one of `self`.
    pub fn needs_new_process(&self, other: &Self) -> bool {
        if self.is_shared && other.is_shared {
            // The rest is the process's own.
            return self.state_dir != other.state_dir
                || self.unfit != other.unfit
                || self.revision != other.revision;
        }
        if self.is_shared != other.is_shared {
            return true;
        }
        self.command != other.command
            || self.dir != other.dir
            || self.package != other.package
            || self.state_dir != other.state_dir
            || self.environment != other.environment
            || self.variables != other.variables
            || self.transport != other.transport
            || self.own_server != other.own_server
            || self.limits != other.limits
            || self.unfit != other.unfit
            || self.revision != other.revision
    }
}
