//! The store in memory: the model that other stores are compared with, and the test broker's store.
//!
//! Nothing is durable; "one sync" is one lock. It is written for obviousness, not for speed, and
//! shares no code with the other stores so that it can disagree with them. A refused commit is undone
//! from a journal of what it changed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_contract::topic::Filter;

use super::{
    Batch, Commit, CommitError, DedupeWindow, EventPage, EventReceipt, Expect, Failed, NewEvent,
    OnConflict, ReadLimit, Reader, Receipt, Seq, StateEntry, StateOp, Store, StoreFacts,
    StoredEvent,
};

/// How a memory store behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryOptions {
    /// Window in which repeats are recognised.
    pub dedupe: DedupeWindow,
    /// Envelope bytes after which commits with events get [`CommitError::StorageFull`].
    pub max_bytes: Option<u64>,
}

/// A store without a disk.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct MemoryReader {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    seq: Seq,
    body: [u8; 16],
    /// Which new event of its source this was, from 1.
    number: u64,
    at_ms: i64,
}

#[derive(Debug, Default)]
struct Source {
    count: u64,
    ids: HashMap<Box<str>, Known>,
}

#[derive(Debug, Clone)]
struct Value {
    bytes: Vec<u8>,
    revision: Seq,
    expires_at_ms: Option<i64>,
}

#[derive(Debug)]
struct Inner {
    options: MemoryOptions,
    next_seq: Seq,
    head: Seq,
    last_ms: i64,
    event_bytes: u64,
    purged: Seq,
    events: BTreeMap<Seq, StoredEvent>,
    sources: HashMap<Arc<str>, Source>,
    state: BTreeMap<Vec<u8>, Value>,
}

