//! What is known at the end of a history, learned before it is judged in order.

use std::collections::{HashMap, HashSet};

use crate::history::{Line, Record};

/// A published event.
#[derive(Debug)]
pub(super) struct Published<'a> {
    /// Complete topic.
    pub(super) topic: &'a str,
    /// Session, if order was asked.
    pub(super) session: Option<&'a str>,
    /// Of its payload.
    pub(super) hash: u64,
    /// The number of its first ack.
    pub(super) seq: Option<u64>,
    /// A publish of it was never answered.
    pub(super) has_unknown: bool,
}

/// Facts that no single line can tell.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    /// By event id.
    pub(super) published: HashMap<&'a str, Published<'a>>,
    /// By subscription and event id.
    pub(super) dead: HashSet<(&'a str, &'a str)>,
    /// Skipped ranges by subscription.
    pub(super) gaps: HashMap<&'a str, Vec<(u64, u64)>>,
    /// Ids in the broker's log with their numbers, when it was read whole.
    pub(super) log: Option<HashMap<&'a str, u64>>,
}

impl<'a> Known<'a> {
    /// Learns from all lines.
    pub(super) fn learn(lines: &'a [Line]) -> Self {
        let mut known = Self::default();
        let mut log = HashMap::new();
        for line in lines {
            match &line.what {
                Record::PubInvoke {
                    id,
                    topic,
                    session,
                    hash,
                    ..
                } => {
                    known.published.entry(id).or_insert(Published {
                        topic,
                        session: session.as_deref(),
                        hash: *hash,
                        seq: None,
                        has_unknown: false,
                    });
                }
                Record::PubOk { id, seq, .. } => {
                    if let Some(published) = known.published.get_mut(id.as_str()) {
                        published.seq.get_or_insert(*seq);
                    }
                }
                Record::PubUnknown { id, .. } => {
                    if let Some(published) = known.published.get_mut(id.as_str()) {
                        published.has_unknown = true;
                    }
                }
                Record::Dead { sub, id, .. } => {
                    known.dead.insert((sub, id));
                }
                Record::Gap { sub, from, to } => {
                    known.gaps.entry(sub).or_default().push((*from, *to));
                }
                Record::Log { seq, id } => {
                    log.entry(id.as_str()).or_insert(*seq);
                }
                Record::LogEnd => known.log = Some(std::mem::take(&mut log)),
                _ => {}
            }
        }
        known
    }

    /// Says whether the broker announced that it skips `seq` for `sub`.
    pub(super) fn skipped(&self, sub: &str, seq: u64) -> bool {
        self.gaps
            .get(sub)
            .is_some_and(|ranges| ranges.iter().any(|(from, to)| (*from..=*to).contains(&seq)))
    }
}
