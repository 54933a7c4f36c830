//! The settings of one account, as `[[plugins.irc]]` gives them.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use trunkline::IntoDuration;

/// Most bytes of a nickname that is accepted; servers allow fewer.
const NICK_BYTES_MAX: usize = 64;

/// Holds the settings of one account.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Config {
    /// Host name or address.
    pub(crate) server: String,
    /// TCP port.
    pub(crate) port: u16,
    /// Wanted nickname.
    #[serde(deserialize_with = "nick")]
    pub(crate) nick: String,
    /// Channels to join.
    #[serde(deserialize_with = "channels")]
    pub(crate) channels: Vec<String>,
    /// Server password.
    #[serde(default)]
    pub(crate) password: Option<String>,
    /// Shown beside the nickname.
    pub(crate) realname: String,
    /// Nicknames that are not listened to.
    #[serde(default)]
    pub(crate) ignore: Vec<String>,
    /// Wait between lines that go out.
    #[serde(deserialize_with = "duration")]
    pub(crate) line_interval: Duration,
    /// Audit file.
    #[serde(default)]
    pub(crate) journal: Option<String>,
}

fn nick<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let nick = String::deserialize(from)?;
    let is_nick = nick.len() <= NICK_BYTES_MAX
        && nick
            .starts_with(|first: char| first.is_ascii_alphabetic() || "[]\\`_^{|}".contains(first))
        && nick
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-[]\\`_^{|}".contains(c));
    if is_nick {
        Ok(nick)
    } else {
        let text = format!("nick: expected letters, digits and -[]\\`_^{{|}}, found {nick:?}");
        Err(serde::de::Error::custom(text))
    }
}

fn channels<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let channels = Vec::<String>::deserialize(from)?;
    match channels.iter().find(|name| !is_channel(name)) {
        None => Ok(channels),
        Some(name) => {
            let text = format!("channels: expected names like \"#help\", found {name:?}");
            Err(serde::de::Error::custom(text))
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    text.into_duration().map_err(serde::de::Error::custom)
}

/// Says whether a target is a channel, and one that a line can name.
pub(crate) fn is_channel(target: &str) -> bool {
    target.starts_with(['#', '&', '+', '!']) && target.len() > 1 && is_target(target)
}

/// Says whether a line can be addressed to it.
pub(crate) fn is_target(target: &str) -> bool {
    !target.is_empty()
        && target.len() <= 200
        && !target.starts_with(':')
        && !target.contains([' ', ',', '\r', '\n', '\0', '\x07'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_one_word_of_a_line() {
        for good in ["#help", "alice", "&local", "[x]"] {
            assert!(is_target(good), "{good}");
        }
        for bad in ["", "a b", "#a,#b", ":x", "x\r\nQUIT"] {
            assert!(!is_target(bad), "{bad:?}");
        }
        assert!(is_channel("#a") && !is_channel("#") && !is_channel("alice"));
    }
}
