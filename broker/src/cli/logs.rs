//! `trunkline logs`: stdout, stderr and log records of a plugin, in one stream.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use trunkline_contract::rpc::admin::{AdminLogParams, LogStream, LogsParams};
use trunkline_contract::rpc::{Empty, LogLevel, method};

use super::client::{Client, ConnectArgs, Wait};
use super::failure::Failure;
use super::output::{self, OutputArgs, one_line};
use super::tail::clock;

/// Old lines that are asked for when only some of them are shown.
const LINES_MAX: u32 = 10_000;
/// Characters of a line that are shown; the daemon keeps 16 KiB.
const LINE_CHARS: usize = 16 * 1024;

/// Whose log.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The plugin, or one instance of it.
    #[arg(value_name = "PLUGIN[/INSTANCE]")]
    target: String,
    /// How many old lines to begin with.
    #[arg(long, short = 'n', default_value_t = 100, value_name = "COUNT")]
    lines: u32,
    /// Go on with new lines.
    #[arg(long, short)]
    follow: bool,
    /// Show this level and more severe ones; a line without a level counts as `info`.
    #[arg(long)]
    level: Option<Level>,
}

/// How important a line is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

/// Splits `plugin/instance`.
pub(super) fn target(text: &str) -> (String, Option<String>) {
    match text.split_once('/') {
        Some((plugin, instance)) => (plugin.to_owned(), Some(instance.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// Shows the log.
pub(crate) fn run(args: &LogsArgs) -> Result<ExitCode, Failure> {
    let mut client = Client::connect(&args.connect)?;
    let (plugin, instance) = target(&args.target);
    let least = args.level.map_or(LogLevel::Trace, LogLevel::from);
    let params = LogsParams {
        plugin,
        instance,
        lines: if args.level.is_some() && args.lines > 0 {
            LINES_MAX
        } else {
            args.lines
        },
        follow: args.follow,
    };
    let _complete: Empty = client.call(method::ADMIN_LOGS, &params)?;
    let mut old = Vec::new();
    for heard in client.heard() {
        if heard.method == method::ADMIN_LOG {
            let line: AdminLogParams = heard.params()?;
            if line.level >= least {
                old.push(line);
            }
        }
    }
    let from = old.len().saturating_sub(args.lines as usize);
    for line in &old[from..] {
        show(line, args.output.json)?;
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    while let Some(heard) = client.hear(&Wait::Forever)? {
        if heard.method == method::ADMIN_LOG {
            let line: AdminLogParams = heard.params()?;
            if line.level >= least {
                show(&line, args.output.json)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(line: &AdminLogParams, json: bool) -> Result<(), Failure> {
    if json {
        output::json(line)
    } else {
        output::data(&render(line))
    }
}

fn render(line: &AdminLogParams) -> String {
    let stream = match line.stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
        LogStream::Log => "log",
        LogStream::Broker => "broker",
    };
    let level = match line.level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    format!(
        "{}  {}/{}  {stream:<6}  {level:<5}  {}",
        clock(&line.at),
        line.plugin,
        line.instance,
        one_line(&line.line, LINE_CHARS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whose_it_is_and_where_it_came_from() {
        let line = AdminLogParams {
            plugin: "echo".into(),
            instance: "two".into(),
            stream: LogStream::Stderr,
            level: LogLevel::Info,
            at: "2026-01-02T14:02:11.482Z".into(),
            line: "hello".into(),
        };
        assert_eq!(
            render(&line),
            "14:02:11.482  echo/two  stderr  info   hello"
        );
    }
}
