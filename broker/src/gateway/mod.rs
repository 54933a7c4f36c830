//! The daemon's HTTP side: one server for programs, agents, webhooks and operators.
//!
//! | file | what it does |
//! |---|---|
//! | `server` | accepts connections, bounds them, speaks TLS, ends them in order |
//! | `guard` | what every request passes: who sent it, Host, Origin, request id |
//! | `auth` | the bearer token |
//! | `error` | failures as status and JSON |
//! | `line` | one link to the core, as frames |
//! | `port`, `tool_stream`, `ports` | the client of the core that requests share |
//! | `state` | what handlers share |
//! | `routes` | which path leads where |
//! | `link` | `/v1/link`, a link over WebSocket |
//! | `stall` | cuts a connection whose other end reads nothing |
//! | `api` | `/v1`, one table of operations and the OpenAPI document made of it |
//! | `blob` | `/v1/blobs`: large content |
//! | `proxy` | `/plugins/…`: plugins' own HTTP servers |
//! | `hooks` | webhooks of the world |
//! | `mcp/` | tools for MCP clients |
//! | `health` | `/healthz` and `/readyz` |
//! | `metrics` | `/metrics` |
//! | `trace` | the trace that a request belongs to |
//! | `testing` | the tree without a socket (feature `testing`) |
//!
//! **The gateway is a client like any other.** It speaks frames over a socket pair, with the caller's own
//! token, so scopes, limits, errors and revocation live once, in the core.
//!
//! Invariants:
//!
//! - A token is taken from the header `Authorization` alone.
//! - Everything is bounded; what happens at each bound stands beside it in `limits` and in the settings.

pub mod api;
pub mod auth;
mod blob;
pub mod body;
pub mod error;
mod guard;
mod health;
mod hooks;
pub mod limits;
mod line;
mod link;
pub(crate) mod mcp;
pub mod metrics;
mod port;
mod ports;
pub(crate) mod proxy;
mod routes;
mod server;
mod stall;
mod state;
#[cfg(feature = "testing")]
pub mod testing;
mod tool_stream;
mod trace;

pub use error::Failure;
pub use guard::{RequestId, Source};
pub use line::{FrameReader, Line};
pub use port::Port;
pub use ports::Ports;
pub use server::{BindError, Bound, Server, bind};
pub use state::Gateway;
pub use tool_stream::{ToolEvent, ToolStream};
