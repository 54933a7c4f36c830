//! Many lives of an adapter, its broker and its provider, each from one seed, with a death possible
//! at every step.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_contract::message::{Receipt, ReceiptState};

use super::{Answer, Attempt, Called, End, Failure, Keep, Record, Rules, Settle, Step};

const SEEDS: u64 = 12_000;
/// Counted failures that make a dead letter.
const FAILURES_MAX: u32 = 3;
/// Deaths of the process over one message that make a dead letter.
const DEATHS_MAX: u32 = 2;

/// Chance from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A message that is sent: its place in its conversation, and how many parts it has.
#[derive(Clone, Debug)]
struct Message {
    of: u32,
    failures: u32,
    deaths: u32,
    is_over: bool,
}

type Part = (usize, usize, u32);

struct World {
    random: Random,
    rules: Rules,
    /// How often the process dies: once in so many steps.
    death: u64,
    conversations: Vec<Vec<Message>>,
    /// What is durable.
    records: BTreeMap<(usize, usize), Record>,
    receipts: Vec<(Part, Receipt)>,
    /// What the provider took, in order.
    taken: Vec<Part>,
    /// Calls after which only the provider knew, or the process died.
    shaken: BTreeSet<Part>,
}

/// The process died.
struct Died;

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let rules = Rules {
            may_repeat: random.one_in(3),
            can_ask: random.one_in(3),
        };
        let mut message = |_| Message {
            of: 1 + random.below(3) as u32,
            failures: 0,
            deaths: 0,
            is_over: false,
        };
        let conversations = (0..2).map(|_| (0..3).map(&mut message).collect()).collect();
        Self {
            death: 4 + random.below(30),
            random,
            rules,
            conversations,
            records: BTreeMap::new(),
            receipts: Vec::new(),
            taken: Vec::new(),
            shaken: BTreeSet::new(),
        }
    }

    fn run(&mut self) {
        for _ in 0..10_000 {
            // The broker hands over one message of a conversation at a time, the oldest first.
            let heads: Vec<(usize, usize)> = self
                .conversations
                .iter()
                .enumerate()
                .filter_map(|(c, all)| Some((c, all.iter().position(|m| !m.is_over)?)))
                .collect();
            if heads.is_empty() {
                return;
            }
            let (c, m) = heads[self.random.below(heads.len() as u64) as usize];
            if self.hand_over(c, m).is_err() {
                self.died(c, m);
            }
        }
        panic!("it does not come to an end");
    }

    fn died(&mut self, c: usize, m: usize) {
        let message = &mut self.conversations[c][m];
        self.shaken.extend((1..=message.of).map(|n| (c, m, n)));
        message.deaths += 1;
        if message.deaths < DEATHS_MAX {
            return;
        }
        // The broker gives it up, and says so for all parts that nothing was said of.
        message.is_over = true;
        for n in 1..=message.of {
            let is_said =
                |(part, receipt): &(Part, Receipt)| *part == (c, m, n) && is_final(receipt);
            if !self.receipts.iter().any(is_said) {
                self.receipts.push(((c, m, n), Receipt::default()));
            }
        }
    }

    fn may_die(&mut self) -> Result<(), Died> {
        if self.random.one_in(self.death) {
            return Err(Died);
        }
        Ok(())
    }

    fn hand_over(&mut self, c: usize, m: usize) -> Result<(), Died> {
        let stored = self.records.get(&(c, m)).cloned();
        let message = self.conversations[c][m].clone();
        let is_last = message.failures + 1 >= FAILURES_MAX;
        let cut = (Some(10), message.of);
        let mut attempt = Attempt::new(self.rules, stored, cut, is_last, false);
        loop {
            self.may_die()?;
            let end = match attempt.step() {
                Step::Note { receipts, record } => {
                    if self.random.one_in(9) {
                        Some(attempt.pause(1, "the rate is used up"))
                    } else {
                        self.say(c, m, receipts);
                        self.records.insert((c, m), record);
                        self.may_die()?;
                        attempt.noted();
                        None
                    }
                }
                Step::Call { n } => {
                    let called = self.call((c, m, n))?;
                    attempt.called(called)
                }
                Step::Ask { n } => {
                    let answer = self.ask((c, m, n));
                    attempt.asked(answer)
                }
                Step::End(end) => Some(end),
            };
            if let Some(end) = end {
                self.may_die()?;
                self.commit(c, m, end);
                return Ok(());
            }
        }
    }

    fn call(&mut self, part: Part) -> Result<Called, Died> {
        self.may_die()?;
        let is_taken = self.random.below(10) < 6;
        if is_taken {
            self.taken.push(part);
        }
        self.may_die()?;
        let is_quiet = self.random.one_in(6);
        if is_quiet {
            self.shaken.insert(part);
            let (class, reason) = ("network".to_owned(), String::new());
            return Ok(Called::Failed(if self.random.one_in(2) {
                Failure::Ambiguous { class, reason }
            } else {
                Failure::Stopped
            }));
        }
        if is_taken {
            return Ok(Called::Said(Receipt {
                state: ReceiptState::Sent,
                provider_id: Some(format!("{part:?}")),
                ..Receipt::default()
            }));
        }
        let (code, class) = ("http_error".to_owned(), "5xx".to_owned());
        let reason = String::new();
        Ok(Called::Failed(match self.random.below(5) {
            0 => Failure::Wait { after_ms: 5 },
            1 => Failure::Final {
                code,
                class,
                reason,
            },
            2 => Failure::Retry {
                after_ms: 1,
                is_counted: self.random.one_in(2),
                reason: String::new(),
            },
            _ => Failure::BackOff {
                at_least_ms: 0,
                code,
                class,
                reason,
            },
        }))
    }

    fn ask(&mut self, part: Part) -> Answer {
        match self.random.below(8) {
            0 => Answer::Failed {
                after_ms: None,
                reason: "down".to_owned(),
            },
            1 => Answer::Unknown,
            _ if self.taken.contains(&part) => Answer::Said(Box::new(Receipt {
                state: ReceiptState::Sent,
                ..Receipt::default()
            })),
            _ => Answer::NotSent,
        }
    }

    fn say(&mut self, c: usize, m: usize, receipts: Vec<Receipt>) {
        for receipt in receipts {
            let n = receipt.part.as_ref().map_or(1, |part| part.n);
            self.receipts.push(((c, m, n), receipt));
        }
    }

    fn commit(&mut self, c: usize, m: usize, end: End) {
        self.say(c, m, end.receipts);
        match end.keep {
            Keep::AsIs => {}
            Keep::Put(record) => {
                self.records.insert((c, m), record);
            }
            Keep::Drop => {
                self.records.remove(&(c, m));
            }
        }
        let message = &mut self.conversations[c][m];
        match end.settle {
            Settle::Ack | Settle::Reject { .. } => message.is_over = true,
            Settle::Nak { is_counted, .. } => {
                message.failures += u32::from(is_counted);
                message.is_over = message.failures >= FAILURES_MAX;
            }
        }
    }

    fn check(&self, seed: u64) {
        let said_of = |part: Part| {
            let of_part = self.receipts.iter().filter(move |(of, _)| *of == part);
            of_part.map(|(_, receipt)| receipt)
        };
        for (c, conversation) in self.conversations.iter().enumerate() {
            for (m, message) in conversation.iter().enumerate() {
                for n in 1..=message.of {
                    let part = (c, m, n);
                    let finals: Vec<_> =
                        said_of(part).filter(|receipt| is_final(receipt)).collect();
                    assert_eq!(finals.len(), 1, "seed {seed}: {part:?} {finals:?}");
                    let times = self.taken.iter().filter(|taken| **taken == part).count();
                    let is_sent = finals[0].state == ReceiptState::Sent;
                    let is_failed = finals[0].state == ReceiptState::Failed;
                    assert!(
                        !is_sent || times > 0,
                        "seed {seed}: {part:?} was never taken"
                    );
                    if !self.rules.may_repeat {
                        assert!(times <= 1, "seed {seed}: {part:?} was taken {times} times");
                        assert!(!is_failed || times == 0, "seed {seed}: {part:?} was taken");
                    }
                    let is_shaken = self.shaken.contains(&part);
                    let is_unknown = finals[0].state == ReceiptState::Unknown;
                    assert!(!is_unknown || is_shaken, "seed {seed}: {part:?} is known");
                }
            }
            let mut firsts = Vec::new();
            for part in self.taken.iter().filter(|part| part.0 == c) {
                if !firsts.contains(part) {
                    firsts.push(*part);
                }
            }
            assert!(firsts.is_sorted(), "seed {seed}: out of order: {firsts:?}");
        }
    }
}

