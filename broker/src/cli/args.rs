//! The command line as it is parsed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use super::failure::Failure;
use super::output::say;
use super::{
    check, completions, config, dev, dlq, doctor, logs, mcp, new, plugins, pollers, publish,
    status, tail, token, tools, trigger, up,
};
use crate::config::Sources;

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
        value_name = "FILE",
        default_value = "trunkline.toml"
    )]
    pub(crate) config: PathBuf,
    /// Overrides one setting; may be given again.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

impl ConfigArgs {
    /// Names everything the config is made of.
    pub(crate) fn sources(&self) -> Result<Sources, Failure> {
        let file = std::path::absolute(&self.config)
            .map_err(|error| Failure::usage(format!("{}: {error}", self.config.display())))?;
        Ok(Sources {
            file,
            env: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            flags: self.set.clone(),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a plugin to begin with.
    New(new::NewArgs),
    /// Run the daemon in the foreground.
    Up(ConfigArgs),
    /// Run a plugin while you write it, and replace it when it changes.
    Dev(dev::DevArgs),
    /// Show the daemon, its store, instances, subscriptions and clients.
    Status(status::StatusArgs),
    /// Show events as they are stored.
    Tail(tail::TailArgs),
    /// Publish one event.
    Publish(publish::PublishArgs),
    /// Publish an event as if it came from outside.
    #[command(subcommand)]
    Trigger(trigger::TriggerCommand),
    /// Show what a plugin writes: stdout, stderr and its log records.
    Logs(logs::LogsArgs),
    /// Look at dead letters, put them back or discard them.
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// List, add, upgrade, remove, restart, enable and disable plugins.
    #[command(subcommand)]
    Plugins(plugins::PluginsCommand),
    /// List pollers; run, pause, resume and reset them.
    #[command(subcommand)]
    Pollers(pollers::PollersCommand),
    /// Check, explain and reload the config.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look for what is wrong, with or without a running daemon.
    Doctor(doctor::DoctorArgs),
    /// Run a plugin through the contract and report each rule.
    Check(check::CheckArgs),
    /// List tools, and write typed clients of them.
    #[command(subcommand)]
    Tools(tools::ToolsCommand),
    /// Serve tools to an MCP client on stdin and stdout.
    Mcp(mcp::McpArgs),
    /// Take the tools of an MCP server in; started by the daemon.
    #[command(name = crate::config::mcp::BRIDGE_COMMAND, hide = true)]
    McpBridge,
    /// Make a token for a client and show it with its hash.
    Token(token::TokenArgs),
    /// Write the completions of a shell.
    Completions(completions::CompletionsArgs),
}

/// The command line's description, for documentation.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line and runs it.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::New(args) => new::run(&args),
        Command::Up(args) => Ok(up::run(&args)),
        Command::Dev(args) => dev::run(&args),
        Command::Trigger(command) => trigger::run(&command),
        Command::Status(args) => status::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Dlq(command) => dlq::run(&command),
        Command::Plugins(command) => plugins::run(&command),
        Command::Pollers(command) => pollers::run(&command),
        Command::Config(command) => config::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Tools(command) => tools::run(&command),
        Command::Mcp(args) => mcp::run(&args),
        Command::McpBridge => mcp::bridge(),
        Command::Token(args) => token::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            if !failure.is_silent() {
                say(&failure.to_string());
            }
            ExitCode::from(failure.exit())
        }
    }
}
