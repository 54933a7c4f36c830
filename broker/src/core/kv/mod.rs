//! Keyed state for plugins and clients.
//!
//! | what | where |
//! |---|---|
//! | whose keys, and how they are spelled in the store | `key` |
//! | how much an owner keeps, how old a watch may be | `usage` |
//! | `kv.get`, `put`, `delete`, `list`, and changes inside a commit | `request` |
//! | `kv.watch` | `watch` |
//!
//! A value is its JSON text as it came. A deletion leaves a tombstone under a key of its own for 24 h, so
//! that a watch can resume; `if_revision: 0` therefore means what it says. An entry that runs out by its
//! time to live reads as absent; that is no change, and a watch does not hear of it.

mod key;
mod request;
mod usage;
mod watch;

pub(crate) use request::KvRead;
pub(crate) use request::KvTicket;
pub(crate) use usage::KvState;
