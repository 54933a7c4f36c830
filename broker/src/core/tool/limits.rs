//! Bounds of tool calls inside the broker, with what happens at each. Those of the wire are in
//! [`trunkline_contract::limits`].

/// Bytes of chunks that wait in the broker for one caller; beyond, the plugin gets no credit.
pub(crate) const RELAY_WINDOW_BYTES: u64 = 256 << 10;
/// Bytes of arguments of calls that wait for their turn, all together; beyond, `rate_limited`.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 20;
/// Bytes of streams that are collected for callers who want none, all together; beyond, `rate_limited`.
pub(crate) const COLLECTED_BYTES_MAX: usize = 64 << 20;
/// How long an ended call keeps its place while the plugin does not answer the cancel.
pub(crate) const CANCEL_GRACE_MS: u64 = 10_000;
/// When a caller may try again whose call found everything full.
pub(crate) const RETRY_AFTER_MS: u64 = 100;
/// When a caller may try again whose tool is not served.
pub(crate) const UNAVAILABLE_RETRY_MS: u64 = 1_000;
/// Deliveries remembered as never handed over; beyond, a non-idempotent one is `outcome_unknown`.
pub(crate) const UNTOUCHED_MAX: usize = 4096;
/// How much longer than its call the delivery of an event's call is leased.
pub(crate) const LEASE_MARGIN_MS: u64 = 60_000;
/// Steps that one value may take through `$ref`, `allOf` and the like; more are refused at declaration.
pub(crate) const SCHEMA_STEPS_MAX: u64 = 10_000;
/// Deepest chain of `$ref`, `allOf` and the like.
pub(crate) const SCHEMA_CHAIN_MAX: usize = 32;
/// Bytes of one compiled `pattern`.
pub(crate) const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Bytes of a message about a value that does not fit; the rest is cut.
pub(crate) const MISMATCH_BYTES_MAX: usize = 512;
