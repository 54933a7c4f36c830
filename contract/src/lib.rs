//! The Trunkline wire contract: pure data, no I/O.
//!
//! Everything that travels between the broker and a peer, and everything that both must judge
//! alike: names, topics, frames, JSON-RPC messages, the event envelope, errors and limits. The
//! text of the contract is `SPEC.md` beside this crate; vectors that every SDK runs are in
//! `vectors/`.
//!
//! | module | concept |
//! |---|---|
//! | [`error`] | the error catalogue |
//! | [`limits`] | every limit and what happens at it |
//! | [`id`] | names and event ids |
//! | [`topic`] | topics, filters, ordering keys |
//! | [`frame`] | bytes to frames, and the byte scanner |
//! | [`rpc`] | JSON-RPC messages, methods, parameters and results |
//! | [`envelope`] | the event envelope |
//!
//! Invariants: no I/O, no clock, no randomness; nothing panics on any input; payloads are carried
//! as the text they came in, never through a tree.

pub mod envelope;
pub mod error;
pub mod frame;
pub mod id;
pub mod limits;
pub mod rpc;
pub mod topic;

pub use envelope::Event;
pub use error::{Code, Error};
