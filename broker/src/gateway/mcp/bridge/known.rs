//! Which tool of ours is which of theirs, kept on the disk.
//!
//! What a server offered when it was last seen is declared at the next handshake: a server that is away is missed by
//! its callers with `unavailable`, not with `tool_not_found`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rmcp::model::Tool;
use serde::{Deserialize, Serialize};
use trunkline_contract::limits::TOOLS_MAX;
use trunkline_contract::tool::ToolDeclaration;

use super::settings::ServerSettings;
use super::{convert, names};

/// Name of the file in the instance's own directory.
const FILE: &str = "mcp-tools.json";

/// Name of the file that counts failed attempts to reach the server.
const ATTEMPTS_FILE: &str = "mcp-attempts";
/// How long to wait after the first failed attempt; then twice as long each time.
const RETRY_MS_MIN: u64 = 1_000;
/// The longest time to wait.
const RETRY_MS_MAX: u64 = 60_000;

/// One tool of an MCP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KnownTool {
    /// Its name there.
    pub(super) original: String,
    /// What is declared here.
    pub(super) declaration: ToolDeclaration,
}

/// The tools of an MCP server, by our names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct KnownTools(pub(super) BTreeMap<String, KnownTool>);

impl KnownTools {
    /// Makes them of what a server lists; what cannot be declared is left out and logged.
    pub(super) fn of(listed: &[Tool], settings: &ServerSettings) -> Self {
        let taken = listed.iter().filter(|tool| settings.takes(&tool.name));
        let taken: BTreeMap<&str, &Tool> = taken.map(|tool| (tool.name.as_ref(), tool)).collect();
        let mut tools = BTreeMap::new();
        for (name, original) in names::map(taken.keys().copied()) {
            let declaration =
                convert::declaration(&name, taken[original.as_str()], settings.timeout_ms);
            if let Err(error) = declaration.check() {
                tracing::warn!(tool = original, %error, "Tool of the MCP server left out.");
            } else if tools.len() == TOOLS_MAX {
                tracing::warn!(
                    tool = original,
                    "Tool of the MCP server left out: too many."
                );
            } else {
                let known = KnownTool {
                    original,
                    declaration,
                };
                tools.insert(name, known);
            }
        }
        Self(tools)
    }

    /// Reads what was kept; nothing if there is nothing that can be read.
    pub(super) fn load(dir: &Path) -> Self {
        let Ok(text) = std::fs::read_to_string(dir.join(FILE)) else {
            return Self::default();
        };
        serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::warn!(%error, "What was known of the MCP server cannot be read.");
            Self::default()
        })
    }

    /// Keeps them.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(super) fn store(&self, dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let next = dir.join(format!("{FILE}.next"));
        std::fs::write(&next, text)?;
        std::fs::rename(next, dir.join(FILE))
    }

    /// Counts one more failed attempt to reach the server, and says how long to wait for the next.
    ///
    /// Each attempt is a process of its own, so that the count is on the disk.
    pub(super) fn wait_ms(dir: &Path) -> u64 {
        let file = dir.join(ATTEMPTS_FILE);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let attempts: u32 = text.trim().parse().unwrap_or(0);
        if let Err(error) = std::fs::write(&file, attempts.saturating_add(1).to_string()) {
            tracing::debug!(%error, "The attempt was not counted.");
        }
        let doubled = RETRY_MS_MIN.saturating_mul(1 << attempts.min(16));
        doubled.min(RETRY_MS_MAX)
    }

    /// Forgets failed attempts: the server was reached.
    pub(super) fn reached(dir: &Path) {
        if let Err(error) = std::fs::remove_file(dir.join(ATTEMPTS_FILE)) {
            tracing::trace!(%error, "There were none.");
        }
    }

    /// Every declaration.
    pub(super) fn declarations(&self) -> Vec<ToolDeclaration> {
        self.0
            .values()
            .map(|tool| tool.declaration.clone())
            .collect()
    }
}
