//! The checks of a weather row, by small files.

use super::*;
use crate::fixture::{csv, job_with, message};

const ROW: &str = "EWR,2013,1,1,1,39.02,26.06,59.37,270,10.357,NA,0,1012,10,2013-01-01T06:00:00Z";

fn extract(rows: &[&str]) -> WeatherTable {
    let (_dir, job) = job_with("weather.csv", csv(&COLUMNS, rows).as_bytes());
    extract_weather(&job).unwrap()
}

fn check(from: &str, to: &str, expect: &str) {
    assert!(ROW.contains(from));
    let table = extract(&[&ROW.replacen(from, to, 1)]);
    assert_eq!(table.checked.rejected[0].reason, expect);
    assert_eq!((table.checked.read, table.checked.rejected[0].line), (1, 2));
    assert!(table.origin.is_empty());
}

#[test]
fn rows_become_columns_and_na_is_null() {
    let unmeasured = ROW
        .replacen(",0,1012", ",NA,NA", 1)
        .replacen("EWR", "LGA", 1);
    let table = extract(&[ROW, &unmeasured]);
    assert_eq!(table.origin, [Origin::Ewr, Origin::Lga]);
    assert_eq!(table.hour, [6, 6]);
    assert_eq!(table.precip, [Some(0.0), None]);
    assert_eq!(
        table.checked,
        Checked {
            read: 2,
            rejected: vec![]
        }
    );
}

#[test]
fn a_row_is_rejected_for_a_field_out_of_its_type_or_range() {
    check("EWR", "BOS", r#"origin is "BOS", expected EWR, JFK or LGA"#);
    check("2013", "NA", r#"year is "NA", expected 2013"#);
    check(
        "39.02",
        "cold",
        r#"temp is "cold", expected a number from -80 to 140 or NA"#,
    );
    check(
        "59.37",
        "101",
        r#"humid is "101", expected a number from 0 to 100 or NA"#,
    );
    check(
        "270",
        "270.5",
        r#"wind_dir is "270.5", expected an integer from 0 to 360 or NA"#,
    );
    check(
        ",0,",
        ",-0.1,",
        r#"precip is "-0.1", expected a number from 0 to 20 or NA"#,
    );
    check(
        "1012",
        "1",
        r#"pressure is "1", expected a number from 850 to 1100 or NA"#,
    );
    check(
        "1,1,1,",
        "2,30,1,",
        "day is 30, which disagrees with the length of the month",
    );
    check(
        "T06",
        "T08",
        r#"time_hour is "2013-01-01T08:00:00Z", expected the row's hour in New York, 4 or 5 hours later"#,
    );
    check(",10,2013-", ",2013-", "the row has 14 of 15 fields");
}

#[test]
fn a_second_row_of_the_same_airport_and_hour_is_rejected() {
    let table = extract(&[ROW, ROW]);
    assert_eq!(table.origin.len(), 1);
    assert_eq!(
        table.checked.rejected[0].to_string(),
        "weather.csv line 3: time_hour is 6, which disagrees with an earlier row of the same airport and hour"
    );
}

#[test]
fn another_header_is_an_error() {
    let (dir, job) = job_with("weather.csv", b"origin,year\n");
    let error = message(&dir, &extract_weather(&job).unwrap_err());
    assert!(error.starts_with(
        "read weather.csv at line 1: the header is `origin,year`, expected `origin,year,month"
    ));
}
