//! Which dead letters there are, how large and how old: what lists and the quota need without reading.
//!
//! At the quota (100 000 records or 1 GiB) the oldest lose their payload and keep their record. Records
//! without a payload have a quota of their own, as many again; beyond it the oldest of them go. Work per
//! second is bounded.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Now;
use crate::core::batch::Ticket;
use crate::core::read::{GetThen, ReadRequest};
use crate::core::retention::Retention;
use crate::core::state::{Core, Output};
use crate::router::SubId;
use crate::store::{Commit, Expect, Failed, Reader, Seq, StateEntry, StateOp};

use super::request::{DeadRead, DeadTicket, Reading};

/// Records looked at in one read at start.
const RESTORE_RECORDS: usize = 32;
/// Payloads cut, and records deleted, in one second.
const CUTS_PER_SECOND: usize = 64;

/// Names one record: its subscription and its number in it.
pub(super) type LetterId = (SubId, Seq);

/// What is known of the dead letters without reading them.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    /// With payload, by the revision of their record: oldest first.
    whole: BTreeMap<Seq, (LetterId, u64)>,
    /// Without, by the revision of their record.
    cut: BTreeMap<Seq, LetterId>,
    by_id: BTreeMap<LetterId, Seq>,
    counts: FxHashMap<SubId, usize>,
    bytes: u64,
    /// Numbers given in this life to what never was an event.
    filed: u32,
    /// Being cut.
    cutting: usize,
}

/// What of a record tells whether its payload was cut.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
}

/// The id in a stored key, `d/<subscription>/<number>`.
pub(super) fn id_of(key: &[u8]) -> Option<LetterId> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix("d/")?;
    let (sub, seq) = text.split_once('/')?;
    Some((
        SubId(u32::from_str_radix(sub, 16).ok()?),
        u64::from_str_radix(seq, 16).ok()?,
    ))
}

/// The store's key of a record.
pub(super) fn key_of((sub, seq): LetterId) -> Vec<u8> {
    format!("d/{:08x}/{seq:016x}", sub.0).into_bytes()
}

/// A record as a commit changed it: key, and size and whether it has a payload unless it is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    id: LetterId,
    kept: Option<(u64, bool)>,
}

impl Change {
    /// What a state operation does to a dead letter, if it is about one.
    pub(crate) fn of(op: &StateOp) -> Option<Self> {
        if !op.key.starts_with(b"d/") {
            return None;
        }
        let kept = op.value.as_ref().map(|value| measure(value));
        let id = id_of(&op.key)?;
        Some(Self { id, kept })
    }
}

fn measure(value: &[u8]) -> (u64, bool) {
    let probe = serde_json::from_slice::<Probe<'_>>(value).ok();
    let has_payload = probe
        .and_then(|p| p.event)
        .is_some_and(|e| e.get() != "null");
    (value.len() as u64, has_payload)
}

