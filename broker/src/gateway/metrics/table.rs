//! Every metric that the daemon adds to those of the core.

use trunkline_contract::rpc::metrics::MetricKind;

use crate::core::metrics::Metric;

const INSTANCE: &[&str] = &["plugin", "instance"];

macro_rules! metrics {
    ($($name:ident $kind:ident $text:literal $labels:expr, $help:literal)*) => {
        $(pub(super) const $name: Metric = Metric {
            name: $text,
            kind: MetricKind::$kind,
            labels: $labels,
            help: $help,
        };)*

        /// Every metric of the daemon, in the order of the reference.
        pub const METRICS: &[Metric] = &[$($name),*];
    };
}

metrics! {
    REQUESTS Counter "trunkline_http_requests_total" &["route", "status"],
        "HTTP requests by the first part of their path and the status of the answer. Webhooks are the \
         route hooks."
    REQUEST_TIME Histogram "trunkline_http_request_seconds" &["route"],
        "From a request's head to the head of its answer."
    WEBHOOKS Counter "trunkline_webhooks_total" &["plugin", "instance", "status"],
        "Requests to webhooks by the instance they were for and the status of the answer."
    RESIDENT Gauge "trunkline_instance_resident_memory_bytes" INSTANCE,
        "Resident memory of the instance's process, without processes that it started."
    CPU Counter "trunkline_instance_cpu_seconds_total" INSTANCE,
        "Processor time of the instance's process; begins anew with another process."
    SUPPRESSED Counter "trunkline_instance_log_lines_suppressed_total" INSTANCE,
        "Lines of the instance's log that were left out: more than it may log, or more than the disk took."
    OWN_RESIDENT Gauge "process_resident_memory_bytes" &[],
        "Resident memory of the daemon."
    OWN_CPU Counter "process_cpu_seconds_total" &[],
        "Processor time of the daemon."
    OWN_FDS Gauge "process_open_fds" &[],
        "File descriptors that the daemon has open."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: &Metric) -> String {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let (name, help) = (metric.name, metric.help);
        format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "))
    }

    /// The reference is written by hand around this table, and cannot differ from what is exported.
    #[test]
    fn the_reference_has_every_metric() {
        let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
        let core = crate::core::metrics::METRICS.iter();
        table.extend(core.chain(METRICS).map(row));
        let reference = include_str!("../../../../docs/metrics.md");
        assert!(
            reference.contains(&table),
            "docs/metrics.md has to contain this table:\n{table}"
        );
    }
}
