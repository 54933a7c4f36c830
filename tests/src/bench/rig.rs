//! What benchmarks run on: a release daemon of its own in a fresh directory, with Rust echo plugins.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;
use trunkline::{Client, Context as Handling, Json, Outbound, Plugin, Reply, Start};

/// The hidden argument under which this program is an echo plugin.
pub const ECHO: &str = "__echo";

/// The echo plugin as users write it: the SDK's, handler and all.
pub fn run_echo() -> std::process::ExitCode {
    async fn echo(payload: Json, _ctx: Handling) -> trunkline::Result<Reply> {
        Ok(Reply::new(payload))
    }
    trunkline::run(Plugin::new("echo").outbound(Outbound::new("echo", echo)))
}

/// Puts this thread, and everything it starts from here on, on one processor.
///
/// # Errors
/// When the kernel refuses.
pub fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).context("pinning")
}

/// Lets this thread run anywhere again.
///
/// # Errors
/// When the kernel refuses.
pub fn unpin() -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for cpu in 0..std::thread::available_parallelism()?.get().max(2) {
        set.set(cpu);
    }
    sched_setaffinity(None, &set).context("unpinning")
}

/// The name of one of several instances.
pub fn name_of(number: usize) -> String {
    format!("n{number}")
}

/// How long nothing may become ready.
const READY: Duration = Duration::from_mins(2);

/// The beginning of a manifest.
fn head(id: &str, command: &[String]) -> String {
    format!("[plugin]\nid = {id:?}\nversion = \"0.0.0\"\ncommand = {command:?}\n")
}

/// A running daemon.
pub struct Rig {
    /// Where everything of it is.
    pub home: tempfile::TempDir,
    child: Child,
}

impl Rig {
    /// Starts a daemon with `instances` echo plugins and waits until it accepts links.
    ///
    /// # Errors
    /// When the release daemon is not built, or does not start.
    pub fn start(instances: usize) -> anyhow::Result<Self> {
        let home = tempfile::tempdir_in(std::env::current_dir()?.join("target"))?;
        Self::start_in(home, instances)
    }

    /// The same in a directory that is there already.
    ///
    /// # Errors
    /// As [`Rig::start`].
    pub fn start_in(home: tempfile::TempDir, instances: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.display().to_string();
        Self::start_command(home, instances, &[program, ECHO.to_owned()])
    }

    /// Starts a daemon with one echo plugin of this command.
    ///
    /// # Errors
    /// As [`Rig::start`].
    pub fn start_with(command: &[String]) -> anyhow::Result<Self> {
        let home = tempfile::tempdir_in(std::env::current_dir()?.join("target"))?;
        Self::start_command(home, 1, command)
    }

    /// Starts a daemon with HTTP on a port of its own and one instance of the plugin `bench` of this command;
    /// `manifest` and `config` follow what every plugin and instance has.
    ///
    /// # Errors
    /// As [`Rig::start`].
    pub fn start_http(
        command: &[String],
        manifest: &str,
        config: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let home = tempfile::tempdir_in(std::env::current_dir()?.join("target"))?;
        let manifest = format!("{}{manifest}", head("bench", command));
        let config =
            format!("plugin_dirs = [\"plugins\"]\nhttp.listen = \"127.0.0.1:0\"\n{config}");
        Self::start_with_files(home, "bench", &manifest, &config, environment)
    }

    /// Starts a daemon with so many instances of the plugin `echo` of this command, with the manifest's `isolation`.
    ///
    /// # Errors
    /// As [`Rig::start`].
    pub fn start_fleet(
        command: &[String],
        isolation: &str,
        instances: usize,
    ) -> anyhow::Result<Self> {
        let home = tempfile::tempdir_in(std::env::current_dir()?.join("target"))?;
        let isolation = format!("isolation = {isolation:?}\n");
        Self::start_channel(home, instances, command, &isolation)
    }

    fn start_command(
        home: tempfile::TempDir,
        instances: usize,
        command: &[String],
    ) -> anyhow::Result<Self> {
        Self::start_channel(home, instances, command, "")
    }

    fn start_channel(
        home: tempfile::TempDir,
        instances: usize,
        command: &[String],
        more: &str,
    ) -> anyhow::Result<Self> {
        let head = head("echo", command);
        let manifest = format!("{head}{more}[[channels]]\nkind = \"echo\"\n");
        let mut config = String::from("plugin_dirs = [\"plugins\"]\nhttp.listen = \"off\"\n");
        for number in 0..instances {
            config.push_str("[[plugins.echo]]\n");
            if instances > 1 {
                config.push_str(&format!("instance = {:?}\n", name_of(number)));
            }
        }
        Self::start_with_files(home, "echo", &manifest, &config, &[])
    }

