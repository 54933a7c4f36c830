//! The broker's part in a benchmark: keeps a window of events in flight, each of another session, answers what
//! the plugin asks, and takes its settlements.
//!
//! Every 64th answer is parsed and compared with what was sent.

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::contestant::Form;
use super::cost;
use super::frame::{self, DeliveryId, Template};
use super::link::Plugin;

/// Sessions that take turns, beside those in flight.
const SPARE_SESSIONS: usize = 192;
/// Every so manieth answer is compared.
const COMPARED: u64 = 64;

/// When a run ends.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After so many events.
    Events(u64),
    /// After this time.
    Time(Duration),
}

/// What a run gave.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Events settled.
    pub events: u64,
    /// How long it took.
    pub took: Duration,
    /// Processor time of the plugin.
    pub cpu_ns: u64,
    /// Of that, its main thread's: the loop of the language, where there is one.
    pub main_cpu_ns: u64,
    /// Processor time of this side.
    pub own_cpu_ns: u64,
    /// From handing over to settlement, sorted; with one in flight only.
    pub latencies: Vec<Duration>,
}

impl Run {
    /// Events per second.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }

    /// Microseconds of the plugin's processor time per event.
    pub fn cpu_us(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / self.events as f64
    }

    /// The same of its main thread alone.
    pub fn main_cpu_us(&self) -> f64 {
        self.main_cpu_ns as f64 / 1e3 / self.events as f64
    }

    /// Microseconds of this side's processor time per event.
    pub fn own_cpu_us(&self) -> f64 {
        self.own_cpu_ns as f64 / 1e3 / self.events as f64
    }

    /// A quantile of the latencies in microseconds.
    pub fn quantile_us(&self, part: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * part).round() as usize;
        self.latencies
            .get(at)
            .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    }
}

/// The events that a plugin is given, and what became of them.
pub struct Drive {
    form: Form,
    templates: Vec<Template>,
    /// Slots whose session is free, the longest unused first.
    free: VecDeque<usize>,
    /// Number of the event in flight per slot, 0 for none.
    flying: Vec<u64>,
    /// Slots in the order of handing over, for a foreign SDK, which does not say what it answers.
    order: VecDeque<usize>,
    window: usize,
    in_flight: usize,
    last: u64,
    seq: u64,
    settled: u64,
    published: u64,
    sent_at: Instant,
}

impl Drive {
    /// Events of this size for this plugin, `window` of them in flight.
    pub fn new(plugin: &Plugin, form: Form, bytes: usize, window: usize) -> Self {
        let slots = window + SPARE_SESSIONS;
        let subscription = plugin.subscription.as_deref();
        Self {
            form,
            templates: (0..slots)
                .map(|slot| Template::new(slot, bytes, subscription))
                .collect(),
            free: (0..slots).collect(),
            flying: vec![0; slots],
            order: VecDeque::new(),
            window: window.min(plugin.credit),
            in_flight: 0,
            last: 0,
            seq: 0,
            settled: 0,
            published: 0,
            sent_at: Instant::now(),
        }
    }

    /// Bytes of all frames in flight.
    pub fn window_bytes(&self) -> usize {
        self.window * self.templates[0].bytes()
    }

    /// Runs until the end is reached and nothing is in flight any more.
    ///
    /// # Errors
    /// When the plugin ends, naks, or answers something else than what it was given.
    pub fn run(&mut self, plugin: &mut Plugin, until: Until) -> anyhow::Result<Run> {
        let goal = match until {
            Until::Events(events) => self.last + events,
            Until::Time(_) => u64::MAX,
        };
        let keeps_latencies = self.window == 1;
        let mut run = Run::default();
        let settled_before = self.settled;
        let cpu_before = cost::cpu_ns(plugin.pid())?;
        let main_before = cost::main_cpu_ns(plugin.pid())?;
        let own_before = cost::cpu_ns(std::process::id())?;
        let start = Instant::now();
        let mut goal = goal;
        loop {
            if self.last < goal
                && let Until::Time(time) = until
                && start.elapsed() >= time
            {
                goal = self.last;
            }
            while self.in_flight < self.window && self.last < goal {
                self.hand_over(&mut plugin.output);
            }
            if self.in_flight == 0 {
                break;
            }
            let settled = self.settled;
            plugin.turn(|line, output| self.take(line, output), true)?;
            if keeps_latencies && self.settled > settled {
                run.latencies.push(self.sent_at.elapsed());
            }
        }
        run.took = start.elapsed();
        run.cpu_ns = cost::cpu_ns(plugin.pid())? - cpu_before;
        run.main_cpu_ns = cost::main_cpu_ns(plugin.pid())? - main_before;
        run.own_cpu_ns = cost::cpu_ns(std::process::id())? - own_before;
        run.events = self.settled - settled_before;
        run.latencies.sort_unstable();
        if self.form != Form::Slow {
            ensure!(
                self.published == self.settled,
                "expected as many answers as settlements, found {} and {}",
                self.published,
                self.settled
            );
        }
        Ok(run)
    }

