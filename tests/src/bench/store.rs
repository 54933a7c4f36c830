//! The embedded store against the limit of its disk.
//!
//! The limit is a loop that appends the same bytes and calls `fdatasync` once per batch. The store
//! does what it always does: event, dedupe entry, forgetting of the oldest id, one sync. Its dedupe
//! window is filled before the first round, so that forgetting is part of every figure. Only the
//! calls are timed, not the making of events.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use trunkline_broker::store::sqlite::{SqliteOptions, SqliteStore};
use trunkline_broker::store::{Batch, Commit, NewEvent, OnConflict, Store};

/// Sizes and batches that are measured, with the least ratio aimed at.
const CELLS: [(usize, usize, f64); 4] = [
    (300, 34, 0.6),
    (300, 270, 0.25),
    (4096, 34, 0.4),
    (4096, 270, 0.3),
];

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds per cell; the sides take turns in each.
    pub rounds: usize,
    /// How long each side runs in a round.
    pub side: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 7,
            side: Duration::from_millis(600),
        }
    }
}

/// One round of one cell.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// Events per second of the raw loop.
    pub raw_events_per_s: f64,
    /// Events per second of the store.
    pub store_events_per_s: f64,
    /// Store over raw.
    pub ratio: f64,
}

/// All rounds of one size and batch.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// Bytes of an envelope.
    pub event_bytes: usize,
    /// Events in a batch, each in a commit of its own.
    pub batch: usize,
    /// The ratio aimed at.
    pub target: f64,
    /// In order of time.
    pub rounds: Vec<Round>,
    /// Medians over the rounds, each for itself.
    pub median: Round,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// One per size and batch.
    pub cells: Vec<Cell>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "bytes  batch      raw ev/s    store ev/s  ratio (min..max)       target"
        )?;
        for cell in &self.cells {
            let ratios = || cell.rounds.iter().map(|round| round.ratio);
            writeln!(
                f,
                "{:5}  {:5}  {:12.0}  {:12.0}  {:5.2} ({:.2}..{:.2})     >= {:.2} {}",
                cell.event_bytes,
                cell.batch,
                cell.median.raw_events_per_s,
                cell.median.store_events_per_s,
                cell.median.ratio,
                ratios().fold(f64::INFINITY, f64::min),
                ratios().fold(0.0, f64::max),
                cell.target,
                if cell.median.ratio >= cell.target {
                    "met"
                } else {
                    "missed"
                },
            )?;
        }
        Ok(())
    }
}

/// Measures all cells on the disk of `dir`.
///
/// # Errors
/// When the disk or the store refuses.
pub fn run(dir: &Path, plan: Plan) -> anyhow::Result<Report> {
    let mut cells = Vec::new();
    for (event_bytes, batch, target) in CELLS {
        let work = tempfile::tempdir_in(dir).context("no directory for the measurement")?;
        cells.push(cell(work.path(), plan, event_bytes, batch, target)?);
    }
    Ok(Report { cells })
}

