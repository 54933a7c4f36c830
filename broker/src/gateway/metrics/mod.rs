//! `/metrics`: every number, in the text format of Prometheus.
//!
//! | concern | file |
//! |---|---|
//! | the answer | `scrape` |
//! | what the daemon adds to the core's numbers: names and help | `table` |
//! | requests, counted | `requests` |
//! | memory and processor time of processes | `process` |
//! | the text format | `text` |
//!
//! The text is written here and not by a metrics library: those keep the numbers themselves, in registries
//! of shared atomics, while ours are counted where they happen and taken at one moment. What is left for a
//! library is a page of text, and the known ones write OpenMetrics, of which `promtool check metrics` reads
//! only a part.
//!
//! Invariants:
//!
//! - A scrape costs the core one request; nothing else waits for it.
//! - No label takes its values from what peers send.

mod process;
mod requests;
mod scrape;
mod table;
mod text;

pub use requests::Requests;
pub use scrape::Insight;
pub(super) use scrape::scrape;
pub use table::METRICS;
