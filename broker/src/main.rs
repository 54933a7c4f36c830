//! The `trunkline` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all, before anything is opened: the daemon may have started this process.
    if let Some(code) = trunkline_broker::supervisor::hidden_command() {
        return code;
    }
    trunkline_broker::cli::run()
}
