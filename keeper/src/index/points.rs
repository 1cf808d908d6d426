//! Points: places in the logs with what stood there, some minutes of them. Where the logs lost their
//! tail, the newest that still stands is where following goes on.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use turlough_statestore::AppendId;

use super::store::number;
use super::{IndexError, Point};

/// How far points lie apart, and for how long they are kept: 600 of them. A tail that is lost is
/// seconds long; beyond that the index is rebuilt.
const APART_US: u64 = 1_000_000;
const KEPT_US: u64 = 600_000_000;

/// Where the logs were followed to.
pub(crate) fn newest(connection: &Connection) -> Result<Option<Point>, IndexError> {
    let sql = "SELECT seq, append, own_us FROM points ORDER BY seq DESC LIMIT 1";
    let found = connection.query_row(sql, [], point).optional()?;
    Ok(found)
}

/// All points, the newest first.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Point>, IndexError> {
    let mut statement =
        connection.prepare("SELECT seq, append, own_us FROM points ORDER BY seq DESC")?;
    let found = statement.query_map([], point)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Puts the newest point, and takes out those that it makes needless.
pub(crate) fn put(connection: &Connection, point: Point) -> Result<(), IndexError> {
    let (seq, own_us) = (number(point.seq), number(point.own_us));
    // Of two that lie close together behind the newest, the later goes.
    let close = "DELETE FROM points WHERE seq = (SELECT max(seq) FROM points) AND own_us < ?2 \
        AND own_us - (SELECT own_us FROM points ORDER BY seq DESC LIMIT 1 OFFSET 1) < ?1";
    connection
        .prepare_cached(close)?
        .execute(params![number(APART_US), own_us])?;
    // What lies above is of a tail that was lost.
    connection
        .prepare_cached("DELETE FROM points WHERE seq > ?")?
        .execute([seq])?;
    let old = "DELETE FROM points WHERE seq = (SELECT min(seq) FROM points) AND own_us < ?";
    connection
        .prepare_cached(old)?
        .execute([number(point.own_us.saturating_sub(KEPT_US))])?;
    let id = point.id.map(|id| id.0.to_be_bytes().to_vec());
    connection
        .prepare_cached("INSERT OR REPLACE INTO points VALUES (?, ?, ?)")?
        .execute(params![seq, id, own_us])?;
    Ok(())
}

fn point(row: &Row<'_>) -> Result<Point, rusqlite::Error> {
    let seq: i64 = row.get(0)?;
    let own_us: i64 = row.get(2)?;
    let id: Option<[u8; 16]> = row.get(1)?;
    Ok(Point {
        seq: seq.cast_unsigned(),
        id: id.map(|id| AppendId(u128::from_be_bytes(id))),
        own_us: own_us.cast_unsigned(),
    })
}