/// What a commit changed, to be put back in reverse order.
enum Undo {
    Event {
        seq: Seq,
        head: Seq,
    },
    Id {
        source: Arc<str>,
        id: Box<str>,
        before: Option<Known>,
    },
    State {
        key: Vec<u8>,
        before: Option<Value>,
    },
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new(options: MemoryOptions) -> Self {
        let inner = Inner {
            options,
            next_seq: 1,
            head: 0,
            last_ms: 0,
            event_bytes: 0,
            purged: 0,
            events: BTreeMap::new(),
            sources: HashMap::new(),
            state: BTreeMap::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }
}

impl MemoryStore {
    /// Another handle to the same memory: what the next life of a broker opens.
    pub fn again(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_live(expires_at_ms: Option<i64>, now_ms: i64) -> bool {
    expires_at_ms.is_none_or(|at| now_ms <= at)
}

impl Inner {
    fn take_seq(&mut self) -> Seq {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    fn revision(&self, key: &[u8]) -> Option<Seq> {
        let value = self.state.get(key)?;
        is_live(value.expires_at_ms, self.last_ms).then_some(value.revision)
    }

    fn holds(&self, key: &[u8], expect: Expect) -> bool {
        match expect {
            Expect::Any => true,
            Expect::Absent => self.revision(key).is_none(),
            Expect::Revision(wanted) => self.revision(key) == Some(wanted),
        }
    }

    fn known(&self, event: &NewEvent) -> Option<Known> {
        let source = self.sources.get(&event.source)?;
        let known = *source.ids.get(&event.id)?;
        let window = self.options.dedupe;
        let is_known =
            source.count - known.number < window.ids && self.last_ms - known.at_ms <= window.age_ms;
        is_known.then_some(known)
    }

    fn append(&mut self, event: &NewEvent, undo: &mut Vec<Undo>) -> Seq {
        let seq = self.take_seq();
        undo.push(Undo::Event {
            seq,
            head: self.head,
        });
        let at_ms = self.last_ms;
        let source = self.sources.entry(Arc::clone(&event.source)).or_default();
        source.count += 1;
        let known = Known {
            seq,
            body: event.body,
            number: source.count,
            at_ms,
        };
        let before = source.ids.insert(event.id.clone(), known);
        undo.push(Undo::Id {
            source: Arc::clone(&event.source),
            id: event.id.clone(),
            before,
        });
        self.head = seq;
        self.event_bytes += event.envelope.len() as u64;
        let stored = StoredEvent {
            seq,
            stored_at_ms: at_ms,
            topic: Arc::clone(&event.topic),
            source: Arc::clone(&event.source),
            session: event.session.clone(),
            expires_at_ms: event.expires_at_ms,
            envelope: Arc::clone(&event.envelope),
        };
        self.events.insert(seq, stored);
        seq
    }

    fn write(&mut self, op: &StateOp, undo: &mut Vec<Undo>) -> Seq {
        let revision = self.take_seq();
        let before = match &op.value {
            Some(bytes) => {
                let expires_at_ms = op.expires_at_ms;
                let value = Value {
                    bytes: bytes.clone(),
                    revision,
                    expires_at_ms,
                };
                self.state.insert(op.key.clone(), value)
            }
            None => self.state.remove(&op.key),
        };
        undo.push(Undo::State {
            key: op.key.clone(),
            before,
        });
        revision
    }

    fn apply(&mut self, commit: &Commit, undo: &mut Vec<Undo>) -> Result<Receipt, CommitError> {
        for (index, condition) in commit.conditions.iter().enumerate() {
            if !self.holds(&condition.key, condition.expect) {
                return Err(CommitError::ConditionFailed { index });
            }
        }
        let mut receipt = Receipt::default();
        for (index, event) in commit.events.iter().enumerate() {
            let answer = match self.known(event) {
                Some(known)
                    if known.body != event.body && event.on_conflict == OnConflict::Refuse =>
                {
                    return Err(CommitError::IdConflict {
                        index,
                        seq: known.seq,
                    });
                }
                Some(known) => EventReceipt {
                    seq: known.seq,
                    duplicate: true,
                },
                None => EventReceipt {
                    seq: self.append(event, undo),
                    duplicate: false,
                },
            };
            receipt.events.push(answer);
        }
        for (index, op) in commit.state.iter().enumerate() {
            if !self.holds(&op.key, op.expect) {
                let found = self.revision(&op.key);
                return Err(CommitError::RevisionConflict { index, found });
            }
            receipt.revisions.push(self.write(op, undo));
        }
        let is_new = receipt.events.iter().any(|e| !e.duplicate);
        if is_new
            && self
                .options
                .max_bytes
                .is_some_and(|max| self.event_bytes > max)
        {
            return Err(CommitError::StorageFull);
        }
        for seq in &commit.purge {
            if let Some(event) = self.events.remove(seq) {
                self.event_bytes -= event.envelope.len() as u64;
                self.purged = self.purged.max(*seq);
            }
        }
        Ok(receipt)
    }

    fn undo(&mut self, changes: Vec<Undo>) {
        for change in changes.into_iter().rev() {
            match change {
                Undo::Event { seq, head } => {
                    if let Some(event) = self.events.remove(&seq) {
                        self.event_bytes -= event.envelope.len() as u64;
                    }
                    self.head = head;
                }
                Undo::Id { source, id, before } => {
                    let source = self.sources.entry(source).or_default();
                    source.count -= 1;
                    match before {
                        Some(known) => source.ids.insert(id, known),
                        None => source.ids.remove(&id),
                    };
                }
                Undo::State { key, before } => {
                    match before {
                        Some(value) => self.state.insert(key, value),
                        None => self.state.remove(&key),
                    };
                }
            }
        }
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, batch: Batch) -> Result<Vec<Result<Receipt, CommitError>>, Failed> {
        let mut inner = lock(&self.inner);
        inner.last_ms = inner.last_ms.max(batch.now_ms);
        let mut answers = Vec::with_capacity(batch.commits.len());
        for commit in &batch.commits {
            let mut changes = Vec::new();
            let first_seq = inner.next_seq;
            let answer = inner.apply(commit, &mut changes);
            if answer.is_err() {
                inner.undo(changes);
                inner.next_seq = first_seq;
            }
            answers.push(answer);
        }
        if let Some(mut trailer) = batch.trailer {
            let accepted: Vec<bool> = answers.iter().map(Result::is_ok).collect();
            for op in trailer.state(&accepted) {
                inner.write(&op, &mut Vec::new());
            }
        }
        Ok(answers)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Failed> {
        Ok(Box::new(MemoryReader {
            inner: Arc::clone(&self.inner),
        }))
    }

    fn maintain(&mut self, now_ms: i64) -> Result<bool, Failed> {
        let mut inner = lock(&self.inner);
        inner
            .state
            .retain(|_, value| is_live(value.expires_at_ms, now_ms));
        let (last_ms, window) = (inner.last_ms, inner.options.dedupe);
        for source in inner.sources.values_mut() {
            let count = source.count;
            source.ids.retain(|_, known| {
                count - known.number < window.ids && last_ms - known.at_ms <= window.age_ms
            });
        }
        Ok(false)
    }
}

impl Reader for MemoryReader {
    fn events(
        &mut self,
        after: Seq,
        filters: &[Filter],
        limit: ReadLimit,
    ) -> Result<EventPage, Failed> {
        let inner = lock(&self.inner);
        let mut page = EventPage {
            events: Vec::new(),
            next: after,
            head: inner.head,
        };
        let mut bytes = 0;
        let after = (Bound::Excluded(after), Bound::Unbounded);
        for (scanned, (seq, event)) in inner.events.range(after).enumerate() {
            if scanned >= limit.scanned || page.events.len() >= limit.events {
                return Ok(page);
            }
            if filters.iter().any(|f| f.matches(&event.topic)) {
                if !page.events.is_empty() && bytes + event.envelope.len() > limit.bytes {
                    return Ok(page);
                }
                bytes += event.envelope.len();
                page.events.push(event.clone());
            }
            page.next = *seq;
        }
        page.next = page.next.max(page.head);
        Ok(page)
    }

    fn events_at(&mut self, seqs: &[Seq]) -> Result<Vec<StoredEvent>, Failed> {
        let inner = lock(&self.inner);
        Ok(seqs
            .iter()
            .filter_map(|seq| inner.events.get(seq).cloned())
            .collect())
    }

    fn get(&mut self, key: &[u8], now_ms: i64) -> Result<Option<StateEntry>, Failed> {
        let inner = lock(&self.inner);
        let value = inner
            .state
            .get(key)
            .filter(|v| is_live(v.expires_at_ms, now_ms));
        Ok(value.map(|value| entry(key, value)))
    }

    fn scan(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Vec<StateEntry>, Failed> {
        let inner = lock(&self.inner);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let entries = inner
            .state
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, value)| is_live(value.expires_at_ms, now_ms))
            .take(limit)
            .map(|(key, value)| entry(key, value))
            .collect();
        Ok(entries)
    }

    fn count(&mut self, after: Seq, filters: &[Filter]) -> Result<u64, Failed> {
        let inner = lock(&self.inner);
        let after = (Bound::Excluded(after), Bound::Unbounded);
        let matching = inner
            .events
            .range(after)
            .filter(|(_, event)| filters.iter().any(|f| f.matches(&event.topic)));
        Ok(matching.count() as u64)
    }

    fn seq_before(&mut self, at_ms: i64) -> Result<Seq, Failed> {
        let inner = lock(&self.inner);
        let last = inner
            .events
            .iter()
            .rev()
            .find(|(_, event)| event.stored_at_ms < at_ms);
        Ok(last.map_or(0, |(seq, _)| *seq))
    }

    fn facts(&mut self) -> Result<StoreFacts, Failed> {
        let inner = lock(&self.inner);
        let state_bytes: usize = inner
            .state
            .iter()
            .map(|(k, v)| k.len() + v.bytes.len())
            .sum();
        Ok(StoreFacts {
            head: inner.head,
            tail: inner.events.keys().next().copied().unwrap_or(0),
            purged: inner.purged,
            used_bytes: inner.event_bytes + state_bytes as u64,
            free_bytes: 0,
            event_bytes: inner.event_bytes,
        })
    }
}

fn entry(key: &[u8], value: &Value) -> StateEntry {
    StateEntry {
        key: key.to_vec(),
        value: value.bytes.clone(),
        revision: value.revision,
        expires_at_ms: value.expires_at_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Fixture, START_MS, WINDOW, event, put};
    use super::*;

    fn fixture() -> Fixture {
        let store = MemoryStore::new(MemoryOptions {
            dedupe: WINDOW,
            max_bytes: None,
        });
        Fixture::new(Box::new(store), Box::new(|store| store))
    }

    crate::conformance_suite!(fixture);

    #[test]
    fn a_full_store_refuses_events_and_takes_state() {
        let options = MemoryOptions {
            max_bytes: Some(10),
            ..MemoryOptions::default()
        };
        let mut store = MemoryStore::new(options);
        let publish = |id: &str| Commit {
            events: vec![event("t", "s", id, "123456")],
            ..Commit::default()
        };
        let settle = Commit {
            state: vec![put("k", "v")],
            ..Commit::default()
        };
        let commits = vec![publish("a"), publish("b"), settle, publish("a")];
        let batch = Batch {
            commits,
            trailer: None,
            now_ms: START_MS,
        };
        let answers = store.commit(batch).unwrap();
        assert_eq!(answers[1], Err(CommitError::StorageFull));
        assert!(answers[0].is_ok() && answers[2].is_ok() && answers[3].is_ok());
    }
}
