//! Dead letters for operators, and what never was an event.
//!
//! | what | where |
//! |---|---|
//! | which there are, how large, how old; the quota | `index` |
//! | `admin.dlq.list`, `show`, `dead_letter.put` | `request` |
//! | `admin.dlq.replay`, `discard` | `decide` |
//! | which of many are meant | `which` |
//!
//! A record is written in one commit with the end of its delivery (the router does that), and a replay in
//! one commit with its removal. Records are listed by subscription, oldest first within each. In a list
//! the envelope of a large one is left out; `show` gives it.

mod decide;
mod index;
mod request;
mod which;

pub(crate) use index::{Change, DeadLetters};
pub(crate) use request::DeadRead;
pub(crate) use request::DeadTicket;
