//! What a run left behind, and whether it keeps the promises: the store, the history of the agent, the journal
//! of the plugins, and what the human saw.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_tests::checker::{self, Options, Report};
use trunkline_tests::history::{History, Line, Record, hash};
use trunkline_tests::wire::{Incoming, Peer, WireError};

/// How long the broker may take for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// An event of the store.
#[derive(Debug)]
pub(crate) struct Stored {
    seq: u64,
    topic: String,
    id: String,
    session: Option<String>,
    correlation: Option<String>,
    payload: Value,
}

impl Stored {
    fn text(&self) -> &str {
        self.payload["text"].as_str().unwrap_or_default()
    }

    /// The account, when it is of the channel and of this kind of topic.
    fn instance(&self, what: &str) -> Option<&str> {
        self.topic.strip_prefix(&format!("plugin.{what}.irc."))
    }
}

/// Reads the whole log and the dead letters.
pub(crate) fn read_store(peer: &mut Peer) -> Result<(Vec<Stored>, u64), WireError> {
    let status = peer.call("admin.status", &json!({}), ANSWER)?;
    let head = status["store"]["head"].as_u64().unwrap_or_default();
    let dead = peer.call("admin.dlq.list", &json!({"limit": 256}), ANSWER)?;
    let dead = dead["letters"].as_array().map_or(0, Vec::len) as u64;
    let all = json!({"filters": [">"], "start": "earliest"});
    peer.call("admin.tail", &all, ANSWER)?;
    let mut events = Vec::new();
    let mut seen = 0;
    while seen < head {
        match peer.next(ANSWER)? {
            Some(Incoming::Other { method, params, .. }) if method == "admin.event" => {
                seen = params["seq"].as_u64().unwrap_or_default();
                let event = &params["event"];
                let text = |value: &Value| value.as_str().map(str::to_owned);
                events.push(Stored {
                    seq: seen,
                    topic: text(&params["topic"]).unwrap_or_default(),
                    id: text(&event["id"]).unwrap_or_default(),
                    session: text(&event["session_id"]),
                    correlation: text(&event["correlation_id"]),
                    payload: event["payload"].clone(),
                });
            }
            Some(_) => {}
            None => return Err(WireError::TimedOut),
        }
    }
    Ok((events, dead))
}

/// A line of a plugin's journal.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Noted {
    Counted { id: String },
    Attempt { id: String, redelivered: bool },
    Taken { id: String },
}

/// What the plugins wrote down of one event.
#[derive(Debug, Default)]
struct Attempts {
    first: u64,
    repeats: u64,
    taken: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Lines that count: their publish was acked, and the plugin wrote it down.
    pub(crate) counted: usize,
    /// Inbound events of the store.
    pub(crate) stored: usize,
    /// Answers that the human saw at least once.
    pub(crate) seen: usize,
    /// Answers that the human saw again.
    pub(crate) repeats: u64,
    /// Attempts that the broker called repeats.
    pub(crate) redeliveries: u64,
    /// What the checker says of the agent's history.
    pub(crate) report: Report,
    /// Broken promises that the checker does not know.
    pub(crate) broken: Vec<String>,
}

/// The answers that the human must have seen: account and text of each.
pub(crate) fn owed(events: &[Stored]) -> BTreeSet<(String, String)> {
    let answer = |event: &Stored| {
        let instance = event.instance("inbound")?;
        Some((instance.to_owned(), format!("echo: {}", event.text())))
    };
    events.iter().filter_map(answer).collect()
}

