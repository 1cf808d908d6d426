//! The join on rows made by hand.

use super::*;
use crate::fixture::{ARRIVED, CANCELLED, DIVERTED, flights_csv, job_with};
use crate::flights::extract_flights;
use crate::lookups::{CleanWeather, lookups};
use crate::reference::{Airlines, Airports};
use crate::sums::Tally;

fn months(rows: &[&str]) -> Vec<FlightMonth> {
    let (_dir, job) = job_with("flights.csv", flights_csv(rows).as_bytes());
    extract_flights(&job).unwrap()
}

/// Knows United and Houston, rain at Newark at 10 and an hour that was not measured at 21.
fn known() -> Lookups {
    let weather = CleanWeather {
        origin: vec![Origin::Ewr, Origin::Ewr, Origin::Jfk],
        hour: vec![10, 21, 10],
        wet: vec![Some(true), None, Some(false)],
    };
    let airlines = Airlines {
        carrier: vec!["UA".into()],
        name: vec!["United".into()],
        ..Airlines::default()
    };
    let airports = Airports {
        faa: vec!["IAH".into()],
        name: vec!["Houston".into()],
        ..Airports::default()
    };
    lookups(&weather, &airlines, &airports).unwrap()
}

fn named(code: &str, name: Option<&str>) -> Named {
    Named {
        code: code.to_owned(),
        name: name.map(str::to_owned),
    }
}

#[test]
fn every_flight_is_kept_with_what_is_known_of_it() {
    let dry = ARRIVED.replace("EWR", "JFK");
    let january = months(&[ARRIVED, CANCELLED, &dry]).remove(0);
    let joined = join_month(january, &known());
    assert_eq!(
        joined.carriers,
        [named("UA", Some("United")), named("EV", None)]
    );
    assert_eq!(
        joined.dests,
        [named("IAH", Some("Houston")), named("RDU", None)]
    );
    assert_eq!(joined.cancelled.iter().collect::<Vec<_>>(), [0, 1, 0]);
    let weather: Vec<_> = joined
        .weather
        .iter()
        .map(|place| Weather::ALL[usize::from(place)])
        .collect();
    assert_eq!(weather, [Weather::Wet, Weather::Unmeasured, Weather::Dry]);
}

#[test]
fn a_flight_without_a_weather_row_is_in_no_weather_group() {
    let july = months(&[DIVERTED]).remove(0);
    let sums = transform_month(july, &known());
    assert_eq!(sums.total.flights, 1);
    assert_eq!(sums.weather, []);
}

#[test]
fn a_cancelled_flight_counts_without_delays() {
    let sums = transform_month(months(&[ARRIVED, CANCELLED]).remove(0), &known());
    assert_eq!((sums.total.flights, sums.total.cancelled), (2, 1));
    assert_eq!(sums.total.dep_delay, Tally { sum: 2, count: 1 });
    let cancelled = &sums.carriers[1];
    assert_eq!(cancelled.carrier, named("EV", None));
    assert_eq!(
        (cancelled.sums.flights, cancelled.sums.dep_delay.mean()),
        (1, None)
    );
    let skies: Vec<_> = sums
        .weather
        .iter()
        .map(|sky| (sky.origin, sky.wet, sky.sums.flights))
        .collect();
    assert_eq!(
        skies,
        [(Origin::Ewr, None, 1), (Origin::Ewr, Some(true), 1)]
    );
}

#[test]
fn a_diverted_flight_has_departed_and_not_arrived() {
    let sums = transform_month(months(&[DIVERTED]).remove(0), &known());
    assert_eq!(sums.total.cancelled, 0);
    assert_eq!(sums.total.dep_delay, Tally { sum: -5, count: 1 });
    assert_eq!(sums.routes[0].sums.arr_delay, Tally::default());
}

#[test]
fn values_survive_message_pack() {
    let month = months(&[ARRIVED, CANCELLED]).remove(0);
    let bytes = rmp_serde::to_vec_named(&month).unwrap();
    assert_eq!(rmp_serde::from_slice::<FlightMonth>(&bytes).unwrap(), month);
    let lookups = known();
    let bytes = rmp_serde::to_vec_named(&lookups).unwrap();
    assert_eq!(rmp_serde::from_slice::<Lookups>(&bytes).unwrap(), lookups);
    let sums = transform_month(month, &lookups);
    let bytes = rmp_serde::to_vec_named(&sums).unwrap();
    assert_eq!(rmp_serde::from_slice::<MonthSums>(&bytes).unwrap(), sums);
}
