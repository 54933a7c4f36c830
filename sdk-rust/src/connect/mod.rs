//! Long-running connections: WebSocket, server-sent events, and lines over TCP or TLS.
//!
//! One task per registration, from the end of `on_start` to before `on_stop`. What it decides is
//! [`trunkline_patterns::connection`]'s; here are the sockets, the handler, the commit and the lock.
//! A frame's events, changes of state and cursor are one commit, fenced by the lock; the server gets
//! its ack after that.

mod conn;
mod declare;
mod driver;
mod form;
mod frame;
mod lines;
#[cfg(feature = "testing")]
mod played;
mod running;
mod socket;
mod sse;
mod store;
mod stream;
mod websocket;

pub use conn::Conn;
pub(crate) use conn::{Connection, FromSocket};
pub use declare::{Connect, Form};
pub(crate) use running::Connections;
