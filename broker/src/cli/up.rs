//! `trunkline up`: the daemon in the foreground.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;
use trunkline_contract::error::Error;
use trunkline_contract::rpc::admin::ConfigReloadResult;

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, DiskFiles, LogFormat, LogLevel, Sources, load};
use crate::daemon::{Daemon, EXIT_CONFIG, EXIT_FAILED, StartError};
use crate::instance::InstanceKey;
use crate::line::HINT;
use crate::supervisor::cause::{cause, remedy};
use crate::supervisor::{State, StateReport};

use super::args::ConfigArgs;
use super::config::diagnostic_text;
use super::failure::Failure;
use super::output::{one_line, say};

/// Loads the config and says everything that is wrong with it.
pub(crate) fn load_config(args: &ConfigArgs) -> Result<(Config, Sources), ExitCode> {
    let sources = args.sources().map_err(|failure| {
        say(&failure.to_string());
        ExitCode::from(failure.exit())
    })?;
    match load(&sources, &DiskFiles).into_result() {
        Ok((config, warnings)) => {
            for warning in &warnings {
                say(&diagnostic_text(warning));
            }
            Ok((config, sources))
        }
        Err(diagnostics) => {
            for diagnostic in &diagnostics {
                say(&diagnostic_text(diagnostic));
            }
            Err(ExitCode::from(EXIT_CONFIG))
        }
    }
}

/// Runs the daemon until it is told to end.
pub(crate) fn run(args: &ConfigArgs) -> ExitCode {
    let (config, sources) = match load_config(args) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    raise_open_files();
    let log_level = start_log(config.broker.log_level, config.broker.log_format);
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
    runtime.block_on(serve(config, sources, log_level))
}

/// Lets the daemon open as many files as the system allows it at all: every instance takes a few, and the soft
/// limit of many systems is 1,024. What the daemon starts gets a limit of its own.
fn raise_open_files() {
    let found = getrlimit(Resource::Nofile);
    if found.current == found.maximum {
        return;
    }
    let raised = Rlimit {
        current: found.maximum,
        ..found
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        say(&format!("the limit of open files stays as it is: {error}"));
    }
}

/// Changes the level of the daemon's own log.
pub(super) type SetLogLevel = Box<dyn Fn(LogLevel) + Send>;

pub(super) fn start_log(level: LogLevel, format: LogFormat) -> SetLogLevel {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(log_filter(level))
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let is_terminal = std::io::stderr().is_terminal();
            let builder = builder.with_ansi(is_terminal).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |level| told(handle.reload(log_filter(level))))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |level| told(handle.reload(log_filter(level))))
        }
    }
}

fn told(changed: Result<(), tracing_subscriber::reload::Error>) {
    if let Err(error) = changed {
        tracing::warn!(%error, "Log level not changed.");
    }
}

/// What is logged at a level. The MCP library tells every request at `info`, and as errors what clients do to
/// themselves, so that nothing of it is taken unless everything is asked for.
fn log_filter(level: LogLevel) -> EnvFilter {
    match level {
        LogLevel::Trace => EnvFilter::new(level.as_str()),
        _ => EnvFilter::new(format!("{},rmcp=off", level.as_str())),
    }
}

/// How the daemon tells what it does: as lines for people, or as records of its log.
#[derive(Debug, Clone, Copy)]
struct Voice(LogFormat);

impl Voice {
    fn say(self, line: &str) {
        if self.0 == LogFormat::Text {
            return say(line);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["error:", text @ ..] => tracing::error!("{}", text.join(" ")),
            words => tracing::info!("{}", words.join(" ")),
        }
    }
}

