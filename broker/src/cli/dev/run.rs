//! The daemon of `trunkline dev`, and what follows a change of a plugin's files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, broadcast};
use trunkline_contract::rpc::admin::PluginsUpgradeParams;

use super::build::build;
use super::pane::{self, Open, Places, show};
use super::project::{self, Watched};
use super::tape::Tape;
use super::watch::{Seen, Snapshot, changed, snapshot};
use crate::cli::args::ConfigArgs;
use crate::cli::client::ConnectArgs;
use crate::cli::failure::Failure;
use crate::cli::up;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, LogFormat, LogLevel, Sources};
use crate::daemon::{Daemon, TOKEN_FILE};
use crate::instance::InstanceKey;
use crate::line::with_more;
use crate::supervisor::StateReport;

/// How often files are looked at; a change counts once nothing changed for as long.
const LOOK: Duration = Duration::from_millis(200);
/// How often one looks until the files come to rest: 10 s.
const LOOKS_TO_REST_MAX: usize = 50;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// The config file; without one, `trunkline.toml`, or else the plugin of this directory with its defaults.
    #[arg(long, short, env = "TRUNKLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides one setting; may be given again.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// What makes the plugin, before its first start and after each change; `cargo build` where there is a
    /// Cargo.toml, `npm run build` where package.json has such a script, nothing if empty.
    #[arg(long, value_name = "COMMAND")]
    build: Option<String>,
    /// Records the traffic, one event a line.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Publishes what clients said in a recording.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// What is looked at in another way than the files of plugins, or not at all.
struct Own {
    config: PathBuf,
    /// The config when it was read.
    stamp: Option<(u64, SystemTime)>,
    data_dir: PathBuf,
}

/// What is watched, each with what was last seen of it.
type Looks = Vec<(Watched, Seen)>;

/// Runs until it is told to end.
pub(crate) fn run(args: &DevArgs) -> Result<ExitCode, Failure> {
    let sources = project::sources(args.config.as_deref(), &args.set)?;
    let config = project::config(&sources)?;
    let internal = |error: std::io::Error| Failure::new("internal", 70, error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .map_err(internal)?;
    let _unchanged = up::start_log(LogLevel::Warn, LogFormat::Text);
    let launcher = std::env::current_exe().map_err(internal)?;
    let done = runtime.block_on(serve(args, config, sources, launcher));
    // Whoever reads stdin cannot be woken.
    runtime.shutdown_background();
    done
}

async fn serve(
    args: &DevArgs,
    config: Config,
    sources: Sources,
    launcher: PathBuf,
) -> Result<ExitCode, Failure> {
    let plugins = project::watched(&config, args.build.as_deref());
    let own = Own {
        config: config.file.clone(),
        stamp: stamp(&config.file).await,
        data_dir: config.broker.data_dir.clone(),
    };
    let mut looks = Looks::new();
    for one in &plugins {
        let seen = begun(one, &own).await;
        looks.push((one.clone(), seen));
    }
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return Err(Failure::new("internal", 70, "signals cannot be handled"));
    };
    let tape = args.record.as_deref().map(Tape::begin).transpose()?;
    let mut daemon = Daemon::start(config.clone(), sources.clone(), launcher)
        .await
        .map_err(|error| up::not_started(&error))?;
    let http = daemon.http().map(ToString::to_string).unwrap_or_default();
    let data_dir = &config.broker.data_dir;
    show(&format!("broker   ready   {}   {http}", data_dir.display()));
    if let Some(states) = daemon.take_states() {
        tokio::spawn(narrate(states, daemon.in_force()));
    }
    let connect = ConnectArgs {
        config: ConfigArgs {
            config: sources.file.clone(),
            set: args.set.clone(),
        },
        socket: Some(config.broker.socket.clone()),
        token_file: Some(data_dir.join(TOKEN_FILE)),
    };
    let quit = Arc::new(Notify::new());
    talk(args, daemon.in_force(), connect, tape, quit.clone());
    let failed = {
        let look = look(&daemon, (&sources, args), &own, looks);
        tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            () = quit.notified() => None,
            never = look => Some(never),
        }
    };
    if let Some(failure) = failed {
        return Err(failure);
    }
    show("broker   draining");
    daemon
        .stop(config.broker.drain_timeout.as_millis() as u64)
        .await;
    Ok(ExitCode::SUCCESS)
}

