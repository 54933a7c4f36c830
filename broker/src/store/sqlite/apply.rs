//! One commit, inside an open transaction: checked, then written.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::dedupe::{self, Claimed, Dedupe, Undo};
use super::intern::Topics;
use crate::store::{
    Commit, CommitError, Condition, EventReceipt, Expect, OnConflict, Receipt, Seq, StateOp,
};

const INSERT_EVENT: &str = "INSERT INTO events \
     (seq, topic, source, stored_at, session, expires_at, envelope) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// The row of `meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) next_seq: Seq,
    pub(super) head: Seq,
    pub(super) last_ms: i64,
    pub(super) event_bytes: u64,
    pub(super) purged: Seq,
}

impl Marks {
    pub(super) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached("SELECT next_seq, head, last_ms, event_bytes, purged FROM meta")?
            .query_row([], |row| {
                let number = |i| row.get::<_, i64>(i).map(|n| n as u64);
                Ok(Self {
                    next_seq: number(0)?,
                    head: number(1)?,
                    last_ms: row.get(2)?,
                    event_bytes: number(3)?,
                    purged: number(4)?,
                })
            })
    }

    pub(super) fn write(&self, conn: &Connection) -> rusqlite::Result<()> {
        let (next_seq, head) = (self.next_seq as i64, self.head as i64);
        conn.prepare_cached(
            "UPDATE meta SET next_seq = ?1, head = ?2, last_ms = ?3, event_bytes = ?4, purged = ?5 \
             WHERE id = 1",
        )?
        .execute([
            next_seq,
            head,
            self.last_ms,
            self.event_bytes as i64,
            self.purged as i64,
        ])?;
        Ok(())
    }
}

/// An open transaction and what it changes in memory.
pub(super) struct Apply<'a> {
    conn: &'a Connection,
    marks: &'a mut Marks,
    topics: &'a mut Topics,
    dedupe: &'a mut Dedupe,
    insert_event: CachedStatement<'a>,
    insert_id: CachedStatement<'a>,
    before: Marks,
}

