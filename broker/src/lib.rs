//! The Trunkline broker: durable topics between plugins and agents, and the plugins' supervisor.
//!
//! | module | what it is | knows nothing of |
//! |---|---|---|
//! | [`core`] | frames in, frames and commits out: the broker as a state machine | sockets, files, threads |
//! | [`router`] | who gets which event next | frames, the disk |
//! | [`store`] | one durable log and keyed state | subscriptions, plugins |
//! | `config` (feature `daemon`) | the operator's file, layered, checked, compared | sockets, processes |
//! | `gateway` (feature `daemon`) | HTTP: a client of the core like any other | the store, processes |
//! | `install` (feature `daemon`) | packages of plugins: packed, taken in, checked | sockets, processes |
//! | `supervisor` (feature `daemon`) | starts, watches and ends the processes of plugins | topics, frames |
//! | [`blob_files`] | where blobs are kept | records, quotas, rights |
//! | [`runtime`] | the threads around the core | what a frame means |
//! | [`clock`] | time and chance, so that they can be simulated | everything else |

pub mod blob_files;
#[cfg(feature = "daemon")]
pub mod cli;
pub mod clock;
#[cfg(feature = "daemon")]
pub mod config;
pub mod core;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod gateway;
#[cfg(feature = "daemon")]
pub mod install;
pub mod instance;
#[cfg(feature = "daemon")]
mod line;
mod planted;
pub mod router;
pub mod runtime;
pub mod store;
#[cfg(feature = "daemon")]
pub mod supervisor;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
