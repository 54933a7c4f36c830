//! Tools: what a plugin offers to be called, how a call is served, and how one is made.
//!
//! A call is handled like an event: the same context, deadline, cancelling and guard. It differs in
//! that what the handler returns is the answer to a request, that calls have no order, and that
//! chunks of the result may go ahead of it, as far as the caller's window reaches.
//!
//! Not here: which call runs when ([`crate::dispatch`]), and who may call what (the broker).

mod call;
mod caller;
mod declare;
mod error;
mod schema;
mod serving;
mod settle;

pub use call::{ToolCall, ToolStep};
pub use caller::ToolCaller;
pub use declare::{Tool, ToolHandler};
pub use error::ToolError;

#[cfg(feature = "host")]
pub(crate) use call::Calling;
pub(crate) use call::ToolCalls;
#[cfg(feature = "host")]
pub(crate) use schema::{Derived, Side, derived};
pub(crate) use serving::Serving;
pub(crate) use settle::{Made, settle};
