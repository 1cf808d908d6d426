//! Lists: newest first, in the order of acceptance, whatever the ids are.

use std::collections::BinaryHeap;

use rusqlite::{Connection, OptionalExtension as _, Row, Rows, Statement, ToSql, params};
use turlough_sdk::RequestId;
use uuid::Uuid;

use super::store::{decode, number};
use super::{Index, IndexError};
use crate::summary::{Filter, Summary};

/// All requests before a place.
pub(super) const OF_ALL: &str = "SELECT accepted_us, id, rest FROM requests \
    WHERE (accepted_us, id) < (?1, ?2) ORDER BY accepted_us DESC, id DESC LIMIT ?3";
/// Those of a class.
pub(super) const OF_CLASS: &str = "SELECT accepted_us, id, rest FROM requests \
    WHERE class = ?4 AND (accepted_us, id) < (?1, ?2) \
    ORDER BY accepted_us DESC, id DESC LIMIT ?3";
/// Those of a parent.
pub(super) const OF_PARENT: &str = "SELECT accepted_us, id, rest, class FROM requests \
    WHERE parent = ?3 AND (accepted_us, id) < (?1, ?2) ORDER BY accepted_us DESC, id DESC";
/// Those that a call began.
pub(super) const OF_CALL: &str = "SELECT accepted_us, id, rest, class FROM requests \
    WHERE call_id = ?3 AND (accepted_us, id) < (?1, ?2) ORDER BY accepted_us DESC, id DESC";
pub(super) const RANK: &str = "SELECT accepted_us FROM requests WHERE id = ?";

/// A place in the order of acceptance.
type Rank = (i64, [u8; 16]);
type Found = (RequestId, Summary);

impl Index {
    /// Newest first; none where nobody can say when `before` was accepted.
    pub(crate) fn list(&mut self, filter: &Filter) -> Result<Option<Vec<Found>>, IndexError> {
        self.flush()?;
        let end = match filter.before {
            None => (i64::MAX, [0xFF; 16]),
            Some(before) => match rank(&self.connection, before)? {
                Some(rank) => rank,
                None => return Ok(None),
            },
        };
        let found = match (filter.parent, &filter.call_id) {
            (Some(parent), _) => {
                let parent = parent.as_uuid().as_bytes().to_vec();
                self.few(OF_PARENT, &parent, filter, end)?
            }
            (None, Some(call_id)) => self.few(OF_CALL, call_id, filter, end)?,
            (None, None) if filter.has_class() => self.of_classes(filter, end)?,
            (None, None) => {
                let mut statement = self.connection.prepare_cached(OF_ALL)?;
                let rows = statement.query(params![end.0, end.1, filter.limit])?;
                all(rows)?
            }
        };
        Ok(Some(found))
    }

    /// Those that something else names, which are few: each is looked at.
    fn few(
        &self,
        statement: &str,
        of: &dyn ToSql,
        filter: &Filter,
        end: Rank,
    ) -> Result<Vec<Found>, IndexError> {
        let classes = self.classes.of_list(filter);
        let mut statement = self.connection.prepare_cached(statement)?;
        let mut rows = statement.query(params![end.0, end.1, of])?;
        let mut list = Vec::new();
        while list.len() < filter.limit
            && let Some(row) = rows.next()?
        {
            let is_of_class = !filter.has_class() || classes.contains(&row.get(3)?);
            let (request, summary) = found(row)?;
            let is_of_call = filter.call_id.is_none() || summary.call_id == filter.call_id;
            if is_of_class && is_of_call {
                list.push((request, summary));
            }
        }
        Ok(list)
    }

    /// The newest of several classes: each is read as far as it has a part in the page.
    fn of_classes(&self, filter: &Filter, end: Rank) -> Result<Vec<Found>, IndexError> {
        let classes = self.classes.of_list(filter);
        let prepared: Result<Vec<Statement<'_>>, _> = classes
            .iter()
            .map(|_| self.connection.prepare(OF_CLASS))
            .collect();
        let mut prepared = prepared?;
        let mut rows = Vec::with_capacity(prepared.len());
        for (statement, class) in prepared.iter_mut().zip(&classes) {
            rows.push(statement.query(params![end.0, end.1, filter.limit, class])?);
        }
        let mut heads = BinaryHeap::new();
        for (place, rows) in rows.iter_mut().enumerate() {
            heads.extend(head(rows, place)?);
        }
        let mut list = Vec::new();
        while list.len() < filter.limit
            && let Some(Head { rank, place, rest }) = heads.pop()
        {
            let row = decode(&rest)?;
            list.push((request_of(rank.1), row.summary()));
            heads.extend(head(&mut rows[place], place)?);
        }
        Ok(list)
    }

    pub(crate) fn uses(&mut self, flow: &str, version: &str) -> Result<bool, IndexError> {
        self.flush()?;
        Ok(self.classes.uses(flow, version))
    }
}

/// The next of a class.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    rank: Rank,
    place: usize,
    rest: Vec<u8>,
}

fn head(rows: &mut Rows<'_>, place: usize) -> Result<Option<Head>, IndexError> {
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Head {
        rank: (row.get(0)?, row.get(1)?),
        place,
        rest: row.get(2)?,
    }))
}

fn all(mut rows: Rows<'_>) -> Result<Vec<Found>, IndexError> {
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        list.push(found(row)?);
    }
    Ok(list)
}

fn found(row: &Row<'_>) -> Result<Found, IndexError> {
    let rest = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok((request_of(row.get(1)?), decode(rest)?.summary()))
}

pub(super) const fn request_of(id: [u8; 16]) -> RequestId {
    RequestId::from_uuid(Uuid::from_bytes(id))
}

/// Where a request stands or stood. Of a forgotten one the id tells the millisecond, if it is one that
/// holds a time: the end of it, so that nothing is left out.
fn rank(connection: &Connection, request: RequestId) -> Result<Option<Rank>, IndexError> {
    let uuid = request.as_uuid();
    let mut statement = connection.prepare_cached(RANK)?;
    let known = statement.query_row([uuid.as_bytes().as_slice()], |row| row.get(0));
    if let Some(accepted_us) = known.optional()? {
        return Ok(Some((accepted_us, uuid.into_bytes())));
    }
    let Some((seconds, nanos)) = uuid.get_timestamp().map(|at| at.to_unix()) else {
        return Ok(None);
    };
    let ms = seconds
        .checked_mul(1_000)
        .map(|ms| ms + u64::from(nanos) / 1_000_000);
    let at_us = ms.and_then(|ms| ms.checked_add(1)?.checked_mul(1_000));
    Ok(at_us.map(|at_us| (number(at_us), [0; 16])))
}
