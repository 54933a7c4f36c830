//! The name of one configured account of a plugin.

use std::fmt;
use std::sync::Arc;

/// Stands where the instance's name is, for a process; names of instances begin otherwise.
const PROCESS: &str = "_process";

/// Names one instance: `telegram/support-bot`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct InstanceKey {
    /// The plugin's id.
    pub plugin: Arc<str>,
    /// The account's label; `default` when the config names none.
    pub instance: Arc<str>,
}

impl InstanceKey {
    /// Names an instance.
    pub fn new(plugin: &str, instance: &str) -> Self {
        Self {
            plugin: plugin.into(),
            instance: instance.into(),
        }
    }

    /// Names the process that all instances of a plugin share. No instance has such a name.
    pub fn process_of(plugin: &str) -> Self {
        Self::new(plugin, PROCESS)
    }

    /// Says whether this names such a process.
    pub fn is_process(&self) -> bool {
        &*self.instance == PROCESS
    }

    /// Reads `plugin/instance`; without a slash the instance is `default`.
    pub fn parse(text: &str) -> Self {
        let (plugin, instance) = text.split_once('/').unwrap_or((text, "default"));
        Self::new(plugin, instance)
    }
}

impl fmt::Display for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.plugin, self.instance)
    }
}
