//! Which (source, id) are known, and when they are forgotten.
//!
//! Each new id of a source gets the next number of that source. The window is then plain: an entry is
//! known while fewer than `ids` newer ones have come and it is not older than `age_ms`. To be able to
//! forget the oldest without an index by number (a third page to write in every commit), the ids of a
//! batch are also appended to a log, in chunks, under `source << 42 | number`. A chunk that is wholly
//! outside the window is removed together with its entries: a few with each batch that brings new
//! ones, the rest in maintenance.
//!
//! An entry outside the window may still be there. It counts as absent and is overwritten; its old
//! place in the log then names a number that the entry no longer has, and removes nothing.

use std::sync::Arc;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};
use rustc_hash::FxHashMap;

use super::intern::intern;
use crate::planted::planted;
use crate::store::{DedupeWindow, NewEvent, Seq};

/// Bits of a place in the log that are the number; the source is above them.
const NUMBER_BITS: u32 = 42;

/// Ids in one row of the log: small enough that the row stays on one page.
const CHUNK_IDS: usize = 64;

/// Ids that must have left the window by count before a batch forgets them: removing a few with every
/// batch would write the same pages again and again.
const FORGOTTEN_AT_ONCE: usize = 256;

/// Sources kept in memory; beyond it the cache starts anew with the next batch.
const CACHED_SOURCES: usize = 16_384;

pub(super) const INSERT: &str = "INSERT INTO dedupe (source, id, seq, number, at, body) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";

const SELECT: &str = "SELECT seq, number, at, body FROM dedupe WHERE source = ?1 AND id = ?2";

const REPLACE: &str =
    "UPDATE dedupe SET seq = ?3, number = ?4, at = ?5, body = ?6 WHERE source = ?1 AND id = ?2";

/// An id as it is stored: the usual ones in 16 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Id {
    /// A UUID in its canonical text form (lower case, hyphens), which the bytes give back exactly.
    Uuid([u8; 16]),
    /// Anything else.
    Text(Box<str>),
}

impl Id {
    pub(super) fn new(text: &str) -> Self {
        match parse_uuid(text) {
            Some(bytes) => Self::Uuid(bytes),
            None => Self::Text(text.into()),
        }
    }

    /// Appends to a chunk: a length (0 for a UUID) and the bytes.
    fn encode(&self, chunk: &mut Vec<u8>) {
        match self {
            Self::Uuid(bytes) => {
                chunk.push(0);
                chunk.extend_from_slice(bytes);
            }
            Self::Text(text) => {
                let bytes = (text.len() as u32).to_le_bytes();
                // One byte for the lengths that the contract allows; 255 announces four more.
                if text.len() < 255 && !text.is_empty() {
                    chunk.push(bytes[0]);
                } else {
                    chunk.push(255);
                    chunk.extend_from_slice(&bytes);
                }
                chunk.extend_from_slice(text.as_bytes());
            }
        }
    }
}

impl ToSql for Id {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Uuid(bytes) => ValueRef::Blob(bytes),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    let mut at = 0;
    for byte in &mut bytes {
        if matches!(at, 8 | 13 | 18 | 23) {
            if text[at] != b'-' {
                return None;
            }
            at += 1;
        }
        *byte = nibble(text[at])? << 4 | nibble(text[at + 1])?;
        at += 2;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn decode(mut chunk: &[u8]) -> Vec<Id> {
    let mut ids = Vec::new();
    while let Some((&length, rest)) = chunk.split_first() {
        let (length, rest, is_text) = match length {
            0 => (16, rest, false),
            255 => match rest.split_first_chunk::<4>() {
                Some((length, rest)) => (u32::from_le_bytes(*length) as usize, rest, true),
                None => break,
            },
            length => (usize::from(length), rest, true),
        };
        let Some((id, rest)) = rest.split_at_checked(length) else {
            break;
        };
        ids.push(match (is_text, <[u8; 16]>::try_from(id)) {
            (false, Ok(bytes)) => Id::Uuid(bytes),
            _ => Id::Text(String::from_utf8_lossy(id).into()),
        });
        chunk = rest;
    }
    ids
}

/// What `dedupe` says of an id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) seq: Seq,
    pub(super) body: [u8; 16],
    number: i64,
    at_ms: i64,
}

impl Known {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let seq: i64 = row.get(0)?;
        Ok(Self {
            seq: seq as u64,
            number: row.get(1)?,
            at_ms: row.get(2)?,
            body: row.get(3)?,
        })
    }
}

