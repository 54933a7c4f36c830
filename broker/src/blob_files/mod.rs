//! Where blobs are kept: one file per content, named by its hash, and a directory per peer to exchange them.
//!
//! | path under the data directory | what |
//! |---|---|
//! | `blobs/<first two digits>/<sha256>` | a content, mode 0400, durable before anybody hears of it |
//! | `spool/<peer>/<upload>` | what a peer is putting, mode 0600 |
//! | `spool/<peer>/get-<sha256>` | what a peer is reading: the same file under a second name |
//! | `spool/.taken/<upload>` | what is being checked |
//!
//! It knows nothing of records, quotas or rights: the core has those. The spool holds nothing that must
//! survive, and begins empty in every life of the broker.

mod dir;
mod paths;

pub use dir::DirFiles;
pub use paths::BlobPaths;
