//! Tools of an MCP server as tools of a plugin: the process `trunkline __mcp`.
//!
//! Each `[[mcp.servers]]` is an instance like any other, run by the supervisor: started, watched, restarted with
//! backoff, logged. Its process is this one. It holds one connection to the MCP server, declares the server's tools
//! under names of ours, and passes calls, progress and cancels through.
//!
//! | file | what |
//! |---|---|
//! | `run` | the plugin's side of the link |
//! | `remote` | the connection to the MCP server |
//! | `calls` | calls under way |
//! | `known` | which tool of ours is which of theirs, kept on the disk |
//! | `names` | names of theirs in our alphabet |
//! | `convert` | declarations and results |
//!
//! Invariants: nothing is opened before the activation; tools that were seen once stay declared while the server is
//! away, and answer `unavailable`.

mod calls;
mod convert;
mod known;
mod names;
mod remote;
mod run;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use run::bridge;
