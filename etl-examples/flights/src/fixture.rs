//! Small files and rows for the tests of this package.

use std::fs;

use tempfile::TempDir;

use crate::extract::ExtractError;
use crate::flights;
use crate::job::Job;

/// A flight that arrived, one that was cancelled and one that did not arrive, in two months.
pub(crate) const ARRIVED: &str =
    "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z";
pub(crate) const CANCELLED: &str =
    "2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,NA,EWR,RDU,NA,416,16,30,2013-01-01T21:00:00Z";
pub(crate) const DIVERTED: &str =
    "2013,7,4,1525,1530,-5,1934,1805,NA,MQ,4525,N719MQ,LGA,XNA,NA,1147,15,30,2013-07-04T19:00:00Z";

/// A job whose folder holds one file with these bytes.
pub(crate) fn job_with(name: &str, content: &[u8]) -> (TempDir, Job) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), content).unwrap();
    let job = Job {
        data: dir.path().to_owned(),
        out: dir.path().join("out/report.sqlite"),
        rejected_max: 100,
    };
    (dir, job)
}

/// A file of this header and these rows.
pub(crate) fn csv(columns: &[&str], rows: &[&str]) -> String {
    let mut text = columns.join(",") + "\n";
    for row in rows {
        text += row;
        text += "\n";
    }
    text
}

/// A file of flights.
pub(crate) fn flights_csv(rows: &[&str]) -> String {
    csv(&flights::COLUMNS, rows)
}

/// The message of an error without the folder, which is another one in every run.
pub(crate) fn message(dir: &TempDir, error: &ExtractError) -> String {
    error
        .to_string()
        .replace(&format!("{}/", dir.path().display()), "")
}
