//! Every limit of the wire: default, range, unit, and what happens at it.
//!
//! Constants are the defaults; a row of [`LIMITS`] whose `min` equals its `max` is fixed. Limits of
//! a subscription's retry policy are defaults of its policy object and listed here too.

/// Largest frame, newline excluded.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Smallest value that [`FRAME_BYTES_MAX`] may be configured to.
pub const FRAME_BYTES_MAX_MIN: usize = 64 << 10;
/// Largest value that [`FRAME_BYTES_MAX`] may be configured to.
pub const FRAME_BYTES_MAX_MAX: usize = 16 << 20;
/// An event may be this much smaller than a frame: room for the delivery around it.
pub const EVENT_BYTES_MARGIN: usize = 16 * 1024;
/// Deepest nesting of arrays and objects in a frame.
pub const JSON_DEPTH_MAX: usize = 64;
/// Integers of this many digits are marked: not every language holds them in its usual number.
pub const BIG_INTEGER_DIGITS: usize = 16;
/// Longest topic or topic filter.
pub const TOPIC_BYTES_MAX: usize = 255;
/// Most segments of a topic or topic filter.
pub const TOPIC_SEGMENTS_MAX: usize = 16;
/// Longest event id.
pub const EVENT_ID_BYTES_MAX: usize = 128;
/// Longest session id.
pub const SESSION_ID_BYTES_MAX: usize = 512;
/// Longest `correlation_id`, `causation_id`, `traceparent` and claimed `source`.
pub const REFERENCE_BYTES_MAX: usize = 512;
/// Most blobs that one event names.
pub const BLOBS_MAX: usize = 32;
/// How long an upload waits for its end.
pub const BLOB_UPLOAD_MS: u64 = 3_600_000;
/// How long what `blob.get` gave is good.
pub const BLOB_ACCESS_MS: u64 = 3_600_000;
/// Unfinished uploads of one source.
pub const BLOB_UPLOADS_MAX: u64 = 16;
/// How long a blob is kept that no event names.
pub const BLOB_AGE_MS: u64 = 24 * 3600 * 1000;
/// Most bytes of blobs.
pub const BLOB_BYTES_MAX: u64 = 8 << 30;
/// Most bytes of blobs that one source put.
pub const BLOB_SOURCE_BYTES_MAX: u64 = 4 << 30;
/// Most operations (events, kv, settlements) of one commit.
pub const COMMIT_OPS_MAX: usize = 256;
/// Most filters of one subscription.
pub const FILTERS_MAX: usize = 64;
/// Bad frames in a row that close a link.
pub const BAD_FRAMES_MAX: u32 = 64;
/// Most bytes waiting to be written to one link.
pub const LINK_UNWRITTEN_BYTES_MAX: usize = 1 << 20;
/// Most unanswered requests of one link.
pub const PENDING_CALLS_MAX: usize = 1024;
/// Longest kv key.
pub const KV_KEY_BYTES_MAX: usize = 256;
/// Largest kv value.
pub const KV_VALUE_BYTES_MAX: usize = 256 * 1024;
/// Most entries of one `kv.list` answer.
pub const KV_LIST_MAX: u32 = 1000;
/// How long a deleted key leaves a tombstone.
pub const KV_TOMBSTONE_MS: u64 = 24 * 3600 * 1000;
/// Most bytes of the data of an instance's progress, as JSON.
pub const PROGRESS_DATA_BYTES_MAX: usize = 8 * 1024;
/// Least time between two ephemeral lifecycle events about the progress of one instance.
pub const PROGRESS_REPORT_MS: u64 = 1_000;
/// Longest name of a timer.
pub const TIMER_NAME_BYTES_MAX: usize = 256;
/// Most bytes of what a timer gives back.
pub const TIMER_DATA_BYTES_MAX: usize = 8 * 1024;
/// Most timers of one instance.
pub const TIMERS_MAX: usize = 10_000;
/// Most bytes of the timers of one instance, names included.
pub const TIMERS_BYTES_MAX: usize = 8 << 20;
/// Shortest interval of a timer.
pub const TIMER_EVERY_MS_MIN: u64 = 1_000;
/// Longest interval, delay and jitter of a timer: 10 000 days.
pub const TIMER_EVERY_MS_MAX: u64 = 10_000 * 86_400_000;
/// Most entries of one `timer.list` answer.
pub const TIMER_LIST_MAX: u32 = 256;
/// Most missed due times that the policy `all` makes up for.
pub const TIMER_BACKLOG_MAX: u32 = 100;
/// How late a due time may be and still count as met by the policy `skip`.
pub const TIMER_GRACE_MS: u64 = 5_000;
/// Shortest time to live of a lock.
pub const LOCK_TTL_MS_MIN: u64 = 1000;
/// Longest time to live of a lock.
pub const LOCK_TTL_MS_MAX: u64 = 3_600_000;
/// Default lease of a delivery.
pub const LEASE_MS: u64 = 30_000;
/// Longest lease of a delivery.
pub const LEASE_MS_MAX: u64 = 3_600_000;
/// Default time a handler may take, the SDK extending its lease meanwhile.
pub const HANDLER_TIMEOUT_MS: u64 = 60_000;
/// Counted failures that dead-letter a delivery.
pub const FAILURES_MAX: u32 = 6;
/// Crashes that dead-letter a suspect.
pub const CRASHES_MAX: u32 = 2;
/// Waits between attempts, before jitter.
pub const BACKOFF_MS: [u64; 5] = [1_000, 5_000, 30_000, 120_000, 600_000];
/// Jitter of a wait, in percent both ways.
pub const BACKOFF_JITTER_PERCENT: u32 = 20;
/// Longest time from the first lease to the dead letter.
pub const AGE_MAX_MS: u64 = 24 * 3600 * 1000;
/// How long a subscription holds unsettled events.
pub const HOLD_AGE_MS: u64 = 7 * 24 * 3600 * 1000;
/// Share of the store that one subscription may hold, in percent.
pub const HOLD_STORE_PERCENT: u32 = 25;
/// How long an unserved client subscription holds anything.
pub const SUBSCRIPTION_EXPIRE_MS: u64 = 7 * 24 * 3600 * 1000;
/// Newest ephemeral events kept per subscription while its link is busy.
pub const EPHEMERAL_PENDING_MAX: usize = 64;
/// Events that a link accepts in flight when it does not say.
pub const CREDIT_EVENTS: u32 = 256;
/// Most events in flight that a link may ask for.
pub const CREDIT_EVENTS_MAX: u32 = 4096;
/// Bytes that a link accepts in flight when it does not say.
pub const CREDIT_BYTES: u64 = 8 << 20;
/// Ids remembered per source for deduplication.
pub const DEDUPE_IDS: u64 = 100_000;
/// How long ids are remembered for deduplication.
pub const DEDUPE_MS: u64 = 72 * 3600 * 1000;
/// Most dead letters.
pub const DEAD_LETTERS_MAX: u64 = 100_000;
/// Most bytes of dead letters.
pub const DEAD_LETTER_BYTES_MAX: u64 = 1 << 30;
/// Longest tail of stderr kept with a crash or a dead letter.
pub const STDERR_TAIL_BYTES_MAX: usize = 4096;
/// Longest message of a `log` notification; the rest is cut.
pub const LOG_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Time for `initialize` and for a start; each progress restarts it.
pub const START_TIMEOUT_MS: u64 = 10_000;
/// Time of a process that is to replace another until it is in standby, and from there until it serves, whatever progress
/// it tells of; the start timeout, if that is longer.
pub const TRIAL_MS: u64 = 600_000;
/// Most webhooks of one plugin.
pub const WEBHOOKS_MAX: usize = 64;
/// Most words of a provider that a webhook's `receipt` translates.
pub const RECEIPT_STATES_MAX: usize = 64;
/// Most pollers of one plugin that need no code.
pub const POLLERS_MAX: usize = 64;
/// Most secrets of one webhook that are active at once.
pub const WEBHOOK_SECRETS_MAX: usize = 4;
/// Longest time that a webhook waits for its plugin's own answer.
pub const WEBHOOK_RESPOND_MS_MAX: u64 = 30_000;
/// Loop lag from which an instance counts as degraded.
pub const LOOP_LAG_DEGRADED_MS: u64 = 10_000;

