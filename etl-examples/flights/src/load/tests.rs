//! The load against real SQLite files.

use std::error::Error as _;

use super::*;
use crate::month::{CarrierSums, Named, RouteSums, WeatherSums};
use crate::origin::Origin;
use crate::rejected::Rejected;
use crate::sums::{Sums, Tally};

fn report(flights: u64) -> Report {
    let delay = Tally { sum: 10, count: 4 };
    let sums = Sums {
        flights,
        cancelled: 1,
        dep_delay: delay,
        arr_delay: Tally::default(),
    };
    let named = |code: &str, name: Option<&str>| Named {
        code: code.into(),
        name: name.map(Into::into),
    };
    Report {
        flights_read: flights + 1,
        rejected: vec![Rejected {
            source: "flights.csv".into(),
            line: 7,
            reason: "bad".into(),
        }],
        total: sums,
        months: vec![(1, sums)],
        carriers: vec![CarrierSums {
            carrier: named("UA", Some("United")),
            sums,
        }],
        routes: vec![RouteSums {
            origin: Origin::Ewr,
            dest: named("SJU", None),
            sums,
        }],
        weather: vec![WeatherSums {
            origin: Origin::Ewr,
            wet: None,
            sums,
        }],
    }
}

fn job() -> (tempfile::TempDir, Job) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new/folder/report.sqlite");
    (
        dir,
        Job {
            out,
            ..Job::default()
        },
    )
}

/// The rows of every table but the time of a run, as text.
fn rows(file: &Path) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let tables = [
        "SELECT format('%s|%s|%s|%s|%s|%s', carrier, name, flights, cancelled, mean_dep_delay, mean_arr_delay) FROM carrier_delay",
        "SELECT format('%s|%s|%s|%s|%s', month, flights, cancelled, mean_dep_delay, mean_arr_delay) FROM month_delay",
        "SELECT format('%s|%s|%s|%s|%s', origin, dest, dest_name, flights, mean_arr_delay) FROM route",
        "SELECT format('%s|%s|%s|%s', origin, wet, flights, mean_dep_delay) FROM weather_delay",
        "SELECT format('%s|%s|%s', source, line, reason) FROM rejected",
        "SELECT format('%s|%s|%s', request_id, flights_read, rejected) FROM run ORDER BY request_id",
    ];
    let mut all = Vec::new();
    for query in tables {
        let mut statement = connection.prepare(query).unwrap();
        let rows = statement
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap();
        all.extend(rows.map(Result::unwrap));
    }
    all
}

#[test]
fn a_report_becomes_six_tables() {
    let (_dir, job) = job();
    let summary = load(&job, "r1", &report(5)).unwrap();
    assert_eq!(
        rows(&job.out),
        [
            "UA|United|5|1|2.5|",
            "1|5|1|2.5|",
            "EWR|SJU||5|",
            "EWR||5|2.5",
            "flights.csv|7|bad",
            "r1|6|1"
        ]
    );
    assert!(summary.loaded);
    assert_eq!(
        (summary.flights, summary.cancelled, summary.dest_unnamed),
        (5, 1, 5)
    );
    assert_eq!(summary.mean_dep_delay, Some(2.5));
}

#[test]
fn the_same_request_again_changes_nothing() {
    let (_dir, job) = job();
    load(&job, "r1", &report(5)).unwrap();
    let before = fs::read(&job.out).unwrap();
    assert!(!load(&job, "r1", &report(99)).unwrap().loaded);
    assert!(fs::read(&job.out).unwrap() == before);
}

#[test]
fn another_request_replaces_the_report_and_adds_a_run() {
    let (_dir, job) = job();
    load(&job, "r1", &report(5)).unwrap();
    load(&job, "r2", &report(6)).unwrap();
    assert_eq!(
        rows(&job.out),
        [
            "UA|United|6|1|2.5|",
            "1|6|1|2.5|",
            "EWR|SJU||6|",
            "EWR||6|2.5",
            "flights.csv|7|bad",
            "r1|6|1",
            "r2|7|1"
        ]
    );
}

#[test]
fn a_busy_file_may_be_tried_again() {
    let (_dir, job) = job();
    load(&job, "r1", &report(5)).unwrap();
    let other = Connection::open(&job.out).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = load(&job, "r2", &report(6)).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "load into {}: the file is locked by another writer, waited 250 ms; try again",
            job.out.display()
        )
    );
    other.execute_batch("COMMIT").unwrap();
    assert!(load(&job, "r2", &report(6)).unwrap().loaded);
}

#[test]
fn a_reader_that_holds_the_file_makes_it_busy_not_broken() {
    let (_dir, job) = job();
    load(&job, "r1", &report(5)).unwrap();
    let other = Connection::open(&job.out).unwrap();
    other.execute_batch("BEGIN; SELECT * FROM run;").unwrap();
    let mut statement = other.prepare("SELECT * FROM run").unwrap();
    let mut held = statement.query([]).unwrap();
    held.next().unwrap();
    let error = load(&job, "r2", &report(6)).unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[test]
fn a_failure_in_the_middle_leaves_the_file_as_it_was() {
    let (_dir, job) = job();
    load(&job, "r1", &report(5)).unwrap();
    let connection = Connection::open(&job.out).unwrap();
    connection
        .execute_batch("CREATE TRIGGER no BEFORE INSERT ON rejected BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
        .unwrap();
    let before = rows(&job.out);
    let error = load(&job, "r2", &report(6)).unwrap_err();
    assert!(!error.is_retryable());
    assert_eq!(
        error.to_string(),
        format!("load into {}; nothing was changed", job.out.display())
    );
    assert_eq!(error.source().unwrap().to_string(), "disk is full");
    assert_eq!(rows(&job.out), before);
}

#[test]
fn a_sink_that_cannot_be_written_is_named() {
    let (dir, mut job) = job();
    let plain = dir.path().join("plain");
    fs::write(
        &plain,
        "not a database, and longer than the header that SQLite looks for at the start of a file"
            .repeat(9),
    )
    .unwrap();
    job.out = plain.join("report.sqlite");
    let error = load(&job, "r1", &report(5)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "make the folder {} for the report; set `out` to a file that can be written",
            plain.display()
        )
    );
    for out in [dir.path().to_owned(), plain.clone()] {
        job.out = out;
        let error = load(&job, "r1", &report(5)).unwrap_err();
        assert!(!error.is_retryable());
        assert_eq!(
            error.to_string(),
            format!(
                "open {} as a SQLite database; set `out` to a file that can be written",
                job.out.display()
            )
        );
    }
    assert!(
        fs::read_to_string(plain)
            .unwrap()
            .starts_with("not a database")
    );
}
