//! What a subscription must remember across a crash, and how it is written.
//!
//! | field | meaning |
//! |---|---|
//! | `upto` | every matching event up to here is settled, unless it is listed or has a row of its own |
//! | `unsettled` | numbers up to `upto` that are not settled, ascending |
//! | `leased_to` | nothing above it was ever leased |
//!
//! Events that failed, wait or are suspect have a row each ([`super::entry::Row`]); the list holds only
//! what is ready or in flight, so it stays as short as the read-ahead.
//!
//! Layout: version byte `1`, then LEB128 numbers: `upto`, `leased_to`, count, and the listed numbers as
//! differences.

use crate::store::{Seq, StateOp, Trailer};

/// A decoded position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) upto: Seq,
    pub(crate) unsettled: Vec<Seq>,
    pub(crate) leased_to: Seq,
}

impl Position {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + 2 * self.unsettled.len());
        out.push(1);
        put(&mut out, self.upto);
        put(&mut out, self.leased_to);
        put(&mut out, self.unsettled.len() as u64);
        let mut last = 0;
        for &seq in &self.unsettled {
            put(&mut out, seq - last);
            last = seq;
        }
        out
    }

    /// Returns `None` for a record that this version did not write.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, mut rest) = bytes.split_first()?;
        if version != 1 {
            return None;
        }
        let upto = take(&mut rest)?;
        let leased_to = take(&mut rest)?;
        let count = take(&mut rest)?;
        let mut unsettled = Vec::with_capacity(count.min(65_536) as usize);
        let mut last = 0u64;
        for _ in 0..count {
            last = last.checked_add(take(&mut rest)?)?;
            unsettled.push(last);
        }
        Some(Self {
            upto,
            unsettled,
            leased_to,
        })
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// One subscription's share of a batch.
#[derive(Debug)]
pub(crate) struct PositionPart {
    pub(crate) key: Vec<u8>,
    /// Everything looked through so far.
    pub(crate) cursor: Seq,
    /// Highest number that is settled or has a row of its own.
    pub(crate) settled_max: Seq,
    /// Unsettled numbers without a row, ascending, also those that commits of this batch settle. Complete
    /// up to the highest number that is, or may become, settled; beyond, only the first is needed.
    pub(crate) unsettled: Vec<Seq>,
    pub(crate) leased_to: Seq,
    /// (commit of the batch, number it settles).
    pub(crate) settles: Vec<(usize, Seq)>,
}

/// Writes subscription positions into a batch, counting only the settlements of accepted commits.
#[derive(Debug, Default)]
pub struct PositionTrailer {
    pub(crate) parts: Vec<PositionPart>,
    /// The commit that carries rows and dead letters; without it no position may move.
    pub(crate) housekeeping: Option<usize>,
}

impl PositionTrailer {
    /// Says whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl Trailer for PositionTrailer {
    fn state(&mut self, accepted: &[bool]) -> Vec<StateOp> {
        if self.housekeeping.is_some_and(|index| !accepted[index]) {
            return Vec::new();
        }
        let mut ops = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let mut gone: Vec<Seq> = part
                .settles
                .iter()
                .filter(|(commit, _)| accepted[*commit])
                .map(|s| s.1)
                .collect();
            gone.sort_unstable();
            // Asked again with fewer accepted commits when the disk filled up: the part stays as it is.
            let unsettled: Vec<Seq> = part
                .unsettled
                .iter()
                .copied()
                .filter(|seq| gone.binary_search(seq).is_err())
                .collect();
            let settled_max = part.settled_max.max(gone.last().copied().unwrap_or(0));
            ops.push(StateOp {
                key: part.key.clone(),
                value: Some(trimmed(part.cursor, settled_max, &unsettled, part.leased_to).encode()),
                expect: crate::store::Expect::Any,
                expires_at_ms: None,
            });
        }
        ops
    }
}

/// The shortest position that says the same: what lies above the last settled number need not be listed.
pub(crate) fn trimmed(
    cursor: Seq,
    settled_max: Seq,
    unsettled: &[Seq],
    leased_to: Seq,
) -> Position {
    match unsettled.first() {
        None => Position {
            upto: cursor.max(settled_max),
            unsettled: Vec::new(),
            leased_to,
        },
        Some(&first) => {
            let upto = settled_max.max(first - 1);
            let end = unsettled.partition_point(|&seq| seq <= upto);
            Position {
                upto,
                unsettled: unsettled[..end].to_vec(),
                leased_to,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_encoding() {
        let position = Position {
            upto: 1 << 40,
            unsettled: vec![3, 4, 900, 1 << 39],
            leased_to: 7,
        };
        assert_eq!(Position::decode(&position.encode()), Some(position));
        assert_eq!(Position::decode(&[2, 0, 0, 0]), None);
        assert_eq!(Position::decode(&[1, 0x80]), None);
    }

    #[test]
    fn only_what_lies_below_the_last_settled_number_is_listed() {
        assert_eq!(
            trimmed(100, 50, &[10, 49, 51, 90], 1),
            Position {
                upto: 50,
                unsettled: vec![10, 49],
                leased_to: 1
            }
        );
        assert_eq!(trimmed(100, 50, &[60], 1).upto, 59);
        let at_the_last = trimmed(50, 50, &[50], 1);
        assert_eq!((at_the_last.upto, at_the_last.unsettled), (50, vec![50]));
        assert_eq!(trimmed(100, 50, &[], 1).upto, 100);
    }

    #[test]
    fn a_refused_commit_settles_nothing() {
        let mut trailer = PositionTrailer {
            parts: vec![PositionPart {
                key: b"s".to_vec(),
                cursor: 9,
                settled_max: 0,
                unsettled: vec![5, 6],
                leased_to: 9,
                settles: vec![(0, 5), (1, 6)],
            }],
            housekeeping: None,
        };
        let ops = trailer.state(&[true, false]);
        let position = Position::decode(ops[0].value.as_deref().unwrap()).unwrap();
        assert_eq!((position.upto, position.unsettled), (5, vec![]));
    }
}
