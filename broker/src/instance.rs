//! The name of one configured account of a plugin.

use std::fmt;
use std::sync::Arc;

/// Stands where the instance's name is, for a process; names of instances begin otherwise.
const PROCESS: &str = "_process";
/// Stands before the instance's name, for its second seat; names of instances begin otherwise.
const SECOND: &str = "_second_";

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

    /// Names the other of an instance's two seats. A process has a seat from its start to its end, and the
    /// seat it does not have is where its successor starts. The instance's own name is the first seat.
    pub fn other_seat(&self) -> Self {
        match self.instance.strip_prefix(SECOND) {
            Some(first) => Self::new(&self.plugin, first),
            None => Self::new(&self.plugin, &format!("{SECOND}{}", self.instance)),
        }
    }

    /// Names the instance whose seat this is.
    pub fn of_seat(&self) -> Self {
        match self.instance.strip_prefix(SECOND) {
            Some(first) => Self::new(&self.plugin, first),
            None => self.clone(),
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
