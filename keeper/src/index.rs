//! The index of requests: a projection of the logs in SQLite, with the rows that change in memory.
//!
//! Invariants: rows and the position in the logs are stored in one transaction, so that following on
//! from the position is right; whatever reads the tables stores first; what is settled leaves memory.

mod classes;
mod duties;
mod lists;
mod points;
mod schema;
mod store;
mod thread;

pub(crate) use duties::{Condemned, Question};
pub(crate) use thread::Indexed;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::watch;
use turlough_sdk::{RequestId, TenantId};
use turlough_statestore::{AppendId, Event, Followed, Seq};

use crate::clock::{Clock, Now};
use crate::options::IndexPlace;
use crate::row::{Plan, Row, Rules, happened_us};
use classes::Classes;
pub use classes::Counts;
use store::Tally;

/// Changed rows that are stored at once, if their time does not come first: some milliseconds of work.
const DIRTY_MAX: usize = 1_000;
/// Rows that stay in memory: those of open requests that changed last. About 1 KiB each.
const HOT_MAX: usize = 20_000;

/// What went wrong with the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite does not take it.
    #[error("index of requests")]
    Sqlite(#[from] rusqlite::Error),
    /// A row does not read back.
    #[error("index of requests holds a row that cannot be read: {0}")]
    Unreadable(String),
    /// The file cannot be made or looked at.
    #[error("index of requests at {path}")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its file was taken away.
    #[error("index of requests is not where it was put")]
    Gone,
    /// Its thread has ended.
    #[error("index of requests is closed")]
    Closed,
}

/// The index. It blocks: one thread owns it.
#[derive(Debug)]
pub(crate) struct Index {
    place: IndexPlace,
    tenant: TenantId,
    clock: Clock,
    rules: Rules,
    connection: Connection,
    file: Option<schema::FileId>,
    hot: HashMap<RequestId, Entry>,
    dirty: Vec<RequestId>,
    position: Option<Point>,
    /// The highest place that the tables may know of: above it, what is accepted is new.
    highest: u64,
    is_moved: bool,
    classes: Classes,
    kept: u64,
    told: Told,
}

/// What others see of the index without asking its thread.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) plan: watch::Sender<Plan>,
    pub(crate) counts: Arc<Mutex<Counts>>,
    /// When the newest event happened that was followed, Unix time in µs.
    pub(crate) newest: watch::Sender<Newest>,
}

/// How far the logs were followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Newest {
    pub(crate) seq: u64,
    pub(crate) at_us: u64,
}

/// A place in the logs, and what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) seq: u64,
    /// None where it could not be read.
    pub(crate) id: Option<AppendId>,
    /// Own time at which it was met.
    pub(crate) own_us: u64,
}

/// A row in memory.
#[derive(Debug)]
struct Entry {
    row: Row,
    /// As it is counted in the tables; none where it is not in them.
    stored: Option<Tally>,
    is_dirty: bool,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            plan: watch::Sender::new(Plan::default()),
            counts: Arc::default(),
            newest: watch::Sender::new(Newest::default()),
        }
    }
}

impl Index {
    /// Opens an index, or makes one: where it is of another version or tenant, or does not read.
    pub(crate) fn open(
        place: &IndexPlace,
        tenant: &TenantId,
        clock: &Clock,
        rules: Rules,
        told: Told,
    ) -> Result<Self, IndexError> {
        let (connection, file) = schema::open(place, tenant)?;
        let mut index = Self {
            place: place.clone(),
            tenant: tenant.clone(),
            clock: clock.clone(),
            rules,
            connection,
            file,
            hot: HashMap::new(),
            dirty: Vec::new(),
            position: None,
            highest: 0,
            is_moved: false,
            classes: Classes::default(),
            kept: 0,
            told,
        };
        index.load()?;
        Ok(index)
    }

    /// What is known before any row is read.
    fn load(&mut self) -> Result<(), IndexError> {
        self.classes = Classes::load(&self.connection)?;
        let one = |sql: &str| -> Result<u64, IndexError> {
            Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
        };
        self.kept = one("SELECT count(*) FROM requests WHERE kept_until_us IS NOT NULL")?;
        self.position = points::newest(&self.connection)?;
        self.highest = self.position.map_or(0, |point| point.seq);
        let ahead_us = self.clock.own_us().saturating_add(self.rules.horizon_us());
        // Stored by a process whose clock was ahead of this one's.
        self.connection.execute(
            "UPDATE requests SET due_own_us = 0 WHERE due_own_us > ?",
            params![store::number(ahead_us)],
        )?;
        self.connection.execute(
            "UPDATE requests SET condemned_us = 0 WHERE holder IS NOT NULL AND condemned_us > ?",
            params![store::number(ahead_us)],
        )?;
        self.tell()
    }

    /// Begins with nothing, where the index is lost.
    pub(crate) fn reset(&mut self) -> Result<(), IndexError> {
        self.forget();
        let aside = Connection::open_in_memory()?;
        drop(std::mem::replace(&mut self.connection, aside));
        schema::remove(&self.place);
        let (connection, file) = schema::open(&self.place, &self.tenant)?;
        (self.connection, self.file) = (connection, file);
        self.load()
    }

    /// Begins with what the tables hold, after something could not be stored.
    pub(crate) fn reload(&mut self) -> Result<(), IndexError> {
        self.forget();
        self.load()
    }