impl DeadLetters {
    /// Looks through every record.
    pub(crate) fn restore(reader: &mut dyn Reader, now: Now) -> Result<Self, Failed> {
        let mut letters = Self::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = reader.scan(b"d/", after.as_deref(), RESTORE_RECORDS, now.wall_ms)?;
            for entry in &page {
                if let Some(id) = id_of(&entry.key) {
                    let kept = Some(measure(&entry.value));
                    letters.note(Change { id, kept }, entry.revision);
                }
            }
            match page.into_iter().last() {
                Some(last) => after = Some(last.key),
                None => return Ok(letters),
            }
        }
    }

    /// A change is durable.
    pub(crate) fn note(&mut self, change: Change, revision: Seq) {
        if let Some(old) = self.by_id.remove(&change.id) {
            if let Some((_, bytes)) = self.whole.remove(&old) {
                self.bytes -= bytes;
            }
            self.cut.remove(&old);
            if let Some(count) = self.counts.get_mut(&change.id.0) {
                *count -= 1;
            }
        }
        let Some((bytes, has_payload)) = change.kept else {
            return;
        };
        self.by_id.insert(change.id, revision);
        *self.counts.entry(change.id.0).or_default() += 1;
        if has_payload {
            self.whole.insert(revision, (change.id, bytes));
            self.bytes += bytes;
        } else {
            self.cut.insert(revision, change.id);
        }
    }

    /// Says whether there is such a record.
    pub(super) fn contains(&self, id: LetterId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// How many there are.
    pub(crate) fn total(&self) -> usize {
        self.by_id.len()
    }

    /// How many one subscription has.
    pub(crate) fn count_of(&self, sub: SubId) -> usize {
        self.counts.get(&sub).copied().unwrap_or(0)
    }

    /// Some records after this one, of one subscription or of all.
    pub(super) fn ids_after(
        &self,
        sub: Option<SubId>,
        after: Option<LetterId>,
        most: usize,
    ) -> Vec<LetterId> {
        let first = after.unwrap_or((sub.unwrap_or(SubId(0)), 0));
        self.by_id
            .range(first..)
            .map(|(id, _)| *id)
            .filter(|id| Some(*id) != after)
            .take_while(|id| sub.is_none_or(|sub| sub == id.0))
            .take(most)
            .collect()
    }

    /// A number that no other record of this store has.
    pub(super) fn next_filed(&mut self, boot: u32) -> Seq {
        self.filed += 1;
        (1 << 63) | (u64::from(boot) << 32) | u64::from(self.filed)
    }

    fn is_over(&self, retention: &Retention) -> bool {
        self.whole.len() as u64 > retention.dead_letters || self.bytes > retention.dead_letter_bytes
    }
}

impl Core {
    /// Cuts what is over the quota, the oldest first. Called every second.
    pub(crate) fn cut_dead_letters(&mut self) {
        let retention = self.options.retention;
        if self.dead.cutting > 0 {
            return;
        }
        let (mut count, mut bytes) = (self.dead.whole.len() as u64, self.dead.bytes);
        let mut oldest = Vec::new();
        for (id, size) in self.dead.whole.values() {
            let is_over = count > retention.dead_letters || bytes > retention.dead_letter_bytes;
            if !is_over || oldest.len() >= CUTS_PER_SECOND {
                break;
            }
            count -= 1;
            bytes -= size;
            oldest.push(*id);
        }
        self.dead.cutting = oldest.len();
        for id in oldest {
            self.outputs.push(Output::Read(ReadRequest::Get {
                key: key_of(id),
                then: GetThen::Dead(DeadRead(Reading::Cut)),
            }));
        }
        let surplus = self.dead.cut.len() as u64;
        let surplus = surplus.saturating_sub(retention.dead_letters) as usize;
        let gone = self.dead.cut.values().take(surplus.min(CUTS_PER_SECOND));
        let state: Vec<StateOp> = gone
            .map(|id| StateOp {
                key: key_of(*id),
                value: None,
                expect: Expect::Any,
                expires_at_ms: None,
            })
            .collect();
        if !state.is_empty() {
            self.counters
                .add("dead_letters_forgotten", state.len() as u64);
            let commit = Commit {
                state,
                ..Commit::default()
            };
            self.stage(commit, Ticket::Nothing);
        }
    }

    /// Writes a record again without its payload.
    pub(super) fn cut_dead(&mut self, entry: Option<StateEntry>) {
        let letter = entry.and_then(|entry| {
            let letter: trunkline_contract::rpc::DeadLetter =
                serde_json::from_slice(&entry.value).ok()?;
            Some((entry, letter))
        });
        let Some((entry, mut letter)) =
            letter.filter(|_| self.dead.is_over(&self.options.retention))
        else {
            self.dead.cutting = self.dead.cutting.saturating_sub(1);
            return;
        };
        letter.event = RawValue::NULL.to_owned();
        let mut op = crate::router::put_record(entry.key, &letter);
        op.expect = Expect::Revision(entry.revision);
        let commit = Commit {
            state: vec![op],
            ..Commit::default()
        };
        self.stage(commit, Ticket::Dead(DeadTicket::Cut));
    }

    pub(super) fn dead_cut(&mut self, ok: bool) {
        self.dead.cutting = self.dead.cutting.saturating_sub(1);
        self.counters.add("dead_letters_cut", u64::from(ok));
    }
}