async fn serve(config: Config, sources: Sources, set_log_level: SetLogLevel) -> ExitCode {
    let voice = Voice(config.broker.log_format);
    let socket = config.broker.socket.clone();
    let launcher = match std::env::current_exe() {
        Ok(launcher) => launcher,
        Err(error) => {
            say(&format!(
                "error: internal: the path of this program cannot be found: {error}"
            ));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        say("error: internal: signals cannot be handled");
        return ExitCode::from(EXIT_FAILED);
    };
    let mut daemon = match Daemon::start(config, sources, launcher).await {
        Ok(daemon) => daemon,
        Err(error) => {
            let failure = not_started(&error);
            voice.say(&failure.to_string());
            return ExitCode::from(failure.exit());
        }
    };
    voice.say(&format!("broker   ready   {}", socket.display()));
    if let Some(http) = daemon.http() {
        voice.say(&format!("http     ready   {http}"));
    }
    let narrator = daemon
        .take_states()
        .map(|states| tokio::spawn(narrate(states, daemon.in_force(), voice)));
    let ready = writeln!(std::io::stdout(), "ready");
    if let Err(error) = ready.and_then(|()| std::io::stdout().flush()) {
        tracing::debug!(%error, "Nobody reads stdout.");
    }
    let mut settings = daemon.settings();
    let shutdown = daemon.shutdown_notice();
    // Beside the others: it may have to wait for an upgrade, and the end of the daemon does not.
    let mut reloading: Option<JoinHandle<()>> = None;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = shutdown.notified() => break,
            _ = hangup.recv(), if reloading.is_none() => {
                reloading = Some(tokio::spawn(reload(daemon.reload(), voice)));
            }
            ended = async { reloading.as_mut().expect("guarded").await }, if reloading.is_some() => {
                reloading = None;
                if let Err(error) = ended {
                    tracing::error!(%error, "A reload was cut off.");
                }
            }
            Ok(()) = settings.changed() => {
                set_log_level(settings.borrow_and_update().log_level);
            }
            failed = daemon.failed() => {
                voice.say(&format!("error: store_failed: {failed}"));
                // Nothing may be acknowledged any more; plugins end with us.
                return ExitCode::from(EXIT_FAILED);
            }
        }
    }
    voice.say("broker   draining");
    let drain_ms = settings.borrow().drain_timeout.as_millis() as u64;
    let fast = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        () = daemon.stop(drain_ms) => {}
        () = fast => {}
    }
    if let Some(narrator) = narrator {
        narrator.abort();
    }
    ExitCode::SUCCESS
}

async fn reload(reload: impl Future<Output = Result<ConfigReloadResult, Error>>, voice: Voice) {
    match reload.await {
        Ok(result) if result.changes.is_empty() => voice.say("config   reloaded, nothing changed"),
        Ok(result) => {
            for change in result.changes {
                voice.say(&format!("config   {change}"));
            }
            voice.say("config   reloaded");
        }
        Err(error) => voice.say(&Failure::from(error).to_string()),
    }
}

