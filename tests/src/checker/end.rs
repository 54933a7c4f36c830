//! Judges what only the end of a run can tell: what never came, what was never settled, a late drain.

use super::run::{Progress, Run};
use super::{Rule, matches};

/// A reject that old must be a dead letter, on a loaded machine too.
const REJECTED_MS: u64 = 1_000;

impl Run<'_> {
    /// Judges what only the end can tell.
    pub(super) fn end(&mut self) {
        let mut found = Vec::new();
        for (name, sub) in &self.subs {
            for (id, seq) in &self.acked {
                let published = &self.known.published[id];
                let is_owed = *seq > sub.from_seq
                    && sub
                        .filters
                        .iter()
                        .any(|filter| matches(filter, published.topic))
                    && !self.known.dead.contains(&(name, id))
                    && !self.known.skipped(name, *seq);
                if !self.options.drained || !is_owed {
                    continue;
                }
                match sub.events.get(&(*id, None)) {
                    None => {
                        let text = format!("{id} ({seq}) was acked and never came to {name}");
                        found.push((*seq, Rule::C1, text));
                    }
                    Some(progress) if !progress.is_settled => {
                        let text = format!("{id} ({seq}) came to {name} and was never settled");
                        found.push((*seq, Rule::C12, text));
                    }
                    Some(_) => {}
                }
            }
        }
        if let Some(log) = &self.known.log {
            for (id, seq) in &self.acked {
                if !log.contains_key(id) {
                    let text = format!("{id} ({seq}) was acked and is not in the log");
                    found.push((*seq, Rule::C1, text));
                }
            }
            for id in &self.delivered {
                if !log.contains_key(id) && !self.acked.contains_key(id) {
                    found.push((
                        0,
                        Rule::C11,
                        format!("{id} was delivered and is not in the log"),
                    ));
                }
            }
        }
        for (name, sub) in &self.subs {
            for (key, progress) in &sub.events {
                if self.must_be_dead(progress) && !self.known.dead.contains(&(*name, key.0)) {
                    let text = format!("{} was rejected by {name} and is no dead letter", key.0);
                    found.push((0, Rule::C1, text));
                }
            }
        }
        found.sort();
        for (_, rule, text) in found {
            self.broken(rule, text);
        }
        self.drained();
    }

    /// Says whether an event was rejected in the last life, long enough before the dead letters were read.
    fn must_be_dead(&self, progress: &Progress<'_>) -> bool {
        let (Some(rejected), Some((drained, _))) = (progress.rejected_at, self.drain_end) else {
            return false;
        };
        let had_time = drained.saturating_sub(rejected) >= REJECTED_MS;
        self.known.log.is_some() && progress.life > self.life_ended && had_time
    }

    fn drained(&mut self) {
        if !self.options.drained {
            return;
        }
        let Some((at, unsettled)) = self.drain_end else {
            self.broken(Rule::C12, "the drain never ended".into());
            return;
        };
        if unsettled > 0 {
            self.broken(
                Rule::C12,
                format!("{unsettled} events were unsettled when the drain ended"),
            );
        }
        let took = at.saturating_sub(self.fault_end.unwrap_or(at));
        if took > self.options.drain_ms {
            let text = format!(
                "the drain took {took} ms, allowed are {}",
                self.options.drain_ms
            );
            self.broken(Rule::C12, text);
        }
    }
}
