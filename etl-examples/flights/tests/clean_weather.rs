//! The Python function as a real process on a port of its own.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod handler;

use handler::{Handler, exchange, post};
use serde_json::{Value, json};
use turlough_example_flights::lookups::CleanWeather;
use turlough_example_flights::origin::Origin;
use turlough_example_flights::weather::WeatherTable;

fn answer(answer: (u16, Vec<u8>)) -> (u16, Value) {
    (answer.0, serde_json::from_slice(&answer.1).unwrap())
}

#[test]
fn says_wet_of_every_row_and_null_of_what_was_not_measured() {
    let handler = Handler::start();
    let table = WeatherTable {
        origin: vec![Origin::Ewr, Origin::Jfk, Origin::Lga],
        hour: vec![6, 7, 8],
        precip: vec![Some(0.0), None, Some(0.01)],
        ..WeatherTable::default()
    };
    let (status, body) = post(&mut handler.connect(), &serde_json::to_vec(&table).unwrap());
    assert_eq!(status, 200);
    let clean: CleanWeather = serde_json::from_slice(&body).unwrap();
    assert_eq!(clean.origin, table.origin);
    assert_eq!(clean.hour, table.hour);
    assert_eq!(clean.wet, [Some(false), None, Some(true)]);
    let columns: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(columns["precip"], json!([0.0, null, 0.01]));
}

#[test]
fn refuses_what_is_not_a_table_and_keeps_the_connection() {
    let handler = Handler::start();
    let mut connection = handler.connect();
    let mut check = |body: &str, detail: &str| {
        let (status, problem) = answer(post(&mut connection, body.as_bytes()));
        assert_eq!(status, 400, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(detail),
            "{problem}"
        );
    };
    check("{", "body is not JSON");
    check("[]", "body is not a JSON object of columns");
    check(r#"{"origin":[],"hour":[]}"#, "body has no column precip");
    check(
        r#"{"origin":["EWR"],"hour":[],"precip":[]}"#,
        "columns have different lengths",
    );
    check(
        r#"{"origin":["EWR"],"hour":[1],"precip":["x"]}"#,
        "column precip holds something else",
    );
    check(
        r#"{"origin":["EWR"],"hour":[1],"precip":[NaN]}"#,
        "column precip holds something else",
    );
    let (status, _) = post(&mut connection, br#"{"origin":[],"hour":[],"precip":[]}"#);
    assert_eq!(status, 200);
}

#[test]
fn reads_a_body_in_chunks() {
    let handler = Handler::start();
    let request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
        12\r\n{\"origin\":[],\"hour\r\n11\r\n\":[],\"precip\":[]}\r\n0\r\n\r\n";
    let mut connection = handler.connect();
    for _ in 0..2 {
        let (status, table) = answer(exchange(&mut connection, request));
        assert_eq!(status, 200, "{table}");
        assert_eq!(
            table,
            json!({"origin": [], "hour": [], "precip": [], "wet": []})
        );
    }
}

#[test]
fn refuses_a_body_over_its_limit() {
    let handler = Handler::start();
    let request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n";
    let (status, problem) = answer(exchange(&mut handler.connect(), request));
    assert_eq!(status, 413);
    assert_eq!(problem["detail"], "body is 9000000 bytes, limit 8388608");
}

#[test]
fn stops_when_asked_to() {
    let handler = Handler::start();
    // A connection that is kept alive does not hold the process up.
    let mut connection = handler.connect();
    post(&mut connection, br#"{"origin":[],"hour":[],"precip":[]}"#);
    assert!(handler.terminate().success());
}
