//! The daemon's HTTP side: one server for programs, agents, webhooks and operators.
//!
//! | file | what it does |
//! |---|---|
//! | `server` | accepts connections, bounds them, speaks TLS, ends them in order |
//! | `guard` | what every request passes: who sent it, Host, Origin, request id |
//! | `auth` | the bearer token |
//! | `error` | failures as status and JSON |
//! | `state` | what handlers share |
//! | `routes` | which path leads where |
//! | `health` | `/healthz` and `/readyz` |
//!
//! **The gateway is a client like any other.** It speaks frames over a socket pair, with the caller's own
//! token, so scopes, limits, errors and revocation live once, in the core.
//!
//! Invariants:
//!
//! - A token is taken from the header `Authorization` alone.
//! - Everything is bounded; what happens at each bound stands beside it in `limits` and in the settings.

pub mod auth;
pub mod body;
pub mod error;
mod guard;
mod health;
pub mod limits;
mod routes;
mod server;
mod state;

pub use error::Failure;
pub use guard::{RequestId, Source};
pub use server::{BindError, Bound, Server, bind};
pub use state::Gateway;
