//! Housekeeping in small steps: expired state, forgotten ids, free pages, the reserve.

use rusqlite::Connection;

use super::fault::Outcome;
use super::reserve::Claim;
use super::writer::SqliteStore;

/// Rows removed in one step, of each kind.
const ROWS_PER_STEP: usize = 256;

/// Free pages given back in one step.
const PAGES_PER_STEP: i64 = 256;

/// Free pages kept for the next events: giving back what is taken again at once is only work.
const PAGES_KEPT: i64 = 256;

/// What the next step looks at.
enum Work {
    State,
    Ids,
    Pages,
}

impl SqliteStore {
    /// Does one bounded step. Returns true when more is left to do.
    pub(super) fn maintain_step(&mut self, now_ms: i64) -> Outcome<bool> {
        if self.reserve.is_given_up() {
            self.reserve.restore();
        }
        for work in [Work::State, Work::Ids, Work::Pages] {
            let is_left = match work {
                Work::State => self.remove_expired(now_ms)?,
                Work::Ids => self.forget_ids()?,
                Work::Pages => self.give_back_pages()?,
            };
            if is_left {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn remove_expired(&mut self, now_ms: i64) -> Outcome<bool> {
        if !exists(
            &self.conn,
            "SELECT EXISTS (SELECT 1 FROM state WHERE expires_at < ?1)",
            now_ms,
        )? {
            return Ok(false);
        }
        let removed = self.transact(Claim::Settle, |apply| {
            let mut delete = apply.conn().prepare_cached(
                "DELETE FROM state WHERE key IN \
                 (SELECT key FROM state WHERE expires_at < ?1 LIMIT ?2)",
            )?;
            Ok(delete.execute([now_ms, ROWS_PER_STEP as i64])?)
        })?;
        Ok(removed >= ROWS_PER_STEP)
    }

    fn forget_ids(&mut self) -> Outcome<bool> {
        if !exists(
            &self.conn,
            "SELECT EXISTS (SELECT 1 FROM dedupe_log WHERE place > ?1)",
            0,
        )? {
            return Ok(false);
        }
        // By the time of the last commit, not by today's: what a later commit may still know, with a
        // clock set back, stays.
        self.transact(Claim::Settle, |apply| Ok(apply.forget_ids(ROWS_PER_STEP)?))
    }

    fn give_back_pages(&mut self) -> Outcome<bool> {
        let read = |name| {
            self.conn
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
        };
        let kept = PAGES_KEPT.max(read("page_count")? / 16);
        let free = read("freelist_count")?;
        if free <= kept {
            return Ok(false);
        }
        let pages = PAGES_PER_STEP.min(free - kept);
        let mut vacuum = self
            .conn
            .prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        // Each step of the statement frees one page.
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        Ok(free - pages > kept)
    }
}

fn exists(conn: &Connection, sql: &str, value: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached(sql)?
        .query_row([value], |row| row.get(0))
}
