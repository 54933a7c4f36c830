//! Pollers: somebody else is asked, again and again, what is new.
//!
//! What is decided is [`trunkline_patterns::poller`]'s; here it is done: kv, HTTP, the author's function,
//! one commit. A tick is the event of a timer, so it is settled, repeated and ordered like every other one.
//!
//! | file | concept |
//! |---|---|
//! | `declare` | what the author says |
//! | `tick` | the handler of ticks |
//! | `item` | an item to the author's function, and what comes of it |
//! | `manifest` | what a manifest declares without code |
//! | `oauth` | tokens by client credentials |
//! | `order` | orders of operators, and what is answered |
//! | `store` | keys, and commits from what was decided |
//!
//! | name | what |
//! |---|---|
//! | timer `engine.poll.<kind>` | the schedule |
//! | timer `engine.poll.<kind>.again` | a tick beside the schedule: a retry, more pages |
//! | timer `engine.poll.<kind>.item.<hash>` | an item that waits by itself |
//! | key `engine/poll/<kind>/state` | [`State`](trunkline_patterns::poller::State) |
//! | key `engine/poll/<kind>/seen` | [`Seen`](trunkline_patterns::poller::Seen) |
//! | key `engine/poll/<kind>/item/<hash>` | an item that waits and is too long for its timer |
//! | timer `engine.poll.<kind>.order.<id>` | an operator's order |
//! | key `engine/poll/<kind>/answer` | what came of the last one |
//!
//! The data of an order are `{"control": "run"|"dry_run"|"pause"|"resume"|"reset", "reason"?, "order"?}`.

mod declare;
mod item;
mod manifest;
mod oauth;
mod order;
mod store;
mod tick;

pub use declare::Poll;
pub(crate) use manifest::declared;
pub use trunkline_patterns::feed::{Enclosure, FeedItem};
pub use trunkline_patterns::json_items::{JsonOptions, Paginate};
pub use trunkline_patterns::poller::AlertTo as PollAlert;
