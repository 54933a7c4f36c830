//! The process of a plugin without code: what `[[pollers]]` of the `plugin.toml` here declare.

use std::process::ExitCode;

use trunkline::Plugin;
use trunkline_contract::manifest::FILE;

fn main() -> ExitCode {
    match std::fs::read_to_string(FILE) {
        Ok(text) => trunkline::run(Plugin::from_manifest(&text)),
        Err(error) => {
            eprintln!("error: expected {FILE} in the working directory, found none: {error}");
            ExitCode::FAILURE
        }
    }
}
