//! Blobs: large content by reference, so that no bytes of it are in an event or on a link.
//!
//! | what | where |
//! |---|---|
//! | `put`, `get`, `open`, `stat` | `blobs` |
//! | what is put, read piece by piece | `source` |
//! | content over HTTP, for peers on another machine | `http` |
//!
//! Whether files or HTTP are used is the broker's answer; nobody above sees the difference. What a lost link
//! interrupts goes on over the next one.

mod blobs;
mod http;
mod source;

pub use blobs::{BlobFile, BlobRef, Blobs, PutBlob};
pub(crate) use blobs::{broken, discard, private, temporary};
pub use source::BlobSource;
