//! Every metric of the core. `docs/metrics.md` has to contain it, so it is written once.

use trunkline_contract::rpc::metrics::MetricKind;

use super::family::Metric;

/// Labels of what belongs to an instance or, instead, to a client.
const OWNER: &[&str] = &["plugin", "instance", "client"];
const INSTANCE: &[&str] = &["plugin", "instance"];

macro_rules! metrics {
    ($($name:ident $kind:ident $text:literal $labels:expr, $help:literal)*) => {
        $(pub(super) const $name: Metric = Metric {
            name: $text,
            kind: MetricKind::$kind,
            labels: $labels,
            help: $help,
        };)*

        /// Every metric of the core, in the order of the reference.
        pub const METRICS: &[Metric] = &[$($name),*];
    };
}

metrics! {
    INFO Gauge "trunkline_info" &["version", "store", "durability"],
        "1; which version runs, on which store, and what an acknowledged event survives."
    START Gauge "trunkline_start_time_seconds" &[],
        "When the daemon started, in seconds since the Unix epoch."
    DRAINING Gauge "trunkline_draining" &[],
        "1 while the daemon is shutting down and takes no publishes of clients."

    UP Gauge "trunkline_instance_up" INSTANCE,
        "1 while the instance serves: it is ready, or degraded."
    STATE Gauge "trunkline_instance_state" &["plugin", "instance", "state"],
        "1 for the state the instance is in, 0 for every other."
    STATE_SINCE Gauge "trunkline_instance_state_timestamp_seconds" INSTANCE,
        "Since when the instance is in its state, in seconds since the Unix epoch."
    CONNECTED Gauge "trunkline_instance_connected" INSTANCE,
        "1 while the instance has a link."
    RESTARTS Counter "trunkline_instance_restarts_total" INSTANCE,
        "Ends of the instance's process that were followed by another start or by giving up."
    LOOP_LAG Gauge "trunkline_instance_loop_lag_seconds" INSTANCE,
        "How far the event loop of the instance's handlers lagged behind when it last answered a ping."
    LAST_INBOUND Gauge "trunkline_instance_last_inbound_timestamp_seconds" INSTANCE,
        "When the instance last brought something in from outside, in seconds since the Unix epoch."
    LAST_ERROR Gauge "trunkline_instance_last_error_timestamp_seconds" INSTANCE,
        "When the instance last failed, or a handler of it, in seconds since the Unix epoch."

    DEGRADED Counter "trunkline_instance_degraded_total" INSTANCE,
        "How often the instance began to be degraded: it lost a connection that it keeps, or said so itself."
    TIMERS_FIRED Counter "trunkline_timers_fired_total" &["plugin", "instance", "engine"],
        "Timers that fired, by who set them: poll for ticks of pollers, assemble for the silence and age of \
         assemblies, none for the plugin's own."
    RECEIPTS Counter "trunkline_receipts_total" &["plugin", "instance", "kind", "state"],
        "Receipts that were stored, by the channel's kind and by what they say of an outbound message: queued, \
         sent, delivered, read, failed, unknown, and other for further words."

    PUBLISHES Counter "trunkline_publishes_total" &["plugin", "instance", "client", "result"],
        "Events by who published them and what became of that: stored, duplicate, ephemeral, or the \
         code of the refusal; a refused commit counts once."
    PUBLISHED Counter "trunkline_published_events_total" &["plugin", "instance", "client", "class"],
        "Events that were stored, by who published them and what their topic is about."
    UNMATCHED Counter "trunkline_published_unmatched_total" OWNER,
        "Stored events that matched no subscription when they came; they are kept, and counted here."
    STORED Counter "trunkline_events_stored_total" &["class"],
        "Events that were stored, by what their topic is about, those of the broker included."
    STORED_UNMATCHED Counter "trunkline_events_unmatched_total" &["class"],
        "Stored events that matched no subscription when they came, by what their topic is about."

    DELIVERIES Counter "trunkline_deliveries_total" OWNER,
        "Events handed over, every time."
    REDELIVERIES Counter "trunkline_redeliveries_total" OWNER,
        "Events handed over that may have been handed over before."
    SETTLEMENTS Counter "trunkline_settlements_total" &["plugin", "instance", "client", "result"],
        "Ends of deliveries: acked, naked (failed), deferred (not now), rejected, lease_expired, and \
         stale for those that came too late."
    DIED Counter "trunkline_dead_letters_total" &["plugin", "instance", "client", "reason"],
        "Dead letters that were filed, by reason."
    DROPPED Counter "trunkline_events_dropped_total" &["plugin", "instance", "client", "reason"],
        "Events that were given up without a dead letter, by reason."
    PENDING Gauge "trunkline_events_pending" OWNER,
        "Events that match and are neither settled nor in flight. What a subscription has not read is \
         counted for the first 32 that are behind; for further ones it shows what is loaded."
    IN_FLIGHT Gauge "trunkline_events_in_flight" OWNER,
        "Events that are handed over and not settled."
    RETRYING Gauge "trunkline_events_retrying" OWNER,
        "Events that wait for another try."
    OLDEST Gauge "trunkline_oldest_pending_age_seconds" OWNER,
        "Age of the oldest event that is not settled, where that is known without reading; else absent."
    DEAD Gauge "trunkline_dead_letters" OWNER,
        "Dead letters that wait for a decision."
    SUBSCRIPTIONS Gauge "trunkline_subscriptions" &["plugin", "instance", "client", "state"],
        "Subscriptions by what they are doing."
    WAIT Histogram "trunkline_delivery_wait_seconds" &["plugin", "instance", "client", "class"],
        "From storing an event to handing it over for the first time, by what its topic is about."
    HANDLING Histogram "trunkline_handling_seconds" OWNER,
        "From handing an event over to its ack."

    TOOL_CALLS Counter "trunkline_tool_calls_total" &["plugin", "tool", "result"],
        "Calls of tools that have ended: ok, repeated for those answered from an earlier one under the same \
         key, or the code of the error."
    TOOL_TIME Histogram "trunkline_tool_call_seconds" &["plugin", "tool"],
        "From admitting a call to its answer."
    TOOL_RUNNING Gauge "trunkline_tool_calls_running" &["plugin", "tool"],
        "Calls that a plugin works on."
    TOOL_WAITING Gauge "trunkline_tool_calls_waiting" &["plugin", "tool"],
        "Calls that wait for their turn."
    TOOL_LATE Counter "trunkline_tool_late_total" &["plugin", "tool"],
        "Answers, chunks and progress that came after their call had ended."

    BATCHES Counter "trunkline_store_batches_total" &[],
        "Batches that were given to the store."
    BATCH_COMMITS Histogram "trunkline_store_batch_commits" &[],
        "Commits in one batch: what one sync of the disk made durable."
    SYNC Histogram "trunkline_store_sync_seconds" &[],
        "How long the store took to make a batch durable."
    STAGED Gauge "trunkline_staged_commits" &[],
        "Commits that wait for the next batch."
    STAGED_BYTES Gauge "trunkline_staged_bytes" &[],
        "Bytes of events that wait for the next batch."
    RING Counter "trunkline_log_reads_total" &["result"],
        "Reads of the log for subscriptions: hit when memory answered them, miss when the store did."
    USED Gauge "trunkline_store_used_bytes" &[],
        "Bytes of the store in use."
    FREE Gauge "trunkline_store_free_bytes" &[],
        "Bytes free inside the store."
    EVENT_BYTES Gauge "trunkline_store_event_bytes" &[],
        "Bytes of the events that are kept."
    HEAD Gauge "trunkline_store_head" &[],
        "Highest number of an event."
    DISK Gauge "trunkline_disk_used_ratio" &[],
        "Share of the disk that the store could use and uses, 0 to 1."
    TIMER_LAG Histogram "trunkline_core_timer_lag_seconds" &[],
        "How late timers of the core fired: how far its event loop lags behind."

    LINKS Gauge "trunkline_links" &["role"],
        "Links by who is on the other side."
    LINKS_OPENED Counter "trunkline_links_opened_total" &[],
        "Links that were opened."
    LINKS_UNREAD Counter "trunkline_links_closed_unread_total" &[],
        "Links that were closed because their peer asked and never read the answers."
    UNWRITTEN Gauge "trunkline_links_unwritten_bytes" &[],
        "Bytes that wait to be written on all links."
    BAD_FRAMES Counter "trunkline_bad_frames_total" &[],
        "Frames that were malformed or too large."
    REFUSED Counter "trunkline_requests_refused_total" &[],
        "Requests that were answered with an error, publishes included."
    UNKNOWN Counter "trunkline_unknown_methods_total" &[],
        "Requests for methods that do not exist."
    LATE Counter "trunkline_late_responses_total" &[],
        "Answers that nobody waited for."
    GAPS Counter "trunkline_gaps_total" &[],
        "Gaps that consumers were told of."
    SPANS Counter "trunkline_spans_total" &[],
        "Spans of sampled traces that were given to the exporter."
    SPANS_DROPPED Counter "trunkline_spans_dropped_total" &[],
        "Spans that were left out: too many deliveries at once, or an exporter that does not keep up."
    TRACES Counter "trunkline_traceparents_dropped_total" &[],
        "Trace contexts that were left out of events because they were invalid."
}
