//! Outbound handlers: what agents publish for a kind of channel goes out, and receipts come back.
//!
//! A handler without options is called once for each handing-over, and its outcome settles the
//! event ([`crate::settle`]). With a rate, `idempotent` or `reconcile` it is an adapter to a
//! provider: [`adapter`] goes around it, and no call is made twice that may not be.
//!
//! | module | what it does |
//! |---|---|
//! | [`declare`] | the options, and the route they make |
//! | [`adapter`] | one handing-over: what [`trunkline_patterns::outbound`] decides is done here |
//! | [`classify`] | what a handler's outcome says about the call |
//! | [`fitted`] | the message as its channel can show it |
//! | [`limits`] | waits for a rate |
//! | [`sent`] | what was sent is remembered: later receipts and echoes find it |

mod adapter;
mod classify;
mod declare;
mod fitted;
mod limits;
mod sent;

pub(crate) use adapter::Cut;
pub use declare::Outbound;
pub(crate) use sent::{is_echo, later, may_be_old_echoes, recall, remember};

/// The guide's example is compiled with the crate's documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/patterns/outbound.md")]
struct Guide;
