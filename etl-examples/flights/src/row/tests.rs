//! Fields by themselves: text in, value or reason out.

use super::*;

fn check(line: &str, read: impl FnOnce(&mut Row<'_>) -> Result<String, Fault>, expect: &str) {
    let found = read(&mut Row::new(line.as_bytes())).unwrap_or_else(Into::into);
    assert_eq!(found, expect);
}

fn integer_or_null(row: &mut Row<'_>) -> Result<String, Fault> {
    row.integer_or_null("delay", -9..=99)
        .map(|value| format!("{value:?}"))
}

#[test]
fn an_integer_may_be_null_and_has_a_range() {
    check("-9", integer_or_null, "Some(-9)");
    check("NA", integer_or_null, "None");
    check(
        "100",
        integer_or_null,
        r#"delay is "100", expected an integer from -9 to 99 or NA"#,
    );
    check(
        "",
        integer_or_null,
        r#"delay is "", expected an integer from -9 to 99 or NA"#,
    );
    check(
        "-",
        integer_or_null,
        r#"delay is "-", expected an integer from -9 to 99 or NA"#,
    );
    check(
        "1234567",
        integer_or_null,
        r#"delay is "1234567", expected an integer from -9 to 99 or NA"#,
    );
}

#[test]
fn a_required_integer_is_not_null() {
    let read = |row: &mut Row<'_>| {
        row.integer("year", 2013..=2013)
            .map(|year| year.to_string())
    };
    check("2013", read, "2013");
    check("NA", read, r#"year is "NA", expected 2013"#);
}

#[test]
fn a_clock_has_sixty_minutes() {
    let read = |row: &mut Row<'_>| row.clock("dep_time").map(|time| time.to_string());
    check("2400", read, "2400");
    check(
        "1160",
        read,
        r#"dep_time is "1160", expected a time from 1 to 2400 as HHMM"#,
    );
    check(
        "0",
        read,
        r#"dep_time is "0", expected a time from 1 to 2400 as HHMM"#,
    );
}

#[test]
fn a_number_is_finite() {
    let read = |row: &mut Row<'_>| row.number("lat", -90.0..=90.0).map(|lat| lat.to_string());
    check("40.5", read, "40.5");
    check(
        "nan",
        read,
        r#"lat is "nan", expected a number from -90 to 90"#,
    );
    check(
        "1e3",
        read,
        r#"lat is "1e3", expected a number from -90 to 90"#,
    );
}

#[test]
fn quoted_text_may_hold_commas_and_quotes() {
    let read = |row: &mut Row<'_>| {
        let first = row.text("name")?.into_owned();
        Ok(format!("{first}|{}", row.text("city")?))
    };
    check(r#""Air, ""Lines""",York"#, read, r#"Air, "Lines"|York"#);
    check(
        r#""Air"#,
        read,
        "name opens a quote that the line does not close",
    );
    check(
        r#""Air"x,York"#,
        read,
        "name goes on after its closing quote",
    );
    check("Air", read, "city is missing");
    check("Air,", read, r#"city is "", expected text"#);
}

#[test]
fn a_code_is_capitals_and_digits() {
    let read = |row: &mut Row<'_>| row.code("carrier", 2..=2).map(|code| format!("{code:?}"));
    check("9E", read, "[57, 69]");
    check(
        "9e",
        read,
        r#"carrier is "9e", expected 2 capital letters or digits"#,
    );
}

#[test]
fn the_hour_in_utc_belongs_to_the_hour_in_new_york() {
    let read = |row: &mut Row<'_>| row.utc_hour("time_hour", 5).map(|hour| hour.to_string());
    check("2013-01-01T10:00:00Z", read, "10");
    check(
        "2013-01-01T11:00:00Z",
        read,
        r#"time_hour is "2013-01-01T11:00:00Z", expected the row's hour in New York, 4 or 5 hours later"#,
    );
    check(
        "2013-01-01 10:00",
        read,
        r#"time_hour is "2013-01-01 10:00", expected an hour of 2013 as YYYY-MM-DDTHH:00:00Z"#,
    );
}
