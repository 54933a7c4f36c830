//! What the operator says about one MCP server, as it comes in the handshake.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::InitializeParams;

use crate::config::mcp::{TOKEN_SECRET, VARIABLE_SECRET};

/// How one MCP server is reached, and what of it is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct ServerSettings {
    /// Program and arguments, for a server on stdio.
    #[serde(default)]
    pub(super) command: Vec<String>,
    /// Further variables of the program's environment.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// Address, for a server on HTTP.
    #[serde(default)]
    pub(super) url: Option<String>,
    /// How long a call may take.
    #[serde(default)]
    pub(super) timeout_ms: Option<u64>,
    /// Names of tools that are taken, in the server's words; a `*` stands for anything. Empty: all.
    #[serde(default)]
    pub(super) include: Vec<String>,
    /// Names of tools that are not taken.
    #[serde(default)]
    pub(super) exclude: Vec<String>,
}

impl ServerSettings {
    /// Reads them, and the bearer token, from the handshake.
    pub(super) fn read(params: &InitializeParams) -> Result<(Self, Option<String>), Error> {
        let config = params.config.iter();
        // A secret stands in the config as a reference to itself.
        let config: Map<String, Value> = config
            .filter(|(_, value)| value.get("$secret").is_none())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut settings: Self =
            serde_json::from_value(Value::Object(config)).map_err(|error| {
                Error::new(
                    Code::ConfigInvalid,
                    format!("the config of an MCP server: {error}"),
                )
            })?;
        for (name, value) in &params.secrets.0 {
            if let Some(variable) = name.strip_prefix(VARIABLE_SECRET) {
                settings.env.insert(variable.to_owned(), value.clone());
            }
        }
        Ok((settings, params.secrets.0.get(TOKEN_SECRET).cloned()))
    }

    /// Says whether a tool of the server is taken.
    pub(super) fn takes(&self, name: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|pattern| matches(pattern, name));
        (self.include.is_empty() || is_in(&self.include)) && !is_in(&self.exclude)
    }
}

/// Says whether a name fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pattern.rfind('*').map(|at| &pattern[at + 1..]) else {
        return rest.is_empty();
    };
    let middle: Vec<&str> = parts.collect();
    for part in &middle[..middle.len() - 1] {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name) in [
            ("*", ""),
            ("get*", "get_user"),
            ("*user", "get_user"),
            ("g*_u*r", "get_user"),
            ("same", "same"),
            ("a*a", "aa"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("get", "get_user"),
            ("*x", "get_user"),
            ("a*a", "a"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
