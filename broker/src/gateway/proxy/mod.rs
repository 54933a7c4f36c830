//! A plugin's own HTTP server, reached through the daemon: `/plugins/<plugin>/<instance>/…`.
//!
//! | file | what it does |
//! |---|---|
//! | `forward` | one request and its answer, both streamed |
//! | `target` | which server a path means, and what is left of the path |
//! | `headers` | what is taken away and what is added on the way |
//! | `body` | both bodies on their way, with their limits in time |
//! | `tunnel` | what follows a WebSocket's handshake |
//! | `connect` | a connection to a server |
//! | `health` | asks the servers whether they work |
//!
//! It is the plugin's server: who may do what there, and pages of which origin, is the plugin's business. The
//! daemon sees to Host, sizes of heads and time, and never hands one of its own tokens over.
//!
//! Each request has a connection of its own. The socket is local, so a new one costs little, and no request
//! can meet a connection that the plugin is about to close; none is ever sent twice.
//!
//! Invariants: a request goes to the instance it names or nowhere; both directions wait for their reader.

mod body;
mod connect;
mod forward;
mod headers;
mod health;
mod target;
mod tunnel;

pub(super) use forward::{Passed, serve};
pub(crate) use health::watch;
pub(super) use target::PREFIX;
