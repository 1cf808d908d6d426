//! The file as a whole and the checks of a row, by small files.

use std::fs;

use super::*;
use crate::fixture::{ARRIVED, CANCELLED, DIVERTED, csv, flights_csv, job_with, message};

fn extract(content: &[u8]) -> Result<Vec<FlightMonth>, String> {
    let (dir, job) = job_with("flights.csv", content);
    extract_flights(&job).map_err(|error| message(&dir, &error))
}

/// Replaces one field of the flight that arrived and gives the reason of its rejection.
fn check(column: &str, value: &str, expect: &str) {
    let place = COLUMNS.iter().position(|name| *name == column).unwrap();
    let mut fields: Vec<_> = ARRIVED.split(',').collect();
    fields[place] = value;
    check_row(&fields.join(","), expect);
}

fn check_row(row: &str, expect: &str) {
    let months = extract(flights_csv(&[ARRIVED, row]).as_bytes()).unwrap();
    let rejected: Vec<_> = months
        .iter()
        .flat_map(|month| &month.checked.rejected)
        .collect();
    let reasons: Vec<_> = rejected.iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(reasons, [expect], "{row}");
    assert_eq!(
        (rejected[0].source.as_str(), rejected[0].line),
        ("flights.csv", 3)
    );
}

#[test]
fn rows_become_columns_by_month_and_na_is_null() {
    let months = extract(flights_csv(&[DIVERTED, ARRIVED, CANCELLED]).as_bytes()).unwrap();
    assert_eq!(
        months.iter().map(|month| month.month).collect::<Vec<_>>(),
        [1, 7]
    );
    let january = &months[0];
    assert_eq!(
        january.checked,
        Checked {
            read: 2,
            rejected: vec![]
        }
    );
    assert_eq!(january.carriers, ["MQ", "UA", "EV"]);
    assert_eq!(january.carrier.iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(january.dests, ["XNA", "IAH", "RDU"]);
    assert_eq!(january.dest.iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(
        january.dep_time.iter().collect::<Vec<_>>(),
        [Some(517), None]
    );
    assert_eq!(
        january.dep_delay.iter().collect::<Vec<_>>(),
        [Some(2), None]
    );
    assert_eq!(
        january.arr_delay.iter().collect::<Vec<_>>(),
        [Some(11), None]
    );
    assert_eq!(january.time_hour.iter().collect::<Vec<_>>(), [10, 21]);
    let july = &months[1];
    assert_eq!(july.origin.iter().collect::<Vec<_>>(), [Origin::Lga as u8]);
    assert_eq!(july.dep_delay.iter().collect::<Vec<_>>(), [Some(-5)]);
    assert_eq!(july.arr_delay.iter().collect::<Vec<_>>(), [None]);
}

#[test]
fn a_row_is_rejected_for_a_time_or_delay_out_of_its_range() {
    check("year", "2012", r#"year is "2012", expected 2013"#);
    check(
        "month",
        "13",
        r#"month is "13", expected an integer from 1 to 12"#,
    );
    check(
        "day",
        "32",
        r#"day is "32", expected an integer from 1 to 31"#,
    );
    check(
        "dep_time",
        "2560",
        r#"dep_time is "2560", expected a time from 1 to 2400 as HHMM or NA"#,
    );
    check(
        "sched_dep_time",
        "NA",
        r#"sched_dep_time is "NA", expected a time from 1 to 2400 as HHMM"#,
    );
    check(
        "dep_delay",
        "two",
        r#"dep_delay is "two", expected an integer from -1440 to 2880 or NA"#,
    );
    check(
        "arr_time",
        "",
        r#"arr_time is "", expected a time from 1 to 2400 as HHMM or NA"#,
    );
    check(
        "sched_arr_time",
        "8:19",
        r#"sched_arr_time is "8:19", expected a time from 1 to 2400 as HHMM"#,
    );
    check(
        "arr_delay",
        "9999",
        r#"arr_delay is "9999", expected an integer from -1440 to 2880 or NA"#,
    );
}

#[test]
fn a_row_is_rejected_for_a_code_or_count_out_of_its_range() {
    check(
        "carrier",
        "UAL",
        r#"carrier is "UAL", expected 2 capital letters or digits"#,
    );
    check(
        "flight",
        "0",
        r#"flight is "0", expected an integer from 1 to 9999"#,
    );
    check(
        "tailnum",
        "n1",
        r#"tailnum is "n1", expected 3 to 6 capital letters or digits or NA"#,
    );
    check(
        "origin",
        "BOS",
        r#"origin is "BOS", expected EWR, JFK or LGA"#,
    );
    check(
        "dest",
        "NA",
        r#"dest is "NA", expected 3 capital letters or digits"#,
    );
    check(
        "air_time",
        "1.5",
        r#"air_time is "1.5", expected an integer from 1 to 1440 or NA"#,
    );
    check(
        "distance",
        "-1",
        r#"distance is "-1", expected an integer from 1 to 12500"#,
    );
    check(
        "hour",
        "24",
        r#"hour is "24", expected an integer from 0 to 23"#,
    );
    check(
        "minute",
        "60",
        r#"minute is "60", expected an integer from 0 to 59"#,
    );
    check(
        "time_hour",
        "NA",
        r#"time_hour is "NA", expected an hour of 2013 as YYYY-MM-DDTHH:00:00Z"#,
    );
}

#[test]
fn a_row_is_rejected_for_fields_that_contradict_each_other() {
    check(
        "minute",
        "16",
        "sched_dep_time is 515, which disagrees with hour and minute",
    );
    check(
        "dep_time",
        "NA",
        "dep_delay is 2, which disagrees with dep_time",
    );
    check(
        "dep_delay",
        "NA",
        "dep_delay is NA, which disagrees with dep_time",
    );
    check(
        "arr_time",
        "NA",
        "arr_delay is 11, which disagrees with arr_time",
    );
    check(
        "air_time",
        "NA",
        "air_time is NA, which disagrees with arr_delay",
    );
    check_row(
        &CANCELLED.replace("NA,1815", "1800,1815"),
        "arr_time is 1800, which disagrees with dep_time",
    );
    check_row(
        &ARRIVED.replace("2013,1,1,", "2013,2,29,"),
        "day is 29, which disagrees with the length of the month",
    );
    check_row(
        &ARRIVED.replace("2013,1,1,", "2013,1,2,"),
        r#"time_hour is "2013-01-01T10:00:00Z", expected the row's hour in New York, 4 or 5 hours later"#,
    );
}

#[test]
fn a_row_is_rejected_for_its_number_of_fields() {
    check_row("2013,1,1", "the row has 3 of 19 fields");
    check_row("", "the row has 1 of 19 fields");
    check_row(&format!("{ARRIVED},1"), "the row has 20 of 19 fields");
}

#[test]
fn a_rejected_row_counts_with_its_month_or_with_the_first() {
    let rows = [
        ARRIVED,
        "2013,7,x",
        DIVERTED,
        "2013,?,1",
        &DIVERTED.replace("LGA", "BOS"),
    ];
    let months = extract(flights_csv(&rows).as_bytes()).unwrap();
    let lines = |month: &FlightMonth| -> Vec<_> {
        month.checked.rejected.iter().map(|row| row.line).collect()
    };
    assert_eq!(
        months
            .iter()
            .map(|month| month.checked.read)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(lines(&months[0]), [5]);
    assert_eq!(lines(&months[1]), [3, 6]);
}

#[test]
fn a_file_without_rows_has_no_months() {
    assert_eq!(extract(flights_csv(&[]).as_bytes()).unwrap(), []);
}

#[test]
fn windows_line_ends_are_read() {
    let text = flights_csv(&[ARRIVED, CANCELLED]);
    assert_eq!(
        extract(text.replace('\n', "\r\n").as_bytes()),
        extract(text.as_bytes())
    );
}

#[test]
fn a_missing_file_is_named() {
    let (dir, job) = job_with("other.csv", b"");
    let error = extract_flights(&job).unwrap_err();
    assert_eq!(
        message(&dir, &error),
        "open flights.csv; run etl-examples/flights/fetch.py or set `data` to the folder of the CSV files"
    );
}

#[test]
fn a_damaged_file_is_named_with_the_line() {
    let header = COLUMNS.join(",");
    let check = |content: &[u8], expect: &str| assert_eq!(extract(content).unwrap_err(), expect);
    check(
        b"",
        &format!("read flights.csv at line 1: the file is empty, expected the header `{header}`"),
    );
    check(
        csv(&["year", "month"], &[ARRIVED]).as_bytes(),
        &format!("read flights.csv at line 1: the header is `year,month`, expected `{header}`"),
    );
    check(
        flights_csv(&[ARRIVED])
            .replacen("year,month", "month,year", 1)
            .as_bytes(),
        &format!(
            "read flights.csv at line 1: the header is `{}`, expected `{header}`",
            header.replacen("year,month", "month,year", 1)
        ),
    );
    let whole = flights_csv(&[ARRIVED, CANCELLED]);
    let truncated = "the file is truncated, its last line does not end; fetch it again";
    check(
        &whole.as_bytes()[..whole.len() - 40],
        &format!("read flights.csv at line 3: {truncated}"),
    );
    check(
        whole.trim_end().as_bytes(),
        &format!("read flights.csv at line 3: {truncated}"),
    );
    check(
        &whole.as_bytes()[..30],
        &format!("read flights.csv at line 1: {truncated}"),
    );
    let corrupt = "the line is not UTF-8 text; the file is corrupt or compressed";
    check(
        b"\x1f\x8b\x08\x00\xff\n\x00\x01",
        &format!("read flights.csv at line 1: {corrupt}"),
    );
    let mut bytes = whole.into_bytes();
    let place = bytes.len() - 30;
    bytes[place] = 0xff;
    check(&bytes, &format!("read flights.csv at line 3: {corrupt}"));
    bytes[place] = 0;
    check(&bytes, &format!("read flights.csv at line 3: {corrupt}"));
    check(
        &[flights_csv(&[ARRIVED]).as_bytes(), &vec![b'x'; 400_000]].concat(),
        "read flights.csv at line 3: the line is over 65536 bytes; the file is corrupt",
    );
}

#[test]
fn more_bad_rows_than_the_limit_end_the_extraction() {
    let (_dir, mut job) = job_with(
        "flights.csv",
        flights_csv(&["1", ARRIVED, "2", "3", "4"]).as_bytes(),
    );
    job.rejected_max = 4;
    assert_eq!(extract_flights(&job).unwrap()[0].checked.rejected.len(), 4);
    job.rejected_max = 3;
    assert_eq!(
        extract_flights(&job).unwrap_err().to_string(),
        "4 rows of flights.csv rejected, limit 3; the first: \
         flights.csv line 2: the row has 1 of 19 fields; \
         flights.csv line 4: the row has 1 of 19 fields; \
         flights.csv line 5: the row has 1 of 19 fields; \
         mend the rows or raise rejected_max"
    );
}

#[test]
fn parts_of_a_file_add_up_to_the_whole() {
    let mut rows = Vec::new();
    for number in 0..200 {
        rows.push([ARRIVED, CANCELLED, DIVERTED, "2013,7,bad", "bad"][number * 7 % 5]);
    }
    let text = flights_csv(&rows);
    let (dir, job) = job_with("flights.csv", text.as_bytes());
    let path = job.data.join("flights.csv");
    let parts_with = |count, rejected_max| {
        let source = Source {
            path: &path,
            columns: &COLUMNS,
            rejected_max,
        };
        extract_parts(source, text.len() as u64, count).map_err(|error| message(&dir, &error))
    };
    for count in 2..40 {
        assert_eq!(parts_with(count, 100), parts_with(1, 100), "{count} parts");
        assert_eq!(
            parts_with(count, 79).unwrap_err()[..2],
            parts_with(1, 79).unwrap_err()[..2]
        );
    }
    fs::write(&path, &text[..text.len() - 5]).unwrap();
    for count in 2..40 {
        assert_eq!(
            parts_with(count, 100),
            parts_with(1, 100),
            "{count} parts, truncated"
        );
    }
}
