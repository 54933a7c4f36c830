//! `trunkline pollers`: what is polled, how it fares, and orders to it.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::rpc::admin::{
    PollerOrder, PollerOrderParams, PollerOrderResult, PollerStatus, PollersListParams,
    PollersListResult,
};
use trunkline_contract::rpc::method;
use trunkline_patterns::poller::{Breaker, State};

use super::client::{Client, ConnectArgs};
use super::config::ReloadArgs;
use super::failure::Failure;
use super::logs::target;
use super::output::{self, OutputArgs, ago, one_line, table};
use crate::clock::{Clock, SystemClock};

/// How often the answer to an order is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// What to do with pollers.
#[derive(Debug, Subcommand)]
pub(crate) enum PollersCommand {
    /// List pollers and how they fare.
    List(ListArgs),
    /// Show all that is known of one poller.
    Show(ShowArgs),
    /// Ask now; a server that asked for time still gets it.
    Run(RunArgs),
    /// Do nothing until it is resumed.
    Pause(PauseArgs),
    /// Go on after a pause; what failed before is forgiven.
    Resume(OrderArgs),
    /// Forget the cursor and what was seen: all that is listed is handed over anew.
    Reset(OrderArgs),
    /// Read configuration and manifests again; what changed is polled anew.
    Reload(ReloadArgs),
}

/// Which ones.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Those of a plugin, or of one instance of it.
    #[arg(value_name = "PLUGIN[/INSTANCE]")]
    target: Option<String>,
}

/// Which one.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    which: Which,
}

/// Which one, and how long to wait for it.
#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    which: Which,
    /// How many seconds to wait until it is done; it is done later all the same.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
}

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Say what is new, and change nothing: no event, no cursor, nothing seen.
    #[arg(long)]
    dry_run: bool,
}

/// Why to pause.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Why, for whoever looks.
    #[arg(long, default_value = "paused by an operator")]
    reason: String,
}

#[derive(Debug, Args)]
struct Which {
    /// The plugin, or one instance of it.
    #[arg(value_name = "PLUGIN[/INSTANCE]")]
    target: String,
    /// The kind, where there are several.
    kind: Option<String>,
}

