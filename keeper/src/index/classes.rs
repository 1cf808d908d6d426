//! Classes: requests of one function, flow, version and status. Lists go through the classes that they
//! ask for, each in the order of acceptance, and whatever is counted is counted by class.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, params};

use super::IndexError;
use crate::row::Row;
use crate::summary::{Filter, STATUSES, Status};

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests by status.
    pub by_status: BTreeMap<Status, u64>,
    /// Those for which anything is still to be done.
    pub open: u64,
    /// Those that nothing is to be done for.
    pub settled: u64,
    /// About how many bytes the logs of settled requests take.
    pub settled_bytes: u64,
    /// Those that can be restarted.
    pub kept: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Classes {
    ids: HashMap<Class, i64>,
    by_id: HashMap<i64, (Class, Count)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    function: String,
    flow: String,
    version: String,
    status: Status,
    is_open: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    requests: u64,
    bytes: u64,
}

impl Classes {
    /// Those with any requests; others are forgotten.
    pub(crate) fn load(connection: &Connection) -> Result<Self, IndexError> {
        connection.execute(
            "DELETE FROM classes WHERE NOT EXISTS \
             (SELECT 1 FROM requests WHERE requests.class = classes.id)",
            [],
        )?;
        let mut classes = Self::default();
        let mut statement = connection
            .prepare("SELECT id, function, flow, version, status, is_open FROM classes")?;
        let found = statement.query_map([], |row| {
            let status = STATUSES.get(row.get::<_, usize>(4)?).copied();
            let class = Class {
                function: row.get(1)?,
                flow: row.get(2)?,
                version: row.get(3)?,
                status: status.unwrap_or(Status::Lost),
                is_open: row.get(5)?,
            };
            Ok((row.get(0)?, class))
        })?;
        for entry in found {
            let (id, class): (i64, Class) = entry?;
            classes.ids.insert(class.clone(), id);
            classes.by_id.insert(id, (class, Count::default()));
        }
        let mut statement = connection
            .prepare("SELECT class, count(*), sum(log_bytes) FROM requests GROUP BY class")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some((_, count)) = classes.by_id.get_mut(&row.get(0)?) {
                (count.requests, count.bytes) = (row.get(1)?, row.get(2)?);
            }
        }
        Ok(classes)
    }

    pub(crate) fn of(&mut self, connection: &Connection, row: &Row) -> Result<i64, IndexError> {
        let class = Class {
            function: row.function.as_str().to_owned(),
            flow: row.flow.as_str().to_owned(),
            version: row.version.clone(),
            status: row.status(),
            is_open: row.is_open(),
        };
        if let Some(id) = self.ids.get(&class) {
            return Ok(*id);
        }
        let status = STATUSES.iter().position(|status| *status == class.status);
        connection
            .prepare_cached(
                "INSERT INTO classes (function, flow, version, status, is_open) \
                 VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![
                class.function,
                class.flow,
                class.version,
                status.unwrap_or(0),
                class.is_open
            ])?;
        let id = connection.last_insert_rowid();
        self.ids.insert(class.clone(), id);
        self.by_id.insert(id, (class, Count::default()));
        Ok(id)
    }

    pub(crate) fn add(&mut self, class: i64, bytes: u64) {
        if let Some((_, count)) = self.by_id.get_mut(&class) {
            count.requests += 1;
            count.bytes += bytes;
        }
    }

    pub(crate) fn sub(&mut self, class: i64, bytes: u64) {
        if let Some((_, count)) = self.by_id.get_mut(&class) {
            count.requests = count.requests.saturating_sub(1);
            count.bytes = count.bytes.saturating_sub(bytes);
        }
    }

    /// The classes that a list goes through.
    pub(crate) fn of_list(&self, filter: &Filter) -> Vec<i64> {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let matches = |class: &Class| {
            is(&filter.function, &class.function)
                && is(&filter.flow, &class.flow)
                && filter.status.is_none_or(|status| status == class.status)
        };
        let found = self.by_id.iter();
        let found = found.filter(|(_, (class, count))| count.requests > 0 && matches(class));
        found.map(|(id, _)| *id).collect()
    }

    /// Whether anything is still to be done for a request on this version.
    pub(crate) fn uses(&self, flow: &str, version: &str) -> bool {
        let is = |class: &Class| class.is_open && class.flow == flow && class.version == version;
        self.by_id
            .values()
            .any(|(class, count)| count.requests > 0 && is(class))
    }

    pub(crate) fn counts(&self, kept: u64) -> Counts {
        let mut counts = Counts {
            kept,
            ..Counts::default()
        };
        for (class, count) in self.by_id.values() {
            *counts.by_status.entry(class.status).or_default() += count.requests;
            if class.is_open {
                counts.open += count.requests;
            } else if class.status != Status::Lost {
                counts.settled += count.requests;
                counts.settled_bytes += count.bytes;
            }
        }
        counts
    }
}