/// Why a daemon did not start, and what to do about it.
pub(super) fn not_started(error: &StartError) -> Failure {
    let failure = Failure::new("not_started", error.exit_code(), error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Says of each instance when it is ready, or why it is not.
async fn narrate(
    mut states: broadcast::Receiver<(InstanceKey, StateReport)>,
    in_force: impl Fn() -> Config,
    voice: Voice,
) {
    let clock = SystemClock::new();
    let mut told = Told::default();
    loop {
        match states.recv().await {
            Ok((key, report)) => {
                if let Some(line) = told.line(&key, &report, clock.now().mono_ms) {
                    voice.say(&line);
                    if let Some(line) = cause_line(&in_force, &key, &report) {
                        voice.say(&line);
                    }
                }
            }
            Err(broadcast::error::RecvError::Lagged(count)) => {
                voice.say(&format!(
                    "plugin   {count} changes went by too fast to tell"
                ));
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Where the error is that ended a process, and what to do about it; none where it ended well or said nothing. Without the
/// directory of its plugin there is nothing to be done in it.
pub(super) fn cause_line(
    in_force: &impl Fn() -> Config,
    key: &InstanceKey,
    report: &StateReport,
) -> Option<String> {
    report.incident?;
    let exit = report.exit.as_ref().filter(|exit| !exit.is_clean())?;
    let config = in_force();
    // One that a reload took away ends after it.
    let spec = config.instance(&key.plugin, &key.instance);
    let spec = spec.or_else(|| {
        config
            .instances
            .iter()
            .find(|one| *one.plugin == *key.plugin)
    });
    let dir = spec.map(|spec| spec.dir.as_path());
    let cause = cause(&exit.stderr_tail, dir.unwrap_or(Path::new("")))?;
    let hint = dir.and_then(|dir| remedy(&exit.stderr_tail, dir));
    let hint = hint.map_or_else(String::new, |hint| format!("{HINT}{hint}"));
    Some(format!("plugin   {key}   failed   {cause}{hint}"))
}

/// What was said of each instance, so that nothing is said twice.
#[derive(Default)]
pub(super) struct Told {
    started_ms: HashMap<InstanceKey, u64>,
    last: HashMap<InstanceKey, (State, Option<String>)>,
}

impl Told {
    /// One line about a state, unless it was told or is only a step.
    pub(super) fn line(
        &mut self,
        key: &InstanceKey,
        report: &StateReport,
        now_ms: u64,
    ) -> Option<String> {
        let now = (report.state, report.reason.clone());
        if report.state == State::Starting {
            let before = self.last.get(key).map(|(state, _)| *state);
            match before {
                // The second part of one start: the activation.
                Some(State::Starting | State::Standby) => {}
                // It takes over from another process: when its own start began was not seen.
                Some(State::Ready | State::Degraded | State::Draining) if report.pid.is_some() => {}
                _ => {
                    self.started_ms.insert(key.clone(), now_ms);
                }
            }
        }
        if self.last.insert(key.clone(), now.clone()) == Some(now) {
            return None;
        }
        let is_step = matches!(
            report.state,
            State::Starting | State::Standby | State::Draining
        );
        if is_step {
            return None;
        }
        let mut parts = Vec::new();
        if let Some(reason) = &report.reason {
            parts.push(one_line(reason, 300));
        }
        if let Some(pid) = report.pid {
            let pid = format!("pid {pid}");
            // The reason of one that stays names it.
            if !parts.iter().any(|part| part.contains(&pid)) {
                parts.push(pid);
            }
        }
        if let (State::Ready | State::Degraded, Some(started_ms)) =
            (report.state, self.started_ms.remove(key))
        {
            parts.push(format!("{} ms", now_ms.saturating_sub(started_ms)));
        }
        if let Some(retry_ms) = report.retry_in_ms {
            parts.push(format!("next start in {retry_ms} ms"));
        }
        let line = format!(
            "plugin   {key}   {}   {}",
            report.state.as_str(),
            parts.join(", ")
        );
        Some(line.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: State, pid: Option<u32>) -> StateReport {
        StateReport {
            state,
            reason: None,
            since_ms: 0,
            pid,
            exits: 0,
            incident: None,
            exit: None,
            retry_in_ms: None,
        }
    }

    #[test]
    fn an_instance_is_told_of_once_with_its_time_and_process() {
        let key = InstanceKey::new("echo", "default");
        let mut told = Told::default();
        assert_eq!(told.line(&key, &report(State::Starting, None), 100), None);
        assert_eq!(told.line(&key, &report(State::Standby, Some(7)), 150), None);
        assert_eq!(
            told.line(&key, &report(State::Starting, Some(7)), 151),
            None
        );
        assert_eq!(
            told.line(&key, &report(State::Ready, Some(7)), 171)
                .unwrap(),
            "plugin   echo/default   ready   pid 7, 71 ms"
        );
        assert_eq!(told.line(&key, &report(State::Ready, Some(7)), 180), None);
        // Another process takes over.
        let takes_over = report(State::Starting, Some(8));
        assert_eq!(told.line(&key, &takes_over, 190), None);
        assert_eq!(
            told.line(&key, &report(State::Ready, Some(8)), 191)
                .unwrap(),
            "plugin   echo/default   ready   pid 8"
        );
        let failed = StateReport {
            reason: Some("exit status 3".to_owned()),
            retry_in_ms: Some(1_000),
            ..report(State::BackingOff, None)
        };
        assert_eq!(
            told.line(&key, &failed, 200).unwrap(),
            "plugin   echo/default   backing_off   exit status 3, next start in 1000 ms"
        );
    }
}