fn cell(
    dir: &Path,
    plan: Plan,
    event_bytes: usize,
    batch: usize,
    target: f64,
) -> anyhow::Result<Cell> {
    let options = SqliteOptions::default();
    let mut store = SqliteStore::open_dir(dir, options)?;
    let mut events = Events::new(event_bytes);
    let window = options.dedupe.ids as usize;
    for _ in 0..window.div_ceil(270) {
        commit(&mut store, &mut events, 270)?;
    }
    let mut rounds = Vec::new();
    for n in 0..plan.rounds {
        let raw = || {
            raw_side(
                &dir.join("raw"),
                &mut Events::new(event_bytes),
                batch,
                plan.side,
            )
        };
        let (raw_events_per_s, store_events_per_s);
        if n % 2 == 0 {
            raw_events_per_s = raw()?;
            store_events_per_s = store_side(&mut store, &mut events, batch, plan.side)?;
        } else {
            store_events_per_s = store_side(&mut store, &mut events, batch, plan.side)?;
            raw_events_per_s = raw()?;
        }
        let ratio = store_events_per_s / raw_events_per_s;
        rounds.push(Round {
            raw_events_per_s,
            store_events_per_s,
            ratio,
        });
    }
    let median = Round {
        raw_events_per_s: median(rounds.iter().map(|round| round.raw_events_per_s)),
        store_events_per_s: median(rounds.iter().map(|round| round.store_events_per_s)),
        ratio: median(rounds.iter().map(|round| round.ratio)),
    };
    Ok(Cell {
        event_bytes,
        batch,
        target,
        rounds,
        median,
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn raw_side(path: &Path, events: &mut Events, batch: usize, side: Duration) -> anyhow::Result<f64> {
    let mut file = File::create(path)?;
    file.sync_all()?;
    let (mut busy, mut count) = (Duration::ZERO, 0);
    let mut bytes = Vec::new();
    while busy < side {
        bytes.clear();
        for _ in 0..batch {
            events.envelope(&mut bytes);
        }
        let start = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        busy += start.elapsed();
        count += batch;
    }
    std::fs::remove_file(path)?;
    Ok(count as f64 / busy.as_secs_f64())
}

fn store_side(
    store: &mut SqliteStore,
    events: &mut Events,
    batch: usize,
    side: Duration,
) -> anyhow::Result<f64> {
    let (mut busy, mut count) = (Duration::ZERO, 0);
    while busy < side {
        busy += commit(store, events, batch)?;
        count += batch;
    }
    Ok(count as f64 / busy.as_secs_f64())
}

fn commit(store: &mut SqliteStore, events: &mut Events, batch: usize) -> anyhow::Result<Duration> {
    let commits = (0..batch)
        .map(|_| Commit {
            events: vec![events.next_event()],
            ..Commit::default()
        })
        .collect();
    let batch = Batch {
        commits,
        trailer: None,
        now_ms: events.now_ms,
    };
    let start = Instant::now();
    let answers = store.commit(batch)?;
    let busy = start.elapsed();
    ensure!(
        answers
            .iter()
            .flatten()
            .all(|receipt| !receipt.events[0].duplicate)
            && answers.iter().all(Result::is_ok),
        "an event was not stored"
    );
    Ok(busy)
}

/// Unique events that do not compress, with ids like those of `UUIDv7`.
struct Events {
    bytes: usize,
    state: u64,
    now_ms: i64,
}

impl Events {
    fn new(bytes: usize) -> Self {
        // Any odd number will do: what matters is that events differ.
        Self {
            bytes,
            state: 0x9e37_79b9_7f4a_7c15,
            now_ms: 1_800_000_000_000,
        }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn envelope(&mut self, bytes: &mut Vec<u8>) {
        let end = bytes.len() + self.bytes;
        while bytes.len() < end {
            bytes.extend_from_slice(&self.random().to_le_bytes());
        }
        bytes.truncate(end);
    }

    fn next_event(&mut self) -> NewEvent {
        if self.random().is_multiple_of(100) {
            self.now_ms += 1;
        }
        let (a, b) = (self.random(), self.random());
        let id = format!(
            "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
            self.now_ms >> 16,
            self.now_ms & 0xffff,
            a & 0xfff,
            (a >> 12) & 0xfff,
            b >> 16,
        );
        let mut envelope = Vec::with_capacity(self.bytes + 8);
        self.envelope(&mut envelope);
        let mut body = [0; 16];
        body[..8].copy_from_slice(&a.to_le_bytes());
        body[8..].copy_from_slice(&b.to_le_bytes());
        NewEvent {
            topic: "plugin.inbound.bench".into(),
            source: "plugin/bench".into(),
            id: id.into(),
            body,
            session: Some("chat-17".into()),
            expires_at_ms: None,
            on_conflict: OnConflict::Refuse,
            envelope: envelope.into(),
        }
    }
}