    fn hand_over(&mut self, output: &mut Vec<u8>) {
        let slot = self
            .free
            .pop_front()
            .expect("there are more sessions than the window");
        self.last += 1;
        self.flying[slot] = self.last;
        self.order.push_back(slot);
        self.in_flight += 1;
        if self.window == 1 {
            self.sent_at = Instant::now();
        }
        self.templates[slot].write(self.last, output);
    }

    /// Takes one frame of the plugin.
    fn take(&mut self, line: &[u8], output: &mut Vec<u8>) -> anyhow::Result<()> {
        let head = frame::head(line)
            .with_context(|| format!("expected a frame, found {}", excerpt(line)))?;
        match head.method {
            b"broker.commit" => {
                self.publish(line)?;
                self.settle(line, "\"ack\"")?;
                if let Some(id) = head.id {
                    self.seq += 1;
                    answer(output, id, self.seq, true);
                }
            }
            b"broker.publish" => {
                self.publish(line)?;
                if let Some(id) = head.id {
                    self.seq += 1;
                    answer(output, id, self.seq, false);
                }
                if self.templates[0].is_unsettled() {
                    let slot = self
                        .order
                        .front()
                        .copied()
                        .context("nothing was handed over")?;
                    let number = self.flying[slot];
                    self.done(DeliveryId { slot, number })?;
                }
            }
            b"broker.ack" => {
                self.settle(line, "\"deliveries\"")?;
                if let Some(id) = head.id {
                    result(output, id, "{\"stale\":[]}");
                }
            }
            b"broker.nak" | b"broker.reject" => bail!("the plugin failed: {}", excerpt(line)),
            b"ping" => {
                if let Some(id) = head.id {
                    result(output, id, "{\"loop_lag_ms\":0,\"in_flight\":0}");
                }
            }
            b"log" => eprintln!("the plugin says {}", excerpt(line)),
            // An answer to us, an extension of a lease, a state.
            _ => ensure!(
                head.method.is_empty() || head.id.is_none(),
                "not expected here: {}",
                excerpt(line)
            ),
        }
        Ok(())
    }

    /// Counts an answer, and compares some of them with what was sent.
    fn publish(&mut self, line: &[u8]) -> anyhow::Result<()> {
        self.published += 1;
        ensure!(
            line.len() > self.templates[0].bytes() / 2,
            "the answer is too short: {}",
            excerpt(line)
        );
        if self.published % COMPARED != 1 {
            return Ok(());
        }
        let mut frame: serde_json::Value = serde_json::from_slice(line)?;
        let mut params = frame["params"].take();
        let item = match params["events"].as_array() {
            Some(events) => {
                ensure!(
                    events.len() == 1,
                    "expected one event, found {}",
                    events.len()
                );
                params["events"][0].take()
            }
            None => params,
        };
        let payload = &item["event"]["payload"];
        let known = self.templates.iter().any(|sent| {
            sent.payload()["conversation"] == payload["conversation"] && sent.payload() == payload
        });
        ensure!(known, "the answer is not what was sent: {}", excerpt(line));
        Ok(())
    }

    fn settle(&mut self, line: &[u8], member: &str) -> anyhow::Result<()> {
        let mut settled = Ok(());
        let count = frame::deliveries(line, member, |delivery| {
            if settled.is_ok() {
                settled = self.done(delivery);
            }
        });
        ensure!(
            count.is_some_and(|count| count > 0),
            "expected deliveries, found {}",
            excerpt(line)
        );
        settled
    }

    fn done(&mut self, delivery: DeliveryId) -> anyhow::Result<()> {
        let DeliveryId { slot, number } = delivery;
        let flying = self.flying.get_mut(slot).context("an unknown delivery")?;
        ensure!(
            number != 0 && *flying == number,
            "the delivery {slot}.{number} is settled, {flying} is in flight"
        );
        *flying = 0;
        if let Some(at) = self.order.iter().position(|known| *known == slot) {
            self.order.remove(at);
        }
        self.free.push_back(slot);
        self.in_flight -= 1;
        self.settled += 1;
        Ok(())
    }
}

/// Answers a publish or a commit of one event.
fn answer(output: &mut Vec<u8>, id: &[u8], seq: u64, is_commit: bool) {
    output.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    output.extend_from_slice(id);
    let (open, close) = if is_commit {
        ("{\"events\":[", "],\"kv\":[]}")
    } else {
        ("", "")
    };
    writeln!(
        output,
        ",\"result\":{open}{{\"seq\":{seq},\"duplicate\":false,\"matched\":1}}{close}}}"
    )
    .expect("a Vec takes everything");
}

fn result(output: &mut Vec<u8>, id: &[u8], result: &str) {
    output.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    output.extend_from_slice(id);
    output.extend_from_slice(b",\"result\":");
    output.extend_from_slice(result.as_bytes());
    output.extend_from_slice(b"}\n");
}

fn excerpt(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(400)]).into_owned()
}
