//! Webhooks: which there are, a request made an event, and the answer it waits for.
//!
//! | concern | file |
//! |---|---|
//! | declared webhooks and their secrets | `endpoint` |
//! | a verified request becomes an event | `take` |
//! | requests that wait for their plugin's answer | `waiting` |
//!
//! HTTP and signatures are the gateway's; here a request is verified already. Invariants: a request is
//! answered only once its event is durable; a repeat, also one after a restart, is a duplicate and is
//! answered as the first was.

mod endpoint;
mod take;
mod waiting;

pub use endpoint::Endpoint;
pub(crate) use endpoint::{Hooks, restore};
pub(crate) use take::HookTicket;
pub use take::{HookAnswer, HookReply, HookRequest};
pub(crate) use waiting::Settled;