/// Does it.
pub(crate) fn run(command: &PollersCommand) -> Result<ExitCode, Failure> {
    match command {
        PollersCommand::List(args) => list(args)?,
        PollersCommand::Show(args) => show(args)?,
        PollersCommand::Run(args) => {
            let order = if args.dry_run {
                PollerOrder::DryRun
            } else {
                PollerOrder::Run
            };
            return tell(&args.order, order, "");
        }
        PollersCommand::Pause(args) => return tell(&args.order, PollerOrder::Pause, &args.reason),
        PollersCommand::Resume(args) => return tell(args, PollerOrder::Resume, ""),
        PollersCommand::Reset(args) => return tell(args, PollerOrder::Reset, ""),
        PollersCommand::Reload(args) => return super::config::reload(args),
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(client: &mut Client, params: &PollersListParams) -> Result<Vec<PollerStatus>, Failure> {
    let result: PollersListResult = client.call(method::ADMIN_POLLERS_LIST, params)?;
    Ok(result.pollers)
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.connect)?;
    let named = args.target.as_deref().map(target);
    let (plugin, instance) =
        named.map_or((None, None), |(plugin, instance)| (Some(plugin), instance));
    let params = PollersListParams {
        plugin,
        instance,
        kind: None,
    };
    let pollers = ask(&mut client, &params)?;
    if args.output.json {
        return output::json(&PollersListResult { pollers });
    }
    if pollers.is_empty() {
        output::say("no pollers");
        return Ok(());
    }
    let now_ms = SystemClock::new().now().wall_ms;
    let rows: Vec<Vec<String>> = pollers
        .iter()
        .map(|poller| {
            let state = state_of(poller);
            let (word, why) = condition(poller, &state, now_ms);
            let time = |ms: Option<u64>| {
                ms.map_or_else(String::new, |ms| ago(&rfc3339(ms as i64), now_ms))
            };
            vec![
                format!("{}/{}", poller.plugin, poller.instance),
                poller.kind.clone(),
                word.to_owned(),
                time(state.last_success_ms),
                poller.due_at.clone().unwrap_or_default(),
                one_line(&why, 80),
            ]
        })
        .collect();
    let headings = ["instance", "kind", "state", "last success", "due at", "why"];
    output::data(&table(&headings, &rows))
}

fn state_of(poller: &PollerStatus) -> State {
    let state = poller.state.clone().unwrap_or_default();
    serde_json::from_value(state).unwrap_or_default()
}

/// One word for how it fares, and why.
fn condition(poller: &PollerStatus, state: &State, now_ms: i64) -> (&'static str, String) {
    let error = state.last_error.as_ref();
    let error = || error.map_or_else(String::new, |error| error.text.clone());
    if let Some(paused) = &state.paused {
        return ("paused", paused.reason.clone());
    }
    if poller.running {
        return ("running", String::new());
    }
    if state.breaker == Breaker::Open {
        return ("left alone", error());
    }
    if state.failures > 0 || state.strikes > 0 {
        return ("failing", error());
    }
    let now_ms = u64::try_from(now_ms).unwrap_or_default();
    match &state.wait {
        Some(wait) if wait.until_ms > now_ms => {
            let until = rfc3339(wait.until_ms as i64);
            (
                "waiting",
                format!("{:?} until {until}", wait.reason).to_lowercase(),
            )
        }
        _ if state.last_run_ms.is_none() => ("new", String::new()),
        _ => ("ok", String::new()),
    }
}

/// Finds the one that is meant.
fn find(client: &mut Client, which: &Which) -> Result<PollerStatus, Failure> {
    let (plugin, instance) = target(&which.target);
    let params = PollersListParams {
        plugin: Some(plugin),
        instance,
        kind: which.kind.clone(),
    };
    let mut found = ask(client, &params)?;
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => {
            let text = format!("expected a poller of {}, found none", which.target);
            Err(Failure::new("not_found", 1, text).hint("trunkline pollers list"))
        }
        (Some(last), _) => {
            found.push(last);
            let names = found.iter();
            let names = names.map(|one| format!("{}/{} {}", one.plugin, one.instance, one.kind));
            let names: Vec<String> = names.collect();
            let text = format!("expected one poller, found {}", names.join(", "));
            Err(Failure::new("invalid_arguments", 2, text).hint("name the instance and the kind"))
        }
    }
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.connect)?;
    let poller = find(&mut client, &args.which)?;
    if args.output.json {
        return output::json(&poller);
    }
    let now_ms = SystemClock::new().now().wall_ms;
    let (word, why) = condition(&poller, &state_of(&poller), now_ms);
    let why = if why.is_empty() {
        why
    } else {
        format!(": {why}")
    };
    output::data(&format!(
        "{}/{} {}: {word}{why}",
        poller.plugin, poller.instance, poller.kind
    ))?;
    let text = serde_json::to_string_pretty(&poller)
        .map_err(|error| Failure::new("internal", 70, error.to_string()))?;
    output::data(&text)
}

fn tell(args: &OrderArgs, order: PollerOrder, reason: &str) -> Result<ExitCode, Failure> {
    let mut client = Client::connect(&args.connect)?;
    let poller = find(&mut client, &args.which)?;
    let params = PollerOrderParams {
        plugin: poller.plugin.clone(),
        instance: poller.instance.clone(),
        kind: poller.kind.clone(),
        order,
        reason: reason.to_owned(),
    };
    let told: PollerOrderResult = client.call(method::ADMIN_POLLERS_ORDER, &params)?;
    let looked = PollersListParams {
        plugin: Some(poller.plugin),
        instance: Some(poller.instance),
        kind: Some(poller.kind),
    };
    let mut waited = Duration::ZERO;
    loop {
        let found = ask(&mut client, &looked)?.pop();
        let answer = found.and_then(|poller| poller.answer);
        if let Some(answer) = answer.filter(|answer| answer["id"].as_str() == Some(&*told.id)) {
            return answered(args, &answer);
        }
        if waited >= Duration::from_secs(args.wait) {
            let text = format!("expected an answer within {} s, found none", args.wait);
            let hint =
                "it is done once its turn comes: `trunkline pollers show` has the answer then";
            return Err(Failure::new("timed_out", 1, text).hint(hint));
        }
        std::thread::sleep(LOOK);
        waited += LOOK;
    }
}

fn answered(args: &OrderArgs, answer: &Value) -> Result<ExitCode, Failure> {
    let is_done = answer["done"] == Value::Bool(true);
    if args.output.json {
        output::json(answer)?;
    } else {
        let none = Vec::new();
        let found = answer["found"].as_array().unwrap_or(&none);
        if !found.is_empty() {
            let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
            let rows: Vec<Vec<String>> = found
                .iter()
                .map(|item| {
                    vec![
                        one_line(&text(item, "id"), 60),
                        one_line(&text(item, "title"), 80),
                    ]
                })
                .collect();
            output::data(&table(&["id", "title"], &rows))?;
        }
        output::say(answer["text"].as_str().unwrap_or_default());
    }
    Ok(if is_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
