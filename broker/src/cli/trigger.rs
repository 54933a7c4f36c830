//! `trunkline trigger`: an event as if it came from outside.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use trunkline_contract::rpc::{OnConflict, PublishParams, PublishResult, method};

use super::addressee::There;
use super::client::{Client, ConnectArgs};
use super::failure::Failure;
use super::output::{self, OutputArgs};

/// What to play.
#[derive(Debug, Subcommand)]
pub(crate) enum TriggerCommand {
    /// Somebody outside says something on a channel: an event on `plugin.inbound.<kind>.<instance>`. It needs
    /// the scope to publish there, which the owner's token has.
    Inbound(InboundArgs),
}

/// What somebody says.
#[derive(Debug, Args)]
pub(crate) struct InboundArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The kind of the channel.
    kind: String,
    /// A file with the payload as JSON, or with an event: an object with `payload`.
    file: PathBuf,
    /// The instance that it would have come through.
    #[arg(long, default_value = "default")]
    instance: String,
    /// The conversation, where the file does not say it.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
}

/// Plays it.
pub(crate) fn run(command: &TriggerCommand) -> Result<ExitCode, Failure> {
    let TriggerCommand::Inbound(args) = command;
    let name = args.file.display();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let said: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{name}: expected JSON: {error}")))?;
    let params = PublishParams {
        topic: format!("plugin.inbound.{}.{}", args.kind, args.instance),
        event: to_raw_value(&event(said, args.session.as_deref()))
            .map_err(|error| Failure::usage(format!("{name}: {error}")))?,
        on_conflict: OnConflict::default(),
        ephemeral: false,
    };
    let mut client = Client::connect(&args.connect)?;
    There::check(&mut client, &params.topic)?;
    let result: PublishResult = client.call(method::BROKER_PUBLISH, &params)?;
    if args.output.json {
        output::json(&result)?;
    } else {
        output::data(&super::publish::render(&result))?;
    }
    There::warn(&mut client, &params.topic, &result);
    Ok(ExitCode::SUCCESS)
}

/// The event that a file means.
fn event(said: Value, session: Option<&str>) -> Value {
    let mut event = if said.get("payload").is_some() {
        said
    } else {
        json!({ "payload": said })
    };
    if let Some(session) = session.filter(|_| event.get("session_id").is_none()) {
        event["session_id"] = session.into();
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_payload_or_an_event() {
        assert_eq!(
            event(json!({ "text": "hi" }), Some("s")),
            json!({ "payload": { "text": "hi" }, "session_id": "s" })
        );
        let whole = json!({ "payload": 1, "session_id": "own", "id": "x" });
        assert_eq!(event(whole.clone(), Some("s")), whole);
    }
}
