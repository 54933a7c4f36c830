//! Webhooks accepted, signed and durable, on connections that stay open, beside durable publishes on as many links.
//!
//! A request is answered once it is verified and on the disk; a publish is answered once it is on the disk. Both sides
//! have 64 in flight, 256 bytes each and a new id every time, and are driven from one thread. The plugin takes what
//! comes, as in production. Its webhooks are signed as Standard Webhooks: one HMAC over id, time and body each.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline_contract::webhook::{Scheme, Webhook};
use trunkline_patterns::signature::{Request, sign};

use super::links::{payload, publish_links};
use super::rig::{Rig, runtime, sync_p50_us};
use super::sdk::cost::cpu_ns;
use super::table::{Figure, Target};

/// Connections, and links.
const PEERS: usize = 64;
/// Bytes of a body.
const BYTES: usize = 256;
/// What the provider and the plugin share.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The plugin's hidden argument, under which this program takes webhooks and does nothing with them.
pub const SINK: &str = "__webhook-sink";

/// Takes every webhook.
pub fn run_sink() -> std::process::ExitCode {
    use trunkline::{Context, Json, On, Plugin};
    async fn take(_payload: Json, _ctx: Context) -> trunkline::Result<()> {
        Ok(())
    }
    trunkline::run(Plugin::new("bench").on(On::new("plugin.hook.bench.*", take)))
}

/// Measures both sides in every round.
///
/// # Errors
/// When the daemon refuses something.
pub fn run(rounds: usize, seconds: f64) -> anyhow::Result<Vec<Figure>> {
    let program = std::env::current_exe()?.display().to_string();
    let manifest = "[[channels]]\nkind = \"bench\"\n[[webhooks]]\nkind = \"bench\"\nverify = \"standard\"\n\
                    secret = \"{config.secret}\"\n[config.secret]\ntype = \"string\"\nsecret = true\n";
    // One address is every provider here; what a source may send is the operator's to say.
    let config = "http.hooks_per_source_per_second = 1000000\n[[plugins.bench]]\nsecret_env = \"BENCH_SECRET\"\n";
    let rig = Rig::start_http(
        &[program, SINK.to_owned()],
        manifest,
        config,
        &[("BENCH_SECRET", SECRET)],
    )?;
    let runtime = runtime()?;
    let address = rig.http()?;
    let (mut hooks, mut late, mut publishes) = (vec![], vec![], vec![]);
    let (mut hook_us, mut publish_us, mut syncs) = (vec![], vec![], vec![]);
    let mut links = Vec::new();
    for number in 0..PEERS {
        links.push(runtime.block_on(rig.client(&format!("link{number}")))?);
    }
    runtime.block_on(accept(&address, seconds / 4.0))?;
    runtime.block_on(publish_links(&links, BYTES, seconds / 4.0))?;
    for _ in 0..rounds {
        syncs.push(sync_p50_us(rig.home.path(), 100)?);
        let began_ns = cpu_ns(rig.pid())?;
        let mut accepted = runtime.block_on(accept(&address, seconds))?;
        let spent_ns = cpu_ns(rig.pid())? - began_ns;
        let count = accepted.latencies.len();
        accepted.latencies.sort_unstable();
        hooks.push(count as f64 / accepted.took.as_secs_f64());
        late.push(accepted.latencies[count * 99 / 100].as_secs_f64() * 1e3);
        hook_us.push(spent_ns as f64 / 1e3 / count as f64);
        let (began_ns, begin) = (cpu_ns(rig.pid())?, Instant::now());
        let rate = runtime.block_on(publish_links(&links, BYTES, seconds))?;
        let count = rate * begin.elapsed().as_secs_f64();
        publish_us.push((cpu_ns(rig.pid())? - began_ns) as f64 / 1e3 / count);
        publishes.push(rate);
    }
    let plain = |name, rounds: &[f64]| Figure::new(name, None, rounds);
    Ok(vec![
        plain(
            "webhooks, 64 connections, signed, durable, requests/s",
            &hooks,
        ),
        plain("webhooks, p99 ms", &late),
        plain("webhooks, processor time of the daemon, us each", &hook_us),
        plain("publishes, 64 links with one each, events/s", &publishes),
        plain(
            "publishes, processor time of the daemon, us each",
            &publish_us,
        ),
        plain("fdatasync of 4 KiB, p50 us", &syncs),
        Figure::ratio(
            "webhooks / publishes",
            Some(Target::AtLeast(0.3)),
            &hooks,
            &publishes,
        ),
        Figure::ratio(
            "publishes / webhooks, processor time of the daemon",
            None,
            &publish_us,
            &hook_us,
        ),
    ])
}

struct Accepted {
    latencies: Vec<Duration>,
    took: Duration,
}

async fn accept(address: &str, seconds: f64) -> anyhow::Result<Accepted> {
    let body = serde_json::json!({ "text": payload(BYTES - 11) }).to_string();
    let start = Instant::now();
    let mut peers = tokio::task::JoinSet::new();
    for number in 0..PEERS {
        let (address, body) = (address.to_owned(), body.clone());
        peers.spawn(async move { send(&address, &body, number, start, seconds).await });
    }
    let mut latencies = Vec::new();
    while let Some(done) = peers.join_next().await {
        latencies.extend(done??);
    }
    ensure!(!latencies.is_empty(), "no webhook was accepted");
    Ok(Accepted {
        latencies,
        took: start.elapsed(),
    })
}

/// One provider on one connection: the next request once the last is answered.
async fn send(
    address: &str,
    body: &str,
    peer: usize,
    start: Instant,
    seconds: f64,
) -> anyhow::Result<Vec<Duration>> {
    let webhook = Webhook::new("bench", Scheme::Standard, "{config.secret}");
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::new();
    let mut answer = Vec::with_capacity(1024);
    while start.elapsed().as_secs_f64() < seconds {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let id = format!("msg_{peer}_{}", now.as_nanos());
        let request = Request {
            method: "POST",
            url: "/hooks/bench",
            headers: &[],
            body: body.as_bytes(),
        };
        let signed = sign(&webhook, SECRET, &request, &id, now.as_millis() as u64)?;
        let mut text = format!(
            "POST /hooks/bench HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in &signed {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(body);
        let begin = Instant::now();
        stream.write_all(text.as_bytes()).await?;
        read_answer(&mut stream, &mut answer).await?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}

/// Reads one answer, which must be a 2xx with a length.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    answer.clear();
    loop {
        ensure!(stream.read_buf(answer).await? > 0, "the daemon hung up");
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
        ensure!(
            head.starts_with("http/1.1 2"),
            "expected a 2xx, found {head}"
        );
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(Ok(0), |length| length.trim().parse())
            .context("a length")?;
        if answer.len() >= end + 4 + length {
            return Ok(());
        }
    }
}
