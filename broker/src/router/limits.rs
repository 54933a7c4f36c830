//! Bounds of the router, with what happens at each.

/// Events a subscription loads ahead of what its consumers hold; beyond, it reads on later.
pub const READ_AHEAD_EVENTS_MAX: usize = 512;
/// Bytes of envelopes a subscription keeps loaded besides those in flight; beyond, parked bodies are dropped
/// and read again.
pub const LOADED_BYTES_MAX: usize = 8 << 20;
/// Bytes of envelopes a subscription keeps loaded while nobody serves it; beyond, all are read again.
pub const IDLE_BYTES_MAX: usize = 256 << 10;
/// Unsettled events the cursor may have passed; beyond, the subscription stops reading: `stalled`.
pub const PENDING_ROWS_MAX: usize = 10_000;
/// How far ahead `leased_to` is reserved.
pub const LEASED_TO_RESERVE: u64 = 1024;
/// How long a settlement without a publish may wait for a commit to ride in.
pub const SETTLE_FLUSH_MS: u64 = 10;
/// Newest ephemeral events kept per subscription while its link is not writable; older are dropped.
pub const EPHEMERAL_EVENTS_MAX: usize = 64;
/// Lease when the subscription names none.
pub const LEASE_MS: u64 = 30_000;
/// Longest lease or extension that can be asked for; a longer one is cut to it.
pub const LEASE_MS_MAX: u64 = 3_600_000;
/// Longest delay a `nak` can ask for; a longer one is cut to it.
pub const NAK_DELAY_MS_MAX: u64 = 30 * 86_400_000;
/// Text kept of an error in a dead letter.
pub const ERROR_BYTES_MAX: usize = 4096;
/// Credit of a member that names none.
pub const CREDIT_EVENTS: usize = 256;
/// Credit in bytes of a member that names none.
pub const CREDIT_BYTES: usize = 8 << 20;
/// Largest credit that can be asked for; more is cut to it.
pub const CREDIT_EVENTS_MAX: usize = 4096;
/// Bytes of the newest events kept in memory, so that live delivery reads no disk.
pub const RING_BYTES_MAX: usize = 16 << 20;
/// Events of the ring, whatever their size.
pub const RING_EVENTS_MAX: usize = 65_536;
/// Subscriptions one broker keeps; another `subscribe` is refused with `quota_exceeded`.
pub const SUBSCRIPTIONS_MAX: usize = 65_536;
/// Notes of filters that went while events of theirs were unread; beyond, the two oldest become one, which may select
/// a little more than both did.
pub const WITHDRAWN_MAX: usize = 16;
/// Filters of one such note; beyond, `>` stands for all of them but those that name what is private.
pub const WITHDRAWN_FILTERS_MAX: usize = 1024;
/// Dead letters of events that are selected no longer that may be on their way to the disk, per subscription; beyond,
/// it waits.
pub const WITHDRAWN_FILING_MAX: usize = 256;
/// Events asked for again in one read.
pub const READ_AT_EVENTS_MAX: usize = 256;