    fn start_with_files(
        home: tempfile::TempDir,
        id: &str,
        manifest: &str,
        config: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let dir = home.path();
        let plugin = dir.join("plugins").join(id);
        std::fs::create_dir_all(&plugin)?;
        let program = std::env::current_exe()?;
        std::fs::write(plugin.join("plugin.toml"), manifest)?;
        std::fs::write(dir.join("trunkline.toml"), config)?;
        let daemon = program.with_file_name("trunkline");
        let ok = daemon
            .metadata()
            .is_ok_and(|file| file.permissions().mode() & 0o111 != 0);
        ensure!(
            ok,
            "{} is missing: build the daemon with --release",
            daemon.display()
        );
        let mut child = Command::new(daemon)
            .args(["up", "--config"])
            .arg(dir.join("trunkline.toml"))
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("piped above")?;
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "expected ready, found {line:?}");
        Ok(Self { home, child })
    }

    /// Connects a client.
    ///
    /// # Errors
    /// When the daemon refuses it.
    pub async fn client(&self, name: &str) -> anyhow::Result<Client> {
        let data = self.home.path().join(".trunkline");
        let client = Client::new(name)
            .socket(data.join("trunkline.sock"))
            .token_file(data.join("token"));
        Ok(client.connect().await?)
    }

    /// Waits until so many instances are ready. The daemon's own readiness says nothing of them: what is stored waits for
    /// them, but a call of a tool that is declared nowhere but in code is refused until then.
    ///
    /// # Errors
    /// When none becomes ready for two minutes, or the daemon refuses the client.
    pub async fn ready(&self, instances: usize) -> anyhow::Result<()> {
        let client = self.client("readiness").await?;
        let mut states = client
            .subscribe(["plugin.lifecycle.>"])
            .name("states")
            .start(Start::Earliest)
            .credit(1024)
            .await?;
        let mut ready = BTreeSet::new();
        while ready.len() < instances {
            let next = tokio::time::timeout(READY, states.next()).await;
            let state = next
                .with_context(|| format!("{} of {instances} instances are ready", ready.len()))?
                .context("the subscription ended")?;
            if state.payload::<Value>()?["state"] == "ready" {
                ready.insert(state.topic().to_owned());
            }
            state.ack();
        }
        drop(states);
        client.close().await;
        Ok(())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Host and port of its HTTP side.
    ///
    /// # Errors
    /// When it has none.
    pub fn http(&self) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(self.data().join("http.addr"))?;
        Ok(text.trim().trim_start_matches("http://").to_owned())
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.home.path().join(".trunkline")
    }

    /// Resident bytes of the daemon alone.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/statm", self.child.id());
        let text = std::fs::read_to_string(path)?;
        let pages: u64 = text.split_whitespace().nth(1).context("statm")?.parse()?;
        Ok(pages * rustix::param::page_size() as u64)
    }

    /// Ends the daemon at once and gives its directory back.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill(mut self) -> anyhow::Result<tempfile::TempDir> {
        self.child.kill()?;
        self.child.wait()?;
        let home = std::mem::replace(&mut self.home, tempfile::tempdir()?);
        Ok(home)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let Ok(Some(pid)) = i32::try_from(self.child.id()).map(Pid::from_raw) else {
            return;
        };
        if matches!(self.child.try_wait(), Ok(None)) {
            let told = kill_process(pid, Signal::TERM).is_ok();
            let ended = told && self.child.wait().is_ok();
            if !ended {
                eprintln!("the daemon {} did not end", self.child.id());
            }
        }
    }
}

/// A tokio runtime on this thread alone, as a client has.
///
/// # Errors
/// When the system has no resources.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// Median of single latencies, in microseconds.
pub fn p50_us(latencies: &mut [std::time::Duration]) -> f64 {
    latencies.sort_unstable();
    latencies[latencies.len() / 2].as_secs_f64() * 1e6
}

/// p50 of appending 4 KiB and calling `fdatasync`, in microseconds, in `dir`.
///
/// # Errors
/// When the disk refuses.
pub fn sync_p50_us(dir: &Path, count: usize) -> anyhow::Result<f64> {
    use std::io::Write;
    let mut file = tempfile::tempfile_in(dir)?;
    let block = [7u8; 4096];
    let mut latencies = Vec::with_capacity(count);
    for _ in 0..count {
        let start = std::time::Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        latencies.push(start.elapsed());
    }
    Ok(p50_us(&mut latencies))
}
