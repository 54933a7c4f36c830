//! The file: how it is made, recognised and opened.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::fault::{failed, is_full};
use super::options::OpenError;
use crate::planted::planted;
use crate::store::Failed;

/// "TRKL", in the header of the file.
const APPLICATION_ID: i32 = 0x5452_4b4c;

/// The layout this build writes. Older ones are brought up to it by `STEPS`.
const VERSION: i32 = 2;

/// `STEPS[n]` leads from version `n` to `n + 1`.
const STEPS: [&str; VERSION as usize] = [
    "
    CREATE TABLE meta (
        id INTEGER PRIMARY KEY,
        next_seq INTEGER NOT NULL,
        head INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        event_bytes INTEGER NOT NULL
    );
    INSERT INTO meta VALUES (1, 1, 0, 0, 0);
    CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE sources (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        topic INTEGER NOT NULL,
        source INTEGER NOT NULL,
        stored_at INTEGER NOT NULL,
        session TEXT,
        expires_at INTEGER,
        envelope BLOB NOT NULL
    );
    CREATE TABLE dedupe (
        source INTEGER NOT NULL,
        id NOT NULL,
        seq INTEGER NOT NULL,
        number INTEGER NOT NULL,
        at INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (source, id)
    ) WITHOUT ROWID;
    CREATE TABLE dedupe_log (place INTEGER PRIMARY KEY, at INTEGER NOT NULL, ids BLOB NOT NULL);
    CREATE TABLE state (
        key BLOB PRIMARY KEY,
        value BLOB NOT NULL,
        revision INTEGER NOT NULL,
        expires_at INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX state_expiry ON state (expires_at) WHERE expires_at IS NOT NULL;
",
    "
    ALTER TABLE meta ADD COLUMN purged INTEGER NOT NULL DEFAULT 0;
    UPDATE meta SET purged = coalesce((SELECT min(seq) FROM events), head + 1) - 1;
",
];

/// Bytes of a page.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Returns where the database of a store is.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("store.db")
}

/// Opens the writer's connection, making or updating the file.
pub(super) fn open_writer(dir: &Path) -> Result<Connection, OpenError> {
    let path = path(dir);
    let is_new = !path.exists();
    let database = |source| OpenError::Database {
        path: path.clone(),
        source,
    };
    let conn = Connection::open_with_flags(
        &path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(database)?;
    check(&conn, &path)?;
    prepare(&conn).map_err(database)?;
    if is_new {
        let sync = |dir: &Path| File::open(dir).and_then(|dir| dir.sync_all());
        sync(dir)
            .and_then(|()| {
                dir.parent()
                    .filter(|p| !p.as_os_str().is_empty())
                    .map_or(Ok(()), sync)
            })
            .map_err(|source| OpenError::Io {
                path: dir.to_owned(),
                source,
            })?;
    }
    Ok(conn)
}

fn check(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let database = |source| OpenError::Database {
        path: path.to_owned(),
        source,
    };
    let read = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let application_id = read("application_id").map_err(database)?;
    let version = read("user_version").map_err(database)?;
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(database)?;
    if application_id != APPLICATION_ID && (application_id != 0 || tables != 0) {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
            found: application_id,
        });
    }
    if version > VERSION {
        let path = path.to_owned();
        return Err(OpenError::Newer {
            path,
            found: version,
            supported: VERSION,
        });
    }
    Ok(())
}

fn prepare(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let version: i32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        // Only before the first page is written; later they would rewrite the header at every start.
        conn.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    let synchronous = if planted("ack_before_fsync") {
        "NORMAL"
    } else {
        "FULL"
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
    conn.pragma_update(None, "cache_size", -16_384)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(64);
    update(conn, version)?;
    match truncate(conn) {
        Err(error) if !is_full(&error) => Err(error),
        _ => Ok(()),
    }
}

fn update(conn: &Connection, version: i32) -> rusqlite::Result<()> {
    let steps = STEPS.get(version.max(0) as usize..).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    let transaction = conn.unchecked_transaction()?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Copies the whole write-ahead log into the database and empties it. Only at open and close.
pub(super) fn truncate(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Opens a reader's connection to a store that has been opened before.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Failed> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.pragma_update(None, "cache_size", -4_096)?;
        conn.busy_timeout(std::time::Duration::from_secs(5))?;
        conn.set_prepared_statement_cache_capacity(32);
        Ok(conn)
    };
    open().map_err(|error: rusqlite::Error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::super::apply::Marks;
    use super::*;

    #[test]
    fn an_older_layout_learns_what_is_surely_gone() {
        for (events, purged) in [
            ("", 9),
            (
                "INSERT INTO events VALUES (7, 1, 1, 0, NULL, NULL, x'00');",
                6,
            ),
        ] {
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(STEPS[0]).unwrap();
            conn.execute_batch("UPDATE meta SET next_seq = 10, head = 9;")
                .unwrap();
            conn.execute_batch(events).unwrap();
            update(&conn, 1).unwrap();
            let marks = Marks::read(&conn).unwrap();
            assert_eq!((marks.head, marks.purged), (9, purged));
        }
        let conn = Connection::open_in_memory().unwrap();
        update(&conn, 0).unwrap();
        assert_eq!(Marks::read(&conn).unwrap().purged, 0);
    }
}
