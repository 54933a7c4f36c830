//! What is known of one whole while its parts arrive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::options::Options;
use super::whole::{Reason, Whole};

/// Most numbers that are listed as missing.
const MISSING_MAX: u64 = 1_000;

/// Is what a part says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number in the whole, from 1; without one, parts stay in the order in which they came.
    pub seq: Option<u64>,
    /// How many parts the whole has.
    pub total: Option<u64>,
    /// It is the last one.
    pub is_final: bool,
    /// Its size.
    pub bytes: u64,
}

/// Is what becomes of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was there already.
    Repeat,
    /// It is kept at this place, and at this time the whole is made whatever else comes.
    Wait {
        /// Where to keep it: counts up from 0.
        place: u32,
        /// In Unix milliseconds.
        due_ms: u64,
    },
    /// With it the whole is made.
    Whole(Whole),
}

/// Knows the parts of one whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// Whose parts they are.
    pub session: String,
    /// Which of the session's wholes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    started_ms: u64,
    last_ms: u64,
    bytes: u64,
    /// How many places were given.
    places: u32,
    /// The places of numbered parts.
    #[serde(default)]
    numbered: BTreeMap<u64, u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// The number of the part that said it is the last; 0: it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    final_seq: Option<u64>,
}

impl Buffer {
    /// Begins with nothing.
    pub fn new(session: String, group: Option<String>, now_ms: u64) -> Self {
        Self {
            session,
            group,
            started_ms: now_ms,
            last_ms: now_ms,
            bytes: 0,
            places: 0,
            numbered: BTreeMap::new(),
            total: None,
            final_seq: None,
        }
    }

    /// Counts the parts.
    pub fn parts(&self) -> u32 {
        self.places
    }

    /// Says when the last part came, in Unix milliseconds.
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// Takes a part that came at `now_ms`; times that run backwards count as standing still.
    pub fn add(&mut self, head: &Head, options: &Options, now_ms: u64) -> Step {
        if head.seq.is_some_and(|seq| self.numbered.contains_key(&seq)) {
            return Step::Repeat;
        }
        let place = self.places;
        self.places += 1;
        self.bytes += head.bytes;
        self.last_ms = self.last_ms.max(now_ms);
        if let Some(seq) = head.seq {
            self.numbered.insert(seq, place);
        }
        self.total = self.total.or(head.total);
        if head.is_final {
            self.final_seq = Some(head.seq.unwrap_or(0));
        }
        match self.made_by_part(options) {
            Some(reason) => Step::Whole(self.whole(reason)),
            None => Step::Wait {
                place,
                due_ms: self.due_ms(options),
            },
        }
    }

    /// Says what the time makes of it; none: it is not due yet.
    pub fn at(&self, options: &Options, now_ms: u64) -> Option<Whole> {
        if now_ms < self.due_ms(options) {
            return None;
        }
        let is_old = now_ms >= self.started_ms.saturating_add(options.max_age_ms);
        let reason = if is_old {
            Reason::MaxAge
        } else {
            Reason::Silence
        };
        Some(self.whole(reason))
    }

    /// Makes the whole of what is there.
    pub fn evicted(&self) -> Whole {
        self.whole(Reason::Evicted)
    }

    /// Says when the whole is made at the latest, if nothing more comes.
    pub fn due_ms(&self, options: &Options) -> u64 {
        let silence = self.last_ms.saturating_add(options.silence_ms);
        silence.min(self.started_ms.saturating_add(options.max_age_ms))
    }

    /// Lists the places in the order of the whole: numbered parts by number, others as they came.
    pub fn order(&self) -> Vec<u32> {
        let numbered: Vec<u32> = self.numbered.values().copied().collect();
        let mut is_numbered = vec![false; self.places as usize];
        for place in &numbered {
            if let Some(slot) = is_numbered.get_mut(*place as usize) {
                *slot = true;
            }
        }
        let others = (0..self.places).filter(|place| !is_numbered[*place as usize]);
        numbered.iter().copied().chain(others).collect()
    }

    fn made_by_part(&self, options: &Options) -> Option<Reason> {
        if self
            .total
            .is_some_and(|total| u64::from(self.places) >= total)
        {
            return Some(Reason::Complete);
        }
        if self.final_seq.is_some() && self.gaps().next().is_none() {
            return Some(Reason::Final);
        }
        if self.places >= options.max_parts {
            return Some(Reason::MaxParts);
        }
        (self.bytes >= options.max_bytes).then_some(Reason::MaxBytes)
    }

