//! The transform: one month of flights joined with names and weather, then summed.
//!
//! [`join_month`] makes the joined rows; [`summarise`] counts them into the groups of the report.
//! Both run in one step, [`transform_month`]: the joined rows of a month are 400 kB that only
//! their sums outlive, so it is the sums (10 kB) that travel to the next step.

use serde::{Deserialize, Serialize};

use crate::column::Column;
use crate::flights::FlightMonth;
use crate::lookups::{Lookups, Weather};
use crate::origin::Origin;
use crate::rejected::Checked;
use crate::sums::Sums;

/// A code and the name it was joined with; no name when the table beside does not have the code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Named {
    /// The code in the flights table.
    pub code: String,
    /// The name in the table beside.
    pub name: Option<String>,
}

/// The joined month: columns of equal length, a row for each flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedMonth {
    /// 1 to 12.
    pub month: u8,
    /// Rows read and rejected, as the extraction left them.
    pub checked: Checked,
    /// Carriers with their names; `carrier` holds indices into it.
    pub carriers: Vec<Named>,
    /// Destinations with their names; `dest` holds indices into it.
    pub dests: Vec<Named>,
    /// Index into `carriers`.
    pub carrier: Column<u16>,
    /// Index into [`Origin::ALL`].
    pub origin: Column<u8>,
    /// Index into `dests`.
    pub dest: Column<u16>,
    /// 1 for a flight that did not depart.
    pub cancelled: Column<u8>,
    /// Weather at the airport of departure in the scheduled hour, a place in [`Weather::ALL`].
    pub weather: Column<u8>,
    /// Minutes; null when the flight was cancelled.
    pub dep_delay: Column<Option<i16>>,
    /// Minutes; null when the flight was cancelled or did not arrive at its destination.
    pub arr_delay: Column<Option<i16>>,
}

/// The sums of one month, by the groups of the report; a group without flights is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonthSums {
    /// 1 to 12.
    pub month: u8,
    /// Rows read and rejected, as the extraction left them.
    pub checked: Checked,
    /// All flights of the month.
    pub total: Sums,
    /// By carrier.
    pub carriers: Vec<CarrierSums>,
    /// By origin and destination.
    pub routes: Vec<RouteSums>,
    /// By origin and weather, for the flights that have a weather row.
    pub weather: Vec<WeatherSums>,
}

/// The flights of one carrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarrierSums {
    /// The carrier.
    pub carrier: Named,
    /// Its flights.
    pub sums: Sums,
}

/// The flights between two airports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSums {
    /// Airport of departure.
    pub origin: Origin,
    /// Airport of arrival.
    pub dest: Named,
    /// The flights between them.
    pub sums: Sums,
}

/// The flights that left an airport in one kind of weather.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeatherSums {
    /// Airport of departure.
    pub origin: Origin,
    /// Whether there was precipitation; null when it was not measured.
    pub wet: Option<bool>,
    /// The flights.
    pub sums: Sums,
}

/// Joins a month and sums it.
pub fn transform_month(month: FlightMonth, lookups: &Lookups) -> MonthSums {
    summarise(&join_month(month, lookups))
}

/// Joins carrier names, destination names and the hour's weather at the origin, and derives
/// whether a flight was cancelled and its weather wet. Keeps every flight.
pub fn join_month(month: FlightMonth, lookups: &Lookups) -> JoinedMonth {
    let named = |codes: Vec<String>, name: &dyn Fn(&str) -> Option<String>| {
        codes
            .into_iter()
            .map(|code| Named {
                name: name(&code),
                code,
            })
            .collect()
    };
    let hours = month.origin.iter().zip(month.time_hour.iter());
    let weather = hours
        .map(|(origin, hour)| lookups.weather(origin, hour) as u8)
        .collect();
    let cancelled = month
        .dep_time
        .iter()
        .map(|time| u8::from(time.is_none()))
        .collect();
    JoinedMonth {
        month: month.month,
        checked: month.checked,
        carriers: named(month.carriers, &|code| {
            lookups.carrier(code).map(str::to_owned)
        }),
        dests: named(month.dests, &|code| {
            lookups.airport(code).map(str::to_owned)
        }),
        carrier: month.carrier,
        origin: month.origin,
        dest: month.dest,
        cancelled,
        weather,
        dep_delay: month.dep_delay,
        arr_delay: month.arr_delay,
    }
}

/// Counts the joined rows into the groups of the report.
///
/// # Panics
/// When the columns hold an index that their dictionary does not have, which [`join_month`] does
/// not make.
pub fn summarise(month: &JoinedMonth) -> MonthSums {
    let mut total = Sums::default();
    let mut carriers = vec![Sums::default(); month.carriers.len()];
    let mut routes = vec![Sums::default(); Origin::ALL.len() * month.dests.len()];
    let mut weather = [[Sums::default(); Weather::ALL.len()]; Origin::ALL.len()];

    let places = month
        .origin
        .iter()
        .zip(month.dest.iter())
        .zip(month.carrier.iter());
    let states = month.cancelled.iter().zip(month.weather.iter());
    let delays = month.dep_delay.iter().zip(month.arr_delay.iter());
    for ((((origin, dest), carrier), (cancelled, sky)), (dep_delay, arr_delay)) in
        places.zip(states).zip(delays)
    {
        let (origin, cancelled) = (usize::from(origin), cancelled != 0);
        let route = origin * month.dests.len() + usize::from(dest);
        total.add(cancelled, dep_delay, arr_delay);
        carriers[usize::from(carrier)].add(cancelled, dep_delay, arr_delay);
        routes[route].add(cancelled, dep_delay, arr_delay);
        weather[origin][usize::from(sky)].add(cancelled, dep_delay, arr_delay);
    }

    let mut sums = MonthSums {
        month: month.month,
        checked: month.checked.clone(),
        total,
        ..MonthSums::default()
    };
    let carriers = month
        .carriers
        .iter()
        .zip(carriers)
        .filter(|(_, sums)| sums.flights > 0);
    sums.carriers = carriers
        .map(|(carrier, sums)| CarrierSums {
            carrier: carrier.clone(),
            sums,
        })
        .collect();
    for (place, origin) in Origin::ALL.into_iter().enumerate() {
        let from_here = &routes[place * month.dests.len()..][..month.dests.len()];
        let to = month
            .dests
            .iter()
            .zip(from_here)
            .filter(|(_, sums)| sums.flights > 0);
        sums.routes.extend(to.map(|(dest, &sums)| RouteSums {
            origin,
            dest: dest.clone(),
            sums,
        }));
        let skies = Weather::ALL
            .into_iter()
            .zip(weather[place])
            .filter(|(_, sums)| sums.flights > 0);
        sums.weather.extend(
            skies.filter_map(|(sky, sums)| sky.wet().map(|wet| WeatherSums { origin, wet, sums })),
        );
    }
    sums
}

#[cfg(test)]
mod tests;