/// Most tools of one instance.
pub const TOOLS_MAX: usize = 256;
/// Longest description of a tool.
pub const TOOL_DESCRIPTION_BYTES_MAX: usize = 8 * 1024;
/// Largest JSON Schema of a tool, as JSON text.
pub const TOOL_SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of a tool's JSON Schema.
pub const TOOL_SCHEMA_DEPTH_MAX: usize = 32;
/// Time for a call when neither tool nor caller says.
pub const TOOL_TIMEOUT_MS: u64 = 60_000;
/// Longest time for a call.
pub const TOOL_TIMEOUT_MS_MAX: u64 = 3_600_000;
/// Calls of one tool that an instance runs at once when it does not say.
pub const TOOL_CONCURRENCY: u32 = 16;
/// Most calls of one tool that an instance may run at once.
pub const TOOL_CONCURRENCY_MAX: u32 = 1024;
/// Most calls that wait for a tool of one instance.
pub const TOOL_QUEUE_MAX: usize = 1024;
/// Most calls of one link that are not answered.
pub const TOOL_CALLS_MAX: usize = 1024;
/// Window of a streamed call that the SDKs ask for.
pub const TOOL_WINDOW_BYTES: u64 = 256 * 1024;
/// Largest window of a streamed call.
pub const TOOL_WINDOW_BYTES_MAX: u64 = 8 << 20;
/// Longest idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Results kept to answer repeats under the same idempotency key.
pub const IDEMPOTENT_RESULTS_MAX: usize = 1024;
/// Bytes of such results.
pub const IDEMPOTENT_RESULT_BYTES_MAX: usize = 16 << 20;
/// How long such a result is kept.
pub const IDEMPOTENT_RESULT_MS: u64 = 600_000;
/// Cancels of calls that have not come, kept per link.
pub const EARLY_CANCELS_MAX: usize = 64;