/// Judges a run. `seen` is how often the human saw each text of each account; `home` holds history and journal.
pub(crate) fn judge(
    home: &Path,
    (events, dead): &(Vec<Stored>, u64),
    seen: &BTreeMap<(String, String), u64>,
) -> Verdict {
    let mut verdict = Verdict {
        report: check_agent(home, events),
        ..Verdict::default()
    };
    if *dead > 0 {
        verdict.broken.push(format!("{dead} dead letters"));
    }
    let mut attempts: BTreeMap<String, Attempts> = BTreeMap::new();
    let inbound: BTreeMap<&str, &Stored> = events
        .iter()
        .filter(|event| event.instance("inbound").is_some())
        .map(|event| (event.id.as_str(), event))
        .collect();
    verdict.stored = inbound.len();
    let journal = fs::read_to_string(home.join("journal.jsonl")).expect("the plugins wrote it");
    for line in journal.lines() {
        match serde_json::from_str(line).expect("the journal holds whole lines") {
            Noted::Counted { id } => {
                verdict.counted += 1;
                if !inbound.contains_key(id.as_str()) {
                    verdict
                        .broken
                        .push(format!("the counted line {id} is lost"));
                }
            }
            Noted::Attempt {
                id,
                redelivered: false,
            } => attempts.entry(id).or_default().first += 1,
            Noted::Attempt {
                id,
                redelivered: true,
            } => attempts.entry(id).or_default().repeats += 1,
            Noted::Taken { id } => attempts.entry(id).or_default().taken += 1,
        }
    }
    verdict.redeliveries = attempts.values().map(|attempts| attempts.repeats).sum();
    each_line_came_once(&inbound, &mut verdict);
    each_answer_was_seen(&inbound, events, &attempts, seen, &mut verdict);
    verdict
}

fn each_line_came_once(inbound: &BTreeMap<&str, &Stored>, verdict: &mut Verdict) {
    let mut lines = BTreeSet::new();
    for event in inbound.values() {
        if !lines.insert((&event.topic, event.text())) {
            let text = format!("{} of {} is stored twice", event.text(), event.topic);
            verdict.broken.push(text);
        }
    }
}

fn each_answer_was_seen(
    inbound: &BTreeMap<&str, &Stored>,
    events: &[Stored],
    attempts: &BTreeMap<String, Attempts>,
    seen: &BTreeMap<(String, String), u64>,
    verdict: &mut Verdict,
) {
    let outbound: BTreeSet<&str> = events
        .iter()
        .filter(|event| event.instance("outbound").is_some())
        .map(|event| event.id.as_str())
        .collect();
    let receipts: BTreeSet<&str> = events
        .iter()
        .filter(|event| event.instance("delivery").is_some() && event.payload["state"] == "sent")
        .filter_map(|event| event.correlation.as_deref())
        .collect();
    for event in inbound.values() {
        let reply = format!("reply-{}", event.id);
        let instance = event.instance("inbound").unwrap_or_default();
        let key = (instance.to_owned(), format!("echo: {}", event.text()));
        let times = seen.get(&key).copied().unwrap_or_default();
        let none = Attempts::default();
        let attempts = attempts.get(&reply).unwrap_or(&none);
        let mut broken = |what: &str| {
            let text = format!("{what}: {reply} ({key:?}), seen {times} times, {attempts:?}");
            verdict.broken.push(text);
        };
        if !outbound.contains(reply.as_str()) {
            broken("there is no answer");
        }
        if !receipts.contains(reply.as_str()) {
            broken("there is no receipt");
        }
        if attempts.taken == 0 {
            broken("it was settled before the server took it");
        }
        if times == 0 {
            broken("the human did not see it");
        }
        if attempts.first > 1 {
            broken("a repeat was not marked");
        }
        if times > attempts.first + attempts.repeats {
            broken("it was sent more often than it was handed over");
        }
        verdict.seen += usize::from(times > 0);
        verdict.repeats += times.saturating_sub(1);
    }
}

/// Lets the checker of the fault suites judge what the agent was given. What the store holds of the plugins'
/// lines stands in front as publishes: each of them was acked to its plugin or its plugin died before.
fn check_agent(home: &Path, events: &[Stored]) -> Report {
    let mut lines = Vec::new();
    let mut push = |what| lines.push(Line { at: 0, what });
    for event in events {
        let Some(source) = event.instance("inbound") else {
            continue;
        };
        push(Record::PubInvoke {
            id: event.id.clone(),
            source: source.to_owned(),
            topic: event.topic.clone(),
            session: event
                .session
                .as_ref()
                .map(|session| format!("{} {session}", event.topic)),
            hash: hash(event.payload.to_string().as_bytes()),
        });
        push(Record::PubOk {
            id: event.id.clone(),
            source: source.to_owned(),
            seq: event.seq,
            duplicate: false,
        });
    }
    lines.extend(History::read(&home.join("history.jsonl")).expect("the history is there"));
    checker::check(&lines, Options::default())
}
