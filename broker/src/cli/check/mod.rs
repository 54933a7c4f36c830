//! `trunkline check`: runs any program through the contract as a plugin and reports each rule.
//!
//! | file | what it is |
//! |---|---|
//! | `command` | the command line, and its answer |
//! | `subject` | which program, and what is known of it beforehand |
//! | `bench` | starts the program as the daemon would, and ends it |
//! | `link` | the broker's side of the link, as far as a plugin can tell |
//! | `scenario` | what is tried, in order |
//! | `report` | the rules and their verdicts |
//!
//! It sees the link and the process and nothing else: what a plugin opens outside it cannot see.

mod bench;
mod command;
mod link;
mod report;
mod scenario;
mod subject;

pub(crate) use command::{CheckArgs, run};
pub(in crate::cli) use subject::read_manifest;
