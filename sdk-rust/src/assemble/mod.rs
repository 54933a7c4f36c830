//! Assemblers: parts of a message that come one by one become one event.
//!
//! | concern | file |
//! |---|---|
//! | what a handler returns: a part | `part` |
//! | the author's function and options | `registration` |
//! | what a part, or the time, does to what is kept | `engine` |
//! | how many are collected at a time | `index` |
//!
//! Every part is an event to the instance itself, in the order of its session, so that buffers and parts
//! change in the commit that settles it. When a whole is made is decided by
//! [`trunkline_patterns::assembler`]; time comes as events of the broker's timers.

mod engine;
mod index;
mod part;
mod registration;

pub(crate) use part::PartOut;
pub use part::{Assembly, Part};
pub use registration::Assemble;
