//! The daemon: store, core, supervisor, socket and control plane, put together and taken down.
//!
//! | file | what it does |
//! |---|---|
//! | `start` | opens everything in order, and ends it in the opposite order |
//! | `bridge` | the supervisor's view of the links, and the core's events on their way out |
//! | `control` | `admin.*` requests that are about processes, logs and config |
//! | `shared` | the config as it is now |
//! | `reload` | the config read again, and what running plugins make of theirs |
//! | `inventory` | which plugins could be configured |
//! | `upgrade`, `together`, `package` | new manifests and new packages for what runs, for one after the other or, where they share a process, all at once; with a way back |
//! | `disk` | how full the disk is, told to the core |
//! | `exporter`, `otlp` | spans of sampled traces, to a collector |
//! | `listener` | the Unix socket |
//! | `token` | the owner's token in a file that only the owner can read |

mod bridge;
mod control;
mod disk;
mod exporter;
mod inventory;
mod listener;
#[cfg(feature = "otlp")]
mod otlp;
mod package;
mod reload;
mod shared;
mod start;
mod together;
mod token;
mod upgrade;

pub(crate) use listener::bind as bind_socket;
pub use start::{Daemon, EXIT_CONFIG, EXIT_FAILED, EXIT_HELD, HTTP_FILE, StartError};
pub use token::TOKEN_FILE;
