//! The whole pipeline on the real files, with the Python function as a real process.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod handler;

use std::path::Path;

use turlough_example_flights::flights::extract_flights;
use turlough_example_flights::job::Job;
use turlough_example_flights::load::load;
use turlough_example_flights::lookups::lookups;
use turlough_example_flights::month::transform_month;
use turlough_example_flights::reference::{extract_airlines, extract_airports, extract_planes};
use turlough_example_flights::report::aggregate;
use turlough_example_flights::weather::extract_weather;

#[test]
#[ignore = "needs the data set: run etl-examples/flights/fetch.py first"]
fn the_report_of_the_data_set_has_the_known_figures() {
    let dir = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let job = Job {
        data,
        out: dir.path().join("report.sqlite"),
        rejected_max: 0,
    };

    let weather = extract_weather(&job).unwrap();
    let handler = handler::Handler::start();
    let (status, clean) = handler::post(
        &mut handler.connect(),
        &serde_json::to_vec(&weather).unwrap(),
    );
    assert_eq!(status, 200);
    let clean = serde_json::from_slice(&clean).unwrap();
    let airlines = extract_airlines(&job).unwrap();
    let airports = extract_airports(&job).unwrap();
    let planes = extract_planes(&job).unwrap();
    let lookups = lookups(&clean, &airlines, &airports).unwrap();
    let months = extract_flights(&job).unwrap();
    assert_eq!(months.len(), 12);
    let sums = months
        .into_iter()
        .map(|month| transform_month(month, &lookups))
        .collect();
    let tables = vec![
        weather.checked,
        airlines.checked,
        airports.checked,
        planes.checked,
    ];
    assert_eq!(
        tables.iter().map(|table| table.read).collect::<Vec<_>>(),
        [26_115, 16, 1_458, 3_322]
    );
    let report = aggregate(&job, sums, tables).unwrap();
    let summary = load(&job, "known", &report).unwrap();

    assert_eq!(
        (summary.flights_read, summary.flights, summary.rejected),
        (336_776, 336_776, 0)
    );
    assert_eq!((summary.cancelled, summary.carriers), (8_255, 16));
    assert_eq!(
        (summary.dest_unnamed, summary.with_weather),
        (7_602, 335_220)
    );
    assert!((summary.mean_dep_delay.unwrap() - 12.6391).abs() < 0.000_05);
}