/// Starts the threads of the terminal: one listens, one types.
fn talk(
    args: &DevArgs,
    in_force: impl Fn() -> Config + Send + 'static,
    connect: ConnectArgs,
    tape: Option<Tape>,
    quit: Arc<Notify>,
) {
    let places: Places = in_force()
        .instances
        .iter()
        .flat_map(|spec| {
            let kinds = spec.manifest.kinds().map(str::to_owned);
            kinds.map(|kind| (kind, spec.instance.clone()))
        })
        .collect();
    let open = Arc::new(Open::new());
    let replay = args.replay.clone();
    std::thread::spawn(move || {
        let (listening, typing) = (open.clone(), open);
        let to_type = connect.clone();
        // Typed only once the answers are listened for.
        let begin = move || {
            std::thread::spawn(move || {
                let typed = pane::type_in(&to_type, &places, replay.as_deref(), &typing);
                match typed {
                    Ok(true) => quit.notify_one(),
                    Ok(false) => {}
                    Err(failure) => show(&failure.to_string()),
                }
            });
        };
        // Its end is the daemon's.
        if let Err(failure) = pane::listen(&connect, in_force, tape, &listening, begin) {
            tracing::debug!(%failure, "The terminal hears nothing more.");
        }
    });
}

/// Says of each instance when it is ready, or where the error is.
async fn narrate(
    mut states: broadcast::Receiver<(InstanceKey, StateReport)>,
    in_force: impl Fn() -> Config,
) {
    let clock = SystemClock::new();
    let mut told = up::Told::default();
    loop {
        let (key, report) = match states.recv().await {
            Ok(state) => state,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let Some(line) = told.line(&key, &report, clock.now().mono_ms) else {
            continue;
        };
        show(&line);
        if let Some(line) = up::cause_line(&in_force, &key, &report) {
            show(&line);
        }
    }
}

/// Looks at the files for ever, and does what follows their changes.
async fn look(
    daemon: &Daemon,
    given: (&Sources, &DevArgs),
    own: &Own,
    mut looks: Looks,
) -> Failure {
    let config = own.config.as_path();
    let mut config_seen = own.stamp;
    loop {
        tokio::time::sleep(LOOK).await;
        let config_now = stamp(config).await;
        if config_now != config_seen {
            config_seen = rested(config, config_now).await;
            if config_seen.is_some_and(|(bytes, _)| bytes == 0) {
                show("config   is empty; what runs stays until there is something in it");
            } else {
                reload(daemon, given, own, &mut looks).await;
            }
        }
        for (one, seen) in &mut looks {
            let one = &*one;
            let now = files(one, own).await;
            let Some(path) = changed(&seen.files, &now) else {
                continue;
            };
            let path = path.strip_prefix(&one.dir).unwrap_or(path).display();
            if seen.is_only_of_builds(&now) {
                show(&format!(
                    "plugin   {}   built   {path} is written by each build, and starts none; \
                     hint: let it write below dist/, build/ or out/",
                    one.plugin
                ));
                seen.files = now;
                continue;
            }
            show(&format!("plugin   {}   changed   {path}", one.plugin));
            seen.files = settled(one, own, now).await;
            let is_built = build_one(one).await;
            if one.build.is_some() {
                seen.note_build(&files(one, own).await);
            }
            if is_built {
                replace(daemon, one).await;
            }
        }
    }
}

/// Waits until nothing changes any more: an editor or a checkout writes several files. What never rests is no reason to
/// wait for ever.
async fn settled(one: &Watched, own: &Own, mut last: Snapshot) -> Snapshot {
    for _ in 0..LOOKS_TO_REST_MAX {
        tokio::time::sleep(LOOK).await;
        let now = files(one, own).await;
        let Some(path) = changed(&last, &now) else {
            return now;
        };
        let path = path.strip_prefix(&one.dir).unwrap_or(path).display();
        tracing::debug!(plugin = one.plugin, %path, "A file still changes.");
        last = now;
    }
    show(&format!(
        "plugin   {}   changed   its files do not come to rest; hint: what a plugin writes belongs into its state directory",
        one.plugin
    ));
    last
}

/// The files of a plugin without the config, which has a look of its own: it is for one instance and not for another.
/// Nor does it count what the daemon writes.
async fn files(one: &Watched, own: &Own) -> Snapshot {
    let (one, dir) = (one.clone(), one.dir.clone());
    let looked = tokio::task::spawn_blocking(move || snapshot(&one.dir, one.build.is_some()));
    let mut files = looked.await.unwrap_or_default();
    let is_data = |path: &Path| path.starts_with(&own.data_dir) && !dir.starts_with(&own.data_dir);
    files.retain(|path, _| *path != own.config && !is_data(path));
    files
}

/// Size and time of the config file, while there is one.
async fn stamp(config: &Path) -> Option<(u64, SystemTime)> {
    let about = tokio::fs::metadata(config).await.ok()?;
    Some((about.len(), about.modified().ok()?))
}

/// Waits until the config does not change any more: an editor may empty it before it writes it.
async fn rested(config: &Path, mut last: Option<(u64, SystemTime)>) -> Option<(u64, SystemTime)> {
    for _ in 0..LOOKS_TO_REST_MAX {
        tokio::time::sleep(LOOK).await;
        let now = stamp(config).await;
        if now == last {
            break;
        }
        last = now;
    }
    last
}

/// Takes the config as it is now, builds what it adds before that starts, and watches from then on what it names.
async fn reload(
    daemon: &Daemon,
    (sources, args): (&Sources, &DevArgs),
    own: &Own,
    looks: &mut Looks,
) {
    let mut added = Looks::new();
    // One that is no good changes nothing, and the daemon says why.
    if let Ok(read) = project::config(sources) {
        begin_new(&read, (args, own), looks, &mut added).await;
    }
    match daemon.reload().await {
        Ok(result) => result
            .changes
            .iter()
            .for_each(|change| show(&format!("config   {change}"))),
        Err(error) => return show(&Failure::from(error).to_string()),
    }
    looks.append(&mut added);
    // The daemon may have read another text than was read here: what it took is what is watched.
    let config = daemon.config();
    begin_new(&config, (args, own), looks, &mut added).await;
    looks.append(&mut added);
    let plugins = project::watched(&config, args.build.as_deref());
    looks.retain(|(known, _)| plugins.contains(known));
}

/// Builds what a config names and nobody looks at yet.
async fn begin_new(config: &Config, (args, own): (&DevArgs, &Own), looks: &Looks, new: &mut Looks) {
    for one in project::watched(config, args.build.as_deref()) {
        if !looks.iter().any(|(known, _)| *known == one) {
            let seen = begun(&one, own).await;
            new.push((one, seen));
        }
    }
}

/// Builds a plugin for the first time; what was saved meanwhile has changed since.
async fn begun(one: &Watched, own: &Own) -> Seen {
    let mut seen = Seen::of(files(one, own).await);
    build_one(one).await;
    if one.build.is_some() {
        seen.note_first_build(files(one, own).await);
    }
    seen
}

async fn build_one(one: &Watched) -> bool {
    let Some(words) = &one.build else { return true };
    show(&format!(
        "plugin   {}   building   {}",
        one.plugin,
        words.join(" ")
    ));
    match build(words, &one.dir).await {
        Ok(()) => true,
        Err(error) => {
            show(&format!("plugin   {}   failed   {error}", one.plugin));
            false
        }
    }
}

async fn replace(daemon: &Daemon, one: &Watched) {
    let clock = SystemClock::new();
    let began_ms = clock.now().mono_ms;
    let target = PluginsUpgradeParams {
        plugin: one.plugin.clone(),
        instance: None,
        package: None,
    };
    match daemon.upgrade(&target).await {
        Ok(_) => {
            let took_ms = clock.now().mono_ms - began_ms;
            show(&format!(
                "plugin   {}   replaced   {took_ms} ms",
                one.plugin
            ));
        }
        Err(error) => {
            let stays = stays(&daemon.pids(&one.plugin).await);
            let text = with_more(&error.message, &stays);
            show(&format!("plugin   {}   failed   {text}", one.plugin));
        }
    }
}

/// What goes on where nothing was replaced.
fn stays(pids: &[u32]) -> String {
    let named: Vec<String> = pids.iter().map(ToString::to_string).collect();
    match named.as_slice() {
        [] => String::new(),
        [pid] => format!("; the old one stays (pid {pid})"),
        // Some of them may have been replaced before one was not.
        pids => format!("; what runs stays (pid {})", pids.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_named_by_its_living_processes() {
        assert_eq!(stays(&[]), "");
        assert_eq!(stays(&[7]), "; the old one stays (pid 7)");
        assert_eq!(stays(&[7, 9]), "; what runs stays (pid 7, 9)");
    }
}
