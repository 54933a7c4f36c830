//! The demo's command line.

use std::path::PathBuf;

use clap::Parser;

/// Sends lines of chat through a broker, plugins in three languages and an agent, and back.
///
/// In a terminal you type the lines; anywhere else, or with `--script`, a fixed conversation runs.
/// Exits with 0 when every line came back through every language.
#[derive(Debug, Parser)]
#[command(name = "trunkline-demo", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Run the fixed conversation, also in a terminal.
    #[arg(long)]
    pub(crate) script: bool,
    /// Print one JSON object for each line and language.
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep config, plugins, store and logs in this new directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// How long one line may take, and a plugin to start.
    #[arg(long, value_name = "MS", default_value_t = 20_000)]
    pub(crate) limit_ms: u64,
}
