//! The demo: a line of chat goes through the broker, a plugin in each of three languages and an agent, and
//! comes back; each hop is shown with its time.
//!
//! | process | what it is |
//! |---|---|
//! | `trunkline-demo` | the chat and the agent: two clients |
//! | `trunkline-demo up` | the daemon, with its embedded store in a directory of its own |
//! | `trunkline-demo plugin` | the echo plugin in Rust, started by the daemon |
//! | `python echo.py`, `node echo.mjs` | the echo plugins on their SDKs, started by the daemon |
//!
//! `trunkline-demo check` is the same command of `trunkline`, for the tests beside it.
//!
//! It waits for events, each under a limit, and never for time.

mod agent;
mod args;
mod chat;
mod echo;
mod error;
mod house;
mod sdks;
mod show;
mod trip;

use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::sync::mpsc;

use crate::args::Args;
use crate::chat::Chat;
use crate::error::DemoError;
use crate::house::{House, KINDS, find_languages};
use crate::sdks::Sdks;
use crate::show::Show;

/// What is said when nobody is there to type.
const SCRIPT: [&str; 4] = [
    "Hello, is anybody there?",
    "Does every line come back?",
    "Also with \"quotes\", tabs\tand ünïcödé 🚂?",
    "Then goodbye.",
];

/// Typed lines that wait.
const TYPED_MAX: usize = 16;

fn main() -> ExitCode {
    // First of all, before anything is opened: the daemon may have started this process.
    if let Some(code) = trunkline_broker::supervisor::hidden_command() {
        return code;
    }
    match std::env::args().nth(1).as_deref() {
        Some("up") => {
            // A demo that is killed takes its daemon along.
            if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
                Show::failed(&DemoError::io("cannot watch the demo")(error.into()));
            }
            trunkline_broker::cli::run()
        }
        Some("check") => trunkline_broker::cli::run(),
        Some("plugin") => echo::run(),
        _ => run(&Args::parse()),
    }
}

fn run(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ran = match runtime {
        Ok(runtime) => {
            let ran = runtime.block_on(demo(args));
            // A thread that waits for a line to be typed must not keep the process.
            runtime.shutdown_background();
            ran
        }
        Err(error) => Err(DemoError::io("no event loop")(error)),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Show::failed(&error);
            ExitCode::FAILURE
        }
    }
}

async fn demo(args: &Args) -> Result<(), DemoError> {
    let show = Show::new(args.json);
    let this_program =
        std::env::current_exe().map_err(DemoError::io("this program's path cannot be found"))?;
    find_languages()?;
    let sdks = Sdks::prepare(&show).await?;
    let house = House::build(args.dir.as_deref(), &this_program, &sdks)?;
    let started_us = chat::now_us();
    let daemon = house.start(&this_program, args.limit_ms).await?;
    let since = || (chat::now_us() - started_us) as f64 / 1000.0;
    let pid = daemon.pid().unwrap_or_default();
    show.note(
        "daemon",
        &format!("ready after {:.0} ms, pid {pid}", since()),
    )?;
    let socket = house.socket();
    let talked = tokio::select! {
        talked = talk(args, &show, &socket, &since) => talked,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(DemoError::io("signals cannot be watched"))
        }
    };
    let status = daemon.stop().await?;
    if house.is_kept() {
        show.note("kept", &house.root().display().to_string())?;
    }
    talked?;
    if status.success() {
        Ok(())
    } else {
        Err(DemoError::Daemon {
            status: status.to_string(),
            stderr: String::new(),
        })
    }
}

async fn talk(
    args: &Args,
    show: &Show,
    socket: &Path,
    since: &impl Fn() -> f64,
) -> Result<(), DemoError> {
    let mut chat = Chat::connect(socket, args.limit_ms).await?;
    show.note("agent", "subscribed to plugin.inbound.>")?;
    let mut shown = Ok(());
    chat.wait_for_plugins(|plugin| {
        let told = show.note(plugin, &format!("ready after {:.0} ms", since()));
        if shown.is_ok() {
            shown = told;
        }
    })
    .await?;
    shown?;
    show.legend()?;
    let is_typed =
        !args.script && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut lines = if is_typed { typed() } else { scripted() };
    if is_typed {
        show.note("", "Type a line; an empty line or Ctrl-D ends.")?;
        show.prompt()?;
    }
    let (mut count, mut slowest) = (0, Duration::ZERO);
    while let Some(line) = lines.recv().await {
        count += 1;
        show.line(&line, is_typed)?;
        for kind in KINDS {
            let trip = chat.send(kind, &line).await?;
            slowest = slowest.max(trip.duration().unwrap_or_default());
            show.trip(kind, &line, &trip)?;
        }
        if is_typed {
            show.prompt()?;
        }
    }
    chat.close().await;
    show.done(count, KINDS.len(), slowest)
}

fn scripted() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(SCRIPT.len());
    for line in SCRIPT {
        sender
            .try_send(line.to_owned())
            .expect("there is room for the whole script");
    }
    lines
}

/// Reads typed lines on a thread of its own, since a terminal cannot be waited for otherwise.
fn typed() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(TYPED_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line {
                Ok(line) if !line.trim().is_empty() => {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    });
    lines
}
