//! `trunkline dlq`: dead letters, put back or discarded.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use trunkline_contract::rpc::admin::{
    DlqCountResult, DlqListParams, DlqListResult, DlqSelectParams, DlqShowParams,
};
use trunkline_contract::rpc::{DeadLetter, HandlerError, method};

use super::client::{Client, ConnectArgs};
use super::failure::Failure;
use super::output::{self, OutputArgs, one_line, table};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters, the oldest first.
    List(ListArgs),
    /// Show one dead letter with its event.
    Show(ShowArgs),
    /// Put dead letters back: they are delivered again, from attempt 1.
    Replay(SelectArgs),
    /// Delete dead letters.
    Discard(SelectArgs),
}

/// Which ones to list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Those of one subscription.
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
    /// Those of one plugin's instances.
    #[arg(long, value_name = "PLUGIN")]
    plugin: Option<String>,
    /// Those of events of one session, such as the conversation that a message was sent to.
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,
    /// Begin after this record.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// List at most so many.
    #[arg(long, short = 'n', default_value_t = 100, value_name = "COUNT")]
    limit: u32,
}

/// Which one to show.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The record.
    id: String,
}

/// Which ones to act on.
#[derive(Debug, Args)]
pub(crate) struct SelectArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    which: Which,
    /// Of these, those of events of one session.
    #[arg(long, value_name = "SESSION", conflicts_with = "id")]
    session: Option<String>,
}

/// One record, those of a subscription or of a plugin, or all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// One record.
    id: Option<String>,
    /// Those of one subscription.
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
    /// Those of one plugin's instances.
    #[arg(long, value_name = "PLUGIN")]
    plugin: Option<String>,
    /// All of them.
    #[arg(long)]
    all: bool,
}

/// Does it.
pub(crate) fn run(command: &DlqCommand) -> Result<ExitCode, Failure> {
    match command {
        DlqCommand::List(args) => list(args)?,
        DlqCommand::Show(args) => show(args)?,
        DlqCommand::Replay(args) => select(args, method::ADMIN_DLQ_REPLAY, "put back")?,
        DlqCommand::Discard(args) => select(args, method::ADMIN_DLQ_DISCARD, "discarded")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.connect)?;
    let mut params = DlqListParams {
        subscription: args.subscription.clone(),
        plugin: args.plugin.clone(),
        session: args.session.clone(),
        after: args.after.clone(),
        limit: Some(args.limit),
    };
    let mut result: DlqListResult = client.call(method::ADMIN_DLQ_LIST, &params)?;
    // Where only some are meant a page may hold few of them, or none.
    while let Some(next) = result
        .next
        .take_if(|_| (result.letters.len() as u64) < u64::from(args.limit))
    {
        params.after = Some(next);
        params.limit = Some(args.limit - result.letters.len() as u32);
        let more: DlqListResult = client.call(method::ADMIN_DLQ_LIST, &params)?;
        result.letters.extend(more.letters);
        result.next = more.next;
    }
    if args.output.json {
        return output::json(&result);
    }
    if result.letters.is_empty() && result.next.is_none() {
        output::say("no dead letters");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = result
        .letters
        .iter()
        .map(|letter| {
            vec![
                letter.id.clone(),
                letter.dead_at.clone(),
                letter.subscription.clone(),
                letter.seq.to_string(),
                letter.reason.to_string(),
                letter.attempts.to_string(),
                letter.last_error.as_ref().map_or_else(String::new, error),
            ]
        })
        .collect();
    let headings = [
        "id",
        "dead at",
        "subscription",
        "seq",
        "reason",
        "attempts",
        "last error",
    ];
    output::data(&table(&headings, &rows))?;
    if let Some(next) = &result.next {
        output::say(&format!(
            "{} of {}; go on with --after {next}",
            result.letters.len(),
            result.total
        ));
    }
    Ok(())
}

fn error(error: &HandlerError) -> String {
    let text = serde_json::to_value(error).unwrap_or_default();
    let part = |name: &str| text[name].as_str().unwrap_or_default().to_owned();
    let (kind, message) = (part("type"), part("message"));
    one_line(
        &if kind.is_empty() {
            message
        } else {
            format!("{kind}: {message}")
        },
        80,
    )
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.connect)?;
    let params = DlqShowParams {
        id: args.id.clone(),
    };
    let letter: DeadLetter = client.call(method::ADMIN_DLQ_SHOW, &params)?;
    if args.output.json {
        return output::json(&letter);
    }
    let text = serde_json::to_string_pretty(&letter)
        .map_err(|error| Failure::new("internal", 70, error.to_string()))?;
    output::data(&text)
}

fn select(args: &SelectArgs, method: &str, done: &str) -> Result<(), Failure> {
    let mut client = Client::connect(&args.connect)?;
    let params = DlqSelectParams {
        id: args.which.id.clone(),
        subscription: args.which.subscription.clone(),
        plugin: args.which.plugin.clone(),
        session: args.session.clone(),
        all: args.which.all,
    };
    let result: DlqCountResult = client.call(method, &params)?;
    if args.output.json {
        output::json(&result)
    } else {
        output::data(&format!("{} {done}", result.count))
    }
}
