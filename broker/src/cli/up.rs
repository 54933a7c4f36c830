//! `trunkline up`: the daemon in the foreground.

use std::io::Write;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, DiskFiles, Sources, load};
use crate::daemon::{Daemon, EXIT_CONFIG, EXIT_FAILED};

use super::args::ConfigArgs;

/// Loads the config and says everything that is wrong with it.
pub(crate) fn load_config(args: &ConfigArgs) -> Result<(Config, Sources), ExitCode> {
    let file = match std::path::absolute(&args.config) {
        Ok(file) => file,
        Err(error) => {
            say(&format!("error: {}: {error}", args.config.display()));
            return Err(ExitCode::from(EXIT_CONFIG));
        }
    };
    let sources = Sources {
        file,
        env: std::env::vars().collect(),
        flags: args.set.clone(),
    };
    match load(&sources, &DiskFiles).into_result() {
        Ok((config, warnings)) => {
            warnings
                .iter()
                .for_each(|warning| say(&format!("warning: {warning}")));
            Ok((config, sources))
        }
        Err(diagnostics) => {
            diagnostics
                .iter()
                .for_each(|diagnostic| say(&diagnostic.to_string()));
            Err(ExitCode::from(EXIT_CONFIG))
        }
    }
}

/// Writes a line to stderr. What is said there is for people; when nobody reads it, nothing is lost.
pub(crate) fn say(line: &str) {
    let _best_effort = writeln!(std::io::stderr(), "{line}");
}

/// Runs the daemon until it is told to end.
pub(crate) fn run(args: &ConfigArgs) -> ExitCode {
    let (config, sources) = match load_config(args) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let filter = tracing_subscriber::EnvFilter::new(config.broker.log_level.as_str());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: no event loop: {error}"));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    runtime.block_on(serve(config, sources))
}

async fn serve(config: Config, sources: Sources) -> ExitCode {
    let drain_ms = config.broker.drain_timeout.as_millis() as u64;
    let socket = config.broker.socket.clone();
    let launcher = match std::env::current_exe() {
        Ok(launcher) => launcher,
        Err(error) => {
            say(&format!(
                "error: the path of this program cannot be found: {error}"
            ));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let mut daemon = match Daemon::start(config, sources, launcher).await {
        Ok(daemon) => daemon,
        Err(error) => {
            say(&format!("error: {error}"));
            return ExitCode::from(error.exit_code());
        }
    };
    say(&format!("broker   ready   {}", socket.display()));
    for instance in daemon.instances() {
        say(&format!("plugin   {instance}"));
    }
    let ready = writeln!(std::io::stdout(), "ready");
    if let Err(error) = ready.and_then(|()| std::io::stdout().flush()) {
        tracing::debug!(%error, "Nobody reads stdout.");
    }
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        say("error: signals cannot be handled");
        return ExitCode::from(EXIT_FAILED);
    };
    let shutdown = daemon.shutdown_notice();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = shutdown.notified() => {}
        failed = daemon.failed() => {
            say(&format!("error: {failed}"));
            // Nothing may be acknowledged any more; plugins end with us.
            return ExitCode::from(EXIT_FAILED);
        }
    }
    say("broker   draining");
    let fast = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        () = daemon.stop(drain_ms) => ExitCode::SUCCESS,
        () = fast => ExitCode::SUCCESS,
    }
}