/// How to take back an entry of a refused commit.
#[derive(Debug)]
pub(super) struct Undo {
    source: usize,
    before: Option<Known>,
}

/// What became of an id.
pub(super) enum Claimed {
    /// It is new and now taken.
    New(Undo),
    /// It is known.
    Known(Known),
}

#[derive(Debug)]
struct Source {
    id: i64,
    /// New ids so far: the number of the latest.
    count: i64,
    /// The oldest chunk of the log.
    oldest: Oldest,
    /// Ids of this batch that are not in the log yet; the last has number `count`.
    pending: Vec<Id>,
}

#[derive(Debug, Clone, Copy)]
enum Oldest {
    /// To be looked up.
    Unknown,
    /// The log of this source is empty.
    Nothing,
    /// Number of its last id.
    Chunk { last: i64 },
}

/// A chunk of the log.
struct Chunk {
    place: i64,
    at_ms: i64,
    ids: Vec<Id>,
}

impl Chunk {
    fn first(conn: &Connection, from: i64, to: i64) -> rusqlite::Result<Option<Self>> {
        conn.prepare_cached(
            "SELECT place, at, ids FROM dedupe_log WHERE place >= ?1 AND place < ?2 \
             ORDER BY place LIMIT 1",
        )?
        .query_row([from, to], Self::read)
        .optional()
    }

    fn last(conn: &Connection, from: i64, to: i64) -> rusqlite::Result<Option<Self>> {
        conn.prepare_cached(
            "SELECT place, at, ids FROM dedupe_log WHERE place >= ?1 AND place < ?2 \
             ORDER BY place DESC LIMIT 1",
        )?
        .query_row([from, to], Self::read)
        .optional()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let ids = decode(row.get_ref(2)?.as_blob()?);
        Ok(Self {
            place: row.get(0)?,
            at_ms: row.get(1)?,
            ids,
        })
    }

    fn source(&self) -> i64 {
        self.place >> NUMBER_BITS
    }

    fn first_number(&self) -> i64 {
        self.place & ((1 << NUMBER_BITS) - 1)
    }

    fn last_number(&self) -> i64 {
        self.first_number() + self.ids.len() as i64 - 1
    }

    /// Removes the chunk and the entries that still have its numbers.
    fn remove(&self, conn: &Connection) -> rusqlite::Result<()> {
        let mut delete = conn
            .prepare_cached("DELETE FROM dedupe WHERE source = ?1 AND id = ?2 AND number = ?3")?;
        for (number, id) in (self.first_number()..).zip(&self.ids) {
            delete.execute(params![self.source(), id, number])?;
        }
        conn.prepare_cached("DELETE FROM dedupe_log WHERE place = ?1")?
            .execute([self.place])?;
        Ok(())
    }
}

fn places(source: i64) -> (i64, i64) {
    (source << NUMBER_BITS, (source + 1) << NUMBER_BITS)
}

/// The writer's view of what is known.
#[derive(Debug)]
pub(super) struct Dedupe {
    window: DedupeWindow,
    by_name: FxHashMap<Arc<str>, usize>,
    sources: Vec<Source>,
    touched: Vec<usize>,
    /// Where maintenance goes on.
    maintained_to: i64,
}

impl Dedupe {
    pub(super) fn new(mut window: DedupeWindow) -> Self {
        if planted("no_dedupe") {
            window.ids = 0;
        }
        Self {
            window,
            by_name: FxHashMap::default(),
            sources: Vec::new(),
            touched: Vec::new(),
            maintained_to: 0,
        }
    }

    /// Forgets what is cached: the transaction that changed it was rolled back.
    pub(super) fn clear(&mut self) {
        self.by_name.clear();
        self.sources.clear();
        self.touched.clear();
    }

