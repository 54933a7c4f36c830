//! The `trunkline` command: one file per subcommand.
//!
//! Data goes to stdout, everything said about it to stderr. Exit statuses are stable: 0 done, 1 the answer
//! is no, 2 wrong usage, and for the daemon 70 (the store stopped), 75 (another daemon holds the store),
//! 78 (the config has errors).

mod args;
mod up;

pub use args::run;
