//! The tables, and the file that they lie in.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rusqlite::Connection;
use tracing::warn;
use turlough_sdk::TenantId;

use super::IndexError;
use crate::options::IndexPlace;

/// Version of the tables and of the encoding of rows: an index of another one is rebuilt.
const VERSION: i64 = 2;

/// Statements that are kept prepared: all there are.
const STATEMENTS: usize = 64;

const TABLES: &str = "
CREATE TABLE requests (
    id BLOB PRIMARY KEY,
    class INTEGER NOT NULL,
    accepted_us INTEGER NOT NULL,
    parent BLOB,
    call_id TEXT,
    holder BLOB,
    condemned_us INTEGER NOT NULL,
    due_wall_us INTEGER,
    due_own_us INTEGER,
    kept_until_us INTEGER,
    settled_us INTEGER,
    is_doomed INTEGER,
    last_seq INTEGER NOT NULL,
    log_bytes INTEGER NOT NULL,
    rest BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_rank ON requests (accepted_us, id);
CREATE INDEX by_class ON requests (class, accepted_us, id);
CREATE INDEX by_parent ON requests (parent, accepted_us, id) WHERE parent IS NOT NULL;
CREATE INDEX by_call ON requests (call_id, accepted_us, id) WHERE call_id IS NOT NULL;
CREATE INDEX by_wall ON requests (due_wall_us) WHERE due_wall_us IS NOT NULL;
CREATE INDEX by_own ON requests (due_own_us) WHERE due_own_us IS NOT NULL;
CREATE INDEX by_holder ON requests (holder, condemned_us) WHERE holder IS NOT NULL;
CREATE INDEX by_kept ON requests (kept_until_us) WHERE kept_until_us IS NOT NULL;
CREATE INDEX by_settled ON requests (settled_us, log_bytes) WHERE settled_us IS NOT NULL;
CREATE INDEX by_doom ON requests (is_doomed) WHERE is_doomed IS NOT NULL;
CREATE TABLE classes (
    id INTEGER PRIMARY KEY,
    function TEXT NOT NULL,
    flow TEXT NOT NULL,
    version TEXT NOT NULL,
    status INTEGER NOT NULL,
    is_open INTEGER NOT NULL
);
CREATE TABLE points (seq INTEGER PRIMARY KEY, append BLOB, own_us INTEGER NOT NULL);
CREATE TABLE about (tenant TEXT NOT NULL);
";

/// Which file it is that a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        Some(Self {
            device: about.dev(),
            inode: about.ino(),
        })
    }
}

/// Opens the tables of a tenant; makes them anew where they are of another version or do not read.
pub(crate) fn open(
    place: &IndexPlace,
    tenant: &TenantId,
) -> Result<(Connection, Option<FileId>), IndexError> {
    let path = match place {
        IndexPlace::Memory | IndexPlace::Inline => {
            let connection = Connection::open_in_memory()?;
            prepare(&connection, tenant)?;
            return Ok((connection, None));
        }
        IndexPlace::File(path) => path,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(|source| IndexError::File {
            path: path.clone(),
            source,
        })?;
    }
    let opened = open_file(path, tenant);
    let connection = match opened {
        Ok(Some(connection)) => connection,
        Ok(None) => {
            warn!(path = %path.display(), "index is of another version or tenant, and is made anew");
            again(place, path, tenant)?
        }
        Err(error) => {
            warn!(path = %path.display(), %error, "index cannot be read, and is made anew");
            again(place, path, tenant)?
        }
    };
    Ok((connection, FileId::of(path)))
}

fn again(place: &IndexPlace, path: &Path, tenant: &TenantId) -> Result<Connection, IndexError> {
    remove(place);
    open_file(path, tenant)?.ok_or(IndexError::Gone)
}

/// None where it holds something else.
fn open_file(path: &Path, tenant: &TenantId) -> Result<Option<Connection>, IndexError> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(prepare(&connection, tenant)?.then_some(connection))
}

/// False where it holds something else.
fn prepare(connection: &Connection, tenant: &TenantId) -> Result<bool, IndexError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // 16 MiB: the inner pages of the indexes of some million rows.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == VERSION {
        let found: String =
            connection.query_row("SELECT tenant FROM about", [], |row| row.get(0))?;
        return Ok(found == tenant.as_str());
    }
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if version != 0 || tables != 0 {
        return Ok(false);
    }
    connection.execute_batch(&format!("BEGIN; {TABLES}"))?;
    connection.execute("INSERT INTO about VALUES (?)", [tenant.as_str()])?;
    connection.execute_batch(&format!("PRAGMA user_version = {VERSION}; COMMIT;"))?;
    Ok(true)
}

/// Takes the files of an index away.
pub(crate) fn remove(place: &IndexPlace) {
    if let IndexPlace::File(path) = place {
        for end in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(end);
            // One that is not there is as good as gone.
            drop(std::fs::remove_file(&file));
        }
    }
}
