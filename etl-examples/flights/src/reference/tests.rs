//! The checks of the small tables, by small files.

use super::*;
use crate::fixture::{csv, job_with};

const AIRPORT: &str =
    "IAH,George Bush Intercontinental,29.984433,-95.341442,97,-6,A,America/Chicago";
const PLANE: &str = "N10156,2004,Fixed wing multi engine,EMBRAER,EMB-145XR,2,55,NA,Turbo-fan";

fn airports(rows: &[&str]) -> Airports {
    let (_dir, job) = job_with("airports.csv", csv(&AIRPORT_COLUMNS, rows).as_bytes());
    extract_airports(&job).unwrap()
}

fn planes(rows: &[&str]) -> Planes {
    let (_dir, job) = job_with("planes.csv", csv(&PLANE_COLUMNS, rows).as_bytes());
    extract_planes(&job).unwrap()
}

fn reasons(checked: &Checked) -> Vec<&str> {
    checked
        .rejected
        .iter()
        .map(|row| row.reason.as_str())
        .collect()
}

#[test]
fn airlines_are_read_and_a_second_row_of_a_carrier_is_rejected() {
    let rows = [
        "UA,United Air Lines Inc.",
        "9E,\"Endeavor, Air\"",
        "UA,Other",
        "B6,",
        "toolong,Name",
    ];
    let (_dir, job) = job_with("airlines.csv", csv(&AIRLINE_COLUMNS, &rows).as_bytes());
    let airlines = extract_airlines(&job).unwrap();
    assert_eq!(airlines.carrier, ["UA", "9E"]);
    assert_eq!(airlines.name, ["United Air Lines Inc.", "Endeavor, Air"]);
    assert_eq!(airlines.checked.read, 5);
    assert_eq!(
        reasons(&airlines.checked),
        [
            "carrier is UA, which disagrees with an earlier row of the same key",
            r#"name is "", expected text"#,
            r#"carrier is "toolong", expected 2 capital letters or digits"#,
        ]
    );
}

#[test]
fn airports_are_checked_row_by_row() {
    let without_zone = AIRPORT
        .replace("IAH", "LRO")
        .replace("America/Chicago", "NA");
    let table = airports(&[
        AIRPORT,
        &without_zone,
        AIRPORT,
        &AIRPORT.replace("29.98", "129.98"),
        &AIRPORT.replace(",97,", ",high,"),
        "IAH,Name",
    ]);
    assert_eq!(table.faa, ["IAH", "LRO"]);
    assert_eq!(
        reasons(&table.checked),
        [
            "faa is IAH, which disagrees with an earlier row of the same key",
            r#"lat is "129.984433", expected a number from -90 to 90"#,
            r#"alt is "high", expected an integer from -1500 to 30000"#,
            "the row has 2 of 8 fields",
        ]
    );
}

#[test]
fn planes_are_checked_row_by_row() {
    let table = planes(&[
        PLANE,
        &PLANE.replace("N10156,2004", "N1,NA"),
        &PLANE.replace("N10156,2004", "N102UW,NA"),
        &PLANE.replace("EMBRAER", "NA"),
        &PLANE.replace(",2,55,", ",0,55,"),
        PLANE,
    ]);
    assert_eq!(table.tailnum, ["N10156", "N102UW"]);
    assert_eq!(
        reasons(&table.checked),
        [
            r#"tailnum is "N1", expected 3 to 6 capital letters or digits"#,
            r#"manufacturer is "NA", expected text"#,
            r#"engines is "0", expected an integer from 1 to 8"#,
            "tailnum is N10156, which disagrees with an earlier row of the same key",
        ]
    );
}
