//! Names that stand in many rows are stored once and named by a small number.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use rustc_hash::FxHashMap;

/// Names kept in memory per table; beyond it the cache starts anew.
const CACHED_NAMES: usize = 16_384;

/// The topics the writer has met lately.
#[derive(Debug, Default)]
pub(super) struct Topics {
    ids: FxHashMap<Arc<str>, i64>,
}

impl Topics {
    /// Returns the number of a topic, giving it one if it is new.
    pub(super) fn id(&mut self, conn: &Connection, name: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let id = intern(
            conn,
            name,
            "SELECT id FROM topics WHERE name = ?1",
            "INSERT INTO topics (name) VALUES (?1)",
        )?;
        if self.ids.len() >= CACHED_NAMES {
            self.ids.clear();
        }
        self.ids.insert(Arc::clone(name), id);
        Ok(id)
    }

    /// Forgets everything: the transaction that gave the numbers was rolled back.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
    }
}

/// Returns the number of a name, giving it one if it is new.
pub(super) fn intern(
    conn: &Connection,
    name: &str,
    select: &str,
    insert: &str,
) -> rusqlite::Result<i64> {
    let known = conn
        .prepare_cached(select)?
        .query_row([name], |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => conn.prepare_cached(insert)?.insert([name]),
    }
}

/// Names by number, for a reader.
#[derive(Debug)]
pub(super) struct Names {
    select: &'static str,
    names: FxHashMap<i64, Arc<str>>,
}

impl Names {
    /// Names of topics.
    pub(super) fn topics() -> Self {
        Self {
            select: "SELECT name FROM topics WHERE id = ?1",
            names: FxHashMap::default(),
        }
    }

    /// Names of sources.
    pub(super) fn sources() -> Self {
        Self {
            select: "SELECT name FROM sources WHERE id = ?1",
            names: FxHashMap::default(),
        }
    }

    /// Returns the name with a number.
    pub(super) fn name(&mut self, conn: &Connection, id: i64) -> rusqlite::Result<Arc<str>> {
        if let Some(name) = self.names.get(&id) {
            return Ok(Arc::clone(name));
        }
        let text: String = conn
            .prepare_cached(self.select)?
            .query_row([id], |row| row.get(0))?;
        let name: Arc<str> = text.into();
        if self.names.len() >= CACHED_NAMES {
            self.names.clear();
        }
        self.names.insert(id, Arc::clone(&name));
        Ok(name)
    }
}
