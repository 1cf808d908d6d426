//! The pipeline as a flow: which function feeds which, what is tried again, and for how long.

use std::time::Duration;

use turlough_flow_function::{Flow, FlowError, RequestId, Retry, StepError};

use crate::flights::{FlightMonth, extract_flights};
use crate::job::Job;
use crate::load::{LoadSummary, load};
use crate::lookups::{CleanWeather, Lookups, lookups};
use crate::month::{MonthSums, transform_month};
use crate::reference::{Airlines, Airports, Planes};
use crate::reference::{extract_airlines, extract_airports, extract_planes};
use crate::report::{Report, aggregate};
use crate::weather::{WeatherTable, extract_weather};

/// Months that are transformed at once: as many as use the cores of a small machine, so that no
/// more of them than that are unpacked at a time.
const MONTHS_AT_ONCE: usize = 4;

/// Builds the flow. The five files are read side by side; the weather is cleaned by a Python
/// function while the flights are still being read; each month is joined on its own.
///
/// # Errors
/// None that its tests have not seen.
pub fn flow() -> Result<Flow, FlowError> {
    let flow = Flow::builder("flights").timeout(Duration::from_secs(300));
    let job = flow.input::<Job>();

    let flights = flow.map("extract-flights", &job, |job: Job| {
        once(extract_flights(&job))
    });
    let weather = flow.map("extract-weather", &job, |job: Job| {
        once(extract_weather(&job))
    });
    let airlines = flow.map("extract-airlines", &job, |job: Job| {
        once(extract_airlines(&job))
    });
    let airports = flow.map("extract-airports", &job, |job: Job| {
        once(extract_airports(&job))
    });
    let planes = flow.map("extract-planes", &job, |job: Job| {
        once(extract_planes(&job))
    });

    let clean = flow
        .apply::<CleanWeather, _>("clean-weather", &weather, "clean-weather")
        .retry(Retry::exponential(
            3,
            Duration::from_millis(100)..Duration::from_secs(2),
        ))
        .timeout(Duration::from_secs(30));
    let tables = flow.map("lookups", (&clean, &airlines, &airports), join_tables);
    let months = flow
        .for_each("months", &flights, |body, month| {
            body.map("transform", (month, &tables), transform)
        })
        .max_parallel(MONTHS_AT_ONCE);

    let checked = (&job, &months, &weather, &airlines, &airports, &planes);
    let report = flow.map("aggregate", checked, report);
    let saved = flow
        .map("load", (&job, flow.request(), &report), save)
        .retry(Retry::exponential(
            8,
            Duration::from_millis(100)..Duration::from_secs(5),
        ));
    flow.output(&saved).build()
}

/// Bad data and missing files are as bad the next time.
fn once<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, StepError> {
    result.map_err(StepError::permanent)
}

fn join_tables(
    (weather, airlines, airports): (CleanWeather, Airlines, Airports),
) -> Result<Lookups, StepError> {
    once(lookups(&weather, &airlines, &airports))
}

fn transform((month, tables): (FlightMonth, Lookups)) -> Result<MonthSums, StepError> {
    Ok(transform_month(month, &tables))
}

type Tables = (
    Job,
    Vec<MonthSums>,
    WeatherTable,
    Airlines,
    Airports,
    Planes,
);

fn report((job, months, weather, airlines, airports, planes): Tables) -> Result<Report, StepError> {
    let checked = vec![
        weather.checked,
        airlines.checked,
        airports.checked,
        planes.checked,
    ];
    once(aggregate(&job, months, checked))
}

fn save((job, request, report): (Job, RequestId, Report)) -> Result<LoadSummary, StepError> {
    load(&job, &request.to_string(), &report).map_err(|error| {
        let retryable = error.is_retryable();
        let failed = StepError::from(error);
        if retryable {
            failed
        } else {
            StepError::permanent(failed)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_is_valid_and_its_steps_are_named() {
        let flow = flow().unwrap();
        let steps: Vec<_> = flow
            .graph()
            .nodes
            .iter()
            .map(|node| node.id.as_str())
            .collect();
        assert_eq!(steps.len(), 10);
        assert_eq!((steps[0], steps[9]), ("extract-flights", "load"));
    }
}
