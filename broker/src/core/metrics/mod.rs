//! What the broker counts, as numbers for monitoring: `admin.metrics`, and `/metrics` of the daemon.
//!
//! | concern | file |
//! |---|---|
//! | names, labels and help of every metric of the core: the reference is generated from it | `table` |
//! | samples put together | `family` |
//! | what the core counts itself, beside the router's meters | `meter` |
//! | what an instance's engines are counted by | `engines` |
//! | what became of its messages | `receipts` |
//! | all of it at one moment | `snapshot` |
//! | whether work can be done now | `readiness` |
//!
//! Invariants:
//!
//! - Counting allocates nothing per event and takes no lock; only a snapshot does.
//! - Labels are bounded: instances and clients by the router's meters, everything else by the table.
//! - A counter is there from 0 on, also when nothing happened yet, wherever its labels are known.

mod engines;
mod family;
mod meter;
mod readiness;
mod receipts;
mod snapshot;
mod table;

pub(crate) use engines::EngineCounts;
pub use family::{Families, Metric};
pub(crate) use meter::CoreMeter;
pub use readiness::Readiness;
pub use table::METRICS;
