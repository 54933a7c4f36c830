//! Sends what agents publish to a provider: which call is made when, and what is said of it.
//!
//! The broker keeps the queue, the order of a conversation, the waits between attempts and the
//! count of failures. What is decided here is one handing-over of one message: which part is sent
//! next, whether a call that had begun before a crash may be made again, which receipts there are,
//! and how the delivery ends. No clock, no I/O: the shell does what a [`Step`] says and tells the
//! result.
//!
//! Invariants:
//! - Unless it may be repeated, or the provider said that it did not happen, no call is made twice.
//! - Each part ends in one final state, and `sent` is said only after the provider took it.
//! - Receipts, and the record that says that they were given, belong to one commit.
//!
//! | module | what it decides |
//! |---|---|
//! | [`attempt`] | one handing-over, step by step |
//! | [`record`] | what is kept between two of them |
//! | [`fit`](mod@fit) | what the channel can do, and what it gets where it cannot |
//! | [`cut`] | how a message is cut to the longest text |
//! | [`memory`] | how long sent messages are remembered |

pub mod attempt;
pub mod cut;
pub mod fit;
pub mod memory;
pub mod record;
#[cfg(test)]
mod simulation;

pub use attempt::{
    Answer, Attempt, Called, End, Failure, Keep, NOT_SUPPORTED, Rules, Settle, Step,
};
pub use cut::parts;
pub use fit::{Fit, NotSupported, fit};
pub use memory::Memory;
pub use record::Record;