fn is_final(receipt: &Receipt) -> bool {
    receipt.state != ReceiptState::Queued
}

/// Proves P7a, P7b, P7c and P7d, core part: whatever dies when, no call is repeated that may not
/// be, each part ends in one final state, and a conversation stays in order.
#[test]
fn no_life_of_an_adapter_breaks_its_promises() {
    let (mut unknown, mut sent) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.run();
        world.check(seed);
        let states = |state| {
            let all = world.receipts.iter();
            all.filter(|(_, receipt)| receipt.state == state).count()
        };
        unknown += states(ReceiptState::Unknown);
        sent += states(ReceiptState::Sent);
    }
    // The simulation sees what it is for.
    assert!(
        unknown > 1_000 && sent > 10_000,
        "{unknown} unknown, {sent} sent"
    );
}

/// Asked or not, a message that was cut stays cut as it was.
#[test]
fn a_record_keeps_the_cuts() {
    let record = Record {
        chars_max: Some(7),
        done: 1,
        ..Record::default()
    };
    let rules = Rules::default();
    let mut attempt = Attempt::new(rules, Some(record.clone()), (Some(9), 3), false, false);
    // The channel declares less than when the first part was sent.
    attempt.degraded(["cards"]);
    let Step::Note { record: noted, .. } = attempt.step() else {
        panic!("expected a note");
    };
    assert_eq!(
        noted,
        Record {
            begun: true,
            ..record
        }
    );
    let text = serde_json::to_string(&Record::default()).unwrap();
    assert_eq!(text, r#"{"done":0}"#);
}
