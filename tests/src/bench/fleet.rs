//! Many accounts of one plugin: a thousand in one process, a hundred with a process each; how soon all are ready, what
//! each costs, and what comes back through all of them.
//!
//! Memory is the proportional set size: what processes share is divided among them. Every event is counted: each
//! account gets the same number, and each of them comes back once, by the account that it was sent to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use trunkline::{Client, Subscription};

use super::rig::{Rig, name_of, runtime};
use super::sdk::contestant::{self, Contestant, Form, Options};
use super::sdk::cost;
use super::table::{Figure, Target};
use crate::wire::Peer;

const MB: f64 = 1e6;
/// Events in flight.
const WINDOW: usize = 256;
/// How long a call of an operator may take.
const ANSWER: Duration = Duration::from_secs(30);

/// One fleet that runs.
struct Fleet {
    rig: Rig,
    runtime: Runtime,
    client: Client,
    answers: Subscription,
    accounts: usize,
    /// From the start of the daemon until every account was ready.
    ready: Duration,
}

/// What the processes of a fleet hold.
struct Held {
    processes: usize,
    pss: f64,
    rss: f64,
    /// Of the process that has most.
    threads: usize,
    descriptors: usize,
}

/// Measures fleets of the SDKs that are there.
///
/// # Errors
/// When a process dies, an account does not get ready, an event is lost, or an account has a thread of its own.
pub fn run(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let all = contestant::all(options)?;
    let subjects: Vec<&Contestant> = all.iter().filter(|who| who.is_sdk()).collect();
    ensure!(!subjects.is_empty(), "no SDK is installed");
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    let (many, some, each) = if options.quick {
        (40, 4, 3)
    } else {
        (1_000, 100, 20)
    };
    let mut figures = Vec::new();
    for who in &subjects {
        figures.extend(idle(who, rounds)?);
    }
    for who in &subjects {
        figures.extend(fleet(who, "shared", many, each, rounds)?);
    }
    for who in &subjects {
        figures.extend(fleet(who, "process", some, each * 10, rounds)?);
    }
    Ok(figures)
}

/// One plugin that has nothing to do.
fn idle(who: &Contestant, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let (mut pss, mut rss) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let fleet = Fleet::start(who, "process", 1)?;
        let held = fleet.held()?;
        pss.push(held.pss / MB);
        rss.push(held.rss / MB);
    }
    let most = match who.language {
        contestant::Language::Rust => Some(8.0),
        contestant::Language::Python => Some(54.0),
        contestant::Language::Node => None,
    };
    let name = who.name;
    Ok(vec![
        Figure::new(
            format!("idle: {name}, PSS MB"),
            most.map(Target::AtMost),
            &pss,
        ),
        Figure::new(
            format!("idle: {name}, resident MB"),
            most.map(Target::AtMost),
            &rss,
        ),
    ])
}

fn fleet(
    who: &Contestant,
    isolation: &str,
    accounts: usize,
    each: usize,
    rounds: usize,
) -> anyhow::Result<Vec<Figure>> {
    let mut lines: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        // Two are what a fleet costs before it is one.
        let (few, few_daemon) = {
            let two = Fleet::start(who, isolation, 2)?;
            (two.held()?, two.rig.resident_bytes()? as f64)
        };
        let mut fleet = Fleet::start(who, isolation, accounts)?;
        let held = fleet.held()?;
        let daemon = fleet.rig.resident_bytes()? as f64;
        let more = (accounts - 2) as f64;
        let rate = fleet.round(each)?;
        let after = fleet.held()?;
        if isolation == "shared" {
            ensure!(held.processes == 1, "{} processes", held.processes);
            ensure!(
                held.threads == few.threads && after.threads == few.threads,
                "{} threads with two accounts, {} with {accounts}, {} after their work",
                few.threads,
                held.threads,
                after.threads
            );
        } else {
            ensure!(held.processes == accounts, "{} processes", held.processes);
        }
        let mut line = |name, value| lines.entry(name).or_default().push(value);
        line("1 all ready, s", fleet.ready.as_secs_f64());
        line("2 PSS of all, MB", held.pss / MB);
        line(
            "3 PSS of one more account, KB",
            (held.pss - few.pss) / more / 1e3,
        );
        line(
            "4 the same after its work, KB",
            (after.pss - few.pss) / more / 1e3,
        );
        line("5 daemon, resident MB", daemon / MB);
        line(
            "6 daemon, one more account, KB",
            (daemon - few_daemon) / more / 1e3,
        );
        line("7 threads of a process", held.threads as f64);
        line("8 descriptors of a process", held.descriptors as f64);
        line("9 there and back/s", rate);
    }
    let name = format!("{accounts} {isolation}: {}", who.name);
    let figures = lines.iter().map(|(line, values)| {
        let what = line.split_once(' ').map_or(*line, |(_, what)| what);
        Figure::new(format!("{name}, {what}"), None, values)
    });
    Ok(figures.collect())
}

