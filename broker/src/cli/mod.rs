//! The `trunkline` command: one file per subcommand.
//!
//! Data goes to stdout, everything said about it to stderr, in plain text without colour. An error is
//! `error: <code>: text`, then an empty line and `hint: …` where there is something to do about it.
//! Every command that reads has `--json`.
//!
//! Exit statuses are stable:
//!
//! | status | meaning |
//! |---|---|
//! | 0 | done; the answer is yes |
//! | 1 | the answer is no: not found, a check failed, the doctor or `config check` found errors |
//! | 2 | wrong usage |
//! | 3 | no daemon answers, or it does not know the token |
//! | 64 to 78 | any other refusal, by its code, as the contract's table of errors says |
//!
//! Of the last row `up` uses 70 (the store stopped), 75 (another daemon holds the store) and 78 (the config
//! has errors).

mod addressee;
mod args;
mod check;
mod client;
mod completions;
mod config;
mod dev;
mod dlq;
mod doctor;
mod failure;
mod input;
mod logs;
mod mcp;
mod new;
mod output;
mod packages;
mod plugins;
mod pollers;
mod publish;
mod status;
mod tail;
mod token;
mod tools;
mod trigger;
mod up;

pub use args::{command, run};
