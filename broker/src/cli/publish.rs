//! `trunkline publish`: one event, answered when it is durable.

use std::io::Read;
use std::process::ExitCode;

use clap::Args;
use serde_json::value::RawValue;
use trunkline_contract::rpc::{OnConflict, PublishParams, PublishResult, method};

use super::addressee::There;
use super::client::{Client, ConnectArgs};
use super::failure::Failure;
use super::input::input;
use super::output::{self, OutputArgs};

/// Bytes read from stdin at most; larger ones fit no frame.
const PAYLOAD_BYTES_MAX: u64 = 16 << 20;

/// What to publish.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status 0: it is stored, also where nobody subscribes, which stderr says. An event for an
instance that nobody has is refused with `unrouted`, status 65, unless somebody subscribes to it.")]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Where to.
    topic: String,
    /// The payload as JSON; `-` reads it from stdin.
    payload: String,
    /// The conversation it belongs to; its events stay in order.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Its id, so that a repeat is recognised.
    #[arg(long)]
    id: Option<String>,
    /// The id of the event that it answers.
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Never stored; live subscribers alone get it.
    #[arg(long)]
    ephemeral: bool,
}

/// Publishes.
pub(crate) fn run(args: &PublishArgs) -> Result<ExitCode, Failure> {
    let text = read(&args.payload)?;
    let payload = parse(&text)?;
    let mut event = serde_json::Map::new();
    let texts = [
        ("id", &args.id),
        ("session_id", &args.session),
        ("correlation_id", &args.correlation_id),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            event.insert(name.to_owned(), value.clone().into());
        }
    }
    // The payload's own text is sent, so that its numbers stay what they are.
    let head = serde_json::Value::from(event).to_string();
    let comma = if head == "{}" { "" } else { "," };
    let envelope = format!(
        "{}{comma}\"payload\":{payload}}}",
        head.trim_end_matches('}')
    );
    let event = RawValue::from_string(envelope)
        .map_err(|error| Failure::usage(format!("the event is no JSON: {error}")))?;
    let params = PublishParams {
        topic: args.topic.clone(),
        event,
        on_conflict: OnConflict::default(),
        ephemeral: args.ephemeral,
    };
    let mut client = Client::connect(&args.connect)?;
    There::check(&mut client, &args.topic)?;
    let result: PublishResult = client
        .call(method::BROKER_PUBLISH, &params)
        .map_err(|failure| There::explained(&mut client, &args.topic, failure))?;
    if args.output.json {
        output::json(&result)?;
    } else {
        output::data(&render(&result))?;
    }
    There::warn(&mut client, &args.topic, &result);
    Ok(ExitCode::SUCCESS)
}

fn read(payload: &str) -> Result<String, Failure> {
    if payload != "-" {
        return Ok(payload.to_owned());
    }
    let mut text = String::new();
    input()
        .take(PAYLOAD_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("stdin cannot be read: {error}")))?;
    Ok(text)
}

fn parse(text: &str) -> Result<&RawValue, Failure> {
    serde_json::from_str(text.trim()).map_err(|error| {
        let failure = Failure::usage(format!("the payload is no JSON: {error}"));
        if text.trim_start().starts_with(['{', '[', '"']) {
            return failure;
        }
        let quoted = serde_json::Value::from(text.trim()).to_string();
        failure.hint(format!(
            "for a text write '{{\"text\": {quoted}}}', or '{quoted}'"
        ))
    })
}

pub(super) fn render(result: &PublishResult) -> String {
    let number = match result.seq {
        Some(seq) => format!("seq {seq}"),
        None => "ephemeral".to_owned(),
    };
    let mut text = format!(
        "{number}, {} subscription{}",
        result.matched,
        if result.matched == 1 { "" } else { "s" }
    );
    if result.duplicate {
        text.push_str(", stored before");
    }
    if result.durable == Some(false) {
        text.push_str(", not synced");
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_bare_text_is_refused_with_what_to_write() {
        expect![[r#"
            error: usage: the payload is no JSON: expected value at line 1 column 1

            hint: for a text write '{"text": "hello"}', or '"hello"'"#]]
        .assert_eq(&parse("hello").unwrap_err().to_string());
    }

    #[test]
    fn a_big_number_keeps_its_digits() {
        let text = parse(" {\"n\": 123456789012345678901} ").unwrap();
        assert_eq!(text.get(), "{\"n\": 123456789012345678901}");
    }
}
