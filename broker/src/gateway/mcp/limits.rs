//! Limits of the MCP side, each with what happens at it.

use std::time::Duration;

/// Callers whose server is kept; beyond, the one that was idle the longest is forgotten, with its sessions.
pub(super) const CALLERS_MAX: usize = 256;
/// Sessions of one caller (2025-11-25 and before); beyond, its oldest is ended, and its client begins anew.
pub(super) const SESSIONS_MAX: usize = 64;
/// A session without a message for so long is ended.
pub(super) const SESSION_IDLE: Duration = Duration::from_hours(1);
/// How long a list of tools counts as fresh, here and for clients.
pub(super) const FRESH: Duration = Duration::from_secs(2);
/// Reports of progress that wait for a slow client; beyond, the tool's reports are dropped.
pub(super) const PROGRESS_MAX: usize = 16;
/// Tools of one caller that are listed; beyond, the rest is left out.
pub(super) const TOOLS_MAX: usize = 4096;
