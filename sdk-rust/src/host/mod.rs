//! The boundary to other languages: what arrives is pulled in batches, what was decided is pushed
//! back in batches, and everything else is asked for by name, in JSON.
//!
//! No handler, hook or callback of the host language is ever called from here, and no object of it
//! is held: the core queues [`HostMsg`]s and sends one wake-up, the host takes a bounded batch on
//! its own loop, runs its own functions, and gives back [`Completion`]s. What an outcome means, what
//! a publish or a lock is, and every text and default live once, behind the names of
//! [`Host::call`] and [`Host::tell`].
//!
//! ```
//! use trunkline::Bytes;
//! use trunkline::host::Host;
//!
//! let host = Host::start(Box::new(|| { /* write to an eventfd, call a threadsafe function */ }))?;
//! let spec = Bytes::from_json(r#"{"id":"echo","outbound":[{"handler":0,"kind":"echo"}]}"#)?;
//! let plugin = host.tell(0, "plugin", spec)?.json::<u64>()?;
//! assert_eq!(host.tell(plugin, "instance", Bytes::default())?.as_str(), "\"\"");
//! host.close(std::time::Duration::from_secs(1));
//! # Ok::<(), trunkline::Error>(())
//! ```
//!
//! Invariants: at most one wake-up is under way; every event that was taken is completed once, or
//! given back when its link goes; threads of the core never wait for the host.

mod beat;
mod blob;
mod calls;
mod connect;
mod exact;
mod handler;
mod handles;
mod http;
mod input;
mod logs;
mod outcome;
mod poll;
mod queue;
mod scope;
mod service;
#[cfg(feature = "testing")]
mod sockets;
mod spec;
mod tells;
#[cfg(feature = "testing")]
mod testing;
#[cfg(test)]
mod tests;
mod timer;
mod tools;
mod turn;
mod wire;

pub use exact::untag;
pub use handler::HostHandler;
pub use input::payload_error;
pub use outcome::{Completion, Decision, outcome_of};
pub use queue::{EventMsg, HostMsg, Invoked, Wake};
pub use service::Host;
pub use tools::{check_tool, tool_schema};
pub use wire::write_batch;
