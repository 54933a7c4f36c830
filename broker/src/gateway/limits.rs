//! Bounds of the gateway that no setting changes, with what happens at each.

/// Headers of one request; more are answered with 431.
pub const HEADERS_MAX: usize = 100;
/// How long connections may take to end once the daemon stops; then they are cut.
pub const STOP_TIMEOUT_MS: u64 = 2_000;
/// How long the server waits after an accept that failed, for instance for want of descriptors.
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// Tokens that have a port at once; the one used longest ago is closed, and if all are busy the request is
/// refused with `quota_exceeded`.
pub const PORTS_MAX: usize = 256;
/// How long a port may be unused; then it is closed.
pub const PORT_IDLE_MS: u64 = 60_000;
/// How often unused ports are looked for.
pub const SWEEP_MS: u64 = 15_000;
/// Chunks of one tool's call that wait for their reader, whatever their size; beyond, the call is cancelled.
pub const TOOL_CHUNKS_WAITING_MAX: usize = 65_536;