impl<'a> Apply<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        marks: &'a mut Marks,
        topics: &'a mut Topics,
        dedupe: &'a mut Dedupe,
    ) -> rusqlite::Result<Self> {
        let insert_event = conn.prepare_cached(INSERT_EVENT)?;
        let insert_id = conn.prepare_cached(dedupe::INSERT)?;
        let before = *marks;
        Ok(Self {
            conn,
            marks,
            topics,
            dedupe,
            insert_event,
            insert_id,
            before,
        })
    }

    /// The connection, for housekeeping.
    pub(super) fn conn(&self) -> &'a Connection {
        self.conn
    }

    /// Moves the store's clock to `now_ms`, never back.
    pub(super) fn advance(&mut self, now_ms: i64) {
        self.marks.last_ms = self.marks.last_ms.max(now_ms);
    }

    /// Forgets some ids outside the window. Returns true when more may be left.
    pub(super) fn forget_ids(&mut self, budget: usize) -> rusqlite::Result<bool> {
        self.dedupe.maintain(self.conn, self.marks.last_ms, budget)
    }

    /// Applies a commit whole, or leaves no trace of it.
    pub(super) fn commit(
        &mut self,
        commit: &Commit,
    ) -> rusqlite::Result<Result<Receipt, CommitError>> {
        if let Some(error) = self.failed_condition(&commit.conditions)? {
            return Ok(Err(error));
        }
        let mut claims = Vec::with_capacity(commit.events.len());
        let mut receipt = Receipt::default();
        receipt.events.reserve_exact(commit.events.len());
        let mut refused = self.claim_ids(commit, &mut receipt, &mut claims)?;
        let first_revision = self.marks.next_seq + claims.len() as u64;
        if refused.is_none() {
            refused = self.failed_expectation(&commit.state, first_revision)?;
        }
        if let Some(error) = refused {
            self.dedupe.undo(self.conn, claims)?;
            return Ok(Err(error));
        }
        self.append(commit, &receipt)?;
        receipt.revisions.reserve_exact(commit.state.len());
        for op in &commit.state {
            receipt.revisions.push(self.write(op)?);
        }
        self.purge(&commit.purge)?;
        Ok(Ok(receipt))
    }

    /// Writes state without looking at what was there.
    pub(super) fn write(&mut self, op: &StateOp) -> rusqlite::Result<Seq> {
        let revision = self.marks.next_seq;
        self.marks.next_seq += 1;
        match &op.value {
            Some(value) => {
                self.conn
                    .prepare_cached(
                        "INSERT INTO state (key, value, revision, expires_at) \
                         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET \
                         value = excluded.value, revision = excluded.revision, \
                         expires_at = excluded.expires_at",
                    )?
                    .execute(params![op.key, value, revision as i64, op.expires_at_ms])?;
            }
            None => {
                self.conn
                    .prepare_cached("DELETE FROM state WHERE key = ?1")?
                    .execute([&op.key])?;
            }
        }
        Ok(revision)
    }

    /// Ends the batch; what is left is the `COMMIT`.
    pub(super) fn finish(self) -> rusqlite::Result<()> {
        self.dedupe.finish(self.conn, self.marks.last_ms)?;
        // What changes nothing writes nothing, so that it costs no sync.
        if *self.marks == self.before {
            Ok(())
        } else {
            self.marks.write(self.conn)
        }
    }

    fn failed_condition(&self, conditions: &[Condition]) -> rusqlite::Result<Option<CommitError>> {
        for (index, condition) in conditions.iter().enumerate() {
            if condition.expect != Expect::Any
                && !holds(condition.expect, self.revision(&condition.key)?)
            {
                return Ok(Some(CommitError::ConditionFailed { index }));
            }
        }
        Ok(None)
    }

    fn claim_ids(
        &mut self,
        commit: &Commit,
        receipt: &mut Receipt,
        claims: &mut Vec<Undo>,
    ) -> rusqlite::Result<Option<CommitError>> {
        for (index, event) in commit.events.iter().enumerate() {
            let source = self.dedupe.source(self.conn, &event.source)?;
            let seq = self.marks.next_seq + claims.len() as u64;
            let claimed = self.dedupe.claim(
                self.conn,
                &mut self.insert_id,
                source,
                event,
                seq,
                self.marks.last_ms,
            )?;
            let answer = match claimed {
                Claimed::New(undo) => {
                    claims.push(undo);
                    EventReceipt {
                        seq,
                        duplicate: false,
                    }
                }
                Claimed::Known(known)
                    if known.body != event.body && event.on_conflict == OnConflict::Refuse =>
                {
                    return Ok(Some(CommitError::IdConflict {
                        index,
                        seq: known.seq,
                    }));
                }
                Claimed::Known(known) => EventReceipt {
                    seq: known.seq,
                    duplicate: true,
                },
            };
            receipt.events.push(answer);
        }
        Ok(None)
    }

    /// Checks the operations as if they had been applied one after the other.
    fn failed_expectation(
        &self,
        ops: &[StateOp],
        first_revision: Seq,
    ) -> rusqlite::Result<Option<CommitError>> {
        for (index, op) in ops.iter().enumerate() {
            if op.expect == Expect::Any {
                continue;
            }
            let earlier = ops[..index]
                .iter()
                .rposition(|earlier| earlier.key == op.key);
            let found = match earlier {
                Some(i) => (ops[i].value.is_some() && self.is_live(ops[i].expires_at_ms))
                    .then_some(first_revision + i as u64),
                None => self.revision(&op.key)?,
            };
            if !holds(op.expect, found) {
                return Ok(Some(CommitError::RevisionConflict { index, found }));
            }
        }
        Ok(None)
    }

    fn append(&mut self, commit: &Commit, receipt: &Receipt) -> rusqlite::Result<()> {
        for (event, answer) in commit.events.iter().zip(&receipt.events) {
            if answer.duplicate {
                continue;
            }
            let topic = self.topics.id(self.conn, &event.topic)?;
            let source = self.dedupe.source(self.conn, &event.source)?;
            self.insert_event.execute(params![
                answer.seq as i64,
                topic,
                self.dedupe.source_id(source),
                self.marks.last_ms,
                event.session,
                event.expires_at_ms,
                &*event.envelope,
            ])?;
            self.marks.head = answer.seq;
            self.marks.next_seq = answer.seq + 1;
            self.marks.event_bytes += event.envelope.len() as u64;
        }
        Ok(())
    }

    fn purge(&mut self, seqs: &[Seq]) -> rusqlite::Result<()> {
        if seqs.is_empty() {
            return Ok(());
        }
        let mut delete = self
            .conn
            .prepare_cached("DELETE FROM events WHERE seq = ?1 RETURNING length(envelope)")?;
        for seq in seqs {
            let bytes = delete
                .query_row([*seq as i64], |row| row.get::<_, i64>(0))
                .optional()?;
            if let Some(bytes) = bytes {
                self.marks.event_bytes -= bytes as u64;
                self.marks.purged = self.marks.purged.max(*seq);
            }
        }
        Ok(())
    }

    fn revision(&self, key: &[u8]) -> rusqlite::Result<Option<Seq>> {
        let found = self
            .conn
            .prepare_cached("SELECT revision, expires_at FROM state WHERE key = ?1")?
            .query_row([key], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
            .optional()?;
        Ok(found
            .filter(|(_, expiry)| self.is_live(*expiry))
            .map(|(revision, _)| revision as u64))
    }

    fn is_live(&self, expires_at_ms: Option<i64>) -> bool {
        expires_at_ms.is_none_or(|at| self.marks.last_ms <= at)
    }
}

fn holds(expect: Expect, found: Option<Seq>) -> bool {
    match expect {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::Revision(wanted) => found == Some(wanted),
    }
}
