//! `trunkline mcp`: tools for an MCP client that starts its servers itself. Stdout is the protocol's.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tracing_subscriber::EnvFilter;
use trunkline_contract::error::{Code, Error};

use super::client::ConnectArgs;
use super::failure::{EXIT_NO_DAEMON, Failure};
use crate::config::{DiskFiles, mcp_names};
use crate::gateway::auth::Token;
use crate::gateway::mcp;

/// What is said on stderr: what the MCP library sees go wrong is an answer or a status here.
const LOG_FILTER: &str = "warn,rmcp=off";

/// Arguments of `trunkline mcp`.
#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Serves tools on stdin and stdout.
pub(crate) fn run(args: &McpArgs) -> Result<ExitCode, Failure> {
    start_log();
    let (socket, token_file) = args.connect.find()?;
    let token = read_token(&token_file)?;
    let names = mcp_names(&args.connect.config.sources()?, &DiskFiles);
    block_on(async {
        mcp::serve(&socket, token, names).await.map_err(|error| {
            if error.code == Code::Unavailable {
                return Failure::no_daemon(error.message).hint("trunkline up");
            }
            error.into()
        })
    })
}

/// Takes the tools of an MCP server in: the process of one of `[[mcp.servers]]`.
pub(crate) fn bridge() -> Result<ExitCode, Failure> {
    start_log();
    block_on(async { mcp::bridge().await.map_err(Failure::from) })
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Code::Internal, format!("no runtime: {error}")))?;
    let done = runtime.block_on(work);
    // Whatever still reads stdin cannot be woken, and need not be.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

fn start_log() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(LOG_FILTER))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

fn read_token(file: &PathBuf) -> Result<Token, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let message = format!("the token in {} cannot be read: {error}", file.display());
        Failure::new("unauthorized", EXIT_NO_DAEMON, message)
            .hint("give its path with --token-file; only the daemon's user may read it")
    })?;
    Ok(Token::new(text.trim()))
}