impl Fleet {
    fn start(who: &Contestant, isolation: &str, accounts: usize) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let rig = Rig::start_fleet(&who.words(Form::Echo), isolation, accounts)?;
        let runtime = runtime()?;
        let (client, answers) = runtime.block_on(all_ready(&rig, accounts))?;
        let ready = begin.elapsed();
        Ok(Self {
            rig,
            runtime,
            client,
            answers,
            accounts,
            ready,
        })
    }

    /// What its processes hold now.
    fn held(&self) -> anyhow::Result<Held> {
        let data = self.rig.data();
        let token = fs::read_to_string(data.join("token"))?;
        let mut peer = Peer::connect(&data.join("trunkline.sock"), token.trim(), "bench")?;
        let status = peer.call("admin.status", &json!({}), ANSWER)?;
        let instances = status["instances"].as_array().context("instances")?;
        let pids: BTreeSet<u64> = instances
            .iter()
            .filter_map(|one| one["pid"].as_u64())
            .collect();
        let mut held = Held {
            processes: pids.len(),
            pss: 0.0,
            rss: 0.0,
            threads: 0,
            descriptors: 0,
        };
        for pid in pids {
            let pid = u32::try_from(pid)?;
            held.pss += cost::proportional_bytes(pid)? as f64;
            held.rss += cost::resident_bytes(pid)? as f64;
            let (descriptors, threads) = cost::descriptors_and_threads(pid)?;
            held.threads = held.threads.max(threads);
            held.descriptors = held.descriptors.max(descriptors);
        }
        Ok(held)
    }

    /// Sends each account so many events and awaits each of them back by the same account; gives how many a second.
    fn round(&mut self, each: usize) -> anyhow::Result<f64> {
        let (client, answers) = (&self.client, &mut self.answers);
        self.runtime
            .block_on(flow(client, answers, self.accounts, each))
    }
}

/// Waits until every account is ready, then listens to what comes in.
async fn all_ready(rig: &Rig, accounts: usize) -> anyhow::Result<(Client, Subscription)> {
    rig.ready(accounts).await?;
    let client = rig.client("bench").await?;
    let answers = client
        .subscribe(["plugin.inbound.echo.>"])
        .name("answers")
        .credit(1024)
        .await?;
    Ok((client, answers))
}

async fn flow(
    client: &Client,
    answers: &mut Subscription,
    accounts: usize,
    each: usize,
) -> anyhow::Result<f64> {
    let permits = Arc::new(tokio::sync::Semaphore::new(WINDOW));
    let begin = Instant::now();
    let sender = async {
        let mut publishes = tokio::task::JoinSet::new();
        for number in 0..accounts * each {
            // The permit comes back with the answer, below.
            permits.clone().acquire_owned().await?.forget();
            let name = name_of(number % accounts);
            let topic = format!("plugin.outbound.echo.{name}");
            let payload = json!({ "text": "hello", "number": number / accounts, "to": name });
            let publish = client.publish(topic, payload).session(name);
            publishes.spawn(async move { publish.await });
            while let Some(done) = publishes.try_join_next() {
                done??;
            }
        }
        while let Some(done) = publishes.join_next().await {
            done??;
        }
        anyhow::Ok(())
    };
    let receiver = async {
        let mut counts = vec![0; accounts];
        for count in 0..accounts * each {
            let next = tokio::time::timeout(ANSWER, answers.next()).await;
            let answer = next
                .with_context(|| format!("{count} of {} came back", accounts * each))?
                .context("the subscription ended")?;
            let payload: Value = answer.payload()?;
            let by = answer.topic().rsplit('.').next().unwrap_or_default();
            ensure!(payload["to"] == by, "{by} answers {payload}");
            let account: usize = by.trim_start_matches('n').parse()?;
            ensure!(
                payload["number"] == counts[account],
                "{by}: expected number {}, found {payload}",
                counts[account]
            );
            counts[account] += 1;
            answer.ack();
            permits.add_permits(1);
        }
        ensure!(
            counts.iter().all(|count| *count == each),
            "not all have {each}"
        );
        anyhow::Ok(())
    };
    tokio::try_join!(sender, receiver)?;
    Ok((accounts * each) as f64 / begin.elapsed().as_secs_f64())
}