    /// Returns the handle of a source, valid until the end of the batch.
    pub(super) fn source(&mut self, conn: &Connection, name: &Arc<str>) -> rusqlite::Result<usize> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let id = intern(
            conn,
            name,
            "SELECT id FROM sources WHERE name = ?1",
            "INSERT INTO sources (name) VALUES (?1)",
        )?;
        let (from, to) = places(id);
        let count = Chunk::last(conn, from, to)?.map_or(0, |chunk| chunk.last_number());
        let index = self.sources.len();
        self.sources.push(Source {
            id,
            count,
            oldest: Oldest::Unknown,
            pending: Vec::new(),
        });
        self.by_name.insert(Arc::clone(name), index);
        Ok(index)
    }

    /// Returns the interned number of a source.
    pub(super) fn source_id(&self, source: usize) -> i64 {
        self.sources[source].id
    }

    /// Takes an id for `seq`, or says what is known of it.
    pub(super) fn claim(
        &mut self,
        conn: &Connection,
        insert: &mut CachedStatement<'_>,
        source: usize,
        event: &NewEvent,
        seq: Seq,
        now_ms: i64,
    ) -> rusqlite::Result<Claimed> {
        let window = self.window;
        let index = source;
        let source = &mut self.sources[index];
        let id = Id::new(&event.id);
        let number = source.count + 1;
        let values = params![source.id, id, seq as i64, number, now_ms, event.body];
        let mut before = None;
        if insert.execute(values)? == 0 {
            let known = conn
                .prepare_cached(SELECT)?
                .query_row(params![source.id, id], Known::read)?;
            if is_inside(window, source.count, now_ms, known.number, known.at_ms) {
                return Ok(Claimed::Known(known));
            }
            conn.prepare_cached(REPLACE)?.execute(values)?;
            before = Some(known);
        }
        source.count = number;
        if source.pending.is_empty() {
            self.touched.push(index);
        }
        source.pending.push(id);
        Ok(Claimed::New(Undo {
            source: index,
            before,
        }))
    }

    /// Takes back what a refused commit claimed, latest first.
    pub(super) fn undo(&mut self, conn: &Connection, claims: Vec<Undo>) -> rusqlite::Result<()> {
        for claim in claims.into_iter().rev() {
            let source = &mut self.sources[claim.source];
            let id = source.pending.pop().expect("a claim leaves its id pending");
            source.count -= 1;
            if source.pending.is_empty() {
                self.touched.retain(|index| *index != claim.source);
            }
            match claim.before {
                Some(k) => {
                    let values = params![source.id, id, k.seq as i64, k.number, k.at_ms, k.body];
                    conn.prepare_cached(REPLACE)?.execute(values)?;
                }
                None => {
                    conn.prepare_cached("DELETE FROM dedupe WHERE source = ?1 AND id = ?2")?
                        .execute(params![source.id, id])?;
                }
            }
        }
        Ok(())
    }

    /// Ends a batch: writes the log, and forgets about as many ids as came.
    pub(super) fn finish(&mut self, conn: &Connection, now_ms: i64) -> rusqlite::Result<()> {
        for index in std::mem::take(&mut self.touched) {
            let source = &mut self.sources[index];
            let ids = std::mem::take(&mut source.pending);
            let first = source.count - ids.len() as i64 + 1;
            let mut blob = Vec::with_capacity(17 * ids.len().min(CHUNK_IDS));
            let mut insert =
                conn.prepare_cached("INSERT INTO dedupe_log (place, at, ids) VALUES (?1, ?2, ?3)")?;
            for (i, chunk) in ids.chunks(CHUNK_IDS).enumerate() {
                blob.clear();
                for id in chunk {
                    id.encode(&mut blob);
                }
                let number = first + (i * CHUNK_IDS) as i64;
                insert.execute(params![places(source.id).0 + number, now_ms, blob])?;
            }
            if matches!(source.oldest, Oldest::Nothing) {
                source.oldest = Oldest::Unknown;
            }
            forget(conn, self.window, source, ids.len() + FORGOTTEN_AT_ONCE)?;
        }
        Ok(())
    }

    /// Makes room in the cache, between batches.
    pub(super) fn shrink(&mut self) {
        if self.sources.len() > CACHED_SOURCES {
            self.clear();
        }
    }

    /// Forgets up to `budget` ids of any source, going round. Returns true when more may be left in
    /// this round.
    pub(super) fn maintain(
        &mut self,
        conn: &Connection,
        last_ms: i64,
        budget: usize,
    ) -> rusqlite::Result<bool> {
        let mut removed = 0;
        for _ in 0..budget {
            let Some(chunk) = Chunk::first(conn, self.maintained_to, i64::MAX)? else {
                self.maintained_to = 0;
                return Ok(false);
            };
            let (from, to) = places(chunk.source());
            let cached = self
                .sources
                .iter_mut()
                .find(|source| source.id == chunk.source());
            let count = match &cached {
                Some(source) => source.count,
                None => Chunk::last(conn, from, to)?.map_or(0, |chunk| chunk.last_number()),
            };
            if is_inside(
                self.window,
                count,
                last_ms,
                chunk.last_number(),
                chunk.at_ms,
            ) {
                self.maintained_to = to;
                continue;
            }
            chunk.remove(conn)?;
            if let Some(source) = cached {
                source.oldest = Oldest::Unknown;
            }
            removed += chunk.ids.len();
            if removed >= budget {
                break;
            }
        }
        Ok(true)
    }
}

