//! MCP, both ways: tools for MCP clients over HTTP and stdio, and tools of MCP servers.
//!
//! | file | what |
//! |---|---|
//! | `tools`, `port` | what is needed of the broker, and the broker |
//! | `catalogue` | names and descriptions of one caller's tools |
//! | `handler` | the MCP server of one caller: listing, calling, progress, cancelling |
//! | `progress`, `result` | what tools report and give, in MCP's words |
//! | `endpoint`, `route` | `/mcp`: one server per caller, kept between requests |
//! | `stdio` | the same server on stdin and stdout |
//! | `bridge/` | the other way: tools of an MCP server as those of a plugin |
//!
//! The protocol itself, headers and sessions are rmcp's. Tokens, scopes and limits are the core's: a caller here is a
//! client like any other.

mod bridge;
mod catalogue;
mod endpoint;
mod handler;
mod limits;
mod port;
mod progress;
mod result;
mod route;
mod stdio;
#[cfg(test)]
mod tests;
mod tools;

pub(crate) use bridge::bridge;
pub(super) use route::routes;
pub(crate) use stdio::serve;
