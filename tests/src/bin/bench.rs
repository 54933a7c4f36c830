//! Runs benchmarks: a table goes to stderr, JSON to stdout.
//!
//! `cargo bench-all [store|publish|round-trip|echo|starts|backlog|sdk|webhook|tool-call|fleet] [--quick]`; without a name
//! all of them. What follows the names are options, see `tests/bench/README.md`.

use std::process::ExitCode;

use anyhow::bail;
use trunkline_tests::bench::{
    echo, fleet, relay, rig, round_trip, scale, sdk, store, table, tool_call, webhook,
};

const ALL: [&str; 10] = [
    "store",
    "publish",
    "round-trip",
    "echo",
    "starts",
    "backlog",
    "sdk",
    "webhook",
    "tool-call",
    "fleet",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let hidden = match arguments.first().map(String::as_str) {
        Some(rig::ECHO) => return rig::run_echo(),
        Some(webhook::SINK) => return webhook::run_sink(),
        Some(sdk::contestant::PLUGIN) => return run_plugin(&arguments, false),
        Some(sdk::contestant::UNDECODED) => return run_plugin(&arguments, true),
        Some(relay::RELAY) => relay::run_relay(&arguments[1..]),
        Some(relay::BOUNCE) => relay::run_bounce(&arguments[1..]),
        _ => run(&arguments),
    };
    match hidden {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let arguments: Vec<String> = arguments
        .iter()
        .filter(|name| *name != "--quick")
        .cloned()
        .collect();
    let first = arguments.iter().position(|name| name.starts_with("--"));
    let (names, options) = arguments.split_at(first.unwrap_or(arguments.len()));
    let options = sdk::contestant::Options::read(options, quick)?;
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() {
        names = ALL.to_vec();
    }
    let rounds = if quick { 1 } else { 5 };
    let part = if quick { 50 } else { 1 };
    for name in names {
        eprintln!("\n{name}");
        match name {
            "store" => {
                let plan = if quick {
                    store::Plan {
                        rounds: 1,
                        side: std::time::Duration::from_millis(50),
                    }
                } else {
                    store::Plan::default()
                };
                let report = store::run(&std::env::current_dir()?.join("target"), plan)?;
                eprint!("{report}");
                println!("{}", serde_json::to_string(&report)?);
            }
            "publish" => publish(rounds, if quick { 0.1 } else { 2.0 })?,
            "round-trip" => table::print(&round_trip::run(rounds, 4_000 / part)?)?,
            "echo" => table::print(&echo::run(rounds, 60_000 / part)?)?,
            "webhook" => {
                let rounds = options.rounds.unwrap_or(rounds);
                table::print(&webhook::run(rounds, if quick { 0.1 } else { 2.0 })?)?;
            }
            "tool-call" => {
                let rounds = options.rounds.unwrap_or(rounds);
                table::print(&tool_call::run(rounds, 2_000 / part, &options)?)?;
            }
            "fleet" => table::print(&fleet::run(&options)?)?,
            "starts" => table::print(&scale::starts(rounds)?)?,
            "backlog" => {
                let rounds = if quick { 1 } else { 3 };
                table::print(&scale::backlog(1_000_000 / part, rounds)?)?;
            }
            name if name.starts_with("sdk") => sdk::run(name, &options)?,
            other => bail!("expected one of {}, found {other:?}", ALL.join(", ")),
        }
    }
    Ok(())
}

fn run_plugin(arguments: &[String], is_undecoded: bool) -> ExitCode {
    let form = arguments.get(1).map(String::as_str).unwrap_or_default();
    match sdk::contestant::Form::of(form) {
        Ok(form) => sdk::plugin::run(form, is_undecoded),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "nats")]
fn publish(rounds: usize, seconds: f64) -> anyhow::Result<()> {
    table::print(&trunkline_tests::bench::publish::run(rounds, seconds)?)
}

#[cfg(not(feature = "nats"))]
fn publish(_rounds: usize, _seconds: f64) -> anyhow::Result<()> {
    bail!("JetStream needs a build with --features nats, as `cargo bench-all` makes it")
}