    /// The numbers that are known to be missing.
    fn gaps(&self) -> impl Iterator<Item = u64> + '_ {
        let highest = self.numbered.keys().next_back().copied().unwrap_or(0);
        let announced = match self.final_seq {
            Some(seq) if seq > 0 => Some(seq),
            _ => self.total,
        };
        // Who numbers some parts numbers all: others have no place that could be missing.
        let last = if self.numbered.is_empty() {
            0
        } else {
            announced.unwrap_or(highest).max(highest)
        };
        let first = u64::from(!self.numbered.contains_key(&0));
        (first..=last).filter(|seq| !self.numbered.contains_key(seq))
    }

    fn whole(&self, reason: Reason) -> Whole {
        Whole {
            reason,
            missing: self.gaps().take(MISSING_MAX as usize).collect(),
            started_ms: self.started_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options {
        silence_ms: 30,
        max_age_ms: 100,
        max_parts: 4,
        max_bytes: 1_000,
    };

    fn head(seq: Option<u64>) -> Head {
        Head {
            seq,
            total: None,
            is_final: false,
            bytes: 10,
        }
    }

    fn reason(step: &Step) -> Reason {
        match step {
            Step::Whole(whole) => whole.reason,
            other => panic!("expected a whole, found {other:?}"),
        }
    }

    #[test]
    fn parts_in_any_order_come_out_by_number() {
        let mut buffer = Buffer::new("s".into(), None, 0);
        let of = |seq| Head {
            total: Some(3),
            ..head(Some(seq))
        };
        assert!(matches!(
            buffer.add(&of(3), &OPTIONS, 0),
            Step::Wait {
                place: 0,
                due_ms: 30
            }
        ));
        assert!(matches!(
            buffer.add(&of(1), &OPTIONS, 9),
            Step::Wait {
                place: 1,
                due_ms: 39
            }
        ));
        assert_eq!(buffer.add(&of(1), &OPTIONS, 10), Step::Repeat);
        assert_eq!(reason(&buffer.add(&of(2), &OPTIONS, 11)), Reason::Complete);
        assert_eq!(buffer.order(), [1, 2, 0]);
    }

    #[test]
    fn a_final_part_waits_for_those_before_it() {
        let mut buffer = Buffer::new("s".into(), None, 0);
        let last = Head {
            is_final: true,
            ..head(Some(3))
        };
        assert!(matches!(buffer.add(&last, &OPTIONS, 0), Step::Wait { .. }));
        assert!(matches!(
            buffer.add(&head(Some(1)), &OPTIONS, 0),
            Step::Wait { .. }
        ));
        assert_eq!(buffer.at(&OPTIONS, 29), None);
        let silent = buffer.at(&OPTIONS, 30).expect("due");
        assert_eq!((silent.reason, silent.missing), (Reason::Silence, vec![2]));
        assert_eq!(
            reason(&buffer.add(&head(Some(2)), &OPTIONS, 20)),
            Reason::Final
        );
    }

    #[test]
    fn talk_without_end_ends_at_its_age_and_its_limits() {
        let mut buffer = Buffer::new("s".into(), None, 0);
        for now in [20, 40, 60] {
            let step = buffer.add(&head(None), &OPTIONS, now);
            assert!(matches!(step, Step::Wait { .. }), "{step:?}");
        }
        assert_eq!(buffer.due_ms(&OPTIONS), 90);
        assert_eq!(
            reason(&buffer.add(&head(None), &OPTIONS, 80)),
            Reason::MaxParts
        );
        let mut slow = Buffer::new("s".into(), None, 0);
        slow.add(&head(None), &OPTIONS, 80);
        assert_eq!(slow.due_ms(&OPTIONS), 100);
        assert_eq!(slow.at(&OPTIONS, 100).expect("due").reason, Reason::MaxAge);
        let mut big = Buffer::new("s".into(), None, 0);
        let huge = Head {
            bytes: 1_000,
            ..head(None)
        };
        assert_eq!(reason(&big.add(&huge, &OPTIONS, 0)), Reason::MaxBytes);
    }

    #[test]
    fn an_absurd_total_lists_a_bounded_gap() {
        let mut buffer = Buffer::new("s".into(), None, 0);
        let absurd = Head {
            total: Some(u64::MAX),
            ..head(Some(u64::MAX))
        };
        assert!(matches!(
            buffer.add(&absurd, &OPTIONS, 0),
            Step::Wait { .. }
        ));
        let whole = buffer.at(&OPTIONS, 500).expect("due");
        assert_eq!(whole.missing.len(), 1_000);
    }
}
