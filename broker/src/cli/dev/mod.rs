//! `trunkline dev`: a plugin while it is written.
//!
//! | module | what it is |
//! |---|---|
//! | `project` | what is run: the operator's file, or the manifest of the directory |
//! | `watch` | which files count, and which of them changed |
//! | `build` | the command that makes a compiled plugin |
//! | `pane` | the terminal: what is typed is published, what comes is shown |
//! | `tape` | traffic in a file, and back out of it |
//! | `run` | the daemon, and what follows a change |

mod build;
mod pane;
mod project;
mod run;
mod tape;
mod watch;

pub(crate) use build::build;
pub(crate) use project::command as build_command;
pub(crate) use run::{DevArgs, run};
