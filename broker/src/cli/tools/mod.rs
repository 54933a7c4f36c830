//! `trunkline tools`: what can be called, and typed clients of it.

mod client;
mod command;
mod list;
mod place;
mod source;

pub(crate) use command::{ToolsCommand, run};