    /// Forgets all rows, where no place in the logs is known to be right.
    pub(crate) fn clear(&mut self) -> Result<(), IndexError> {
        self.forget();
        self.connection
            .execute_batch("DELETE FROM requests; DELETE FROM points; DELETE FROM classes;")?;
        self.load()
    }

    fn forget(&mut self) {
        self.hot.clear();
        self.dirty.clear();
        (self.position, self.is_moved) = (None, false);
    }

    /// Notices that its file was taken away or replaced.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        let IndexPlace::File(path) = &self.place else {
            return Ok(());
        };
        if schema::FileId::of(path) == self.file {
            Ok(())
        } else {
            Err(IndexError::Gone)
        }
    }

    /// Takes what was followed. True where rows wait to be stored.
    pub(crate) fn apply(&mut self, followed: &[Followed]) -> Result<bool, IndexError> {
        let own_us = self.clock.own_us();
        let mut newest = *self.told.newest.borrow();
        for record in followed {
            let seq = record.seq.get();
            let mut id = None;
            if let (Some(request), Ok(append)) = (record.request, &record.append) {
                id = Some(append.envelope.id);
                self.fold(request, record.seq, append, own_us)?;
                let at_us = append.events.iter().filter_map(happened_us).max();
                newest.at_us = at_us.unwrap_or(newest.at_us);
            }
            self.position = Some(Point { seq, id, own_us });
            self.highest = self.highest.max(seq);
            self.is_moved = true;
            newest.seq = seq;
        }
        self.told.newest.send_replace(newest);
        if self.dirty.len() >= DIRTY_MAX {
            self.flush()?;
        }
        Ok(self.is_moved || !self.dirty.is_empty())
    }

    fn fold(
        &mut self,
        request: RequestId,
        seq: Seq,
        append: &turlough_statestore::Append,
        own_us: u64,
    ) -> Result<(), IndexError> {
        let seq = seq.get();
        // An id that was drawn just now, above all that the tables know of, is not in them.
        let begins = |event: &Event| matches!(event, Event::Accepted(_));
        let is_new = seq > self.highest
            && request.as_uuid().get_version_num() == 7
            && append.events.iter().any(begins);
        if !is_new {
            self.warm(request)?;
        }
        let entry = self.hot.remove(&request);
        let (row, stored, was_dirty) = match entry {
            Some(entry) => (Some(entry.row), entry.stored, entry.is_dirty),
            None => (None, None, false),
        };
        if let Some(row) = Row::fold(row, seq, append, own_us) {
            let is_dirty = true;
            let entry = Entry {
                row,
                stored,
                is_dirty,
            };
            self.hot.insert(request, entry);
            if !was_dirty {
                self.dirty.push(request);
            }
        }
        Ok(())
    }

    /// Changes a row that is there.
    fn change<T>(
        &mut self,
        request: RequestId,
        change: impl FnOnce(&mut Row) -> T,
    ) -> Result<Option<T>, IndexError> {
        self.warm(request)?;
        let Some(entry) = self.hot.get_mut(&request) else {
            return Ok(None);
        };
        if !entry.is_dirty {
            entry.is_dirty = true;
            self.dirty.push(request);
        }
        Ok(Some(change(&mut entry.row)))
    }

    /// A row, from memory or the tables.
    pub(crate) fn row(&mut self, request: RequestId) -> Result<Option<&Row>, IndexError> {
        self.warm(request)?;
        Ok(self.hot.get(&request).map(|entry| &entry.row))
    }

    fn warm(&mut self, request: RequestId) -> Result<(), IndexError> {
        if self.hot.contains_key(&request) {
            return Ok(());
        }
        let sql = "SELECT class, rest FROM requests WHERE id = ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let id = request.as_uuid();
        let found = statement.query_row(params![id.as_bytes().as_slice()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        });
        if let Some((class, rest)) = found.optional()? {
            let row = store::decode(&rest)?;
            let stored = Some(Tally::new(class, &row));
            let entry = Entry {
                row,
                stored,
                is_dirty: false,
            };
            self.hot.insert(request, entry);
        }
        Ok(())
    }

    /// What a request comes to, now that its log was read anew; none where it is gone. True where an
    /// open request was lost by it.
    pub(crate) fn replace(
        &mut self,
        request: RequestId,
        row: Option<Row>,
    ) -> Result<bool, IndexError> {
        self.warm(request)?;
        let Some(row) = row else {
            let lost = self.change(request, |row| row.is_open().then(|| row.lose()))?;
            if lost == Some(None) {
                self.remove(&[request])?;
            }
            return Ok(matches!(lost, Some(Some(true))));
        };
        let stored = self.hot.remove(&request);
        let was_dirty = stored.as_ref().is_some_and(|entry| entry.is_dirty);
        let mut entry = Entry {
            row,
            stored: None,
            is_dirty: true,
        };
        if let Some(before) = stored {
            entry.row.keep_wishes(&before.row);
            entry.stored = before.stored;
        }
        self.hot.insert(request, entry);
        if !was_dirty {
            self.dirty.push(request);
        }
        Ok(false)
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Shows what was counted.
    fn tell(&self) -> Result<(), IndexError> {
        let plan = self.next_due()?;
        self.told.plan.send_if_modified(|known| {
            let is_new = *known != plan;
            *known = plan;
            is_new
        });
        let counts = self.classes.counts(self.kept);
        *self
            .told
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = counts;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
