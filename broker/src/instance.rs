//! The name of one configured account of a plugin.

use std::fmt;
use std::sync::Arc;

use trunkline_contract::error::{Code, Error};
use trunkline_contract::toml::meant;

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

    /// Names the subscription by which it gets what it may receive and has declared no other for.
    pub(crate) fn main_subscription(&self) -> String {
        format!("instance.{}.{}", self.plugin, self.instance)
    }

    /// Names a subscription that it declared or made itself.
    pub(crate) fn own_subscription(&self, name: &str) -> String {
        format!("{}.{name}", self.main_subscription())
    }

    /// Names the main subscription of the instance that has this one; nothing where it is a client's.
    pub(crate) fn main_of_subscription(name: &str) -> Option<String> {
        let own = name.strip_prefix("instance.")?;
        let mut names = own.split('.');
        let (plugin, instance) = (names.next()?, names.next()?);
        Some(Self::new(plugin, instance).main_subscription())
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

/// Says that no instance has such a name, and which there are.
///
/// # Arguments
/// * `name` - `plugin` or `plugin/instance`.
/// * `known` - every instance, as `plugin/instance`.
pub fn not_configured(name: &str, known: &[String]) -> Error {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let of_plugin = |key: &&str| key.split('/').next() == name.split('/').next();
    let own: Vec<&str> = known.iter().copied().filter(of_plugin).collect();
    let hint = if name.contains('/') {
        // Where the plugin is right, the others are of no use.
        let listed = if own.is_empty() { &known } else { &own };
        meant(name, &known, listed)
    } else {
        let plugins: Vec<&str> = known
            .iter()
            .filter_map(|key| key.split('/').next())
            .collect();
        meant(name, &plugins, &known)
    };
    let text = format!("no instance {name} is configured; hint: {hint}");
    Error::new(Code::NotFound, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nobody_has_comes_with_those_there_are() {
        let known = ["hello/one", "hello/two", "mail/a"].map(str::to_owned);
        let said = |name: &str| not_configured(name, &known).message;
        assert_eq!(
            said("helo"),
            "no instance helo is configured; hint: did you mean hello? there are hello/one, hello/two, mail/a"
        );
        assert_eq!(
            said("hello/tow"),
            "no instance hello/tow is configured; hint: did you mean hello/two? there are hello/one, hello/two"
        );
        assert_eq!(
            not_configured("x", &[]).message,
            "no instance x is configured; hint: there is none"
        );
    }
}
