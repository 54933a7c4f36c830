//! `trunkline token`: makes a token for a client.
//!
//! The token is shown once and kept nowhere; the config holds its hash.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::failure::Failure;
use super::output::{self, OutputArgs, say};

/// How it is shown.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Makes one and shows it.
pub(crate) fn run(args: &TokenArgs) -> Result<ExitCode, Failure> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new("internal", 70, format!("no randomness: {error}")))?;
    let token = format!("tl_{}", hex(&bytes));
    let hash = hex(&Sha256::digest(token.as_bytes()));
    if args.output.json {
        output::json(&json!({"token": token, "sha256": hash}))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::data(&token)?;
    say(&format!(
        "\nThe token is shown this once. Give its hash to the client in trunkline.toml, then trunkline config \
         reload:\n\n[[clients]]\nname = \"agent\"\ntoken_sha256 = [\"{hash}\"]\nscopes = \
         [\"read:plugin.inbound.>\"]"
    ));
    Ok(ExitCode::SUCCESS)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