/// Describes one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name, unit last.
    pub name: &'static str,
    /// Value when nothing is configured.
    pub default: u64,
    /// Smallest value that may be configured.
    pub min: u64,
    /// Largest value that may be configured.
    pub max: u64,
    /// Unit of the three values.
    pub unit: &'static str,
    /// What happens at the limit.
    pub at_limit: &'static str,
}

const fn fixed(name: &'static str, value: u64, unit: &'static str, at: &'static str) -> Limit {
    Limit {
        name,
        default: value,
        min: value,
        max: value,
        unit,
        at_limit: at,
    }
}

const fn range(
    name: &'static str,
    (default, min, max): (u64, u64, u64),
    unit: &'static str,
    at_limit: &'static str,
) -> Limit {
    Limit {
        name,
        default,
        min,
        max,
        unit,
        at_limit,
    }
}

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Lists every limit, for documentation, `doctor` and configuration checks.
pub const LIMITS: &[Limit] = &[
    range(
        "frame_bytes_max",
        (
            FRAME_BYTES_MAX as u64,
            FRAME_BYTES_MAX_MIN as u64,
            FRAME_BYTES_MAX_MAX as u64,
        ),
        "bytes",
        "the frame is discarded up to its newline and answered with frame_too_large",
    ),
    fixed(
        "event_bytes_margin",
        EVENT_BYTES_MARGIN as u64,
        "bytes",
        "an event over frame_bytes_max minus this is refused with frame_too_large",
    ),
    fixed(
        "json_depth_max",
        JSON_DEPTH_MAX as u64,
        "levels",
        "-32700, invalid_frame",
    ),
    fixed(
        "topic_bytes_max",
        TOPIC_BYTES_MAX as u64,
        "bytes",
        "invalid_topic",
    ),
    fixed(
        "topic_segments_max",
        TOPIC_SEGMENTS_MAX as u64,
        "segments",
        "invalid_topic",
    ),
    fixed(
        "event_id_bytes_max",
        EVENT_ID_BYTES_MAX as u64,
        "bytes",
        "invalid_frame",
    ),
    fixed(
        "session_id_bytes_max",
        SESSION_ID_BYTES_MAX as u64,
        "bytes",
        "invalid_frame",
    ),
    fixed(
        "reference_bytes_max",
        REFERENCE_BYTES_MAX as u64,
        "bytes",
        "invalid_frame",
    ),
    fixed("blobs_max", BLOBS_MAX as u64, "blobs", "invalid_frame"),
    fixed(
        "blob_upload_ms",
        BLOB_UPLOAD_MS,
        "ms",
        "the upload is dropped",
    ),
    fixed(
        "blob_access_ms",
        BLOB_ACCESS_MS,
        "ms",
        "the file is taken back, the token is refused",
    ),
    fixed(
        "blob_uploads_max",
        BLOB_UPLOADS_MAX,
        "unfinished uploads of a source",
        "quota_exceeded",
    ),
    range(
        "blob_age_ms",
        (BLOB_AGE_MS, 1_000, 365 * DAY_MS),
        "ms",
        "a blob that no event names goes",
    ),
    range(
        "blob_bytes_max",
        (BLOB_BYTES_MAX, 1 << 20, 1 << 60),
        "bytes",
        "quota_exceeded",
    ),
    range(
        "blob_source_bytes_max",
        (BLOB_SOURCE_BYTES_MAX, 1 << 20, 1 << 60),
        "bytes of one source",
        "quota_exceeded",
    ),
    fixed(
        "commit_ops_max",
        COMMIT_OPS_MAX as u64,
        "operations",
        "invalid_arguments",
    ),
    fixed(
        "filters_max",
        FILTERS_MAX as u64,
        "filters",
        "invalid_arguments",
    ),
    fixed(
        "bad_frames_max",
        BAD_FRAMES_MAX as u64,
        "frames in a row",
        "the link is closed with protocol_violation",
    ),
    fixed(
        "link_unwritten_bytes_max",
        LINK_UNWRITTEN_BYTES_MAX as u64,
        "bytes",
        "nothing more is delivered to the link until it reads",
    ),
    fixed(
        "pending_calls_max",
        PENDING_CALLS_MAX as u64,
        "requests",
        "the asking side waits; the broker pauses a link whose requests fill its queues",
    ),
    fixed(
        "kv_key_bytes_max",
        KV_KEY_BYTES_MAX as u64,
        "bytes",
        "invalid_arguments",
    ),
    fixed(
        "kv_value_bytes_max",
        KV_VALUE_BYTES_MAX as u64,
        "bytes",
        "quota_exceeded",
    ),
    fixed(
        "kv_list_max",
        KV_LIST_MAX as u64,
        "entries",
        "the answer is cut and names `next`",
    ),
    fixed(
        "kv_tombstone_ms",
        KV_TOMBSTONE_MS,
        "ms",
        "an older watch position is a gap",
    ),
    fixed(
        "progress_data_bytes_max",
        PROGRESS_DATA_BYTES_MAX as u64,
        "bytes",
        "the data is left out, and the instance's log says so",
    ),
    fixed(
        "trial_ms",
        TRIAL_MS,
        "ms",
        "the new process is ended, the old one goes on",
    ),
    fixed(
        "progress_report_ms",
        PROGRESS_REPORT_MS,
        "ms",
        "the newest waits for its turn, those before it are left out",
    ),
    fixed(
        "timer_name_bytes_max",
        TIMER_NAME_BYTES_MAX as u64,
        "bytes",
        "invalid_arguments",
    ),
    fixed(
        "timer_data_bytes_max",
        TIMER_DATA_BYTES_MAX as u64,
        "bytes",
        "quota_exceeded",
    ),
    fixed(
        "timers_max",
        TIMERS_MAX as u64,
        "timers of an instance",
        "quota_exceeded",
    ),
    fixed(
        "timers_bytes_max",
        TIMERS_BYTES_MAX as u64,
        "bytes of an instance's timers",
        "quota_exceeded",
    ),
    fixed(
        "timer_every_ms_min",
        TIMER_EVERY_MS_MIN,
        "ms",
        "invalid_arguments",
    ),
    fixed(
        "timer_every_ms_max",
        TIMER_EVERY_MS_MAX,
        "ms",
        "invalid_arguments",
    ),
    fixed(
        "timer_list_max",
        TIMER_LIST_MAX as u64,
        "entries",
        "the answer is cut and names `next`",
    ),
    fixed(
        "timer_backlog_max",
        TIMER_BACKLOG_MAX as u64,
        "missed due times of a timer with the policy all",
        "older ones are counted in `missed`",
    ),
    fixed(
        "timer_grace_ms",
        TIMER_GRACE_MS,
        "ms",
        "a timer with the policy skip skips the due time",
    ),
    range(
        "lock_ttl_ms",
        (30_000, LOCK_TTL_MS_MIN, LOCK_TTL_MS_MAX),
        "ms",
        "the lock is free and its token lock_lost",
    ),
    range(
        "lease_ms",
        (LEASE_MS, 100, LEASE_MS_MAX),
        "ms",
        "the delivery is a counted failure and waits for its next attempt",
    ),
    range(
        "failures_max",
        (FAILURES_MAX as u64, 1, 100),
        "failures",
        "the delivery is dead-lettered with delivery_limit",
    ),
    fixed(
        "crashes_max",
        CRASHES_MAX as u64,
        "crashes",
        "the delivery is dead-lettered",
    ),
    range(
        "age_max_ms",
        (AGE_MAX_MS, 1_000, 30 * DAY_MS),
        "ms since the first lease",
        "the delivery is dead-lettered with too_old",
    ),
    range(
        "hold_age_ms",
        (HOLD_AGE_MS, 60_000, 365 * DAY_MS),
        "ms",
        "the oldest events are skipped for that subscription with broker.gap",
    ),
    range(
        "hold_store_percent",
        (HOLD_STORE_PERCENT as u64, 1, 90),
        "percent of the store",
        "the oldest events are skipped for that subscription with broker.gap",
    ),
    range(
        "subscription_expire_ms",
        (SUBSCRIPTION_EXPIRE_MS, 60_000, 365 * DAY_MS),
        "ms unserved",
        "the client subscription holds nothing any more",
    ),
    fixed(
        "ephemeral_pending_max",
        EPHEMERAL_PENDING_MAX as u64,
        "events",
        "the oldest ephemeral event is dropped",
    ),
    range(
        "credit_events",
        (CREDIT_EVENTS as u64, 1, CREDIT_EVENTS_MAX as u64),
        "events in flight",
        "nothing more is leased to the link",
    ),
    range(
        "credit_bytes",
        (CREDIT_BYTES, 1, 64 << 20),
        "bytes in flight",
        "nothing more is leased to the link; one event is always allowed",
    ),
    fixed(
        "dedupe_ids",
        DEDUPE_IDS,
        "ids per source",
        "the oldest id is forgotten",
    ),
    fixed("dedupe_ms", DEDUPE_MS, "ms", "the id is forgotten"),
    fixed(
        "dead_letters_max",
        DEAD_LETTERS_MAX,
        "records",
        "the oldest payload is cut, its record kept",
    ),
    fixed(
        "dead_letter_bytes_max",
        DEAD_LETTER_BYTES_MAX,
        "bytes",
        "the oldest payload is cut, its record kept",
    ),
    fixed(
        "stderr_tail_bytes_max",
        STDERR_TAIL_BYTES_MAX as u64,
        "bytes",
        "the beginning is cut",
    ),
    fixed(
        "log_message_bytes_max",
        LOG_MESSAGE_BYTES_MAX as u64,
        "bytes",
        "the end is cut",
    ),
    fixed(
        "tools_max",
        TOOLS_MAX as u64,
        "tools per instance",
        "quota_exceeded; at load an error of the manifest",
    ),
    fixed(
        "tool_description_bytes_max",
        TOOL_DESCRIPTION_BYTES_MAX as u64,
        "bytes",
        "quota_exceeded; at load an error of the manifest",
    ),
    fixed(
        "tool_schema_bytes_max",
        TOOL_SCHEMA_BYTES_MAX as u64,
        "bytes",
        "quota_exceeded; at load an error of the manifest",
    ),
    fixed(
        "tool_schema_depth_max",
        TOOL_SCHEMA_DEPTH_MAX as u64,
        "levels",
        "invalid_arguments; at load an error of the manifest",
    ),
    range(
        "tool_timeout_ms",
        (TOOL_TIMEOUT_MS, 1, TOOL_TIMEOUT_MS_MAX),
        "ms",
        "the call is cancelled and answered with timed_out",
    ),
    range(
        "tool_concurrency",
        (TOOL_CONCURRENCY as u64, 1, TOOL_CONCURRENCY_MAX as u64),
        "calls of one tool and instance",
        "the call waits until another ends, at most until its own time is over",
    ),
    fixed(
        "tool_queue_max",
        TOOL_QUEUE_MAX as u64,
        "waiting calls of one tool and instance",
        "rate_limited",
    ),
    fixed(
        "tool_calls_max",
        TOOL_CALLS_MAX as u64,
        "unanswered calls of one link",
        "rate_limited",
    ),
    range(
        "tool_window_bytes",
        (TOOL_WINDOW_BYTES, 0, TOOL_WINDOW_BYTES_MAX),
        "bytes of chunks",
        "no more chunks are sent until there is credit; a larger window is invalid_arguments",
    ),
    fixed(
        "idempotency_key_bytes_max",
        IDEMPOTENCY_KEY_BYTES_MAX as u64,
        "bytes",
        "invalid_arguments",
    ),
    fixed(
        "idempotent_results_max",
        IDEMPOTENT_RESULTS_MAX as u64,
        "results",
        "the oldest is forgotten; a repeat runs again",
    ),
    fixed(
        "idempotent_result_bytes_max",
        IDEMPOTENT_RESULT_BYTES_MAX as u64,
        "bytes of results",
        "the oldest is forgotten; a repeat runs again",
    ),
    fixed(
        "idempotent_result_ms",
        IDEMPOTENT_RESULT_MS,
        "ms",
        "the result is forgotten; a repeat runs again",
    ),
    fixed(
        "early_cancels_max",
        EARLY_CANCELS_MAX as u64,
        "cancels of one link",
        "the oldest is forgotten",
    ),
    fixed(
        "webhooks_max",
        WEBHOOKS_MAX as u64,
        "webhooks per plugin",
        "the declaration is refused",
    ),
    fixed(
        "webhook_secrets_max",
        WEBHOOK_SECRETS_MAX as u64,
        "secrets",
        "the declaration is refused",
    ),
    fixed(
        "webhook_respond_ms_max",
        WEBHOOK_RESPOND_MS_MAX,
        "ms",
        "a longer respond is refused; at the end the webhook is answered 202",
    ),
];
