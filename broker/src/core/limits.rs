//! Bounds of the core, with what happens at each.

/// Commits staged for the next batch; beyond, links are paused until a batch is on its way.
pub const STAGED_COMMITS_MAX: usize = 512;
/// Bytes of envelopes staged for the next batch; beyond, links are paused.
pub const STAGED_BYTES_MAX: usize = 8 << 20;
/// Acts of operators whose answer is awaited; another is recorded at once, with the result `unknown`.
pub const AUDITS_MAX: usize = 1024;
/// Links at once; another is closed with `quota_exceeded`.
pub const LINKS_MAX: usize = 10_000;
/// Bytes of answers that a peer leaves unread; beyond, its link is closed: it asks and never listens.
pub const UNREAD_ANSWERS_BYTES_MAX: usize = 32 << 20;
/// Bytes of one log message of a plugin; the rest is cut.
pub const LOG_MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Bytes of the reason in an instance's status; the rest is cut.
pub const REASON_BYTES_MAX: usize = 1 << 10;
/// Bytes of one failed attempt as it is logged and shown; the rest is cut.
pub const FAILURE_TEXT_BYTES_MAX: usize = 1 << 10;
/// Subscriptions whose last failure is remembered before those that are gone are forgotten.
pub const FAILURES_MAX: usize = 1024;
/// How long a fresh link may take to say `connect`.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// How often an instance is pinged.
pub const PING_INTERVAL_MS: u64 = 10_000;
/// Unanswered pings after which an instance is given up.
pub const PING_MISSES_MAX: u32 = 3;
/// Event-loop lag beyond which an instance is shown as degraded.
pub const LOOP_LAG_MS_MAX: u64 = 10_000;
/// Topics whose shared text and grant check are remembered; beyond, the table is forgotten and refilled.
pub const TOPICS_MAX: usize = 65_536;
/// Routes (kind, session) kept in memory; older ones are read from the store again.
pub const ROUTES_MAX: usize = 65_536;
/// How long a route is kept.
pub const ROUTE_MS: i64 = 30 * 86_400_000;
/// Lifecycle reports of rejected publishes: one per kind and this many milliseconds.
pub const REJECTION_REPORT_MS: u64 = 10_000;
/// Bytes one kv value may have.
pub const KV_VALUE_BYTES_MAX: usize = 256 << 10;
/// Entries of one kv owner; another is refused with `quota_exceeded`.
pub const KV_ENTRIES_MAX: u64 = 100_000;
/// Bytes of one kv owner; more is refused with `quota_exceeded`.
pub const KV_BYTES_MAX: u64 = 64 << 20;
/// Most entries `kv.list` and `admin.dlq.list` return at once.
pub const LIST_MAX: usize = 1000;
/// How long a deleted key is remembered, so that a watch can resume.
pub const TOMBSTONE_MS: i64 = 86_400_000;
/// Watches of one link.
pub const WATCHES_MAX: usize = 64;
/// Longest time to live of a lock.
pub const LOCK_TTL_MS_MAX: u64 = 3_600_000;
/// Locks that are held or waited for at once; another is refused with `quota_exceeded`.
pub const LOCKS_MAX: usize = 10_000;
/// Waiters of one lock; another is refused with `lock_held`.
pub const LOCK_WAITERS_MAX: usize = 64;
/// Events one tail reads at once.
pub const TAIL_EVENTS: usize = 256;
/// Webhooks that wait for their plugin's answer; beyond, they are answered 202 as soon as they are durable.
pub const HOOKS_WAITING_MAX: usize = 1024;
/// Dead letters replayed by one request.
pub const REPLAY_MAX: usize = 1000;
/// Blobs kept and being uploaded at once; another is refused with `quota_exceeded`.
pub const BLOBS_KEPT_MAX: usize = 100_000;
/// Unfinished uploads at once; another is refused with `quota_exceeded`.
pub const UPLOADS_MAX: usize = 256;
/// Unfinished uploads of one source; another is refused with `quota_exceeded`.
pub const UPLOADS_PER_SOURCE_MAX: usize = trunkline_contract::limits::BLOB_UPLOADS_MAX as usize;
/// Uploads that are done and remembered, for who asks again; beyond, the oldest is forgotten.
pub const FINISHED_MAX: usize = 4096;
/// How long an upload waits for its end, counted from its beginning or what came last over HTTP; then it is
/// dropped.
pub const UPLOAD_MS: u64 = trunkline_contract::limits::BLOB_UPLOAD_MS;
/// How long what `blob.get` gave is good; then the file is taken back, or the token refused.
pub use trunkline_contract::limits::BLOB_ACCESS_MS;
/// Files given to peers at once; beyond, the oldest is taken back.
pub const GIVEN_MAX: usize = 4096;
/// Tokens of `blob.get` at once; beyond, the oldest is refused.
pub const READ_TOKENS_MAX: usize = 4096;
/// Sources that put the same content; another is refused with `quota_exceeded`.
pub const BLOB_PUTTERS_MAX: usize = 64;
/// Topics of the events that name one blob; an event on another is refused with `quota_exceeded`.
pub const BLOB_TOPICS_MAX: usize = 64;
/// Requests that wait for the end of one upload; another is refused with `unavailable`.
pub const FINISH_WAITERS_MAX: usize = 8;
/// Bytes of a media type; a longer one is refused with `invalid_arguments`.
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;
/// Blobs, uploads and files looked at each second for what is to go.
pub const COLLECT_MAX: usize = 64;
/// When what could not go is looked at again.
pub const COLLECT_RETRY_MS: u64 = 60_000;
