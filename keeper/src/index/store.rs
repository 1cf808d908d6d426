//! Rows into the tables.

use rusqlite::{Connection, OptionalExtension as _, params};
use turlough_sdk::RequestId;

use super::{Entry, HOT_MAX, Index, IndexError, points};
use crate::row::Row;

const PUT: &str = "INSERT INTO requests (id, class, accepted_us, parent, holder, condemned_us, \
    due_wall_us, due_own_us, kept_until_us, settled_us, is_doomed, last_seq, log_bytes, rest, call_id) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) \
    ON CONFLICT (id) DO UPDATE SET class = ?2, accepted_us = ?3, parent = ?4, holder = ?5, \
    condemned_us = ?6, due_wall_us = ?7, due_own_us = ?8, kept_until_us = ?9, settled_us = ?10, \
    is_doomed = ?11, last_seq = ?12, log_bytes = ?13, rest = ?14, call_id = ?15";

const TAKE: &str = "DELETE FROM requests WHERE id = ? \
    RETURNING class, log_bytes, kept_until_us IS NOT NULL";

/// How a row is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) class: i64,
    log_bytes: u64,
    is_kept: bool,
}

impl Tally {
    pub(crate) fn new(class: i64, row: &Row) -> Self {
        Self {
            class,
            log_bytes: row.log_bytes,
            is_kept: row.kept_until_us().is_some(),
        }
    }
}

impl Index {
    /// Stores what changed, and how far the logs were followed.
    pub(crate) fn flush(&mut self) -> Result<(), IndexError> {
        if self.dirty.is_empty() && !self.is_moved {
            return Ok(());
        }
        self.check()?;
        let wall_us = self.clock.wall_us();
        self.in_transaction(|index| {
            for request in std::mem::take(&mut index.dirty) {
                let Some(mut entry) = index.hot.remove(&request) else {
                    continue;
                };
                if entry.is_dirty {
                    index.put(request, &mut entry, wall_us)?;
                }
                if entry.row.is_open() && entry.row.is_held {
                    index.hot.insert(request, entry);
                }
            }
            if let Some(point) = index.position.filter(|_| index.is_moved) {
                points::put(&index.connection, point)?;
            }
            Ok(())
        })?;
        self.is_moved = false;
        if self.hot.len() > HOT_MAX {
            self.hot.clear();
        }
        self.tell()
    }

    fn put(
        &mut self,
        request: RequestId,
        entry: &mut Entry,
        wall_us: u64,
    ) -> Result<(), IndexError> {
        let row = &entry.row;
        let plan = row.plan(wall_us, &self.rules);
        let tally = Tally::new(self.classes.of(&self.connection, row)?, row);
        let rest = rmp_serde::to_vec(row).map_err(|e| IndexError::Unreadable(e.to_string()))?;
        let (id, parent) = (request.as_uuid(), row.parent.map(|parent| parent.as_uuid()));
        let holder = row.holder().map(|holder| holder.as_uuid());
        self.connection.prepare_cached(PUT)?.execute(params![
            id.as_bytes().as_slice(),
            tally.class,
            number(row.accepted_us),
            parent.as_ref().map(|parent| parent.as_bytes().as_slice()),
            holder.as_ref().map(|holder| holder.as_bytes().as_slice()),
            number(row.condemned_us),
            plan.wall_us.map(number),
            plan.own_us.map(number),
            row.kept_until_us().map(number),
            row.settled_us.map(number),
            row.is_doomed.then_some(1),
            number(row.last_seq),
            number(row.log_bytes),
            rest,
            row.call_id,
        ])?;
        self.count(entry.stored.replace(tally), Some(tally));
        entry.is_dirty = false;
        Ok(())
    }

    fn count(&mut self, before: Option<Tally>, after: Option<Tally>) {
        if let Some(before) = before {
            self.classes.sub(before.class, before.log_bytes);
            self.kept = self.kept.saturating_sub(u64::from(before.is_kept));
        }
        if let Some(after) = after {
            self.classes.add(after.class, after.log_bytes);
            self.kept += u64::from(after.is_kept);
        }
    }

    /// Takes rows out.
    pub(crate) fn remove(&mut self, requests: &[RequestId]) -> Result<(), IndexError> {
        self.flush()?;
        self.in_transaction(|index| {
            for request in requests {
                index.hot.remove(request);
                let id = request.as_uuid();
                let mut statement = index.connection.prepare_cached(TAKE)?;
                let gone = statement.query_row([id.as_bytes().as_slice()], |row| {
                    Ok(Tally {
                        class: row.get(0)?,
                        log_bytes: row.get(1)?,
                        is_kept: row.get(2)?,
                    })
                });
                let gone = gone.optional()?;
                drop(statement);
                index.count(gone, None);
            }
            Ok(())
        })?;
        self.tell()
    }

    fn in_transaction(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let say = |connection: &Connection, sql: &str| -> Result<(), IndexError> {
            connection.prepare_cached(sql)?.execute([])?;
            Ok(())
        };
        say(&self.connection, "BEGIN IMMEDIATE")?;
        match work(self) {
            Ok(()) => say(&self.connection, "COMMIT"),
            Err(error) => {
                // What is in memory is not what is in the tables now: whoever sees the error begins
                // anew.
                drop(say(&self.connection, "ROLLBACK"));
                Err(error)
            }
        }
    }
}

pub(crate) fn decode(rest: &[u8]) -> Result<Row, IndexError> {
    rmp_serde::from_slice(rest).map_err(|error| IndexError::Unreadable(error.to_string()))
}

/// As SQLite takes it, whose numbers have a sign.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
