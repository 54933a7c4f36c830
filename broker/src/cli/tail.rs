//! `trunkline tail`: events as they are stored, without a subscription.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use trunkline_contract::Event;
use trunkline_contract::envelope::parse_rfc3339;
use trunkline_contract::rpc::admin::{AdminEventParams, AdminStatusResult, AdminTailParams};
use trunkline_contract::rpc::{Empty, Start, method};
use trunkline_contract::topic::Filter;

use super::client::{Client, ConnectArgs, Wait};
use super::failure::Failure;
use super::output::{self, OutputArgs, one_line};

/// How long a past event may take to come when nothing newer is waited for.
const QUIET_LIMIT: Duration = Duration::from_secs(5);
/// Characters of a payload that are shown.
const PAYLOAD_CHARS: usize = 100;

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Topic filters; without any, everything is shown.
    #[arg(value_parser = filter)]
    filters: Vec<Filter>,
    /// Where to begin: `earliest`, `new`, the number of an event, or an RFC 3339 instant.
    #[arg(long, default_value = "new", value_parser = start, value_name = "WHERE")]
    start: Start,
    /// End after so many events.
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<u64>,
    /// End when what is stored by now is shown.
    #[arg(long)]
    no_follow: bool,
}

fn filter(text: &str) -> Result<Filter, String> {
    Filter::parse(text).map_err(|error| error.message)
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "new" => Ok(Start::New),
        number if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() => number
            .parse()
            .map(Start::Seq)
            .map_err(|error| error.to_string()),
        time if parse_rfc3339(time).is_some() => Ok(Start::Time(time.to_owned())),
        _ => Err("expected earliest, new, a number or an RFC 3339 instant".to_owned()),
    }
}

/// Shows events until there is an end.
pub(crate) fn run(args: &TailArgs) -> Result<ExitCode, Failure> {
    if args.no_follow && args.start == Start::New {
        return Err(
            Failure::usage("--no-follow from `new` on would show nothing")
                .hint("add --start earliest"),
        );
    }
    if args.limit == Some(0) {
        return Ok(ExitCode::SUCCESS);
    }
    let mut client = Client::connect(&args.connect)?;
    let head = if args.no_follow {
        let status: AdminStatusResult = client.call(method::ADMIN_STATUS, &Empty {})?;
        if status.store.head == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        Some(status.store.head)
    } else {
        None
    };
    // The end of what is stored is seen by its number, so then everything has to pass by here.
    let params = AdminTailParams {
        filters: if head.is_some() {
            Vec::new()
        } else {
            args.filters.clone()
        },
        start: args.start.clone(),
        limit: args.limit.filter(|_| head.is_none()),
    };
    let _started: Empty = client.call(method::ADMIN_TAIL, &params)?;
    let wait = match head {
        Some(_) => Wait::Until(QUIET_LIMIT),
        None => Wait::Forever,
    };
    let mut shown = 0;
    while let Some(heard) = client.hear(&wait)? {
        if heard.method != method::ADMIN_EVENT {
            continue;
        }
        let event: AdminEventParams = heard.params()?;
        let is_wanted =
            args.filters.is_empty() || args.filters.iter().any(|f| f.matches(&event.topic));
        if head.is_some_and(|head| event.seq > head) {
            break;
        }
        if is_wanted {
            if args.output.json {
                output::json(&event)?;
            } else {
                output::data(&render(&event))?;
            }
            shown += 1;
        }
        if args.limit == Some(shown) || head == Some(event.seq) {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn render(shown: &AdminEventParams) -> String {
    let Ok(event) = Event::from_slice(shown.event.get().as_bytes()) else {
        return format!("{}  {}  {}", shown.seq, shown.topic, shown.event);
    };
    let mut parts = vec![
        clock(&event.timestamp),
        shown.seq.to_string(),
        shown.topic.clone(),
        one_line(&event.source, 100),
        payload(event.payload.get()),
    ];
    if let Some(id) = &event.correlation_id {
        parts.push(format!("for {}", one_line(id, 128)));
    }
    if let Some(session) = &event.session_id {
        parts.push(format!("session {}", one_line(session, 80)));
    }
    parts.join("  ")
}

/// The time of day of an instant, UTC; another text stays as it is.
pub(super) fn clock(timestamp: &str) -> String {
    let Some(ms) = parse_rfc3339(timestamp) else {
        return one_line(timestamp, 40);
    };
    let ms = ms.rem_euclid(86_400_000);
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        ms / 3_600_000,
        ms / 60_000 % 60,
        ms / 1000 % 60,
        ms % 1000
    )
}

/// What a person wants to see of a payload: its text or its state, else its JSON.
fn payload(raw: &str) -> String {
    let value: Option<Value> = serde_json::from_str(raw).ok();
    let said = ["text", "alt_text", "state"]
        .iter()
        .find_map(|name| value.as_ref()?.get(name)?.as_str());
    one_line(said.unwrap_or(raw), PAYLOAD_CHARS)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = r#"{"id":"d","timestamp":"2026-01-02T14:02:11.482Z","topic":"plugin.delivery.echo.default","source":"echo/default","session_id":"dev:1","payload":{"state":"sent"},"correlation_id":"0193"}"#;
        let shown: AdminEventParams = serde_json::from_str(&format!(
            r#"{{"seq":3,"topic":"plugin.delivery.echo.default","event":{event}}}"#
        ))
        .unwrap();
        expect![
            "14:02:11.482  3  plugin.delivery.echo.default  echo/default  sent  for 0193  session dev:1"
        ]
        .assert_eq(&render(&shown));
    }

    #[test]
    fn a_start_is_a_word_a_number_or_an_instant() {
        assert_eq!(start("earliest"), Ok(Start::Earliest));
        assert_eq!(start("12"), Ok(Start::Seq(12)));
        let instant = "2026-01-02T14:02:11Z";
        assert_eq!(start(instant), Ok(Start::Time(instant.to_owned())));
        assert!(start("yesterday").is_err());
        assert!(start("").is_err());
    }
}
