//! `trunkline status`: how everything is.

use std::process::ExitCode;

use clap::Args;
use trunkline_contract::rpc::admin::{AdminStatusResult, InstanceStatus};
use trunkline_contract::rpc::{Empty, InstanceState, ProgressParams, method};

use super::client::{Client, ConnectArgs};
use super::failure::Failure;
use super::output::{self, OutputArgs, age, ago, bytes, one_line, table};
use crate::clock::{Clock, SystemClock};

/// Characters of what an instance tells of its start; the rest is cut.
const MESSAGE_CHARS_MAX: usize = 400;

/// Which daemon, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Asks and shows.
pub(crate) fn run(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let mut client = Client::connect(&args.connect)?;
    let status: AdminStatusResult = client.call(method::ADMIN_STATUS, &Empty {})?;
    if args.output.json {
        output::json(&status)?;
    } else {
        output::data(&render(&status, SystemClock::new().now().wall_ms))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The text form of a state.
pub(super) fn state(state: InstanceState) -> String {
    word(&state)
}

fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "unknown".to_owned(),
    }
}

/// Lists instances under headings.
pub(super) fn instances(instances: &[&InstanceStatus], now_ms: i64) -> String {
    let rows: Vec<Vec<String>> = instances
        .iter()
        .map(|instance| {
            vec![
                format!("{}/{}", instance.plugin, instance.instance),
                state(instance.state),
                ago(&instance.since, now_ms),
                instance
                    .pid
                    .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                instance.restarts.to_string(),
                instance.in_flight.to_string(),
                instance.pending.to_string(),
                one_line(&instance.reason, 80),
            ]
        })
        .collect();
    let headings = [
        "instance",
        "state",
        "for",
        "pid",
        "restarts",
        "in flight",
        "pending",
        "reason",
    ];
    let mut text = table(&headings, &rows);
    for instance in instances {
        if let Some(progress) = &instance.progress {
            let name = format!("{}/{}", instance.plugin, instance.instance);
            text.push_str(&format!("\n\n{name}: {}", start(progress)));
        }
    }
    text
}

/// How far a start is, with what a person needs for it: an address to open, the text of a QR code.
fn start(progress: &ProgressParams) -> String {
    let mut text = one_line(&progress.message, MESSAGE_CHARS_MAX);
    match (progress.done, progress.total) {
        (Some(done), Some(total)) => text.push_str(&format!(" ({done} of {total})")),
        (Some(done), None) => text.push_str(&format!(" ({done})")),
        _ => {}
    }
    let data = progress.data.as_ref();
    for name in ["url", "qr"] {
        let Some(value) = data.and_then(|data| data.get(name)?.as_str()) else {
            continue;
        };
        // Not cut: half an address opens nothing. The broker bounds it.
        for line in value.lines() {
            text.push_str(&format!("\n  {}", one_line(line, usize::MAX)));
        }
    }
    text
}

fn render(status: &AdminStatusResult, now_ms: i64) -> String {
    let store = &status.store;
    let mut blocks = vec![format!(
        "broker  {}, pid {}, up {}\nstore   {}, {}, head {}, {} used, {} of events, disk {:.0} %",
        status.version,
        status.pid,
        ago(&status.started_at, now_ms),
        store.kind,
        store.durability,
        store.head,
        bytes(store.used_bytes),
        bytes(store.event_bytes),
        store.disk_used_percent,
    )];
    if let Some(http) = &status.http {
        blocks[0].push_str(&format!("\nhttp    {http}"));
    }
    if !status.instances.is_empty() {
        let all: Vec<&InstanceStatus> = status.instances.iter().collect();
        blocks.push(instances(&all, now_ms));
    }
    if !status.subscriptions.is_empty() {
        let rows: Vec<Vec<String>> = status
            .subscriptions
            .iter()
            .map(|subscription| {
                vec![
                    subscription.name.clone(),
                    word(&subscription.state),
                    subscription.cursor.to_string(),
                    subscription.pending.to_string(),
                    subscription.oldest_ms.map_or_else(|| "-".to_owned(), age),
                    subscription.in_flight.to_string(),
                    subscription.parked.to_string(),
                    subscription.dead.to_string(),
                    subscription.members.to_string(),
                ]
            })
            .collect();
        let headings = [
            "subscription",
            "state",
            "cursor",
            "pending",
            "oldest",
            "in flight",
            "parked",
            "dead",
            "links",
        ];
        blocks.push(table(&headings, &rows));
    }
    if !status.clients.is_empty() {
        let rows: Vec<Vec<String>> = status
            .clients
            .iter()
            .map(|client| vec![client.name.clone(), client.links.to_string()])
            .collect();
        blocks.push(table(&["client", "links"], &rows));
    }
    blocks.join("\n\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    /// Proves LN15: whoever looks at a start that waits for a person sees what it waits for, and what to scan or open.
    #[test]
    fn a_start_that_waits_for_a_person_shows_what_to_do() {
        let waiting: InstanceStatus = serde_json::from_value(json!({
            "plugin": "wa", "instance": "shop", "state": "starting", "reason": "scan the code",
            "since": "1970-01-01T00:00:00.000Z", "pid": 7, "progress": {
                "done": 1, "total": 3, "message": "scan the code",
                "data": {"qr": "2@abc\x1b[2J,def\nsecond line", "url": "https://login.example/1"}}
        }))
        .unwrap();
        expect![[r"
            instance  state     for  pid  restarts  in flight  pending  reason
            wa/shop   starting  5s   7    0         0          0        scan the code

            wa/shop: scan the code (1 of 3)
              https://login.example/1
              2@abc [2J,def
              second line"]]
        .assert_eq(&instances(&[&waiting], 5_000));
    }

    #[test]
    fn status_is_one_screen() {
        let status: AdminStatusResult = serde_json::from_value(json!({
            "version": "0.1.0", "pid": 42, "started_at": "1970-01-01T00:00:00.000Z",
            "store": {"kind": "sqlite", "durability": "fsync", "head": 7, "used_bytes": 40960,
                "free_bytes": 0, "event_bytes": 512, "disk_used_percent": 28.6},
            "instances": [
                {"plugin": "echo", "instance": "default", "state": "ready", "reason": "",
                 "since": "1970-01-01T00:00:00.500Z", "pid": 4121, "restarts": 0},
                {"plugin": "echo", "instance": "two", "state": "disabled", "reason": "by operator",
                 "since": "1970-01-01T00:01:00.000Z", "pending": 3}],
            "subscriptions": [{"name": "instance.echo.default", "filters": ["plugin.outbound.echo.default"],
                "state": "active", "cursor": 6, "head": 7, "pending": 1, "members": 1,
                "oldest_ms": 61000}],
            "clients": [{"name": "cli", "links": 1}]
        }))
        .unwrap();
        expect![[r"
            broker  0.1.0, pid 42, up 1m 5s
            store   sqlite, fsync, head 7, 40.0 KiB used, 512 B of events, disk 29 %

            instance      state     for    pid   restarts  in flight  pending  reason
            echo/default  ready     1m 4s  4121  0         0          0
            echo/two      disabled  5s     -     0         0          3        by operator

            subscription           state   cursor  pending  oldest  in flight  parked  dead  links
            instance.echo.default  active  6       1        1m 1s   0          0       0     1

            client  links
            cli     1"]]
        .assert_eq(&render(&status, 65_000));
    }
}
