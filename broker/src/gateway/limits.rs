//! Bounds of the gateway that no setting changes, with what happens at each.

/// Headers of one request; more are answered with 431.
pub const HEADERS_MAX: usize = 100;
/// How long connections may take to end once the daemon stops; then they are cut.
pub const STOP_TIMEOUT_MS: u64 = 2_000;
/// How long the server waits after an accept that failed, for instance for want of descriptors.
pub const ACCEPT_PAUSE_MS: u64 = 100;
