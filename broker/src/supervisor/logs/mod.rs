//! What the processes say: drained at any volume, bounded everywhere.
//!
//! | bound | default | at the bound |
//! |---|---|---|
//! | one line | 16 KiB | cut; the rest is the next line |
//! | lines and bytes per second and instance | [`LogLimits`] | suppressed, counted, the count is logged |
//! | bytes waiting for the disk | 16 MiB | suppressed, counted, the count is logged |
//! | one file, files per instance | 10 MiB, 5 | rotated, the oldest is deleted |
//! | lines a follower may lag behind | 256 | skipped, the follower is told how many |
//!
//! A file is `<directory>/<plugin>/<instance>.log`, one JSON object per line. Secrets are replaced
//! before anything is kept.

mod cut;
mod file;
mod limiter;
mod line;
mod sink;

pub(super) use cut::Cutter;
pub use line::{LogLine, Redactor, Stream};
pub use sink::{Followed, Follower, LogLimits, Logs};
