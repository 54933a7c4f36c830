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
//! | [`toml`] | texts that people write, with positions |
//! | [`manifest`] | what a plugin says about itself |
//! | [`config_schema`] | what an instance's config may hold |
//! | [`tool`] | what can be called, and its names |
//! | [`grant`] | who may publish and receive what |
//! | [`message`] | standard payloads |
//! | [`schema`] | JSON Schemas of all of it |
//! | [`duration`] | durations as people write them |
//! | [`typed`] | types in three languages, made of JSON Schemas |
//! | [`trace`] | W3C trace context |
//! | [`webhook`] | what a plugin says about a webhook |
//! | [`whole`] | whole numbers, however they are written |
//!
//! Invariants: no I/O, no clock, no randomness; nothing panics on any input; payloads are carried
//! as the text they came in, never through a tree.

pub mod cloudevents;
pub mod config_schema;
pub mod duration;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod grant;
pub mod id;
pub mod limits;
pub mod manifest;
pub mod message;
pub mod rpc;
pub mod schema;
pub mod toml;
pub mod tool;
pub mod topic;
pub mod trace;
pub mod typed;
pub mod webhook;
pub mod whole;

pub use envelope::Event;
pub use error::{Code, Error};
