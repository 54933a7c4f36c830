//! The command line as it is parsed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::up;

/// One broker for every channel a bot speaks on.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where the config is and what overrides it.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// The config file.
    #[arg(
        long,
        short,
        env = "TRUNKLINE_CONFIG",
        default_value = "trunkline.toml"
    )]
    pub(crate) config: PathBuf,
    /// Overrides one setting; may be given again.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground.
    Up(ConfigArgs),
}

/// Parses the command line and runs it.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Up(args) => up::run(&args),
    }
}
