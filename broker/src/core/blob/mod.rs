//! Blobs: large content by reference. The records are here; the files are the driver's.
//!
//! | what | where |
//! |---|---|
//! | the name of a content | `hash` |
//! | what the driver is asked to do with files | `work` |
//! | what is kept, for whom, and how much | `index` |
//! | `blob.put`, `finish`, `get`, `stat` | `request` |
//! | uploads under way, and access over HTTP | `upload` |
//! | events that name blobs | `naming` |
//! | what goes, and when | `collect` |
//!
//! | key | value |
//! |---|---|
//! | `b/<sha256>` | bytes, media type, when it was put last |
//! | `bp/<sha256>/<source>` | nothing: this source put it |
//! | `bn/<sha256>` | topics of the events that named it; its revision is above the last of them |
//!
//! Invariants:
//!
//! - A record is written only after its file is durable, and a file is removed only after its record is
//!   gone. So a crash leaves files without a record, never the other; those are removed after a start.
//! - Nothing is removed while an event that names it is on its way to the disk, or while it is put again.
//! - Whoever names a blob may read it: to know a hash opens nothing.

mod collect;
mod hash;
mod index;
mod naming;
mod request;
mod upload;
mod work;

pub use hash::BlobHash;
pub use upload::{BlobAccess, UploadAccess};
pub use work::{BlobAnswer, BlobFault, BlobFiles, BlobRequest};

pub(crate) use index::Blobs;
pub(crate) use request::BlobTicket;
