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
/// Frames' worth of bytes that one WebSocket message may have; a larger one closes the link with 1009.
pub const LINK_MESSAGE_FRAMES: usize = 4;
/// How often the peer of a quiet link is asked whether it still lives.
pub const LINK_PING_MS: u64 = 20_000;
/// How long a link may be silent, pongs included; then it is dead.
pub const LINK_DEAD_MS: u64 = 60_000;
/// How long the peer of a link may take to hear goodbye.
pub const LINK_GOODBYE_MS: u64 = 1_000;
/// How long a reader of answers may take nothing; then its connection is cut.
pub const WRITE_STALL_MS: u64 = 30_000;
/// How often a stream on which nothing happens says that it lives.
pub const KEEP_ALIVE_MS: u64 = 15_000;
/// Bytes of a tool's chunks that a caller over HTTP may be behind.
pub const TOOL_WINDOW_BYTES: u64 = 256 << 10;
/// KiB of the bodies of webhooks that are read or stored at once; beyond, 503 with `Retry-After`.
pub const HOOK_BODIES_KIB_MAX: usize = 64 << 10;
/// How long a webhook may wait to be durable; then 503, and its repeat is a duplicate if it was stored.
pub const HOOK_DURABLE_MS: u64 = 10_000;
/// After how long a provider that was refused for want of room may try again.
pub const HOOK_RETRY_MS: u64 = 2_000;