/// Says whether an entry is known, when `count` ids have come and it is `now_ms`.
fn is_inside(window: DedupeWindow, count: i64, now_ms: i64, number: i64, at_ms: i64) -> bool {
    ((count - number) as u64) < window.ids && now_ms - at_ms <= window.age_ms
}

/// Removes chunks of one source that its count has pushed out of the window, at most about `budget`
/// ids, once they are worth it. What is only too old is left to maintenance.
fn forget(
    conn: &Connection,
    window: DedupeWindow,
    source: &mut Source,
    budget: usize,
) -> rusqlite::Result<()> {
    let (from, to) = places(source.id);
    let outside = |last: i64| ((source.count - last) as u64).checked_sub(window.ids);
    let oldest = match source.oldest {
        Oldest::Nothing => return Ok(()),
        Oldest::Chunk { last } => Some(last),
        Oldest::Unknown => Chunk::first(conn, from, to)?.map(|chunk| chunk.last_number()),
    };
    source.oldest = oldest.map_or(Oldest::Nothing, |last| Oldest::Chunk { last });
    let overhang = oldest.and_then(outside);
    if overhang.is_none_or(|ids| ids < FORGOTTEN_AT_ONCE as u64) {
        return Ok(());
    }
    let mut removed = 0;
    while let Some(chunk) = Chunk::first(conn, from, to)? {
        if outside(chunk.last_number()).is_none() || removed >= budget {
            source.oldest = Oldest::Chunk {
                last: chunk.last_number(),
            };
            return Ok(());
        }
        chunk.remove(conn)?;
        removed += chunk.ids.len();
    }
    source.oldest = Oldest::Nothing;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_uuids_become_bytes() {
        let canonical = "0190f7a2-7c5b-7def-8123-456789abcdef";
        assert!(matches!(Id::new(canonical), Id::Uuid(_)));
        for other in [
            "0190F7A2-7c5b-7def-8123-456789abcdef",
            "0190f7a27c5b7def8123456789abcdef",
            "0190f7a2-7c5b-7def-8123-456789abcde",
            "0190f7a2-7c5b-7def-8123+456789abcdef",
            "",
        ] {
            assert!(matches!(Id::new(other), Id::Text(_)), "{other}");
        }
    }

    #[test]
    fn chunks_give_back_their_ids() {
        let long = "é".repeat(200);
        let texts = [
            "0190f7a2-7c5b-7def-8123-456789abcdef",
            "a",
            "",
            &long,
            &"x".repeat(254),
        ];
        let ids: Vec<Id> = texts.iter().map(|text| Id::new(text)).collect();
        let mut chunk = Vec::new();
        for id in &ids {
            id.encode(&mut chunk);
        }
        assert_eq!(decode(&chunk), ids);
    }
}
