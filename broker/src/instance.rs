//! The name of one configured account of a plugin.

use std::fmt;
use std::sync::Arc;

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
